"""Heads in 8 and 16 bits on the processor against the one in float32: CPU time and errors (docs/gpu.md).

    python -m tests.benchmarks.bench_quantised [BUNDLE ...] [--forcing-cells 40]

Bundles whose head.onnx is that of the trainer or of the tests: two dense layers after the corners' sum. None
named: random weights in the paper's sizes. Times are CPU time of one thread for a forcing cell, variants in
turn, the best of 12 rounds. Errors are of susceptibility against whole.onnx on 256 cells of each forcing
cell, with the share of equal classes; then the same against float32 on the same codes, on all cells.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from exporters.layer import store
from service.bundle import Bundle
from service.patches import VALID
from service.proof import random_factors, random_window
from service.region import corner_weights
from service.runtime import make_session
from service.state import quantise
from tests.benchmarks.bench_device import PAPER
from tests.fix_bundle import write_toy_bundle

FloatArray = npt.NDArray[np.float32]
Feed = dict[str, npt.NDArray[Any]]
Run = Callable[[Feed], FloatArray]
ROUNDS, RUNS = 12, 60
MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class Dense:
    """The weights behind the corners' sum: (D, H), (H,), (1, H), (1,)."""

    first: FloatArray
    first_bias: FloatArray
    last: FloatArray
    last_bias: FloatArray

    def in_bytes(self, bits: int) -> tuple[npt.NDArray[np.int8], FloatArray]:
        """Return the first layer's weights in so many bits, and the scale of each column (H,)."""
        top = 2 ** (bits - 1) - 1
        scale = (np.abs(self.first).max(axis=0) / top).astype(np.float32)
        scale = np.maximum(scale, scale.max() / 1000)  # of a unit without weights
        return np.rint(self.first / scale).clip(-top, top).astype(np.int8), scale


