"""Each text and JSON preset on a reply of its service: recorded, or in its published format."""

from __future__ import annotations

import json
import os
import tomllib
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from service.quality import Observation, Reason
from service.reading_values import SeriesPosition
from service.settings_feeds import PRESETS
from tests.fix_feeds import observations, rejections
from tests.fix_json import Service, fetch, json_settings, problems_of

ROOT = Path(__file__).parents[3]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
recorded = pytest.mark.skipif(
    not (SHARED / "feeds").is_dir(), reason=f"no recorded replies at {SHARED}; set COLLUVIUM_SHARED_DATA"
)
NAMES = (
    "arpae",
    "cdec_elevation",
    "cdec_storage",
    "ghcn_daily",
    "kerala_dams_level",
    "kerala_dams_rain",
    "open_meteo",
    "open_meteo_ensemble",
    "open_meteo_forecast",
    "usgs_nwis",
    "usgs_water_data",
)


def places(folder: Path, *rows: str, header: str = "id,lon,lat") -> Path:
    path = folder / "places.csv"
    path.write_text("\n".join((header, *rows)) + "\n")
    return path


def reply_of(name: str) -> Any:
    return json.loads((SHARED / "feeds" / f"{name}.json").read_text("utf-8"))


@pytest.mark.parametrize("name", NAMES)
def test_a_preset_says_its_source_licence_latency_unit_and_day(name: str) -> None:
    text = (PRESETS / f"{name}.toml").read_text("utf-8")
    values = tomllib.loads(text)
    comments = "\n".join(line for line in text.splitlines() if line.startswith("#"))
    for word in ("Source", "icence", "Latency", "Unit", "Day", "Yours to say"):
        assert word.lower() in comments.lower(), word
    assert values["source"]
    assert values["licence"]
    assert isinstance(values["redistribute"], bool)
    assert (ROOT / "config" / "feeds" / f"{name}.toml").read_text("utf-8") == text


# --- Open-Meteo ---


@recorded
def test_open_meteo_makes_readings_of_the_days_that_have_ended(tmp_path: Path) -> None:
    """Recorded reply of Provo, Utah, fetched here on the morning after its second day."""
    service = Service(tmp_path, lambda *_: reply_of("openmeteo_daily_provo_2026-09-26"))
    settings = json_settings(preset="open_meteo", series_file=places(tmp_path, "provo,-111.66,40.25"))
    batch, rows = fetch(
        settings, service, ZoneInfo("America/Denver"), lambda: datetime(2026, 9, 28, 13, tzinfo=UTC)
    )
    assert observations(rows) == {("provo", "2026-09-26"): 0.0, ("provo", "2026-09-27"): 0.0}
    assert problems_of(batch, rows) == []
    ((url, query),) = service.asked
    assert url == "https://api.open-meteo.com/v1/forecast"
    assert query == {
        "latitude": "40.25",
        "longitude": "-111.66",
        "daily": "precipitation_sum",
        "timezone": "America/Denver",
        "past_days": "92",
        "forecast_days": "1",
    }
    # An hour before midnight in Utah the second day had not ended.
    _, rows = fetch(
        settings, service, ZoneInfo("America/Denver"), lambda: datetime(2026, 9, 28, 5, tzinfo=UTC)
    )
    assert observations(rows) == {("provo", "2026-09-26"): 0.0}


@recorded
def test_open_meteo_makes_a_forecast_of_today_and_what_follows(tmp_path: Path) -> None:
    """Recorded reply of Beijing."""
    service = Service(tmp_path, lambda *_: reply_of("openmeteo_daily_beijing_2026-03-31"))
    settings = json_settings(preset="open_meteo_forecast", series_file=places(tmp_path, "beijing,116.4,39.9"))
    batch, rows = fetch(
        settings, service, ZoneInfo("Asia/Shanghai"), lambda: datetime(2026, 4, 1, 20, 30, tzinfo=UTC)
    )
    # It is 2 April in Beijing, and what is said of 31 March and 1 April is no forecast.
    assert {
        (item.day.isoformat(), item.value, item.issued_at) for item in rows if isinstance(item, Observation)
    } == {
        (day, value, "2026-04-01T18:00:00.000000Z")
        for day, value in (
            ("2026-04-02", 0.0),
            ("2026-04-03", 0.3),
            ("2026-04-04", 1.5),
            ("2026-04-05", 0.0),
            ("2026-04-06", 0.0),
        )
    }
    assert problems_of(batch, rows) == []
    assert service.asked[0][1]["forecast_days"] == "7"
    assert "past_days" not in service.asked[0][1]


