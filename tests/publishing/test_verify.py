import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

import leaf_st
from leaf_st.errors import InputError
from leaf_st.export import forms
from leaf_st.models.intact import record_files
from leaf_st.models.load import load_model
from leaf_st.models.portable import save_portable
from leaf_st.models.random_weights import WIDTH
from leaf_st.publishing import verify as verifying
from leaf_st.publishing.consumer import Reading, read_as_consumer
from leaf_st.publishing.prepare import prepare
from leaf_st.publishing.verify import verify, verify_by_name
from leaf_st.student.asymmetric import compose
from leaf_st.student.build import build_student
from leaf_st.student.static import build_static

_NO_NETWORK = "OSError: loading the model needs the network"


@pytest.fixture(scope="session")
def prepared(finished, tmp_path_factory):
    """A prepared run, its checks, and its reading in this process: a separate process takes seconds."""
    run = shutil.copytree(finished, tmp_path_factory.mktemp("prepared") / "tiny")
    readings = []

    def read(folder, texts):
        model = SentenceTransformer(str(folder), device="cpu")
        names = [type(module).__name__ for module in model]
        vectors = model.encode_query(list(texts)), model.encode_document(list(texts))
        readings.append(Reading(names, "6.2", model.get_embedding_dimension(), model.prompts, "cosine", *vectors))
        return readings[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verifying, "read_as_consumer", read)
        return run, {check.name: check for check in prepare(run, "us/tiny")}, readings[0]


@pytest.fixture
def reading(prepared):
    return prepared[2]


@pytest.fixture
def folder(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "folder")


@pytest.fixture
def checked(finished, reading, monkeypatch):
    """Check a folder whose vectors are ``reading``."""
    trained = load_model(str(finished / "model"))

    def check(folder, found=reading, model=trained):
        monkeypatch.setattr(verifying, "read_as_consumer", lambda *_: found)
        return {check.name: check for check in verify(folder, model)}

    return check


def _change(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_run_is_fit_to_be_published(prepared):
    checks = prepared[1]
    assert {name: check.state for name, check in checks.items()} == {
        **dict.fromkeys(
            ("load", "dimension", "norm", "prompts", "similarity", "vectors", "layout", "length", "secrets", "card"),
            "ok",
        ),
        "onnx": "skipped",
    }
    assert checks["load"].detail.startswith("Transformer, Pooling, Dense, Normalize by sentence-transformers ")
    assert checks["dimension"].detail == "32"
    assert checks["prompts"].detail == "query 'find: ', document ''"
    assert checks["vectors"].detail.endswith("from the trained model")


@pytest.mark.parametrize("forbidden", ["import leaf_st", "import socket; socket.create_connection(('127.0.0.1', 9))"])
def test_a_consumer_has_neither_leaf_st_nor_a_network(tmp_path, monkeypatch, forbidden):
    lines = ["class SentenceTransformer:", "    def __init__(self, *_, **__):", f"        {forbidden}"]
    (tmp_path / "sentence_transformers.py").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{Path(leaf_st.__file__).parents[1]}")
    failed = read_as_consumer(tmp_path, ["a"])
    assert failed in ("ModuleNotFoundError: import of leaf_st halted; None in sys.modules", _NO_NETWORK)


def test_other_weights(folder, run, checked, reading):
    found = checked(folder, type(reading)(**{**vars(reading), "query": reading.query + np.float32(2e-6)}))
    assert (found["vectors"].state, found["load"].state) == ("failed", "ok")
    assert "from the trained model, expected at most 1e-06" in found["vectors"].detail
    weights = load_file(run / "model" / "2_Dense" / "model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, run / "model" / "2_Dense" / "model.safetensors")
    record_files(run / "model", [Path("2_Dense", "model.safetensors")])
    stretched = checked(folder, model=load_model(str(run / "model")))
    assert stretched["vectors"].state == "ok"  # since they are normalised


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        ({"dimension": 31}, "dimension", "expected 32 everywhere, found [31, 32]"),
        ({"prompts": {"query": ""}}, "prompts", 'expected {"query": "find: ", "document": ""}, found {"query": ""}'),
        ({"similarity": "dot"}, "similarity", "expected cosine, found dot"),
        ({"query": np.full((5, 32), 0.2, np.float32)}, "norm", "expected 1, found"),
        ({"query": np.full((5, 32), np.nan, np.float32)}, "norm", "some vectors are not finite"),
        ({"query": np.full((5, 32), np.nan, np.float32)}, "vectors", "differ by nan from the trained model"),
        ({"query": np.ones((5, 16), np.float32)}, "vectors", "do not have the width"),
    ],
)
def test_other_vectors(folder, checked, reading, change, name, expected):
    found = checked(folder, type(reading)(**{**vars(reading), **change}))[name]
    assert found.state == "failed"
    assert expected in found.detail


