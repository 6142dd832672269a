"""Places of events in metres around them, and what two outlines have in common.

Within some tens of kilometres a degree is a constant length: of the WGS 84 ellipsoid at that latitude, by the
series in Snyder (1987, Map Projections, p. 25). Outlines across the 180th meridian are not supported.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
import shapely.geometry

FloatArray = npt.NDArray[np.float64]

_CORNERS = 48  # of a circle: its area is 0.3 % short


def shape_of(geometry: dict[str, Any]) -> shapely.Geometry:
    """Return GeoJSON as a geometry; made valid where rings cross. Raises ValueError for what is none."""
    try:
        shape = shapely.geometry.shape(geometry)
    except (KeyError, TypeError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise ValueError(f"not a GeoJSON geometry: {error}") from error
    return shape if shape.is_valid else shapely.make_valid(shape)


def to_geojson(shape: shapely.Geometry, decimals: int = 7) -> dict[str, Any]:
    """Return a geometry as GeoJSON, outer rings counter-clockwise (RFC 7946); 7 decimals are a centimetre."""
    rounded = shapely.set_precision(shape, 10.0**-decimals)
    mapped: dict[str, Any] = shapely.geometry.mapping(shapely.orient_polygons(rounded))
    return mapped


def metres_per_degree(lat: float) -> tuple[float, float]:
    """Return the length of a degree of longitude and of latitude, metres."""
    phi = math.radians(lat)
    east = 111_412.84 * math.cos(phi) - 93.5 * math.cos(3 * phi) + 0.118 * math.cos(5 * phi)
    north = 111_132.92 - 559.82 * math.cos(2 * phi) + 1.175 * math.cos(4 * phi)
    return east, north


def in_metres(shape: shapely.Geometry, lon: float, lat: float) -> shapely.Geometry:
    """Return a geometry in degrees as metres east and north of a place."""
    scale = np.array(metres_per_degree(lat))
    return shapely.transform(shape, lambda xy: (xy - (lon, lat)) * scale)


def circle(lon: float, lat: float, radius_m: float) -> shapely.Polygon:
    """Return the ground within `radius_m` of a place, in degrees; at least a metre."""
    east, north = metres_per_degree(lat)
    turns = np.linspace(0, 2 * math.pi, _CORNERS, endpoint=False)
    radius = max(radius_m, 1.0)
    return shapely.Polygon(
        np.column_stack([lon + radius / east * np.cos(turns), lat + radius / north * np.sin(turns)])
    )


def farthest_m(outline: shapely.Geometry, lon: float, lat: float) -> float:
    """Return how far the farthest corner of an outline lies from a place, metres."""
    xy: FloatArray = shapely.get_coordinates(in_metres(outline, lon, lat))
    return float(np.hypot(xy[:, 0], xy[:, 1]).max())


def area_m2(outline: shapely.Geometry) -> float:
    """Return the area of an outline in degrees, square metres."""
    centre = outline.centroid
    return float(in_metres(outline, centre.x, centre.y).area)


def same_ground(one: shapely.Geometry, other: shapely.Geometry) -> float:
    """Return the share of the smaller outline that the other covers, 0 to 1."""
    smaller = min(one.area, other.area)
    return float(one.intersection(other).area / smaller) if smaller > 0 else 0.0


def distance_m(outline: shapely.Geometry, lon: float, lat: float) -> float:
    """Return how far a place lies from an outline, metres; 0 within it."""
    return float(shapely.Point(0, 0).distance(in_metres(outline, lon, lat)))
