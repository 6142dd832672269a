"""Each service's published format, with the truth in it.

The shapes are held against recorded real replies where ../shared/data has one, else against the published
description of the format, which each module of service.simulator names.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import os
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.io import MemoryFile
from scipy.io import netcdf_file

from service.simulator.hourly import SHARES
from service.simulator.rasters import CHIRPS_FINAL, IMERG_LATE
from service.simulator.view import FEET
from service.simulator.water import storage_m3
from tests.fix_simulator import TODAY, TRUTH, Clock, get, simulating

SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", Path(__file__).parents[4] / "shared" / "data"))
GAUGE, DAM = TRUTH.gauges[0], TRUTH.reservoirs[0]
YESTERDAY = TODAY - timedelta(days=1)
SINCE = TODAY - timedelta(days=20)
WEEK = [YESTERDAY - timedelta(days=number) for number in range(6, -1, -1)]


def ask(feed: str, path: str, **more: Any) -> bytes:
    """Return what a feed answers, late in the evening of TODAY unless a clock is given."""
    with simulating(**more) as simulator:
        answer = get(f"{simulator.address(feed)}/{path}")
        assert answer.status == 200, answer.body
        return answer.body


def recorded(name: str) -> Any:
    path = SHARED / name
    if not path.exists():
        pytest.skip(f"{path} is not here; COLLUVIUM_SHARED_DATA says where")
    return json.loads(path.read_text("utf-8"))


def shape(value: Any) -> Any:
    """Return the keys and types of JSON, of lists those of the first item; a number is a number."""
    if isinstance(value, dict):
        return {name: shape(item) for name, item in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return (
        "number" if isinstance(value, int | float) and not isinstance(value, bool) else type(value).__name__
    )


def rain(day: date) -> float:
    return TRUTH.gauge_rain(day, GAUGE)


# --- Open-Meteo ---

POINT = f"latitude={GAUGE.lat}&longitude={GAUGE.lon}&daily=precipitation_sum&timezone=UTC"


def test_open_meteo_has_the_shape_of_a_recorded_reply() -> None:
    reply = json.loads(ask("open_meteo", f"v1/forecast?{POINT}"))
    assert shape(reply) == shape(recorded("feeds/openmeteo_daily_beijing_2026-03-31.json"))


def test_open_meteo_tells_past_days_as_they_were_and_forecasts_the_rest() -> None:
    reply = json.loads(ask("open_meteo", f"v1/forecast?{POINT}&past_days=90&forecast_days=16"))
    days = [date.fromisoformat(day) for day in reply["daily"]["time"]]
    values = reply["daily"]["precipitation_sum"]
    assert days == [TODAY + timedelta(days=number) for number in range(-90, 16)]
    assert values[:90] == [rain(day) for day in days[:90]]
    ahead = [(value, rain(day)) for value, day in zip(values[90:], days[90:], strict=True)]
    assert any(value != true for value, true in ahead)
    assert all((value > 0) == (true > 0) for value, true in ahead)


def test_open_meteo_takes_many_points_and_a_span_of_days() -> None:
    lats = ",".join(str(gauge.lat) for gauge in TRUTH.gauges)
    lons = ",".join(str(gauge.lon) for gauge in TRUTH.gauges)
    reply = json.loads(
        ask("open_meteo", f"v1/forecast?latitude={lats}&longitude={lons}"
            f"&daily=precipitation_sum&timezone=auto&start_date={SINCE}&end_date={YESTERDAY}")
    )  # fmt: skip
    assert [place.get("location_id", 0) for place in reply] == list(range(len(TRUTH.gauges)))
    for gauge, place in zip(TRUTH.gauges, reply, strict=True):
        days = map(date.fromisoformat, place["daily"]["time"])
        assert place["daily"]["precipitation_sum"] == [TRUTH.gauge_rain(day, gauge) for day in days]


def test_the_ensembles_members_part_with_the_lead_and_stay_the_same_within_an_issue() -> None:
    wet = next(
        day for day in (TODAY + timedelta(days=n) for n in range(200)) if min(map(rain, spell(day))) > 1
    )
    clock = Clock(wet, hour=7)
    path = f"v1/ensemble?{POINT}&forecast_days=2"
    first = json.loads(ask("open_meteo_ensemble", path, clock=clock))["daily"]
    members = np.array([values for name, values in first.items() if name.startswith("precipitation_sum")])
    assert members.shape == (31, 2)
    ratio = members / [rain(day) for day in spell(wet)]
    assert ratio[:, 1].std() > ratio[:, 0].std() > 0
    clock.now += timedelta(hours=4)
    assert json.loads(ask("open_meteo_ensemble", path, clock=clock))["daily"] == first
    clock.now += timedelta(hours=4)
    assert json.loads(ask("open_meteo_ensemble", path, clock=clock))["daily"] != first


def spell(day: date) -> list[date]:
    return [day, day + timedelta(days=1)]


# --- levels ---


def test_nwis_has_the_shape_of_a_recorded_reply_and_feet_in_it() -> None:
    reply = json.loads(
        ask(
            "usgs_nwis",
            f"nwis/dv/?format=json&sites={DAM.id}&parameterCd=62614&startDT={WEEK[0]}&endDT={WEEK[-1]}",
        )
    )
    (series,) = reply["value"]["timeSeries"]
    (block,) = series["values"]
    assert [item["dateTime"] for item in block["value"]] == [f"{day}T00:00:00.000" for day in WEEK]
    for item, day in zip(block["value"], WEEK, strict=True):
        assert float(item["value"]) / FEET == pytest.approx(TRUTH.level(day, DAM), abs=0.002)
    real = recorded("feeds/usgs_nwis_dv_01585200_2018.json")["value"]["timeSeries"][0]
    assert shape(block["value"]) == shape(real["values"][0]["value"])
    assert set(shape(series)) <= set(shape(real))
    for path in (("sourceInfo", "siteCode"), ("sourceInfo", "geoLocation"), ("variable", "unit")):
        assert shape(series[path[0]][path[1]]).__class__ is shape(real[path[0]][path[1]]).__class__


def test_the_usgs_water_data_api_pages_through_its_features() -> None:
    path = (
        f"ogcapi/v0/collections/daily/items?f=json&parameter_code=62614&limit=4&time={WEEK[0]}/{WEEK[-1]}"
        f"&monitoring_location_id=USGS-{DAM.id},USGS-{TRUTH.reservoirs[1].id}"
    )
    found: dict[tuple[str, str], float] = {}
    pages = 0
    with simulating() as simulator:
        url: str | None = f"{simulator.address('usgs_water_data')}/{path}"
        while url:
            page = json.loads(get(url).body)
            assert page["type"] == "FeatureCollection"
            assert page["numberReturned"] == len(page["features"]) <= 4
            for feature in page["features"]:
                values = feature["properties"]
                assert values["unit_of_measure"] == "ft"
                found[values["monitoring_location_id"], values["time"]] = float(values["value"]) / FEET
            url = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
            pages += 1
    assert pages == 4
    assert len(found) == 14
    assert found[f"USGS-{DAM.id}", str(WEEK[3])] == pytest.approx(TRUTH.level(WEEK[3], DAM), abs=0.002)


@pytest.mark.parametrize(("feed", "sensor"), [("cdec_elevation", 6), ("cdec_storage", 15)])
def test_cdec_has_a_row_a_day_and_a_code_where_it_has_no_value(feed: str, sensor: int) -> None:
    rows = json.loads(
        ask(feed, f"dynamicapp/req/JSONDataServlet?Stations={DAM.id}&SensorNums={sensor}&dur_code=D"
            f"&Start={WEEK[0]}&End={TODAY}")
    )  # fmt: skip
    assert [row["date"] for row in rows] == [
        f"{day.year}-{day.month}-{day.day} 00:00" for day in [*WEEK, TODAY]
    ]
    assert rows[-1]["value"] == -9999
    level = TRUTH.level(WEEK[0], DAM)
    if sensor == 6:
        assert rows[0]["value"] / FEET == pytest.approx(level, abs=0.002)
    else:
        assert rows[0]["value"] * 1233.48184 == pytest.approx(storage_m3(level, DAM), abs=700)


def test_keralas_dams_have_the_shape_of_a_recorded_page_newest_first_all_text() -> None:
    page = json.loads(ask("kerala_dams_level", f"historic_data/{DAM.id}.json"))
    newest = page["data"][0]
    assert newest["date"] == f"{YESTERDAY:%d.%m.%Y}"
    assert float(newest["waterLevel"]) == TRUTH.level(YESTERDAY, DAM)
    assert len(page["data"]) > 100
    real = recorded("kerala/dam_idukki.json")
    assert shape(page["data"]) == shape(real["data"])
    assert {name: shape(page[name]) for name in page} == {name: shape(real[name]) for name in page}
    live = json.loads(ask("kerala_dams_rain", "live.json"))
    assert [len(dam["data"]) for dam in live["dams"]] == [1] * len(TRUTH.reservoirs)


# --- station files ---


def test_ghcn_daily_is_fixed_width_in_tenths_of_a_millimetre() -> None:
    lines = ask("ghcn_daily", f"pub/data/ghcn/daily/all/{GAUGE.id}.dly").decode().splitlines()
    assert {len(line) for line in lines} == {269}
    found = {}
    for line in lines:
        assert (line[:11], line[17:21]) == (GAUGE.id, "PRCP")
        for number in range(31):
            value = line[21 + 8 * number : 26 + 8 * number]
            if value != "-9999":
                found[date(int(line[11:15]), int(line[15:17]), number + 1)] = int(value) / 10
    assert max(found) == TODAY - timedelta(days=3)
    assert found == {day: rain(day) for day in found}
    rows = gzip.decompress(ask("ghcn_daily", f"pub/data/ghcn/daily/by_station/{GAUGE.id}.csv.gz")).decode()
    assert {date.fromisoformat(row[1]): int(row[3]) / 10 for row in csv.reader(io.StringIO(rows))} == found
    stations = ask("ghcn_daily", "pub/data/ghcn/daily/ghcnd-stations.txt").decode().splitlines()
    assert float(stations[0][12:20]) == pytest.approx(GAUGE.lat, abs=1e-4)
    assert float(stations[0][21:30]) == pytest.approx(GAUGE.lon, abs=1e-4)


def test_the_arpae_like_table_has_the_columns_of_the_real_one() -> None:
    rows = list(csv.DictReader(io.StringIO(ask("arpae", "rain_daily.csv").decode())))
    assert list(rows[0]) == ["station", "date", "rain_mm"]
    for row in rows[-50:]:
        gauge = next(item for item in TRUTH.gauges if item.id == row["station"])
        assert float(row["rain_mm"]) == TRUTH.gauge_rain(date.fromisoformat(row["date"]), gauge)
    assert gzip.decompress(ask("arpae", "rain_daily.csv.gz")) == ask("arpae", "rain_daily.csv")


# --- rasters ---


@pytest.mark.parametrize(
    ("feed", "product", "size", "dtype", "nodata"),
    [
        ("chirps_v3_final", CHIRPS_FINAL, (2400, 7200), "float32", -9999),
        ("imerg_late", IMERG_LATE, (1800, 3600), "uint16", 29999),
    ],
)
def test_a_global_raster_has_its_services_grid_and_the_truth_over_the_region(
    feed: str, product: Any, size: tuple[int, int], dtype: str, nodata: int
) -> None:
    day = next(day for day in (TODAY - timedelta(days=40 + n) for n in range(60)) if rain(day) > 5)
    body = ask(feed, product.path_of(day, product.version))
    assert len(body) < 200_000  # only the region's tiles are there
    with MemoryFile(body) as memory, memory.open() as raster:
        assert (raster.shape, raster.dtypes[0], raster.nodata) == (size, dtype, None)
        assert raster.crs == rasterio.crs.CRS.from_epsg(4326)
        (found,) = raster.sample([(GAUGE.lon, GAUGE.lat)])
        lon, lat = raster.xy(*raster.index(GAUGE.lon, GAUGE.lat))
    true = float(TRUTH.rain(day, np.array(lon), np.array(lat)))
    value = float(found[0]) / (10 if dtype == "uint16" else 1)
    assert value != nodata
    # A product that is not final is off by the day's own factor.
    assert value == pytest.approx(true, rel=0.3 if product is IMERG_LATE else 1e-6)


def test_gsmaps_hours_and_era5_lands_fall_sum_up_to_the_day() -> None:
    assert SHARES.sum() == pytest.approx(1)
    day = next(day for day in (TODAY - timedelta(days=10 + n) for n in range(60)) if rain(day) > 5)
    with simulating() as simulator:
        total = 0.0
        for hour in range(24):
            path = f"gsmap/hourly_G/{day:%Y/%m/%d}/gsmap_gauge_nrt.{day:%Y%m%d}.{hour:02d}00.dat.gz"
            body = gzip.decompress(get(f"{simulator.address('gsmap')}/{path}").body)
            grid = np.frombuffer(body, "<f4").reshape(1200, 3600)
            row, column = int((60 - GAUGE.lat) * 10), int(GAUGE.lon * 10)
            total += float(grid[row, column])
            assert grid[0, 0] == -99
        at = np.array(column / 10 + 0.05), np.array(60 - row / 10 - 0.05)
        assert total == pytest.approx(float(TRUTH.rain(day, *at)), rel=1e-5)
        body = get(f"{simulator.address('era5_land')}/era5_land/{day:%Y%m%d}.nc").body
    with netcdf_file(io.BytesIO(body), mmap=False) as file:
        tp, times = file.variables["tp"].data, file.variables["valid_time"].data
        lat, lon = file.variables["latitude"].data, file.variables["longitude"].data
        assert (np.diff(tp, axis=0) >= 0).all()
        assert times[-1] == math.floor(
            datetime.fromisoformat(f"{day + timedelta(days=1)}T00:00Z").timestamp()
        )
        true = TRUTH.rain(day, *np.meshgrid(lon.astype(float), lat.astype(float)))
        np.testing.assert_allclose(tp[-1] * 1000, true, atol=1e-4)


def test_an_hour_is_there_before_its_day_is_over() -> None:
    clock = Clock(TODAY, hour=12)
    with simulating(clock=clock) as simulator:
        base = f"{simulator.address('gsmap')}/gsmap/hourly/{TODAY:%Y/%m/%d}/gsmap_nrt.{TODAY:%Y%m%d}"
        assert get(f"{base}.0700.dat.gz").status == 200
        assert get(f"{base}.0800.dat.gz").status == 404
