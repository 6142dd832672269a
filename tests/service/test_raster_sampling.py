"""Promises of a raster at points: bilinear between centres, nothing invented where the pixel says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.transform import from_origin

from service.raster_sampling import RasterSampler, Sampled

UTM = CRS.from_epsg(32632)
WGS84 = CRS.from_epsg(4326)
NAN = float("nan")
# Four columns and three rows of 1 km.
PIXELS = from_origin(500_000, 4_900_000, 1000, 1000)


def sample(values: list[list[float]], *points: tuple[float, float], pixels: Affine = PIXELS) -> Sampled:
    """Sample at points given in kilometres east and south of the raster's corner."""
    xy = np.array([(500_000 + east * 1000, 4_900_000 - south * 1000) for east, south in points])
    return RasterSampler(xy, UTM).sample(np.array(values, np.float32), pixels, UTM)


def test_the_centre_of_a_pixel_has_its_value_and_no_distance() -> None:
    sampled = sample([[1, 2], [3, 4]], (0.5, 0.5), (1.5, 1.5))
    assert sampled.values.tolist() == [1, 4]
    assert sampled.distance_m.tolist() == [0, 0]


def test_between_centres_it_is_bilinear() -> None:
    assert sample([[1, 2], [3, 4]], (1.0, 1.0), (0.75, 0.5)).values.tolist() == pytest.approx([2.5, 1.25])


def test_the_distance_is_that_to_the_centre_of_the_pixel() -> None:
    assert sample([[1, 2], [3, 4]], (1.0, 0.5)).distance_m[0] == 500


def test_at_the_rim_the_outermost_centres_count() -> None:
    assert sample([[1, 3]], (0.0, 0.0), (1.99, 0.9)).values.tolist() == pytest.approx([1, 3])


def test_outside_the_raster_there_is_nothing() -> None:
    assert np.isnan(sample([[1, 2]], (-0.1, 0.5), (2.1, 0.5), (0.5, 1.1)).values).all()


def test_a_pixel_without_a_value_is_missing_and_does_not_dilute_its_neighbours() -> None:
    sampled = sample([[1, NAN, 5]], (1.2, 0.5), (0.9, 0.5), (2.1, 0.5))
    assert np.isnan(sampled.values[0])
    assert sampled.values[1:].tolist() == [1, 5]


def test_degrees_and_metres_find_the_same_pixel() -> None:
    values = np.arange(12, dtype=np.float32).reshape(3, 4)
    degrees = from_origin(9.0, 44.5, 0.25, 0.25)
    from rasterio.warp import transform

    lon, lat = [9.125, 9.625], [44.375, 44.125]
    x, y = transform(WGS84, UTM, lon, lat)
    sampled = RasterSampler(np.array([x, y]).T, UTM).sample(values, degrees, WGS84)
    assert sampled.values.tolist() == pytest.approx([0, 6], abs=1e-4)


def test_a_raster_of_another_place_is_placed_anew() -> None:
    sampler = RasterSampler(np.array([(500_500.0, 4_899_500.0)]), UTM)
    assert sampler.sample(np.array([[7]], np.float32), PIXELS, UTM).values[0] == 7
    moved = from_origin(600_000, 4_900_000, 1000, 1000)
    assert np.isnan(sampler.sample(np.array([[7]], np.float32), moved, UTM).values[0])


@given(
    st.lists(st.floats(0, 300, width=32) | st.just(NAN), min_size=12, max_size=12),
    st.floats(-0.5, 4.5),
    st.floats(-0.5, 3.5),
)
def test_a_value_lies_between_those_around_it_and_is_there_only_where_the_pixel_has_one(
    numbers: list[float], east: float, south: float
) -> None:
    table = np.array(numbers, np.float32).reshape(3, 4)
    got = sample(table.tolist(), (east, south)).values[0]
    column, row = np.floor(np.round(east, 5)), np.floor(np.round(south, 5))
    inside = 0 <= column < 4 and 0 <= row < 3
    own = table[int(row), int(column)] if inside else NAN
    assert np.isnan(got) == np.isnan(own)
    if np.isfinite(got):
        rows = slice(max(0, int(row) - 1), int(row) + 2)
        around = table[rows, max(0, int(column) - 1) : int(column) + 2]
        assert np.nanmin(around) - 1e-3 <= got <= np.nanmax(around) + 1e-3
