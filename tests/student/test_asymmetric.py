import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

from leaf_st.errors import InputError
from leaf_st.student.asymmetric import compose

TEXTS = ["a small text", "another one which is longer than that", "z"]


@pytest.fixture
def models(tiny_student, tiny_teacher):
    tiny_student.prompts = {"query": "find: ", "document": ""}
    tiny_teacher.prompts = {"query": "other: ", "document": "passage: "}
    return tiny_student, tiny_teacher


def test_queries_are_the_student_s_and_documents_the_teacher_s(models):
    student, teacher = models
    model = compose(student, teacher)
    np.testing.assert_array_equal(model.encode_query(TEXTS), student.encode_query(TEXTS))
    np.testing.assert_array_equal(model.encode_document(TEXTS), teacher.encode_document(TEXTS))
    assert not np.allclose(model.encode_query(TEXTS), model.encode_document(TEXTS), atol=1e-3)
    assert model.similarity_fn_name == teacher.similarity_fn_name


def test_a_saved_composition_gives_the_same_vectors(models, tmp_path):
    model = compose(*models)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    again = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(again.encode_query(TEXTS), model.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(again.encode_document(TEXTS), model.encode_document(TEXTS), atol=1e-6)


def test_models_of_two_widths_cannot_be_composed(narrow_student, tiny_teacher):
    with pytest.raises(InputError, match=r"teacher gives 32 dimensions, student gives 16: name the teacher"):
        compose(narrow_student, tiny_teacher)


@pytest.mark.parametrize("name", ["passage", "corpus"])
def test_documents_have_the_prompt_that_the_teacher_gives_them(tiny_student, tiny_teacher, name):
    tiny_teacher.prompts = {"query": "query: ", name: "a document: "}
    tiny_teacher.similarity_fn_name = "dot"
    model = compose(tiny_student, tiny_teacher)
    assert model.prompts["document"] == "a document: "
    assert model.similarity_fn_name == "dot"
    np.testing.assert_array_equal(model.encode_document(TEXTS), tiny_teacher.encode_document(TEXTS))


@pytest.mark.parametrize("cut", ["student", "teacher"])
def test_a_model_that_cuts_its_vectors_cuts_them_in_a_composition(
    cut, tiny_student, narrow_student, tiny_teacher, tmp_path
):
    student, teacher = (tiny_student, narrow_student) if cut == "student" else (narrow_student, tiny_teacher)
    {"student": student, "teacher": teacher}[cut].truncate_dim = 16
    model = compose(student, teacher)
    model.save_pretrained(str(tmp_path), create_model_card=False)
    for found in (model, SentenceTransformer(str(tmp_path), device="cpu")):
        assert found.encode_query(TEXTS).shape == found.encode_document(TEXTS).shape == (3, 16)
        np.testing.assert_allclose(found.encode_query(TEXTS), student.encode_query(TEXTS), atol=1e-6)
        np.testing.assert_allclose(found.encode_document(TEXTS), teacher.encode_document(TEXTS), atol=1e-6)