def test_without_a_model_to_compare_with(folder, checked):
    found = checked(folder, model=None)
    assert found["vectors"].state == "skipped"
    assert {check.state for name, check in found.items() if name not in ("vectors", "onnx")} == {"ok"}


@pytest.mark.parametrize(
    ("file", "text", "name", "expected"),
    [
        ("pytorch_model.bin", "", "layout", "pytorch_model.bin: expected weights as safetensors"),
        ("notes.txt", "hf_" + "a1B2" * 9, "secrets", "notes.txt contains an access token of the hub"),
        ("README.md", "---\nlicense: mit\n---\n", "card", "no library_name, pipeline_tag, tags"),
        ("README.md", "---\nlicense: [\n---\n", "card", "the metadata in its head is invalid"),
        ("README.md", "a card", "card", "no license, library_name, pipeline_tag, tags"),
    ],
)
def test_files_that_are_not_safe_to_publish(folder, checked, file, text, name, expected):
    (folder / file).write_text(text)
    found = checked(folder)[name]
    assert found.state == "failed"
    assert expected in found.detail


def test_another_length_in_the_tokenizer(folder, checked):
    assert checked(folder)["length"].detail == "64 tokens"
    _change(folder / "tokenizer_config.json", lambda config: config.update(model_max_length=512))
    found = checked(folder)["length"]
    expected = "tokenizer_config.json: expected model_max_length 64, the max_seq_length of sentence_bert_config.json"
    assert found.state == "failed"
    assert found.detail.startswith(f"{expected}, found 512")
    (folder / "tokenizer_config.json").unlink()
    assert "found None" in checked(folder)["length"].detail


