"""How many cells of a layer inside a polygon have which value, block by block, whatever the polygon's size.

Susceptibility is stored in 251 steps, so a histogram of the stored values is all that areas, mean, median and
maximum need, and all that is kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.warp import transform
from rasterio.windows import Window

from exporters.layer import NODATA, SCALE, ClassScheme
from service.errors import StorageError
from service.place import lonlat_bounds
from service.region import Grid

_GEOGRAPHIC = CRS.from_epsg(4326)
_BLOCK = 2048  # four of the COGs' own: each costs a walk along the whole outline
_PIECES = 256  # a straight line on the map is a curve in the projection: so many pieces across the region


@dataclass(frozen=True)
class PolygonCounts:
    """Cells inside a polygon and inside the mask, by stored susceptibility; entry 255 is unknown."""

    histogram: npt.NDArray[np.int64]  # (256,)

    @property
    def cells(self) -> int:
        """All of them."""
        return int(self.histogram.sum())

    @property
    def known(self) -> int:
        """Those with a value."""
        return self.cells - int(self.histogram[NODATA])

    def by_class(self, scheme: ClassScheme) -> npt.NDArray[np.int64]:
        """Return cells by class, unknown first: (5,)."""
        codes = scheme.classify(np.arange(256, dtype=np.uint8))
        return np.bincount(codes, weights=self.histogram, minlength=5).astype(np.int64)

    def mean(self) -> float:
        """Return mean susceptibility of the known cells, of which there must be some."""
        values = np.arange(NODATA)
        return float((self.histogram[:NODATA] * values).sum() / self.known * SCALE)

    def median(self) -> float:
        """Return the median; of an even number of cells, the middle between the two in the middle."""
        below = np.cumsum(self.histogram[:NODATA])
        low, high = np.searchsorted(below, [(self.known - 1) // 2, self.known // 2], side="right")
        return float((low + high) / 2 * SCALE)

    def maximum(self) -> float:
        """Return the largest value."""
        return float(np.flatnonzero(self.histogram[:NODATA])[-1] * SCALE)


def onto_grid(polygon: shapely.Geometry, grid: Grid) -> shapely.Geometry:
    """Return the part of a polygon in EPSG:4326 that may touch the grid, in the grid's CRS; empty if none."""
    west, south, east, north = lonlat_bounds(grid)
    cut = shapely.intersection(polygon, shapely.box(west, south, east, north))
    cut = shapely.segmentize(cut, max(east - west, north - south) / _PIECES)

    def project(lonlat: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        x, y = transform(_GEOGRAPHIC, grid.crs, lonlat[:, 0].tolist(), lonlat[:, 1].tolist())
        return np.array([x, y], dtype=np.float64).T

    return shapely.make_valid(shapely.transform(cut, project))


def covered_cells(polygon: shapely.Geometry, grid: Grid) -> int:
    """Return how many cells the rectangle around a polygon (grid's CRS) holds, as far as the grid goes."""
    window = _window(polygon, grid)
    return 0 if window is None else int(window.width * window.height)


def count_cells(susceptibility: Path, mask: Path, grid: Grid, polygon: shapely.Geometry) -> PolygonCounts:
    """Count the cells of a layer whose centres lie in a polygon in the grid's CRS. Raises StorageError."""
    histogram = np.zeros(256, np.int64)
    shapely.prepare(polygon)
    try:
        with (
            rasterio.open(susceptibility, sharing=False) as values,
            rasterio.open(mask, sharing=False) as inside,
        ):
            for window in _blocks(polygon, grid):
                covered = _covered(polygon, grid, window)
                if covered is None:
                    continue
                covered &= inside.read(1, window=window) == 1
                stored = values.read(1, window=window)
                histogram += np.bincount(stored[covered], minlength=256)
    except rasterio.errors.RasterioIOError as error:
        raise StorageError(f"cannot read {susceptibility} or {mask}: {error}") from error
    return PolygonCounts(histogram)


def _window(polygon: shapely.Geometry, grid: Grid) -> Window | None:
    if shapely.is_empty(polygon):
        return None
    left, bottom, right, top = polygon.bounds
    size = grid.cell_size_m
    first_row, last_row = int((grid.top - top) // size), int((grid.top - bottom) // size)
    first_column, last_column = int((left - grid.left) // size), int((right - grid.left) // size)
    row, column = max(first_row, 0), max(first_column, 0)
    height, width = min(last_row + 1, grid.height) - row, min(last_column + 1, grid.width) - column
    return Window(column, row, width, height) if height > 0 and width > 0 else None


def _blocks(polygon: shapely.Geometry, grid: Grid) -> Iterator[Window]:
    whole = _window(polygon, grid)
    if whole is None:
        return
    bottom, right = int(whole.row_off + whole.height), int(whole.col_off + whole.width)
    for row in range(int(whole.row_off) // _BLOCK * _BLOCK, bottom, _BLOCK):
        for column in range(int(whole.col_off) // _BLOCK * _BLOCK, right, _BLOCK):
            height, width = min(_BLOCK, grid.height - row), min(_BLOCK, grid.width - column)
            yield Window(column, row, width, height)


def _covered(polygon: shapely.Geometry, grid: Grid, window: Window) -> npt.NDArray[np.bool_] | None:
    """Return which cells' centres lie in the polygon; None where it does not touch the block."""
    size = grid.cell_size_m
    left, top = grid.left + window.col_off * size, grid.top - window.row_off * size
    shape: tuple[int, int] = (int(window.height), int(window.width))
    block = shapely.box(left, top - shape[0] * size, left + shape[1] * size, top)
    if shapely.contains_properly(polygon, block):
        return np.ones(shape, bool)
    if not shapely.intersects(polygon, block):
        return None
    burned: npt.NDArray[Any] = rasterize(
        [(polygon, 1)], out_shape=shape, transform=Affine(size, 0, left, 0, -size, top), dtype="uint8"
    )
    return np.asarray(burned == 1)
