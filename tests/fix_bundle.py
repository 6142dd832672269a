"""A CNN-LSTM of random weights in every ONNX file of a bundle, made without torch.

The graphs are written by hand from the same arrays, so the factored files and whole.onnx are two
formulations of one network and can be held against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.layer import ClassScheme
from service.files import sha256_file, write_json
from service.manifest import FACTORED, MANIFEST_NAME, WHOLE, FactorSpec, Manifest, Training, VariableSpec
from service.region import corner_weights

FloatArray = npt.NDArray[np.float32]
COVER = {1: "forest", 2: "field", 3: "rock"}


@dataclass(frozen=True)
class ToyNetwork:
    """Sizes and seed of a random network; `factors` continuous bands, then one categorical band `cover`."""

    factors: int = 2
    categorical: bool = True
    variables: int = 1
    filters: tuple[int, int, int] = (4, 6, 8)
    channels: int = 16
    hidden: int = 8
    lstm: tuple[int, int] = (8, 6)
    k: int = 8
    patch: int = 23
    days: int = 30
    seed: int = 0
    gain: float = 1.0  # of the last layer: how far susceptibility spreads

    @property
    def factor_specs(self) -> tuple[FactorSpec, ...]:
        """Continuous bands f0, f1, ... in 0 to 100 m, then the categories."""
        specs = [FactorSpec(name=f"f{i}", unit="m", minimum=0, maximum=100) for i in range(self.factors)]
        if self.categorical:
            specs.append(FactorSpec(name="cover", unit="", categories=COVER))
        return tuple(specs)

    @property
    def variable_specs(self) -> tuple[VariableSpec, ...]:
        """Rain of 0 to 100 mm a day, then a level's depth below full."""
        specs = [VariableSpec(name="rain", unit="mm", minimum=0, maximum=100)]
        if self.variables > 1:
            specs.append(VariableSpec(name="level_below_full", unit="m", minimum=-100, maximum=0))
        return tuple(specs)

    def array(self, name: str, *shape: int, fan_in: int = 1) -> FloatArray:
        """Return the named weight; the same seed and name always give the same array."""
        random = np.random.default_rng([self.seed, *name.encode()])
        return np.asarray(random.standard_normal(shape) * np.sqrt(2 / fan_in), np.float32)


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}

    def constant(self, name: str, value: Any, dtype: Any = np.float32) -> str:
        self.initializers[name] = numpy_helper.from_array(np.asarray(value, dtype=dtype), name)
        return name

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        name = output or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def save(
        self, path: Path, inputs: dict[str, tuple[int, list[Any]]], output: str, shape: list[Any]
    ) -> None:
        graph = helper.make_graph(
            self.nodes,
            path.stem,
            [helper.make_tensor_value_info(name, kind, dims) for name, (kind, dims) in inputs.items()],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, shape)],
            list(self.initializers.values()),
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        onnx.checker.check_model(model)
        onnx.save_model(model, path)


def write_toy_bundle(
    folder: Path,
    network: ToyNetwork | None = None,
    *,
    kind: Literal["factored", "whole"] = "factored",
    breaks: tuple[float, float, float] = (0.4, 0.5, 0.6),
) -> Path:
    """Write a bundle of random weights and return its folder."""
    net = network or ToyNetwork()
    folder.mkdir(parents=True, exist_ok=True)
    _write_whole(net, folder / WHOLE)
    if kind == "factored":
        _write_spatial(net, folder / "spatial.onnx")
        _write_temporal(net, folder / "temporal.onnx")
        _write_head(net, folder / "head.onnx", quantised=False)
        _write_head(net, folder / "head_u8.onnx", quantised=True)
    names = (*FACTORED, WHOLE) if kind == "factored" else (WHOLE,)
    manifest = Manifest(
        name="toy",
        version="1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        kind=kind,
        factors=net.factor_specs,
        variables=net.variable_specs,
        window_days=net.days,
        patch=net.patch,
        forcing_cell=net.k,
        channels=net.channels,
        classes=ClassScheme(breaks=breaks),
        training=Training(
            region="toy", data="random weights", synthetic=True, samples={}, events=0, sampling_ratio=1.0,
            split="none", seed=net.seed, metrics={},
        ),
        may_warn=False,
        may_warn_reason="random weights",
        files={name: sha256_file(folder / name) for name in names},
    )  # fmt: skip
    write_json(folder / MANIFEST_NAME, manifest.model_dump(mode="json"))
    return folder


