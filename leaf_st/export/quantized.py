"""Weights of eight bits, of which the products use seven, so that every processor computes the same vectors.

onnxruntime rounds the activations at run time to unsigned bytes, 0 to 255, and multiplies them by signed bytes. On x86
without VNNI (before Cascade Lake and Zen 4), an instruction adds two such products in 16 bits and cuts off what does
not fit: 2 x 255 x 127 is nearly twice 2^15. The vectors of the same file then depend on the processor, by up to 0.09 in
L2 (`recipes/benchmarks/without_vnni.py`). With weights of at most 64 no sum of two products exceeds 16 bits. Unsigned
weights of eight bits never saturate, but take nearly twice as long on processors with VNNI and keep as much nDCG@10.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from sentence_transformers import SentenceTransformer

if TYPE_CHECKING:
    from onnx import GraphProto

LARGEST_WEIGHT = 64  # 2 x 255 x 64 < 2^15, whichever two rows of a matrix a processor adds


def write_quantized(_model: SentenceTransformer, path: Path, source: Path | None) -> None:
    """Write the graph in ``source`` to ``path`` with quantized weights.

    Each column of a weight has its own scale, which costs nothing: with one scale per weight the mean cosine to
    float32 is 0.98 instead of 0.996 (three layers of MiniLM). Blocks of 32 weights (`MatMulNBits`) reach 0.9998, but
    documents then take as long as in float32, and the table of word embeddings, half of the file, is not compressed.
    """
    assert source is not None  # FORMS names the source before this form
    quantize(source, path)


def quantize(source: Path, path: Path, *, signed: bool = True, seven_bits: bool = True) -> None:
    """Write the graph in ``source`` to ``path`` with weights of eight bits, in products of seven if ``seven_bits``."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with _silent_quantization():
        quantize_dynamic(
            onnx.load(source),
            path,
            weight_type=QuantType.QInt8 if signed else QuantType.QUInt8,
            per_channel=True,
            reduce_range=seven_bits,
            # The type of what onnxruntime's own operators return; ONNX cannot infer this type.
            extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
        )


def saturates(path: Path) -> str | None:
    """Return why products of the graph in ``path`` can exceed 16 bits on x86 without VNNI; None if no product can."""
    import onnx

    largest = max(_largest_weights(onnx.load(path).graph), default=0)
    if largest <= LARGEST_WEIGHT:
        return None
    return (
        f"has int8 weights up to {largest}, expected at most {LARGEST_WEIGHT}: products saturate on processors without "
        "VNNI: export the model again"
    )


def _largest_weights(graph: "GraphProto") -> Iterator[int]:
    """Yield the largest absolute value of each matrix of signed bytes that is multiplied by integers."""
    from onnx import numpy_helper

    multiplied = {node.input[1] for node in graph.node if node.op_type == "MatMulInteger"}
    for constant in graph.initializer:
        if constant.name in multiplied and (weight := numpy_helper.to_array(constant)).dtype == np.int8:
            yield int(np.abs(weight.astype(np.int16)).max(initial=0))


@contextmanager
def _silent_quantization() -> Iterator[None]:
    """Hide the advice to optimize the graph first: these graphs are optimized already."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(level)
