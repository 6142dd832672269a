"""The checks on six years of 18 dams in Kerala and on 13 gauges of ARPAE: the real faults are found.

`pytest -s` prints the lists. The faults that are known of the table: days that are missing, levels typed
wrongly, levels and rain that stand still, and whole pages that came twice. No level in feet is left in it
(its makers write that some once were), so a year in feet is put in by the test.
"""

from __future__ import annotations

import csv
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from service.checks.judge import JudgeReport, judge
from service.reading_values import Reading, SeriesPosition, Suspect
from service.readings import Archive
from service.settings import Settings, parse_settings

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
DAMS = SHARED / "kerala" / "dams_daily.csv"
GAUGES = SHARED / "apennines" / "rain_gauges.csv"
NOW = datetime(2026, 9, 1, tzinfo=UTC)
BANASURA = ("Banasura Sagar", date(2024, 7, 30))
STALE_PAGES = {date(2022, 5, 23), date(2022, 11, 28), date(2025, 6, 16)}

pytestmark = [
    pytest.mark.skipif(not DAMS.is_file(), reason=f"no real data at {SHARED}; set COLLUVIUM_SHARED_DATA"),
    pytest.mark.slow,
]


def region() -> Settings:
    text = (
        '[region]\nid = "kerala"\nname = "Kerala"\ndata_dir = "data"\ntimezone = "Asia/Kolkata"\n'
        '[grid]\ncrs = "EPSG:32643"\nextent = [600000, 1000000, 696000, 1096000]\n[bundle]\npath = "bundle"\n'
    )
    return parse_settings(text, base=Path("/nowhere"), origin="test")


def dams() -> list[dict[str, str]]:
    with DAMS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def reading(feed: str, variable: str, series: str, day: str, value: float) -> Reading:
    ended = datetime.fromisoformat(day).replace(tzinfo=UTC) + timedelta(hours=30)
    return Reading(feed, variable, series, date.fromisoformat(day), value, ended, known_at_assumed=True)


def fill(archive: Archive, rows: list[dict[str, str]], factors: Mapping[tuple[str, str], float]) -> None:
    """Take in rain and levels; `factors` multiply levels by dam and year."""
    ranges = {
        row["dam"]: SeriesPosition(
            row["dam"], float(row["lon"]), float(row["lat"]), highest=float(row["FRL"])
        )
        for row in rows
    }
    for variable, column in (("rain", "rain_mm"), ("level", "water_level")):
        archive.add_series(f"dams_{variable}", variable, ranges.values(), NOW)
        archive.add(
            reading(
                f"dams_{variable}",
                variable,
                row["dam"],
                row["date"],
                float(row[column])
                * (factors.get((row["dam"], row["date"][:4]), 1.0) if variable == "level" else 1.0),
            )
            for row in rows
            if row[column]
        )


@pytest.fixture(scope="module")
def kerala(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Archive, JudgeReport]]:
    with Archive(tmp_path_factory.mktemp("kerala") / "readings.sqlite", lambda: NOW) as archive:
        fill(archive, dams(), {})
        yield archive, judge(archive, region(), NOW)


def of_check(archive: Archive, check: str) -> list[Suspect]:
    return [item for item in archive.suspects() if check in {found.check for found in item.findings}]


def test_each_check_counts_what_it_doubts(kerala: tuple[Archive, JudgeReport]) -> None:
    _, report = kerala
    print(f"\n{report.readings} readings, {report.doubted} doubted")
    for item in report.counts:
        print(f"  {item.feed:12} {item.check.value:18} {item.count:5}")
    counts = {(item.feed, item.check.value): item.count for item in report.counts}
    assert report.readings == 68_790
    assert counts == {
        ("dams_level", "decimal_point"): 3,
        ("dams_level", "flat_line"): 925,
        ("dams_level", "operating_range"): 3,
        ("dams_level", "stale_page"): 70,
        ("dams_level", "step"): 11,
        ("dams_level", "zero_level"): 14,
        ("dams_rain", "false_zero"): 3,
        ("dams_rain", "flat_line"): 82,
        ("dams_rain", "rain_unit"): 14,
        ("dams_rain", "spatial_outlier"): 9,
        ("dams_rain", "stale_page"): 56,
    }
    assert report.doubted / report.readings < 0.02


def test_the_day_of_the_wayanad_landslides_is_accepted_as_it_is(
    kerala: tuple[Archive, JudgeReport],
) -> None:
    archive, _ = kerala
    readings = archive.values("rain", [BANASURA[1]])
    column = [series.id for series in readings.series].index(BANASURA[0])
    assert readings.value[0, column] == pytest.approx(234.6)
    suspects = archive.suspects("rain", since=BANASURA[1], until=BANASURA[1])
    assert suspects == [], "no gauge of that day is doubted"