class Head:
    """A head under construction: nodes in order, constants by number."""

    def __init__(self, cells: int, channels: int) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []
        self._ports = [
            helper.make_tensor_value_info("state", TensorProto.UINT8, [1, cells, channels]),
            helper.make_tensor_value_info("corners", TensorProto.FLOAT, [1, 4, channels]),
            helper.make_tensor_value_info("scale", TensorProto.FLOAT, [channels]),
            helper.make_tensor_value_info("offset", TensorProto.FLOAT, [channels]),
        ]
        state = self.add("Reshape", "state", self.constant(np.array([cells, channels])))
        self.codes = self.add("Cast", state, to=TensorProto.FLOAT)
        corners = self.add("Reshape", "corners", self.constant(np.array([4, channels])))
        self.corners = self.add("Add", corners, "offset")  # the weights of the corners sum to 1
        self.between = self.constant(corner_weights(int(np.sqrt(cells))).astype(np.float32))

    def constant(self, value: npt.ArrayLike) -> str:
        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def real(self, value: npt.ArrayLike) -> str:
        return self.constant(np.asarray(value, np.float32).reshape(np.shape(value)))

    def add(self, kind: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        name = f"v{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [name], domain=domain, **attributes))
        return name

    def column(self, value: str) -> str:
        return self.add("Unsqueeze", value, self.constant(np.array([1])))

    def finish(self, hidden: str, dense: Dense) -> Run:
        """Add the last layer to `hidden`, before its ReLU; return what runs the head."""
        value = self.add("Gemm", self.real(dense.last), self.add("Relu", hidden), transB=1)
        out = self.add("Sigmoid", self.add("Add", value, self.real(dense.last_bias)))
        result = helper.make_tensor_value_info(out, TensorProto.FLOAT, None)
        graph = helper.make_graph(self._nodes, "head", self._ports, [result], self._constants)
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
        model = helper.make_model(graph, ir_version=10, opset_imports=opsets)
        session = make_session(model.SerializeToString(), "a quantised head")
        return lambda feed: np.asarray(session.run(None, feed)[0]).reshape(-1)


def single(head: Head, dense: Dense) -> Run:
    """float32, the state's scale in the weights of the next layer: what head_u8.onnx of the trainer does."""
    corners = head.add("Div", head.corners, "scale")
    weights = head.add("Mul", head.real(dense.first), head.column("scale"))
    value = head.add("Relu", head.add("Gemm", head.between, corners, head.codes))
    return head.finish(head.add("Gemm", value, weights, head.real(dense.first_bias)), dense)


def static(head: Head, dense: Dense, largest: float, bits: int) -> Run:
    """int8 with one step for all activations, from the largest that was seen."""
    step = np.float32(largest / 255)
    weights, scale = dense.in_bytes(bits)
    bias = np.rint(dense.first_bias / (step * scale)).astype(np.int32)
    decoded = head.add("Mul", head.codes, head.add("Div", "scale", head.real(step)))
    value = head.add("Gemm", head.between, head.add("Div", head.corners, head.real(step)), decoded)
    none = head.constant(np.uint8(0))
    coded = head.add("QuantizeLinear", value, head.real(np.float32(1)), none)
    hidden = head.add(
        "QGemm", coded, head.real(step), none, head.constant(weights), head.real(scale),
        head.constant(np.zeros(len(scale), np.int8)), head.constant(bias), domain=MICROSOFT,
    )  # fmt: skip
    return head.finish(hidden, dense)


def by_channel(head: Head, dense: Dense, bits: int) -> Run:
    """int8 with a step for each channel of each forcing cell, from the most that it can be."""
    rows = head.constant(np.array([0]))
    top = head.real(np.float32(2 ** (bits - 1) - 1))
    most = head.add("ReduceMax", head.corners, rows, keepdims=0)
    most = head.add("Add", most, head.add("Mul", "scale", head.real(np.float32(255))))
    step = head.add("Div", head.add("Max", most, head.real(np.float32(1e-6))), head.real(np.float32(255)))
    decoded = head.add("Mul", head.codes, head.add("Div", "scale", step))
    value = head.add("Gemm", head.between, head.add("Div", head.corners, step), decoded)
    coded = head.add("QuantizeLinear", value, head.real(np.float32(1)), head.constant(np.uint8(0)))
    weights = head.add("Mul", head.real(dense.first), head.column(step))
    scale = head.add("Div", head.add("ReduceMax", head.add("Abs", weights), rows, keepdims=0), top)
    whole = head.add("Cast", head.add("Round", head.add("Div", weights, scale)), to=TensorProto.INT8)
    product = head.add("MatMulInteger", coded, whole, head.constant(np.uint8(0)), head.constant(np.int8(0)))
    value = head.add("Mul", head.add("Cast", product, to=TensorProto.FLOAT), scale)
    return head.finish(head.add("Add", value, head.real(dense.first_bias)), dense)


def dynamic(head: Head, dense: Dense, bits: int) -> Run:
    """int8 with a step from each run's own activations."""
    weights, scale = dense.in_bytes(bits)
    decoded = head.add("Mul", head.codes, "scale")
    value = head.add("Relu", head.add("Gemm", head.between, head.corners, decoded))
    hidden = head.add(
        "DynamicQuantizeMatMul", value, head.constant(weights), head.real(scale),
        head.constant(np.zeros(len(scale), np.int8)), head.real(dense.first_bias), domain=MICROSOFT,
    )  # fmt: skip
    return head.finish(hidden, dense)


def half(head: Head, dense: Dense) -> Run:
    """float16 into the first two products; ONNX Runtime has no such arithmetic here and sums in float32."""

    def short(value: str) -> str:
        return head.add("Cast", value, to=TensorProto.FLOAT16)

    corners = short(head.add("Div", head.corners, "scale"))
    weights = short(head.add("Mul", head.real(dense.first), head.column("scale")))
    value = head.add("Relu", head.add("Gemm", short(head.between), corners, short(head.codes)))
    hidden = head.add("Gemm", value, weights, short(head.real(dense.first_bias)))
    return head.finish(head.add("Cast", hidden, to=TensorProto.FLOAT), dense)


def brain(dense: Dense, k: int) -> Run:
    """bfloat16 into the first product, sums in float32, as AMX does it; emulated, so without a time."""
    between = corner_weights(k).astype(np.float32)

    def rounded(values: FloatArray) -> FloatArray:
        bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)

    def run(feed: Feed) -> FloatArray:
        decoded = feed["state"][0] * feed["scale"] + feed["offset"]
        value = np.maximum(decoded + between @ feed["corners"][0], 0)
        hidden = np.maximum(rounded(value) @ rounded(dense.first) + dense.first_bias, 0)
        return np.asarray(1 / (1 + np.exp(-(hidden @ dense.last[0] + dense.last_bias[0]))), np.float32)

    return run


def throughout(dense: Dense, k: int) -> Run:
    """Every value rounded to float16, sums of products in float32, as a graphics card does it; emulated."""
    between = corner_weights(k).astype(np.float32)

    def rounded(values: FloatArray) -> FloatArray:
        return values.astype(np.float16).astype(np.float32)

    def run(feed: Feed) -> FloatArray:
        decoded = rounded(feed["state"][0] * rounded(feed["scale"]))
        decoded = rounded(decoded + rounded(feed["offset"]))
        value = rounded(decoded + rounded(rounded(between) @ rounded(feed["corners"][0])))
        hidden = rounded(np.maximum(value, 0) @ rounded(dense.first))
        hidden = np.maximum(rounded(hidden + rounded(dense.first_bias)), 0)
        logit = rounded(rounded(hidden @ rounded(dense.last[0])) + rounded(dense.last_bias))
        return rounded(np.asarray(1 / (1 + np.exp(-logit)), np.float32))

    return run


