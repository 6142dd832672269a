"""The generic path: whole.onnx, one patch and one window for each cell. Slower, same layer.

Serves bundles of kind `whole`, and answers what a cell's own window would have given (the yardstick of the
factored path's one window for each forcing node).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from service.bundle import Bundle
from service.patches import PatchReader
from service.region import ForcingGrid, corner_weights
from service.sequences import WindowSet
from service.state import SpatialState

FloatArray = npt.NDArray[np.float32]

# Patches at a time: 256 of 23 x 23 x 12 float32 are 6.5 MB.
_PATCHES = 256


class WholeRunner:
    """Runs whole.onnx on the known cells of active forcing cells. Safe to call from several threads."""

    def __init__(self, forcing: ForcingGrid, bundle: Bundle, state: SpatialState, windows: WindowSet) -> None:
        self._forcing, self._bundle, self._patches = forcing, bundle, state.patches
        self._windows = windows

    def __call__(self, members: npt.NDArray[np.intp], known: npt.NDArray[np.bool_]) -> FloatArray:
        """Return susceptibility float32 (len(members), k*k); NaN where `known`, of that shape, is false."""
        out = np.full(known.shape, np.nan, np.float32)
        for number, index in enumerate(members.tolist()):
            cells = np.flatnonzero(known[number])
            if len(cells):
                out[number, cells] = susceptibility_of_cells(
                    self._forcing, self._patches, self._bundle, self._windows, index, cells
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
    tile = patches.read(row, column, k, k)
    size = patches.patch
    squares = np.lib.stride_tricks.sliding_window_view(tile.factors, (size, size), axis=(1, 2))
    own = own_windows(windows, index, k, cells)
    out = np.empty(len(cells), np.float32)
    for start in range(0, len(cells), _PATCHES):
        part = slice(start, start + _PATCHES)
        there = squares[:, cells[part] // k, cells[part] % k]
        out[part] = bundle.whole(np.ascontiguousarray(there.swapaxes(0, 1)), own[part])
    return out


def own_windows(windows: WindowSet, index: int, k: int, cells: npt.NDArray[np.intp]) -> FloatArray:
    """Return the windows of cells of one forcing cell, bilinear between its corners': (c, N, V)."""
    corners = windows.windows[windows.corner_rows[index]]
    own = corner_weights(k)[cells] @ corners.reshape(4, -1)
    return np.asarray(own.reshape(len(cells), *corners.shape[1:]), np.float32)