def test_levels_typed_wrongly_are_found(kerala: tuple[Archive, JudgeReport]) -> None:
    archive, _ = kerala
    assert {(item.at.series, item.at.day, item.value) for item in of_check(archive, "decimal_point")} == {
        ("Mattupetty", date(2021, 11, 2), 157.45),
        ("Poringalkuthu", date(2022, 1, 13), 41.9),
        ("Anathode", date(2022, 2, 17), 97343.0),
    }
    assert Counter(item.at.series for item in of_check(archive, "zero_level")) == {
        "Kallarkutty": 10,
        "Chenkulam": 4,
    }
    steps = {(item.at.series, item.at.day) for item in of_check(archive, "step")}
    assert {("Sholayar", date(2026, 2, 18)), ("Ponmudi", date(2024, 6, 18))} <= steps


def test_pages_that_came_twice_are_found_for_rain_and_levels(kerala: tuple[Archive, JudgeReport]) -> None:
    archive, _ = kerala
    days = {
        variable: {item.at.day for item in of_check(archive, "stale_page") if item.at.variable == variable}
        for variable in ("rain", "level")
    }
    print("\nstale pages:", {name: sorted(map(str, found)) for name, found in days.items()})
    assert days["rain"] == STALE_PAGES | {date(2025, 6, 21)}
    assert days["level"] == STALE_PAGES | {date(2026, 1, 29)}


def test_flat_lines_are_listed_by_dam(kerala: tuple[Archive, JudgeReport]) -> None:
    archive, _ = kerala
    flat = of_check(archive, "flat_line")
    levels = Counter(item.at.series for item in flat if item.at.variable == "level")
    rain = Counter(item.at.series for item in flat if item.at.variable == "rain")
    print("\nflat lines of levels:", levels.most_common(), "\nof rain:", rain.most_common())
    assert [name for name, _ in levels.most_common(2)] == ["Erattayar", "Kallar"]
    stuck = {item.at.day for item in flat if item.at.series == "Ponmudi" and item.at.variable == "level"}
    assert (len(stuck), min(stuck)) == (36, date(2026, 1, 8))
    assert {"Kundala", "Kallarkutty", "Ponmudi"} <= set(rain)


def test_rain_of_another_kind_is_found_on_two_days(kerala: tuple[Archive, JudgeReport]) -> None:
    archive, _ = kerala
    found = of_check(archive, "rain_unit")
    assert {item.at.day for item in found} == {date(2025, 6, 3), date(2025, 6, 4)}
    assert {item.value for item in found} >= {0.0039, 0.162, 0.3171}  # mm, to a ten-thousandth


def test_missing_days_stay_missing_and_are_listed(kerala: tuple[Archive, JudgeReport]) -> None:
    archive, _ = kerala
    first, last = archive.first_day("level"), archive.newest_day("level")
    assert (first, last) == (date(2020, 8, 13), date(2026, 8, 18))
    days = [date(2020, 8, 13) + timedelta(days=n) for n in range(2_197)]
    reported = np.isfinite(archive.values("level", days).value)
    delivered = {row["date"] for row in dams()}
    missing = [day for day in days if day.isoformat() not in delivered]
    print(f"\n{len(missing)} of {len(days)} days are missing for all dams, first {missing[0]}")
    assert len(missing) == 150
    assert not reported[[days.index(day) for day in missing]].any()


def test_a_year_in_feet_is_found_to_the_last_reading(tmp_path: Path) -> None:
    rows = [row for row in dams() if "2023-01-01" <= row["date"] <= "2024-06-30" and row["dam"] == "Idukki"]
    feet = {("Idukki", "2024"): 1 / 0.3048}
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as archive:
        fill(archive, rows, feet)
        judge(archive, region(), NOW)
        found = {item.at.day for item in of_check(archive, "level_unit")}
        values = archive.values("level", sorted(found)).value
    expected = {
        date.fromisoformat(row["date"]) for row in rows if row["date"] >= "2024" and row["water_level"]
    }
    assert len(expected) > 150
    assert found == expected
    assert np.isnan(values).all()


@pytest.mark.skipif(not GAUGES.is_file(), reason=f"no gauges at {GAUGES}")
def test_few_readings_of_well_kept_gauges_are_doubted(tmp_path: Path) -> None:
    with GAUGES.open(encoding="utf-8", newline="") as file:
        places = [
            SeriesPosition(row["station"], float(row["lon"]), float(row["lat"]), float(row["elev_m"]))
            for row in csv.DictReader(file)
        ]
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as archive:
        archive.add_series("arpae", "rain", places, NOW)
        with (GAUGES.parent / "rain_daily.csv").open(encoding="utf-8", newline="") as file:
            archive.add(
                reading("arpae", "rain", row["station"], row["date"], float(row["rain_mm"]))
                for row in csv.DictReader(file)
                if row["rain_mm"]
            )
        report = judge(archive, region(), NOW)
    print(f"\nARPAE: {report.doubted} of {report.readings} doubted:", report.counts)
    assert report.readings == 72_660
    assert report.doubted == 17
