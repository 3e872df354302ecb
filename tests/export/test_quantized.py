import numpy as np
import pytest

from leaf_st.export.packed import write_packed
from leaf_st.export.quantized import LARGEST_WEIGHT, saturates, write_quantized

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")


def _add_pairs_in_16_bits(activations, weights):
    """Multiply (n, k) unsigned bytes by (k, m) signed bytes as `vpmaddubsw` does: sums of two products in 16 bits."""
    products = activations[:, :, None].astype(np.int32) * weights[None].astype(np.int32)
    pairs = products[:, 0::2] + products[:, 1::2]
    return np.clip(pairs, -(2**15), 2**15 - 1).sum(axis=1)


@pytest.mark.parametrize(("largest", "exact"), [(LARGEST_WEIGHT, True), (LARGEST_WEIGHT + 1, False), (127, False)])
def test_products_of_the_largest_weights(largest, exact):
    activations = np.full((1, 8), 255, dtype=np.uint8)
    weights = np.full((8, 2), largest, dtype=np.int8) * np.array([1, -1], dtype=np.int8)
    exact_products = activations.astype(np.int32) @ weights.astype(np.int32)
    assert np.array_equal(_add_pairs_in_16_bits(activations, weights), exact_products) == exact


def _product_by(weight, path):
    inputs = [onnx.helper.make_tensor_value_info("a", onnx.TensorProto.UINT8, ["n", len(weight)])]
    outputs = [onnx.helper.make_tensor_value_info("c", onnx.TensorProto.INT32, ["n", weight.shape[1]])]
    node = onnx.helper.make_node("MatMulInteger", ["a", "b"], ["c"])
    graph = onnx.helper.make_graph([node], "product", inputs, outputs, [onnx.numpy_helper.from_array(weight, "b")])
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=10), path)
    return path


@pytest.mark.parametrize(("weight", "found"), [(64, None), (-64, None), (65, 65), (-128, 128)])
def test_weights_that_saturate_are_found(tmp_path, weight, found):
    matrix = np.zeros((4, 3), dtype=np.int8)
    matrix[1, 2] = weight
    problem = saturates(_product_by(matrix, tmp_path / "product.onnx"))
    assert problem is None if found is None else f"has int8 weights up to {found}, expected at most 64" in problem
    # Unsigned weights use another instruction, which does not saturate.
    assert saturates(_product_by(np.full((4, 3), 255, dtype=np.uint8), tmp_path / "product.onnx")) is None


def test_a_quantized_graph_has_the_vectors_of_its_source_and_does_not_saturate(tiny_student, tmp_path):
    source, path = tmp_path / "source.onnx", tmp_path / "quantized.onnx"
    write_packed(tiny_student, source)
    write_quantized(tiny_student, path, source)
    assert saturates(path) is None
    constants = {constant.name: onnx.numpy_helper.to_array(constant) for constant in onnx.load(path).graph.initializer}
    weights = [constants[node.input[1]] for node in onnx.load(path).graph.node if node.op_type == "MatMulInteger"]
    assert weights
    assert {weight.dtype for weight in weights} == {np.dtype(np.int8)}
    assert max(np.abs(weight).max() for weight in weights) > 60  # the range is used
    ids = np.arange(2, 14).reshape(2, 6)
    inputs = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    expected, found = (onnxruntime.InferenceSession(str(file)).run(None, inputs)[0] for file in (source, path))
    assert (expected * found).sum(axis=1).min() > 0.99
