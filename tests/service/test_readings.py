"""Promises of the archive: nothing is overwritten, and what was known then can be seen again."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError, StorageError
from service.quality import Quality
from service.reading_values import Reading, SeriesPosition
from service.readings import Archive

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
FIRST = date(2026, 3, 1)
DAYS = [FIRST + timedelta(days=n) for n in range(5)]
NAN = math.nan


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as opened:
        opened.add_series("gauges", "rain", places("A", "B"), NOW - timedelta(days=100))
        yield opened


def places(*names: str) -> list[SeriesPosition]:
    return [SeriesPosition(name, 11.0 + index, 44.0, 180.0) for index, name in enumerate(names)]


def rain(value: float, day: date = FIRST, series: str = "A", **more: object) -> Reading:
    return replace(Reading("gauges", "rain", series, day, value), **more)  # type: ignore[arg-type]


def table(archive: Archive, as_of: datetime | None = None) -> list[list[float | None]]:
    value = archive.values("rain", DAYS, as_of).value
    return [[None if math.isnan(cell) else float(cell) for cell in row] for row in value]


def test_values_are_by_day_and_series_and_nan_where_nothing_was_read(archive: Archive) -> None:
    archive.add([rain(1.5), rain(0.0, DAYS[2], "B")])
    read = archive.values("rain", DAYS)
    assert read.value.dtype == np.float32
    assert [series.id for series in read.series] == ["A", "B"]
    assert read.days == tuple(DAYS)
    np.testing.assert_array_equal(read.value[:3], [[1.5, NAN], [NAN, NAN], [NAN, 0.0]])


def test_days_may_be_asked_for_in_any_order_with_gaps(archive: Archive) -> None:
    archive.add([rain(float(n), day) for n, day in enumerate(DAYS)])
    assert archive.values("rain", [DAYS[4], DAYS[1]]).value[:, 0].tolist() == [4.0, 1.0]
    assert archive.values("rain", []).value.shape[0] == 0
    with pytest.raises(ValueError, match="twice"):
        archive.values("rain", [FIRST, FIRST])


def test_the_same_value_again_adds_no_row(archive: Archive) -> None:
    assert archive.add([rain(1.5)]).new == 1
    report = archive.add([rain(1.5)], NOW + timedelta(days=1))
    assert (report.new, report.corrected, report.unchanged) == (0, 0, 1)
    assert len(archive.history("gauges", "rain", "A", FIRST)) == 1


def test_a_correction_is_a_new_row_and_the_old_view_stays(archive: Archive) -> None:
    archive.add([rain(1.5)])
    report = archive.add([rain(9.0)], NOW + timedelta(hours=1))
    assert report.corrected == 1
    assert table(archive)[0][0] == 9.0
    assert table(archive, NOW)[0][0] == 1.5
    assert table(archive, NOW - timedelta(seconds=1))[0][0] is None
    assert [row.value for row in archive.history("gauges", "rain", "A", FIRST)] == [1.5, 9.0]


def test_a_correction_back_to_the_first_value_is_a_third_row(archive: Archive) -> None:
    for hours, value in enumerate([1.0, 2.0, 1.0]):
        archive.add([rain(value)], NOW + timedelta(hours=hours))
    assert len(archive.history("gauges", "rain", "A", FIRST)) == 3
    assert [table(archive, NOW + timedelta(hours=h))[0][0] for h in range(3)] == [1.0, 2.0, 1.0]


def test_a_clock_that_was_set_back_does_not_hide_a_correction(archive: Archive) -> None:
    archive.add([rain(1.0)], NOW)
    archive.add([rain(2.0)], NOW - timedelta(days=2))
    assert table(archive)[0][0] == 2.0
    assert archive.add([rain(2.0)], NOW - timedelta(days=1)).unchanged == 1


def test_an_assumed_time_holds_for_the_first_row_only(archive: Archive) -> None:
    early = datetime(2026, 3, 2, 6, tzinfo=UTC)
    archive.add([rain(1.0, known_at=early, known_at_assumed=True)])
    archive.add([rain(2.0, known_at=early, known_at_assumed=True)], NOW)
    first, second = archive.history("gauges", "rain", "A", FIRST)
    assert (first.known_at, first.known_at_assumed) == (early, True)
    assert (second.known_at, second.known_at_assumed) == (NOW, False)
    assert table(archive, NOW - timedelta(seconds=1))[0][0] == 1.0


def test_rejected_readings_and_forecasts_are_kept_and_never_seen_among_the_values(archive: Archive) -> None:
    archive.add_series("outlook", "rain", places("A"))
    report = archive.add(
        [
            rain(5000.0, quality=Quality.REJECTED, reason="range"),
            rain(12.0, feed="outlook", issued_at=NOW, member=3),
        ]
    )
    assert (report.rejected, report.new) == (1, 1)
    assert [series.feed for series in archive.values("rain", DAYS).series] == ["gauges", "gauges"]
    assert table(archive)[0] == [None, None]
    (rejected,) = archive.history("gauges", "rain", "A", FIRST)
    assert (rejected.quality, rejected.reason) == (Quality.REJECTED, "range")
    (ahead,) = archive.history("outlook", "rain", "A", FIRST)
    assert (ahead.quality, ahead.issued_at, ahead.member) == (Quality.GOOD, NOW, 3)
    assert archive.newest_day() is None


def test_a_rejected_correction_leaves_the_good_value_standing(archive: Archive) -> None:
    archive.add([rain(3.0)])
    archive.add([rain(5000.0, quality=Quality.REJECTED)], NOW + timedelta(hours=1))
    assert table(archive)[0][0] == 3.0


def test_the_newest_known_at_is_of_the_readings_that_are_used(archive: Archive) -> None:
    archive.add([rain(1.0, known_at=NOW - timedelta(hours=3)), rain(2.0, DAYS[1], known_at=NOW)])
    archive.add([rain(7.0, date(2025, 1, 1), known_at=NOW + timedelta(hours=9))])
    read = archive.values("rain", DAYS)
    assert read.known_at == "2026-03-10T09:30:00.000000Z"
    assert read.known_at_by_day[:3] == ("2026-03-10T06:30:00.000000Z", read.known_at, None)
    assert archive.values("rain", DAYS[2:]).known_at is None


def test_a_gauge_that_moved_has_a_column_for_each_position(archive: Archive) -> None:
    moved = datetime(2026, 3, 3, 12, tzinfo=UTC)
    assert archive.add_series("gauges", "rain", [SeriesPosition("A", 11.9, 44.9, 200.0)], moved) == 1
    archive.add([rain(float(n), day) for n, day in enumerate(DAYS)])
    read = archive.values("rain", DAYS)
    assert [(item.id, item.lon) for item in read.series] == [("A", 11.0), ("A", 11.9), ("B", 12.0)]
    assert [item.valid_to for item in read.series[:2]] == [DAYS[1], None]
    assert read.series[1].valid_from == DAYS[2]
    np.testing.assert_array_equal(read.value[:, 0], [0, 1, NAN, NAN, NAN])
    np.testing.assert_array_equal(read.value[:, 1], [NAN, NAN, 2, 3, 4])
    assert [item.lon for item in archive.values("rain", DAYS[2:]).series] == [11.9, 12.0]
    assert [item.lon for item in archive.series("rain")] == [11.9, 12.0]
    assert [item.lon for item in archive.series("rain", moved - timedelta(hours=1))] == [11.0, 12.0]


def test_the_same_position_again_is_no_move(archive: Archive) -> None:
    assert archive.add_series("gauges", "rain", places("A", "B"), NOW) == 0


def test_a_position_that_is_not_known_stays_unknown(archive: Archive) -> None:
    archive.add_series("dams", "level", [SeriesPosition("D", NAN, NAN)])
    (series,) = archive.series("level")
    assert math.isnan(series.lon)
    assert series.elevation_m is None
    assert archive.add_series("dams", "level", [SeriesPosition("D", NAN, NAN)]) == 0


def test_imported_history_makes_a_series_known_from_its_first_reading(archive: Archive) -> None:
    archive.add_series("gauges", "rain", [SeriesPosition("C", 13.0, 44.0)], NOW)
    then = datetime(2015, 1, 2, 6, tzinfo=UTC)
    assert "C" not in [series.id for series in archive.series("rain", then)]
    archive.add([rain(4.0, date(2015, 1, 1), "C", known_at=then, known_at_assumed=True)])
    read = archive.values("rain", [date(2015, 1, 1)], then)
    assert [series.id for series in read.series] == ["C"]
    assert read.value.tolist() == [[4.0]]


def test_two_feeds_may_know_a_series_by_the_same_name(archive: Archive) -> None:
    archive.add_series("other", "rain", [SeriesPosition("A", 10.0, 43.0)])
    archive.add([rain(1.0), rain(2.0, feed="other")])
    read = archive.values("rain", DAYS)
    assert [(series.feed, series.id) for series in read.series] == [
        ("gauges", "A"),
        ("gauges", "B"),
        ("other", "A"),
    ]
    np.testing.assert_array_equal(read.value[0], [1.0, NAN, 2.0])


def test_first_and_newest_day_are_of_good_readings(archive: Archive) -> None:
    assert archive.first_day() is None
    archive.add([rain(1.0, DAYS[3], "B"), rain(1.0, DAYS[1]), rain(-5.0, DAYS[4], quality=Quality.REJECTED)])
    assert (archive.first_day("rain"), archive.newest_day("rain")) == (DAYS[1], DAYS[3])
    assert archive.newest_day() == DAYS[3]
    assert archive.newest_day("level") is None


def test_a_series_without_a_position_and_a_value_that_is_missing_are_refused_whole(archive: Archive) -> None:
    with pytest.raises(InputError, match="'Z'"):
        archive.add([rain(1.0), rain(1.0, series="Z")])
    with pytest.raises(ValueError, match="nan"):
        archive.add([rain(1.0), rain(NAN, DAYS[1])])
    assert table(archive)[0][0] is None
    assert archive.feed_statistics()[0].readings == {}


def test_a_moment_without_a_time_zone_is_refused(archive: Archive) -> None:
    with pytest.raises(ValueError, match="time zone"):
        archive.values("rain", DAYS, datetime(2026, 3, 1))  # noqa: DTZ001


def test_no_one_can_overwrite_or_remove_a_reading(archive: Archive) -> None:
    archive.add([rain(1.0)])
    with sqlite3.connect(archive.path) as raw:
        for statement in ("UPDATE reading SET value = 2", "DELETE FROM reading"):
            with pytest.raises(sqlite3.IntegrityError, match="never"):
                raw.execute(statement)
    raw.close()


def test_an_interrupted_block_keeps_nothing_and_the_archive_goes_on(archive: Archive) -> None:
    def interrupted() -> Iterator[Reading]:
        archive.add_series("gauges", "rain", [SeriesPosition("C", 13.0, 44.0)])
        yield rain(1.0, series="C")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        archive.add(interrupted())
    assert [series.id for series in archive.series("rain")] == ["A", "B"]
    archive.add_series("gauges", "rain", [SeriesPosition("C", 13.0, 44.0)])
    assert archive.add([rain(1.0, series="C")]).new == 1


def test_a_full_disk_keeps_what_was_there_and_says_what_to_do(archive: Archive) -> None:
    archive.add([rain(1.0)])
    pages = archive._db.execute("PRAGMA page_count").fetchone()[0]
    archive._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(StorageError, match=r"no space left for .*readings\.sqlite"):
        archive.add([rain(float(n % 50), FIRST - timedelta(days=n)) for n in range(1, 3000)])
    assert archive.first_day() == FIRST


def test_a_value_said_again_outlasts_a_correction_of_an_earlier_moment(tmp_path: Path) -> None:
    with Archive(tmp_path / "r.sqlite", lambda: NOW) as archive:
        archive.add_series("gauges", "rain", places("A"), NOW - timedelta(days=100))
        archive.add([rain(1.0, known_at=NOW), rain(1.0, known_at=NOW + timedelta(hours=2))])
        archive.add([rain(0.0, known_at=NOW + timedelta(hours=1))])

        assert archive.values("rain", [FIRST]).value.tolist() == [[1.0]]
        then = NOW + timedelta(hours=1)
        assert archive.values("rain", [FIRST], as_of=then).value.tolist() == [[0.0]]


def test_what_was_acknowledged_is_there_for_the_next_process(tmp_path: Path) -> None:
    with Archive(tmp_path / "r.sqlite", lambda: NOW) as writer:
        writer.add_series("gauges", "rain", places("A"))
        writer.add([rain(4.5)])
        with Archive(tmp_path / "r.sqlite") as reader:
            assert reader.values("rain", [FIRST]).value.tolist() == [[4.5]]


# --- properties ---

VALUES = st.floats(0, 2000, width=32)
EVENTS = st.lists(
    st.tuples(st.integers(0, 4), st.sampled_from("AB"), VALUES, st.integers(0, 20)), max_size=25
)


def fresh(folder: str) -> Archive:
    archive = Archive(Path(folder) / "r.sqlite", lambda: NOW)
    archive.add_series("gauges", "rain", places("A", "B"), NOW - timedelta(days=100))
    return archive


def readings_of(events: Sequence[tuple[int, str, float, int]]) -> list[Reading]:
    return [
        rain(value, DAYS[day], series, known_at=NOW + timedelta(hours=hour))
        for day, series, value, hour in events
    ]


@settings(max_examples=25, deadline=None)
@given(EVENTS)
def test_any_set_of_readings_comes_back_as_the_newest_of_each_day(
    events: list[tuple[int, str, float, int]],
) -> None:
    expected: dict[tuple[int, str], tuple[int, float]] = {}
    for day, series, value, hour in events:
        if hour >= expected.get((day, series), (-1, 0.0))[0]:
            expected[day, series] = (hour, value)
    with TemporaryDirectory() as folder, fresh(folder) as archive:
        archive.add(readings_of(events))
        read = archive.values("rain", DAYS)
    for day in range(5):
        for column, series in enumerate("AB"):
            cell = read.value[day, column]
            if (day, series) in expected:
                assert cell == np.float32(expected[day, series][1])
            else:
                assert math.isnan(cell)


@settings(max_examples=25, deadline=None)
@given(EVENTS, EVENTS, st.integers(0, 20))
def test_a_view_never_changes_by_what_becomes_known_later(
    before: list[tuple[int, str, float, int]], after: list[tuple[int, str, float, int]], hour: int
) -> None:
    moment = NOW + timedelta(hours=hour)
    later = [(day, series, value, hour + 1 + more) for day, series, value, more in after]
    with TemporaryDirectory() as folder, fresh(folder) as archive:
        archive.add(readings_of(before))
        seen = archive.values("rain", DAYS, moment)
        archive.add(readings_of(later))
        archive.add_series("gauges", "rain", [SeriesPosition("A", 1.0, 2.0)], moment + timedelta(hours=1))
        archive.add_series("gauges", "rain", places("C"), moment + timedelta(hours=1))
        again = archive.values("rain", DAYS, moment)
    np.testing.assert_array_equal(seen.value, again.value)
    assert (seen.series, seen.known_at) == (again.series, again.known_at)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from("AB"), VALUES), unique_by=lambda row: row[:2]))
def test_adding_twice_is_adding_once(rows: list[tuple[int, str, float]]) -> None:
    readings = [rain(value, DAYS[day], series) for day, series, value in rows]
    with TemporaryDirectory() as folder, fresh(folder) as archive:
        assert archive.add(readings).new == len(rows)
        report = archive.add(readings, NOW + timedelta(days=1))
        assert (report.new, report.corrected, report.unchanged) == (0, 0, len(rows))
