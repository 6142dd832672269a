"""Slope from elevation."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]
HALO = 1  # cells around a window that its slopes need


def slope_degrees(elevation: npt.NDArray[np.floating[Any]], cell_size_m: float) -> FloatArray:
    """Return the slope in degrees, float32 (h - 2, w - 2), of elevation (h, w) in metres, NaN where unknown.

    The outermost cells are the halo and get no slope of their own. Differences are weighted over the eight
    neighbours (Horn 1981); a neighbour that is not known counts as level with its cell, a cell that is not
    known has no slope. Raises ValueError for less than 3 x 3 cells.
    """
    if elevation.ndim != 2 or min(elevation.shape) < 3:
        raise ValueError(f"a slope needs at least 3 x 3 cells, got {elevation.shape}")
    rows, columns = elevation.shape[0] - 2, elevation.shape[1] - 2
    centre = elevation[1:-1, 1:-1].astype(np.float64)

    def beside(down: int, right: int) -> npt.NDArray[np.float64]:
        found = elevation[1 + down : 1 + down + rows, 1 + right : 1 + right + columns] - centre
        return np.where(np.isnan(found), 0.0, found)

    east = beside(-1, 1) + 2 * beside(0, 1) + beside(1, 1)
    west = beside(-1, -1) + 2 * beside(0, -1) + beside(1, -1)
    south = beside(1, -1) + 2 * beside(1, 0) + beside(1, 1)
    north = beside(-1, -1) + 2 * beside(-1, 0) + beside(-1, 1)
    steepness = np.hypot(east - west, south - north) / (8 * cell_size_m)
    return np.where(np.isnan(centre), np.nan, np.degrees(np.arctan(steepness))).astype(np.float32)
