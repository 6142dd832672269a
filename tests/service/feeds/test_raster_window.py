"""Promises of windows: what is read of a raster is what the whole says there, and nothing becomes zero."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.warp import transform

from service.feeds.raster_window import PixelWindow, to_stored, window_of

WGS84, UTM = CRS.from_epsg(4326), CRS.from_epsg(32632)


def read_of(whole: npt.NDArray[Any]) -> Any:
    def read(top: int, bottom: int, left: int, right: int) -> Any:
        assert 0 <= top < bottom <= whole.shape[0]
        assert 0 <= left < right <= whole.shape[1]
        return np.ma.masked_array(whole[top:bottom, left:right])

    return read


def centres(window: PixelWindow, shape: tuple[int, ...]) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    at = window.transform
    return at.c + columns * at.a, at.f + rows * at.e


@st.composite
def bounds(draw: st.DrawFn) -> tuple[float, float, float, float]:
    west = draw(st.floats(-179, 170))
    south = draw(st.floats(-59, 55))
    width, height = draw(st.floats(0.01, 9)), draw(st.floats(0.01, 4))
    return west, south, west + width, south + height


@given(bounds(), st.sampled_from([0.5, 1.0, 2.5]), st.sampled_from([-180.0, 0.0, -20.0]), st.booleans())
def test_a_window_of_a_global_raster_says_what_the_whole_says_at_each_pixel(
    region: tuple[float, float, float, float], pixel: float, first: float, south_up: bool
) -> None:
    # Each pixel of the whole holds its own longitude and latitude, packed into one number.
    height, width = round(120 / pixel), round(360 / pixel)
    at = Affine(pixel, 0, first, 0, pixel if south_up else -pixel, -60 if south_up else 60)
    rows, columns = np.mgrid[:height, :width]
    window = window_of(region, at, WGS84, height, width)
    assert window is not None
    values = np.ma.getdata(window.read(read_of(rows * width + columns)))
    lon, lat = centres(window, values.shape)
    row = np.floor((lat - at.f) / at.e).astype(int)
    column = np.floor((lon - at.c) / at.a).astype(int) % width
    np.testing.assert_array_equal(values, row * width + column)
    # It covers the region and two pixels more, as far as the raster goes, and not a pixel beyond that.
    west, south, east, north = region
    least, most = 2 * pixel - 1e-5, 3 * pixel + 1e-5
    assert least <= west - (lon.min() - pixel / 2) <= most
    assert least <= (lon.max() + pixel / 2) - east <= most
    assert lat.min() - pixel / 2 <= max(-60.0, south - least) + 1e-6
    assert lat.max() + pixel / 2 >= min(60.0, north + least) - 1e-6
    assert values.shape[0] <= math.ceil((north - south) / pixel) + 5


@given(bounds(), st.integers(5, 60), st.integers(5, 60))
def test_a_window_of_a_part_of_the_earth_is_the_crop_of_the_whole_or_nothing(
    region: tuple[float, float, float, float], height: int, width: int
) -> None:
    at = Affine(0.25, 0, 5, 0, -0.25, 50)
    whole = np.arange(height * width).reshape(height, width)
    window = window_of(region, at, WGS84, height, width)
    west, south, east, north = region
    touches = west < 5 + 0.25 * width and east > 5 and south < 50 and north > 50 - 0.25 * height
    if window is None:
        assert not touches
        return
    assert touches
    values = np.ma.getdata(window.read(read_of(whole)))
    lon, lat = centres(window, values.shape)
    row = np.floor((50 - lat) / 0.25).astype(int)
    column = np.floor((lon - 5) / 0.25).astype(int)
    np.testing.assert_array_equal(values, whole[row, column])
    inside = (
        (5 + 0.25 * (np.arange(width) + 0.5) > west)
        & (5 + 0.25 * (np.arange(width) + 0.5) < east)
    )  # fmt: skip
    assert set(np.flatnonzero(inside)) <= set(column.ravel().tolist())


def test_a_raster_from_greenwich_eastward_is_read_across_its_seam_and_placed_where_the_region_is() -> None:
    whole = np.tile(np.arange(360.0) + 0.5, (180, 1))  # its own longitude, 0 to 360
    window = window_of((-3, 40, 3, 42), Affine(1, 0, 0, 0, -1, 90), WGS84, 180, 360)
    assert window is not None
    values = np.ma.getdata(window.read(read_of(whole)))
    lon, _ = centres(window, values.shape)
    np.testing.assert_array_equal(values, lon % 360)
    assert (lon.min(), lon.max()) == (-4.5, 4.5)


def test_a_part_that_counts_longitudes_from_greenwich_is_placed_where_the_region_is() -> None:
    # 350 to 358 E is 10 to 2 W.
    window = window_of((-6, 40, -5, 41), Affine(0.5, 0, 350, 0, -0.5, 45), WGS84, 20, 16)
    assert window is not None
    assert window.transform.c == pytest.approx(-7.0)
    assert (window.left, window.right) == (6, 12)


def test_a_projected_raster_is_windowed_around_the_bent_region() -> None:
    region = (10.9, 44.0, 12.1, 44.6)
    window = window_of(region, Affine(5000, 0, 500_000, 0, -5000, 5_100_000), UTM, 100, 100)
    assert window is not None
    edge = np.linspace(0, 1, 50)
    lon = np.concatenate([10.9 + 1.2 * edge, 10.9 + 1.2 * edge, np.full(50, 10.9), np.full(50, 12.1)])
    lat = np.concatenate([np.full(50, 44.0), np.full(50, 44.6), 44.0 + 0.6 * edge, 44.0 + 0.6 * edge])
    x, y = (np.array(axis) for axis in transform(WGS84, UTM, lon, lat))
    column, row = (x - 500_000) / 5000, (5_100_000 - y) / 5000
    assert column.min() >= window.left + 2 - 1e-6
    assert column.max() <= window.right - 2 + 1e-6
    assert row.min() >= window.top + 2 - 1e-6
    assert row.max() <= window.bottom - 2 + 1e-6


def test_a_rotated_raster_is_refused() -> None:
    with pytest.raises(ValueError, match="plain grid"):
        window_of((11, 44, 12, 45), Affine(0.1, 0.01, 10, 0.01, -0.1, 46), WGS84, 100, 100)


@given(
    st.lists(st.sampled_from([-9999, -4, 0, 1, 250, 29999]), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=30, max_size=30),
    st.sampled_from(["int16", "int32", "float32", "float64"]),
    st.sampled_from([(0.1, 0.0), (1.0, 0.0), (1000.0, 2.0)]),
)
def test_missing_stays_missing_and_nothing_else_does(
    cells: list[int], hidden: list[bool], dtype: str, packing: tuple[float, float]
) -> None:
    stored = np.array([cells]).astype(dtype)
    masked = np.ma.masked_array(stored, np.array([hidden[: len(cells)]]))
    values = to_stored(masked, (-9999.0, 29999.0), *packing)
    missing = np.ma.getmaskarray(masked) | np.isin(stored, [-9999, 29999])
    np.testing.assert_array_equal(np.isnan(values), missing)
    np.testing.assert_allclose(values[~missing], stored[~missing] * packing[0] + packing[1])


def test_a_no_data_code_is_found_in_the_files_own_precision() -> None:
    stored = np.array([[-9999.9, 0.1, np.inf, np.nan]], dtype=np.float32)
    assert np.isnan(to_stored(np.ma.masked_array(stored), (-9999.9,), 1.0, 0.0)).tolist() == [
        [True, False, True, True]
    ]
