import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

from leaf_st.errors import InputError
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.recipe import TeacherSpec
from leaf_st.student.asymmetric import compose
from leaf_st.student.static import build_static, fit_table
from leaf_st.teacher.local import LocalTeacher
from leaf_st.teacher.open import open_teacher

TEXTS = ["a small text", "another one which is longer than that", "z", "e e e e e e e e e q"]


def _build(folder, **change):
    return build_static(folder, **{"dimension": WIDTH, "normalized": True, "device": "cpu", **change})


@pytest.fixture
def student(tiny_teacher_folder):
    torch.manual_seed(5)
    return _build(tiny_teacher_folder, prompts={"query": "find: ", "document": ""})


def _ids(student, text):
    return student[0].tokenizer.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize(("normalized", "end"), [(True, [Normalize]), (False, [])])
def test_shape_is_a_table_and_the_teacher_s_norm(tiny_teacher_folder, tiny_teacher, normalized, end):
    student = _build(tiny_teacher_folder, dimension=48, normalized=normalized)
    assert [type(module) for module in student] == [StaticEmbedding, *end]
    assert student[0].embedding.weight.shape == (len(tiny_teacher.tokenizer), 48)
    assert student[0].embedding.weight.requires_grad


def test_a_vector_is_the_mean_of_those_of_all_tokens(student, tiny_teacher):
    text = "long " * 40
    ids = _ids(student, text)
    assert len(ids) == 160 > tiny_teacher.max_seq_length
    mean = student[0].embedding.weight[ids].mean(dim=0)
    torch.testing.assert_close(student.encode(text, convert_to_tensor=True), mean / mean.norm())


def test_tokens_have_the_vectors_that_the_teacher_gives_to_single_tokens(student, tiny_teacher):
    tiny_teacher.encode(TEXTS)  # leaves padding and truncation behind in the tokenizer
    vectors = LocalTeacher(tiny_teacher, "tiny", "0").token_vectors(len(tiny_teacher.tokenizer))
    assert vectors.shape == (len(tiny_teacher.tokenizer), WIDTH)
    (letter,) = _ids(student, "z")
    np.testing.assert_allclose(vectors[letter].numpy(), tiny_teacher.encode("z"), atol=1e-6)
    inner = tiny_teacher.tokenizer.convert_tokens_to_ids("##z")  # no text consists of only this token
    assert not torch.allclose(vectors[inner], vectors[letter], atol=1e-3)


def test_the_start_is_the_weighted_tokens_through_the_map_to_the_targets(student, tiny_teacher, local_teacher):
    texts = [f"{a} {b} {b}{c}" for a in "abcdef" for b in "ghijkl" for c in "mnopqr"]
    targets = tiny_teacher.encode(texts).astype(np.float64)
    fit_table(student, local_teacher, texts, targets)
    table = student[0].embedding.weight.detach().double().numpy()
    counts = np.bincount([token for text in texts for token in _ids(student, text)], minlength=len(table))
    singles = local_teacher.token_vectors(len(table)).double().numpy()
    start = singles * (1e-3 / (1e-3 + counts / counts.sum()))[:, None]
    means = np.stack([start[_ids(student, text)].mean(axis=0) for text in texts])
    gram = means.T @ means
    gram += 1e-3 * np.diag(gram).mean() * np.eye(WIDTH)
    expected = start @ np.linalg.solve(gram, means.T @ targets)
    np.testing.assert_allclose(table, expected, atol=1e-4 * np.abs(expected).max())


def test_the_start_is_nearer_to_the_teacher_than_a_random_table(student, tiny_teacher, local_teacher):
    targets = tiny_teacher.encode(TEXTS * 8)
    before = np.linalg.norm(student.encode(TEXTS * 8) - targets, axis=1).mean()
    fit_table(student, local_teacher, TEXTS * 8, targets)
    assert np.linalg.norm(student.encode(TEXTS * 8) - targets, axis=1).mean() < 0.5 * before


def test_the_teacher_s_tokenizer_stays_as_it_is(tiny_teacher, local_teacher):
    tiny_teacher.encode(TEXTS)
    before = tiny_teacher.tokenizer.backend_tokenizer.to_str()
    local_teacher.token_vectors(3)
    assert tiny_teacher.tokenizer.backend_tokenizer.to_str() == before


def test_a_teacher_without_a_fast_tokenizer_is_named(tmp_path, student):
    save_portable(student, tmp_path / "model")
    with pytest.raises(InputError, match="expected a teacher with a fast tokenizer of transformers, found a Tok"):
        _build(tmp_path / "model")


def test_queries_by_the_table_and_documents_by_the_teacher(tmp_path, student, tiny_teacher):
    compose(student, tiny_teacher).save_pretrained(str(tmp_path), create_model_card=False)
    model = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(model.encode_query(TEXTS), student.encode_query(TEXTS), atol=1e-6)
    np.testing.assert_allclose(model.encode_document(TEXTS), tiny_teacher.encode_document(TEXTS), atol=1e-6)


def test_the_table_of_a_teacher_that_cuts_its_vectors_is_as_narrow(tiny_teacher, local_teacher, tiny_teacher_folder):
    whole = local_teacher.token_vectors(300)
    tiny_teacher.truncate_dim = 16
    teacher = LocalTeacher(tiny_teacher, "tiny", "0")
    torch.testing.assert_close(teacher.token_vectors(300), whole[:, :16])
    student = _build(tiny_teacher_folder, dimension=16, normalized=teacher.fingerprint.normalized)
    fit_table(student, teacher, TEXTS * 8, teacher.encode_document(TEXTS * 8))
    assert student.encode(TEXTS).shape == (4, 16)


def test_a_token_without_a_row_in_the_teacher_s_table_has_the_zero_vector(tiny_teacher, tmp_path):
    rows = tiny_teacher[0].model.get_input_embeddings().num_embeddings
    tiny_teacher.tokenizer.add_tokens([f"<{number}>" for number in range(rows + 2 - len(tiny_teacher.tokenizer))])
    tiny_teacher.save_pretrained(str(tmp_path / "teacher"))
    teacher = open_teacher(TeacherSpec(model=str(tmp_path / "teacher"), precision="float32"), "cpu")
    vectors = teacher.token_vectors(rows + 2)
    torch.testing.assert_close(vectors[:rows], teacher.token_vectors(rows))
    assert not vectors[rows:].any()
    assert vectors[:rows].any(dim=1).all()
    student = _build(tmp_path / "teacher")
    fit_table(student, teacher, TEXTS * 8, teacher.encode_document(TEXTS * 8))
    table = student[0].embedding.weight
    assert table.shape == (rows + 2, WIDTH)
    assert not table[rows:].any()
