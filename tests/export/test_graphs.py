from pathlib import Path

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

from leaf_st.errors import InputError
from leaf_st.export.encoder import INPUTS
from leaf_st.export.onnx import OUTPUTS, _Student, linear_layers, standard_graph
from leaf_st.export.packed import can_be_packed, packed_graph, write_packed
from leaf_st.export.quantized import write_quantized
from leaf_st.models.random_weights import WIDTH
from leaf_st.student.build import build_student
from leaf_st.student.static import build_static

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

ROOT = Path(torch.__file__).parents[1]
SHAPES = {(1, 1): [1], (1, 40): [40], (3, 9): [9, 1, 4], (5, 64): [2, 64, 7, 33, 2]}  # batch shape: tokens of each text


def _student(folder, normalized):
    torch.manual_seed(0)
    return build_student(folder, dimension=48, normalized=normalized, layers=(0, 5), device="cpu").eval()


def _with_biases(folder):
    """A model with two layers after the pooling."""
    torch.manual_seed(0)
    first, pooling, *_ = SentenceTransformer(str(folder), device="cpu")
    layers = [Dense(WIDTH, 24, activation_function=None), Dense(24, 40, activation_function=None)]
    return SentenceTransformer(modules=[first, pooling, *layers, Normalize()], device="cpu").eval()


@pytest.fixture(params=["normalized", "of any length", "no projection", "biases"])
def model(request, tiny_teacher_folder):
    if request.param == "no projection":
        return SentenceTransformer(str(tiny_teacher_folder), device="cpu").eval()
    if request.param == "biases":
        return _with_biases(tiny_teacher_folder)
    return _student(tiny_teacher_folder, request.param == "normalized")


def _inputs(shape, counts):
    ids = np.random.default_rng(0).integers(5, 60, shape)
    return {"input_ids": ids, "attention_mask": (np.arange(shape[1]) < np.array(counts)[:, None]).astype(np.int64)}


def _runs(graph):
    session = onnxruntime.InferenceSession(graph.SerializeToString())
    assert [value.name for value in session.get_outputs()] == list(OUTPUTS)
    return lambda inputs: session.run(None, inputs)


def _torch(model, inputs):
    with torch.inference_mode():
        found = model({name: torch.from_numpy(values) for name, values in inputs.items()})
        for layer in linear_layers(model) or []:
            found["token_embeddings"] = layer.linear(found["token_embeddings"])
    return [found[name].numpy() for name in OUTPUTS]


def _assert_equals_torch(graph, model):
    run = _runs(graph)
    for shape, counts in SHAPES.items():
        inputs = _inputs(shape, counts)
        (vectors, tokens), (torchs, torch_tokens) = run(inputs), _torch(model, inputs)
        assert vectors == pytest.approx(torchs, abs=1e-5)
        there = inputs["attention_mask"].astype(bool)
        assert tokens.shape == torch_tokens.shape
        assert tokens[there] == pytest.approx(torch_tokens[there], abs=1e-5)


def test_the_packed_graph_equals_torch(model):
    assert can_be_packed(model)
    _assert_equals_torch(packed_graph(model), model)


def test_the_standard_graph_equals_torch(tiny_teacher_folder):
    model = _with_biases(tiny_teacher_folder)
    graph = standard_graph(model)
    assert {opset.domain for opset in graph.opset_import} == {""}
    assert str(ROOT).encode() not in graph.SerializeToString()  # torch records the file and line of each node
    _assert_equals_torch(graph, model)


