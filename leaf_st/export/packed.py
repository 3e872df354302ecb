"""A BERT student as an ONNX graph for onnxruntime that does not compute padding.

Nearly all the work is done token by token, and runs on the tokens of the batch in one row, without padding. Attention
runs on one text at a time, as flash attention on a GPU treats packed sequences. The vectors stay the same. For 16 real
documents in a batch, more than half of what the graph that torch exports computes is padding.

Besides the operators of ONNX, the graph uses onnxruntime's own: attention, GELU, and LayerNorm, each together with the
bias and the sum before it. Documents per second in batches of 16, on one core of an EPYC with AVX-512, MiniLM of six
layers and 256 tokens:

| | float32 | int8 |
|---|---|---|
| torch (bfloat16: 32) | 13 | |
| graph that torch exports | 17 | 34 |
| the same graph by OpenVINO (bfloat16: 45) | 24 | |
| packed, but attention on the padded batch, with a mask (bfloat16 by OpenVINO: 106) | 54 | |
| packed (OpenVINO 2026.4 crashes) | 82 | 145 |

For one query at a time, the rows are 61 (bfloat16: 104), 142 and 329, 164 (bfloat16: 260), 154 (bfloat16: 256), and
150 and 321. OpenVINO is slower than the packed int8 graph, so there is no form for it. Two other attempts were dropped:
`onnxruntime.transformers.optimizer` on torch's graph, which fuses no attention; and query, key and value as one matrix
product, which is no faster.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Transformer
from torch import nn

from leaf_st.export.encoder import INPUTS
from leaf_st.export.onnx import OUTPUTS, linear_layers

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto, TensorProto

_QKV = ("query", "key", "value")
_OPSET, _IR_VERSION = 20, 10  # onnxruntime 1.18 and later
_MICROSOFT = "com.microsoft"


def can_be_packed(model: SentenceTransformer) -> bool:
    """Return whether `packed_graph` supports ``model``: a BERT, mean pooling, and then only `linear_layers`."""
    first = next(model.children())
    if not isinstance(first, Transformer) or linear_layers(model) is None:
        return False
    config = first.model.config
    return config.model_type == "bert" and config.hidden_act == "gelu" and not config.is_decoder


def write_packed(model: SentenceTransformer, path: Path, _source: Path | None = None) -> None:
    """Write the `packed_graph` of ``model`` to ``path``."""
    import onnx

    onnx.save(packed_graph(model), path)


def packed_graph(model: SentenceTransformer) -> "ModelProto":
    """Return ``model``, which `can_be_packed`, as a graph with the inputs and outputs of `standard_graph`.

    The ``token_embeddings`` of padding are 0. The vector of a text without tokens is 0.
    """
    first, _pooling, *rest = model.children()
    transformer = cast(Transformer, first).model
    weights = {name: tensor.detach().cpu().float().numpy() for name, tensor in transformer.state_dict().items()}
    graph = GraphBuilder()
    vector = _mean(graph, _Bert(graph, weights, transformer.config).run(linear_layers(model) or []))
    if any(isinstance(module, Normalize) for module in rest):
        vector = graph.node("LpNormalization", vector, axis=-1, p=2)
    graph.node("Identity", vector, output=OUTPUTS[0])
    width, axes = model.get_embedding_dimension() or 0, ("batch", "length")
    return graph.finish(dict.fromkeys(INPUTS, axes), {OUTPUTS[0]: ("batch", width), OUTPUTS[1]: (*axes, width)})


class GraphBuilder:
    """Collects the nodes and constants of a graph; names stand for values."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def constant(self, value: NDArray[Any] | Sequence[int] | int | bool, name: str = "") -> str:
        """Add a constant; Python integers become int64, and a constant without a name is named after its value."""
        array = np.asarray(value, order="C")
        name = name or f"{array.dtype} {array.tolist()}"
        self.constants[name] = array
        return name

    def node(self, kind: str, *inputs: str, domain: str = "", output: str = "", **attributes: Any) -> str:  # noqa: ANN401
        """Add an operator of ONNX and return its output."""
        from onnx import helper

        output = output or f"{kind} {len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], output, domain=domain, **attributes))
        return output

    def fused(self, kind: str, *inputs: str, **attributes: Any) -> str:  # noqa: ANN401
        """Add one of onnxruntime's own operators and return its output."""
        return self.node(kind, *inputs, domain=_MICROSOFT, **attributes)

    def finish(
        self, inputs: Mapping[str, Sequence[str | int]], outputs: Mapping[str, Sequence[str | int]]
    ) -> "ModelProto":
        """Return the graph from int64 ``inputs`` to float32 ``outputs`` with these shapes."""
        from onnx import TensorProto, helper, numpy_helper

        finished = helper.make_graph(
            self.nodes,
            "leaf_st",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(finished, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="leaf_st")


class _Bert:
    """The transformer, on T packed tokens of n texts.

    Args:
        graph: The graph to add to.
        weights: The weights of transformers' `BertModel`, by name.
        config: The config of the `BertModel`.
    """

    def __init__(self, graph: GraphBuilder, weights: dict[str, NDArray[np.float32]], config: Any) -> None:  # noqa: ANN401
        self.graph = graph
        self.weights = weights
        self.config = config
        everything = graph.constant([-1])
        flat = graph.node("Reshape", "attention_mask", everything)
        self.rows = graph.node("Reshape", graph.node("NonZero", flat), everything)  # (T,), indices into n x length
        counts = graph.node("ReduceSum", "attention_mask", graph.constant([1]), keepdims=0)
        axis, one = graph.constant(0), graph.constant([1])
        # onnxruntime's operators need a token: a batch without tokens gets one, in a text of its own.
        missing = graph.node("Max", graph.node("Sub", one, graph.node("Size", self.rows)), graph.constant([0]))
        self.filler = graph.node("ConstantOfShape", missing, value=_zero())  # (1,) without tokens, (0,) otherwise
        # (n,), where each text ends among the packed tokens
        ends = graph.node("Add", graph.node("CumSum", counts, axis), missing)
        self.ends = graph.node("Concat", graph.node("Add", self.filler, one), ends, axis=0)
        # For each position of the padded batch, the index of its packed token. Padding gets any index, and is masked.
        before = graph.node("Sub", graph.node("CumSum", flat, axis), one)
        self.positions = graph.node("Max", before, graph.constant([0]))

    def run(self, layers: Sequence[Dense]) -> str:
        """Return the token vectors after ``layers`` in the padded layout, shape (n, length, d); padding is 0."""
        graph, hidden = self.graph, self._embed()
        for layer in range(self.config.num_hidden_layers):
            hidden = self._layer(f"encoder.layer.{layer}", hidden)
        for number, dense in enumerate(layers):
            hidden = _linear(graph, f"linear.{number}", dense.linear, hidden)
        width = layers[-1].out_features if layers else self.config.hidden_size
        shape = graph.node("Concat", graph.node("Shape", "input_ids"), graph.constant([width]), axis=0)
        tokens = graph.node("Reshape", graph.node("Gather", hidden, self.positions), shape, allowzero=1)
        return graph.node("Mul", tokens, _float_mask(graph), output=OUTPUTS[1])

    def _embed(self) -> str:
        graph = self.graph
        length = graph.node("Gather", graph.node("Shape", "input_ids"), graph.constant([1]))
        ids = graph.node("Gather", graph.node("Reshape", "input_ids", graph.constant([-1])), self.rows)
        ids = graph.node("Concat", self.filler, ids, axis=0)
        words = graph.node("Gather", self._weight("embeddings.word_embeddings.weight"), ids)
        # All tokens have type 0, so the embedding of type 0 can be added to each position embedding.
        added = self.weights["embeddings.position_embeddings.weight"]
        added = added + self.weights["embeddings.token_type_embeddings.weight"][0]
        columns = graph.node("Mod", self.rows, graph.node("Max", length, graph.constant([1])))
        columns = graph.node("Concat", self.filler, columns, axis=0)
        summed = graph.node("Add", words, graph.node("Gather", graph.constant(added, "embeddings.added"), columns))
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
        return _attention_per_text(self.graph, projected, self.ends, self.config.num_attention_heads)

    def _product(self, name: str, hidden: str) -> str:
        weight = self.graph.constant(self.weights[f"{name}.weight"].T, f"{name}.weight")
        return self.graph.node("MatMul", hidden, weight)

    def _norm(self, name: str) -> tuple[str, str]:
        return self._weight(f"{name}.LayerNorm.weight"), self._weight(f"{name}.LayerNorm.bias")

    def _weight(self, name: str) -> str:
        return self.graph.constant(self.weights[name], name)


def _attention_per_text(graph: GraphBuilder, projected: Sequence[str], ends: str, heads: int) -> str:
    """Return the attended values of T packed tokens of n texts, shape (T, d).

    A loop over the texts costs microseconds. A single text has no padding and needs no mask, so onnxruntime runs its
    flash attention.

    Args:
        graph: The graph to add to.
        projected: Query, key and value, each (T, d).
        ends: Where each text ends, shape (n,).
        heads: The number of attention heads.
    """
    from onnx import TensorProto, helper

    name = f"texts {len(graph.nodes)}"
    empty = graph.node("SequenceEmpty", dtype=TensorProto.FLOAT)
    states = [graph.node("Size", ends), graph.constant(True), graph.constant([0]), empty]
    last, found = f"{name} end", f"{name} found"
    body = _attention_loop(graph, name, projected, ends, heads)
    graph.nodes.append(helper.make_node("Loop", states, [last, found], name, body=body))
    return graph.node("Squeeze", graph.node("ConcatFromSequence", found, axis=1), graph.constant([0]))


def _attention_loop(graph: GraphBuilder, name: str, projected: Sequence[str], ends: str, heads: int) -> "GraphProto":
    """Return the body of the loop, which computes the attention of one text.

    Inputs are the start of the text and the results so far; outputs are the end of the text and the extended results.
    The body reads values of the surrounding graph, and its constants are added to that graph.
    """
    from onnx import TensorProto, helper

    number, condition, condition_out, start, end, before, after = (
        f"{name} {part}" for part in ("number", "condition", "condition out", "start", "text end", "before", "after")
    )
    first = graph.constant([0])
    inner = GraphBuilder()
    inner.node("Identity", condition, output=condition_out)
    inner.node("Gather", ends, inner.node("Unsqueeze", number, first, output=f"{name} row"), output=end)
    parts = [inner.node("Slice", part, start, end, first, output=f"{name} slice {part}") for part in projected]
    batch = [inner.node("Unsqueeze", part, first, output=f"batch of {part}") for part in parts]
    attended = inner.fused("MultiHeadAttention", *batch, num_heads=heads, output=f"{name} attended")
    inner.node("SequenceInsert", before, attended, output=after)
    tensor, sequence = helper.make_tensor_value_info, helper.make_tensor_sequence_value_info
    scalar: list[int] = []
    inputs = [tensor(number, TensorProto.INT64, scalar), tensor(condition, TensorProto.BOOL, scalar)]
    inputs += [tensor(start, TensorProto.INT64, [1]), sequence(before, TensorProto.FLOAT, None)]
    outputs = [tensor(condition_out, TensorProto.BOOL, scalar), tensor(end, TensorProto.INT64, [1])]
    outputs += [sequence(after, TensorProto.FLOAT, None)]
    return helper.make_graph(inner.nodes, name, inputs, outputs)


def _zero() -> "TensorProto":
    from onnx import numpy_helper

    return numpy_helper.from_array(np.zeros(1, dtype=np.int64))


def _float_mask(graph: GraphBuilder) -> str:
    """Return 1 for a token and 0 for padding, shape (n, length, 1)."""
    from onnx import TensorProto

    return graph.node("Unsqueeze", graph.node("Cast", "attention_mask", to=TensorProto.FLOAT), graph.constant([2]))


def _mean(graph: GraphBuilder, tokens: str) -> str:
    axis = graph.constant([1])
    count = graph.node("ReduceSum", _float_mask(graph), axis, keepdims=0)
    # The mean of no tokens is the zero vector, as in sentence-transformers.
    count = graph.node("Max", count, graph.constant(np.ones(1, dtype=np.float32)))
    return graph.node("Div", graph.node("ReduceSum", tokens, axis, keepdims=0), count)


def _linear(graph: GraphBuilder, name: str, linear: nn.Linear, tokens: str) -> str:
    tokens = graph.node("MatMul", tokens, graph.constant(linear.weight.detach().cpu().numpy().T, f"{name}.weight"))
    if linear.bias is None:
        return tokens
    return graph.node("Add", tokens, graph.constant(linear.bias.detach().cpu().numpy(), f"{name}.bias"))
