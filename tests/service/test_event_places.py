"""Metres around a place: as a projection gives them, within what outlines need."""

from __future__ import annotations

import math

import pytest
import rasterio.warp
import shapely
from hypothesis import given
from hypothesis import strategies as st

from service.event_places import area_m2, circle, distance_m, farthest_m, same_ground, shape_of, to_geojson


@given(lat=st.floats(-75, 75), east=st.floats(-0.02, 0.02), north=st.floats(-0.02, 0.02))
def test_distances_are_those_of_a_projection(lat: float, east: float, north: float) -> None:
    """UTM shortens by 0.04 % on its middle meridian, 9 degrees east in zone 32."""
    place = shapely.Point(9 + east, lat + north)
    zone = "EPSG:32632" if lat >= 0 else "EPSG:32732"
    x, y = rasterio.warp.transform("EPSG:4326", zone, [9, place.x], [lat, place.y])
    projected = math.hypot(x[1] - x[0], y[1] - y[0]) / 0.9996
    assert farthest_m(place, 9, lat) == pytest.approx(projected, rel=2e-3, abs=0.1)


@given(lat=st.floats(-75, 75), radius=st.floats(2, 20_000))
def test_a_circle_reaches_as_far_as_it_says(lat: float, radius: float) -> None:
    ground = circle(9, lat, radius)
    assert farthest_m(ground, 9, lat) == pytest.approx(radius, rel=1e-6)
    # Its area is taken at its centroid, which is its centre.
    assert area_m2(ground) == pytest.approx(math.pi * radius**2, rel=5e-3)


def test_a_place_has_some_ground_however_exact_it_is() -> None:
    assert area_m2(circle(9, 45, 0.0)) > 3


def test_what_two_outlines_share_is_told_of_the_smaller() -> None:
    small, large = shapely.box(0, 0, 1, 1), shapely.box(0.5, 0, 10, 1)
    assert same_ground(small, large) == same_ground(large, small) == pytest.approx(0.5)
    assert same_ground(small, shapely.box(2, 2, 3, 3)) == 0.0


def test_a_place_within_an_outline_is_no_distance_away() -> None:
    box = shapely.box(9, 45, 9.001, 45.001)
    assert distance_m(box, 9.0005, 45.0005) == 0.0
    assert distance_m(box, 9.0005, 45.002) == pytest.approx(111.1, abs=0.3)


def test_outer_rings_turn_as_geojson_asks() -> None:
    ring = to_geojson(shapely.box(9, 45, 9.001, 45.001, ccw=False))["coordinates"][0]
    assert shapely.LinearRing(ring).is_ccw


def test_a_ring_that_crosses_itself_becomes_an_outline_and_what_is_none_is_refused() -> None:
    bow = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    assert shape_of(bow).area == pytest.approx(0.5)
    for wrong in ({}, {"type": "Polygon"}, {"type": "Place", "coordinates": [0, 0]}):
        with pytest.raises(ValueError, match="GeoJSON"):
            shape_of(wrong)
