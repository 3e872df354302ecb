import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from leaf_st.errors import InputError
from leaf_st.publishing import verify as verifying
from leaf_st.publishing.consumer import read_as_consumer
from leaf_st.publishing.prepare import make_folder, prepare
from leaf_st.publishing.verify import verify, verify_by_name
from leaf_st.student.load import load_student

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="session")
def reading(ready):
    """What a consumer gets of the folder, asked for once; each takes seconds."""
    return read_as_consumer(ready, verifying._TEXTS)


@pytest.fixture
def folder(ready, tmp_path):
    return shutil.copytree(ready, tmp_path / "folder")


@pytest.fixture
def checked(finished, reading, monkeypatch):
    """Check a folder whose vectors are ``reading``."""
    trained = load_student(str(finished / "model"))

    def check(folder, found=reading, model=trained):
        monkeypatch.setattr(verifying, "read_as_consumer", lambda *_: found)
        return {check.name: check for check in verify(folder, model)}

    return check


def _change(path, change):
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_a_run_is_fit_to_be_published(run):
    checks = {check.name: check for check in prepare(run, "us/tiny")}
    assert {name: check.state for name, check in checks.items()} == {
        **dict.fromkeys(("load", "dimension", "norm", "prompts", "vectors", "layout", "secrets", "card"), "ok"),
        "onnx": "skipped",
    }
    assert checks["load"].detail.startswith("Transformer, Pooling, Dense, Normalize by sentence-transformers ")
    assert checks["dimension"].detail == "32"
    assert checks["prompts"].detail == "query 'find: ', document ''"
    assert checks["vectors"].detail.endswith("from the trained model's at most")


def test_student_and_teacher_in_one_folder(run):
    make_folder(run, "us/tiny", asymmetric=True, without_results=False)
    folder, checks = verify_by_name(run)
    assert folder == run / "publish"
    assert {check.state for check in checks if check.name != "onnx"} == {"ok"}
    assert checks[0].detail.startswith("Router by ")
    assert json.loads((folder / "recipe.json").read_text())["resolved"]["name"] == "tiny"


def test_a_consumer_has_neither_this_package_nor_a_network(folder):
    _change(folder / "modules.json", lambda modules: modules[0].update(type="leaf_st.student.projection.Projection"))
    assert "leaf_st" in read_as_consumer(folder, ["a"])
    (folder / "config.json").unlink()
    (check,) = (check for check in verify(folder, None) if check.name == "load")
    assert check.state == "failed"


def test_other_weights(folder, run, checked, reading):
    found = checked(folder, type(reading)(**{**vars(reading), "query": reading.query + np.float32(2e-6)}))
    assert (found["vectors"].state, found["load"].state) == ("failed", "ok")
    assert "from the trained model's at most, expected 1e-06" in found["vectors"].detail
    weights = load_file(run / "model" / "2_Dense" / "model.safetensors")
    save_file({name: value * 2 for name, value in weights.items()}, run / "model" / "2_Dense" / "model.safetensors")
    stretched = checked(folder, model=load_student(str(run / "model")))
    assert stretched["vectors"].state == "ok"  # since they are normalised


@pytest.mark.parametrize(
    ("change", "name", "expected"),
    [
        ({"dimension": 31}, "dimension", "expected 32 everywhere, found [31, 32]"),
        ({"prompts": {"query": ""}}, "prompts", 'expected {"query": "find: ", "document": ""}, found {"query": ""}'),
        ({"query": np.full((5, 32), 0.2, np.float32)}, "norm", "expected 1, found"),
        ({"query": np.full((5, 32), np.nan, np.float32)}, "norm", "some vectors are not finite"),
        ({"query": np.full((5, 32), np.nan, np.float32)}, "vectors", "nan from the trained model's"),
        ({"query": np.ones((5, 16), np.float32)}, "vectors", "not the width"),
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
        ("pytorch_model.bin", "", "layout", "pytorch_model.bin: weights must be safetensors"),
        ("notes.txt", "hf_" + "a1B2" * 9, "secrets", "notes.txt holds a token of the hub"),
        ("README.md", "---\nlicense: mit\n---\n", "card", "no library_name, base_model, pipeline_tag, tags"),
        ("README.md", "---\nlicense: [\n---\n", "card", "its head is no valid metadata"),
        ("README.md", "a card", "card", "no license, library_name, base_model, pipeline_tag, tags"),
    ],
)
def test_files_that_are_not_fit(folder, checked, file, text, name, expected):
    (folder / file).write_text(text)
    found = checked(folder)[name]
    assert found.state == "failed"
    assert expected in found.detail


def test_class_paths_of_new_versions_alone(folder, checked):
    new = "sentence_transformers.base.modules.dense.Dense"
    _change(folder / "modules.json", lambda modules: modules[2].update(type=new))
    assert checked(folder)["layout"].detail.startswith(f"{new}: old versions")


class _Graph:
    """Stands for the graph of a model: its vectors, moved by ``off``."""

    def __init__(self, off):
        self.off = off

    def __call__(self, side, texts):
        return self.vectors + np.float32(self.off)


@pytest.mark.parametrize(
    ("name", "off", "state", "expected"),
    [
        ("model.onnx", 5e-6, "ok", "model.onnx 5.0e-06 off at most"),
        ("model.onnx", 5e-5, "failed", "model.onnx is 5.0e-05 off at most, expected 1e-05"),
        ("model_int8.onnx", 5e-3, "ok", "model_int8.onnx mean cosine 0.99"),
        ("model_int8.onnx", 0.5, "failed", "expected at least 0.99"),
        ("model_int8.onnx", np.nan, "failed", "mean cosine nan"),
    ],
)
def test_a_graph(folder, checked, reading, monkeypatch, name, off, state, expected):
    (folder / "onnx").mkdir()
    (folder / "onnx" / name).touch()
    _Graph.vectors = reading.query
    monkeypatch.setattr(verifying, "OnnxEncoder", lambda *_: _Graph(off))
    found = checked(folder)["onnx"]
    assert (found.state, expected in found.detail) == (state, True), found


def test_a_graph_that_cannot_be_run(folder, checked, monkeypatch):
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.onnx").write_bytes(b"none")
    assert "model.onnx cannot be loaded" in checked(folder)["onnx"].detail
    monkeypatch.setattr(verifying, "onnxruntime_is_here", lambda: False)
    found = checked(folder)["onnx"]
    assert (found.state, "onnxruntime is not installed" in found.detail) == ("skipped", True)


def test_what_cannot_be_checked(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        verify_by_name(tmp_path / "none")
    with pytest.raises(InputError, match=r"holds no model, expected modules\.json"):
        verify_by_name(tmp_path)