@recorded
@pytest.mark.parametrize("preset", ["open_meteo", "open_meteo_forecast"])
def test_open_meteo_in_inches_or_for_another_place_is_refused(tmp_path: Path, preset: str) -> None:
    """Recorded reply of Beijing, with its unit changed, and as it is for a place in Italy."""
    reply = reply_of("openmeteo_daily_beijing_2026-03-31")
    inches = reply | {"daily_units": {"time": "iso8601", "precipitation_sum": "inch"}}
    for answer, where, reason in ((inches, "116.4,39.9", "unit"), (reply, "11.5,44.2", "place")):
        settings = json_settings(preset=preset, series_file=places(tmp_path, f"here,{where}"))
        batch, rows = fetch(settings, Service(tmp_path, lambda *_, a=answer: a))
        assert observations(rows) == {}
        assert [problem.reason for problem in problems_of(batch, rows)] == [reason]


def open_meteo(lats: str, lons: str, **daily: Any) -> Any:
    """The published format for one place or several."""
    replies = [
        {
            "latitude": float(lat) + 0.02,
            "longitude": float(lon) - 0.02,
            "elevation": 100.0,
            "utc_offset_seconds": 3600,
            "timezone": "Europe/Rome",
            "daily_units": {"time": "iso8601"} | dict.fromkeys(daily, "mm"),
            "daily": {"time": ["2026-03-09", "2026-03-10", "2026-03-11"]} | daily,
        }
        for lat, lon in zip(lats.split(","), lons.split(","), strict=True)
    ]
    return replies if len(replies) > 1 else replies[0]


def test_open_meteo_takes_a_grid_of_points_in_few_requests(tmp_path: Path) -> None:
    """Built from the published format: several places are answered with a list in their order."""

    def answer(_: str, query: Any) -> Any:
        return open_meteo(query["latitude"], query["longitude"], precipitation_sum=[1.5, 2.0, None])

    service = Service(tmp_path, answer)
    batch, rows = fetch(json_settings(preset="open_meteo", grid_degrees=0.1), service)
    assert len(batch.series or ()) == len(observations(rows)) == 36
    assert len(service.asked) == 1
    assert set(observations(rows).values()) == {1.5}


def test_an_open_meteo_ensemble_keeps_its_members(tmp_path: Path) -> None:
    """Built from the published format: the control run without a number, the members with two digits."""

    def answer(_: str, query: Any) -> Any:
        return open_meteo(
            query["latitude"],
            query["longitude"],
            precipitation_sum=[0, 1, 2],
            precipitation_sum_member01=[0, 3, 4],
            precipitation_sum_member39=[0, 5, None],
        )

    service = Service(tmp_path, answer)
    settings = json_settings(preset="open_meteo_ensemble", series_file=places(tmp_path, "a,11.5,44.2"))
    batch, rows = fetch(settings, service)
    assert {(item.member, item.day.day, item.value) for item in rows if isinstance(item, Observation)} == {
        (0, 10, 1.0),
        (0, 11, 2.0),
        (1, 10, 3.0),
        (1, 11, 4.0),
        (39, 10, 5.0),
    }
    assert problems_of(batch, rows) == []
    assert service.asked[0][1]["models"] == "icon_seamless"


# --- USGS ---


