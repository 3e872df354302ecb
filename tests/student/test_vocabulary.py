import json
from collections import Counter

import numpy as np
import pytest
from families import save_family
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from vocabularies import FAMILY, KINDS, documentation, make_tokenizer

from leaf_st.errors import InputError
from leaf_st.models.portable import save_portable
from leaf_st.student.build import build_student
from leaf_st.student.tokens_to_keep import Pieces, select_tokens

SIZE = 500  # of about 900 tokens
IN_A_STUDENT = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
WORDS = sorted({word for text in documentation() for word in text.split()})
TEXTS = st.one_of(
    st.text(max_size=40),
    st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join),
    st.text(st.sampled_from("aeinrst ▁#<>äßпри漢字\n"), max_size=30),
)


def _build(folder, **change):
    return build_student(folder, **{"dimension": 8, "normalized": True, "device": "cpu", **change})


def _tokens(student, text):
    return student[0].tokenizer.backend_tokenizer.encode(text).tokens


@pytest.fixture(scope="module", params=KINDS)
def students(request, tmp_path_factory):
    """A student, the same with half of the vocabulary, and that one as plain sentence-transformers loads it."""
    folder = tmp_path_factory.mktemp("models")
    backbone = save_family(FAMILY[request.param], folder, make_tokenizer(request.param))
    full = _build(backbone)
    counts = Counter(token for text in documentation()[::2] for token in _tokens(full, text))
    tokens = select_tokens(full[0].tokenizer.backend_tokenizer, counts, SIZE)
    small = _build(backbone, tokens=tokens)
    small[2].load_state_dict(full[2].state_dict())
    save_portable(small, folder / "small")
    return full, small, SentenceTransformer(str(folder / "small"), device="cpu"), set(tokens)


def test_the_vocabulary_is_smaller(students):
    full, small, loaded, tokens = students
    table = small[0].model.get_input_embeddings()
    assert len(table.weight) == table.num_embeddings == small[0].model.config.vocab_size == len(tokens) == SIZE
    assert len(full[0].model.get_input_embeddings().weight) > SIZE + 300
    assert set(small[0].tokenizer.get_vocab()) == set(loaded[0].tokenizer.get_vocab()) == tokens
    assert sorted(small[0].tokenizer.get_vocab().values()) == list(range(SIZE))


@IN_A_STUDENT
@given(text=TEXTS)
def test_a_text_that_loses_no_token_has_the_same_vector(students, text):
    full, small, loaded, kept = students
    before = _tokens(full, text)
    after = _tokens(small, text)
    assert after == _tokens(loaded, text)
    if before and kept.issuperset(before):  # plain sentence-transformers refuses a text without a token
        assert after == before
        vectors = [model.encode(text, show_progress_bar=False) for model in (full, small, loaded)]
        np.testing.assert_allclose(vectors[1:], [vectors[0]] * 2, atol=1e-6)