def _scaled_factors(net: ToyNetwork, graph: _Graph, source: str) -> str:
    """Min-max of the continuous bands and one-hot of the categories: (n, C + 2, ...)."""
    low = graph.constant("low", np.zeros((1, net.factors, 1, 1)))
    width = graph.constant("width", np.full((1, net.factors, 1, 1), 100))
    if not net.categorical:
        return graph.add("Div", graph.add("Sub", source, low), width)
    start, middle, end, axis = (
        graph.constant(name, [value], np.int64)
        for name, value in (("i0", 0), ("i1", net.factors), ("i2", net.factors + 1), ("ax", 1))
    )
    continuous = graph.add("Slice", source, start, middle, axis)
    codes = graph.add("Slice", source, middle, end, axis)
    names = graph.constant("codes", np.array(list(COVER)).reshape(1, -1, 1, 1))
    one_hot = graph.add("Cast", graph.add("Equal", codes, names), to=TensorProto.FLOAT)
    scaled = graph.add("Div", graph.add("Sub", continuous, low), width)
    return graph.add("Concat", scaled, one_hot, axis=1)


def _blocks(net: ToyNetwork, graph: _Graph, x: str, *, dense: bool) -> str:
    """Three blocks of convolution, ReLU, max-pool, batch norm; dense: stride 1 and growing dilation."""
    before = net.factors + (len(COVER) if net.categorical else 0)
    for index, after in enumerate(net.filters):
        step = 2**index if dense else 1
        weight = graph.constant(
            f"w{index}", net.array(f"conv{index}", after, before, 3, 3, fan_in=9 * before)
        )
        bias = graph.constant(f"b{index}", 0.1 * net.array(f"bias{index}", after))
        x = graph.add("Relu", graph.add("Conv", x, weight, bias, dilations=[step, step]))
        stride = 1 if dense else 2
        x = graph.add("MaxPool", x, kernel_shape=[2, 2], strides=[stride, stride], dilations=[step, step])
        gain = graph.constant(f"g{index}", 0.7 + 0.1 * net.array(f"gain{index}", 1, after, 1, 1))
        shift = graph.constant(f"s{index}", -0.3 + 0.1 * net.array(f"shift{index}", 1, after, 1, 1))
        x = graph.add("Add", graph.add("Mul", x, gain), shift)
        before = after
    return x


def _write_spatial(net: ToyNetwork, path: Path) -> None:
    graph = _Graph()
    x = _blocks(net, graph, _scaled_factors(net, graph, "factors"), dense=True)
    if net.patch > 22:
        ends = graph.constant("ends", [-(net.patch - 22)] * 2, np.int64)
        begins, axes = graph.constant("begins", [0, 0], np.int64), graph.constant("hw", [2, 3], np.int64)
        x = graph.add("Slice", x, begins, ends, axes)
    dense = net.array("ws", net.channels, net.filters[2], fan_in=net.filters[2])[:, :, None, None]
    graph.add("Conv", x, graph.constant("ws", dense), output="state")
    bands = len(net.factor_specs)
    inputs = {"factors": (TensorProto.FLOAT, [1, bands, "H", "W"])}
    graph.save(path, inputs, "state", [1, net.channels, "h", "w"])


def _embedding(net: ToyNetwork, graph: _Graph, output: str | None = None) -> str:
    low = graph.constant("tl", [spec.minimum for spec in net.variable_specs])
    width = graph.constant("tw", [spec.maximum - spec.minimum for spec in net.variable_specs])
    x = graph.add("Div", graph.add("Sub", "window", low), width)
    x = graph.add("Transpose", x, perm=[1, 0, 2])
    first, second = net.lstm
    sizes = ((net.variables, first), (first, second))
    axis = graph.constant("ax1", [1], np.int64)
    for index, (wide, hidden) in enumerate(sizes):
        w = graph.constant(f"lw{index}", net.array(f"lw{index}", 1, 4 * hidden, wide, fan_in=2 * wide))
        r = graph.constant(f"lr{index}", net.array(f"lr{index}", 1, 4 * hidden, hidden, fan_in=2 * hidden))
        everything, last = f"y{index}", f"h{index}"
        graph.nodes.append(helper.make_node("LSTM", [x, w, r], [everything, last], hidden_size=hidden))
        x = graph.add("Squeeze", everything, axis) if index == 0 else last
    x = graph.add("Squeeze", x, graph.constant("ax0", [0], np.int64))
    wt = graph.constant("wt", 3 * net.array("wt", second, net.channels, fan_in=second))
    bias = graph.constant("tb", 0.1 * net.array("tb", net.channels))
    return graph.add("Add", graph.add("MatMul", x, wt), bias, output=output)