def as_levels(reply: Any) -> Any:
    """A recorded reply of stream flow, as if the sites were reservoirs: other parameter, other unit."""
    for series in reply["value"]["timeSeries"]:
        series["variable"]["variableCode"][0]["value"] = "62614"
        series["variable"]["unit"]["unitCode"] = "ft"
    return reply


@recorded
def test_nwis_values_are_strings_in_feet_with_qualifiers(tmp_path: Path) -> None:
    """Recorded reply of a year of daily values, its stream flow renamed to the elevation of a reservoir."""
    reply = as_levels(reply_of("usgs_nwis_dv_01585200_2018"))
    values = reply["value"]["timeSeries"][0]["values"][0]["value"]
    values[3]["qualifiers"] = ["P", "Eqp"]
    values[4]["value"] = "-999999"
    service = Service(tmp_path, lambda *_: reply)
    settings = json_settings(preset="usgs_nwis", series_ids=["01585200"], timezone="America/New_York")
    batch, rows = fetch(
        settings, service, ZoneInfo("America/New_York"), since=date(2018, 1, 1), until=date(2019, 1, 1)
    )
    found = observations(rows)
    assert found["01585200", "2018-01-01"] == pytest.approx(0.34 * 0.3048)
    assert len(found) == len(values) - 2
    assert [(item.day, item.reason) for item in rejections(rows)] == [
        ("2018-01-04T00:00:00.000", Reason.FLAGGED)
    ]
    assert batch.series == (SeriesPosition("01585200", -76.5843333, 39.37363889),)
    ((url, query),) = service.asked
    assert url == "https://waterservices.usgs.gov/nwis/dv/"
    assert (query["sites"], query["startDT"], query["endDT"]) == ("01585200", "2018-01-01", "2019-01-01")


@recorded
def test_nwis_stream_flow_never_becomes_a_level(tmp_path: Path) -> None:
    """Recorded replies as they are: ft3/s, and temperatures among them."""
    for name in ("usgs_nwis_dv_01585200_2018", "usgs_nwis_waterservices_dv"):
        reply = reply_of(name)
        batch, rows = fetch(
            json_settings(preset="usgs_nwis", series_ids=["01585200"]),
            Service(tmp_path, lambda *_, r=reply: r),
        )
        assert observations(rows) == {}
        (problem,) = problems_of(batch, rows)
        assert problem.reason == "unit"
        assert "ft3/s" in problem.message or "deg C" in problem.message


def feature(site: str, day: str, value: str | None, **more: Any) -> dict[str, Any]:
    properties = {
        "time_series_id": "c2b9e1",
        "monitoring_location_id": site,
        "parameter_code": "62614",
        "statistic_id": "00003",
        "time": day,
        "value": value,
        "unit_of_measure": "ft",
        "approval_status": "Provisional",
        "qualifier": None,
        "last_modified": "2026-03-10T05:00:00+00:00",
    }
    point = {"type": "Point", "coordinates": [-121.1, 38.7]}
    return {"type": "Feature", "id": f"{site}-{day}", "geometry": point, "properties": properties | more}


def test_the_water_data_api_is_followed_page_by_page(tmp_path: Path) -> None:
    """Built from the published format: OGC API - Features, the next page by a link with a cursor."""
    base = "https://api.waterdata.usgs.gov/ogcapi/v0/collections/daily/items"

    def answer(url: str, _: Any) -> Any:
        if "cursor" in url:
            features = [
                feature("USGS-11446220", "2026-03-02", "426.0", qualifier=["EQUIP"]),
                feature("USGS-11446220", "2026-03-03", None),
            ]
            return {
                "type": "FeatureCollection",
                "features": features,
                "links": [{"rel": "self", "href": base}],
            }
        links = [{"rel": "self", "href": base}, {"rel": "next", "href": base + "?cursor=abc"}]
        features = [feature("USGS-11446220", "2026-03-01", "425.50")]
        return {"type": "FeatureCollection", "features": features, "links": links}

    service = Service(tmp_path, answer)
    settings = json_settings(
        preset="usgs_water_data", series_ids=["USGS-11446220"], timezone="America/Los_Angeles"
    )
    batch, rows = fetch(settings, service, ZoneInfo("America/Los_Angeles"), since=date(2026, 3, 1))
    assert observations(rows) == {("USGS-11446220", "2026-03-01"): pytest.approx(425.5 * 0.3048)}
    assert [item.reason for item in rejections(rows)] == [Reason.FLAGGED]
    assert batch.series == (SeriesPosition("USGS-11446220", -121.1, 38.7),)
    assert [url for url, _ in service.asked] == [base, base + "?cursor=abc"]
    assert service.asked[0][1]["time"] == "2026-03-01/2026-03-10"


