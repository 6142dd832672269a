"""Which cells of a forcing cell lie in range of a reporting gauge.

A forcing cell can have four corners in range and still hold cells that are not: near the rim of two gauges'
circles, each corner may be near another gauge.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from service.region import ForcingGrid

_CHUNK = 1024  # forcing cells whose distances are held at once
_ROUNDING_M = 10.0  # of distances that were kept as float32 kilometres


def cells_in_range(
    forcing: ForcingGrid,
    cells: npt.NDArray[np.intp],
    networks: Sequence[npt.NDArray[np.float64]],
    farthest_corner_km: Sequence[npt.NDArray[np.float32]],
    max_distance_m: float,
) -> dict[int, npt.NDArray[np.bool_]]:
    """Return, for forcing cells where not every cell is in range on every day, which cells are.

    `cells` are indices of active forcing cells whose corners are all in range of every network. `networks`
    holds the distinct sets of reporting gauges of a window, each (g, 2) in the grid's CRS, and
    `farthest_corner_km` the matching distances, each (len(cells),): the largest over the four corners of the
    distance to the nearest gauge. A cell is in range if, for every network, its centre is at most
    `max_distance_m` from a gauge. Values are bool (k*k,), row-major.
    """
    # No point of a square is farther from its nearest corner than half the diagonal.
    half_diagonal = forcing.k * forcing.grid.cell_size_m * np.sqrt(0.5)
    partial: dict[int, npt.NDArray[np.bool_]] = {}
    for gauges, corner_km in zip(networks, farthest_corner_km, strict=True):
        near_the_rim = cells[corner_km * 1000.0 + half_diagonal + _ROUNDING_M > max_distance_m]
        for start in range(0, len(near_the_rim), _CHUNK):
            chunk = near_the_rim[start : start + _CHUNK]
            unsure = chunk[~_under_one_gauge(forcing, chunk, gauges, max_distance_m)]
            _test_cells(forcing, unsure, gauges, max_distance_m, partial)
    return {index: inside for index, inside in sorted(partial.items()) if not inside.all()}


def _under_one_gauge(
    forcing: ForcingGrid,
    cells: npt.NDArray[np.intp],
    gauges: npt.NDArray[np.float64],
    max_distance_m: float,
) -> npt.NDArray[np.bool_]:
    # A circle is convex: all four corners inside one means the whole square is.
    corners = forcing.node_xy[forcing.corners[cells]]
    inside = np.ones((len(cells), len(gauges)), dtype=bool)
    for corner in range(4):
        x, y = corners[:, corner, :1], corners[:, corner, 1:]
        inside &= (x - gauges[:, 0]) ** 2 + (y - gauges[:, 1]) ** 2 <= max_distance_m**2
    return np.asarray(inside.any(axis=1))


def _test_cells(
    forcing: ForcingGrid,
    cells: npt.NDArray[np.intp],
    gauges: npt.NDArray[np.float64],
    max_distance_m: float,
    partial: dict[int, npt.NDArray[np.bool_]],
) -> None:
    if not len(cells):
        return
    centres = np.concatenate([forcing.cell_centres(int(index)) for index in cells])
    bound = np.nextafter(max_distance_m, np.inf)
    distance, _ = cKDTree(gauges).query(centres, k=1, distance_upper_bound=bound)
    inside = (distance <= max_distance_m).reshape(len(cells), -1)
    for index, block in zip(cells, inside, strict=True):
        known = partial.get(int(index))
        partial[int(index)] = block if known is None else known & block