def test_lengths_of_a_pair_and_of_a_static_model(tmp_path, checked, tiny_teacher_folder, tiny_teacher):
    student = build_student(tiny_teacher_folder, dimension=WIDTH, normalized=True, max_length=21, device="cpu")
    save_portable(compose(student, tiny_teacher), tmp_path / "both")
    assert checked(tmp_path / "both")["length"].detail == "64 and 21 tokens"
    path = tmp_path / "both" / "query_0_Transformer" / "tokenizer_config.json"
    _change(path, lambda config: config.pop("model_max_length"))
    assert checked(tmp_path / "both")["length"].detail.startswith("query_0_Transformer/tokenizer_config.json: expected")
    save_portable(build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu"), tmp_path / "table")
    assert checked(tmp_path / "table")["length"].state == "skipped"


def test_class_paths_that_only_new_versions_know(folder, checked):
    new = "sentence_transformers.base.modules.dense.Dense"
    _change(folder / "modules.json", lambda modules: modules[2].update(type=new))
    assert checked(folder)["layout"].detail.startswith(f"{new}: old versions")


class _Graph:
    """A stand-in for the graph of a model: the model's vectors plus ``off``."""

    def __init__(self, off):
        self.off = off

    def __call__(self, side, texts):
        return self.vectors + np.float32(self.off)


@pytest.mark.parametrize(
    ("name", "off", "state", "expected"),
    [
        ("model.onnx", 5e-6, "ok", "model.onnx error 5.0e-06"),
        ("model.onnx", 5e-5, "failed", "model.onnx differs by 5.0e-05 from torch, expected at most 1e-05"),
        ("model_int8.onnx", 5e-3, "ok", "model_int8.onnx mean cosine 0.99"),
        ("model_int8.onnx", 0.5, "failed", "expected at least 0.99"),
        ("model_int8.onnx", np.nan, "failed", "mean cosine of nan"),
    ],
)
def test_a_graph(folder, checked, reading, monkeypatch, name, off, state, expected):
    (folder / "onnx").mkdir()
    (folder / "onnx" / name).touch()
    _Graph.vectors = reading.query
    read = tuple(replace(form, encoder=lambda *_: _Graph(off), can_run=lambda: True) for form in forms.FORMS)
    monkeypatch.setattr(forms, "FORMS", read)
    found = checked(folder)["onnx"]
    assert (found.state, expected in found.detail) == (state, True), found


def test_a_graph_that_saturates_on_other_processors(folder, checked, reading, monkeypatch):
    onnx = pytest.importorskip("onnx")
    _Graph.vectors = reading.query
    read = tuple(replace(form, encoder=lambda *_: _Graph(0), can_run=lambda: True) for form in forms.FORMS)
    monkeypatch.setattr(forms, "FORMS", read)
    (folder / "onnx").mkdir()
    weight = onnx.numpy_helper.from_array(np.full((2, 2), 100, np.int8), "weight")
    product = onnx.helper.make_node("MatMulInteger", ["input", "weight"], ["output"])
    graph = onnx.helper.make_graph([product], "product", [], [], [weight])
    onnx.save(onnx.helper.make_model(graph), folder / "onnx" / "model_quantized.onnx")
    found = checked(folder)["onnx"]
    assert (found.state, "model_quantized.onnx has int8 weights up to 100" in found.detail) == ("failed", True), found


def test_a_graph_that_cannot_be_run(folder, checked, monkeypatch):
    pytest.importorskip("onnxruntime")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"none")
    assert "model.onnx cannot be loaded" in checked(folder)["onnx"].detail
    monkeypatch.setattr(forms, "FORMS", tuple(replace(form, can_run=lambda: False) for form in forms.FORMS))
    found = checked(folder)["onnx"]
    assert (found.state, "onnxruntime is not installed" in found.detail) == ("skipped", True)


def test_folders_that_cannot_be_checked(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        verify_by_name(tmp_path / "none")
    with pytest.raises(InputError, match=r"expected a model folder with modules\.json"):
        verify_by_name(tmp_path)
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(InputError, match="found no model: run `leaf-st train`, or name another folder"):
        verify_by_name(tmp_path)


@pytest.mark.parametrize("content", ["[" * 100_000, "[1]", '"text"', "\0"])
@pytest.mark.parametrize(
    ("name", "check"),
    [("modules.json", "layout"), ("sentence_bert_config.json", "length"), ("tokenizer_config.json", "length")],
)
def test_json_of_another_shape_fails_a_check(name, check, content, folder, monkeypatch):
    monkeypatch.setattr(verifying, "read_as_consumer", lambda *_: "ValueError: cannot be loaded")
    (folder / name).write_text(content)
    checks = {found.name: found for found in verify(folder, None)}
    assert checks[check].state == "failed"
    assert f"{name}: expected" in checks[check].detail


def test_a_secret_is_found_in_text_of_any_encoding(folder, monkeypatch):
    monkeypatch.setattr(verifying, "read_as_consumer", lambda *_: "ValueError: cannot be loaded")
    (folder / "notes.txt").write_bytes(b"\xff hf_" + b"a" * 34)
    assert {found.name: found.state for found in verify(folder, None)}["secrets"] == "failed"