def _write_temporal(net: ToyNetwork, path: Path) -> None:
    graph = _Graph()
    _embedding(net, graph, "embedding")
    inputs = {"window": (TensorProto.FLOAT, ["n", net.days, net.variables])}
    graph.save(path, inputs, "embedding", ["n", net.channels])


def _dense(net: ToyNetwork, graph: _Graph, x: str, axis: int, *, output: str) -> str:
    """ReLU, dense ReLU, sigmoid on the sum of both branches, (..., D) -> (...)."""
    first = net.array("d1", net.channels, net.hidden, fan_in=net.channels)
    last = net.gain * net.array("d2", net.hidden, 1, fan_in=net.hidden)
    x = graph.add("MatMul", graph.add("Relu", x), graph.constant("d1", first))
    x = graph.add("Relu", graph.add("Add", x, graph.constant("d1b", 0.1 * net.array("d1b", net.hidden))))
    x = graph.add("Sigmoid", graph.add("MatMul", x, graph.constant("d2", last)))
    return graph.add("Squeeze", x, graph.constant("last", [axis], np.int64), output=output)


def _write_head(net: ToyNetwork, path: Path, *, quantised: bool) -> None:
    """The formulation that the trainer exports (trainer.networks.factored), so that its speed is the same."""
    graph = _Graph()
    size, d = net.k**2, net.channels
    inputs = {
        "state": (TensorProto.UINT8 if quantised else TensorProto.FLOAT, ["g", size, d]),
        "corners": (TensorProto.FLOAT, ["g", 4, d]),
    }
    second = graph.constant("d1", net.array("d1", d, net.hidden, fan_in=d))
    rows = graph.constant("rows", [-1, d], np.int64)
    if not quantised:
        x = graph.add(
            "Reshape",
            graph.add(
                "Add",
                "state",
                graph.add("MatMul", graph.constant("between", corner_weights(net.k)), "corners"),
            ),
            rows,
        )
    else:
        inputs |= {"scale": (TensorProto.FLOAT, [d]), "offset": (TensorProto.FLOAT, [d])}
        # The corners' weights sum to 1, so the offset may ride on them; relu(scale x) = scale relu(x), so
        # the scale goes into the next layer's weights.
        scale = graph.add("Max", "scale", graph.constant("least", 1e-12))
        corners = graph.add("Div", graph.add("Add", "corners", "offset"), scale)
        second = graph.add(
            "Mul", second, graph.add("Unsqueeze", scale, graph.constant("axis", [1], np.int64))
        )
        x = graph.add("Reshape", graph.add("Cast", "state", to=TensorProto.FLOAT), rows)
        # One product interpolates and adds: for one forcing cell by `between`, for g of them block by block.
        count = graph.add("Shape", "corners", end=1)
        unit = graph.add("EyeLike", graph.add("ConstantOfShape", graph.add("Concat", count, count, axis=0)))
        unit = graph.add("Unsqueeze", unit, graph.constant("axes", [1, 3], np.int64))
        each = graph.add("Mul", unit, graph.constant("each", corner_weights(net.k)[None, :, None, :]))
        width = graph.add("Mul", count, graph.constant("four", [4], np.int64))
        shape = graph.add("Concat", graph.constant("any", [-1], np.int64), width, axis=0)
        x = graph.add("Gemm", graph.add("Reshape", each, shape), graph.add("Reshape", corners, rows), x)
    x = graph.add(
        "Gemm", graph.add("Relu", x), second, graph.constant("d1b", 0.1 * net.array("d1b", net.hidden))
    )
    x = graph.add("Relu", x)
    last = net.gain * net.array("d2", net.hidden, 1, fan_in=net.hidden)
    x = graph.add("Sigmoid", graph.add("Gemm", graph.constant("d2", last.T), x, transB=1))
    graph.add("Reshape", x, graph.constant("cells", [-1, size], np.int64), output="susceptibility")
    graph.save(path, inputs, "susceptibility", ["g", size])


def _write_whole(net: ToyNetwork, path: Path) -> None:
    graph = _Graph()
    x = graph.add("Flatten", _blocks(net, graph, _scaled_factors(net, graph, "patches"), dense=False))
    dense = net.array("ws", net.channels, net.filters[2], fan_in=net.filters[2])
    x = graph.add("MatMul", x, graph.constant("wst", dense.T))
    _dense(net, graph, graph.add("Add", x, _embedding(net, graph)), 1, output="susceptibility")
    inputs = {
        "patches": (TensorProto.FLOAT, ["n", len(net.factor_specs), net.patch, net.patch]),
        "window": (TensorProto.FLOAT, ["n", net.days, net.variables]),
    }
    graph.save(path, inputs, "susceptibility", ["n"])
