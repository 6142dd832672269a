"""Zones as polygons of CAP messages: closed rings of few points that leave no warned ground out.

CAP 1.2 knows rings without holes, of WGS 84 "latitude,longitude", first pair = last. Receivers (cell
broadcast above all) take few points, so a ring is simplified; a simplified ring lies outside the zone's
border, never more than the metre of its decimals inside it.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import rasterio.warp
import shapely

Ring = tuple[tuple[float, float], ...]

_DENSE_M = 1_000.0  # a straight border of the projection is bent in degrees
_DEGREE_M = 111_320.0  # of latitude
_DECIMALS = 5  # a metre
_STRAIGHT_M = 0.5  # what bends less is straight
_FIRST_STEP_M, _STEPS = 2.0, 18  # 2 m to 262 km
_ROUNDING_M = 1.0


def zone_polygons(geometry: shapely.Geometry, crs: str, points: int) -> tuple[Ring, ...]:
    """Return rings of (latitude, longitude) that cover a zone, each of at most `points` pairs (4 or more).

    `geometry` is a (multi)polygon in the projected `crs`, metres. Holes are filled. A zone across the 180th
    meridian is cut there. The order is that of area, largest first. Raises ValueError for no ground at all.
    """
    if geometry.is_empty or not shapely.area(geometry):
        raise ValueError("a zone without ground has no polygon")
    degrees = _to_degrees(geometry, crs)
    rings: list[Ring] = []
    for half in _cut_at_date_line(degrees):
        rings += [_ring(part, points) for part in _parts(half)]
    return tuple(rings)


def _to_degrees(geometry: shapely.Geometry, crs: str) -> shapely.Geometry:
    """Return the filled outlines in degrees, (longitude, latitude); longitudes run on past 180."""
    filled = [shapely.Polygon(part.exterior) for part in _parts(geometry)]
    dense = shapely.segmentize(shapely.union_all(filled), _DENSE_M)
    xy = shapely.get_coordinates(dense)
    lon, lat = (
        np.asarray(values)
        for values in rasterio.warp.transform(crs, "EPSG:4326", xy[:, 0].tolist(), xy[:, 1].tolist())
    )
    if np.ptp(lon) > 180:
        lon = np.where(lon < 0, lon + 360, lon)
    return shapely.make_valid(shapely.set_coordinates(dense, np.stack([lon, lat], axis=1)))


def _cut_at_date_line(degrees: shapely.Geometry) -> list[shapely.Geometry]:
    if degrees.bounds[2] <= 180:
        return [degrees]
    west = shapely.intersection(degrees, shapely.box(-180, -90, 180, 90))
    east = shapely.intersection(degrees, shapely.box(180, -90, 540, 90))
    east = shapely.transform(east, lambda points: points - [360, 0])
    return [half for half in (west, east) if shapely.area(half)]


def _ring(part: shapely.Polygon, points: int) -> Ring:
    """Return one outline with few enough points, by the smallest widening that allows it."""
    scale = np.array([math.cos(math.radians((part.bounds[1] + part.bounds[3]) / 2)), 1.0])
    plane = shapely.transform(part, lambda xy: xy * scale)
    plain = shapely.simplify(plane, _STRAIGHT_M / _DEGREE_M, preserve_topology=True)
    if len(plain.exterior.coords) <= points and (ring := _closed(plain, scale)):
        return ring
    for step in range(_STEPS):
        reach = _FIRST_STEP_M * 2**step / _DEGREE_M
        # Widened by as much as simplifying may cut off, and by what rounding may.
        margin = reach + _ROUNDING_M / _DEGREE_M
        wide = shapely.buffer(plane, margin, join_style="mitre", mitre_limit=2.0)
        simple = shapely.simplify(shapely.Polygon(wide.exterior), reach, preserve_topology=True)
        if len(simple.exterior.coords) > points:
            continue
        # Taking the first point of a ring away, too, may cut off more than `reach`.
        if shapely.covers(simple, plane) and (ring := _closed(simple, scale)):
            return ring
    if points == 4:
        return _triangle(plane, scale)
    return _closed(shapely.box(*shapely.buffer(plane, _ROUNDING_M / _DEGREE_M).bounds), scale)


def _triangle(plane: shapely.Polygon, scale: npt.NDArray[np.float64]) -> Ring:
    """Return a triangle around a polygon's bounds: all that four pairs can say of any shape."""
    left, bottom, right, top = plane.bounds
    width, height, edge = right - left, top - bottom, _ROUNDING_M / _DEGREE_M
    corners = [
        (left - width / 2 - 3 * edge, bottom - edge),
        (right + width / 2 + 3 * edge, bottom - edge),
        ((left + right) / 2, top + height + 3 * edge),
    ]
    return _closed(shapely.Polygon(corners), scale)


def _closed(plane: shapely.Polygon, scale: npt.NDArray[np.float64]) -> Ring:
    """Return a polygon's outline as a rounded ring, counter-clockwise; empty where rounding breaks it."""
    xy = np.round(shapely.get_coordinates(plane.exterior) / scale, _DECIMALS) + 0.0
    xy[:, 0] = np.clip(xy[:, 0], -180, 180)
    xy[:, 1] = np.clip(xy[:, 1], -90, 90)
    kept = xy[np.append(True, (np.diff(xy, axis=0) != 0).any(axis=1))]
    if len(kept) < 4 or not shapely.Polygon(kept).is_valid:
        return ()
    turned = shapely.get_coordinates(shapely.geometry.polygon.orient(shapely.Polygon(kept)))
    return tuple((float(lat), float(lon)) for lon, lat in turned)


def _parts(geometry: shapely.Geometry) -> list[shapely.Polygon]:
    parts = [
        part
        for part in shapely.get_parts(shapely.make_valid(geometry), return_index=False)
        for part in shapely.get_parts(part)
        if part.geom_type == "Polygon" and shapely.area(part) > 0
    ]
    return sorted(parts, key=shapely.area, reverse=True)
