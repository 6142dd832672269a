"""The head as a graphics card runs it: many forcing cells a run, each with a scale and offset of its own.

head_u8.onnx takes one scale and offset for all the forcing cells of a run, and a card wants a thousand of
them at a time. So the decoding of the state is put in front of the bundle's own head.onnx, in memory; what
the head itself computes is not touched, whoever made the bundle.
"""

from __future__ import annotations

import warnings
from typing import Any

import onnx
from onnx import TensorProto, helper

from service.errors import BundleError

CODES, SCALE, OFFSET, PICK, CORNERS, OUTPUT = (
    "codes",
    "scale",
    "offset",
    "pick",
    "corners",
    "susceptibility",
)


def batched_head(head: bytes, name: str, cells: int, channels: int) -> bytes:
    """Return head.onnx with the decoding in front.

    codes uint8 (n, cells, D), scale and offset float32 (n, 1, D), pick int64 (g,): which of the n forcing
    cells, corners float32 (g, 4, D) -> susceptibility float32 (g, cells). Decoded state = codes * scale +
    offset. `name` is what errors call the head. Raises BundleError where it cannot be extended.
    """
    model = onnx.load_from_string(head)
    graph = model.graph
    taken = {port.name for port in (*graph.input, *graph.output)} | {one.name for one in graph.initializer}
    taken |= {value for node in graph.node for value in (*node.input, *node.output)}
    prefix = "decode"
    while any(value.startswith(prefix) for value in taken):
        prefix += "_"
    if {CODES, SCALE, OFFSET, PICK} & taken:
        raise BundleError(
            f"{name} has a value called {CODES!r}, {SCALE!r}, {OFFSET!r} or {PICK!r}, which the graphics "
            "card's decoding needs; export the bundle again with other names"
        )

    def picked(value: str) -> str:
        nodes.append(helper.make_node("Gather", [value, PICK], [f"{prefix}/{value}"], axis=0))
        return f"{prefix}/{value}"

    nodes: list[Any] = []
    codes, scale, offset = picked(CODES), picked(SCALE), picked(OFFSET)
    nodes.append(helper.make_node("Cast", [codes], [f"{prefix}/real"], to=TensorProto.FLOAT))
    nodes.append(helper.make_node("Mul", [f"{prefix}/real", scale], [f"{prefix}/scaled"]))
    nodes.append(helper.make_node("Add", [f"{prefix}/scaled", offset], ["state"]))
    inputs = [
        helper.make_tensor_value_info(CODES, TensorProto.UINT8, ["n", cells, channels]),
        helper.make_tensor_value_info(SCALE, TensorProto.FLOAT, ["n", 1, channels]),
        helper.make_tensor_value_info(OFFSET, TensorProto.FLOAT, ["n", 1, channels]),
        helper.make_tensor_value_info(PICK, TensorProto.INT64, ["g"]),
        *(port for port in graph.input if port.name == CORNERS),
    ]
    composed = helper.make_graph(
        [*nodes, *graph.node],
        "batched_head",
        inputs,
        list(graph.output),
        list(graph.initializer),
        sparse_initializer=list(graph.sparse_initializer),
    )
    made = helper.make_model(
        composed,
        ir_version=model.ir_version,
        opset_imports=list(model.opset_import),
        functions=list(model.functions),
    )
    try:
        onnx.checker.check_model(made)
    except onnx.checker.ValidationError as error:
        raise BundleError(f"{name} cannot be given the state of many forcing cells: {error}") from error
    return bytes(made.SerializeToString())


def in_half(graph: bytes) -> bytes:
    """Return a graph that computes in float16 and keeps the types of its inputs and outputs."""
    # The same module is in both distributions of ONNX Runtime; it needs numpy and onnx alone.
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with warnings.catch_warnings():
        # It warns of each constant that float16 cannot hold. Whether that matters, the proof decides.
        warnings.simplefilter("ignore")
        made = convert_float_to_float16(onnx.load_from_string(graph), keep_io_types=True)
    return bytes(made.SerializeToString())
