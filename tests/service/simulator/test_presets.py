"""Each preset of the service reads what the simulator serves under its name, and finds the truth in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from service.feeds.base import Batch, Feed, Grid
from service.feeds.opening import open_feeds
from service.quality import Observation
from service.settings import Settings, parse_settings
from service.settings_feeds import preset_names
from service.simulator.catalogue import PUBLISHERS
from service.simulator.paste import sections
from service.simulator.server import Simulator
from service.simulator.stations import station_id
from service.simulator.weather import days_of_most_rain
from tests.fix_simulator import TODAY, TRUTH, Clock, simulating

REGION = """
[region]
id = "simulated"
name = "Simulated"
timezone = "UTC"
data_dir = "data"
synthetic = true
[grid]
crs = "EPSG:32632"
extent = [666000, 4878000, 696000, 4914000]
[bundle]
path = "bundle"
"""
SINCE = TODAY - timedelta(days=7)
RASTERS = {
    "chirps_v3",
    "chirps_v3_prelim",
    "chirps_v3_final",
    "gpm_imerg",
    "imerg_early",
    "imerg_late",
    "gsmap",
    "era5_land",
}
LATE = {"chirps_v3_final": 31}  # days before their newest


def settings_for(simulator: Simulator, folder: Path, feeds: list[str]) -> Settings:
    """Return a region's settings with the sections as they are printed for pasting."""
    return parse_settings(REGION + sections(simulator, folder, feeds), base=folder, origin="simulated.toml")


@contextmanager
def fetched(
    preset: str, folder: Path, since: date = SINCE, today: date = TODAY
) -> Iterator[tuple[Feed, Batch, Simulator]]:
    clock = Clock(today)
    with simulating(clock=clock) as simulator:
        settings = settings_for(simulator, folder, [preset])
        (feed,) = open_feeds(settings, clock)
        yield feed, feed.fetch(since, today), simulator


def test_every_preset_is_served_and_every_feed_has_a_preset() -> None:
    assert {item.feed for item in PUBLISHERS} == set(preset_names())


@pytest.mark.parametrize("preset", [name for name in preset_names() if name not in RASTERS])
def test_a_preset_of_series_reads_the_truth(preset: str, tmp_path: Path) -> None:
    with fetched(preset, tmp_path) as (feed, batch, simulator):
        rows = list(batch.rows)
        newest = simulator.view(preset).newest
    observations = [row for row in rows if isinstance(row, Observation)]
    assert observations == rows, [row for row in rows if not isinstance(row, Observation)][:3]
    assert batch.problems == ()
    gauges = {name: item for item in TRUTH.gauges for name in (item.id, station_id(item))}
    dams = {name: item for item in TRUTH.reservoirs for name in (item.id, f"USGS-{item.id}")}
    assert batch.series is not None
    if any(row.issued_at for row in observations):
        members = {row.member for row in observations}
        assert members == (set(range(31)) if "ensemble" in preset else {None})
        assert {row.day for row in observations} >= {TODAY + timedelta(days=ahead) for ahead in range(4)}
        return
    # Nothing is asked of days that are not published yet, and no series or day between is left out.
    days = {row.day for row in observations if row.day >= SINCE}
    assert days == {SINCE + timedelta(days=number) for number in range((newest - SINCE).days + 1)}
    assert {row.series for row in observations} == {position.id for position in batch.series}
    for row in observations:
        if feed.variable == "level":
            # Hundredths of a foot; storage through a table of fifty steps, whole acre-feet.
            assert row.value == pytest.approx(TRUTH.level(row.day, dams[row.series]), abs=0.01), row
        elif row.series in gauges:
            assert row.value == pytest.approx(TRUTH.gauge_rain(row.day, gauges[row.series]), abs=0.051), row
        else:
            place = dams[row.series]
            true = float(TRUTH.rain(row.day, np.array(place.lon), np.array(place.lat)))
            assert row.value == pytest.approx(true, abs=0.051), row


@pytest.mark.parametrize("preset", sorted(RASTERS))
def test_a_preset_of_rasters_reads_the_truth(preset: str, tmp_path: Path) -> None:
    today = TODAY
    since = TODAY - timedelta(days=LATE.get(preset, 6) + 2)
    if preset == "gsmap":  # a day is 24 files
        since = days_of_most_rain(TRUTH, TODAY - timedelta(days=30), 30)[0]
        today = since + timedelta(days=1)
    with fetched(preset, tmp_path, since, today) as (_, batch, simulator):
        grids = list(batch.grids)
        newest = simulator.view(preset).newest
    assert all(isinstance(grid, Grid) for grid in grids), grids
    days = {grid.day for grid in grids if isinstance(grid, Grid)}
    assert days >= {since + timedelta(days=number) for number in range((newest - since).days)}
    assert any(isinstance(grid, Grid) and grid.values.max() > 1 for grid in grids), "no wet day to tell by"
    for grid in grids:
        assert isinstance(grid, Grid)
        rows, columns = np.indices(grid.values.shape)
        lon, lat = grid.transform * (columns + 0.5, rows + 0.5)
        # Where the region is, there is a value for the whole of it.
        inside = (lon > 11.09) & (lon < 11.44) & (lat > 44.04) & (lat < 44.35)
        assert inside.sum() >= 9
        assert np.isfinite(grid.values[inside]).all()
        true = TRUTH.rain(grid.day, lon, lat)
        wet = inside & (true > 1)
        if wet.any():
            # A day's error of a preliminary product is one factor for all places.
            ratio = grid.values[wet] / true[wet]
            assert 0.4 < float(np.median(ratio)) < 2.5
            np.testing.assert_allclose(ratio, np.median(ratio), rtol=0.1)
        assert (grid.values[inside & (true == 0)] == 0).all()


def test_the_final_product_comes_in_place_of_the_preliminary_one(tmp_path: Path) -> None:
    with fetched("gpm_imerg", tmp_path) as (_, batch, _):
        versions = {grid.day: grid.version for grid in batch.grids if isinstance(grid, Grid)}
    yesterday = TODAY - timedelta(days=1)
    assert versions[yesterday] == versions[SINCE]
    assert "late" in versions[yesterday]
    with simulating(clock=(clock := Clock(hour=8))) as simulator:
        settings = settings_for(simulator, tmp_path, ["gpm_imerg"])
        (feed,) = open_feeds(settings, clock)
        early = {grid.day: grid.version for grid in feed.fetch(SINCE, TODAY).grids if isinstance(grid, Grid)}
    assert "early" in early[yesterday]
    assert "late" in early[SINCE]


def test_the_printed_settings_say_where_everything_is(tmp_path: Path) -> None:
    with simulating() as simulator:
        settings = settings_for(simulator, tmp_path, [item.feed for item in PUBLISHERS])
        assert {feed.name for feed in settings.feeds} == {item.feed for item in PUBLISHERS}
        text = sections(simulator, tmp_path, [item.feed for item in PUBLISHERS])
    assert text.count(simulator.base) >= len(PUBLISHERS)
    assert "https://" not in text
    assert not math.isnan(TRUTH.gauge_rain(TODAY, TRUTH.gauges[0]))
