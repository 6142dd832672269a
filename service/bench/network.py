"""A bundle of the paper's network with random weights, for measuring: its speed is that of a trained one.

The graphs hold the operators that the trainer writes for a trained network (trainer/networks/factored.py),
here from drawn weights and without torch; whole.onnx is the network patch by patch, batch norm and all. The
bundle is proven at load like any other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from onnx import TensorProto

from exporters.layer import ClassScheme
from service.bench.graph import Array, Graph
from service.files import sha256_file, write_json
from service.manifest import FACTORED, MANIFEST_NAME, WHOLE, FactorSpec, Manifest, Training, VariableSpec
from service.region import corner_weights
from service.runtime import make_session

Ports = dict[str, tuple[int, list[int | str]]]  # element type and dimensions by name

# As in the trainer: a channel of the state that is the same everywhere has scale 0.
SMALLEST_SCALE = 1e-12
_FACTOR_TOP = 100.0
_RAIN_TOP_MM = 100.0
_DEPTH_M = -100.0
_LOGITS = (-0.8, 0.8)  # mean and spread of a dry day
_CALIBRATED_ON = 256  # cells


@dataclass(frozen=True)
class Size:
    """The size of the network: the paper's, with the patch and the factors that it leaves open."""

    patch: int = 23  # P
    factors: int = 16  # C, all of them continuous
    variables: int = 2  # V: rain, then the linked reservoir's level
    filters: tuple[int, int, int] = (32, 64, 128)
    lstm: tuple[int, int] = (128, 64)
    channels: int = 128  # D
    hidden: int = 64
    days: int = 30
    k: int = 32
    seed: int = 0


def write_random_bundle(folder: Path, size: Size | None = None) -> Path:
    """Write a bundle of random weights and return its folder.

    Its outputs spread over the classes as a map's do, most of them low: how much there is to compress and to
    count depends on that.
    """
    network = _Network(size or Size())
    folder.mkdir(parents=True, exist_ok=True)
    network = replace(network, spread=_spread(network, folder / WHOLE))
    network.write_spatial(folder / "spatial.onnx")
    network.write_temporal(folder / "temporal.onnx")
    network.write_head(folder / "head.onnx")
    network.write_head_u8(folder / "head_u8.onnx")
    network.write_whole(folder / WHOLE)
    write_json(folder / MANIFEST_NAME, _manifest(network.size, folder).model_dump(mode="json"))
    return folder


def factor_specs(size: Size) -> tuple[FactorSpec, ...]:
    """Return the factors of a random network."""
    return tuple(
        FactorSpec(name=f"synthetic_{number:02d}", unit="m", minimum=0, maximum=_FACTOR_TOP)
        for number in range(1, size.factors + 1)
    )


def variable_specs(size: Size) -> tuple[VariableSpec, ...]:
    """Return the variables of a random network. Raises ValueError for more than the two that it knows."""
    if size.variables not in (1, 2):
        raise ValueError(f"a random network has 1 or 2 variables, not {size.variables}")
    specs = (
        VariableSpec(name="rain", unit="mm", minimum=0, maximum=_RAIN_TOP_MM),
        VariableSpec(name="level_below_full", unit="m", minimum=_DEPTH_M, maximum=0, unlinked=_DEPTH_M),
    )
    return specs[: size.variables]


def _manifest(size: Size, folder: Path) -> Manifest:
    return Manifest(
        name="random-weights",
        version="1",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        kind="factored",
        factors=factor_specs(size),
        variables=variable_specs(size),
        window_days=size.days,
        patch=size.patch,
        forcing_cell=size.k,
        channels=size.channels,
        classes=ClassScheme(breaks=(0.4, 0.5, 0.6)),
        training=Training(
            region="synthetic",
            data="none: random weights, for measuring speed",
            synthetic=True,
            samples={},
            events=0,
            sampling_ratio=1.0,
            split="none",
            seed=size.seed,
            metrics={},
        ),
        may_warn=False,
        may_warn_reason="random weights",
        files={name: sha256_file(folder / name) for name in (*FACTORED, WHOLE)},
    )


