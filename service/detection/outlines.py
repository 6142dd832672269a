"""Outlines of what was found, and of the ground that was seen, from stored probabilities."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from rasterio.crs import CRS
from rasterio.features import geometry_mask, shapes
from rasterio.warp import transform as to_crs
from scipy.ndimage import binary_dilation

from service.detection.findings import Detection, Geometry

TOP, UNSEEN = 250, 255  # stored = probability x 250; 255: not seen
_WGS84 = CRS.from_epsg(4326)
_DECIMALS = 7  # of a degree: a centimetre
_SEEN_CELLS = (
    1500  # along the longer side, on which seen ground is outlined: speckle makes millions of corners
)

Stored = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Outline:
    """A detection with its polygon in the scene's CRS, corners at most half a cell off the cells' own."""

    polygon: shapely.Polygon
    detection: Detection


@dataclass(frozen=True)
class Place:
    """Where a raster of a scene lies, and what makes a detection's uid."""

    crs: CRS
    transform: Affine
    scene: str
    detector_digest: str


def store(probability: npt.NDArray[np.float32]) -> Stored:
    """Return probabilities, NaN where unseen, as they are kept: x 250, 255 unseen."""
    known = np.isfinite(probability)
    return np.where(known, np.rint(np.nan_to_num(probability) * TOP), UNSEEN).astype(np.uint8)


def find_outlines(stored: Stored, threshold: float, min_area_m2: float, place: Place) -> tuple[Outline, ...]:
    """Return the outlines of cells (4-connected) at or above a threshold, the largest first.

    `stored` is (height, width); the threshold is held against the probabilities as they are kept.
    """
    cell = place.transform.a**2
    lowest = max(1, math.ceil(threshold * TOP - 1e-6))  # what is kept as 0 is above no threshold
    above = (stored >= lowest) & (stored <= TOP)
    polygons = []  # in columns and rows
    for shape, _ in shapes(above.view(np.uint8), mask=above, connectivity=4):
        polygon = shapely.Polygon(shape["coordinates"][0], shape["coordinates"][1:])
        if polygon.area * cell >= min_area_m2:
            polygons.append(polygon)
    found = _outlines(polygons, stored, place)
    return tuple(sorted(found, key=lambda one: (-one.detection.area_m2, one.detection.uid)))


def seen_shape(stored: Stored, place: Place) -> shapely.MultiPolygon:
    """Return the ground that was seen, in the scene's CRS.

    Of a large scene in squares of several cells, of which at least half were seen; cell by cell it stands in
    the raster.
    """
    height, width = stored.shape
    side = max(1, math.ceil(max(height, width) / _SEEN_CELLS))
    if side == 1:
        seen = stored != UNSEEN
    else:
        counts = np.add.reduceat(
            np.add.reduceat(
                (stored != UNSEEN).view(np.uint8), np.arange(0, height, side), 0, dtype=np.uint16
            ),
            np.arange(0, width, side),
            1,
            dtype=np.uint16,
        )
        rows = np.minimum(side, height - np.arange(0, height, side))
        columns = np.minimum(side, width - np.arange(0, width, side))
        seen = 2 * counts >= np.outer(rows, columns)
    polygons = []
    for shape, _ in shapes(seen.view(np.uint8), mask=seen, connectivity=4):
        rings = [np.minimum(np.array(ring) * side, (width, height)) for ring in shape["coordinates"]]
        polygons.append(shapely.Polygon(rings[0], rings[1:]))
    return shapely.MultiPolygon([_placed(one, place.transform) for one in polygons])


def to_geojson(shape: Any, crs: CRS) -> Geometry:
    """Return a polygon or multipolygon in EPSG:4326 as GeoJSON, outer rings counter-clockwise."""
    return _geojson(np.array([shape], np.object_), crs)[0]


def _geojson(several: npt.NDArray[np.object_], crs: CRS) -> list[Geometry]:
    def moved(places: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.column_stack(to_crs(crs, _WGS84, *places.T)).round(_DECIMALS)

    turned = shapely.orient_polygons(shapely.transform(several, moved))
    return [dict(json.loads(text)) for text in shapely.to_geojson(turned)]


def _outlines(polygons: list[shapely.Polygon], stored: Stored, place: Place) -> Iterator[Outline]:
    """Measure polygons that follow the cells' edges, in columns and rows."""
    if not polygons:
        return
    # Half a cell, and in cells: simplified before it is placed, so that the same cells give the same outline.
    simple = shapely.normalize(_placed(shapely.simplify(polygons, 0.5), place.transform))
    points = shapely.get_coordinates(shapely.point_on_surface(simple))
    lon, lat = (np.round(values, _DECIMALS).tolist() for values in to_crs(place.crs, _WGS84, *points.T))
    written = shapely.to_wkb(simple, byte_order=1)
    for number, (polygon, geometry) in enumerate(zip(polygons, _geojson(simple, place.crs), strict=True)):
        values, touches = _measured(polygon, stored)
        said = place.scene.encode(), place.detector_digest.encode(), written[number]
        found = Detection(
            uid=hashlib.sha256(b"\0".join(said)).hexdigest()[:32],
            outline=geometry,
            lon=lon[number],
            lat=lat[number],
            area_m2=len(values) * place.transform.a**2,
            confidence=round(float(values.mean()), 6),
            highest=round(float(values.max()), 6),
            touches_unseen=touches,
        )
        yield Outline(simple[number], found)


def _measured(polygon: shapely.Polygon, stored: Stored) -> tuple[npt.NDArray[np.float64], bool]:
    """Return the probabilities inside, (n,), and whether a neighbouring cell was not seen."""
    left, top, right, bottom = (int(bound) for bound in polygon.bounds)
    # With one cell around it, to see what it touches; beyond the scene's edge nothing was seen.
    around = np.full((bottom - top + 2, right - left + 2), UNSEEN, np.uint8)
    first, west = max(top - 1, 0), max(left - 1, 0)
    part = stored[first : bottom + 1, west : right + 1]
    around[first - top + 1 :, west - left + 1 :][: part.shape[0], : part.shape[1]] = part
    inside = geometry_mask([polygon], around.shape, Affine.translation(left - 1, top - 1), invert=True)
    touches = (binary_dilation(inside) & (around == UNSEEN)).any()
    return around[inside].astype(np.float64) / TOP, bool(touches)


def _placed(shape: Any, transform: Affine) -> Any:
    """Bring columns and rows into the scene's CRS."""
    scale, origin = np.array([transform.a, transform.e]), np.array([transform.c, transform.f])
    return shapely.transform(shape, lambda places: places * scale + origin)