def test_pooling_the_tokens_gives_the_vectors(tiny_teacher_folder):
    model = _with_biases(tiny_teacher_folder)
    inputs = _inputs((3, 9), [9, 1, 4])
    expected, _ = _torch(model, inputs)
    _, tokens = _runs(packed_graph(model))(inputs)
    mask = inputs["attention_mask"][:, :, None]
    means = (tokens * mask).sum(axis=1) / mask.sum(axis=1)
    assert means / np.linalg.norm(means, axis=1, keepdims=True) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    "behind",
    [
        [Dense(WIDTH, 24)],
        [Dense(WIDTH, 24, activation_function=None), Dense(24, 24)],
        [Normalize(), Dense(WIDTH, 24, activation_function=None)],
        [Dense(WIDTH, WIDTH, activation_function=None, use_residual=True)],
    ],
)
def test_layers_that_are_not_linear_leave_the_tokens_unchanged(tiny_teacher, behind):
    first, pooling, *_ = tiny_teacher
    model = SentenceTransformer(modules=[first, pooling, *behind], device="cpu").eval()
    assert linear_layers(model) is None
    assert not can_be_packed(model)
    inputs = _inputs((2, 9), [9, 4])
    with torch.inference_mode():  # the module that is exported: the export itself takes seconds
        found = _Student(model)(*(torch.from_numpy(inputs[name]) for name in INPUTS))
    for ours, theirs in zip(found, _torch(model, inputs), strict=True):
        assert ours.numpy() == pytest.approx(theirs, abs=1e-6)


def test_padding_changes_nothing(tiny_teacher_folder):
    run = _runs(packed_graph(_student(tiny_teacher_folder, True)))
    batch = _inputs((3, 30), [30, 3, 17])
    alone = [
        run({name: rows[row : row + 1, :count] for name, rows in batch.items()}) for row, count in ((1, 3), (2, 17))
    ]
    vectors, tokens = run(batch)
    assert vectors[1:] == pytest.approx(np.concatenate([found[0] for found in alone]), abs=1e-6)
    assert tokens[1, :3] == pytest.approx(alone[0][1][0], abs=1e-5)
    assert not tokens[1, 3:].any()
    assert not np.allclose(tokens[1, :3], 0)


def test_padding_on_the_left_equals_torch(tiny_teacher_folder):
    model = _student(tiny_teacher_folder, True)
    inputs = _inputs((2, 8), [8, 5])
    inputs["attention_mask"] = inputs["attention_mask"][:, ::-1].copy()
    assert _runs(packed_graph(model))(inputs)[0] == pytest.approx(_torch(model, inputs)[0], abs=1e-5)


def test_unknown_architectures_are_not_packed(tiny_teacher_folder, tiny_teacher):
    student = _student(tiny_teacher_folder, True)
    student.transformers_model.config.hidden_act = "relu"
    assert not can_be_packed(student)
    tiny_teacher[1] = Pooling(WIDTH, "cls")
    assert not can_be_packed(tiny_teacher)
    assert linear_layers(tiny_teacher) is None
    assert not can_be_packed(build_static(tiny_teacher_folder, dimension=WIDTH, normalized=True, device="cpu"))


def test_an_error_of_torch_s_exporter_is_reported(tiny_teacher, monkeypatch):
    def fails(*_, **__):
        raise torch.onnx.OnnxExporterError("an operator is not known")

    monkeypatch.setattr("torch.onnx.export", fails)
    with pytest.raises(InputError, match="torch cannot export this model to ONNX: an operator is not known"):
        standard_graph(tiny_teacher)


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (2, 0), (2, 3)])
@pytest.mark.parametrize("form", ["packed", "int8"])
def test_a_batch_without_tokens_has_zero_vectors(tiny_teacher_folder, tmp_path, form, shape):
    packed, path = tmp_path / "packed.onnx", tmp_path / "int8.onnx"
    model = _with_biases(tiny_teacher_folder)
    write_packed(model, packed)
    if form == "int8":
        write_quantized(model, path, packed)
    session = onnxruntime.InferenceSession(str(path if form == "int8" else packed))
    nothing = np.zeros(shape, dtype=np.int64)
    vectors, tokens = session.run(None, {"input_ids": nothing, "attention_mask": nothing})
    assert (vectors.shape, tokens.shape) == ((shape[0], 40), (*shape, 40))
    assert not vectors.any()
    assert not tokens.any()
