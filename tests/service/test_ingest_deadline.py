"""Promises of feeds side by side: one that hangs is named and holds up neither the others nor the end."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from rasterio.crs import CRS

from service.errors import FeedError, StorageError
from service.feed_log import Problem
from service.feeds.base import Batch, Feed, Grid
from service.feeds.fake import FakeFeed, batch_of
from service.fetching import Deadline, fetch_all
from service.ingest import IngestReport, ingest
from service.quality import Observation, Reason
from service.reading_values import ForecastIssue, SeriesPosition
from service.readings import Archive
from service.settings import Settings
from service.settings_csv import CsvFeed
from service.settings_feeds import IngestSettings
from service.stamps import to_stamp
from tests.fix_feeds import NOW, region_settings
from tests.fix_http import Answer, Server, serving

MARCH_1 = date(2026, 3, 1)
A = (SeriesPosition("A", 11.5, 44.2),)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Archive]:
    with Archive(tmp_path / "readings.sqlite", lambda: NOW) as opened:
        yield opened


class Hanging:
    """A feed whose fetch does not come back until the test is over."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.variable = "rain"
        self.begun = threading.Event()
        self.over = threading.Event()

    def fetch(self, since: date | None, until: date | None) -> Batch:
        """Hang."""
        self.begun.set()
        self.over.wait(30)
        return batch_of({("late", MARCH_1): 9.0}, [SeriesPosition("late", 1, 1)])


class Turned:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the seconds."""
        return self.now


def with_ingest(folder: Path, **values: float) -> Settings:
    made = IngestSettings.model_validate(values)
    return region_settings(folder).model_copy(update={"ingest": made})


def good(name: str, value: float = 1.0) -> FakeFeed:
    return FakeFeed(name, "rain", [batch_of({("A", MARCH_1): value}, A)])


def test_a_feed_that_hangs_is_named_and_the_others_are_taken_in(tmp_path: Path, archive: Archive) -> None:
    hanging, clock, feeds = Hanging("stuck"), Turned(), [good("north"), good("south")]

    def progress(done: int, total: int) -> None:
        if done >= 1:
            assert hanging.begun.wait(30)
            clock.now = 601.0  # the deadline of ten minutes has passed

    report = ingest(
        with_ingest(tmp_path, deadline_minutes=10),
        archive,
        NOW,
        feeds=[feeds[0], hanging, feeds[1]],
        progress=progress,
        monotonic=clock,
    )

    assert [(feed.name, feed.outcome) for feed in report.feeds] == [
        ("north", "ok"),
        ("stuck", "failed"),
        ("south", "ok"),
    ]
    (problem,) = report.feeds[1].problems
    assert problem.reason == "deadline"
    assert "feed stuck: not fetched within 10 minutes" in problem.message
    statistics = {item.feed: item for item in archive.feed_statistics()}
    assert statistics["stuck"].errors == {"deadline": 1}
    hanging.over.set()
    assert {series.feed for series in archive.series("rain")} == {"north", "south"}


def test_feeds_that_never_had_their_turn_are_told_apart_from_those_that_hang() -> None:
    hanging, clock = Hanging("stuck"), Turned()
    feeds: list[Feed] = [hanging, good("behind")]
    fetched = fetch_all(feeds, None, None, 1, Deadline(60, clock))
    watch = threading.Thread(target=lambda: (hanging.begun.wait(30), setattr(clock, "now", 61.0)))
    watch.start()

    faults = [str(item.result) for item in fetched]

    watch.join()
    hanging.over.set()
    assert "feed stuck: not fetched within 1 minutes" in faults[0]
    assert "feed behind: its turn did not come within 1 minutes, because of stuck" in faults[1]
    assert feeds[1].calls == []  # type: ignore[attr-defined]


def test_feeds_are_fetched_side_by_side_as_many_as_the_settings_allow(
    archive: Archive, tmp_path: Path
) -> None:
    together = threading.Barrier(3, timeout=30)  # breaks unless all three are fetched at once

    class Meeting(FakeFeed):
        def fetch(self, since: date | None, until: date | None) -> Batch:
            together.wait()
            return super().fetch(since, until)

    feeds = [Meeting(name, "rain", [batch_of({("A", MARCH_1): 1.0}, A)]) for name in ("a", "b", "c")]

    assert ingest(with_ingest(tmp_path, parallel=3), archive, NOW, feeds=feeds).failed == ()
    assert [feed.calls for feed in feeds] == [[(None, None)]] * 3


def test_the_report_keeps_the_order_of_the_settings_whichever_feed_is_first(
    archive: Archive, tmp_path: Path
) -> None:
    first_taken = threading.Event()

    class Slow(FakeFeed):
        def fetch(self, since: date | None, until: date | None) -> Batch:
            assert first_taken.wait(30)
            return super().fetch(since, until)

    slow = Slow("slow", "rain", [batch_of({("A", MARCH_1): 1.0}, A)])
    report = ingest(
        with_ingest(tmp_path),
        archive,
        NOW,
        feeds=[slow, good("quick")],
        progress=lambda done, _: first_taken.set() if done == 0 else None,
    )

    assert [feed.name for feed in report.feeds] == ["slow", "quick"]
    assert report.failed == ()


def test_our_own_fault_in_a_thread_is_ours_and_not_the_feeds(archive: Archive, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="no space"):
        ingest(
            with_ingest(tmp_path),
            archive,
            NOW,
            feeds=[FakeFeed("rain", "rain", [StorageError("no space left on the disk of replies")])],
        )


def test_a_process_ends_although_a_feed_still_hangs() -> None:
    program = """
