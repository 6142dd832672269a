"""The trained network as the four graphs that the service runs: the same weights, rearranged without loss.

- Dense convolution: with unpadded blocks, the patch of every cell equals one pass over the tile with pooling
  at stride 1 and dilations 1, 2, 4; flatten and dense become a convolution of dilation 8.
- Batch norm outside training is an affine map; it is folded into the weights that follow it.
- Ws s leaves `spatial.onnx` as the state, Wt t + b leaves `temporal.onnx`; the head adds them.

The graphs are written node by node, not traced, so that nothing of a tracer's choice decides their speed;
`whole.onnx` is traced, so the proof at load compares two derivations of one network.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from service.region import corner_weights
from trainer.networks.cnn_lstm import DENSE_UNITS, CnnLstm, FactorScaling, WindowScaling
from trainer.networks.masked_lstm import MaskedLstm

OPSET = 18
IR_VERSION = 10
# A channel of the state that is the same everywhere has scale 0; dividing by this instead is exact enough.
SMALLEST_SCALE = 1e-12

Array = npt.NDArray[np.float64]


def spatial_graph(model: CnnLstm) -> onnx.ModelProto:
    """Return `factors` float32 (1, C, h+P-1, w+P-1) -> `state` (1, D, h, w), physical units, state = Ws s."""
    inputs = model.inputs
    graph = _Graph()
    # P cells hold up to 7 rows that no pooling window reaches; without them the pass is smaller.
    unused = inputs.patch - 22 - 8 * (inputs.map_size - 1)
    value = "factors"
    if unused:
        ends = graph.integers([-unused, -unused])
        value = graph.add("Slice", value, graph.integers([0, 0]), ends, graph.integers([2, 3]))
    value = _scale_factors(graph, value, model.factor_scaling)
    scale, shift = np.ones(inputs.channels), np.zeros(inputs.channels)
    dilation = 1
    for convolution, norm in zip(model.spatial.convolutions, model.spatial.norms, strict=True):
        weight, bias = _fold(_array(convolution.weight), _array(convolution.bias), scale, shift)
        value = graph.add(
            "Conv",
            value,
            graph.floats(weight),
            graph.floats(bias),
            kernel_shape=[3, 3],
            dilations=[dilation, dilation],
        )
        value = graph.add("Relu", value)
        value = graph.add(
            "MaxPool", value, kernel_shape=[2, 2], strides=[1, 1], dilations=[dilation, dilation]
        )
        scale, shift = _affine(norm)
        dilation *= 2
    side = inputs.map_size
    dense = _array(model.dense_spatial.weight).reshape(DENSE_UNITS[0], -1, side, side)
    weight, bias = _fold(dense, np.zeros(DENSE_UNITS[0]), scale, shift)
    graph.add(
        "Conv",
        value,
        graph.floats(weight),
        graph.floats(bias),
        output="state",
        kernel_shape=[side, side],
        dilations=[dilation, dilation],
    )
    return graph.model(
        "spatial",
        [_value("factors", TensorProto.FLOAT, [1, len(inputs.factors), "rows", "columns"])],
        [_value("state", TensorProto.FLOAT, [1, DENSE_UNITS[0], "h", "w"])],
    )


def temporal_graph(model: CnnLstm) -> onnx.ModelProto:
    """Return `window` float32 (n, N, V) -> `embedding` (n, D), physical units, embedding = Wt t + b."""
    inputs = model.inputs
    graph = _Graph()
    value = _scale_window(graph, "window", model.window_scaling)
    value = graph.add("Transpose", value, perm=[1, 0, 2])
    states, _ = _lstm(graph, value, model.temporal.first)
    states = graph.add("Squeeze", states, graph.integers([1]))
    _, last = _lstm(graph, states, model.temporal.second)
    last = graph.add("Squeeze", last, graph.integers([0]))
    weight, bias = _array(model.dense_temporal.weight), _array(model.dense_temporal.bias)
    graph.add("Gemm", last, graph.floats(weight), graph.floats(bias), output="embedding", transB=1)
    shape: list[int | str] = ["n", inputs.window_days, len(inputs.variables)]
    return graph.model(
        "temporal",
        [_value("window", TensorProto.FLOAT, shape)],
        [_value("embedding", TensorProto.FLOAT, ["n", DENSE_UNITS[0]])],
    )


def head_graph(model: CnnLstm, k: int) -> onnx.ModelProto:
    """Return `state` float32 (g, k*k, D), `corners` float32 (g, 4, D) -> `susceptibility` (g, k*k)."""
    graph = _Graph()
    between = graph.add("MatMul", graph.floats(corner_weights(k)), "corners")
    first = graph.add("Add", "state", between)
    first = graph.add("Reshape", first, graph.integers([-1, DENSE_UNITS[0]]))
    _second_half(graph, model, k, first, graph.floats(_array(model.dense2.weight).T))
    return graph.model("head", _head_inputs(k, TensorProto.FLOAT), _head_outputs(k))


def head_u8_graph(model: CnnLstm, k: int) -> onnx.ModelProto:
    """Return the head on a quantised state: `state` uint8, and `scale`, `offset` float32 (D,), scale >= 0.

    Decoded state = state * scale + offset. The weights of a cell's corners sum to 1, so the offset goes
    into the four corner rows; and relu(scale * x) = scale * relu(x), so the scale goes into the next
    layer's weights. Per cell that leaves the cast.

    The corners are added by the matrix product that interpolates them, which takes one pass over the cells
    less than a sum. A product has two dimensions, so that several forcing cells need a block-diagonal matrix;
    for one, as the service runs it, it is the matrix of corner weights itself.
    """
    graph = _Graph()
    scale = graph.add("Max", "scale", graph.floats(np.array(SMALLEST_SCALE)))
    corners = graph.add("Div", graph.add("Add", "corners", "offset"), scale)
    weight = graph.floats(_array(model.dense2.weight).T)
    second = graph.add("Mul", weight, graph.add("Unsqueeze", scale, graph.integers([1])))
    row = graph.integers([-1, DENSE_UNITS[0]])
    state = graph.add("Reshape", graph.add("Cast", "state", to=TensorProto.FLOAT), row)
    between = _block_diagonal(graph, corner_weights(k), "corners")
    first = graph.add("Gemm", between, graph.add("Reshape", corners, row), state)
    _second_half(graph, model, k, first, second)
    inputs = _head_inputs(k, TensorProto.UINT8)
    inputs += [_value(name, TensorProto.FLOAT, [DENSE_UNITS[0]]) for name in ("scale", "offset")]
    return graph.model("head_u8", inputs, _head_outputs(k))


def _block_diagonal(graph: _Graph, block: npt.NDArray[np.float32], counted: str) -> str:
    """Add a matrix that holds `block` (r, c) once for each of the g rows of `counted`: (g*r, g*c)."""
    count = graph.add("Shape", counted, end=1)
    unit = graph.add("EyeLike", graph.add("ConstantOfShape", graph.add("Concat", count, count, axis=0)))
    spread = graph.add("Unsqueeze", unit, graph.integers([1, 3]))
    blocks = graph.add("Mul", spread, graph.floats(block[None, :, None, :]))
    width = graph.add("Mul", count, graph.integers([block.shape[1]]))
    return graph.add("Reshape", blocks, graph.add("Concat", graph.integers([-1]), width, axis=0))


def _second_half(graph: _Graph, model: CnnLstm, k: int, value: str, second: str) -> None:
    """Add ReLU, second dense layer, output and sigmoid on the first layer (g*k*k, D); `second` is (D, 64)."""
    value = graph.add("Gemm", graph.add("Relu", value), second, graph.floats(_array(model.dense2.bias)))
    value = graph.add("Relu", value)
    # One row times the transposed cells: a matrix product with one column is half as fast.
    value = graph.add("Gemm", graph.floats(_array(model.out.weight)), value, transB=1)
    value = graph.add("Sigmoid", graph.add("Add", value, graph.floats(_array(model.out.bias))))
    graph.add("Reshape", value, graph.integers([-1, k * k]), output="susceptibility")


def _head_inputs(k: int, state: int) -> list[onnx.ValueInfoProto]:
    return [
        _value("state", state, ["g", k * k, DENSE_UNITS[0]]),
        _value("corners", TensorProto.FLOAT, ["g", 4, DENSE_UNITS[0]]),
    ]


def _head_outputs(k: int) -> list[onnx.ValueInfoProto]:
    return [_value("susceptibility", TensorProto.FLOAT, ["g", k * k])]


def _scale_factors(graph: _Graph, value: str, scaling: FactorScaling) -> str:
    parts = []
    if len(scaling.plain):
        parts.append(graph.add("Gather", value, graph.integers(scaling.plain.tolist()), axis=1))
    if len(scaling.logged):
        logged = graph.add("Gather", value, graph.integers(scaling.logged.tolist()), axis=1)
        parts.append(_signed_log(graph, logged))
    scaled = []
    if parts:
        numeric = graph.add("Concat", *parts, axis=1) if len(parts) > 1 else parts[0]
        centred = graph.add("Sub", numeric, graph.floats(_array(scaling.low)))
        scaled.append(graph.add("Div", centred, graph.floats(_array(scaling.span))))
    if len(scaling.coded):
        coded = graph.add("Gather", value, graph.integers(scaling.coded.tolist()), axis=1)
        same = graph.add("Equal", coded, graph.floats(_array(scaling.codes)))
        scaled.append(graph.add("Cast", same, to=TensorProto.FLOAT))
    return graph.add("Concat", *scaled, axis=1) if len(scaled) > 1 else scaled[0]


def _scale_window(graph: _Graph, value: str, scaling: WindowScaling) -> str:
    if scaling.any_log:
        logged = _signed_log(graph, value)
        value = graph.add("Where", graph.constant(scaling.log.numpy()), logged, value)
    centred = graph.add("Sub", value, graph.floats(_array(scaling.low)))
    return graph.add("Div", centred, graph.floats(_array(scaling.span)))


def _signed_log(graph: _Graph, value: str) -> str:
    size = graph.add("Add", graph.add("Abs", value), graph.floats(np.array(1.0)))
    return graph.add("Mul", graph.add("Sign", value), graph.add("Log", size))


def _lstm(graph: _Graph, value: str, lstm: MaskedLstm) -> tuple[str, str]:
    """Add one LSTM on (N, n, V); return all hidden states (N, 1, n, units) and the last (1, n, units)."""

    def gates(name: str) -> Array:
        enter, forget, candidate, leave = np.split(_array(lstm.get_parameter(name)), 4)
        return np.concatenate([enter, leave, forget, candidate])[None]  # ONNX orders gates i o f c

    bias = np.concatenate([gates("bias_ih_l0"), gates("bias_hh_l0")], axis=1)
    return graph.add_two(
        "LSTM",
        value,
        graph.floats(gates("weight_ih_l0")),
        graph.floats(gates("weight_hh_l0")),
        graph.floats(bias),
        hidden_size=lstm.hidden_size,
    )


def _affine(norm: nn.Module) -> tuple[Array, Array]:
    """Return scale and shift of a batch norm outside training."""
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_mean is None or norm.running_var is None:
        raise TypeError("the spatial branch normalises with BatchNorm2d and running statistics")
    scale = _array(norm.weight) / np.sqrt(_array(norm.running_var) + norm.eps)
    return scale, _array(norm.bias) - _array(norm.running_mean) * scale


def _fold(weight: Array, bias: Array, scale: Array, shift: Array) -> tuple[Array, Array]:
    """Return weight and bias of a convolution that first applies x * scale + shift by input channel."""
    return weight * scale[:, None, None], bias + np.einsum("oihw,i->o", weight, shift)


def _array(tensor: Tensor | nn.Module) -> Array:
    # Folding in float64 costs nothing and leaves one rounding, at the end.
    if not isinstance(tensor, Tensor):
        raise TypeError(f"expected a tensor, got {type(tensor).__name__}")
    return tensor.detach().cpu().numpy().astype(np.float64)


def _value(name: str, kind: int, shape: list[int | str]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


class _Graph:
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

    def constant(self, value: npt.NDArray[Any]) -> str:
        """Add a constant; return its name."""
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def floats(self, value: npt.NDArray[Any]) -> str:
        """Add a float32 constant; return its name."""
        return self.constant(np.ascontiguousarray(value, dtype=np.float32))

    def integers(self, value: list[int]) -> str:
        """Add an int64 constant; return its name."""
        return self.constant(np.array(value, dtype=np.int64))

    def model(self, name: str, inputs: list[Any], outputs: list[Any]) -> onnx.ModelProto:
        """Return the checked model. LSTM's unused outputs are allowed to dangle."""
        graph = helper.make_graph(self._nodes, name, inputs, outputs, self._constants)
        model = helper.make_model(
            graph,
            producer_name="colluvium",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model
