from dataclasses import replace

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Pooling
from torch import nn

from leaf_st.errors import InputError
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.student.start import load_start
from leaf_st.student.static import build_static

TEXTS = ["a small text", "z"]


@pytest.fixture
def fingerprint(local_teacher):
    return local_teacher.fingerprint


def _saved(student, folder, record=None):
    save_portable(student, folder, record)
    return str(folder)


def test_it_is_the_same_student_ready_to_learn(tiny_student, fingerprint, tmp_path):
    for part in tiny_student.modules():
        if isinstance(part, nn.Dropout):
            part.p = 0.1
    tiny_student[0].model.config.hidden_dropout_prob = 0.1
    start = load_start(_saved(tiny_student.half(), tmp_path / "model"), fingerprint)
    assert {weight.dtype for weight in start.parameters()} == {torch.float32}
    assert all(weight.requires_grad for weight in start.parameters())
    assert {part.p for part in start.modules() if isinstance(part, nn.Dropout)} == {0.0}
    expected = SentenceTransformer(str(tmp_path / "model"), model_kwargs={"dtype": torch.float32}, device="cpu")
    np.testing.assert_allclose(start.train().encode(TEXTS), expected.float().encode(TEXTS), atol=1e-6)


def test_a_dense_with_a_bias_keeps_it(tiny_student, fingerprint, tmp_path):
    tiny_student[2] = Dense(WIDTH, WIDTH, bias=True, activation_function=nn.Identity())
    nn.init.normal_(tiny_student[2].linear.bias)
    start = load_start(_saved(tiny_student, tmp_path / "model"), fingerprint)
    assert torch.equal(start[2].linear.bias, tiny_student[2].linear.bias)
    save_portable(start, tmp_path / "again")
    again = SentenceTransformer(str(tmp_path / "again"), device="cpu")
    np.testing.assert_allclose(again.encode(TEXTS), tiny_student.encode(TEXTS), atol=1e-6)


def test_a_student_that_leaves_out_the_norm_is_taken_as_it_is(tiny_student, fingerprint, tmp_path):
    del tiny_student[3]
    assert len(load_start(_saved(tiny_student, tmp_path / "model"), fingerprint)) == 3


def test_it_may_read_another_number_of_tokens(tiny_student, fingerprint, tmp_path):
    folder = _saved(tiny_student, tmp_path / "model")
    assert load_start(folder, fingerprint).max_seq_length == tiny_student.max_seq_length
    assert load_start(folder, fingerprint, max_length=9).max_seq_length == 9
    with pytest.raises(InputError, match="reads at most 128 tokens, found 129"):
        load_start(folder, fingerprint, max_length=129)


def test_another_width_is_refused(narrow_student, fingerprint, tmp_path):
    with pytest.raises(InputError, match=r"teacher tiny gives 32 dimensions, student\.start .* gives 16: set teacher"):
        load_start(_saved(narrow_student, tmp_path / "model"), fingerprint)


def test_a_model_that_is_no_student_is_refused(tiny_teacher_folder, fingerprint):
    with pytest.raises(InputError, match=r"expected Transformer, Pooling .* found Transformer, Pooling, Normalize:"):
        load_start(str(tiny_teacher_folder), fingerprint)


def test_another_pooling_is_refused(tiny_student, fingerprint, tmp_path):
    tiny_student[1] = Pooling(WIDTH, "cls")
    tiny_student.save_pretrained(str(tmp_path / "model"), create_model_card=False)
    with pytest.raises(InputError, match=r"Pooling \(mean\)"):
        load_start(str(tmp_path / "model"), fingerprint)


def test_a_norm_that_the_teacher_does_not_have_is_refused(tiny_student, fingerprint, tmp_path):
    folder = _saved(tiny_student, tmp_path / "model")
    with pytest.raises(InputError, match="gives vectors of norm 1, teacher tiny does not"):
        load_start(folder, replace(fingerprint, normalized=False))


def test_other_prompts_are_refused(tiny_student, fingerprint, tmp_path):
    tiny_student.prompts = {"query": "find: "}
    with pytest.raises(InputError, match="the prompt 'find: ' for kind query, teacher tiny has ''"):
        load_start(_saved(tiny_student, tmp_path / "model"), fingerprint)


@pytest.mark.parametrize("record", [{"teacher": {"teacher": "other", "revision": "1"}}, {"teacher": {}}])
def test_a_teacher_of_the_same_width_is_refused_by_its_files(tiny_student, fingerprint, tmp_path, record):
    folder = _saved(tiny_student, tmp_path / "model", record)
    with pytest.raises(InputError, match=r"learned from (other \(1\)|None .*), the teacher here is tiny \(0\)"):
        load_start(folder, fingerprint)


@pytest.mark.parametrize("name", ["leaf-ir", "MongoDB/mdbr-leaf-ir"])
def test_another_teacher_than_the_zoo_names_is_refused(name, tiny_student, fingerprint, tmp_path, monkeypatch):
    _saved(tiny_student, tmp_path / "model")
    for module in ("models.load", "student.start"):
        monkeypatch.setattr(f"leaf_st.{module}.find_model", lambda *_, **__: tmp_path / "model")
    its = replace(fingerprint, teacher="Snowflake/snowflake-arctic-embed-m-v1.5")
    assert load_start(name, its).encode("a").shape == (WIDTH,)
    with pytest.raises(InputError, match=rf"{name} learned from Snowflake/.*-v1\.5, the teacher here is us/other: set"):
        load_start(name, replace(fingerprint, teacher="us/other"))


def test_a_table_of_tokens_is_refused(tiny_teacher_folder, fingerprint, tmp_path):
    static = build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu")
    with pytest.raises(InputError, match=r"is a static student, .* expected one with an encoder: train a table"):
        load_start(_saved(static, tmp_path / "model"), fingerprint)