# --- CDEC ---


def cdec(station: str, day: str, value: float, sensor: int, units: str, flag: str = " ") -> dict[str, Any]:
    return {
        "stationId": station,
        "durCode": "D",
        "SENSOR_NUM": sensor,
        "sensorType": "RES ELE" if sensor == 6 else "STORAGE",
        "date": f"{day} 00:00",
        "obsDate": f"{day} 00:00",
        "value": value,
        "dataFlag": flag,
        "units": units,
    }


def test_cdec_elevations_are_in_feet_with_days_that_are_not_padded(tmp_path: Path) -> None:
    """Built from the published format of its JSONDataServlet."""
    reply = [
        cdec("SHA", "2026-3-1", 1030.5, 6, "FEET"),
        cdec("SHA", "2026-3-2", -9999, 6, "FEET"),
        cdec("ORO", "2026-3-1", 850, 6, "FEET", "N"),
        cdec("ORO", "2026-3-2", 851, 6, "FEET", "r"),
    ]
    service = Service(tmp_path, lambda *_: reply)
    settings = json_settings(preset="cdec_elevation", series_ids=["SHA", "ORO"])
    _, rows = fetch(settings, service, ZoneInfo("America/Los_Angeles"))
    assert observations(rows) == {
        ("SHA", "2026-03-01"): pytest.approx(1030.5 * 0.3048),
        ("ORO", "2026-03-02"): pytest.approx(851 * 0.3048),
    }
    assert [(item.series, item.reason) for item in rejections(rows)] == [("ORO", Reason.FLAGGED)]
    assert service.asked[0][1]["Stations"] == "SHA,ORO"
    assert service.asked[0][1]["SensorNums"] == "6"


def test_cdec_storage_becomes_a_level_by_a_rating(tmp_path: Path) -> None:
    """Built from the published format of its JSONDataServlet."""
    (tmp_path / "rating.csv").write_text("series,volume,level\nSHA,0,200\nSHA,4000000,320\n")
    settings = json_settings(preset="cdec_storage", series_ids=["SHA"], rating_file=tmp_path / "rating.csv")
    reply = [cdec("SHA", "2026-3-1", 2_000_000, 15, "AF"), cdec("SHA", "2026-3-2", 5_000_000, 15, "AF")]
    _, rows = fetch(settings, Service(tmp_path, lambda *_: reply), ZoneInfo("America/Los_Angeles"))
    assert observations(rows) == {("SHA", "2026-03-01"): 260.0}
    assert [item.reason for item in rejections(rows)] == [Reason.RANGE]
    with pytest.raises(ValueError, match="a volume is not a level"):
        json_settings(preset="cdec_storage", series_ids=["SHA"])


# --- Kerala ---


