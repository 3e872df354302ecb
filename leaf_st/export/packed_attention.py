"""Attention within each of several texts that lie one after the other.

A loop over the texts costs microseconds. Where each text is alone there is neither padding nor a mask, so that
onnxruntime runs its flash attention.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from leaf_st.export.graph_builder import GraphBuilder

if TYPE_CHECKING:
    from onnx import GraphProto


def attention_of_each(graph: GraphBuilder, projected: Sequence[str], ends: str, heads: int) -> str:
    """Return the attended values of T tokens of n texts, shape (T, d).

    Args:
        graph: Where it goes.
        projected: Query, key and value, each (T, d).
        ends: Where each text ends, shape (n,).
        heads: Of attention.
    """
    from onnx import TensorProto, helper

    name = f"texts {len(graph.nodes)}"
    texts = graph.node("Size", ends)
    none = graph.node("SequenceEmpty", dtype=TensorProto.FLOAT)
    states = [texts, graph.constant(True), graph.constant([0]), none]
    last, found = f"{name} end", f"{name} found"
    body = _of_one(graph, name, projected, ends, heads)
    graph.nodes.append(helper.make_node("Loop", states, [last, found], name, body=body))
    return graph.node("Squeeze", graph.node("ConcatFromSequence", found, axis=1), graph.constant([0]))


def _of_one(graph: GraphBuilder, name: str, projected: Sequence[str], ends: str, heads: int) -> "GraphProto":
    """Return what is done for a text: from where it starts and what was found before, to where it ends and all found.

    Constants go into the graph around it, whose values it sees.
    """
    from onnx import TensorProto, helper

    number, go_on, goes_on, start, end, before, after = (
        f"{name} {part}" for part in ("number", "go on", "goes on", "start", "own end", "before", "after")
    )
    first = graph.constant([0])
    inner = GraphBuilder()
    inner.node("Identity", go_on, output=goes_on)
    inner.node("Gather", ends, inner.node("Unsqueeze", number, first, output=f"{name} row"), output=end)
    own = [inner.node("Slice", part, start, end, first, output=f"{name} own {part}") for part in projected]
    batch = [inner.node("Unsqueeze", part, first, output=f"batch of {part}") for part in own]
    attended = inner.fused("MultiHeadAttention", *batch, num_heads=heads, output=f"{name} attended")
    inner.node("SequenceInsert", before, attended, output=after)
    scalar: list[int] = []
    row = [1]
    tensor, sequence = helper.make_tensor_value_info, helper.make_tensor_sequence_value_info
    return helper.make_graph(
        inner.nodes,
        name,
        [
            tensor(number, TensorProto.INT64, scalar),
            tensor(go_on, TensorProto.BOOL, scalar),
            tensor(start, TensorProto.INT64, row),
            sequence(before, TensorProto.FLOAT, None),
        ],
        [
            tensor(goes_on, TensorProto.BOOL, scalar),
            tensor(end, TensorProto.INT64, row),
            sequence(after, TensorProto.FLOAT, None),
        ],
    )
