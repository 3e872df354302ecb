"""A model as one ONNX graph of standard operators, which every runtime reads.

Programs that pool ``token_embeddings`` themselves, as the pipeline of transformers.js does, know no layer behind the
pooling. The mean of projected tokens is the projected mean, with a bias too: so the graph projects tokens, and pools
then. onnxruntime computes all outputs, whichever are asked for, so the mean is not projected a second time.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import TYPE_CHECKING, cast

import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling
from torch import Tensor, nn

from leaf_st.errors import InputError
from leaf_st.export.encoder import INPUTS

if TYPE_CHECKING:
    from onnx import ModelProto

OUTPUTS = ("sentence_embedding", "token_embeddings")
_EXAMPLE = (2, 8)  # torch takes what is 1 for a constant


def linear_layers(model: SentenceTransformer) -> list[Dense] | None:
    """Return the layers that tokens may go through before the pooling, where the vectors stay the same.

    Pooling is mean, and behind it come linear layers and then at most normalisation; None of any other model.
    """
    _first, *rest = model.children()
    if not (rest and isinstance(rest[0], Pooling) and rest[0].pooling_mode == "mean"):
        return None
    behind = rest[1:]
    layers = cast(list[Dense], list(takewhile(_is_linear, behind)))
    return layers if all(isinstance(module, Normalize) for module in behind[len(layers) :]) else None


def _is_linear(module: nn.Module) -> bool:
    return (
        isinstance(module, Dense)
        and isinstance(module.activation_function, nn.Identity)
        and not module.use_residual
        and module.module_input_name == module.module_output_name == OUTPUTS[0]
    )


def whole_graph(model: SentenceTransformer) -> "ModelProto":
    """Return ``model`` as torch exports it, with all its modules.

    Returns:
        Graph from ``input_ids`` and ``attention_mask``, both (n, length) of int64, to ``sentence_embedding`` (n, d) and
        ``token_embeddings`` (n, length, d): the tokens behind the `linear_layers`, whose mean is the vector before it
        is normalised. Of a model that has other modules they are the transformer's own, (n, length, d').

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
    # Where in whose folders each node comes from, which is nobody's business.
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
    return graph


class _Whole(nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.transformer, *behind = model.children()
        layers = linear_layers(model) or []
        self.of_tokens = nn.Sequential(*(layer.linear for layer in layers))
        self.behind = nn.Sequential(*(module for module in behind if module not in layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        features = self.transformer({"input_ids": input_ids, "attention_mask": attention_mask})
        features[OUTPUTS[1]] = self.of_tokens(features[OUTPUTS[1]])
        features = self.behind(features)
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
