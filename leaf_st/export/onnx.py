"""The student as an ONNX graph of standard operators, which every runtime reads.

Programs that pool ``token_embeddings`` themselves, such as the pipeline of transformers.js, do not know the layers
behind the pooling. The mean of projected tokens equals the projected mean, also with a bias. So the graph projects
the tokens first and pools afterwards. onnxruntime computes all outputs, including outputs that nobody requested, so
the graph does not project the mean a second time.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
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
_EXAMPLE = (2, 8)  # torch.export treats a dimension of size 1 as a constant


def linear_layers(model: SentenceTransformer) -> list[Dense] | None:
    """Return the layers that can be applied to the tokens before the pooling without changing the vectors.

    The model must have mean pooling, followed by linear layers and at most normalisation. For any other model the
    result is None.
    """
    _first, *rest = model.children()
    if not (rest and isinstance(rest[0], Pooling) and rest[0].pooling_mode == "mean"):
        return None
    after_pooling = rest[1:]
    layers = cast(list[Dense], list(takewhile(_is_linear, after_pooling)))
    return layers if all(isinstance(module, Normalize) for module in after_pooling[len(layers) :]) else None


def _is_linear(module: nn.Module) -> bool:
    return (
        isinstance(module, Dense)
        and isinstance(module.activation_function, nn.Identity)
        and not module.use_residual
        and module.module_input_name == module.module_output_name == OUTPUTS[0]
    )


def write_standard(model: SentenceTransformer, path: Path, _source: Path | None = None) -> None:
    """Write the `standard_graph` of ``model`` to ``path``."""
    import onnx

    onnx.save(standard_graph(model), path)


def standard_graph(model: SentenceTransformer) -> "ModelProto":
    """Return ``model`` with all its modules as torch exports it.

    Returns:
        A graph from ``input_ids`` and ``attention_mask``, both (n, length) of int64, to ``sentence_embedding`` (n, d)
        and ``token_embeddings`` (n, length, d). The tokens are the output of the `linear_layers`: their mean is the
        vector before normalisation. For a model with other modules, the tokens are the transformer's own, of shape
        (n, length, d').

    Raises:
        InputError: If torch cannot export the model.
    """
    try:
        with _silent_exporter():
            graph = _export(model)
    except torch.onnx.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]  # torch's report has many lines
        raise InputError(f"torch cannot export this model to ONNX: {reason}: run the model with torch") from error
    # onnxruntime's quantization infers no shapes of inner values where torch has noted some.
    del graph.graph.value_info[:]
    # The metadata contains the file paths of the machine that exported the model.
    for part in (graph, graph.graph, *graph.graph.node, *graph.graph.input, *graph.graph.output):
        del part.metadata_props[:]
    return graph


def _export(model: SentenceTransformer) -> "ModelProto":
    """Export ``model`` with the attention that it runs with, or else with attention of elementary operators.

    torch's exporter fails on the memory layout of its fused attention where the scores have a bias, as in T5.
    """
    transformer = model.transformers_model
    used = None if transformer is None else str(transformer.config._attn_implementation)
    try:
        return _export_once(model)
    except torch.onnx.OnnxExporterError:
        if transformer is None or used is None or used == "eager":
            raise
    transformer.set_attn_implementation("eager")
    try:
        return _export_once(model)
    finally:
        transformer.set_attn_implementation(used)


def _export_once(model: SentenceTransformer) -> "ModelProto":
    axes = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length", max=model.max_seq_length)}
    ids = torch.ones(_EXAMPLE, dtype=torch.int64)
    program = torch.onnx.export(
        _Student(model).eval(),
        (ids, torch.ones_like(ids)),
        dynamo=True,
        verbose=False,
        input_names=INPUTS,
        output_names=OUTPUTS,
        dynamic_shapes=dict.fromkeys(INPUTS, axes),
    )
    assert program is not None  # only the older exporter returns None
    graph: ModelProto = program.model_proto
    return graph


class _Student(nn.Module):
    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.transformer, *rest = model.children()
        layers = linear_layers(model) or []
        self.token_layers = nn.Sequential(*(layer.linear for layer in layers))
        self.rest = nn.Sequential(*(module for module in rest if module not in layers))

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> tuple[Tensor, ...]:
        features = self.transformer({"input_ids": input_ids, "attention_mask": attention_mask})
        features[OUTPUTS[1]] = self.token_layers(features[OUTPUTS[1]])
        features = self.rest(features)
        return tuple(features[name] for name in OUTPUTS)


@contextmanager
def _silent_exporter() -> Iterator[None]:
    """Hide torch's deprecation warnings about its own exporter, and its list of missing parts of torchvision."""
    exporter = logging.getLogger("torch.onnx")
    level = exporter.level
    exporter.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        exporter.setLevel(level)
