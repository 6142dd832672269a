"""Promises of judging an archive: what is fresh is looked at once, and persons have the last word."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from affine import Affine
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from service.checks.judge import ensure_judged, judge
from service.errors import SettingsError
from service.feeds.base import Grid
from service.reading_values import Reading, SeriesDay, SeriesPosition
from service.readings import Archive
from service.readings_schema import MIGRATIONS
from service.settings import Settings, parse_settings
from service.stamps import to_stamp
from tests.service.checks.fix_panels import START, Values, levels, rain

NOW = datetime(2026, 9, 1, 6, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
TOML = """
[region]
id = "district"
name = "District"
data_dir = "data"
[grid]
crs = "EPSG:32632"
extent = [600000, 4860000, 609600, 4869600]
[bundle]
path = "bundle"
"""


def region(more: str = "") -> Settings:
    return parse_settings(TOML + more, base=Path("/nowhere"), origin="test")


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with opened(tmp_path) as made:
        yield made


def opened(folder: Path) -> Archive:
    archive = Archive(folder / "readings.sqlite", lambda: NOW)
    positions = [SeriesPosition(f"s{index}", 11.0 + index * 5 / 80, 44.0) for index in range(8)]
    for variable in ("rain", "level"):
        archive.add_series(variable, variable, positions, LONG_AGO)
    return archive


def day(row: int) -> date:
    return START + timedelta(days=row)


def known(row: int) -> datetime:
    return datetime(2026, 3, 1, 6, tzinfo=UTC) + timedelta(days=row + 1)


def readings(variable: str, value: Values, rows: Sequence[int] | None = None) -> list[Reading]:
    """Readings of a panel, each known on the morning after its day."""
    return [
        Reading(variable, variable, f"s{column}", day(row), float(value[row, column]), known(row))
        for row in (range(len(value)) if rows is None else rows)
        for column in range(value.shape[1])
        if np.isfinite(value[row, column])
    ]


def open_suspects(archive: Archive) -> set[tuple[str, date, float]]:
    return {(item.at.series, item.at.day, item.value) for item in archive.suspects()}


def spiked() -> Values:
    value = levels(40, 8)
    value[30, 2] = 0.0
    value[35, 5] += 40.0
    return value


def test_what_is_doubted_is_named_with_check_reason_and_count(archive: Archive) -> None:
    archive.add(readings("level", spiked()))
    report = judge(archive, region(), NOW)
    assert (report.readings, report.doubted) == (320, 2)
    assert [(item.feed, item.check.value, item.count) for item in report.counts] == [
        ("level", "step", 1),
        ("level", "zero_level", 1),
    ]
    zero, step = archive.suspects()
    assert zero.at == SeriesDay("level", "level", "s2", day(30))
    assert [finding.check for finding in zero.findings] == ["zero_level"]
    assert not zero.extreme
    assert step.extreme
    assert "from the level of 1 days before" in step.findings[0].detail
    assert archive.suspect_counts() == {("level", "step"): 1, ("level", "zero_level"): 1}
    value = archive.values("level", [day(30), day(35)]).value
    assert np.isnan(value[0, 2])
    assert np.isnan(value[1, 5])


def test_judging_again_doubts_nothing_more(archive: Archive) -> None:
    archive.add(readings("level", spiked()))
    judge(archive, region(), NOW)
    before = open_suspects(archive), archive.newest_row()
    assert ensure_judged(archive, region(), NOW).doubted == 0
    archive.set_judged_row(0)  # as if the last run had been killed before its end
    assert judge(archive, region(), NOW).doubted == 0
    assert (open_suspects(archive), archive.newest_row()) == before


def test_an_empty_archive_has_nothing_to_judge(archive: Archive) -> None:
    assert judge(archive, region(), NOW).readings == 0


def test_only_what_is_fresh_is_looked_at(archive: Archive) -> None:
    value = levels(40, 8)
    archive.add(readings("level", value, range(39)))
    judge(archive, region(), NOW)
    archive.add(readings("level", value, [39]))
    assert judge(archive, region(), NOW).readings == 8
    assert ensure_judged(archive, region(), NOW).readings == 0


def test_progress_is_told_in_days(archive: Archive) -> None:
    archive.add(readings("level", levels(20, 8)))
    told: list[tuple[int, int]] = []
    judge(archive, region(), NOW, lambda done, total: told.append((done, total)))
    assert told == [(20, 20)]


def test_a_doubt_is_known_with_its_reading(archive: Archive) -> None:
    archive.add(readings("level", spiked()))
    judge(archive, region(), NOW)
    assert {(item.at.series, item.known_at) for item in archive.suspects()} == {
        ("s2", known(30)),
        ("s5", known(35)),
    }
    assert np.isnan(archive.values("level", [day(30)], as_of=known(30)).value[0, 2])


def test_a_doubt_that_needs_later_readings_is_known_with_them(archive: Archive) -> None:
    value = np.round(rain(40, 8) + 2.0, 1)
    value[30:33] = np.round(np.random.default_rng(3).uniform(11, 30, (3, 8)), 1)
    value[30:33, 4] = 12.4  # two equal days are chance, three are not
    archive.add(readings("rain", value))
    judge(archive, region('[quality]\noff = ["repeated_block", "stale_page"]\n'), NOW)
    found = {item.at.day: item.known_at for item in archive.suspects() if item.value == 12.4}
    assert found == {day(31): known(32), day(32): known(32)}
    before = archive.values("rain", [day(31)], as_of=known(31)).value[0, 4]
    assert before == pytest.approx(12.4)
    assert np.isnan(archive.values("rain", [day(31)], as_of=known(32)).value[0, 4])


def test_a_neighbour_that_comes_late_is_evidence_from_then_on(archive: Archive) -> None:
    value = np.zeros((40, 8))
    value[30] = [22.4, 18.1, 0.0, 31.2, 16.6, 40.2, 13.3, 12.8]
    archive.add(item for item in readings("rain", value) if item.day != day(30) or item.series == "s2")
    assert judge(archive, region(), NOW).doubted == 0
    late = known(35)
    archive.add(
        Reading("rain", "rain", f"s{column}", day(30), float(value[30, column]), late)
        for column in (0, 1, 3, 4, 5, 6, 7)
    )
    judge(archive, region(), NOW)
    assert [(item.at.series, item.known_at) for item in archive.suspects()] == [("s2", late)]


def test_a_context_that_comes_late_does_not_change_what_was_told_before(archive: Archive) -> None:
    value = np.round(rain(40, 8) + 2.0, 1)
    value[30:33, 4] = 14.2
    late = {(row, 4) for row in (30, 31)}
    on_time = np.where([[(row, column) in late for column in range(8)] for row in range(40)], np.nan, value)
    archive.add(readings("rain", on_time))
    judge(archive, region(), NOW)
    told = archive.values("rain", [day(32)], as_of=known(34)).value[0, 4]
    assert told == pytest.approx(14.2)
    for row in (30, 31):
        archive.add([Reading("rain", "rain", "s4", day(row), 14.2, known(39))])
    judge(archive, region(), NOW)
    assert archive.values("rain", [day(32)], as_of=known(34)).value[0, 4] == told
    found = {item.at.day: item.known_at for item in archive.suspects() if item.value == 14.2}
    assert found == {day(31): known(39), day(32): known(39)}


def test_readings_from_before_there_were_checks_are_doubted_from_now_on(tmp_path: Path) -> None:
    path = tmp_path / "readings.sqlite"
    with sqlite3.connect(path) as raw:
        raw.executescript(MIGRATIONS[0])
        raw.execute("PRAGMA user_version = 1")
        raw.execute("INSERT INTO series VALUES (1, 'dams', 'level', 'A', ?)", (to_stamp(LONG_AGO),))
        raw.execute("INSERT INTO position VALUES (1, 1, ?, 11.0, 44.0, NULL)", (to_stamp(LONG_AGO),))
        for row in range(40):
            cells = (day(row).isoformat(), 0.0 if row == 30 else 100.0 + row / 10, to_stamp(known(row)))
            raw.execute("INSERT INTO reading VALUES (NULL, 1, ?, ?, ?, NULL, NULL, '', 'good', '', 0)", cells)
    raw.close()
    with Archive(path, lambda: NOW) as archive:
        assert ensure_judged(archive, region(), NOW).doubted == 1
        assert {item.known_at for item in archive.suspects()} == {NOW}
        assert archive.values("level", [day(30)], as_of=known(35)).value[0, 0] == 0.0
        assert np.isnan(archive.values("level", [day(30)]).value[0, 0])


def test_what_a_person_accepted_is_not_doubted_again(archive: Archive) -> None:
    value = spiked()
    archive.add(readings("level", value))
    judge(archive, region(), NOW)
    step = archive.suspects()[1]
    archive.accept(step.number, "K. Nair", "the gate was opened", NOW)
    archive.add([Reading("level", "level", "s5", day(35), float(value[35, 5]), NOW + timedelta(days=1))])
    archive.set_judged_row(0)
    assert judge(archive, region(), NOW + timedelta(days=2)).doubted == 0
    assert archive.values("level", [day(35)]).value[0, 5] == pytest.approx(value[35, 5])


def test_what_a_person_rejected_is_no_evidence(archive: Archive) -> None:
    value = np.round(rain(40, 8) + 2.0, 1)
    value[29:34] = np.round(np.random.default_rng(3).uniform(11, 30, (5, 8)), 1)
    value[30:33, 4] = 12.4
    archive.add(readings("rain", value, range(32)))
    archive.reject_reading(SeriesDay("rain", "rain", "s4", day(30)), "K. Nair", "stuck", NOW)
    archive.add(readings("rain", value, range(32, 40)))
    judge(archive, region('[quality]\noff = ["repeated_block", "stale_page", "accumulation"]\n'), NOW)
    assert not [item for item in archive.suspects() if item.value == 12.4]


def test_a_doubted_correction_leaves_the_value_before_it_and_a_sound_one_ends_the_doubt(
    archive: Archive,
) -> None:
    value = levels(40, 8)
    archive.add(readings("level", value))
    judge(archive, region(), NOW)
    feet = float(value[20, 3]) * 3.2808
    archive.add([Reading("level", "level", "s3", day(20), feet, NOW)])
    judge(archive, region(), NOW)
    assert [item.value for item in archive.suspects()] == [feet]
    assert archive.values("level", [day(20)]).value[0, 3] == pytest.approx(value[20, 3])
    archive.add([Reading("level", "level", "s3", day(20), 601.0, NOW + timedelta(hours=1))])
    judge(archive, region(), NOW + timedelta(hours=1))
    assert archive.suspects() == []
    assert archive.values("level", [day(20)]).value[0, 3] == pytest.approx(601.0)


def test_a_check_may_be_switched_off(archive: Archive) -> None:
    archive.add(readings("level", spiked()))
    judge(archive, region('[quality]\noff = ["step"]\n'), NOW)
    assert archive.suspect_counts() == {("level", "zero_level"): 1}


@hypothesis_settings(max_examples=6)
@given(st.permutations(range(30, 40)), st.sets(st.integers(1, 9), max_size=3), st.integers(0, 100))
def test_the_order_of_delivery_does_not_matter(order: list[int], breaks: set[int], seed: int) -> None:
    value = rain(40, 8, seed)
    value[33, 1] = 160.0
    value[35] = value[34] = np.round(np.linspace(11.2, 30.1, 8), 1)
    value[37] = [22.4, 0.0, 31.0, 18.2, 12.6, 40.8, 16.2, 19.9]
    everything = [list(range(40))]
    pieces = [list(range(30)), *cut(order, breaks)]
    at_once = delivered(value, everything, each=False)
    assert ("s1", day(37), 0.0) in at_once
    assert delivered(value, pieces, each=False) == at_once
    # What was doubted before its context came stays with a person; nothing is missed.
    assert delivered(value, pieces, each=True) >= at_once


def delivered(value: Values, pieces: Sequence[list[int]], *, each: bool) -> set[tuple[str, date, float]]:
    with TemporaryDirectory() as folder, opened(Path(folder)) as archive:
        for piece in pieces:
            archive.add(readings("rain", value, piece))
            if each:
                judge(archive, region(), NOW)
        judge(archive, region(), NOW)
        return open_suspects(archive)


def cut(order: list[int], breaks: set[int]) -> list[list[int]]:
    return [order[start:end] for start, end in pairwise([0, *sorted(breaks), len(order)])]


def test_days_that_come_one_by_one_are_doubted_as_in_an_import_at_once(tmp_path: Path) -> None:
    value = rain(45, 8, 5)
    value[33, 1] = 160.0
    value[35] = value[34] = np.round(np.linspace(11.2, 30.1, 8), 1)
    value[38:42, 6] = 14.2
    outcomes = []
    for name in ("once", "daily"):
        (tmp_path / name).mkdir()
        with opened(tmp_path / name) as archive:
            if name == "once":
                archive.add(readings("rain", value))
                judge(archive, region(), NOW)
            else:
                for row in range(45):
                    archive.add(readings("rain", value, [row]))
                    judge(archive, region(), known(row))
            outcomes.append(open_suspects(archive))
    assert outcomes[0] == outcomes[1]
    assert ("s6", day(39), 14.2) in outcomes[0]


def test_a_fault_that_outlasts_the_context_does_not_become_the_usual_state(archive: Archive) -> None:
    value = levels(300, 2)
    value[130:, 1] *= 3.2808
    for start in (0, *range(130, 300, 34)):
        end = 130 if start == 0 else start + 34
        archive.add(readings("level", value, range(start, end)))
        judge(archive, region(), known(end))
    assert {item.at.day for item in archive.suspects()} == {day(row) for row in range(130, 300)}
    assert {finding.check for item in archive.suspects() for finding in item.findings} == {"level_unit"}


def test_a_mistake_that_leaves_the_context_puts_nothing_else_in_doubt(archive: Archive) -> None:
    value = levels(300, 2)
    value[100, 1] /= 10
    for row in range(0, 300, 5):
        archive.add(readings("level", value, range(row, row + 5)))
        judge(archive, region(), known(row + 5))
    assert [(item.at.series, item.at.day) for item in archive.suspects()] == [("s1", day(100))]


def satellite(rows: Sequence[int], amount: float) -> list[Grid]:
    return [
        Grid(
            day=day(row),
            values=np.full((4, 12), amount + row / 10, dtype=np.float32),
            transform=Affine(0.1, 0.0, 10.6, 0.0, -0.1, 44.2),
            crs=CRS.from_epsg(4326),
            ends_at=to_stamp(known(row)),
            source=f"day {row}",
        )
        for row in rows
    ]


def test_the_satellite_is_a_witness_from_when_it_is_known(archive: Archive) -> None:
    value = rain(40, 8, 6)
    value[35] = 0.0
    archive.add(readings("rain", value, range(35)))
    judge(archive, region(), NOW)
    arrived = known(36)
    archive.rasters.add("satellite", "rain", satellite([35], 25.0), arrived)
    archive.add(readings("rain", value, [35]))
    judge(archive, region(), NOW)
    assert archive.suspect_counts() == {("rain", "false_zero"): 8}
    assert {item.known_at for item in archive.suspects()} == {arrived}
    assert "the satellite 28.5 mm" in archive.suspects()[0].findings[0].detail


def test_a_raster_that_cannot_be_read_is_no_witness_and_no_obstacle(archive: Archive) -> None:
    value = rain(40, 8, 6)
    value[35] = 0.0
    value[36, 2] = 400.1
    archive.rasters.add("satellite", "rain", satellite(range(30, 37), 25.0), known(36))
    for file in (archive.rasters.folder / "rasters").rglob("*.npz"):
        file.write_bytes(b"")
    archive.add(readings("rain", value))
    judge(archive, region(), NOW)
    assert {check for _, check in archive.suspect_counts()} >= {"physical_range"}
    assert ("rain", "false_zero") not in archive.suspect_counts()


def test_thresholds_for_a_feed_that_does_not_exist_are_an_error() -> None:
    with pytest.raises(SettingsError, match=r"quality\.feeds names no feed: nosuch"):
        region('[quality.feeds.nosuch]\noff = ["step"]\n')


def test_a_satellite_day_that_comes_after_the_gauges_is_a_witness_with_the_next_readings(
    archive: Archive,
) -> None:
    value = rain(40, 8, 6)
    value[35] = 0.0
    archive.add(readings("rain", value, range(36)))
    assert judge(archive, region(), NOW).doubted == 0
    archive.rasters.add("satellite", "rain", satellite([35], 25.0), known(37))
    archive.add(readings("rain", value, [36]))
    judge(archive, region(), NOW)
    assert {(item.at.day, item.known_at) for item in archive.suspects()} == {(day(35), known(37))}