def main() -> None:
    """Print a table for each bundle."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    arguments.add_argument("bundles", type=Path, nargs="*")
    arguments.add_argument("--forcing-cells", type=int, default=40)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for place in given.bundles or [write_toy_bundle(Path(folder) / "bundle", PAPER)]:
            compare(Bundle.load(place, prove=False), given.forcing_cells)


def compare(bundle: Bundle, forcing_cells: int) -> None:
    """Time every variant on a bundle, and hold it against whole.onnx and float32."""
    dense, k = dense_of(bundle), bundle.manifest.forcing_cell
    feeds, cells, whole = feeds_of(bundle, forcing_cells)
    largest = max(
        float((one["corners"].max(axis=1)[0] + one["offset"] + 255 * one["scale"]).max()) for one in feeds
    )

    def new() -> Head:
        return Head(k * k, bundle.manifest.channels)

    runs = {"float32": single(new(), dense), "float16 inputs": half(new(), dense)}
    emulated = {"float16 throughout": throughout(dense, k), "bfloat16 inputs": brain(dense, k)}
    for bits in (8, 7):
        runs[f"int8 static, {bits} bits"] = static(new(), dense, largest, bits)
        runs[f"int8 by channel, {bits} bits"] = by_channel(new(), dense, bits)
        runs[f"int8 dynamic, {bits} bits"] = dynamic(new(), dense, bits)
    best = dict.fromkeys(runs, np.inf)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = time.thread_time()
            for number in range(RUNS):
                run(feeds[number % len(feeds)])
            best[name] = min(best[name], (time.thread_time() - began) / RUNS)
    classify = bundle.manifest.classes.classify
    exact = np.stack([runs["float32"](feed) for feed in feeds])
    print(f"{bundle.manifest.name} {bundle.manifest.version}")
    for name, run in (runs | emulated).items():
        found = np.stack([run(feed) for feed in feeds])
        chosen = np.take_along_axis(found, cells, axis=1)
        words = []
        for ours, theirs in ((chosen, whole), (found, exact)):
            equal = (classify(store(ours)) == classify(store(theirs))).mean()
            words.append(f"{np.abs(ours - theirs).max():.4f} {equal:8.2%}")
        took = "emulated" if name in emulated else f"{best[name] * 1e6:5.0f} us"
        print(f"  {name:24} {took:>9}   whole.onnx {words[0]}   float32 {words[1]}")


def feeds_of(bundle: Bundle, count: int) -> tuple[list[Feed], npt.NDArray[np.intp], FloatArray]:
    """Return inputs of head_u8.onnx of random terrain and weather, cells (count, 256), whole.onnx on them."""
    manifest, random = bundle.manifest, np.random.default_rng(1)
    k, size = manifest.forcing_cell, manifest.patch
    flags = np.full((k, k), VALID, np.uint8)
    feeds, cells, whole = [], [], []
    for _ in range(count):
        window, factors = (
            random_window(manifest, random),
            random_factors(manifest.factors, k + size - 1, random),
        )
        block = quantise(bundle.spatial(factors[None])[0], flags)
        corners = np.repeat(bundle.temporal(window)[:, None], 4, axis=1)
        feeds.append({"state": block.codes, "corners": corners, "scale": block.scale, "offset": block.offset})
        chosen = random.choice(k * k, 256, replace=False)
        places = zip(*divmod(chosen, k), strict=True)
        patches = np.stack([factors[:, row : row + size, column : column + size] for row, column in places])
        cells.append(chosen)
        whole.append(bundle.whole(patches, np.repeat(window, 256, axis=0)))
    return feeds, np.stack(cells), np.stack(whole)


def dense_of(bundle: Bundle) -> Dense:
    """Return the dense layers of head.onnx, told by their shapes."""
    graph = onnx.load(bundle.folder / "head.onnx").graph
    constants = [numpy_helper.to_array(one) for one in graph.initializer]
    reals = [one for one in constants if one.dtype == np.float32]
    channels = bundle.manifest.channels
    first = next(one for one in reals if one.ndim == 2 and one.shape[0] == channels)
    units = first.shape[1]
    last = next(one for one in reals if one.shape in ((1, units), (units, 1))).reshape(1, units)
    bias = next(one for one in reals if one.shape == (units,))
    return Dense(
        first, bias, last, next((one for one in reals if one.shape == (1,)), np.zeros(1, np.float32))
    )


if __name__ == "__main__":
    main()
