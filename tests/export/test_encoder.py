import warnings
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from leaf_st.errors import InputError
from leaf_st.evaluation import timing
from leaf_st.evaluation.timing import Candidate, measure_latency
from leaf_st.export import encoder, forms
from leaf_st.export.encoder import INPUTS, OnnxEncoder
from leaf_st.student.build import build_student

PROMPTS = {"query": "q: ", "document": ""}

TEXTS = {
    "query": [f"a question, {'so ' * (number % 5)}short" for number in range(8)],
    "document": ["and " * (5 + 9 * number) for number in range(8)],  # the last texts are longer than the model reads
}


class _Graph(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, input_ids, attention_mask):
        return self.model({"input_ids": input_ids, "attention_mask": attention_mask})["sentence_embedding"]


def _export(model, path):
    ids = torch.ones(2, 7, dtype=torch.long)
    shapes = {name: {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=64)} for name in INPUTS}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporter uses what torch deprecates
        torch.onnx.export(
            _Graph(model).eval(),
            (ids, torch.ones_like(ids)),
            path,
            dynamo=True,
            verbose=False,
            input_names=INPUTS,
            dynamic_shapes=shapes,
        )
    return path


def _model(folder):
    torch.manual_seed(0)
    return build_student(folder, dimension=48, normalized=True, layers=(0, 5), prompts=PROMPTS, device="cpu")


@pytest.fixture
def model(tiny_teacher_folder):
    return _model(tiny_teacher_folder)


@pytest.fixture(scope="module")
def graph(tmp_path_factory, tiny_teacher_folder):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    return _export(_model(tiny_teacher_folder), tmp_path_factory.mktemp("onnx") / "model.onnx")


def test_vectors_equal_torch(graph, model):
    encode = OnnxEncoder(graph, model)
    assert encode("query", TEXTS["query"]) == pytest.approx(model.encode_query(TEXTS["query"]), abs=1e-5)
    documents = encode("document", TEXTS["document"])
    assert documents == pytest.approx(model.encode_document(TEXTS["document"]), abs=1e-5)
    assert not np.allclose(encode("query", ["a"]), encode("document", ["a"]), atol=1e-2)


def test_a_graph_is_timed_beside_torch(graph, model, monkeypatch):
    monkeypatch.setattr(timing, "bfloat16_is_fast", lambda device: False)
    candidate = Candidate("model", model, "model", {"onnx": graph})
    rows = measure_latency([candidate], TEXTS, batch_sizes=(1, 8), repeats=2)
    assert [row.backend for row in rows] == ["torch float32"] * 4 + ["onnx"] * 4
    assert rows[-1].device == "cpu"
    assert min(rows[-1].seconds) > 0


def test_without_onnxruntime_a_graph_is_not_timed(model, tmp_path, monkeypatch, caplog):
    caplog.set_level("INFO", "leaf_st")
    monkeypatch.setattr(encoder, "onnxruntime_is_installed", lambda: False)
    monkeypatch.setattr(forms, "FORMS", tuple(replace(form, can_run=lambda: False) for form in forms.FORMS))
    candidate = Candidate("model", model, "model", {"onnx": tmp_path / "model.onnx"})
    rows = measure_latency([candidate], TEXTS, batch_sizes=(1,), repeats=1)
    assert "onnx" not in {row.backend for row in rows}
    assert "model.onnx is not timed: pip install 'leaf-st[onnx]'" in caplog.text
    with pytest.raises(InputError, match=r"onnxruntime is not installed: pip install 'leaf-st\[onnx\]'"):
        OnnxEncoder(tmp_path / "model.onnx", model)


def test_an_unusable_file_is_named(model, tmp_path, graph):
    broken = tmp_path / "model.onnx"
    broken.write_bytes(b"no graph")
    with pytest.raises(InputError, match=r"model\.onnx cannot be loaded: .*: export the model again"):
        OnnxEncoder(broken, model)
    with pytest.raises(InputError, match=r"nowhere\.onnx cannot be loaded"):
        OnnxEncoder(tmp_path / "nowhere.onnx", model)
    import onnx
    from onnx import helper

    value = partial(helper.make_tensor_value_info, elem_type=onnx.TensorProto.FLOAT, shape=["n"])
    nodes = [helper.make_node("Identity", ["tokens"], ["vectors"])]
    made = helper.make_graph(nodes, "other", [value("tokens")], [value("vectors")])
    onnx.save(helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), broken)
    with pytest.raises(InputError, match="expected the inputs input_ids, attention_mask, found tokens"):
        OnnxEncoder(broken, model)
