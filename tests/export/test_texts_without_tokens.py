"""Batches of no text, and texts that have no tokens of their own, in torch and in every exported form."""

import json
import shutil

import numpy as np
import pytest
import torch

from leaf_st.export.encoder import OnnxEncoder
from leaf_st.export.forms import FORMS, get_form
from leaf_st.export.parity import form_vectors, torch_vectors
from leaf_st.student.build import build_student
from leaf_st.student.static import build_static

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

DIMENSION = 16
BATCHES = [[""], [" "], ["\u200b", ""], ["東京"], ["", "a text", "東", "\u200b", "another text, which is longer"]]


def _without_special_tokens(folder, copy):
    """Copy a model; the tokenizer of the copy adds no tokens to a text, as GPT-2's."""
    shutil.copytree(folder, copy)
    changes = {
        "tokenizer.json": {"post_processor": None},
        "tokenizer_config.json": {"tokenizer_class": "TokenizersBackend"},
    }
    for name, change in changes.items():
        content = json.loads((copy / name).read_text())
        (copy / name).write_text(json.dumps({**content, **change}))
    return copy


@pytest.fixture(scope="module", params=["special tokens", "no special tokens"])
def student(request, tiny_teacher_folder, tmp_path_factory):
    folder = tiny_teacher_folder
    if request.param == "no special tokens":
        folder = _without_special_tokens(folder, tmp_path_factory.mktemp("bare") / "model")
    torch.manual_seed(0)
    student = build_student(folder, dimension=DIMENSION, normalized=True, layers=(0,), device="cpu").eval()
    has_tokens = bool(student.preprocess([""])["input_ids"].numel())
    assert has_tokens == (request.param == "special tokens")
    return student


@pytest.fixture(scope="module")
def encoders(student, tmp_path_factory):
    """An encoder for each form of the student, by the name of the form."""
    folder, found, made = tmp_path_factory.mktemp("forms"), {}, {}
    has_special_tokens = bool(student.preprocess([""])["input_ids"].numel())
    # Other tests export the standard graph of a model with special tokens, which takes seconds.
    for form in FORMS:
        if has_special_tokens and "onnx" in (form.name, form.made_from):
            continue
        made[form.name] = folder / form.file.name
        form.make(student, made[form.name], made.get(form.made_from or ""))
        found[form.name] = OnnxEncoder(made[form.name], student)
    return found


def test_every_form_gives_the_vectors_of_torch(student, encoders):
    for texts in BATCHES:
        expected = student.encode_query(texts)
        norms = np.linalg.norm(expected, axis=1)
        assert np.all((norms == 0) | (np.abs(norms - 1) < 1e-5))
        for name, encode in encoders.items():
            found = encode("query", texts)
            assert found == pytest.approx(expected, abs=1e-5 if get_form(name).limits.exact else 0.05), name
            np.testing.assert_array_equal(found[norms == 0], 0)


def test_a_batch_of_no_text_has_no_vectors(student, encoders):
    for encode in encoders.values():
        assert encode("query", []).shape == encode.encode("document", [], 4).shape == (0, DIMENSION)
        texts = {"query": ["a text"], "document": []}
        assert form_vectors(encode, texts) == pytest.approx(torch_vectors(student, texts), abs=0.05)


def test_a_static_student_gives_zero_vectors(tiny_teacher_folder):
    student = build_static(tiny_teacher_folder, dimension=DIMENSION, normalized=True, device="cpu")
    for texts in BATCHES:
        norms = np.linalg.norm(student.encode_query(texts), axis=1)
        has_tokens = [bool(student[0].preprocess([text])["input_ids"].numel()) for text in texts]
        np.testing.assert_allclose(norms, np.array(has_tokens, dtype=np.float32), atol=1e-5)
