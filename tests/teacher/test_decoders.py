"""Teachers that pool the last token, which is the end token of a text, with padding on either side."""

import numpy as np
import pytest
from families import POSITIONS, WIDTH, save_teacher
from sentence_transformers.sentence_transformer.modules import Pooling

from leaf_st.recipe import TeacherSpec
from leaf_st.student.build import build_student
from leaf_st.teacher.open import open_teacher

PROMPTS = {"query": "find: ", "document": ""}
TEXTS = ["a", "a longer text, with punctuation", "x " * 300]


@pytest.fixture(scope="module", params=["qwen3", "llama", "mistral"])
def folder(request, tmp_path_factory):
    return save_teacher(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture
def teacher(folder):
    return open_teacher(TeacherSpec(str(folder), prompts=PROMPTS, precision="float32"), "cpu")


def test_padding_is_on_the_side_of_the_tokenizer(folder, teacher):
    sides = {"qwen3": "left"}
    assert teacher._model.tokenizer.padding_side == sides.get(teacher._model[0].model.config.model_type, "right")
    assert teacher.fingerprint.pooling == "lasttoken"


def test_a_batch_gives_the_vectors_of_single_texts(teacher):
    for encode in (teacher.encode_query, teacher.encode_document):
        one_by_one = np.concatenate([encode([text]) for text in TEXTS])
        np.testing.assert_allclose(encode(TEXTS), one_by_one, atol=1e-5)


def test_a_prompt_stands_before_the_text(teacher):
    np.testing.assert_allclose(
        teacher.encode_query(TEXTS), teacher.encode_document(["find: " + text for text in TEXTS]), atol=1e-5
    )
    assert not np.allclose(teacher.encode_query(TEXTS), teacher.encode_document(TEXTS), atol=1e-2)


def test_a_text_that_is_cut_still_ends_in_the_end_token(teacher):
    model = teacher._model
    ids = model.preprocess([TEXTS[2]])["input_ids"][0].tolist()
    assert len(ids) == POSITIONS
    assert ids[-1] == model.tokenizer.sep_token_id
    kept = "x " * (POSITIONS - 2)  # the tokens that remain beside the first and the last one
    np.testing.assert_allclose(teacher.encode_document([TEXTS[2]]), teacher.encode_document([kept]), atol=1e-5)


def test_the_student_pools_the_mean(folder):
    student = build_student(folder, dimension=WIDTH, normalized=True, device="cpu")
    assert [module.pooling_mode for module in student if isinstance(module, Pooling)] == ["mean"]
