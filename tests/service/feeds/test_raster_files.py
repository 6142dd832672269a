"""Promises of raster files: only what is needed is fetched, in any form, and a day is all of its steps."""

from __future__ import annotations

import gzip
import os
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from service.feeds.base import FeedFault
from service.feeds.raster_templates import steps_of
from tests.fix_rasters import (
    DAILY,
    MARCH,
    SHAPE,
    context,
    day_path,
    fetch,
    netcdf,
    of_region,
    rain,
    raster_feed,
    serving,
    tiff,
)

# --- ways of reading ---


def test_only_the_regions_part_of_a_file_is_fetched_where_the_server_gives_ranges(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((1600, 3200), dtype=np.float32)
    tiled = {"tiled": True, "blockxsize": 256, "blockysize": 256}
    body = tiff(values, west=-180, north=80, pixel=0.1, **tiled)
    expected = values[348:362, 1908:1922]
    with serving({day_path(9): body}) as server:
        feed = raster_feed(url=server.url + DAILY, lookback_days=1)
        found, _ = fetch(feed, context(tmp_path))
        np.testing.assert_array_equal(found[MARCH[8]].values, expected)
        assert server.sent_bytes < len(body) / 10
        server.ranges, server.sent_bytes = False, 0
        found, _ = fetch(feed, context(tmp_path))
        np.testing.assert_array_equal(found[MARCH[8]].values, expected)
        assert server.sent_bytes >= len(body)


def test_a_file_of_strips_costs_few_requests(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((1600, 3200), dtype=np.float32)
    body = tiff(values, west=-180, north=80, pixel=0.1)
    with serving({day_path(9): body}) as server:
        feed = raster_feed(url=server.url + DAILY, lookback_days=1)
        bounds = (11.0, 20.0, 12.0, 60.0)
        found, _ = fetch(feed, context(tmp_path, bounds=lambda: bounds))
        np.testing.assert_array_equal(found[MARCH[8]].values, values[198:602, 1908:1922])
        assert len(server.asked) < 12  # 404 strips of 12.8 kB
        assert server.sent_bytes < len(body)


def test_feeds_that_are_fetched_side_by_side_do_not_read_each_others_files(tmp_path: Path) -> None:
    def days_of(number: int) -> list[list[float]]:
        feed = raster_feed(name=f"f{number}", url=f"{server.url}/{number}/{{day:%d}}")
        found, _ = fetch(feed, context(tmp_path / str(number)))
        return [np.unique(grid.values).tolist() for grid in found.values()]

    files = {
        f"/{number}/{day:02d}": tiff(np.full(SHAPE, 100 * number + day, dtype=np.float32))
        for number in range(4)
        for day in range(6, 10)
    }
    with serving(files) as server, ThreadPoolExecutor(4) as pool:
        for number, found in enumerate(pool.map(days_of, range(4))):
            assert found == [[100.0 * number + day] for day in range(6, 10)]


def test_a_key_written_into_the_address_is_shown_nowhere(tmp_path: Path) -> None:
    spoilt, key = rain(9), "?api_key=s3cret"
    spoilt[8, 8] = -7
    with serving({day_path(9) + key: tiff(spoilt), day_path(8) + key: b"<html>no</html>"}) as server:
        found, batch = fetch(raster_feed(url=server.url + DAILY + key), context(tmp_path))
    with serving() as server, pytest.raises(FeedFault) as caught:
        fetch(raster_feed(url=server.url + DAILY + key), context(tmp_path))
    shown = [found[MARCH[8]].source, str(caught.value), *(problem.message for problem in batch.problems)]
    assert len(shown) == 4
    assert not [text for text in shown if "s3cret" in text]


def test_a_server_that_fails_in_the_middle_of_a_file_brings_no_half_day(tmp_path: Path) -> None:
    values = np.random.default_rng(1).random((1600, 3200), dtype=np.float32)
    body = tiff(values, west=-180, north=80, pixel=0.1)
    with serving({day_path(9): body}) as server:

        class Short(bytes):
            """Says its length, and ends earlier."""

            def __getitem__(self, key: Any) -> Any:
                part = super().__getitem__(key)
                return part if key.start == 0 else part[:100]

        server.files[day_path(9)] = Short(body)
        feed = raster_feed(url=server.url + DAILY, lookback_days=1, http={"retries": 0})
        with pytest.raises(FeedFault) as caught:
            fetch(feed, context(tmp_path))
        assert caught.value.reason == "truncated"


def test_packed_files_are_fetched_whole_and_bounded(tmp_path: Path) -> None:
    body = gzip.compress(tiff(rain(9)))
    with serving({day_path(9) + ".gz": body}) as server:
        feed = raster_feed(url=server.url + DAILY + ".gz")
        found, _ = fetch(feed, context(tmp_path))
        np.testing.assert_array_equal(found[MARCH[8]].values, of_region(rain(9)))
        small = raster_feed(url=server.url + DAILY + ".gz", http={"max_bytes": len(body) + 100})
        with pytest.raises(FeedFault) as caught:
            fetch(small, context(tmp_path))
        assert caught.value.reason == "too_large"
    assert not [path for path in (tmp_path / "feed").iterdir() if path.name.endswith(".part")]


def test_a_flat_file_is_read_by_its_layout_and_refused_where_it_is_short(tmp_path: Path) -> None:
    values = rain(1).astype(">f4")
    (tmp_path / "20260309.dat").write_bytes(values.tobytes())
    (tmp_path / "20260308.dat").write_bytes(values.tobytes()[:-4])
    layout = {"width": 20, "height": 16, "byte_order": "big", "west": 9.0, "north": 47.0, "pixel": 0.25}
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.dat"), format="raw", raw=layout, crs="EPSG:4326")
    found, batch = fetch(feed, context(tmp_path))
    np.testing.assert_array_equal(found[MARCH[8]].values, of_region(rain(1)))
    assert [problem.reason for problem in batch.problems] == ["truncated"]


# --- steps of a day ---


def test_steps_are_summed_over_the_regions_day_and_every_one_must_be_there(tmp_path: Path) -> None:
    # Six-hourly bands of the UTC day; in Tokyo, 9 hours ahead, a day is the last 2 of one and 2 of the next.
    bands = {day: np.stack([rain(10 * day + step) for step in range(4)]) for day in (6, 7, 8)}
    for day, values in bands.items():
        (tmp_path / f"202603{day:02d}.tif").write_bytes(tiff(values))
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.tif"), step_hours=6, band="step")
    found, batch = fetch(feed, context(tmp_path, region_timezone=ZoneInfo("Asia/Tokyo")))
    assert list(found) == [MARCH[6], MARCH[7]]
    expected = bands[6][2:].sum(axis=0, dtype=np.float64) + bands[7][:2].sum(axis=0, dtype=np.float64)
    np.testing.assert_allclose(found[MARCH[6]].values, of_region(expected), rtol=1e-6)
    assert found[MARCH[6]].ends_at == "2026-03-07T12:00:00.000000Z"
    assert [problem.reason for problem in batch.problems] == ["incomplete"]
    assert "2026-03-09 00:00 UTC" in batch.problems[0].message


def test_a_pixel_that_misses_one_step_misses_the_day(tmp_path: Path) -> None:
    values = np.ones((2, *SHAPE), dtype=np.float32)
    values[1, 8, 8] = -9999
    (tmp_path / "20260309.tif").write_bytes(tiff(values))
    feed = raster_feed(
        path=str(tmp_path / "{day:%Y%m%d}.tif"), step_hours=12, band="step", nodata=[-9999], unit="mm/h"
    )
    grid = fetch(feed, context(tmp_path))[0][MARCH[8]]
    assert np.isnan(grid.values[2, 2])
    assert np.nansum(grid.values) == 63 * 24


def test_hours_of_a_netcdf_file_that_accumulate_over_the_day_are_told_apart(tmp_path: Path) -> None:
    hourly = np.random.default_rng(3).gamma(0.3, 1, (72, *SHAPE))  # mm in the hours from 7 March 00 UTC
    since_midnight = np.concatenate([part.cumsum(axis=0) for part in np.split(hourly, 3)]) / 1000
    netcdf(
        tmp_path / "drop/any name.nc",
        since_midnight.astype(np.float32),
        list(range(1, 73)),
        "hours since 2026-03-07 00:00:00",
    )
    feed = raster_feed(
        path=str(tmp_path / "drop/*.nc"), format="netcdf", field="tp", unit="m", step_hours=1,
        band_time="end", accumulated="day", crs="EPSG:4326",
    )  # fmt: skip
    told = context(tmp_path, region_timezone=ZoneInfo("Asia/Kolkata"))  # 5:30 ahead
    found, _ = fetch(feed, told)
    # The day begins at 18:30 UTC, the middle of the hour from 18 to 19, which is its first.
    assert list(found) == [MARCH[7], MARCH[8]]
    np.testing.assert_allclose(found[MARCH[7]].values, of_region(hourly[18:42].sum(axis=0)), atol=0.01)
    utc, _ = fetch(feed, context(tmp_path))
    assert list(utc) == MARCH[6:9]
    np.testing.assert_allclose(utc[MARCH[8]].values, of_region(hourly[48:].sum(axis=0)), atol=0.01)


def test_of_two_files_with_the_same_hour_the_one_changed_last_counts(tmp_path: Path) -> None:
    for number, name in enumerate(("z", "a")):
        path = netcdf(
            tmp_path / f"drop/{name}.nc",
            np.full((1, *SHAPE), number + 1.0, dtype=np.float32),
            [0],
            "days since 2026-03-09",
        )
        os.utime(path, (1000 + number, 1000 + number))
    (tmp_path / "drop/broken.nc").write_bytes(b"CDF\x01 no more")
    feed = raster_feed(path=str(tmp_path / "drop/*.nc"), format="netcdf", crs="EPSG:4326")
    found, batch = fetch(feed, context(tmp_path))
    assert np.unique(found[MARCH[8]].values).tolist() == [2.0]
    assert [problem.reason for problem in batch.problems] == ["format"]


def test_a_packed_netcdf_file_brings_its_own_scale_and_no_data(tmp_path: Path) -> None:
    stored = np.full((1, *SHAPE), 1500, dtype=np.int16)
    stored[0, 8, 8] = -32767
    netcdf(
        tmp_path / "20260309.nc", stored, [0], "days since 2026-03-09",
        scale_factor=0.01, add_offset=5.0, _FillValue=np.int16(-32767),
    )  # fmt: skip
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.nc"), format="netcdf", crs="EPSG:4326")
    grid = fetch(feed, context(tmp_path))[0][MARCH[8]]
    assert np.isnan(grid.values[2, 2])
    assert np.nanmax(grid.values) == np.nanmin(grid.values) == pytest.approx(20.0)


@pytest.mark.parametrize("rows", ["from the north", "from the south"])
@pytest.mark.parametrize("west", [0.0, -180.0, -5.0])
def test_a_netcdf_file_may_count_its_rows_and_longitudes_either_way(
    tmp_path: Path, west: float, rows: str
) -> None:
    width = 20 if west == -5.0 else 360
    lon, lat = west + 0.5 + np.arange(width), 59.5 - np.arange(30)
    values = (100 + lat[:, None] + np.mod(lon, 360) / 1000).astype(np.float32)
    upward = rows == "from the south"
    netcdf(
        tmp_path / "20260309.nc",
        (values[::-1] if upward else values)[None],
        [0],
        "days since 2026-03-09",
        west=west,
        north=30.0 if upward else 60.0,
        pixel=1.0,
        row=1.0 if upward else -1.0,
    )
    feed = raster_feed(path=str(tmp_path / "{day:%Y%m%d}.nc"), format="netcdf", crs="EPSG:4326")
    bounds = (-3.0, 44.0, 2.0, 46.0)
    found, _ = fetch(feed, context(tmp_path, bounds=lambda: bounds))
    grid = found[MARCH[8]]
    height, width = grid.values.shape
    at_lon = grid.transform.c + grid.transform.a * (np.arange(width) + 0.5)
    at_lat = grid.transform.f + grid.transform.e * (np.arange(height) + 0.5)
    np.testing.assert_allclose(grid.values, 100 + at_lat[:, None] + np.mod(at_lon, 360) / 1000, rtol=1e-6)
    assert (at_lon[0], at_lon[-1]) == pytest.approx((-4.5, 3.5))
    assert sorted((at_lat[0], at_lat[-1])) == pytest.approx([42.5, 47.5])


@pytest.mark.parametrize("zone", ["UTC", "Europe/Rome", "Asia/Kolkata", "Pacific/Auckland", "America/Lima"])
@pytest.mark.parametrize("hours", [0.5, 1, 3, 24])
def test_every_step_belongs_to_one_day_of_the_region_and_no_day_lacks_any(zone: str, hours: float) -> None:
    days = [date(2026, 3, 20) + timedelta(days=n) for n in range(20)]
    utc, region = ZoneInfo("UTC"), ZoneInfo(zone)
    steps = [step for day in days for step in steps_of(day, utc, datetime.min.time(), region, hours)]
    assert all(after.start == before.end for before, after in pairwise(steps))
    assert len(steps) > (20 * 24 - 1) / hours - 1
