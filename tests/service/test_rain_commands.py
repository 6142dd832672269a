"""Promises of `coverage` and `interpolation`: what the map's rain rests on, in numbers."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from click.testing import CliRunner
from rasterio.crs import CRS

from service.commands.rain import coverage, interpolation
from service.errors import InputError, UsageError
from service.feeds.base import Grid
from service.reading_values import Reading, SeriesPosition
from service.readings import Archive
from service.stamps import to_stamp
from service.workshop import archive_path
from tests.fix_region import LAST_DAY, ToyRegion, make_toy_region


@pytest.fixture
def toy(tmp_path: Path) -> ToyRegion:
    toy = make_toy_region(tmp_path)
    toy.set_rain({(LAST_DAY, "north"): None, (LAST_DAY, "south"): None})
    toy.ingest()
    return toy


def told(command: Any, toy: ToyRegion, *arguments: str) -> Any:
    done = CliRunner().invoke(command, ["-c", str(toy.config), *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


def test_coverage_falls_with_the_day_that_nobody_reported(toy: ToyRegion) -> None:
    rows = told(coverage, toy, "--since", "2026-03-09", "--until", "2026-03-11", "--json")["days"]
    assert [row["day"] for row in rows] == ["2026-03-09", "2026-03-10", "2026-03-11"]
    assert [row["coverage"] for row in rows] == [1.0, 1.0, pytest.approx(29 / 30, abs=1e-3)]
    assert [row["known"] for row in rows] == [1.0, 1.0, 0.0]
    assert [row["enough"] for row in rows] == [True, True, False]


def test_coverage_for_people_marks_what_would_be_degraded(toy: ToyRegion) -> None:
    lines = told(coverage, toy, "--since", "2026-03-10", "--until", "2026-03-11").splitlines()
    assert "degraded" not in lines[1]
    assert "degraded" in lines[2]


def test_interpolation_judges_every_way_on_the_same_readings(toy: ToyRegion) -> None:
    found = told(interpolation, toy, "--wet-mm", "10", "--json")
    assert found["gauges"] == 2
    by_kind: dict[str, set[int]] = {}
    for row in found["errors"]:
        by_kind.setdefault(row["days"], set()).add(row["readings"])
    assert set(by_kind) == {"all", "10 mm and more"}
    assert all(len(counts) == 1 for counts in by_kind.values())


def test_a_span_the_wrong_way_round_is_refused(toy: ToyRegion) -> None:
    for command in (coverage, interpolation):
        done = CliRunner().invoke(
            command, ["-c", str(toy.config), "--since", "2026-03-02", "--until", "2026-03-01"]
        )
        assert "is after" in str(done.exception)


def test_readings_of_one_month_give_no_interval(toy: ToyRegion) -> None:
    month = ("--since", "2026-02-01", "--until", "2026-02-28")
    rows = told(interpolation, toy, *month, "--json")["errors"]
    assert {(row["low_mm"], row["high_mm"]) for row in rows} == {(None, None)}
    assert "(one month)" in told(interpolation, toy, *month)


def test_a_gauge_that_moved_inside_the_span_is_named_with_the_spans_to_take(toy: ToyRegion) -> None:
    moved = toy.clock() + timedelta(days=3)
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        archive.add_series("gauges", "rain", [SeriesPosition("north", 10.3, 44.1)], moved)
        archive.add([Reading("gauges", "rain", "north", moved.date(), 3.0)], moved)
    done = CliRunner().invoke(interpolation, ["-c", str(toy.config)])
    assert isinstance(done.exception, UsageError)
    before = moved.date() - timedelta(days=1)
    assert f"moved on {moved.date()}" in str(done.exception)
    assert f"--until {before}" in str(done.exception)
    told(interpolation, toy, "--until", str(before))


def test_without_gauges_there_is_nothing_to_judge_and_rasters_do_not_count(toy: ToyRegion) -> None:
    lonely = make_toy_region(toy.folder / "lonely")
    with Archive(archive_path(lonely.settings), lonely.clock) as archive:
        grid = Grid(
            day=LAST_DAY,
            values=np.full((4, 4), 9.0, np.float32),
            transform=Affine(1, 0, 9, 0, -1, 46),
            crs=CRS.from_epsg(4326),
            ends_at=to_stamp(lonely.clock()),
            source="test",
        )
        archive.rasters.add("satellite", "rain", [grid], lonely.clock())
    done = CliRunner().invoke(interpolation, ["-c", str(lonely.config)])
    assert isinstance(done.exception, InputError)
    assert "less than two gauges" in str(done.exception)
