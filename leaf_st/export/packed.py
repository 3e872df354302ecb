"""A BERT student as an ONNX graph for onnxruntime that computes no padding.

All that goes token by token, which is nearly all there is to compute, runs on the tokens of the batch one after the
other, and attention on one text at a time: so flash attention on a GPU treats packed sequences. The vectors are the
same. Of 16 real documents in a batch more than half of what a graph as torch exports it computes is padding.

The operators beside ONNX's own are onnxruntime's: attention, GELU and LayerNorm with the bias and the sum before them.
Documents per second in batches of 16, on one core of an EPYC with AVX-512, MiniLM of six layers and 256 tokens:

| | float32 | int8 |
|---|---|---|
| torch (bfloat16: 32) | 13 | |
| graph as torch exports it | 17 | 34 |
| the same by OpenVINO (bfloat16: 45) | 24 | |
| packed, but attention on the padded batch, with a mask (bfloat16 by OpenVINO: 106) | 54 | |
| packed (OpenVINO 2026.4 crashes on it) | 82 | 145 |

One query at a time they are 61 (bfloat16: 104), 142 and 329, 164 (bfloat16: 260), 154 (bfloat16: 256), and 150 and 321.
So OpenVINO is left out. Tried and left too: `onnxruntime.transformers.optimizer` on torch's graph, which fuses no
attention; query, key and value as one product, which is no faster.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer
from torch import nn

from leaf_st.export.encoder import INPUTS
from leaf_st.export.graph_builder import GraphBuilder
from leaf_st.export.onnx import OUTPUTS, linear_layers
from leaf_st.export.packed_attention import attention_of_each

if TYPE_CHECKING:
    from onnx import ModelProto

_QKV = ("query", "key", "value")


def can_be_packed(model: SentenceTransformer) -> bool:
    """Say whether `packed_graph` knows all that is in ``model``: a BERT, and behind it what `linear_layers` knows."""
    first = next(model.children())
    if not isinstance(first, Transformer) or linear_layers(model) is None:
        return False
    config = first.model.config
    return config.model_type == "bert" and config.hidden_act == "gelu" and not config.is_decoder


def packed_graph(model: SentenceTransformer) -> "ModelProto":
    """Return ``model``, which `can_be_packed`, as a graph; inputs and outputs are those of `whole_graph`.

    Where a text has no token, ``token_embeddings`` are 0. A text has at least one.
    """
    first, _pooling, *behind = model.children()
    transformer = cast(Transformer, first).model
    weights = {name: tensor.detach().cpu().float().numpy() for name, tensor in transformer.state_dict().items()}
    graph = GraphBuilder()
    vector = _mean(graph, _Bert(graph, weights, transformer.config).run(linear_layers(model) or []))
    if any(isinstance(module, Normalize) for module in behind):
        vector = graph.node("LpNormalization", vector, axis=-1, p=2)
    graph.node("Identity", vector, output=OUTPUTS[0])
    width, places = model.get_embedding_dimension() or 0, ("batch", "length")
    return graph.finish(dict.fromkeys(INPUTS, places), {OUTPUTS[0]: ("batch", width), OUTPUTS[1]: (*places, width)})


class _Bert:
    """The transformer, on T packed tokens of n texts.

    Args:
        graph: Where it goes.
        weights: Of transformers' `BertModel`, by name.
        config: Of it.
    """

    def __init__(self, graph: GraphBuilder, weights: dict[str, NDArray[np.float32]], config: Any) -> None:  # noqa: ANN401
        self.graph = graph
        self.weights = weights
        self.config = config
        every = graph.constant([-1])
        flat = graph.node("Reshape", "attention_mask", every)
        self.rows = graph.node("Reshape", graph.node("NonZero", flat), every)  # (T,), of n x length
        counts = graph.node("ReduceSum", "attention_mask", graph.constant([1]), keepdims=0)
        axis = graph.constant(0)
        self.ends = graph.node("CumSum", counts, axis)  # (n,), of the texts among the packed tokens
        # Of each place of the padded batch its packed token; of padding any, which is masked.
        before = graph.node("Sub", graph.node("CumSum", flat, axis), graph.constant([1]))
        self.places = graph.node("Max", before, graph.constant([0]))

    def run(self, layers: Sequence[Dense]) -> str:
        """Return the tokens' vectors behind ``layers``, in their places, shape (n, length, d), 0 for padding."""
        graph, hidden = self.graph, self._embed()
        for layer in range(self.config.num_hidden_layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden)
        for number, dense in enumerate(layers):
            hidden = _linear(graph, f"linear.{number}", dense.linear, hidden)
        width = layers[-1].out_features if layers else self.config.hidden_size
        shape = graph.node("Concat", graph.node("Shape", "input_ids"), graph.constant([width]), axis=0)
        tokens = graph.node("Reshape", graph.node("Gather", hidden, self.places), shape)
        return graph.node("Mul", tokens, _float_mask(graph), output=OUTPUTS[1])

    def _embed(self) -> str:
        graph = self.graph
        length = graph.node("Gather", graph.node("Shape", "input_ids"), graph.constant([1]))
        ids = graph.node("Gather", graph.node("Reshape", "input_ids", graph.constant([-1])), self.rows)
        words = graph.node("Gather", self._weight("embeddings.word_embeddings.weight"), ids)
        # All tokens are of type 0.
        added = self.weights["embeddings.position_embeddings.weight"]
        added = added + self.weights["embeddings.token_type_embeddings.weight"][0]
        positions = graph.node("Mod", self.rows, length)
        summed = graph.node("Add", words, graph.node("Gather", graph.constant(added, "embeddings.added"), positions))
        return graph.node("LayerNormalization", summed, *self._norm("embeddings"), epsilon=self.config.layer_norm_eps)

    def _layer(self, name: str, hidden: str) -> str:
        attended = self._attention(f"{name}.attention.self", hidden)
        hidden = self._add_and_norm(f"{name}.attention.output", attended, hidden)
        wide = self._product(f"{name}.intermediate.dense", hidden)
        wide = self.graph.fused("BiasGelu", wide, self._weight(f"{name}.intermediate.dense.bias"))
        return self._add_and_norm(f"{name}.output", wide, hidden)

    def _add_and_norm(self, name: str, inner: str, hidden: str) -> str:
        inner = self._product(f"{name}.dense", inner)
        bias = self._weight(f"{name}.dense.bias")
        norm = (*self._norm(name), bias)
        return self.graph.fused("SkipLayerNormalization", inner, hidden, *norm, epsilon=self.config.layer_norm_eps)

    def _attention(self, name: str, hidden: str) -> str:
        projected = [
            self.graph.node("Add", self._product(f"{name}.{part}", hidden), self._weight(f"{name}.{part}.bias"))
            for part in _QKV
        ]
        return attention_of_each(self.graph, projected, self.ends, self.config.num_attention_heads)

    def _product(self, name: str, hidden: str) -> str:
        weight = self.graph.constant(self.weights[f"{name}.weight"].T, f"{name}.weight")
        return self.graph.node("MatMul", hidden, weight)

    def _norm(self, name: str) -> tuple[str, str]:
        return self._weight(f"{name}.LayerNorm.weight"), self._weight(f"{name}.LayerNorm.bias")

    def _weight(self, name: str) -> str:
        return self.graph.constant(self.weights[name], name)


def _float_mask(graph: GraphBuilder) -> str:
    """Return 1 for a token and 0 for padding, shape (n, length, 1)."""
    from onnx import TensorProto

    return graph.node("Unsqueeze", graph.node("Cast", "attention_mask", to=TensorProto.FLOAT), graph.constant([2]))


def _mean(graph: GraphBuilder, tokens: str) -> str:
    axis = graph.constant([1])
    count = graph.node("ReduceSum", _float_mask(graph), axis, keepdims=0)
    return graph.node("Div", graph.node("ReduceSum", tokens, axis, keepdims=0), count)


def _linear(graph: GraphBuilder, name: str, linear: nn.Linear, tokens: str) -> str:
    tokens = graph.node("MatMul", tokens, graph.constant(linear.weight.detach().cpu().numpy().T, f"{name}.weight"))
    if linear.bias is None:
        return tokens
    return graph.node("Add", tokens, graph.constant(linear.bias.detach().cpu().numpy(), f"{name}.bias"))
