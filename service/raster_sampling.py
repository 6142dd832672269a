"""Values of a raster product at points: bilinear between the centres of its pixels.

A point takes part only where the pixel that holds it has a value; of the other three centres around it, those
without a value weigh nothing. So a coast or a gap is neither smeared out nor filled in.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform

Points = npt.NDArray[np.float64]


class Sampled(NamedTuple):
    """A raster at m points."""

    values: npt.NDArray[np.float32]  # (m,), NaN where the raster says nothing
    distance_m: npt.NDArray[np.float32]  # (m,) to the centre of the pixel that holds the point


class RasterSampler:
    """Samples rasters at the same m points; where they lie in a raster's pixels is worked out once."""

    def __init__(self, xy: Points, crs: CRS) -> None:
        """Take points, float64 (m, 2), in `crs`, metres."""
        self._xy = xy
        self._crs = crs
        self._known: tuple[tuple[object, ...], _Place] | None = None

    def sample(self, values: npt.NDArray[np.float32], affine: Affine, crs: CRS) -> Sampled:
        """Return a raster, float32 (height, width), at the points."""
        key = (values.shape, tuple(affine), crs.to_wkt())
        if self._known is None or self._known[0] != key:
            self._known = key, _place(self._xy, self._crs, values.shape, affine, crs)
        return self._known[1].of(values)


class _Place(NamedTuple):
    inside: npt.NDArray[np.bool_]  # (m,) in a pixel of the raster
    own: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # row, column of that pixel, (m,)
    rows: npt.NDArray[np.intp]  # (m, 4) of the four centres around the point
    columns: npt.NDArray[np.intp]
    weight: npt.NDArray[np.float64]  # (m, 4), 0 outside the raster
    distance_m: npt.NDArray[np.float32]

    def of(self, values: npt.NDArray[np.float32]) -> Sampled:
        around = values[self.rows, self.columns].astype(np.float64)
        weight = np.where(np.isfinite(around), self.weight, 0.0)
        total = weight.sum(axis=1)
        there = self.inside & np.isfinite(values[self.own]) & (total > 0)
        mean = np.where(weight > 0, weight * np.nan_to_num(around), 0.0).sum(axis=1) / np.where(
            there, total, 1.0
        )
        return Sampled(
            np.where(there, mean, np.nan).astype(np.float32),
            np.where(there, self.distance_m, np.nan).astype(np.float32),
        )


def _place(xy: Points, crs: CRS, shape: tuple[int, ...], affine: Affine, raster_crs: CRS) -> _Place:
    height, width = shape
    # Rounded to a hundred-thousandth of a pixel, so that another PROJ build finds the same pixels.
    x, y = (np.asarray(axis, np.float64) for axis in transform(crs, raster_crs, xy[:, 0], xy[:, 1]))
    inverse = ~affine
    column = np.round(inverse.a * x + inverse.b * y + inverse.c, 5)
    row = np.round(inverse.d * x + inverse.e * y + inverse.f, 5)
    finite = np.isfinite(column) & np.isfinite(row)
    column, row = np.where(finite, column, -1.0), np.where(finite, row, -1.0)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    own_row = np.clip(np.floor(row), 0, height - 1).astype(np.intp)
    own_column = np.clip(np.floor(column), 0, width - 1).astype(np.intp)
    top, left = np.floor(row - 0.5), np.floor(column - 0.5)
    down, right = row - 0.5 - top, column - 0.5 - left
    rows = np.stack([top, top, top + 1, top + 1], axis=1)
    columns = np.stack([left, left + 1, left, left + 1], axis=1)
    weight = np.stack(
        [(1 - down) * (1 - right), (1 - down) * right, down * (1 - right), down * right], axis=1
    )
    weight[(rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)] = 0.0
    centre_x = affine.a * (own_column + 0.5) + affine.b * (own_row + 0.5) + affine.c
    centre_y = affine.d * (own_column + 0.5) + affine.e * (own_row + 0.5) + affine.f
    back_x, back_y = (np.asarray(axis) for axis in transform(raster_crs, crs, centre_x, centre_y))
    distance = np.hypot(back_x - xy[:, 0], back_y - xy[:, 1])
    return _Place(
        inside=inside,
        own=(own_row, own_column),
        rows=np.clip(rows, 0, height - 1).astype(np.intp),
        columns=np.clip(columns, 0, width - 1).astype(np.intp),
        weight=weight,
        distance_m=np.round(distance).astype(np.float32),
    )
