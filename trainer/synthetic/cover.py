"""Synthetic ground cover: what lies on the relief. Rock, faults, towns, districts, roads, land use, bands.

All arrays are (n, n), row 0 north; lines are (column, row) in cells, a cell's centre at its index plus 0.5.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from trainer.synthetic.terrain import Terrain

Float = npt.NDArray[np.float64]
Codes = npt.NDArray[np.uint8]
Line = tuple[tuple[float, float], ...]

ROCK_GROUPS = {1: "strong", 2: "medium", 3: "weak", 4: "loose"}  # engineering rock groups (ERG)
LAND_USE = {1: "bare", 2: "rangeland", 3: "woodland", 4: "orchards", 5: "settlement", 6: "water"}
DISTRICTS = ("Rokhsar", "Zarvand", "Abshar-e Now", "Tirkuh", "Dashtmehr", "Narmaband")  # invented
RESERVOIRS = ("Abshar Reservoir", "Narmaband Reservoir")  # invented

# Mean annual precipitation: 150-300 mm over most of Kerman (Teng et al. 2026), rising with elevation.
RAIN_AT_1500_MM, RAIN_PER_M = 130.0, 0.11
_NDVI = {1: 0.06, 2: 0.14, 3: 0.34, 4: 0.55, 5: 0.12, 6: -0.25}


@dataclass(frozen=True)
class Cover:
    """What lies on the relief."""

    rock_group: Codes
    land_use: Codes
    annual_precipitation_mm: npt.NDArray[np.float32]
    red: npt.NDArray[np.uint16]  # reflectance x 10000
    nir: npt.NDArray[np.uint16]
    district: Codes  # 1 .. 6
    towns: tuple[tuple[int, int], ...]  # (row, column)
    faults: tuple[Line, ...]
    roads: tuple[Line, ...]
    fault_distance_m: Float
    road_distance_m: Float


def make_cover(terrain: Terrain, seed: int, cell_size_m: float = 30.0) -> Cover:
    """Cover a relief; the same relief and seed give the same cells."""
    random = np.random.default_rng([seed, 2])
    size = terrain.elevation_m.shape[0]
    steepness = ndimage.gaussian_filter(terrain.slope_deg.astype(np.float64), 4)
    rock = _rock_groups(random, size, steepness)
    district, towns = _districts(random, size, steepness)
    faults = _faults(random, size)
    roads = _roads(terrain, towns)
    water = terrain.lakes[0].mask | terrain.lakes[1].mask
    land_use = _land_use(random, terrain, towns, water)
    smooth = ndimage.gaussian_filter(terrain.elevation_m.astype(np.float64), 12)
    rain = RAIN_AT_1500_MM + RAIN_PER_M * (smooth - 1500.0)
    red, nir = _bands(random, land_use, rain)
    return Cover(
        rock,
        land_use,
        np.round(rain, 1).astype(np.float32),
        red,
        nir,
        district,
        towns,
        faults,
        roads,
        _distance(faults, size) * cell_size_m,
        _distance(roads, size) * cell_size_m,
    )


def _noise(random: np.random.Generator, size: int, reach: float) -> Float:
    """Smooth noise of standard deviation 1; `reach` in cells."""
    # Made coarse and enlarged: a filter of a hundred cells over every cell takes seconds.
    step = max(1, int(reach // 4))
    coarse = random.standard_normal((size // step + 8, size // step + 8))
    smooth = ndimage.gaussian_filter(coarse, reach / step)
    large = ndimage.zoom(smooth, step, order=1)[:size, :size]
    return np.asarray((large - large.mean()) / large.std())


def _rock_groups(random: np.random.Generator, size: int, steepness: Float) -> Codes:
    """Folded beds along the ranges, and loose ground on the floors."""
    south, east = np.meshgrid(np.linspace(0, 1, size), np.linspace(0, 1, size), indexing="ij")
    bed = np.sin(2 * np.pi * (2.3 * (south + 0.8 * east) + 0.22 * _noise(random, size, 40)))
    bed += 0.25 * _noise(random, size, 12)
    rock = np.where(bed > 0.55, 1, np.where(bed > -0.35, 2, 3))
    return np.where(steepness < 6.0, 4, rock).astype(np.uint8)


def _districts(
    random: np.random.Generator, size: int, steepness: Float
) -> tuple[Codes, tuple[tuple[int, int], ...]]:
    """Six districts around six towns; a town stands on the flattest ground near its place."""
    towns = []
    for row, column in ((0.2, 0.18), (0.2, 0.52), (0.22, 0.83), (0.75, 0.2), (0.72, 0.52), (0.76, 0.84)):
        top, left = int((row - 0.09) * size), int((column - 0.09) * size)
        side = int(0.18 * size)
        window = steepness[top : top + side, left : left + side]
        index = int(np.argmin(window + 0.3 * random.random(window.shape)))
        towns.append((top + index // side, left + index % side))
    rows, columns = np.indices((size, size))
    wobble = [0.035 * size * _noise(random, size, size / 14) for _ in range(2)]
    distances = [np.hypot(rows + wobble[0] - town[0], columns + wobble[1] - town[1]) for town in towns]
    labels = np.argmin(np.stack(distances), axis=0) + 1
    return labels.astype(np.uint8), tuple(towns)


def _faults(random: np.random.Generator, size: int) -> tuple[Line, ...]:
    """Four faults along the ranges, from south-west to north-east."""
    lines = []
    for offset, length in ((0.62, 0.9), (0.85, 0.5), (1.18, 0.8), (1.42, 0.45)):
        along = np.linspace(-length / 2, length / 2, 24)
        bend = 0.02 * np.sin(9 * along + random.uniform(0, 6)) + random.normal(0, 0.003, along.size)
        x, y = offset / 2 + along * 0.72 + bend, offset / 2 - along * 0.72 + bend
        inside = (x > 0.01) & (x < 0.99) & (y > 0.01) & (y < 0.99)
        lines.append(
            tuple((float(a * size), float(b * size)) for a, b in zip(x[inside], y[inside], strict=True))
        )
    return tuple(line for line in lines if len(line) > 1)


def _roads(terrain: Terrain, towns: tuple[tuple[int, int], ...], step: int = 8) -> tuple[Line, ...]:
    """Least-cost paths between towns: gentle slopes are cheap, lakes are not crossed."""
    slope = terrain.slope_deg[step // 2 :: step, step // 2 :: step].astype(np.float64)
    lake = (terrain.lakes[0].mask | terrain.lakes[1].mask)[step // 2 :: step, step // 2 :: step]
    cost = 1.0 + (slope / 8.0) ** 2 + 500.0 * lake
    height, width = cost.shape
    index = np.arange(height * width).reshape(height, width)
    pairs, weights = [], []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        a = index[: height - down, max(0, -right) : width - max(0, right)]
        b = index[down:, max(0, right) : width + min(0, right)]
        pairs.append(np.stack([a.ravel(), b.ravel()]))
        weights.append((cost.ravel()[a.ravel()] + cost.ravel()[b.ravel()]) / 2 * np.hypot(down, right))
    ends = np.concatenate(pairs, axis=1)
    graph = coo_array((np.concatenate(weights), (ends[0], ends[1])), shape=(cost.size, cost.size)).tocsr()
    nodes = [min(r // step, height - 1) * width + min(c // step, width - 1) for r, c in towns]
    lines = []
    for start, stop in ((0, 1), (1, 2), (3, 4), (4, 5), (0, 3), (1, 4), (2, 5)):
        before = dijkstra(graph, directed=False, indices=nodes[start], return_predecessors=True)[1]
        path, here = [], nodes[stop]
        while here >= 0:
            path.append(((here % width + 0.5) * step, (here // width + 0.5) * step))
            here = int(before[here])
        if len(path) > 1:
            lines.append(tuple(path))
    return tuple(lines)


def _land_use(
    random: np.random.Generator,
    terrain: Terrain,
    towns: tuple[tuple[int, int], ...],
    water: npt.NDArray[np.bool_],
) -> Codes:
    size = water.shape[0]
    elevation, slope = terrain.elevation_m, terrain.slope_deg
    patchy = _noise(random, size, 9)
    use = np.full(water.shape, 2, np.uint8)
    use[(slope > 38) | (elevation + 120 * patchy > 2_850)] = 1
    use[(patchy > 0.45) & (elevation > 1_950) & (elevation < 2_700) & (slope > 8)] = 3
    near_stream = ndimage.distance_transform_edt(~terrain.streams) < 14
    use[near_stream & (slope < 9) & (patchy > -0.9)] = 4
    rows, columns = np.indices(water.shape)
    for row, column in towns:
        use[(np.hypot(rows - row, columns - column) + 3 * patchy < 11) & (slope < 14)] = 5
    use[water] = 6
    return use


def _bands(
    random: np.random.Generator, land_use: Codes, rain: Float
) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
    """Red and near-infrared reflectance that give each cover its NDVI; wetter ground is greener."""
    table = np.array([0.0, *(_NDVI[code] for code in sorted(_NDVI))])
    ndvi = table[land_use] + 0.0004 * (rain - 200) * (land_use != 6)
    ndvi = ndimage.gaussian_filter(ndvi, 0.7) + 0.02 * random.standard_normal(rain.shape)
    nir = np.where(land_use == 6, 0.04, 0.26 + 0.02 * random.standard_normal(rain.shape))
    red = nir * (1 - ndvi) / (1 + ndvi)
    stored_red, stored_nir = (np.clip(band * 10_000, 1, 10_000).astype(np.uint16) for band in (red, nir))
    return stored_red, stored_nir


def _distance(lines: tuple[Line, ...], size: int) -> Float:
    """Distance of each cell to the nearest line, in cells."""
    drawn = np.ones((size, size), dtype=bool)
    for line in lines:
        for (x0, y0), (x1, y1) in itertools.pairwise(line):
            steps = int(max(abs(x1 - x0), abs(y1 - y0)) * 2) + 2
            columns = np.clip(np.linspace(x0, x1, steps).astype(int), 0, size - 1)
            rows = np.clip(np.linspace(y0, y1, steps).astype(int), 0, size - 1)
            drawn[rows, columns] = False
    return np.asarray(ndimage.distance_transform_edt(drawn))
