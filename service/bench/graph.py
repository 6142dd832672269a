"""An ONNX graph put together node by node, and how many operations a graph does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper, shape_inference

OPSET = 18
IR_VERSION = 10

Array = npt.NDArray[np.float64]
Dimensions = Sequence[int | str]


class Graph:
    """Nodes and constants in the order in which they are added; names are numbers, so files repeat."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = output or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def add_two(self, operator: str, *inputs: str, **attributes: Any) -> tuple[str, str]:
        """Add a node with two outputs; return their names."""
        first, second = f"v{len(self._nodes)}a", f"v{len(self._nodes)}b"
        self._nodes.append(helper.make_node(operator, list(inputs), [first, second], **attributes))
        return first, second

    def floats(self, value: Any) -> str:
        """Add a float32 constant; return its name."""
        return self._constant(np.array(value, dtype=np.float32, order="C"))

    def integers(self, *values: int) -> str:
        """Add an int64 constant; return its name."""
        return self._constant(np.array(values, dtype=np.int64))

    def save(
        self,
        path: Path,
        inputs: Mapping[str, tuple[int, Dimensions]],
        output: str,
        dimensions: Dimensions,
    ) -> None:
        """Check the graph and write it. `inputs` gives element type and dimensions by name."""
        graph = helper.make_graph(
            self._nodes,
            path.stem,
            [helper.make_tensor_value_info(name, kind, list(size)) for name, (kind, size) in inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, list(dimensions))],
            self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="colluvium",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        onnx.save_model(model, path)

    def _constant(self, value: npt.NDArray[Any]) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name


def flops_of(path: Path, sizes: Mapping[str, Sequence[int]]) -> int:
    """Return the floating-point operations of one run of a graph: two for each multiplication and addition.

    Counted are convolutions, matrix products and LSTM gates, from the shapes that inputs of `sizes` lead to;
    what goes element by element is not. Raises ValueError where a shape cannot be told.
    """
    model = onnx.load_model(path)
    for value in model.graph.input:
        if value.name in sizes:
            for dimension, size in zip(value.type.tensor_type.shape.dim, sizes[value.name], strict=True):
                dimension.dim_value = size
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")
    inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    shapes = {one.name: tuple(one.dims) for one in inferred.graph.initializer}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        shapes[value.name] = tuple(dimension.dim_value for dimension in value.type.tensor_type.shape.dim)
    return sum(_of_node(node, shapes) for node in inferred.graph.node)


def _of_node(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    if node.op_type not in ("Conv", "MatMul", "Gemm", "LSTM"):
        return 0
    first, second = _known(node.input[0], shapes), _known(node.input[1], shapes)
    if node.op_type == "LSTM":
        steps, count, _ = first
        directions, gates, entering = second
        return 2 * steps * count * directions * gates * (entering + gates // 4)
    out = _known(next(name for name in node.output if name), shapes)
    if node.op_type == "Conv":
        return 2 * int(np.prod(out)) * int(np.prod(second[1:]))
    transposed = any(one.name == "transA" and one.i for one in node.attribute)
    return 2 * int(np.prod(out)) * (first[-2] if transposed else first[-1])


def _known(name: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, ...]:
    shape = shapes.get(name, ())
    if not shape or not all(shape):
        raise ValueError(f"the shape of {name} cannot be told from the graph")
    return shape
