"""Sixty days with feeds that fail in every way the simulator knows, one at a time and two at a time.

What is promised: no wrong value stands where windows are made unless `NOT_DETECTABLE` says that nothing could
tell; whoever looks at the status or the metrics reads the name of the feed at fault, and of no other; when
the fault is over, the next ingest brings everything back, and nobody has to do anything.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from exporters.metrics import ServiceCollector
from service.figures import read_figures
from service.simulator.faults import (
    Down,
    Duplicate,
    DyingGauges,
    Fault,
    LateCorrection,
    Shifted,
    Slow,
    Stale,
    Truncated,
    UnitChange,
    VersionRotation,
    WrongType,
)
from service.status import read_status
from tests.fix_feed_trial import FEEDS, LEVEL, RAIN, RASTER, Standing, Trial, trial, truth_of

START = date(2026, 1, 1)
DAYS = 60
TRUTH = truth_of(10, 5, seed=2)  # a wet winter: two days of three
FEW = truth_of(5, 5, seed=2)
GAUGES = [gauge.id for gauge in TRUTH.gauges]
DAMS = [dam.id for dam in TRUTH.reservoirs]


@dataclass(frozen=True)
class NotDetectable:
    """Wrong values that no check can tell from right ones, and why."""

    kind: type[Fault]
    feeds: tuple[str, ...]
    what: str
    why: str
    holds: Callable[[Any, Standing], bool]


def _few_with(millimetres: float, standing: Standing) -> bool:
    """Tell whether fewer than five gauges had so much on the day."""
    return sum(TRUTH.gauge_rain(standing.day, gauge) >= millimetres for gauge in TRUTH.gauges) < 5


NOT_DETECTABLE = (
    NotDetectable(
        LateCorrection,
        FEEDS,
        "first numbers that are off by a believable amount, until they are corrected",
        "half of a day's rain, or a level 0.4 m higher, is as likely as what is true",
        lambda fault, standing: standing.day >= fault.since,
    ),
    NotDetectable(
        Shifted,
        (RAIN, LEVEL),
        "all days of a page that is one day late, but the first",
        "the first day repeats the day before and is found by that; then the page agrees with itself",
        lambda fault, standing: standing.day > fault.since,
    ),
    NotDetectable(
        Shifted,
        (RASTER,),
        "all days of a satellite product that is one day late, but the first; and the first on dry days",
        "as for gauges; of its wrong days, those that its service does not correct in time stay",
        lambda fault, standing: standing.day > fault.since,
    ),
    NotDetectable(
        UnitChange,
        (RAIN,),
        "rain in inches on a day on which fewer than five gauges had 5 mm",
        "the ratio of small amounts says nothing: 0.1 in place of 2.5 is an ordinary difference of a shower",
        lambda _, standing: _few_with(5.0, standing),
    ),
    NotDetectable(
        UnitChange,
        (RASTER,),
        "a satellite product in inches",
        "satellites miss most of a storm often enough; a field that is too dry takes no gauge's place",
        lambda fault, standing: standing.day >= fault.since,
    ),
    NotDetectable(
        Duplicate,
        (RAIN,),
        "a gauge that delivers another's rain, in its first fifteen days",
        "neighbours agree on many days; it takes five wet days in fifteen that are all equal",
        lambda fault, standing: standing.day < fault.since + timedelta(days=15),
    ),
)


def excused(faults: tuple[Any, ...], standing: Standing) -> bool:
    """Tell whether the list says that nothing could tell this value from a right one."""
    return any(
        isinstance(fault, entry.kind)
        and fault.feed == standing.feed
        and standing.feed in entry.feeds
        and entry.holds(fault, standing)
        for fault in faults
        for entry in NOT_DETECTABLE
    )


def fault(kind: type[Fault], feed: str, first: int, days: int, **more: Any) -> Any:
    """Return a fault that stands from so many days after START on."""
    since = START + timedelta(days=first)
    return kind(feed=feed, since=since, until=since + timedelta(days=days - 1), **more)  # type: ignore[call-arg]


def one_after_another(*faults: tuple[Any, ...] | Any, days: int = 3, calm: int = 4) -> tuple[Any, ...]:
    """Place kinds of faults in a row with calm days between."""
    return tuple(
        fault(kind, feed, 2 + number * (days + calm), days, **more)
        for number, (kind, feed, more) in enumerate(faults)
    )


# --- what people see ---


def sample(place: Trial, name: str, **labels: str) -> float:
    """Return a metric, 0 where it is not there."""
    registry = CollectorRegistry()
    registry.register(ServiceCollector(lambda: read_figures(place.settings, place.clock)))
    return registry.get_sample_value(f"colluvium_{name}", labels) or 0.0


def troubled(place: Trial) -> set[str]:
    """Return the feeds of which the status screen tells something bad."""
    report = read_status(place.settings, place.clock())
    words = ("FAILED", "late by", "doubted", "silent", "not asked", "nothing yet")
    found = set()
    for state in report.feeds:
        lines = "\n".join(state.to_lines())
        assert state.name in lines
        if any(word in lines for word in words) or state.problem is not None:
            found.add(state.name)
    return found


def check_people_see(place: Trial, at_fault: str) -> None:
    """Status and metrics name the feed at fault."""
    assert at_fault in troubled(place), read_status(place.settings, place.clock()).to_text()
    figures = {item.feed: item for item in read_figures(place.settings, place.clock).feeds}[at_fault]
    due = (place.clock.now - timedelta(hours=18)).date() - timedelta(days=1)
    newest = figures.newest_reading
    behind = newest is None or datetime.fromtimestamp(newest, UTC).date() < due
    assert behind or sum(figures.errors.values()) or figures.suspects_open or figures.silent


# --- one at a time ---

WAY: tuple[tuple[type[Fault], dict[str, Any]], ...] = (
    (Down, {}),
    (Down, {"status": 0}),
    (Slow, {"wait_s": 60.0}),
    (Truncated, {}),
    (WrongType, {}),
    (WrongType, {"content_type": "application/json"}),
    (VersionRotation, {}),
    (Stale, {}),
)


@pytest.mark.parametrize("feed", FEEDS)
def test_a_fault_of_the_way_costs_its_feed_a_few_days_and_no_other_anything(
    feed: str, tmp_path: Path
) -> None:
    faults = one_after_another(*((kind, feed, more) for kind, more in WAY))
    with trial(tmp_path, START, faults, TRUTH, feeds=(feed, LEVEL if feed != LEVEL else RAIN)) as place:
        place.ingest()
        for day in place.live(DAYS):
            standing = next((item for item in faults if item.since <= day <= item.until), None)
            report = {item.name: item for item in place.reports[-1].feeds}
            others = [item for item in report.values() if item.name != feed]
            assert all(item.outcome == "ok" and item.new for item in others)
            if standing is None:
                assert report[feed].outcome == "ok", (day, report[feed])
            elif day == standing.until and not isinstance(standing, VersionRotation | Stale):
                assert report[feed].outcome == "failed"
                assert report[feed].new == 0
                assert feed in (report[feed].error or "")
                check_people_see(place, feed)
                assert (
                    sample(place, "feed_errors_total", feed=feed, reason=report[feed].problems[0].reason) > 0
                )
            elif day == standing.until and (isinstance(standing, Stale) or feed == RASTER):
                check_people_see(place, feed)  # that it is late
            if standing is not None and day == standing.until:
                assert troubled(place) <= {feed}
        # A rotation that redirects is followed; that of files is seen, and is over; nothing is lost.
        assert place.wrong(START) == []
        assert place.missing(START, place.today - timedelta(days=2)) == set()
        assert troubled(place) == set()


NUMBERS = {
    RAIN: (
        fault(Shifted, RAIN, 8, 8),
        fault(UnitChange, RAIN, 26, 9),
        fault(Duplicate, RAIN, 40, 18, series=(GAUGES[0],), of=GAUGES[5]),
    ),
    LEVEL: (
        fault(Shifted, LEVEL, 3, 8),
        fault(UnitChange, LEVEL, 16, 8),
        fault(Duplicate, LEVEL, 30, 8, series=(DAMS[0],), of=DAMS[1]),
        fault(LateCorrection, LEVEL, 44, 5),
    ),
    RASTER: (
        fault(Shifted, RASTER, 8, 8),
        fault(UnitChange, RASTER, 26, 9),
        fault(LateCorrection, RASTER, 43, 5),
    ),
}


# By check, or by the reason of a problem.
FOUND_BY = {
    RAIN: {"stale_page", "rain_unit", "duplicate_series"},
    LEVEL: {"stale_page", "level_unit", "operating_range"},
    RASTER: {"stale"},
}


@pytest.mark.parametrize("feed", FEEDS)
def test_wrong_numbers_are_doubted_or_stand_in_the_list_of_what_nobody_can_tell(
    feed: str, tmp_path: Path
) -> None:
    faults = NUMBERS[feed]
    feeds = (RAIN, RASTER) if feed != LEVEL else (LEVEL,)
    said: set[str] = set()  # as the reason of a problem, or by a check
    with trial(tmp_path, START, faults, TRUTH, feeds=feeds) as place:
        place.ingest()
        for day in place.live(DAYS):
            for report in place.reports[-1].feeds:
                assert report.outcome == ("partial" if report.problems and report.name == RASTER else "ok")
                said |= {problem.reason for problem in report.problems}
            standing = tuple(item for item in faults if item.since <= day)
            if any(item.since <= day <= item.until for item in faults):
                wrong = place.wrong(max(START, day - timedelta(days=20)))
                assert [item for item in wrong if not excused(standing, item)] == []
            if feed != RASTER and any(
                item.until == day for item in faults if not isinstance(item, LateCorrection)
            ):
                check_people_see(place, feed)
        if feed != RASTER:  # no service publishes its old files again
            assert place.wrong(START) == []
        for item in place.archive.suspects(open_only=False):
            said |= {finding.check for finding in item.findings}
        assert said >= FOUND_BY[feed]


def test_the_same_rows_twice_and_a_late_correction_change_nothing_that_lasts(tmp_path: Path) -> None:
    faults = (fault(Duplicate, RAIN, 2, 3), fault(LateCorrection, RAIN, 8, 5), fault(Duplicate, LEVEL, 20, 3))
    with trial(tmp_path, START, faults, TRUTH, feeds=(RAIN, LEVEL)) as place:
        place.ingest()
        for day in place.live(DAYS):
            report = {item.name: item for item in place.reports[-1].feeds}
            for item in faults:
                if isinstance(item, Duplicate):
                    assert (report[item.feed].repeated > 0) == (item.since <= day <= item.until)
            if day == faults[1].until + timedelta(days=1):
                assert report[RAIN].corrected > 0
        assert place.wrong(START) == []
        assert place.archive.suspects(open_only=False) == []
        # The past is still what was known then.
        during = place.clock.now - (place.today - faults[1].until)
        old = place.archive.values("rain", [faults[1].since], as_of=during)
        new = place.archive.values("rain", [faults[1].since])
        assert old.value * 2 == pytest.approx(new.value, abs=0.11)
        assert (old.value != new.value).any()


def test_no_ingest_is_later_than_its_deadline_and_the_other_feeds_are_in(tmp_path: Path) -> None:
    hangs = fault(Slow, RAIN, 1, 1, wait_s=0, pause_s=0.2, piece_bytes=8)  # each wait is within the patience
    with trial(tmp_path, START, (hangs,), TRUTH, feeds=(RAIN, LEVEL), deadline_s=1.5) as place:
        place.ingest()
        started = time.monotonic()
        next(place.live(1))
        assert time.monotonic() - started < 1.5 + 1.5  # the checks come after the feeds
        report = {item.name: item for item in place.reports[-1].feeds}
        assert report[RAIN].problems[0].reason == "deadline"
        assert report[LEVEL].new == len(DAMS)
        check_people_see(place, RAIN)
        next(place.live(1))
        assert place.reports[-1].failed == ()
        assert place.missing(START, place.today - timedelta(days=2)) == set()


# --- two at a time ---

KINDS: tuple[tuple[type[Fault], dict[str, Any]], ...] = (
    (Down, {}),
    (Slow, {"wait_s": 60.0}),
    (Truncated, {}),
    (WrongType, {}),
    (Stale, {}),
    (Shifted, {}),
    (UnitChange, {}),
    (Duplicate, {"series": (DAMS[0],), "of": DAMS[1]}),
    (LateCorrection, {}),
    (VersionRotation, {}),
)
PAIRS = list(itertools.combinations(KINDS, 2))
LIFE = 8  # pairs in one life of sixty days


@pytest.mark.parametrize("first", range(0, len(PAIRS), LIFE))
def test_two_faults_at_once_are_no_more_than_two_faults(first: int, tmp_path: Path) -> None:
    pairs = PAIRS[first : first + LIFE]
    faults = []
    for number, pair in enumerate(pairs):
        for kind, more in pair:
            late = 2 if kind is Slow else 0  # each of its days is waited for
            faults.append(fault(kind, LEVEL, 3 + number * 7 + late, 4 - late, **more))
    with trial(tmp_path, START, tuple(faults), FEW, feeds=(LEVEL,)) as place:
        place.ingest()
        for day in place.live(DAYS):
            standing = tuple(item for item in faults if item.since <= day)
            if day in {item.until for item in faults}:
                wrong = [item for item in place.wrong(START) if not excused(standing, item)]
                assert wrong == [], [item.kind for item in standing if item.until == day]
                kinds = {type(item) for item in standing if item.until == day}
                # Where the numbers are off as well, a page that is shifted repeats none that was shown.
                if kinds not in ({LateCorrection, VersionRotation}, {LateCorrection, Shifted}):
                    check_people_see(place, LEVEL)
        assert place.reports[-1].failed == ()
        assert place.wrong(START) == []


def test_gauges_that_die_beside_another_fault_are_named(tmp_path: Path) -> None:
    storm = max((START + timedelta(days=n) for n in range(20, 40)), key=_most)
    first = (storm - START).days - 1
    others = [Stale, Shifted, Truncated]
    for number, kind in enumerate(others):
        faults = (
            fault(DyingGauges, RAIN, first, 12, mm=15.0),
            fault(kind, RAIN, first + 7, 3),
        )
        with trial(tmp_path / str(number), storm - timedelta(days=2), faults, FEW, feeds=(RAIN,)) as place:
            place.ingest()
            for _ in place.live(8):
                pass
            assert len(place.missing(storm, storm)) == len([g for g in FEW.gauges if _rain(storm, g) >= 15])
            check_people_see(place, RAIN)
            for _ in place.live(8):
                pass
            assert place.missing(storm - timedelta(days=2), place.today - timedelta(days=2)) == set()


def _most(day: date) -> float:
    return sum(_rain(day, gauge) for gauge in FEW.gauges)


def _rain(day: date, gauge: Any) -> float:
    return FEW.gauge_rain(day, gauge)


def test_the_list_of_what_is_not_detectable_has_a_reason_for_each_and_no_entry_twice() -> None:
    said = [(entry.kind, feed) for entry in NOT_DETECTABLE for feed in entry.feeds]
    assert len(said) == len(set(said))
    assert all(entry.what and entry.why for entry in NOT_DETECTABLE)
