"""The proof that a bundle's factored graphs are the network that was trained.

Random inputs are smooth, as terrain and weather are, and lie within the training ranges.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from exporters.layer import store
from service.manifest import WHOLE, FactorSpec, Manifest, VariableSpec

FloatArray = npt.NDArray[np.float32]
_CELLS_PER_BLOCK = 256  # of a forcing cell's k * k; each costs one patch in whole.onnx
_ONE_BY_ONE = 16  # of a batch of cells
_WAVES = 4


class Graphs(Protocol):
    """The graphs of a bundle, as in `service.bundle.Bundle`."""

    @property
    def manifest(self) -> Manifest: ...
    def spatial(self, factors: FloatArray) -> FloatArray: ...
    def temporal(self, windows: FloatArray) -> FloatArray: ...
    def head(self, state: FloatArray, corners: FloatArray) -> FloatArray: ...
    def head_u8(
        self, state: npt.NDArray[np.uint8], corners: FloatArray, scale: FloatArray, offset: FloatArray
    ) -> FloatArray: ...
    def whole(self, patches: FloatArray, windows: FloatArray) -> FloatArray: ...


@dataclass(frozen=True)
class Comparison:
    """Factored graphs against whole.onnx; differences of susceptibility, agreement a share of cells."""

    samples: int
    largest_difference: float
    u8_largest_difference: float
    class_agreement: float


def compare(graphs: Graphs, samples: int, seed: int) -> Comparison:
    """Compare the factored graphs with whole.onnx on `samples` random cells.

    Cells lie in forcing cells of their own terrain and one window each, put into all four corner rows. The
    quantised state takes its scale and offset from the range of each channel over all these blocks.
    """
    manifest, random = graphs.manifest, np.random.default_rng(seed)
    k, patch = manifest.forcing_cell, manifest.patch
    # Few samples are spread over four forcing cells, so that no single window decides.
    per_block = min(_CELLS_PER_BLOCK, k * k, max(1, -(-samples // 4)))
    counts = [per_block] * (samples // per_block) + ([samples % per_block] if samples % per_block else [])
    windows = np.concatenate([random_window(manifest, random) for _ in counts])
    corners = np.repeat(graphs.temporal(windows)[:, None], 4, axis=1)
    states, expected, chosen = [], [], []
    for window, count in zip(windows, counts, strict=True):
        factors = random_factors(manifest.factors, k + patch - 1, random)
        state = graphs.spatial(factors[None])[0]
        states.append(state.reshape(manifest.channels, k * k).T)
        cells = random.choice(k * k, count, replace=False)
        chosen.append(cells)
        patches = np.stack(
            [factors[:, r : r + patch, c : c + patch] for r, c in zip(*divmod(cells, k), strict=True)]
        )
        expected.append(graphs.whole(patches, np.repeat(window[None], count, axis=0)))
    scale, offset = _quantisation(states)
    worst, worst_u8, agree = 0.0, 0.0, 0
    for state, corner, cells, wanted in zip(states, corners, chosen, expected, strict=True):
        exact = graphs.head(np.ascontiguousarray(state)[None], corner[None])[0, cells]
        coded = np.rint((state - offset) / np.where(scale > 0, scale, 1)).astype(np.uint8)
        quantised = graphs.head_u8(coded[None], corner[None], scale, offset)[0, cells]
        worst = _larger(worst, exact, wanted)
        worst_u8 = _larger(worst_u8, quantised, wanted)
        classify = manifest.classes.classify
        agree += int((classify(store(quantised)) == classify(store(wanted))).sum())
    return Comparison(samples, worst, worst_u8, agree / samples)


def random_factors(specs: Sequence[FactorSpec], size: int, random: np.random.Generator) -> FloatArray:
    """Return smooth factors (C, size, size) that span each training range; categories lie in patches."""
    bands = []
    for spec in specs:
        smooth = _waves(size, random)
        if spec.categories is not None:
            codes = np.array(sorted(spec.categories), dtype=np.float32)
            bands.append(codes[np.minimum((smooth * len(codes)).astype(int), len(codes) - 1)])
        else:
            bands.append(_spread(smooth, spec))
    return np.stack(bands).astype(np.float32)


@dataclass(frozen=True)
class WholeTrial:
    """What whole.onnx did on random cells; differences are of susceptibility, infinite where it is NaN."""

    samples: int
    beyond: float  # how far values leave 0 to 1
    batch_difference: float  # all cells at once against one by one
    ignored_difference: float | None  # the inputs that the manifest says are ignored changed; None: none are

    @property
    def worst(self) -> float:
        """The largest of them."""
        return max(self.beyond, self.batch_difference, self.ignored_difference or 0.0)

    def trouble(self, tolerance: float) -> str:
        """Say what is wrong, where something leaves the tolerance."""
        words = []
        if not self.beyond <= tolerance:
            words.append(f"{WHOLE} gives what is no susceptibility: it leaves 0 to 1 by {self.beyond:.2g}")
        if not self.batch_difference <= tolerance:
            words.append(f"{WHOLE} gives a cell another value in company ({self.batch_difference:.2g})")
        if self.ignored_difference is not None and not self.ignored_difference <= tolerance:
            words.append(f"{WHOLE} changes by {self.ignored_difference:.2g} with an input that it ignores")
        return " and ".join(words)


def try_whole(graphs: Graphs, samples: int, seed: int) -> WholeTrial:
    """Run whole.onnx on `samples` random cells: is it a susceptibility, of each cell alone?

    Patches and windows are drawn as for `compare`; cells are run in batches of at most 256.
    """
    manifest, random = graphs.manifest, np.random.default_rng(seed)
    beyond = batch = ignored = 0.0
    for start in range(0, samples, _CELLS_PER_BLOCK):
        count = min(_CELLS_PER_BLOCK, samples - start)
        patches, windows = _random_cells(manifest, count, random)
        together = graphs.whole(patches, windows)
        beyond = _larger(beyond, np.maximum(together - 1, -together).clip(min=0), np.zeros(count, np.float32))
        some = random.choice(count, min(count, _ONE_BY_ONE), replace=False)
        alone = [graphs.whole(patches[[cell]], windows[[cell]])[0] for cell in some]
        batch = _larger(batch, np.array(alone, np.float32), together[some])
        if manifest.ignores:
            others = _random_cells(manifest, count, random)
            changed = graphs.whole(
                others[0] if "patches" in manifest.ignores else patches,
                others[1] if "window" in manifest.ignores else windows,
            )
            ignored = _larger(ignored, changed, together)
    return WholeTrial(samples, beyond, batch, ignored if manifest.ignores else None)


def _random_cells(
    manifest: Manifest, count: int, random: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return patches (count, C, P, P) of one random terrain and as many windows (count, N, V)."""
    size = manifest.patch
    side = int(np.ceil(np.sqrt(count)))
    factors = random_factors(manifest.factors, side + size - 1, random)
    squares = np.lib.stride_tricks.sliding_window_view(factors, (size, size), axis=(1, 2))
    rows, columns = np.divmod(random.permutation(side * side)[:count], side)
    patches = np.ascontiguousarray(squares[:, rows, columns].swapaxes(0, 1))
    return patches, np.concatenate([random_window(manifest, random) for _ in range(count)])


