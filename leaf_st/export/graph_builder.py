"""An ONNX graph written node by node."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

_OPSET, _IR_VERSION = 20, 10  # onnxruntime 1.18 and later
_MICROSOFT = "com.microsoft"


class GraphBuilder:
    """Nodes and constants as they are added; a value is known by its name."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, NDArray[Any]] = {}

    def constant(self, value: NDArray[Any] | Sequence[int] | int | bool, name: str = "") -> str:
        """Add a constant, of int64 if it is made of Python's numbers; a small one is named by its value."""
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
        """Add an operator of onnxruntime's own and return its output."""
        return self.node(kind, *inputs, domain=_MICROSOFT, **attributes)

    def finish(
        self, inputs: Mapping[str, Sequence[str | int]], outputs: Mapping[str, Sequence[str | int]]
    ) -> "ModelProto":
        """Return the graph from ``inputs``, of int64, to ``outputs``, of float32, with these shapes."""
        from onnx import TensorProto, helper, numpy_helper

        made = helper.make_graph(
            self.nodes,
            "leaf_st",
            [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name, shape in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            [numpy_helper.from_array(array, name) for name, array in self.constants.items()],
        )
        opsets = [helper.make_opsetid("", _OPSET), helper.make_opsetid(_MICROSOFT, 1)]
        return helper.make_model(made, opset_imports=opsets, ir_version=_IR_VERSION, producer_name="leaf_st")