import threading
from service.feeds.base import Batch
from service.fetching import Deadline, fetch_all
class Stuck:
    name, variable = "stuck", "rain"
    def fetch(self, since, until):
        threading.Event().wait()
print([str(item.result) for item in fetch_all([Stuck()], None, None, 1, Deadline(0.05))])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )

    assert "feed stuck: not fetched" in done.stdout


# --- forecasts and rasters ---


def run(archive: Archive, batch: Batch | FeedError, now: datetime = NOW) -> IngestReport:
    return ingest(
        region_settings(archive.path.parent), archive, now, feeds=[FakeFeed("sky", "rain", [batch])]
    )


def forecast(days: Mapping[date, float], issued_at: datetime = NOW) -> Batch:
    rows = [
        Observation(
            "A",
            day,
            value,
            to_stamp(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1)),
            "api",
            row,
            "",
            issued_at=to_stamp(issued_at),
            member=0,
        )
        for row, (day, value) in enumerate(days.items())
    ]
    return Batch(rows, A, latency=timedelta(hours=6))


def test_a_forecast_may_speak_of_the_future_up_to_sixteen_days_and_is_no_reading(archive: Archive) -> None:
    today = NOW.date()
    days = {today: 1.0, today + timedelta(days=16): 2.0, today + timedelta(days=17): 3.0}

    (report,) = run(archive, forecast(days)).feeds

    assert (report.new, report.rejected, report.outcome) == (2, 1, "ok")
    assert archive.log.rejections()[0].reason is Reason.FUTURE
    assert "more than 16 days ahead" in archive.log.rejections()[0].detail
    assert np.isnan(archive.values("rain", list(days)).value).all()
    said = archive.forecast_values("rain", list(days), ForecastIssue("sky", NOW, today, member=0)).value[:, 0]
    np.testing.assert_array_equal(said, [1.0, 2.0, np.nan])
    (statistics,) = archive.feed_statistics()
    assert (statistics.newest_day, statistics.newest_issue) == (None, NOW)


def test_a_forecast_is_never_taken_to_have_been_known_before_it_came(archive: Archive) -> None:
    old = NOW - timedelta(days=30)
    run(archive, forecast({old.date(): 4.0}, issued_at=old))

    (row,) = archive.history("sky", "rain", "A", old.date())

    assert (row.known_at, row.known_at_assumed) == (NOW, False)


def grid(day: date, value: float = 3.0, **more: str) -> Grid:
    values = np.full((2, 3), value, np.float32)
    values[0, 0] = np.nan
    ends_at = to_stamp(datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1))
    return Grid(
        day, values, Affine(0.05, 0, 11, 0, -0.05, 45), CRS.from_epsg(4326), ends_at, "rain.tif", **more
    )


def grids(*items: Grid | Problem) -> Batch:
    return Batch((), grids=iter(items), latency=timedelta(hours=6))


def test_days_of_rasters_are_taken_in_with_their_feed_and_counted(archive: Archive) -> None:
    (report,) = run(archive, grids(grid(MARCH_1), grid(MARCH_1 + timedelta(days=1), 5.0))).feeds
    assert (report.outcome, report.new, report.newest_day) == ("ok", 2, date(2026, 3, 2))

    late = grids(grid(MARCH_1, 4.0), grid(date(2026, 3, 2), 5.0))
    (report,) = run(archive, late, NOW + timedelta(hours=1)).feeds
    assert (report.new, report.corrected, report.unchanged) == (0, 1, 1)
    (statistics,) = archive.feed_statistics()
    assert (statistics.newest_day, statistics.last_outcome) == (date(2026, 3, 2), "ok")


