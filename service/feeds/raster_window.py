"""The part of a raster that a region needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.warp import transform_bounds

MARGIN_PIXELS = 2  # around the region: what bilinear sampling at its edge needs, and one more

_GEOGRAPHIC = CRS.from_epsg(4326)
_TOLERANCE = 1e-6  # of a pixel: a region whose edge lies on a pixel's edge needs no pixel beyond it

Bounds = tuple[float, float, float, float]
# Reads rows [first, last) and columns [first, last) that lie in the raster.
Read = Callable[[int, int, int, int], "np.ma.MaskedArray[Any, Any]"]


class PixelWindow(NamedTuple):
    """Rows [top, bottom) and columns [left, right) of a raster.

    Of a raster that goes round the earth, columns may begin before 0 or end after the last: they go on at
    the other side.
    """

    top: int
    bottom: int
    left: int
    right: int
    transform: Affine  # of the window; where the raster counts longitudes otherwise, in the region's way
    width: int  # of the raster

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.bottom - self.top, self.right - self.left

    def read(self, read: Read) -> np.ma.MaskedArray[Any, Any]:
        """Return the window's pixels: (bottom - top, right - left)."""
        pieces = []
        left = self.left
        while left < self.right:
            turn = math.floor(left / self.width) * self.width
            right = min(self.right, turn + self.width)
            pieces.append(read(self.top, self.bottom, left - turn, right - turn))
            left = right
        if len(pieces) == 1:
            return pieces[0]
        return np.ma.masked_array(
            np.concatenate([np.ma.getdata(piece) for piece in pieces], axis=1),
            np.concatenate([np.ma.getmaskarray(piece) for piece in pieces], axis=1),
        )


def window_of(
    bounds: Bounds, transform: Affine, crs: CRS, height: int, width: int, margin: int = MARGIN_PIXELS
) -> PixelWindow | None:
    """Return the window of a raster that covers `bounds` (EPSG:4326) and `margin` pixels around them.

    None where the raster does not reach there. Raises ValueError for a raster that is not north-up (or
    south-up).
    """
    if transform.b or transform.d or not transform.a or not transform.e:
        raise ValueError("its rows do not run east and west; warp it to a plain grid first")
    west, south, east, north = (
        bounds if crs == _GEOGRAPHIC else transform_bounds(_GEOGRAPHIC, crs, *bounds, densify_pts=21)
    )
    rows = sorted(((north - transform.f) / transform.e, (south - transform.f) / transform.e))
    top = max(0, math.floor(rows[0] + _TOLERANCE) - margin)
    bottom = min(height, math.ceil(rows[1] - _TOLERANCE) + margin)
    if rows[1] <= 0 or rows[0] >= height:
        return None
    round_the_earth = crs.is_geographic and abs(abs(width * transform.a) - 360) < abs(transform.a) / 2
    for shift in (0.0, 360.0, -360.0) if crs.is_geographic else (0.0,):
        columns = sorted(
            ((west + shift - transform.c) / transform.a, (east + shift - transform.c) / transform.a)
        )
        left = math.floor(columns[0] + _TOLERANCE) - margin
        right = math.ceil(columns[1] - _TOLERANCE) + margin
        if round_the_earth:
            right = min(right, left + width)
        elif columns[1] <= 0 or columns[0] >= width:
            continue
        else:
            left, right = max(0, left), min(width, right)
        moved = Affine(
            transform.a,
            0.0,
            transform.c + left * transform.a - shift,
            0.0,
            transform.e,
            transform.f + top * transform.e,
        )
        return PixelWindow(top, bottom, left, right, moved, width)
    return None


def to_stored(
    pixels: np.ma.MaskedArray[Any, Any], nodata: tuple[float, ...], scale: float, offset: float
) -> npt.NDArray[np.float64]:
    """Return pixels times `scale` plus `offset`, NaN where they are masked, not finite or a no-data code."""
    stored = np.ma.getdata(pixels)
    missing = np.ma.getmaskarray(pixels) | ~np.isfinite(stored)
    for code in nodata:
        if np.issubdtype(stored.dtype, np.floating):
            missing |= stored == stored.dtype.type(code)  # -9999.9 as float32 is not -9999.9 as float64
        else:
            missing |= stored == code
    return np.where(missing, np.nan, stored.astype(np.float64) * scale + offset)
