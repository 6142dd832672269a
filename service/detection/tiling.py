"""A scene through a model that takes patches: cut so that they overlap, blended so that no border shows.

Each cell's result is the mean over all patches that hold it, weighted by a window that falls to nothing
towards a patch's edge, where a network sees least of the surroundings. Beyond the scene's edge it is
mirrored, so that the outermost cells too lie in the middle of some patch. The scene passes by in strips:
memory is that of three patches' height, whatever the scene's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.progress import ProgressCallback

FloatArray = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]

AT_ONCE = 8  # patches in one run of the model


class Rows(NamedTuple):
    """Some rows of a scene, over its whole width."""

    image: FloatArray  # (C, rows, width), NaN where unknown
    seen: Flags  # (rows, width): where a result is wanted


# (first, stop) -> those rows.
ReadRows = Callable[[int, int], Rows]
# Patches (n, C, P, P) -> results (n, P, P).
Predict = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Tiling:
    """How a scene of `shape` (height, width) is cut into squares of `patch` cells, `step` cells apart."""

    shape: tuple[int, int]
    patch: int
    step: int

    def __post_init__(self) -> None:
        if not 0 < self.patch <= 2 * self.step <= 2 * self.patch:
            raise ValueError(
                f"steps of {self.step} cells do not cut patches of {self.patch}: a half to one of them"
            )

    def starts(self, axis: int) -> range:
        """Return where patches begin along an axis; the first before the scene, the last may end beyond.

        Every cell of the scene lies in as many patches as one in its middle.
        """
        before = self.patch - self.step
        count = -(-(self.shape[axis] + before) // self.step)
        return range(-before, -before + count * self.step, self.step)

    @property
    def window(self) -> FloatArray:
        """Weights (P, P) of a patch's cells, above 0; those of all patches at one cell sum up to 1.

        Raised cosines where neighbours overlap, 1 between: half-way steps make it a Hann window.
        """
        overlap = self.patch - self.step
        ramp = np.sin(np.pi / 2 * (np.arange(overlap) + 0.5) / max(overlap, 1)) ** 2
        line = np.concatenate([ramp, np.ones(self.patch - 2 * overlap), ramp[::-1]])
        return np.outer(line, line).astype(np.float32)


def blended(
    read: ReadRows, tiling: Tiling, predict: Predict, *, progress: ProgressCallback | None = None
) -> Iterator[tuple[int, FloatArray]]:
    """Yield (first row, results (rows, width)) from north to south, NaN where nothing was wanted.

    `read` is asked for each row once, in order. Patches without a cell whose result is wanted are left out.
    `progress` counts rows.
    """
    height, width = tiling.shape
    patch, step = tiling.patch, tiling.step
    window = tiling.window
    starts, columns = tiling.starts(0), tiling.starts(1)
    across = _mirrored(np.arange(columns[0], columns[-1] + patch), width)
    kept = _Kept(read, height)
    sums = np.zeros((patch, len(across)))
    weights = np.zeros((patch, len(across)))
    for top in starts:
        below = min(top + patch, height)
        # Rows beyond the southern edge are mirrored into those above this patch.
        kept.go_on(max(0, top - patch), below)
        wanted = _mirrored(np.arange(top, top + patch), height)
        inside = (np.arange(top, top + patch) >= 0) & (np.arange(top, top + patch) < height)
        image, seen = kept.rows(wanted)
        begins = [x for x in columns if (seen[inside, max(0, x) : max(0, min(x + patch, width))]).any()]
        for first in range(0, len(begins), AT_ONCE):
            some = begins[first : first + AT_ONCE]
            batch = np.stack([_cut(image, x, across[x - columns[0] :][:patch]) for x in some])
            for x, result in zip(some, predict(batch), strict=True):
                place = slice(x - columns[0], x - columns[0] + patch)
                sums[:, place] += window * result
                weights[:, place] += window
        done = slice(max(0, top), min(top + step, height))
        if done.start < done.stop:
            own = slice(done.start - top, done.stop - top)
            cells = slice(-columns[0], -columns[0] + width)
            yield done.start, _means(sums[own, cells], weights[own, cells], seen[own])
        for total in (sums, weights):
            total[: patch - step] = total[step:]
            total[patch - step :] = 0
        if progress is not None:
            progress(done.stop, height)


def _means(sums: npt.NDArray[np.float64], weights: npt.NDArray[np.float64], seen: Flags) -> FloatArray:
    # The weights sum up to 1 only where no patch was left out; there are none left out where cells were seen.
    out = np.full(seen.shape, np.nan, np.float32)
    np.divide(sums, weights, out=out, where=seen, casting="same_kind")
    return out


class _Kept:
    """The rows of a scene that are still needed."""

    def __init__(self, read: ReadRows, height: int) -> None:
        self._read, self._height = read, height
        self._first = self._stop = 0
        self._rows: Rows | None = None

    def go_on(self, first: int, stop: int) -> None:
        """Drop rows before `first`, and read on to `stop`."""
        if stop > self._stop:
            more = self._read(self._stop, stop)
            if self._rows is None:
                self._rows = more
            else:
                drop = first - self._first
                image = np.concatenate([self._rows.image[:, drop:], more.image], axis=1)
                self._rows = Rows(image, np.concatenate([self._rows.seen[drop:], more.seen]))
                self._first = first
            self._stop = stop

    def rows(self, wanted: npt.NDArray[np.int64]) -> Rows:
        """Return rows by their numbers, which may repeat."""
        assert self._rows is not None  # noqa: S101 - go_on comes first
        places = wanted - self._first
        if (np.diff(places) == 1).all():  # a view, where nothing is mirrored
            run = slice(int(places[0]), int(places[-1]) + 1)
            return Rows(self._rows.image[:, run], self._rows.seen[run])
        return Rows(self._rows.image[:, places], self._rows.seen[places])


def _cut(image: FloatArray, left: int, columns: npt.NDArray[np.int64]) -> FloatArray:
    """Return columns by their numbers; a view, where they are those from `left` on."""
    if left >= 0 and left + len(columns) <= image.shape[2]:
        return image[:, :, left : left + len(columns)]
    return image[:, :, columns]


def _mirrored(places: npt.NDArray[np.int64], size: int) -> npt.NDArray[np.int64]:
    """Return which of `size` cells stand at places before and beyond them, the edge's own cell first."""
    within = places % (2 * size)
    return np.where(within < size, within, 2 * size - 1 - within)