def random_window(manifest: Manifest, random: np.random.Generator) -> FloatArray:
    """Return one window (1, N, V) within the training ranges; rain is dry on two days of three."""
    columns = []
    for spec in manifest.variables:
        if spec.name == "rain":
            share = random.random(manifest.window_days) ** 2 * (random.random(manifest.window_days) < 1 / 3)
        else:
            steps = np.cumsum(random.normal(0, 0.05, manifest.window_days)) + random.random()
            share = np.abs((steps + 1) % 2 - 1)  # a random walk that turns round at the ends of the range
        columns.append(spec.minimum + share * (spec.maximum - spec.minimum))
    return np.stack(columns, axis=-1)[None].astype(np.float32)


def _waves(size: int, random: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return a sum of plane waves over (size, size), scaled to 0..1."""
    rows, columns = np.mgrid[:size, :size] / size
    total = np.zeros((size, size))
    for order in range(1, _WAVES + 1):
        down, right = random.normal(0, 2 * order, 2)
        total += np.cos(2 * np.pi * (down * rows + right * columns + random.random())) / order
    return np.asarray((total - total.min()) / max(float(np.ptp(total)), 1e-9))


def _spread(smooth: npt.NDArray[np.float64], spec: FactorSpec | VariableSpec) -> npt.NDArray[np.float64]:
    low, high = float(spec.minimum or 0.0), float(spec.maximum or 0.0)
    if not spec.log:
        return low + smooth * (high - low)
    ends = np.sign([low, high]) * np.log1p(np.abs([low, high]))
    logged = ends[0] + smooth * (ends[1] - ends[0])
    return np.asarray(np.sign(logged) * np.expm1(np.abs(logged)))


def _quantisation(states: Sequence[FloatArray]) -> tuple[FloatArray, FloatArray]:
    low = np.min([state.min(axis=0) for state in states], axis=0)
    high = np.max([state.max(axis=0) for state in states], axis=0)
    return ((high - low) / 255).astype(np.float32), low.astype(np.float32)


def _larger(so_far: float, found: FloatArray, wanted: FloatArray) -> float:
    difference = float(np.abs(found - wanted).max())
    # NaN compares as false everywhere, so it would pass for no difference.
    return max(so_far, difference if np.isfinite(difference) else np.inf)
