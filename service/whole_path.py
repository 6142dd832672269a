"""The generic path: whole.onnx, one patch and one window for each cell. Slower, same layer.

Serves bundles of kind `whole`, and answers what a cell's own window would have given (the yardstick of the
factored path's one window for each forcing node).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from service.bundle import Bundle
from service.manifest import Manifest
from service.patches import PatchReader
from service.region import ForcingGrid, corner_weights
from service.sequences import WindowSet
from service.state import SpatialState

FloatArray = npt.NDArray[np.float32]

# Of patches and windows in one call: some hundred patches of 23 x 23, some ten thousand of one cell.
_BYTES_AT_ONCE = 8 << 20
_SPAN_CELLS = 512  # along a tile that is read at once: a block of the factor stack


class WholeRunner:
    """Runs whole.onnx on the known cells of active forcing cells. Safe to call from several threads."""

    def __init__(self, forcing: ForcingGrid, bundle: Bundle, state: SpatialState, windows: WindowSet) -> None:
        self._forcing, self._bundle, self._patches = forcing, bundle, state.patches
        self._windows = windows

    def __call__(self, members: npt.NDArray[np.intp], known: npt.NDArray[np.bool_]) -> FloatArray:
        """Return susceptibility float32 (len(members), k*k); NaN where `known`, of that shape, is false."""
        out = np.full(known.shape, np.nan, np.float32)
        k, active = self._forcing.k, self._forcing.active
        for span in _spans(active[members], max(1, _SPAN_CELLS // k)):
            if not known[span].any():
                continue
            row, first = (active[members[span.start]].astype(np.int64) * k).tolist()
            tile = self._patches.read(row, first, k, k * (span.stop - span.start))
            for number in range(span.start, span.stop):
                cells = np.flatnonzero(known[number])
                if len(cells):
                    column = k * (number - span.start)
                    part = tile.factors[:, :, column : column + k + self._patches.patch - 1]
                    out[number, cells] = _run(
                        self._bundle, part, self._windows, int(members[number]), cells, k
                    )
        return out


def susceptibility_of_cells(
    forcing: ForcingGrid,
    patches: PatchReader,
    bundle: Bundle,
    windows: WindowSet,
    index: int,
    cells: npt.NDArray[np.intp],
) -> FloatArray:
    """Return whole.onnx's susceptibility, float32 (c,), of cells of active forcing cell `index`.

    `cells` are row-major numbers inside the forcing cell, whose four corners must have windows. Each cell
    has a window of its own: its corners' values, bilinear at its centre, which is what `point_windows` gives
    there.
    """
    k = forcing.k
    row, column = (forcing.active[index].astype(np.int64) * k).tolist()
    return _run(bundle, patches.read(row, column, k, k).factors, windows, index, cells, k)


def own_windows(windows: WindowSet, index: int, k: int, cells: npt.NDArray[np.intp]) -> FloatArray:
    """Return the windows of cells of one forcing cell, bilinear between its corners': (c, N, V)."""
    corners = windows.windows[windows.corner_rows[index]]
    own = corner_weights(k)[cells] @ corners.reshape(4, -1)
    return np.asarray(own.reshape(len(cells), *corners.shape[1:]), np.float32)


def rows_at_once(manifest: Manifest) -> int:
    """Return how many cells go into one call of whole.onnx: memory is bound, small patches are not slow."""
    patch = len(manifest.factors) * manifest.patch**2
    window = manifest.window_days * len(manifest.variables)
    return max(1, _BYTES_AT_ONCE // (4 * (patch + window)))


def _run(
    bundle: Bundle,
    factors: FloatArray,
    windows: WindowSet,
    index: int,
    cells: npt.NDArray[np.intp],
    k: int,
) -> FloatArray:
    """Run cells of one forcing cell, whose factors with their halo are (C, k+P-1, k+P-1)."""
    manifest = bundle.manifest
    size, rows = manifest.patch, rows_at_once(manifest)
    squares = np.lib.stride_tricks.sliding_window_view(factors, (size, size), axis=(1, 2))
    if "window" in manifest.ignores:
        own = np.zeros((len(cells), *windows.windows.shape[1:]), np.float32)
    else:
        own = own_windows(windows, index, k, cells)
    out = np.empty(len(cells), np.float32)
    for start in range(0, len(cells), rows):
        part = slice(start, start + rows)
        there = squares[:, cells[part] // k, cells[part] % k]
        out[part] = bundle.whole(np.ascontiguousarray(there.swapaxes(0, 1)), own[part])
    return out


def _spans(places: npt.NDArray[np.int32], longest: int) -> Iterator[slice]:
    """Yield runs of forcing cells (row, column) that lie side by side, at most `longest` of them each."""
    start = 0
    for number in range(1, len(places) + 1):
        if (
            number == len(places)
            or number - start == longest
            or tuple(places[number] - places[number - 1]) != (0, 1)
        ):
            yield slice(start, number)
            start = number
