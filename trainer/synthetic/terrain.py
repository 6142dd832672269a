"""Synthetic relief: a fractal, folded into ranges, cut by its own rivers, with two dammed lakes.

The first surface is fractional Brownian (power spectrum f^-2H-2, Hurst exponent H = 0.8; Huang and Turcotte
1989 find 0.7 to 1 for arid ranges) on two long ranges. It is then eroded while it rises: stream power,
dz/dt = U - K A^0.5 S (Whipple and Tucker 1999, concavity m/n = 0.5), solved implicitly from the outlets
upwards (Braun and Willett 2013), with creep of the slopes between the channels. What comes out drains
everywhere, and has the ridges and branching valleys that landslides know.
"""

from __future__ import annotations

import itertools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyflwdir
from affine import Affine
from scipy import ndimage

from trainer.terrain import terrain_bands

Float = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

LOWEST_M, HIGHEST_M = 1_560.0, 3_240.0  # relief of the ranges south of Kerman
HURST = 0.8
ROUNDS = 16  # of uplift and erosion; more change little
STEP = 0.12  # K dt / dx, with areas in cells: large, so that valleys reach their grade in ROUNDS
FIRST = 0.25  # height of the first surface; low, so that its hollows are cut open
UPLIFT = 0.1  # of one round
CREEP = 0.55  # cells: standard deviation of what one round of creep smooths
RIM = 40  # cells that are made and cut off: the border of the made surface is not like its inside
STEEPEST = 1.2  # m/m, about 50 degrees: rock walls; steeper ones are worn down
STREAM_KM2 = 3.0  # upstream area from which a channel is called a river
DAM_HEIGHT_M = (35.0, 45.0, 55.0, 65.0, 75.0, 90.0)  # tried in turn
LAKE_KM2 = (0.5, 2.6)  # in a region of 512 cells of 30 m


@dataclass(frozen=True)
class Lake:
    """A reservoir: its surface at full level, and the cell of its dam."""

    mask: Mask  # (n, n)
    full_level_m: float
    dam: tuple[int, int]


@dataclass(frozen=True)
class Terrain:
    """Relief of n x n cells; row 0 is north."""

    elevation_m: npt.NDArray[np.float32]  # (n, n), to the centimetre
    slope_deg: npt.NDArray[np.float32]  # (n, n), the edge as its neighbour
    upstream_km2: Float  # (n, n)
    twi: Float  # (n, n) ln(a / tan slope), a: specific upstream area in metres (Beven and Kirkby 1979)
    streams: Mask  # (n, n)
    lines: tuple[tuple[tuple[float, float], ...], ...]  # of the streams, (column, row) in cells, downstream
    lakes: tuple[Lake, Lake]


def make_terrain(seed: int, size: int = 512, cell_size_m: float = 30.0) -> Terrain:
    """Make the relief of a seed; the same seed gives the same cells.

    Raises ValueError where no valley of the relief can hold two lakes.
    """
    random = np.random.default_rng([seed, 1])
    ranges = _unit(_ranges(size + 2 * RIM))
    rock = _fractal(random, size + 2 * RIM)
    surface = FIRST * (ranges + 0.25 * rock)
    # Harder rock rises faster than it wears: the fractal shapes the uplift too.
    uplift = (0.12 + ranges) * np.clip(1.0 + 0.35 * rock, 0.3, 2.0)
    # The made surface's border stays low, so that rivers leave it; it is cut off afterwards.
    border = np.ones_like(uplift, dtype=bool)
    border[1:-1, 1:-1] = False
    uplift[border] = 0.0
    surface[border] = surface.min()
    for _ in range(ROUNDS):
        # On a level floor the router would draw straight diagonals; a little noise makes rivers of them.
        rough = 0.004 * random.standard_normal(surface.shape) * ~border
        surface = _erode(surface + UPLIFT * uplift + rough)
    surface = _wear(_stretch(surface[RIM:-RIM, RIM:-RIM]), cell_size_m)
    surface = _stretch(surface)
    surface = pyflwdir.dem.fill_depressions(surface.astype(np.float32))[0].astype(np.float64)
    lakes = _place_lakes(surface, cell_size_m)
    for lake in lakes:
        surface[lake.mask] = lake.full_level_m
    elevation = np.round(surface, 2).astype(np.float32)
    return _finish(elevation, lakes, cell_size_m)


def _finish(elevation: npt.NDArray[np.float32], lakes: tuple[Lake, Lake], cell_size_m: float) -> Terrain:
    slope = terrain_bands(elevation, cell_size_m, ["slope"])["slope"]
    slope[[0, -1]] = slope[[1, -2]]
    slope[:, [0, -1]] = slope[:, [1, -2]]
    drainage = _route(elevation)
    cells = drainage.upstream_area().astype(np.float64)
    area = cells * (cell_size_m / 1000) ** 2
    gradient = np.maximum(np.tan(np.radians(slope.astype(np.float64))), 0.01)
    streams = area >= STREAM_KM2
    with warnings.catch_warnings():
        # pyflwdir 0.5.12 multiplies by an affine in a way that affine 3 will drop.
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        features = drainage.streams(mask=streams)
    lines = [
        tuple((float(x), -float(y)) for x, y in feature["geometry"]["coordinates"]) for feature in features
    ]
    lines = [line for line in lines if len(line) > 1]
    return Terrain(
        elevation, slope, area, np.log(cells * cell_size_m / gradient), streams, tuple(lines), lakes
    )


