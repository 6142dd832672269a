"""Where water goes: depressions filled, D8 directions, upstream area, and what of it the DEM's edge cuts off.

Flow routing needs the whole DEM in memory; it is the one step that does, so it is refused with the figure
where it would not fit.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyflwdir

from service.errors import FactorError

Float32 = npt.NDArray[np.float32]

BYTES_PER_CELL = 50  # measured peak of filling and ordering with pyflwdir, DEM included: 37 to 48
# tan of the gentlest slope that TWI and SPI know: 1 m in 1 km. A flat cell would have an infinite TWI.
MINIMUM_TAN_SLOPE = 0.001
_MISSING = -9999
_STRIP_ROWS = 512
# Less than this is level: twice the rounding of float32 elevations up to 9000 m.
_LEVEL_M = 0.002
# Code of pyflwdir's D8, and where it points: rows down, columns right. Of equal descents the first wins.
_NEIGHBOURS = (
    (1, 0, 1),
    (4, 1, 0),
    (16, 0, -1),
    (64, -1, 0),
    (2, 1, 1),
    (8, 1, -1),
    (32, -1, -1),
    (128, -1, 1),
)
_GIB = 1 << 30


@dataclass(frozen=True)
class Flow:
    """Flow over a DEM of (h, w) cells.

    `upstream_cells` is int32 (h, w): the cells that drain through each cell, itself included; 0 where the DEM
    has no data. `cut` is bool (h, w): the upstream area holds a cell beside no-data or the DEM's edge, so
    water may arrive from where nobody knows and `upstream_cells` is a lower bound.
    """

    upstream_cells: npt.NDArray[np.int32]
    cut: npt.NDArray[np.bool_]
    catchments: int  # distinct outlets
    catchments_cut: int  # of these, with an edge cell upstream of the outlet


def require_memory(cells: int, available_bytes: int) -> None:
    """Raise FactorError, with the figures, where routing flow over `cells` cells would not fit."""
    needed = cells * BYTES_PER_CELL
    if needed > available_bytes:
        raise FactorError(
            f"flow routing over {cells:,} cells needs {needed / _GIB:.1f} GiB "
            f"({BYTES_PER_CELL} bytes a cell), and {available_bytes / _GIB:.1f} GiB are available. "
            "Either use a coarser grid, or drop twi, spi and distance_to_streams from factors.terrain, "
            "or use a machine with more memory"
        )


def available_memory(meminfo: Path = Path("/proc/meminfo")) -> int:
    """Return the bytes of memory that can be used without swapping."""
    try:
        for line in meminfo.read_text("ascii").splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:  # not Linux
        pass
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def route(dem: Float32) -> Flow:
    """Route flow over a DEM: float32 (h, w), metres, NaN where missing.

    Depressions are filled to their pour point (Wang and Liu 2006) with outlets along the edge of the valid
    cells. Each cell drains to the neighbour of the steepest descent (D8, O'Callaghan and Mark 1984); on level
    ground, filled depressions included, to the one the filling came from.
    """
    missing = np.isnan(dem)
    if missing.all():
        raise FactorError("flow cannot be routed: the DEM has no valid cell inside the grid")
    # nodata as float32, so that numba compiles one version for every caller.
    filled, directions = pyflwdir.fill_depressions(np.ascontiguousarray(dem), nodata=np.float32(np.nan))
    _descend(filled, directions)
    del filled
    network = pyflwdir.from_array(directions, ftype="d8", check_ftype=False)
    del directions
    if network.idxs_seq.size != missing.size - int(missing.sum()):
        raise FactorError("flow directions run in a circle: is the DEM finite and in metres?")
    upstream = network.upstream_area("cell")
    upstream[missing] = 0
    edge = _edge(missing).astype(np.int32)
    edge[missing] = _MISSING
    edges_upstream = network.accuflux(edge, nodata=_MISSING)
    outlets = network.idxs_pit
    return Flow(
        upstream_cells=upstream,
        cut=edges_upstream > 0,
        catchments=int(outlets.size),
        catchments_cut=int((edges_upstream.ravel()[outlets] > 1).sum()),
    )


def twi(upstream_cells: npt.NDArray[np.int32], tan_slope: Float32, cell_size_m: float) -> Float32:
    """Topographic wetness index ln(a / tan beta), Beven and Kirkby (1979): float32 (h, w).

    a: upstream area by unit contour length, here one cell side (m² / m = m). tan beta is not less than
    MINIMUM_TAN_SLOPE. NaN where either is missing.
    """
    with np.errstate(divide="ignore"):
        return np.asarray(
            np.log(_specific_area(upstream_cells, cell_size_m) / _bounded(tan_slope)), np.float32
        )


def spi(upstream_cells: npt.NDArray[np.int32], tan_slope: Float32, cell_size_m: float) -> Float32:
    """Stream power index a tan beta, Moore et al. (1991), metres: float32 (h, w); terms as in `twi`."""
    return np.asarray(_specific_area(upstream_cells, cell_size_m) * _bounded(tan_slope), np.float32)


def _descend(filled: Float32, directions: npt.NDArray[np.uint8]) -> None:
    """Turn each cell that has a lower neighbour towards the steepest descent, in place.

    The filling points to the lowest neighbour, near or diagonal, which bends straight slopes. What it says
    of level ground stays, so no circle can arise: a turned cell goes down, others to where filling came from.
    """
    height, width = filled.shape
    for start in range(0, height, _STRIP_ROWS):
        rows = min(_STRIP_ROWS, height - start)
        around = np.full((rows + 2, width + 2), np.nan, np.float32)
        first, last = max(start - 1, 0), min(start + rows + 1, height)
        around[first - start + 1 : last - start + 1, 1:-1] = filled[first:last]
        steepest = np.zeros((rows, width), np.float32)
        part = directions[start : start + rows]
        for code, row, column in _NEIGHBOURS:
            drop = (
                filled[start : start + rows]
                - around[1 + row : 1 + row + rows, 1 + column : 1 + column + width]
            )
            descent = drop / np.float32(np.hypot(row, column))
            steeper = (drop > _LEVEL_M) & (descent > steepest)
            part[steeper] = code
            steepest[steeper] = descent[steeper]


def _specific_area(upstream_cells: npt.NDArray[np.int32], cell_size_m: float) -> npt.NDArray[np.float64]:
    known = np.where(upstream_cells > 0, upstream_cells, np.nan)
    return np.asarray(known * cell_size_m)


def _bounded(tan_slope: Float32) -> npt.NDArray[np.float64]:
    return np.maximum(tan_slope.astype(np.float64), MINIMUM_TAN_SLOPE)


def _edge(missing: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Valid cells with a missing one among their eight neighbours, or on the border of the array."""
    beside = np.ones_like(missing)
    if min(missing.shape) > 2:
        inner = beside[1:-1, 1:-1]
        inner[:] = False
        rows, columns = inner.shape
        for i in range(3):
            for j in range(3):
                inner |= missing[i : i + rows, j : j + columns]
    return beside & ~missing
