"""Promises of the ingest: idempotent, all or nothing by feed, nothing lost, nothing assumed that was seen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import FeedError, StorageError
from service.feed_log import Problem
from service.feeds.base import Batch
from service.feeds.fake import FakeFeed, batch_of
from service.ingest import FeedReport, IngestReport, ingest
from service.quality import Limits, Observation, Reason
from service.reading_values import SeriesPosition
from service.readings import Archive
from tests.fix_feeds import NOW, csv_feed, region_settings, take_in

HEADER = "series,day,value\n"
A_AND_B = (SeriesPosition("A", 11.5, 44.2), SeriesPosition("B", 11.6, 44.3))
MARCH_1, MARCH_2 = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as opened:
        yield opened


def run(archive: Archive, *feeds: FakeFeed, now: datetime = NOW, **more: Any) -> IngestReport:
    return ingest(region_settings(archive.path.parent), archive, now, feeds=feeds, **more)


def fake(values: dict[tuple[str, date], float], **more: Any) -> FakeFeed:
    return FakeFeed("rain", "rain", [batch_of(values, A_AND_B, **more)])


def counts(report: FeedReport) -> tuple[int, int, int, int]:
    return report.new, report.corrected, report.unchanged, report.rejected


def value(archive: Archive, day: date, series: str = "A", as_of: datetime | None = None) -> float | None:
    read = archive.values("rain", [day], as_of)
    found = {item.id: float(cell) for item, cell in zip(read.series, read.value[0], strict=True)}
    return found[series] if series in found and found[series] == found[series] else None


# --- good and bad rows ---


def test_a_file_is_taken_in_and_the_second_time_nothing_changes(tmp_path: Path, archive: Archive) -> None:
    feed = csv_feed(
        tmp_path, HEADER + "A,2026-03-01,1.5\nB,2026-03-01,0\nA,2026-03-01,1.5\nA,2026-03-02,-5\n"
    )
    first = take_in(tmp_path, feed, archive)
    assert counts(first) == (2, 0, 0, 1)
    assert (first.outcome, first.repeated, first.newest_day, first.error) == ("ok", 1, MARCH_1, None)
    again = take_in(tmp_path, feed, archive, NOW + timedelta(hours=1))
    assert counts(again) == (0, 0, 2, 1)
    assert len(archive.log.rejections()) == 1
    assert archive.feed_statistics()[0].readings == {"good": 2, "rejected": 1}


def test_each_kind_of_bad_row_is_kept_with_its_reason_and_costs_no_other(
    tmp_path: Path, archive: Archive
) -> None:
    lines = [
        "A,2026-03-01,1.5",
        "A,2026-03-02,2500",
        "A,2026-03-11,1",
        "A,2026-03-03,abc",
        "C,2026-03-01,1",
        "A,2026-03-04,1",
        "A,2026-03-04,2",
        "A,soon,1",
    ]
    report = take_in(tmp_path, csv_feed(tmp_path, HEADER + "\n".join(lines) + "\n"), archive)
    kept = {(item.reason, item.row, item.raw) for item in archive.log.rejections("rain")}
    assert kept == {
        (Reason.RANGE, 3, lines[1]),
        (Reason.FUTURE, 4, lines[2]),
        (Reason.NUMBER, 5, lines[3]),
        (Reason.UNKNOWN_SERIES, 6, lines[4]),
        (Reason.DUPLICATE, 7, lines[5]),
        (Reason.DUPLICATE, 8, lines[6]),
        (Reason.DATE, 9, lines[7]),
    }
    assert counts(report) == (1, 0, 0, 7)
    assert value(archive, MARCH_1) == 1.5
    assert value(archive, date(2026, 3, 4)) is None
    messages = " ".join(map(str, report.problems))
    for words in ("rain.csv: 1 row rejected (range), first row 3", "2 rows rejected (duplicate)", "'C'"):
        assert words in messages


def test_the_regions_calendar_decides_what_lies_in_the_future(tmp_path: Path, archive: Archive) -> None:
    late = datetime(2026, 3, 10, 23, 30, tzinfo=UTC)  # in Rome it is the 11th
    feed = csv_feed(tmp_path, HEADER + "A,2026-03-11,1\n")
    assert counts(take_in(tmp_path, feed, archive, late)) == (1, 0, 0, 0)


def test_duplicates_are_found_across_files_and_name_them(tmp_path: Path, archive: Archive) -> None:
    (tmp_path / "x1.csv").write_text(HEADER + "A,2026-03-01,1\nB,2026-03-01,1\n")
    (tmp_path / "x2.csv").write_text(HEADER + "A,2026-03-01,2\n")
    report = take_in(tmp_path, csv_feed(tmp_path, path=str(tmp_path / "x*.csv")), archive)
    assert counts(report) == (1, 0, 0, 2)
    detail = archive.log.rejections()[0].detail
    assert "x1.csv row 2" in detail
    assert "x2.csv row 2" in detail


def test_a_feed_may_narrow_the_range(tmp_path: Path, archive: Archive) -> None:
    feed = csv_feed(tmp_path, HEADER + "A,2026-03-01,400\n", maximum=300)
    report = take_in(tmp_path, feed, archive)
    assert report.outcome == "failed"
    assert "400 mm is outside 0 to 300 mm" in (report.error or "")


def test_a_gauge_that_no_file_brings_is_told_by_name_and_is_no_error(
    tmp_path: Path, archive: Archive
) -> None:
    report = take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-01,1\nB,2026-03-01,NA\n"), archive)
    (problem,) = report.problems
    assert problem.reason == "missing_series"
    assert problem.message.endswith("no file brings a usable reading of: B")
    assert report.outcome == "ok"


def test_many_files_with_rows_rejected_alike_are_counted_and_not_all_told(
    tmp_path: Path, archive: Archive
) -> None:
    for number in range(25):
        (tmp_path / f"part{number}.csv").write_text(HEADER + f"A,2026-03-01,1\nB,2026-02-{number + 1:02},x\n")
    report = take_in(tmp_path, csv_feed(tmp_path, path=str(tmp_path / "part*.csv")), archive)

    told = [problem.message for problem in report.problems if problem.reason == "number"]
    assert len(told) == 21
    assert told[-1] == "feed rain: rows of 5 more files rejected alike (number)"
    assert report.rejected == 25
    assert report.outcome == "ok"


def test_a_feed_that_brings_nothing_usable_fails_and_keeps_what_it_sent(
    tmp_path: Path, archive: Archive
) -> None:
    report = take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-01,x\n"), archive)
    assert report.outcome == "failed"
    assert "no usable reading" in (report.error or "")
    assert len(archive.log.rejections()) == 1
    statistics = archive.feed_statistics()[0]
    assert statistics.last_success is None
    assert statistics.errors["no_readings"] == 1


def test_a_broken_file_beside_a_good_one_makes_the_feed_partial(tmp_path: Path, archive: Archive) -> None:
    (tmp_path / "x1.csv").write_text("<html>")
    (tmp_path / "x2.csv").write_text(HEADER + "A,2026-03-01,2\nB,2026-03-01,2\n")
    report = take_in(tmp_path, csv_feed(tmp_path, path=str(tmp_path / "x*.csv")), archive)
    assert (report.outcome, report.error, report.new) == ("partial", None, 2)
    assert "x1.csv row 1 looks like a web page" in report.problems[0].message


def test_what_was_said_before_is_unchanged_unless_the_fetch_contradicts_itself(archive: Archive) -> None:
    run(archive, fake({("A", MARCH_1): 1.0, ("B", MARCH_1): 2.0, ("A", MARCH_2): 3.0}))
    rows = [
        *batch_of({("A", MARCH_1): 1.0, ("B", MARCH_1): 2.0, ("A", MARCH_2): 3.0}).rows,
        *batch_of({("B", MARCH_1): 2.0, ("A", MARCH_2): 4.0}).rows,
    ]

    again = FakeFeed("rain", "rain", [Batch(rows, A_AND_B)])
    (report,) = run(archive, again, now=NOW + timedelta(hours=1)).feeds

    assert (counts(report), report.repeated) == ((0, 0, 2, 2), 1)
    assert {item.reason for item in archive.log.rejections()} == {Reason.DUPLICATE}
    (report,) = run(archive, again, now=NOW + timedelta(hours=2), since=MARCH_2).feeds
    assert counts(report) == (0, 0, 0, 2)


def test_a_value_that_comes_back_after_a_correction_is_a_correction(archive: Archive) -> None:
    for hour, said in enumerate((1.0, 5.0, 1.0)):
        run(archive, fake({("A", MARCH_1): said}), now=NOW + timedelta(hours=hour))
        assert value(archive, MARCH_1) == said
    assert len(archive.history("rain", "rain", "A", MARCH_1)) == 3


# --- time ---


def test_history_is_taken_to_have_been_known_when_its_day_was_over(tmp_path: Path, archive: Archive) -> None:
    feed = csv_feed(tmp_path, HEADER + "A,2026-03-01,1.5\n", latency_hours=6)
    take_in(tmp_path, feed, archive)
    (row,) = archive.history("rain", "rain", "A", MARCH_1)
    # The day ends at midnight in Rome, 23:00 UTC.
    assert (row.known_at, row.known_at_assumed) == (datetime(2026, 3, 2, 5, tzinfo=UTC), True)
    assert value(archive, MARCH_1, as_of=datetime(2026, 3, 2, 4, tzinfo=UTC)) is None
    assert value(archive, MARCH_1, as_of=datetime(2026, 3, 2, 6, tzinfo=UTC)) == 1.5


def test_a_reading_fresher_than_its_latency_is_known_from_now(tmp_path: Path, archive: Archive) -> None:
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-09,1.5\n", latency_hours=24), archive)
    (row,) = archive.history("rain", "rain", "A", date(2026, 3, 9))
    assert (row.known_at, row.known_at_assumed) == (NOW, False)


def test_a_feed_that_may_assume_nothing_knows_everything_from_now(tmp_path: Path, archive: Archive) -> None:
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2020-03-09,1.5\n", assume_history=False), archive)
    (row,) = archive.history("rain", "rain", "A", date(2020, 3, 9))
    assert (row.known_at, row.known_at_assumed) == (NOW, False)


def test_a_correction_of_history_is_known_from_now(tmp_path: Path, archive: Archive) -> None:
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-01,1.5\n"), archive)
    later = NOW + timedelta(days=1)
    report = take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-01,9\n"), archive, later)
    assert counts(report) == (0, 1, 0, 0)
    assert value(archive, MARCH_1, as_of=later - timedelta(seconds=1)) == 1.5
    assert value(archive, MARCH_1, as_of=later) == 9.0


def test_what_arrives_late_at_a_watched_feed_was_not_known_before(tmp_path: Path, archive: Archive) -> None:
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-09,1\n"), archive)
    later = NOW + timedelta(days=5)
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-09,1\nA,2026-03-11,7\n"), archive, later)
    assert value(archive, date(2026, 3, 11), as_of=later - timedelta(seconds=1)) is None
    assert value(archive, date(2026, 3, 11), as_of=later) == 7.0


def test_history_before_the_first_fetch_may_be_added_later(tmp_path: Path, archive: Archive) -> None:
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2026-03-09,1\n"), archive)
    take_in(tmp_path, csv_feed(tmp_path, HEADER + "A,2015-03-09,4\n"), archive, NOW + timedelta(days=5))
    assert value(archive, date(2015, 3, 9), as_of=datetime(2015, 3, 11, tzinfo=UTC)) == 4.0


def test_since_and_until_limit_the_days_and_miss_no_one(archive: Archive) -> None:
    feed = fake({("A", MARCH_1 + timedelta(days=n)): float(n) for n in range(5)})
    report = run(archive, feed, since=MARCH_2, until=MARCH_2 + timedelta(days=1)).feeds[0]
    assert report.new == 2
    assert report.problems == ()
    assert (archive.first_day(), archive.newest_day()) == (MARCH_2, date(2026, 3, 3))
    assert feed.calls == [(MARCH_2, date(2026, 3, 3))]


def test_a_moved_gauge_is_a_new_position_from_now(archive: Archive) -> None:
    run(archive, fake({("A", MARCH_1): 1.0}))
    moved = FakeFeed("rain", "rain", [batch_of({("A", MARCH_1): 1.0}, [SeriesPosition("A", 12.0, 45.0)])])
    run(archive, moved, now=NOW + timedelta(days=2))
    assert {series.id: series.lon for series in archive.series("rain")} == {"A": 12.0, "B": 11.6}
    assert {series.id: series.lon for series in archive.series("rain", NOW)} == {"A": 11.5, "B": 11.6}


# --- feeds among each other ---


def test_a_feed_that_fails_leaves_the_archive_as_it_was_and_stops_no_other(archive: Archive) -> None:
    def broken_stream() -> Iterator[Observation]:
        yield from batch_of({("A", MARCH_1): 5.0}).rows  # type: ignore[misc]
        raise FeedError("feed stream: the reply ends in the middle")

    feeds = [
        FakeFeed("down", "rain", [FeedError("feed down: HTTP 503 from gauges.example; it is asked again")]),
        FakeFeed("stream", "rain", [Batch(rows=broken_stream())]),
        FakeFeed("bug", "rain", [KeyError("oops")]),
        fake({("A", MARCH_1): 1.0}),
    ]
    report = run(archive, *feeds)
    assert report.failed == ("down", "stream", "bug")
    assert [feed.outcome for feed in report.feeds] == ["failed", "failed", "failed", "ok"]
    assert "HTTP 503" in (report.feeds[0].error or "")
    assert {series.feed for series in archive.series("rain")} == {"rain"}
    statistics = {item.feed: item for item in archive.feed_statistics()}
    assert statistics["down"].errors == {"feed": 1}
    assert statistics["bug"].errors == {"internal": 1}
    assert statistics["rain"].errors == {}


def test_our_own_disk_failing_is_not_the_feeds_fault(archive: Archive) -> None:
    with pytest.raises(StorageError):
        run(archive, FakeFeed("rain", "rain", [StorageError("readings.sqlite: no space left")]))
    with pytest.raises(StorageError, match="no space left"):
        run(archive, FakeFeed("rain", "rain", [OSError(28, "No space left on device")]))


def test_a_full_disk_loses_nothing_older_and_is_no_half_ingest(archive: Archive) -> None:
    run(archive, fake({("A", MARCH_1): 1.0}))
    pages = archive._db.execute("PRAGMA page_count").fetchone()[0]
    archive._db.execute(f"PRAGMA max_page_count = {pages}")
    many = {("A", date(2010, 1, 1) + timedelta(days=n)): float(n % 9) for n in range(4000)}
    with pytest.raises(StorageError, match=r"readings\.sqlite"):
        run(archive, fake(many))
    assert (archive.first_day(), archive.newest_day()) == (MARCH_1, MARCH_1)
    archive._db.execute("PRAGMA max_page_count = 100000")
    assert run(archive, fake(many)).feeds[0].new == 4000


def test_statistics_tell_attempts_successes_and_the_newest_day(archive: Archive) -> None:
    feed = FakeFeed(
        "rain",
        "rain",
        [batch_of({("A", MARCH_1): 1.0, ("A", MARCH_2): 2.0}, A_AND_B), FeedError("feed rain: down")],
    )
    run(archive, feed)
    run(archive, feed, now=NOW + timedelta(hours=1))
    (statistics,) = archive.feed_statistics()
    assert (statistics.feed, statistics.attempts, statistics.newest_day) == ("rain", 2, MARCH_2)
    assert (statistics.last_success, statistics.last_attempt) == (NOW, NOW + timedelta(hours=1))
    assert statistics.errors == {"feed": 1}
    assert statistics.readings == {"good": 2}


def test_a_batch_may_bring_problems_and_its_own_limits(archive: Archive) -> None:
    rows = [*batch_of({("A", MARCH_1): 1.0, ("A", MARCH_2): 50.0}).rows, Problem("late", "page 2 is missing")]
    batch = Batch(rows, limits=Limits(0, 10, "mm"), problems=(Problem("note", "hello", is_error=False),))
    (report,) = run(archive, FakeFeed("rain", "rain", [batch])).feeds
    assert counts(report) == (1, 0, 0, 1)
    assert report.outcome == "partial"
    assert [problem.reason for problem in report.problems] == ["note", "late", "range"]


def test_a_feed_without_positions_makes_series_that_stand_nowhere(archive: Archive) -> None:
    feed = FakeFeed("dams", "level", [batch_of({("D", MARCH_1): 970.5})])
    run(archive, feed)
    run(archive, feed)
    (series,) = archive.series("level")
    assert (series.id, series.feed) == ("D", "dams")
    assert archive.values("level", [MARCH_1]).value[0, 0] == pytest.approx(970.5)


def test_the_report_can_be_written_as_json_and_progress_ends_complete(archive: Archive) -> None:
    seen: list[tuple[int, int]] = []
    report = run(
        archive, fake({("A", MARCH_1): 1.0}), progress=lambda done, total: seen.append((done, total))
    )
    values = report.to_json()
    assert values["failed"] == []
    assert values["feeds"][0]["newest_day"] == "2026-03-01"
    assert values["feeds"][0]["problems"][0]["reason"] == "missing_series"
    assert seen[-1] == (1, 1)


# --- properties and real data ---


@settings(max_examples=15, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from("ABC"),
            st.sampled_from(["2026-03-01", "2026-03-02", "2026-04-01", "x"]),
            st.sampled_from(["1", "2.5", "NA", "-1", "abc", "1,5"]),
        ),
        max_size=12,
    )
)
def test_the_same_file_again_changes_nothing_whatever_is_in_it(rows: list[tuple[str, str, str]]) -> None:
    with TemporaryDirectory() as name, Archive(Path(name) / "r.sqlite", lambda: NOW) as archive:
        folder = Path(name)
        feed = csv_feed(folder, HEADER + "".join(f"{','.join(row)}\n" for row in rows))
        first = take_in(folder, feed, archive)
        kept, view = archive.log.rejections(), archive.values("rain", [MARCH_1, MARCH_2])
        again = take_in(folder, feed, archive, NOW + timedelta(hours=1))
        assert (again.new, again.corrected, again.unchanged) == (0, 0, first.new)
        assert again.rejected == first.rejected
        assert archive.log.rejections() == kept
        after = archive.values("rain", [MARCH_1, MARCH_2])
        assert (view.value.tobytes(), view.known_at) == (after.value.tobytes(), after.known_at)


SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", Path(__file__).parents[3] / "shared" / "data"))


@pytest.mark.skipif(not (SHARED / "kerala").is_dir(), reason=f"no shared data at {SHARED}")
def test_a_level_in_millimetres_among_real_dam_levels_is_rejected_and_the_rest_is_kept(
    tmp_path: Path, archive: Archive
) -> None:
    dams = SHARED / "kerala" / "dams_daily.csv"
    # The first dam's rows, which hold the fault.
    with dams.open() as file:
        (tmp_path / "rain.csv").write_text("".join(next(file) for _ in range(1000)))
    feed = csv_feed(
        tmp_path,
        variable="level",
        unit="m",
        series_file=tmp_path / "rain.csv",
        series_column="dam",
        day_column="date",
        value_column="water_level",
        series_id_column="dam",
        elevation_column=None,
    )
    report = take_in(tmp_path, feed, archive, datetime(2026, 11, 1, tzinfo=UTC))
    assert report.rejected == 1
    assert report.new > 900
    assert archive.log.rejections()[0].detail.startswith("97343 m is outside")
