"""Terrain factors from the 3 x 3 neighbourhood of each cell, on plain arrays.

Row 0 is north. The neighbours are numbered as in Zevenbergen and Thorne (1987):

    z1 z2 z3
    z4 z5 z6
    z7 z8 z9
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float32 = npt.NDArray[np.float32]
_Float64 = npt.NDArray[np.float64]

# A cell flatter than this has no aspect and no curvature along a slope it has not got: northness, eastness
# and both curvatures are 0 there. At 30 m it is the rounding of float32 elevations of 4000 m, and no more.
FLAT_GRADIENT = 1e-5


class _Neighbours(NamedTuple):
    """The nine elevations around each interior cell, metres, float64 (h - 2, w - 2)."""

    z1: _Float64
    z2: _Float64
    z3: _Float64
    z4: _Float64
    z5: _Float64
    z6: _Float64
    z7: _Float64
    z8: _Float64
    z9: _Float64


def local_factors(dem: Float32, cell_size_m: float, names: Sequence[str]) -> Float32:
    """Return terrain factors of a DEM taken by itself, nothing beyond its edge: float32 (C, h, w).

    `dem` is float32 (h, w), metres, NaN where missing. `names` are of LOCAL_FACTORS, in the order wanted.
    A cell without a complete 3 x 3 neighbourhood is NaN, the edge included; elevation is the DEM itself.
    Raises KeyError for another name, ValueError for a DEM that is not two-dimensional.
    """
    bands = terrain_bands(dem, cell_size_m, names)
    return np.stack([bands[name] for name in names]) if names else np.empty((0, *dem.shape), np.float32)


def terrain_bands(dem: Float32, cell_size_m: float, names: Sequence[str]) -> dict[str, Float32]:
    """Return the named terrain factors of a DEM, each float32 (h, w); as `local_factors`."""
    if dem.ndim != 2:
        raise ValueError(f"a DEM has two dimensions, got shape {dem.shape}")
    for name in names:
        if name not in LOCAL_FACTORS:
            raise KeyError(f"no terrain factor {name!r}; there are: {', '.join(LOCAL_FACTORS)}")
    if min(dem.shape) < 3:
        edge = np.full(dem.shape, np.nan, np.float32)
        return {name: dem.astype(np.float32) if name == "elevation" else edge.copy() for name in names}
    # float64: the second differences of float32 elevations would keep two or three digits.
    z = dem.astype(np.float64)
    rows, columns = z.shape[0] - 2, z.shape[1] - 2
    neighbours = _Neighbours(*(z[i : i + rows, j : j + columns] for i in range(3) for j in range(3)))
    incomplete = np.isnan(sum(neighbours))
    bands: dict[str, Float32] = {}
    for name in names:
        if name == "elevation":
            bands[name] = dem.astype(np.float32)
            continue
        band = np.full(dem.shape, np.nan, np.float32)
        inside = LOCAL_FACTORS[name](neighbours, cell_size_m)
        band[1:-1, 1:-1] = np.where(incomplete, np.nan, inside)
        bands[name] = band
    return bands


def tangent_of_slope(dem: Float32, cell_size_m: float) -> Float32:
    """Return tan of the slope (Horn 1981), float32 (h, w), NaN as in `terrain_bands`."""
    slope = terrain_bands(dem, cell_size_m, ["slope"])["slope"]
    return np.tan(np.radians(slope, dtype=np.float64)).astype(np.float32)


def _horn(z: _Neighbours, size: float) -> tuple[_Float64, _Float64]:
    """Gradient towards east and towards south, m/m: Horn (1981), the weighted third-order differences."""
    east = ((z.z3 + 2 * z.z6 + z.z9) - (z.z1 + 2 * z.z4 + z.z7)) / (8 * size)
    south = ((z.z7 + 2 * z.z8 + z.z9) - (z.z1 + 2 * z.z2 + z.z3)) / (8 * size)
    return east, south


def _slope(z: _Neighbours, size: float) -> _Float64:
    """Slope in degrees, 0 to 90: the arc tangent of Horn's gradient."""
    return np.degrees(np.arctan(np.hypot(*_horn(z, size))))


def _northness(z: _Neighbours, size: float) -> _Float64:
    """Cosine of the aspect, the downslope direction clockwise from north; 0 where flat."""
    east, south = _horn(z, size)
    return _ratio(south, np.hypot(east, south), FLAT_GRADIENT)


def _eastness(z: _Neighbours, size: float) -> _Float64:
    """Sine of the aspect; 0 where flat."""
    east, south = _horn(z, size)
    return _ratio(-east, np.hypot(east, south), FLAT_GRADIENT)


class _Surface(NamedTuple):
    """Coefficients D to H of the partial quartic of Zevenbergen and Thorne (1987)."""

    d: _Float64
    e: _Float64
    f: _Float64
    g: _Float64
    h: _Float64


def _surface(z: _Neighbours, size: float) -> _Surface:
    return _Surface(
        d=((z.z4 + z.z6) / 2 - z.z5) / size**2,
        e=((z.z2 + z.z8) / 2 - z.z5) / size**2,
        f=(-z.z1 + z.z3 + z.z7 - z.z9) / (4 * size**2),
        g=(-z.z4 + z.z6) / (2 * size),
        h=(z.z2 - z.z8) / (2 * size),
    )


def _profile_curvature(z: _Neighbours, size: float) -> _Float64:
    """PROFC = -2 (D G² + E H² + F G H) / (G² + H²), 1/m, Zevenbergen and Thorne (1987).

    Curvature of the surface along the steepest slope: positive where convex (the slope steepens downhill).
    """
    s = _surface(z, size)
    along = s.d * s.g**2 + s.e * s.h**2 + s.f * s.g * s.h
    return _ratio(-2 * along, s.g**2 + s.h**2, FLAT_GRADIENT**2)


def _plan_curvature(z: _Neighbours, size: float) -> _Float64:
    """PLANC = 2 (D H² + E G² - F G H) / (G² + H²), 1/m, Zevenbergen and Thorne (1987).

    Curvature of the surface across the steepest slope: positive in hollows, where flow converges, negative
    on spurs. PROFC - PLANC = -2 (D + E), as in the paper.
    """
    s = _surface(z, size)
    across = s.d * s.h**2 + s.e * s.g**2 - s.f * s.g * s.h
    return _ratio(2 * across, s.g**2 + s.h**2, FLAT_GRADIENT**2)


def _ratio(top: _Float64, bottom: _Float64, smallest: float) -> _Float64:
    """Return top / bottom, and 0 where bottom is below `smallest`."""
    flat = bottom < smallest
    return np.where(flat, 0.0, top / np.where(flat, 1.0, bottom))


def _elevation(z: _Neighbours, size: float) -> _Float64:  # noqa: ARG001 - one shape for all
    return z.z5


LOCAL_FACTORS: dict[str, Callable[[_Neighbours, float], _Float64]] = {
    "elevation": _elevation,
    "slope": _slope,
    "northness": _northness,
    "eastness": _eastness,
    "plan_curvature": _plan_curvature,
    "profile_curvature": _profile_curvature,
}
