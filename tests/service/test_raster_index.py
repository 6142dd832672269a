"""Promises of the index of rasters: those of the archive of readings, and that no stale page stands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from service.errors import StorageError, UsageError
from service.feed_log import FeedLog, Problem
from service.feeds.base import Grid
from service.quality import Quality
from service.raster_index import RasterIndex
from service.reading_values import ForecastIssue
from service.readings_schema import MIGRATIONS
from service.sqlite import Database, open_database, transaction
from service.stamps import to_stamp

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
DAYS = [date(2026, 3, 1) + timedelta(days=n) for n in range(5)]
DRY, WET, WETTER = 0.0, 1.0, 2.0
NAN = np.nan


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(tmp_path / "readings.sqlite", MIGRATIONS, "archive of readings")
    yield opened
    opened.close()


@pytest.fixture
def index(database: Database, tmp_path: Path) -> RasterIndex:
    return RasterIndex(database, tmp_path)


def grid(factor: float, day: date = DAYS[0], version: str = "", **more: Any) -> Grid:
    """Rain in different amounts times a factor; the last pixel has no data."""
    values = (np.array([[1.5, 0.0, 7.0], [3.0, 22.0, np.nan]]) * factor).astype(np.float32)
    end = datetime.combine(day + timedelta(days=1), datetime.min.time(), UTC)
    made = Grid(
        day, values, Affine(0.1, 0, 11, 0, -0.1, 45), CRS.from_epsg(4326), to_stamp(end), "x.tif", version
    )
    return replace(made, **more)


def add(
    index: RasterIndex, *grids: Grid | Problem, hours: float = 0, **more: Any
) -> tuple[int, int, int, int]:
    report = index.add("sat", "rain", grids, NOW + timedelta(hours=hours), **more)
    return report.new, report.corrected, report.unchanged, report.rejected


def view(index: RasterIndex, as_of: datetime | None = None) -> list[float | None]:
    """The factor that stands on each day."""
    found = index.days("rain", DAYS, as_of)
    return [float(day[0].values[0, 0]) / 1.5 if day else None for day in found]


# --- what stands ---


def test_a_raster_comes_back_as_it_was_given(index: RasterIndex) -> None:
    given_ = grid(WET, version="late V07B")
    assert add(index, given_) == (1, 0, 0, 0)
    (((found,),)) = index.days("rain", DAYS[:1])
    np.testing.assert_array_equal(found.values, given_.values)
    assert found.values.dtype == np.float32
    assert (found.transform, found.crs) == (given_.transform, given_.crs)
    assert (found.feed, found.day, found.version, found.known_at) == ("sat", DAYS[0], "late V07B", NOW)
    assert view(index) == [1.0, None, None, None, None]
    assert (index.first_day(), index.newest_day("sat"), index.newest_day("other")) == (DAYS[0], DAYS[0], None)


def test_the_same_again_adds_no_row_and_a_correction_leaves_the_old_view(index: RasterIndex) -> None:
    add(index, grid(WET))
    assert add(index, grid(WET), hours=1) == (0, 0, 1, 0)
    assert add(index, grid(WETTER), hours=2) == (0, 1, 0, 0)
    assert add(index, grid(WET), hours=3) == (0, 1, 0, 0)
    assert [view(index, NOW + timedelta(hours=h))[0] for h in range(4)] == [1.0, 1.0, 2.0, 1.0]
    assert view(index, NOW - timedelta(seconds=1))[0] is None
    assert len(index.history("sat", DAYS[0])) == 3


def test_another_product_with_the_same_values_is_noted(index: RasterIndex) -> None:
    add(index, grid(WET, version="early"))
    assert add(index, grid(WET, version="late")) == (0, 1, 0, 0)
    assert index.known_days("sat") == {DAYS[0]: "late"}


def test_no_data_in_any_form_and_minus_zero_are_the_same_raster(index: RasterIndex) -> None:
    add(index, grid(DRY))
    other = grid(DRY)
    other.values[0, 0], other.values[1, 2] = -0.0, np.inf
    assert add(index, other) == (0, 0, 1, 0)


def test_feeds_come_in_the_order_asked_for(index: RasterIndex) -> None:
    for feed in ("b", "c", "a"):
        index.add(feed, "rain", [grid(WET)], NOW)
    index.add("d", "level", [grid(WET)], NOW)
    assert [found.feed for found in index.days("rain", DAYS[:1])[0]] == ["a", "b", "c"]
    assert [found.feed for found in index.days("rain", DAYS[:1], feeds=["c", "x"])[0]] == ["c", "a", "b"]


def test_history_of_before_the_feed_was_watched_may_be_assumed_known_since(index: RasterIndex) -> None:
    six = timedelta(hours=6)
    add(index, grid(WET), latency=six)
    assert view(index, datetime(2026, 3, 2, 5, 59, tzinfo=UTC))[0] is None
    assert view(index, datetime(2026, 3, 2, 6, tzinfo=UTC))[0] == 1.0
    # What is watched was not known before it came; nor is a correction of what was assumed.
    add(index, grid(WETTER), grid(WETTER + 1, DAYS[1]), latency=six, watched_since=NOW - 300 * six)
    assert view(index, NOW - timedelta(seconds=1)) == [1.0, None, None, None, None]
    assert view(index)[:2] == [2.0, 3.0]
    assert [row.known_at_assumed for row in index.history("sat", DAYS[0])] == [True, False]


def test_a_product_that_comes_later_than_the_others_is_assumed_known_later(index: RasterIndex) -> None:
    own = {"latency": timedelta(days=3)}
    add(index, grid(WET, **own), grid(WETTER, DAYS[1]), latency=timedelta(hours=6))
    assert view(index, datetime(2026, 3, 4, 23, tzinfo=UTC))[:2] == [None, 2.0]
    assert view(index, datetime(2026, 3, 5, tzinfo=UTC))[:2] == [1.0, 2.0]
    # Where nothing is assumed of the feed, nothing is of its products.
    add(index, grid(3.0, DAYS[2], **own))
    assert view(index, NOW - timedelta(seconds=1))[2] is None


def test_all_grids_of_a_fetch_are_kept_or_none(index: RasterIndex, database: Database) -> None:
    def grids() -> Iterator[Grid]:
        yield grid(WET)
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        index.add("sat", "rain", grids(), NOW)
    assert view(index)[0] is None
    with pytest.raises(RuntimeError), transaction(database):
        add(index, grid(WET))
        raise RuntimeError("the caller's")
    assert index.known_days("sat") == {}


def test_forecasts_stand_beside_and_never_among_the_days(index: RasterIndex) -> None:
    issue = datetime(2026, 3, 1, 6, tzinfo=UTC)
    stamp = to_stamp(issue)
    add(index, *(grid(factor, issued_at=stamp, member=member) for member, factor in ((1, WET), (2, WETTER))))
    assert view(index)[0] is None
    assert index.known_days("sat") == {}
    wanted = ForecastIssue("sat", issue, DAYS[0], member=2)
    first, second = index.forecast_days("rain", DAYS[:2], wanted)
    assert first is not None
    assert float(first.values[0, 0]) == 3.0
    assert second is None
    assert index.forecast_days("rain", DAYS[:1], wanted, NOW - timedelta(hours=1)) == [None]


# --- doubts ---


def test_a_wet_day_that_repeats_an_earlier_one_is_kept_as_suspect_and_named(index: RasterIndex) -> None:
    report = index.add("sat", "rain", [grid(WET), grid(WET, DAYS[1]), grid(WET, DAYS[2])], NOW)
    assert (report.new, report.rejected) == (1, 2)
    assert [problem.reason for problem in report.problems] == ["stale", "stale"]
    assert (
        "feed sat: x.tif: 2026-03-02: stale: the same values as on 2026-03-01" in report.problems[0].message
    )
    assert view(index) == [1.0, None, None, None, None]
    assert [row.day for row in index.suspects("sat")] == DAYS[1:3]
    # Said again it is no news, and its feed does not take it for known.
    assert add(index, grid(WET, DAYS[1]), hours=1) == (0, 0, 1, 0)
    assert index.known_days("sat") == {DAYS[0]: ""}
    # The true values of the day, when they come, stand.
    assert add(index, grid(WETTER, DAYS[1]), hours=2) == (0, 1, 0, 0)
    assert view(index)[:2] == [1.0, 2.0]


def test_dry_days_are_alike_by_right(index: RasterIndex) -> None:
    assert add(index, *(grid(DRY, day) for day in DAYS)) == (5, 0, 0, 0)


def test_a_stale_page_is_found_when_the_day_that_it_repeats_comes_late(index: RasterIndex) -> None:
    add(index, grid(WET, DAYS[1]))
    assert view(index)[1] == 1.0
    report = index.add("sat", "rain", [grid(WET)], NOW + timedelta(hours=5))
    assert [problem.reason for problem in report.problems] == ["stale"]
    assert view(index)[:2] == [1.0, None]
    assert view(index, NOW + timedelta(hours=4))[:2] == [None, 1.0]


def test_a_doubted_correction_leaves_the_value_that_stood(index: RasterIndex) -> None:
    add(index, grid(WET), grid(WETTER, DAYS[1]))
    assert add(index, grid(WET, DAYS[1], version="late"), hours=1) == (0, 0, 0, 1)
    assert view(index)[:2] == [1.0, 2.0]


def test_a_day_that_is_said_again_in_another_unit_is_named_and_taken(index: RasterIndex) -> None:
    values = np.random.default_rng(1).gamma(0.5, 10, (6, 6)).astype(np.float32)
    tenths_of_inches = np.round(values / 2.54) / 10  # coarse, as the product stores them
    add(index, grid(WET, values=tenths_of_inches.astype(np.float32)))
    report = index.add("sat", "rain", [grid(WET, values=values)], NOW + timedelta(hours=1))
    assert (report.corrected, [problem.reason for problem in report.problems]) == (1, ["unit"])
    assert "2026-03-01 has 25.4 times what was said of it before" in report.problems[0].message
    better = values * np.random.default_rng(2).lognormal(0, 0.3, (6, 6))
    report = index.add("sat", "rain", [grid(WET, values=better.astype(np.float32))], NOW + timedelta(hours=2))
    assert (report.corrected, report.problems) == (1, ())


def test_another_pattern_ten_times_as_wet_is_no_other_unit(index: RasterIndex) -> None:
    values = np.random.default_rng(1).gamma(0.5, 10, (6, 6)).astype(np.float32)
    add(index, grid(WET, values=values))
    report = index.add("sat", "rain", [grid(WET, values=values[::-1] * 10)], NOW + timedelta(hours=1))
    assert (report.corrected, report.problems) == (1, ())


def test_a_person_accepts_or_rejects_and_is_not_asked_again(index: RasterIndex) -> None:
    add(index, grid(WET), grid(WET, DAYS[1]))
    (suspect,) = index.suspects()
    row = index.accept(suspect.number, "Ann", "two days of one slow storm", NOW + timedelta(hours=1))
    assert (row.quality, row.reason) == (Quality.GOOD, "Ann: two days of one slow storm")
    assert (view(index)[:2], index.suspects()) == ([1.0, 1.0], [])
    assert view(index, NOW)[:2] == [1.0, None]
    assert len(index.suspects(open_only=False)) == 1
    assert add(index, grid(WET, DAYS[1]), hours=2) == (0, 0, 1, 0)
    assert add(index, grid(WET, DAYS[1], version="late"), hours=2) == (0, 1, 0, 0)
    with pytest.raises(UsageError, match="good already"):
        index.accept(suspect.number, "Bob", "me too", NOW + timedelta(hours=3))
    with pytest.raises(UsageError, match="no raster day 999"):
        index.accept(999, "Bob", "what", NOW)
    with pytest.raises(UsageError, match="--reason"):
        index.reject(suspect.number, "Bob", " ", NOW)


def test_what_a_person_rejected_stays_rejected_when_it_is_delivered_again(index: RasterIndex) -> None:
    add(index, grid(WET))
    (good,) = index.history("sat", DAYS[0])
    index.reject(good.number, "Ann", "a test pattern", NOW + timedelta(hours=1))
    for version in ("", "late"):
        assert add(index, grid(WET, version=version), hours=2) == (0, 0, 1, 0)
    assert view(index)[0] is None
    assert add(index, grid(WETTER), hours=3) == (0, 1, 0, 0)
    assert view(index)[0] == 2.0


def test_where_a_correction_is_rejected_what_it_corrected_stands_again(index: RasterIndex) -> None:
    add(index, grid(WET, version="prelim"))
    add(index, grid(WETTER, version="final"), hours=1)
    index.reject(index.history("sat", DAYS[0])[-1].number, "Ann", "a broken run", NOW + timedelta(hours=2))
    assert view(index)[0] == 1.0
    assert index.known_days("sat") == {DAYS[0]: "prelim"}
    assert view(index, NOW + timedelta(hours=1))[0] == 2.0
    assert add(index, grid(WETTER, version="final"), hours=3) == (0, 0, 1, 0)


def test_a_decision_on_a_raster_can_be_taken_back(index: RasterIndex) -> None:
    add(index, grid(WET), grid(WET, DAYS[1]))
    (suspect,) = index.suspects()
    for hour, (act, stands) in enumerate(
        [(index.reject, None), (index.accept, 1.0), (index.reject, None)], start=1
    ):
        act(suspect.number, "Ann", "looked again", NOW + timedelta(hours=hour))
        assert view(index)[1] == stands
        assert index.suspects() == []


def test_a_stale_page_that_was_corrected_waits_for_nobody(index: RasterIndex) -> None:
    add(index, grid(WET), grid(WET, DAYS[1]))
    assert len(index.suspects()) == 1
    add(index, grid(WETTER, DAYS[1]), hours=1)
    assert index.suspects() == []
    assert len(index.suspects(open_only=False)) == 1


def test_a_corrected_day_that_proves_stale_later_does_not_stand_again(index: RasterIndex) -> None:
    add(index, grid(WET, DAYS[1]))
    add(index, grid(WETTER, DAYS[1]), hours=1)
    add(index, grid(WET), hours=2)
    assert index.suspects() == []
    good = index.history("sat", DAYS[1])[1]
    index.reject(good.number, "Ann", "a test pattern", NOW + timedelta(hours=3))
    assert view(index)[:2] == [1.0, None]
    assert [row.day for row in index.suspects()] == [DAYS[1]]


def test_counts_and_problems_are_handed_on(index: RasterIndex, database: Database) -> None:
    said = Problem("format", "feed sat: a file is broken")
    report = index.add("sat", "rain", [grid(WET), said, grid(WET, DAYS[2])], NOW)
    assert report.problems[0] == said
    assert report.newest_day == DAYS[2]
    with transaction(database):
        FeedLog(database).attempt("sat", NOW, "partial", report.problems)
    (statistics,) = FeedLog(database).statistics()
    assert statistics.readings == {"good": 1, "suspect": 1}


def test_pixels_that_moved_are_named(index: RasterIndex) -> None:
    moved = {"transform": Affine(0.1, 0, 11.05, 0, -0.1, 45)}
    report = index.add("sat", "rain", [grid(WET), grid(WETTER, DAYS[1], **moved)], NOW)
    (problem,) = report.problems
    assert (problem.reason, problem.is_error) == ("place", False)
    assert "from (11.05, 45) in EPSG:4326, where it was 2 x 3 pixels of 0.1 from (11, 45)" in problem.message
    again = index.add("sat", "rain", [grid(3.0, DAYS[2], crs=CRS.from_epsg(4258))], NOW)
    assert [problem.reason for problem in again.problems] == ["place"]


# --- files ---


def test_a_file_that_was_lost_or_damaged_is_named_and_mended_by_its_feed(
    index: RasterIndex, tmp_path: Path
) -> None:
    add(index, grid(WET))
    (path,) = (tmp_path / "rasters" / "sat").glob("2026-03-01-*.npz")
    for spoil in (path.unlink, lambda: path.write_bytes(path.read_bytes()[:-30])):
        spoil()
        with pytest.raises(StorageError, match=r"2026-03-01-.*backup"):
            _ = index.days("rain", DAYS[:1])[0][0].values
        assert add(index, grid(WET), hours=1) == (0, 0, 1, 0)
        assert view(index)[0] == 1.0
    path.unlink()
    assert index.known_days("sat") == {}


# --- any order ---

Delivery = tuple[int, float, str]


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.sampled_from([DRY, WET, WETTER]), st.sampled_from(["early", "late", "no"])
        ),
        max_size=12,
    )
)
def test_no_arrival_changes_an_earlier_view_and_no_view_holds_a_stale_page(
    deliveries: list[Delivery],
) -> None:
    """`no` is a person who rejects what stands of that day."""
    with TemporaryDirectory() as folder:
        database = open_database(Path(folder) / "r.sqlite", MIGRATIONS, "archive")
        index = RasterIndex(database, Path(folder))
        rejected: set[tuple[int, float]] = set()
        said: list[tuple[datetime, list[float | None]]] = []
        for hour, (day, factor, version) in enumerate(deliveries):
            now = NOW + timedelta(hours=hour)
            stood = view(index)
            if version == "no":
                if stood[day] is None:
                    continue
                (shown,) = index.days("rain", [DAYS[day]])[0]
                row = next(r for r in index.history("sat", DAYS[day]) if r.digest == shown.digest)
                index.reject(row.number, "Ann", "wrong", now)
                rejected.add((day, stood[day] or 0.0))
            else:
                index.add("sat", "rain", [grid(factor, DAYS[day], version)], now)
                known = {index.known_days("sat").get(DAYS[day])}
                assert view(index)[day] in (factor, stood[day])
                assert view(index)[day] != factor or version in known or stood[day] == factor
            now_stands = view(index)
            assert not any((number, value) in rejected for number, value in enumerate(now_stands))
            wet = [value for value in now_stands if value]
            assert len(wet) == len(set(wet))
            said.append((now, now_stands))
        for moment, stood in said:
            assert view(index, moment) == stood
            assert view(index, moment) == _by_the_rule(index, moment)
        database.close()


def _by_the_rule(index: RasterIndex, moment: datetime) -> list[float | None]:
    """The rule for what stands, said once more."""
    stood: list[float | None] = []
    for day in DAYS:
        value = None
        known = [row for row in index.history("sat", day) if row.known_at <= moment]
        wrong = {row.digest for row in known if row.quality is not Quality.GOOD}  # nobody accepts any here
        digest = next((row.digest for row in reversed(known) if row.digest not in wrong), "")
        if digest:
            path = next(row.path for row in index.history("sat", day) if row.digest == digest)
            with np.load(index.folder / path) as file:
                value = float(file["values"][0, 0]) / 1.5
        stood.append(value)
    return stood