def test_a_raster_of_the_future_is_a_problem_and_not_a_day(archive: Archive) -> None:
    (report,) = run(archive, grids(grid(NOW.date() + timedelta(days=1)), grid(MARCH_1))).feeds

    assert (report.outcome, report.new) == ("partial", 1)
    assert "rain.tif is of 2026-03-11, after 2026-03-10" in report.problems[0].message


def test_a_product_with_nothing_new_is_well_and_one_with_nothing_ever_has_failed(archive: Archive) -> None:
    (report,) = run(archive, grids()).feeds
    assert report.outcome == "failed"
    run(archive, grids(grid(MARCH_1)))

    (report,) = run(archive, grids(), NOW + timedelta(hours=1)).feeds
    assert (report.outcome, report.new) == ("ok", 0)


def test_a_fault_among_rasters_leaves_the_archive_as_it_was(archive: Archive) -> None:
    def broken() -> Iterator[Grid]:
        yield grid(MARCH_1)
        raise FeedError("feed sky: rain.tif cannot be read")

    (report,) = run(archive, Batch((), grids=broken())).feeds

    assert report.outcome == "failed"
    assert archive.rasters.known_days("sky") == {}


# --- what the log tells afterwards ---


def test_the_log_tells_the_last_problem_and_which_series_are_silent(archive: Archive) -> None:
    gauges = [SeriesPosition(name, 11.5, 44.2) for name in ("A", "B", "C", "D")]
    values = {("A", date(2026, 3, 9)): 1.0, ("B", date(2026, 3, 6)): 1.0, ("C", date(2026, 3, 5)): 1.0}
    feed = FakeFeed("rain", "rain", [batch_of(values, gauges), FeedError("feed rain: the dog ate it")])
    for hour in range(2):
        ingest(region_settings(archive.path.parent), archive, NOW + timedelta(hours=hour), feeds=[feed])

    (statistics,) = archive.feed_statistics()

    assert statistics.silent == ("C", "D")
    assert statistics.last_outcome == "failed"
    assert [problem.message for problem in statistics.last_problems] == ["feed rain: the dog ate it"]


# --- over HTTP, from settings ---


def test_a_server_that_hangs_is_named_the_others_count_and_it_recovers_by_itself(
    tmp_path: Path, archive: Archive
) -> None:
    (tmp_path / "gauges.csv").write_text("id,lon,lat\nA,11.5,44.2\n")
    table = b"series,day,value\nA,2026-03-01,1.5\n"
    with serving() as server:
        server.say("/north.csv", Answer(deaf=True))
        server.say("/south.csv", table)
        settings = region_settings(tmp_path).model_copy(
            update={"feeds": tuple(by_url(tmp_path, name, server) for name in ("north", "south"))}
        )
        clock = Turned()

        def progress(done: int, total: int) -> None:  # south is there; north never will be
            if done == 0 and total == 2:
                clock.now = 1e6

        report = ingest(settings, archive, NOW, progress=progress, monotonic=clock)
        assert report.failed == ("north",)
        assert report.feeds[0].problems[0].reason == "deadline"
        assert archive.values("rain", [MARCH_1]).value.tolist() == [[1.5]]

        server.say("/north.csv", table)
        report = ingest(settings, archive, NOW + timedelta(hours=1))
        assert (report.failed, report.feeds[0].new, report.feeds[1].unchanged) == ((), 1, 1)


def test_a_station_that_failed_while_others_went_on_is_asked_for_what_it_missed(
    tmp_path: Path, archive: Archive
) -> None:
    (tmp_path / "gauges.csv").write_text("id,lon,lat\nA,11.5,44.2\nB,11.6,44.2\n")
    with serving() as server:
        asking = {"url": server.url("/{series}.csv"), "params": {"from": "{since}"}}
        feed = by_url(tmp_path, "stations", server).model_copy(
            update=asking | {"history_days": 30, "revisit_days": 5}
        )
        settings = region_settings(tmp_path).model_copy(update={"feeds": (feed,)})
        server.say("/A.csv", b"series,day,value\nA,2026-03-09,1.5\n")
        server.say("/B.csv", b"series,day,value\nB,2026-02-15,1.5\n")
        ingest(settings, archive, NOW)
        before = len(server.asked)
        ingest(settings, archive, NOW)

        asked = [(request.path, request.query["from"]) for request in server.asked[before:]]
        assert asked == [("/A.csv", ["2026-03-04"]), ("/B.csv", ["2026-02-10"])]


def by_url(folder: Path, name: str, server: Server) -> CsvFeed:
    return CsvFeed(
        name=name,
        variable="rain",
        url=server.url(f"/{name}.csv"),
        unit="mm",
        series_file=folder / "gauges.csv",
    )
