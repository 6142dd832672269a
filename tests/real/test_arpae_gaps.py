"""Thirteen ARPAE gauges, a quarter of their values missing: what windows rest on, how wrong filling is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from service.forcing import gauge_days
from service.ingest import ingest
from service.interpolation import Error, errors, leave_one_out
from service.manifest import VariableSpec
from service.readings import Archive
from service.region import open_region
from service.sequences import WindowSet, build_windows
from service.settings import Settings, parse_settings

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
DATA = SHARED / "apennines"
NOW = datetime(2021, 6, 30, tzinfo=UTC)
RAIN = VariableSpec(name="rain", unit="mm", minimum=0.0, maximum=500.0)

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real data at {DATA}; set COLLUVIUM_SHARED_DATA"
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return parse_settings(
        f"""
        [region]
        id = "apennines"
        name = "Gauges of the Apennines"
        timezone = "Europe/Rome"
        data_dir = "data"
        [grid]
        crs = "EPSG:32632"
        cell_size_m = 250.0
        extent = [660000, 4860000, 740000, 4920000]
        forcing_cell = 8
        [[feeds]]
        name = "arpae"
        variable = "rain"
        unit = "mm"
        timezone = "UTC"
        series_column = "station"
        day_column = "date"
        value_column = "rain_mm"
        series_id_column = "station"
        path = "{DATA}/rain_daily.csv"
        series_file = "{DATA}/rain_gauges.csv"
        [bundle]
        path = "none"
        """,
        base=tmp_path_factory.mktemp("arpae"),
        origin="arpae.toml",
    )


@pytest.fixture(scope="module")
def archive(settings: Settings) -> Iterator[Archive]:
    with Archive(settings.data_dir / "readings.sqlite", lambda: NOW) as archive:
        report = ingest(settings, archive, NOW)
        assert not report.failed
        yield archive


@pytest.fixture(scope="module")
def windows(settings: Settings, archive: Archive) -> list[WindowSet]:
    """Those of every tenth day of 2019 and of the dry, better watched 2017."""
    region = open_region(settings)
    days = [
        date(year, 1, 1) + timedelta(days=number) for year in (2017, 2019) for number in range(0, 365, 10)
    ]
    return [build_windows(settings, region, archive, [RAIN], day, window_days=30, lag_days=1) for day in days]


@pytest.fixture(scope="module")
def table(settings: Settings, archive: Archive) -> dict[tuple[str, str], Error]:
    first, last = archive.first_day("rain"), archive.newest_day("rain")
    assert first is not None
    assert last is not None
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    gauges, _ = gauge_days(archive, "rain", days, open_region(settings).grid.crs, settings.forcing)
    return {(row.days, row.method): row for row in errors(leave_one_out(gauges, settings.forcing))}


def test_a_window_is_whole_or_not_there(windows: list[WindowSet]) -> None:
    for window in windows:
        assert np.isfinite(window.windows).all()
        assert (window.corner_rows[window.complete] >= 0).all()


def test_coverage_says_what_is_there_day_by_day(windows: list[WindowSet]) -> None:
    coverage = np.array([window.coverage for window in windows])
    assert coverage.min() > 0
    assert coverage.max() <= 1
    # Where gauges of range stand silent, others of the same day fill: what was observed never suffices.
    assert all((window.filled > 0).any() for window in windows)
    for window in windows:
        known = window.observed + window.filled
        assert (known[window.complete] > 0.999).all()


def test_on_wet_days_neighbours_of_the_day_beat_the_gauges_own_other_days(
    table: dict[tuple[str, str], Error],
) -> None:
    wet = {method: row for (days, method), row in table.items() if days == "20 mm and more"}
    ours, linear = wet["inverse_distance"], wet["linear_in_time"]
    assert ours.readings > 500
    assert ours.high_mm is not None
    assert linear.low_mm is not None
    assert ours.high_mm < linear.low_mm


def test_the_rule_is_not_worse_than_the_nearest_gauge(table: dict[tuple[str, str], Error]) -> None:
    for days in ("all", "20 mm and more"):
        assert table[days, "inverse_distance"].mean_absolute_mm <= table[days, "nearest"].mean_absolute_mm
