"""Places of an inventory brought into the region's CRS, and words for a CRS that cannot be the right one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from rasterio._err import CPLE_BaseError  # PROJ's own words, where rasterio has no error for them
from rasterio.crs import CRS
from rasterio.warp import transform

from service.region import Grid

FloatArray = npt.NDArray[np.float64]

_WEB_MERCATOR = 3857


def to_crs(source: CRS, target: CRS, xy: FloatArray) -> FloatArray:
    """Return points (n, 2) in another CRS; a point that has no place there is NaN."""
    if source == target:
        return xy
    try:
        return _moved(source, target, xy)
    except CPLE_BaseError:
        # One impossible point refuses them all: each is asked by itself.
        result = np.full(xy.shape, np.nan)
        for index in range(len(xy)):
            try:
                result[index] = _moved(source, target, xy[index : index + 1])[0]
            except CPLE_BaseError:
                continue
        return result


def _moved(source: CRS, target: CRS, xy: FloatArray) -> FloatArray:
    x, y = transform(source, target, xy[:, 0], xy[:, 1])
    moved = np.stack([np.asarray(x, np.float64), np.asarray(y, np.float64)], axis=1)
    return np.where(np.isfinite(moved).all(axis=1, keepdims=True), moved, np.nan)


def are_degrees(xy: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell of each point (n, 2) whether it can be longitude and latitude in degrees: bool (n,)."""
    return np.asarray((np.abs(xy[:, 0]) <= 180) & (np.abs(xy[:, 1]) <= 90))


def wrong_unit(crs: CRS, xy: FloatArray) -> str | None:
    """Say what places (n, 2) that no CRS of this kind can hold look like; None where one of them can be."""
    degrees = are_degrees(xy)
    if crs.is_geographic:
        if degrees.any():
            return None
        if are_degrees(xy[:, ::-1]).all():
            return "the coordinates look like latitude and longitude; " + _SWAP
        return f"the coordinates look like metres, not like the degrees of {_name(crs)}; {_SET_CRS}"
    if degrees.all():
        return (
            f"the coordinates look like degrees, not like the metres of {_name(crs)}; either set crs to "
            '"EPSG:4326" or give the file in metres'
        )
    return None


_SWAP = "exchange x_column and y_column (in a file of vectors, its coordinates)"
_SET_CRS = "set crs to the CRS that they are in (vectors: give the file its right CRS)"


def likely_crs(xy: FloatArray, stated: CRS, grid: Grid) -> str | None:
    """Say as what places (n, 2) of a file would lie on the grid; None where nothing known fits most of them.

    Tried are the stated CRS with x and y exchanged, the grid's own, longitude and latitude, Web Mercator and
    the UTM zones around the grid, each both ways.
    """
    if on_grid(grid, to_crs(stated, grid.crs, xy[:, ::-1])).mean() > 0.5:
        return f"x and y look exchanged: {_SWAP}"
    for crs in _candidates(grid):
        if crs == stated:
            continue
        for exchanged in (False, True):
            seen = xy[:, ::-1] if exchanged else xy
            if crs.is_geographic and not are_degrees(seen).all():
                continue
            if on_grid(grid, to_crs(crs, grid.crs, seen)).mean() > 0.5:
                also = f", and {_SWAP}" if exchanged else ""
                return f'they look like {_name(crs)}: set crs to "{_name(crs)}" (vectors: in the file){also}'
    return None


def on_grid(grid: Grid, xy: FloatArray) -> npt.NDArray[np.bool_]:
    """Tell of each point (n, 2) in the grid's CRS whether it lies on the grid; NaN does not: bool (n,)."""
    left, bottom, right, top = grid.bounds
    x, y = xy[:, 0], xy[:, 1]
    # As cells are cut: the upper and left edges belong to a cell, the lower and right ones do not.
    return np.asarray((x >= left) & (x < right) & (y <= top) & (y > bottom))


def distance_to_grid(grid: Grid, xy: FloatArray) -> FloatArray:
    """Return how far points (n, 2) in the grid's CRS lie from the grid, metres: (n,); 0 on it."""
    left, bottom, right, top = grid.bounds
    east = np.maximum(np.maximum(left - xy[:, 0], xy[:, 0] - right), 0)
    north = np.maximum(np.maximum(bottom - xy[:, 1], xy[:, 1] - top), 0)
    return np.asarray(np.hypot(east, north))


def _candidates(grid: Grid) -> Iterator[CRS]:
    yield grid.crs
    yield CRS.from_epsg(4326)
    yield CRS.from_epsg(_WEB_MERCATOR)
    left, bottom, right, top = grid.bounds
    middle = to_crs(grid.crs, CRS.from_epsg(4326), np.array([[(left + right) / 2, (bottom + top) / 2]]))[0]
    if not np.isfinite(middle).all():
        return
    zone = int((middle[0] + 180) // 6)
    for step in (0, -1, 1):
        for hemisphere in (32600, 32700) if middle[1] >= 0 else (32700, 32600):
            yield CRS.from_epsg(hemisphere + (zone + step) % 60 + 1)


def _name(crs: CRS) -> str:
    return str(crs.to_string())