def _spread(network: _Network, path: Path) -> tuple[float, float]:
    """Return gain and shift of the output, so that logits of random cells lie about _LOGITS."""
    network.write_whole(path)
    session = make_session(path.read_bytes(), path.name)
    random, size = np.random.default_rng(network.size.seed), network.size
    patches = random.uniform(0, _FACTOR_TOP, (_CALIBRATED_ON, size.factors, 1, 1)).astype(np.float32)
    # Each patch is nearly flat, as terrain is on 700 m.
    patches = patches + random.uniform(-1, 1, (*patches.shape[:2], size.patch, size.patch)).astype(np.float32)
    lows = np.array([spec.minimum for spec in variable_specs(size)], np.float32)
    windows = np.broadcast_to(lows, (_CALIBRATED_ON, size.days, size.variables))
    found = session.run(None, {"patches": patches, "window": np.ascontiguousarray(windows)})[0]
    logits = np.log(found / (1 - found)).astype(np.float64)
    gain = _LOGITS[1] / max(float(logits.std()), 1e-3)
    return gain, _LOGITS[0] - gain * float(logits.mean())


@dataclass(frozen=True)
class _Network:
    size: Size
    spread: tuple[float, float] = (1.0, 0.0)  # of the output: gain, and shift in logits

    def weight(self, name: str, *shape: int, fan_in: int) -> Array:
        """Return the named weight (He et al. 2015); the same seed and name always give the same array."""
        random = np.random.default_rng([self.size.seed, *name.encode()])
        return np.asarray(random.standard_normal(shape) * np.sqrt(2 / fan_in))

    def bias(self, name: str, count: int) -> Array:
        """Return the named bias."""
        return 0.1 * self.weight(name, count, fan_in=2)

    def convolution(self, block: int) -> tuple[Array, Array]:
        """Return weight (after, before, 3, 3) and bias of a block's convolution."""
        filters = (self.size.factors, *self.size.filters)
        before, after = filters[block : block + 2]
        return (
            self.weight(f"conv{block}", after, before, 3, 3, fan_in=9 * before),
            self.bias(f"conv{block} bias", after),
        )

    def norm(self, block: int) -> tuple[Array, Array]:
        """Return scale and shift of a block's batch norm outside training."""
        after = self.size.filters[block]
        return 0.7 + self.bias(f"gain{block}", after), -0.3 + self.bias(f"shift{block}", after)

    @property
    def map_side(self) -> int:
        """Side of the map that is flattened: 1 for a patch of 22 to 29 cells."""
        return (self.size.patch - 22) // 8 + 1

    @property
    def dense_spatial(self) -> Array:
        """Ws, (D, filters, side, side)."""
        last, side = self.size.filters[-1], self.map_side
        return self.weight("ws", self.size.channels, last, side, side, fan_in=last * side**2)

    @property
    def dense_temporal(self) -> tuple[Array, Array]:
        """Wt (D, units) and b (D,): rain is given weight, or it would not be seen behind 16 factors."""
        channels, units = self.size.channels, self.size.lstm[1]
        return 3 * self.weight("wt", channels, units, fan_in=units), self.bias("bt", channels)

    @property
    def second(self) -> tuple[Array, Array]:
        """Weight (D, hidden) and bias of the second dense layer."""
        channels, hidden = self.size.channels, self.size.hidden
        return self.weight("dense2", channels, hidden, fan_in=channels), self.bias("dense2 bias", hidden)

    @property
    def last(self) -> tuple[Array, Array]:
        """Weight (1, hidden) and bias of the output."""
        gain, shift = self.spread
        weight = self.weight("out", 1, self.size.hidden, fan_in=self.size.hidden)
        return gain * weight, gain * self.bias("out bias", 1) + shift

    def write_spatial(self, path: Path) -> None:
        """factors -> state: the dense convolution, batch norms folded into the weights that follow."""
        size, graph = self.size, Graph()
        value = "factors"
        if unused := size.patch - 22 - 8 * (self.map_side - 1):
            ends, axes = graph.integers(-unused, -unused), graph.integers(2, 3)
            value = graph.add("Slice", value, graph.integers(0, 0), ends, axes)
        value = self._scaled_factors(graph, value)
        scale, shift, dilation = np.ones(size.factors), np.zeros(size.factors), 1
        for block in range(3):
            weight, bias = _fold(*self.convolution(block), scale, shift)
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
            scale, shift = self.norm(block)
            dilation *= 2
        weight, bias = _fold(self.dense_spatial, np.zeros(size.channels), scale, shift)
        graph.add(
            "Conv",
            value,
            graph.floats(weight),
            graph.floats(bias),
            output="state",
            kernel_shape=[self.map_side, self.map_side],
            dilations=[dilation, dilation],
        )
        inputs: Ports = {"factors": (TensorProto.FLOAT, [1, size.factors, "rows", "columns"])}
        graph.save(path, inputs, "state", [1, size.channels, "h", "w"])

    def write_temporal(self, path: Path) -> None:
        """window -> Wt t + b."""
        graph = Graph()
        self._temporal(graph, "embedding")
        graph.save(path, self._window_input(), "embedding", ["n", self.size.channels])

    def write_head(self, path: Path) -> None:
        """state, corners -> susceptibility."""
        graph = Graph()
        between = graph.add("MatMul", graph.floats(corner_weights(self.size.k)), "corners")
        first = graph.add("Reshape", graph.add("Add", "state", between), self._row(graph))
        self._second_half(graph, first, graph.floats(self.second[0]))
        graph.save(path, self._head_inputs(TensorProto.FLOAT), "susceptibility", ["g", self.size.k**2])

    def write_head_u8(self, path: Path) -> None:
        """The same on a quantised state: the offset rides on the corners, the scale on the weights."""
        graph = Graph()
        scale = graph.add("Max", "scale", graph.floats(SMALLEST_SCALE))
        corners = graph.add("Div", graph.add("Add", "corners", "offset"), scale)
        weight = graph.floats(self.second[0])
        second = graph.add("Mul", weight, graph.add("Unsqueeze", scale, graph.integers(1)))
        row = self._row(graph)
        state = graph.add("Reshape", graph.add("Cast", "state", to=TensorProto.FLOAT), row)
        # One product interpolates and adds; for several forcing cells its matrix is block-diagonal.
        count = graph.add("Shape", "corners", end=1)
        unit = graph.add("EyeLike", graph.add("ConstantOfShape", graph.add("Concat", count, count, axis=0)))
        spread = graph.add("Unsqueeze", unit, graph.integers(1, 3))
        blocks = graph.add("Mul", spread, graph.floats(corner_weights(self.size.k)[None, :, None, :]))
        width = graph.add("Mul", count, graph.integers(4))
        between = graph.add("Reshape", blocks, graph.add("Concat", graph.integers(-1), width, axis=0))
        first = graph.add("Gemm", between, graph.add("Reshape", corners, row), state)
        self._second_half(graph, first, second)
        inputs = self._head_inputs(TensorProto.UINT8)
        inputs |= {name: (TensorProto.FLOAT, [self.size.channels]) for name in ("scale", "offset")}
        graph.save(path, inputs, "susceptibility", ["g", self.size.k**2])

    def write_whole(self, path: Path) -> None:
        """patches, window -> susceptibility: the network as it is trained, one patch and window a cell."""
        size, graph = self.size, Graph()
        value = self._scaled_factors(graph, "patches")
        for block in range(3):
            weight, bias = self.convolution(block)
            value = graph.add("Conv", value, graph.floats(weight), graph.floats(bias), kernel_shape=[3, 3])
            value = graph.add("Relu", value)
            value = graph.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
            scale, shift = self.norm(block)
            nothing = np.zeros_like(scale)
            moments = [graph.floats(one) for one in (scale, shift, nothing, nothing + 1)]
            value = graph.add("BatchNormalization", value, *moments, epsilon=0.0)
        flat = graph.add("Flatten", value)
        dense = graph.floats(self.dense_spatial.reshape(size.channels, -1))
        both = graph.add("Add", graph.add("Gemm", flat, dense, transB=1), self._temporal(graph))
        value = graph.add("Relu", both)
        value = graph.add("Relu", graph.add("Gemm", value, *map(graph.floats, self.second)))
        weight, bias = self.last
        value = graph.add("Sigmoid", graph.add("Gemm", value, graph.floats(weight.T), graph.floats(bias)))
        graph.add("Squeeze", value, graph.integers(1), output="susceptibility")
        patches: Ports = {"patches": (TensorProto.FLOAT, ["n", size.factors, size.patch, size.patch])}
        graph.save(path, patches | self._window_input(), "susceptibility", ["n"])

    def _scaled_factors(self, graph: Graph, value: str) -> str:
        count = self.size.factors
        value = graph.add("Gather", value, graph.integers(*range(count)), axis=1)
        value = graph.add("Sub", value, graph.floats(np.zeros((1, count, 1, 1))))
        return graph.add("Div", value, graph.floats(np.full((1, count, 1, 1), _FACTOR_TOP)))

    def _temporal(self, graph: Graph, output: str | None = None) -> str:
        specs = variable_specs(self.size)
        low = graph.floats([spec.minimum for spec in specs])
        span = graph.floats([spec.maximum - spec.minimum for spec in specs])
        value = graph.add("Div", graph.add("Sub", "window", low), span)
        value = graph.add("Transpose", value, perm=[1, 0, 2])
        first, second = self.size.lstm
        states, _ = self._lstm(graph, value, 0, self.size.variables, first)
        states = graph.add("Squeeze", states, graph.integers(1))
        _, last = self._lstm(graph, states, 1, first, second)
        last = graph.add("Squeeze", last, graph.integers(0))
        weight, bias = map(graph.floats, self.dense_temporal)
        return graph.add("Gemm", last, weight, bias, output=output, transB=1)

    def _lstm(self, graph: Graph, value: str, layer: int, wide: int, hidden: int) -> tuple[str, str]:
        entering = self.weight(f"lstm{layer} in", 1, 4 * hidden, wide, fan_in=2 * wide)
        recurrent = self.weight(f"lstm{layer} back", 1, 4 * hidden, hidden, fan_in=2 * hidden)
        bias = self.bias(f"lstm{layer} bias", 8 * hidden)[None]
        weights = map(graph.floats, (entering, recurrent, bias))
        return graph.add_two("LSTM", value, *weights, hidden_size=hidden)

    def _row(self, graph: Graph) -> str:
        return graph.integers(-1, self.size.channels)

    def _second_half(self, graph: Graph, first: str, second: str) -> None:
        value = graph.add("Relu", first)
        value = graph.add("Relu", graph.add("Gemm", value, second, graph.floats(self.second[1])))
        weight, bias = map(graph.floats, self.last)
        value = graph.add("Sigmoid", graph.add("Add", graph.add("Gemm", weight, value, transB=1), bias))
        graph.add("Reshape", value, graph.integers(-1, self.size.k**2), output="susceptibility")

    def _head_inputs(self, state: int) -> Ports:
        cells, channels = self.size.k**2, self.size.channels
        return {
            "state": (state, ["g", cells, channels]),
            "corners": (TensorProto.FLOAT, ["g", 4, channels]),
        }

    def _window_input(self) -> Ports:
        return {"window": (TensorProto.FLOAT, ["n", self.size.days, self.size.variables])}


def _fold(weight: Array, bias: Array, scale: Array, shift: Array) -> tuple[Array, Array]:
    """Return weight and bias of a convolution that first applies x * scale + shift by input channel."""
    return weight * scale[:, None, None], bias + np.einsum("oihw,i->o", weight, shift)
