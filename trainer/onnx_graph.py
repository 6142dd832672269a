"""ONNX graphs written node by node or put together from parts; the same parts give the same bytes.

Names of nodes, tensors and producers carry nothing of a converter, a machine or a moment.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 18
IR_VERSION = 10


class GraphBuilder:
    """Nodes and constants in the order in which they are added; names are numbers, so files repeat."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._domains: dict[str, int] = {"": OPSET}

    def add(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        """Add a node with one output; return the output's name."""
        name = output or f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, value: npt.NDArray[Any]) -> str:
        """Add a constant of the array's own type; return its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.array(value, order="C"), name))
        return name

    def floats(self, value: npt.ArrayLike) -> str:
        """Add a float32 constant, shape kept; return its name."""
        return self.constant(np.asarray(value, dtype=np.float32))

    def integers(self, value: Sequence[int]) -> str:
        """Add an int64 constant (n,); return its name."""
        return self.constant(np.array(value, dtype=np.int64))

    def scalar(self, value: int) -> str:
        """Add an int64 constant without axes, which takes an axis away from what Gather reads by it."""
        return self.constant(np.array(value, dtype=np.int64))

    def embed(self, model: onnx.ModelProto, inputs: Mapping[str, str], output: str) -> str:
        """Add what another model's `output` needs, its tensors renamed; return the new name of `output`.

        `inputs` says what each of the model's inputs is called here. Raises ValueError where nothing makes
        `output`, and for a model with subgraphs, functions or sparse constants: no model here has any.
        """
        graph = model.graph
        if not any(output in node.output for node in graph.node):
            raise ValueError(f"graph {graph.name!r} has no {output!r}")
        if model.functions or graph.sparse_initializer:
            raise ValueError(f"graph {graph.name!r} has functions or sparse constants")
        constants = {tensor.name: tensor for tensor in graph.initializer}
        renamed = dict(inputs)
        for number, node in _needed(graph, output):
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            if any(attribute.g.ByteSize() or attribute.graphs for attribute in copy.attribute):
                raise ValueError(f"graph {graph.name!r} has subgraphs")
            copy.name, copy.doc_string = "", ""
            del copy.metadata_props[:]
            for index, name in enumerate(node.input):
                if name and name not in renamed:
                    if name not in constants:
                        raise ValueError(f"graph {graph.name!r}: nothing makes {name!r}, input of {number}")
                    renamed[name] = self.constant(numpy_helper.to_array(constants[name]))
                copy.input[index] = renamed.get(name, "")
            for index, name in enumerate(node.output):
                if name:
                    renamed[name] = f"v{len(self._nodes)}" + (f"_{index}" if index else "")
                    copy.output[index] = renamed[name]
            self._nodes.append(copy)
        for item in model.opset_import:
            self._domains.setdefault(item.domain, item.version)
        return renamed[output]

    def model(self, name: str, inputs: Sequence[Any], outputs: Sequence[Any]) -> onnx.ModelProto:
        """Return the checked model: opset 18, IR 10. Raises what onnx.checker raises."""
        graph = helper.make_graph(self._nodes, name, list(inputs), list(outputs), self._constants)
        model = helper.make_model(
            graph,
            producer_name="colluvium",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid(*item) for item in sorted(self._domains.items())],
        )
        onnx.checker.check_model(model, full_check=True)
        return model


def port(name: str, shape: Sequence[int | str], kind: int = TensorProto.FLOAT) -> Any:
    """Return an input or output of a graph; a word in `shape` is a size that is free."""
    return helper.make_tensor_value_info(name, kind, list(shape))


def _needed(graph: Any, output: str) -> list[tuple[int, Any]]:
    """Return the nodes that `output` depends on, in the graph's order."""
    wanted, found = {output}, []
    for number, node in reversed(list(enumerate(graph.node))):
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.append((number, node))
    return found[::-1]
