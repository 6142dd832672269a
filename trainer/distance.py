"""Distances to the nearest feature, tile by tile, exact up to a stated cap and equal to it beyond."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.features import rasterize
from rasterio.windows import Window
from scipy.ndimage import distance_transform_edt
from scipy.spatial import KDTree

from service.errors import FactorError
from service.region import Grid, read_vectors
from service.settings import ReservoirSettings

Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]
# Tells, for any window, also one beyond the grid, which of its cells a feature touches: bool (h, w).
Features = Callable[[Window], Bool]


def distance_to(features: Features, window: Window, cell_size_m: float, cap_m: float) -> Float32:
    """Return the distance of each cell of `window` to the nearest feature cell, centre to centre, metres.

    float32 (h, w), at most `cap_m`. The halo around the window is as wide as the cap, so the result does not
    depend on how a grid is cut into windows.
    """
    halo = int(cap_m / cell_size_m) + 1
    rows, columns = int(window.height), int(window.width)
    around = Window(window.col_off - halo, window.row_off - halo, columns + 2 * halo, rows + 2 * halo)
    here = features(around)
    if not here.any():
        return np.full((rows, columns), cap_m, np.float32)
    cells = distance_transform_edt(~here)[halo : halo + rows, halo : halo + columns]
    return np.asarray(np.minimum(cells * cell_size_m, cap_m), np.float32)


def vector_features(geometries: Sequence[shapely.Geometry], grid: Grid) -> Features:
    """Return the cells that geometries in the grid's CRS touch, on the grid and beyond its edge."""
    geometries = list(geometries)
    tree = shapely.STRtree(geometries)

    def cells(window: Window) -> Bool:
        shape = (int(window.height), int(window.width))
        left = grid.left + window.col_off * grid.cell_size_m
        top = grid.top - window.row_off * grid.cell_size_m
        box = shapely.box(left, top - shape[0] * grid.cell_size_m, left + shape[1] * grid.cell_size_m, top)
        near = [geometries[index] for index in sorted(tree.query(box))]
        if not near:
            return np.zeros(shape, np.bool_)
        transform = Affine(grid.cell_size_m, 0, left, 0, -grid.cell_size_m, top)
        # all_touched: a fault thinner than a cell would otherwise have holes.
        # GDAL burns nothing of a line shorter than its tolerance on a cell's border; its vertices it does.
        shapes = [*near, shapely.multipoints(shapely.get_coordinates(near))]
        burnt = rasterize(shapes, out_shape=shape, transform=transform, all_touched=True, dtype="uint8")
        return np.asarray(burnt, np.bool_)

    return cells


def array_features(cells: Bool) -> Features:
    """Return the true cells of a whole-grid array; nothing is beyond its edge."""

    def part(window: Window) -> Bool:
        out = np.zeros((int(window.height), int(window.width)), np.bool_)
        top, left = int(window.row_off), int(window.col_off)
        rows = slice(max(top, 0), max(min(top + out.shape[0], cells.shape[0]), 0))
        columns = slice(max(left, 0), max(min(left + out.shape[1], cells.shape[1]), 0))
        inside = cells[rows, columns]
        if inside.size:
            row, column = rows.start - top, columns.start - left
            out[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
        return out

    return part


@dataclass(frozen=True)
class ReservoirLink:
    """How the cells of a window stand to their nearest reservoir; each float32 (h, w), NaN without elevation.

    `influence` is 1 where the reservoir's edge is at most `link_distance_m` away and the cell not more than
    `link_height_m` above the full level, else 0.
    """

    distance: Float32  # metres, at most the cap; 0 on the reservoir
    height: Float32  # elevation minus full level of the nearest reservoir, metres, at any distance
    influence: Float32


class ReservoirRims:
    """The reservoirs of a region, as polygons with their full levels.

    Raises RegionError (file, fields) or FactorError (a full level that is not a number).
    """

    def __init__(self, settings: ReservoirSettings, grid: Grid, cap_m: float) -> None:
        self._settings, self._grid, self._cap_m = settings, grid, cap_m
        fields = (settings.id_field, settings.full_level_field)
        rows = read_vectors(settings.path, grid.crs, fields)
        self._shapes = [shape for shape, _ in rows]
        self._full_level_m = np.array([_full_level(values, settings) for _, values in rows])
        # Half a cell between points: the nearest one is at most a quarter of a cell too far on the rim
        # itself, and 1/32 of a cell at one cell from it.
        self._rims = [
            shapely.get_coordinates(shapely.segmentize(shape, grid.cell_size_m / 2)) for shape in self._shapes
        ]

    def link(self, window: Window, elevation: Float32) -> ReservoirLink:
        """Link the cells of `window` to their nearest reservoir; `elevation` is float32 (h, w), metres."""
        distance, nearest = self._nearest(window)
        missing = np.isnan(elevation)
        height = elevation - self._full_level_m[nearest]
        influence = (distance <= self._settings.link_distance_m) & (height <= self._settings.link_height_m)
        return ReservoirLink(
            distance=np.where(missing, np.nan, np.minimum(distance, self._cap_m)).astype(np.float32),
            height=height.astype(np.float32),
            influence=np.where(missing, np.nan, influence).astype(np.float32),
        )

    def _nearest(self, window: Window) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.intp]]:
        """Distance to, and index of, the nearest reservoir: each (h, w)."""
        shape = (int(window.height), int(window.width))
        size = self._grid.cell_size_m
        left, top = self._grid.left + window.col_off * size, self._grid.top - window.row_off * size
        box = shapely.box(left, top - shape[0] * size, left + shape[1] * size, top)
        near, far = shapely.distance(self._shapes, box), self._farthest(box)
        # A reservoir that is farther from the window's nearest cell than another is from its farthest is out.
        candidates = np.flatnonzero(near <= far.min())
        x, y = np.meshgrid(
            left + (np.arange(shape[1]) + 0.5) * size, top - (np.arange(shape[0]) + 0.5) * size
        )
        points = np.concatenate([self._rims[index] for index in candidates])
        owner = np.repeat(candidates, [len(self._rims[index]) for index in candidates])
        found = KDTree(points).query(np.stack([x.ravel(), y.ravel()], axis=1))
        distance, nearest = np.reshape(found[0], shape), owner[found[1]].reshape(shape)
        transform = Affine(size, 0, left, 0, -size, top)
        for index in candidates:
            if near[index] > 0 or shapely.get_dimensions(self._shapes[index]) < 2:
                continue
            inside = rasterize([self._shapes[index]], out_shape=shape, transform=transform, dtype="uint8") > 0
            distance[inside], nearest[inside] = 0, index
        return distance, nearest

    def _farthest(self, box: shapely.Polygon) -> npt.NDArray[np.float64]:
        """An upper bound of the distance from any place in `box` to each reservoir."""
        corners = [shapely.Point(xy) for xy in box.exterior.coords[:4]]
        # Distance to a convex hull is convex, so it is largest at a corner; the hull lies within its own
        # diameter of the reservoir.
        hulls = shapely.convex_hull(self._shapes)
        reach = np.max([shapely.distance(hulls, corner) for corner in corners], axis=0)
        return np.asarray(reach + 2 * shapely.minimum_bounding_radius(hulls))


def _full_level(values: dict[str, object], settings: ReservoirSettings) -> float:
    value = values[settings.full_level_field]
    try:
        level = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        level = float("nan")
    if not np.isfinite(level):
        raise FactorError(
            f"reservoir {values[settings.id_field]!r} of {settings.path} has no full level: "
            f"{settings.full_level_field} = {value!r}; give it in metres above sea level"
        )
    return level
