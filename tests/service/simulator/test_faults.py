"""The faults of the numbers: what a feed shows, and that it shows the truth again when they are over."""

from __future__ import annotations

import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import UsageError
from service.simulator.catalogue import PUBLISHERS
from service.simulator.faults import (
    KINDS,
    Duplicate,
    DyingGauges,
    Fault,
    FaultScript,
    LateCorrection,
    Shifted,
    Stale,
    UnitChange,
    read_faults,
)
from service.simulator.view import View
from tests.fix_simulator import TODAY, TRUTH, Clock

A, B = TRUTH.gauges[:2]
DAM = TRUTH.reservoirs[0]
FEEDS = frozenset(item.feed for item in PUBLISHERS)
SINCE, UNTIL = TODAY - timedelta(days=9), TODAY
SPAN = {"feed": "arpae", "since": SINCE, "until": UNTIL}


def shown(*faults: Fault, on: date = TODAY) -> View:
    return View("arpae", TRUTH, FaultScript(faults=faults), Clock(on).now, timedelta(0))


def rain(day: date) -> float:
    return TRUTH.gauge_rain(day, A)


YESTERDAY = TODAY - timedelta(days=1)


def test_without_a_fault_a_view_is_the_truth_up_to_its_newest_day() -> None:
    view = shown()
    assert view.newest == YESTERDAY
    assert [view.gauge(day, A) for day in view.days(SINCE, None)] == [
        rain(day) for day in view.days(SINCE, None)
    ]
    assert math.isnan(view.gauge(TODAY, A))
    assert math.isnan(view.level(TODAY, DAM))


def test_a_stale_page_ends_on_the_day_before() -> None:
    view = shown(Stale(**SPAN))
    assert view.newest == SINCE - timedelta(days=2)  # as of the evening before `since`
    assert math.isnan(view.gauge(SINCE, A))


def test_shifted_numbers_stand_under_the_next_days_date() -> None:
    view = shown(Shifted(**SPAN))
    assert view.gauge(YESTERDAY, A) == rain(YESTERDAY - timedelta(days=1))
    assert view.level(YESTERDAY, DAM) == TRUTH.level(YESTERDAY - timedelta(days=1), DAM)
    assert view.gauge(SINCE - timedelta(days=1), A) == rain(SINCE - timedelta(days=1))


def test_units_change_from_the_first_day_on_and_for_the_named_series_alone() -> None:
    view = shown(UnitChange(**SPAN, series=(A.id, DAM.id)))
    assert view.gauge(YESTERDAY, A) == pytest.approx(rain(YESTERDAY) / 25.4)
    assert view.level(YESTERDAY, DAM) == pytest.approx(TRUTH.level(YESTERDAY, DAM) / 0.3048)
    assert view.gauge(YESTERDAY, B) == TRUTH.gauge_rain(YESTERDAY, B)
    assert view.gauge(SINCE - timedelta(days=1), A) == rain(SINCE - timedelta(days=1))


def test_a_duplicate_delivers_another_series_or_its_rows_twice() -> None:
    view = shown(Duplicate(**SPAN, series=(A.id,), of=B.id))
    assert view.gauge(YESTERDAY, A) == TRUTH.gauge_rain(YESTERDAY, B)
    assert not view.rows_twice
    assert shown(Duplicate(**SPAN)).rows_twice


def test_a_late_correction_brings_the_truth_when_the_fault_is_over() -> None:
    wet = next(day for day in (SINCE - timedelta(days=n) for n in range(60)) if rain(day) > 5)
    fault = LateCorrection(feed="arpae", since=wet, until=wet + timedelta(days=3), factor=0.5)
    during, after = shown(fault, on=wet + timedelta(days=3)), shown(fault, on=wet + timedelta(days=4))
    assert during.gauge(wet, A) == pytest.approx(rain(wet) / 2)
    assert during.level(wet, DAM) == pytest.approx(TRUTH.level(wet, DAM) + 0.4)
    assert after.gauge(wet, A) == rain(wet)


def test_gauges_die_on_the_day_of_the_storm_and_stay_dead() -> None:
    storm = max((TODAY - timedelta(days=n) for n in range(1, 150)), key=rain)
    first = storm - timedelta(days=5)
    fault = DyingGauges(
        feed="arpae", since=first, until=storm + timedelta(days=9), mm=rain(storm), series=(A.id,)
    )
    view = shown(fault, on=storm + timedelta(days=5))
    assert not math.isnan(view.gauge(storm - timedelta(days=1), A))
    assert all(math.isnan(view.gauge(storm + timedelta(days=n), A)) for n in range(4))
    assert not math.isnan(view.gauge(storm, B))
    assert not math.isnan(shown(fault, on=storm + timedelta(days=10)).gauge(storm, A))


@given(
    st.lists(st.sampled_from([kind for kind in KINDS if kind is not DyingGauges]), max_size=4),
    st.integers(0, 12),
    st.integers(0, 5),
)
def test_whatever_was_wrong_the_truth_is_back_on_the_day_after(
    kinds: list[type[Fault]], days: int, back: int
) -> None:
    faults = [kind(feed="*", since=TODAY - timedelta(days=days), until=TODAY) for kind in kinds]  # type: ignore[call-arg]
    view = shown(*faults, on=TODAY + timedelta(days=1))
    day = TODAY - timedelta(days=back)
    assert view.faults == ()
    assert view.gauge(day, A) == rain(day)
    np.testing.assert_array_equal(view.rain(day, np.array([A.lon]), np.array([A.lat])), [rain(day)])


def test_a_script_is_read_from_toml_and_json(tmp_path: Path) -> None:
    toml, other = tmp_path / "faults.toml", tmp_path / "faults.json"
    toml.write_text(
        '[[faults]]\nkind = "slow"\nfeed = "arpae"\nsince = 2026-03-01\nuntil = 2026-03-02\nwait_s = 3\n'
    )
    other.write_text(
        '{"faults": [{"kind": "slow", "feed": "arpae", "since": "2026-03-01", '
        '"until": "2026-03-02", "wait_s": 3}]}'
    )
    script = read_faults(toml, FEEDS)
    assert script == read_faults(other, FEEDS)
    assert len(script.standing("arpae", date(2026, 3, 2))) == 1
    assert script.standing("arpae", date(2026, 3, 3)) == script.standing("gsmap", date(2026, 3, 2)) == ()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ('kind = "explodes"', "explodes"),
        ('kind = "slow"\nwait = 3', "wait"),
        ('kind = "slow"\nuntil = 2026-02-01', "before since"),
        ('kind = "slow"\nfeed = "chirpz"', "chirpz"),
        ("kind = slow", "not valid TOML"),
    ],
)
def test_a_script_that_cannot_be_used_says_why(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "faults.toml"
    fields = {"feed": '"arpae"', "since": "2026-03-01", "until": "2026-03-02"}
    rest = "\n".join(f"{name} = {value}" for name, value in fields.items() if f"{name} =" not in line)
    path.write_text(f"[[faults]]\n{line}\n{rest}\n")
    with pytest.raises(UsageError, match=words) as caught:
        read_faults(path, FEEDS)
    assert str(path) in str(caught.value)
