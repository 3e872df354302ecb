"""A model as one ONNX graph of standard operators, which every runtime reads."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from leaf_st.errors import InputError
from leaf_st.evaluation.onnx_encoder import INPUTS

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUTS = ("sentence_embedding", "token_embeddings")
_EXAMPLE = (2, 8)  # torch takes what is 1 for a constant


def whole_graph(model: SentenceTransformer) -> "ModelProto":
    """Return ``model`` as torch exports it, with all its modules.

    Returns:
        Graph from ``input_ids`` and ``attention_mask``, both (n, length) of int64, to ``sentence_embedding`` (n, d) and
        ``token_embeddings`` (n, length, d').

    Raises:
        InputError: If torch cannot export it.
    """
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.max_seq_length)}
    ids = torch.ones(_EXAMPLE, dtype=torch.int64)
    try:
        with _quiet():
            program = torch.onnx.export(
                _Whole(model).eval(),
                (ids, torch.ones_like(ids)),
                dynamo=True,
                verbose=False,
                input_names=INPUTS,
                output_names=OUTPUTS,
                dynamic_shapes=dict.fromkeys(INPUTS, axes),
            )
    except torch.onnx.OnnxExporterError as error:
        raise InputError(f"torch cannot export this model to ONNX: {error}") from error
    assert program is not None  # it is for the older exporter
    graph: ModelProto = program.model_proto
    # The shapes that torch notes inside keep onnxruntime's quantization from working them out.
    del graph.graph.value_info[:]
    return graph


class _Whole(nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        features = self.model({"input_ids": input_ids, "attention_mask": attention_mask})
        return tuple(features[name] for name in OUTPUTS)


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter uses what torch deprecates, and says which parts of torchvision are not installed."""
    exporter = logging.getLogger("torch.onnx")
    before = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(before)