@pytest.mark.skipif(not (SHARED / "kerala").is_dir(), reason=f"no real data at {SHARED}")
def test_the_kerala_dams_are_read_as_they_are_published(tmp_path: Path) -> None:
    """Real files of two dams: six years, numbers as strings, the newest first, three days a dam broken."""
    files = {"Idukki": "idukki", "Banasura_Sagar": "banasura_sagar"}
    found = {}
    for variable in ("rain", "level"):

        def answer(url: str, _: Any) -> bytes:
            name = url.rsplit("/", 1)[1].removesuffix(".json")
            return (SHARED / "kerala" / f"dam_{files[name]}.json").read_bytes()

        settings = json_settings(preset=f"kerala_dams_{variable}", series_ids=list(files))
        batch, rows = fetch(settings, Service(tmp_path, answer), ZoneInfo("Asia/Kolkata"))
        found[variable] = observations(rows)
        assert batch.problems == ()
        assert [item.reason for item in rejections(rows)] == [Reason.DATE] * 6
        assert {place.id: place.highest for place in batch.series or ()} == (
            {"Idukki": 732.43, "Banasura Sagar": 775.6}
            if variable == "level"
            else {"Idukki": None, "Banasura Sagar": None}
        )
    assert found["rain"]["Banasura Sagar", "2024-07-30"] == 234.6
    assert found["level"]["Idukki", "2026-08-18"] == 719.83
    # 2,050 and 2,031 records, less three broken days each, and one day without rain at Idukki.
    assert (len(found["rain"]), len(found["level"])) == (4074, 4075)


# --- text ---


def dly(station: str, year: int, month: int, element: str, days: dict[int, tuple[int, str]]) -> str:
    cells = [days.get(day, (-9999, " ")) for day in range(1, 32)]
    return f"{station}{year:04}{month:02}{element}" + "".join(f"{v:5d} {flag}S" for v, flag in cells) + "\n"


def test_ghcn_daily_is_a_month_a_line_in_tenths_with_flags(tmp_path: Path) -> None:
    """Built from the published format (readme.txt, section III)."""
    text = (
        dly("ITE00100550", 2026, 2, "TMAX", {1: (120, " ")})
        + dly("ITE00100550", 2026, 2, "PRCP", {1: (3, " "), 2: (0, " "), 28: (1234, " "), 5: (9990, "X")})
        + dly("ITE00100550", 2026, 3, "PRCP", {1: (10, " ")})
    )
    service = Service(tmp_path, lambda *_: text.encode())
    settings = json_settings(preset="ghcn_daily", series_file=places(tmp_path, "ITE00100550,11.5,44.2"))
    batch, rows = fetch(settings, service)
    assert observations(rows) == {
        ("ITE00100550", "2026-02-01"): 0.3,
        ("ITE00100550", "2026-02-02"): 0.0,
        ("ITE00100550", "2026-02-28"): 123.4,
        ("ITE00100550", "2026-03-01"): 1.0,
    }
    (rejection,) = rejections(rows)
    assert (rejection.reason, rejection.day, rejection.row) == (Reason.FLAGGED, "2026-02-05", 2)
    assert service.asked == [("https://www.ncei.noaa.gov/pub/data/ghcn/daily/all/ITE00100550.dly", {})]
    assert problems_of(batch, rows) == []


@pytest.mark.skipif(not (SHARED / "apennines").is_dir(), reason=f"no real data at {SHARED}")
def test_the_arpae_gauges_are_read_as_they_are_published() -> None:
    """Real table of thirteen gauges, twenty years; blanks are missing and never zero."""
    folder = SHARED / "apennines"
    settings = json_settings(
        preset="arpae", path=str(folder / "rain_daily.csv"), series_file=folder / "rain_gauges.csv"
    )
    batch, rows = fetch(settings)
    lines = (folder / "rain_daily.csv").read_text("utf-8").splitlines()[1:]
    assert len(batch.series or ()) == 13
    assert len(observations(rows)) == sum(not line.endswith(",") for line in lines) > 50_000
    assert rejections(rows) == []
    assert batch.latency == timedelta(hours=9)


def test_a_presets_keys_give_way_to_the_sections_own(tmp_path: Path) -> None:
    settings = json_settings(
        preset="kerala_dams_rain", url="", path=str(tmp_path), http={"max_bytes": 7}, latency_hours=1
    )
    assert (settings.url, settings.path, settings.http.max_bytes) == (None, str(tmp_path), 7)
    assert settings.latency_hours == timedelta(hours=1)
