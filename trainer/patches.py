"""Patches of factors around places, read from a factor stack strip by strip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from service.factor_stack import FactorStack

_ROWS = 256  # of one strip


def read_patches(
    stack: FactorStack,
    names: Sequence[str],
    xy: npt.NDArray[np.float64],
    patch: int = 23,
    out: npt.NDArray[np.float32] | None = None,
) -> npt.NDArray[np.float32]:
    """Return the patches around places: float32 (n, C, P, P), NaN where the stack has no data.

    `xy` is float64 (n, 2) in the grid's CRS. The cell of a place sees rows r - P//2 to r - P//2 + P - 1, as
    in a layer. `out`, of that shape, is filled instead of new memory: it may be memory-mapped.
    """
    grid = stack.grid
    rows, columns = grid.cells_at(xy[:, 0], xy[:, 1])
    before = patch // 2
    patches = np.empty((len(xy), len(names), patch, patch), np.float32) if out is None else out
    patches[:] = np.nan
    inside = (rows >= 0) & (rows < grid.height) & (columns >= 0) & (columns < grid.width)
    for start in range(0, grid.height, _ROWS):
        here = np.flatnonzero(inside & (rows >= start) & (rows < start + _ROWS))
        if not here.size:
            continue
        window = Window(-before, start - before, grid.width + patch - 1, _ROWS + patch - 1)
        strip = stack.read(names, window)
        for index in here:
            top, left = rows[index] - start, columns[index]
            patches[index] = strip[:, top : top + patch, left : left + patch]
    return patches
