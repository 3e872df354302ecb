from collections import Counter

import numpy as np
import pytest
from families import POSITIONS, save_family
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sentence_transformers import SentenceTransformer
from vocabularies import FAMILY, KINDS, documentation, make_tokenizer

from leaf_st.errors import InputError
from leaf_st.models.portable import save_portable
from leaf_st.student import vocabulary
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


FAMILIES = (
    *(
        "albert",
        "bert",
        "deberta-v2",
        "distilbert",
        "electra",
        "gemma3",
        "gpt2",
        "gpt-neo",
        "gte",
        "llama",
        "longformer",
    ),
    *("mistral", "modernbert", "mpnet", "nomic-bert", "qwen3", "roberta", "t5", "xlm-roberta"),
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


@IN_A_STUDENT
@given(text=TEXTS)
def test_a_word_without_its_token_is_split(students, text):
    full, small, _, _ = students
    unknown = {"[UNK]", "<unk>"}
    if unknown.isdisjoint(_tokens(full, text)) and text.isascii():
        assert unknown.isdisjoint(_tokens(small, text))


@pytest.mark.parametrize("kind", KINDS)
def test_the_smallest_vocabulary_is_named(kind):
    tokenizer = make_tokenizer(kind).backend_tokenizer
    used = Counter(token for text in documentation() for token in tokenizer.encode(text).tokens)
    always = tokenizer.encode("return: ").tokens
    with pytest.raises(
        InputError, match=r"^student\.vocabulary: expected at least [\d,]+ tokens, .* found 3: set"
    ) as raised:
        select_tokens(tokenizer, used, 3, always)
    least = int(str(raised.value).split(": set ")[1].split()[0])
    assert len(select_tokens(tokenizer, used, least, always)) == least < len(tokenizer.get_vocab()) - 200
    assert set(always) <= set(select_tokens(tokenizer, used, least, always))
    with pytest.raises(InputError, match=f"found {least - 1}"):
        select_tokens(tokenizer, used, least - 1, always)


def test_frequent_tokens_and_the_parts_of_their_merges_are_kept():
    tokenizer = make_tokenizer("byte-level bpe").backend_tokenizer
    pieces = Pieces(tokenizer)
    assert {"r", "e", "t", "u", "n", "\u0120", "\u0120return"} <= pieces.with_parts(["\u0120return"])
    least = len(pieces.with_parts(pieces.needed()))
    parts = pieces.with_parts(["\u0120return"]) - pieces.with_parts(pieces.needed())
    kept = select_tokens(tokenizer, {"\u0120return": 2, "\u0120object": 1}, least + len(parts))
    assert parts <= set(kept)
    assert "\u0120object" not in kept
    assert kept == sorted(kept, key=pieces.ids.__getitem__)
    assert len(select_tokens(tokenizer, {}, 800)) == least  # unused tokens fill nothing


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_same_vectors(family, tmp_path):
    tokenizer = make_tokenizer("wordpiece")
    folder = save_family(family, tmp_path, tokenizer)
    full = _build(folder, max_length=POSITIONS)
    tokens = select_tokens(tokenizer.backend_tokenizer, {"return": 3, "value": 2, "object": 1}, SIZE)
    small = _build(folder, max_length=POSITIONS, tokens=tokens)
    small[2].load_state_dict(full[2].state_dict())
    save_portable(small, tmp_path / "small")
    loaded = SentenceTransformer(str(tmp_path / "small"), device="cpu")
    texts = ["return the value", "x y, object"]
    assert "the" not in tokens
    assert small[0].model.config.vocab_size == len(tokens)
    for model in (small, loaded):
        np.testing.assert_allclose(model.encode(texts[1:]), full.encode(texts[1:]), atol=1e-6)
    np.testing.assert_allclose(loaded.encode(texts), small.encode(texts), atol=1e-6)


def test_an_encoder_that_depends_on_other_tokens_is_refused(tmp_path, monkeypatch):
    tokenizer = make_tokenizer("wordpiece")
    folder = save_family("bert", tmp_path, tokenizer)
    tokens = select_tokens(tokenizer.backend_tokenizer, {"return": 1}, SIZE)
    renumbered = vocabulary._keep_rows
    monkeypatch.setattr(vocabulary, "_keep_rows", lambda own, rows, numbers: renumbered(own, rows[::-1], numbers))
    with pytest.raises(InputError, match=r"^student\.vocabulary: expected an encoder .* found other vectors by .*bert"):
        _build(folder, tokens=tokens)
    with pytest.raises(InputError, match=r"^student\.tokens: expected tokens of the tokenizer of .* another tokenizer"):
        _build(folder, tokens=[*tokens, "nowhere"])