def _route(surface: npt.NDArray[Any]) -> Any:
    return pyflwdir.from_dem(
        surface.astype(np.float32), nodata=-9999.0, transform=Affine(1, 0, 0, 0, -1, 0), latlon=False
    )


def _ranges(size: int) -> Float:
    """Two ranges from north-west to south-east with a basin between, 0 to about 1."""
    along = np.linspace(0, 1, size)
    south, east = np.meshgrid(along, along, indexing="ij")
    across = (south + east) / np.sqrt(2)
    bend = 0.06 * np.sin(2 * np.pi * (east - south) * 0.8)
    north_range = np.exp(-(((across - 0.38 - bend) / 0.16) ** 2))
    south_range = 0.85 * np.exp(-(((across - 1.05 + bend) / 0.15) ** 2))
    return np.asarray(north_range + south_range - 0.25 * across)


def _fractal(random: np.random.Generator, size: int) -> Float:
    """Fractional Brownian surface by spectral synthesis, standard deviation 1."""
    white = np.fft.rfft2(random.standard_normal((2 * size, 2 * size)))
    frequency = np.hypot(np.fft.fftfreq(2 * size)[:, None], np.fft.rfftfreq(2 * size)[None, :])
    frequency[0, 0] = np.inf
    surface = np.fft.irfft2(white * frequency ** -(HURST + 1))[:size, :size]
    return np.asarray((surface - surface.mean()) / surface.std())


def _erode(surface: Float) -> Float:
    """Return the surface after one implicit step of stream power and creep."""
    surface = ndimage.gaussian_filter(surface, CREEP, mode="nearest")
    filled, directions = pyflwdir.dem.fill_depressions(surface.astype(np.float32))
    drainage = pyflwdir.from_array(directions, ftype="d8", check_ftype=False)
    height = filled.astype(np.float64).ravel()
    grip = STEP * np.sqrt(drainage.upstream_area().ravel().astype(np.float64))
    receiver, rank = drainage.idxs_ds, drainage.rank.ravel()
    # All cells of one rank stand the same number of steps above their outlets: they are independent.
    order = np.argsort(rank, kind="stable")
    starts = np.searchsorted(rank[order], np.arange(1, rank.max() + 2))
    for first, last in itertools.pairwise(starts):
        cells = order[first:last]
        height[cells] = (height[cells] + grip[cells] * height[receiver[cells]]) / (1 + grip[cells])
    return np.asarray(height.reshape(surface.shape))


def _wear(surface: Float, cell_size_m: float) -> Float:
    """Blend slopes steeper than STEEPEST with their smoothed selves."""
    for _ in range(3):
        south, east = np.gradient(surface, cell_size_m)
        excess = np.clip((np.hypot(south, east) - 0.75 * STEEPEST) / (0.25 * STEEPEST), 0, 1)
        share = ndimage.gaussian_filter(excess, 1.0)
        surface = surface * (1 - share) + ndimage.gaussian_filter(surface, 1.5) * share
    return surface


def _place_lakes(surface: Float, cell_size_m: float) -> tuple[Lake, Lake]:
    """Dam two valleys: of all stream cells and dam heights, those that give lakes of a sensible size."""
    drainage = _route(surface)
    area = drainage.upstream_area() * (cell_size_m / 1000) ** 2
    size = surface.shape[0]
    margin = size // 10
    inner = np.zeros_like(area, dtype=bool)
    inner[margin:-margin, margin:-margin] = True
    candidates = np.flatnonzero((area > 0.03 * size**2 * (cell_size_m / 1000) ** 2) & inner)
    order = candidates[np.argsort(-area.ravel()[candidates], kind="stable")]
    lakes: list[Lake] = []
    apart = size / 3
    for index in order[:: max(1, len(order) // 120)]:
        dam = int(index) // size, int(index) % size
        if any(np.hypot(dam[0] - other.dam[0], dam[1] - other.dam[1]) < apart for other in lakes):
            continue
        basin = drainage.basins(idxs=np.array([index])) > 0
        for height in DAM_HEIGHT_M:
            level = round(float(surface[dam]) + height, 1)
            flooded, _ = ndimage.label(basin & (surface < level))
            mask = flooded == flooded[dam]
            square_km = float(mask.sum()) * (cell_size_m / 1000) ** 2
            scale = (size / 512) ** 2
            if square_km > LAKE_KM2[1] * scale or (mask & ~inner).any():
                break
            if square_km >= LAKE_KM2[0] * scale:
                lakes.append(Lake(mask, level, dam))
                break
        if len(lakes) == 2:
            return lakes[0], lakes[1]
    raise ValueError("no two valleys of this relief hold a lake; take another seed")


def _unit(values: Float) -> Float:
    return np.asarray((values - values.min()) / np.ptp(values))


def _stretch(surface: Float) -> Float:
    return LOWEST_M + (HIGHEST_M - LOWEST_M) * _unit(surface)
