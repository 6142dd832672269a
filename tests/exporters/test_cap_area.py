"""Zones as polygons of CAP: few points, closed, true to the standard, and no warned ground left out."""

from __future__ import annotations

import math

import numpy as np
import pytest
import rasterio.warp
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.cap_area import Ring, zone_polygons

UTM = "EPSG:32632"
LEFT, TOP = 500_000.0, 4_900_000.0
METRE = 1 / 111_320


def star(points: int, reach_m: float, seed: int) -> shapely.Polygon:
    """A ragged outline, such as a catchment has."""
    random = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    far = reach_m * random.uniform(0.35, 1, points)
    return shapely.Polygon(np.stack([LEFT + far * np.cos(angles), TOP + far * np.sin(angles)], axis=1))


def coast(points: int, reach_m: float, seed: int) -> shapely.Polygon:
    """An outline whose bends are the smaller the more there are of them, such as a district has."""
    random = np.random.default_rng(seed)
    angles = np.linspace(0, 2 * math.pi, points, endpoint=False)
    waves = np.arange(2, points // 4)
    sizes = random.normal(size=len(waves)) * 0.3 / waves**1.2
    far = 1 + (sizes * np.cos(np.outer(angles, waves) + random.uniform(0, 6, len(waves)))).sum(axis=1)
    far = reach_m * np.clip(far, 0.2, 2)
    return shapely.Polygon(np.stack([LEFT + far * np.cos(angles), TOP + far * np.sin(angles)], axis=1))


def polygon_of(ring: Ring) -> shapely.Polygon:
    return shapely.Polygon([(lon, lat) for lat, lon in ring])


def in_degrees(geometry: shapely.Geometry, crs: str = UTM) -> shapely.Geometry:
    """The border as it runs on the ground, point by point."""
    dense = shapely.segmentize(geometry, 100)
    xy = shapely.get_coordinates(dense)
    lon, lat = rasterio.warp.transform(crs, "EPSG:4326", xy[:, 0].tolist(), xy[:, 1].tolist())
    return shapely.set_coordinates(dense, np.stack([lon, lat], axis=1))


def follows_the_standard(ring: Ring, points: int) -> bool:
    return (
        4 <= len(ring) <= points
        and ring[0] == ring[-1]
        and len(set(ring)) == len(ring) - 1
        and polygon_of(ring).is_valid
        and all(-90 <= lat <= 90 and -180 <= lon <= 180 for lat, lon in ring)
    )


@settings(max_examples=40)
@given(
    corners=st.integers(3, 400),
    reach_m=st.floats(200, 60_000),
    seed=st.integers(0, 10_000),
    points=st.integers(4, 150),
)
def test_a_zone_is_covered_by_a_ring_that_follows_the_standard(
    corners: int, reach_m: float, seed: int, points: int
) -> None:
    zone = star(corners, reach_m, seed)

    (ring,) = zone_polygons(zone, UTM, points)

    assert follows_the_standard(ring, points)
    outside = shapely.difference(in_degrees(zone), shapely.buffer(polygon_of(ring), 2 * METRE))
    assert shapely.area(outside) == pytest.approx(0, abs=1e-12)


def test_no_corner_is_lost_where_a_ring_begins() -> None:
    zone = star(268, 100_478.23440005646, seed=207)  # simplifying takes its first point away as well

    (ring,) = zone_polygons(zone, UTM, 147)

    assert shapely.covers(shapely.buffer(polygon_of(ring), 2 * METRE), in_degrees(zone))


def test_a_hundred_points_warn_little_more_than_a_district() -> None:
    zone = coast(2_000, 20_000, seed=3)

    (ring,) = zone_polygons(zone, UTM, 100)

    assert follows_the_standard(ring, 100)
    true, told = shapely.area(in_degrees(zone)), shapely.area(polygon_of(ring))
    assert true < told < 1.1 * true


def test_a_simple_zone_keeps_its_corners() -> None:
    (ring,) = zone_polygons(shapely.box(LEFT, TOP - 900, LEFT + 600, TOP), UTM, 100)

    assert len(ring) == 5
    corner = in_degrees(shapely.Point(LEFT, TOP))
    assert min(shapely.distance(corner, shapely.Point(lon, lat)) for lat, lon in ring) < METRE


def test_a_long_straight_border_needs_few_points() -> None:
    (ring,) = zone_polygons(shapely.box(LEFT, TOP - 20_000, LEFT + 20_000, TOP), UTM, 100)

    assert len(ring) < 15


def test_latitude_stands_first() -> None:
    ((lat, lon), *_) = zone_polygons(shapely.box(LEFT, TOP - 900, LEFT + 600, TOP), UTM, 100)[0]

    assert 44 < lat < 45
    assert 8.9 < lon < 9.1


def test_holes_are_warned_and_islands_are_polygons_of_their_own() -> None:
    mainland = shapely.box(LEFT, TOP - 3_000, LEFT + 3_000, TOP)
    hole = shapely.box(LEFT + 1_000, TOP - 2_000, LEFT + 2_000, TOP - 1_000)
    island = shapely.box(LEFT + 5_000, TOP - 1_000, LEFT + 6_000, TOP)
    zone = shapely.union_all([shapely.difference(mainland, hole), island])

    rings = zone_polygons(zone, UTM, 100)

    assert len(rings) == 2
    assert shapely.contains(polygon_of(rings[0]), in_degrees(hole).centroid)
    assert shapely.contains(polygon_of(rings[1]), in_degrees(island).centroid)


def test_a_zone_across_the_180th_meridian_is_cut_there() -> None:
    # UTM zone 60 ends on the meridian; the zone reaches 30 km beyond it.
    (x,), (y,) = rasterio.warp.transform("EPSG:4326", "EPSG:32760", [180.0], [-17.0])
    zone = shapely.box(x - 30_000, y - 20_000, x + 30_000, y + 20_000)

    rings = zone_polygons(zone, "EPSG:32760", 100)

    assert all(follows_the_standard(ring, 100) for ring in rings)
    west, east = sorted((polygon_of(ring).bounds for ring in rings), key=lambda bounds: bounds[0])
    assert west[0] == -180
    assert west[2] < -179.6
    assert east[2] == 180
    assert east[0] > 179.6


def test_a_zone_smaller_than_a_decimal_is_still_a_polygon() -> None:
    (ring,) = zone_polygons(shapely.box(LEFT, TOP, LEFT + 0.1, TOP + 0.1), UTM, 100)

    assert follows_the_standard(ring, 100)


def test_a_zone_without_ground_is_refused() -> None:
    with pytest.raises(ValueError, match="without ground"):
        zone_polygons(shapely.Polygon(), UTM, 100)
