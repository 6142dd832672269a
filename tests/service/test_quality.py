"""Promises of the checks on readings."""

from __future__ import annotations

import math
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.quality import Observation, Reason, Rejection, check, limits_of, settle_duplicates

TODAY = date(2026, 3, 10)


def observed(value: float, day: date = TODAY, series: str = "A", row: int = 2) -> Observation:
    return Observation(
        series, day, value, "2026-03-11T00:00:00.000000Z", "rain.csv", row, f"{series},{value}"
    )


@pytest.mark.parametrize(
    ("variable", "value", "believed"),
    [
        ("rain", 0.0, True),
        ("rain", 2000.0, True),
        ("rain", 2000.1, False),
        ("rain", -0.1, False),
        ("level", -430.0, True),
        ("level", 97343.0, False),
        ("level", -501.0, False),
    ],
)
def test_values_outside_what_is_possible_are_rejected(variable: str, value: float, believed: bool) -> None:
    fault = check(observed(value), limits_of(variable), TODAY)
    assert (fault is None) == believed
    if fault is not None:
        assert fault.reason is Reason.RANGE
        assert f"{value:g}" in fault.detail


def test_a_feed_may_state_its_own_range_at_either_end() -> None:
    limits = limits_of("level", maximum=990.0)
    assert check(observed(989.0), limits, TODAY) is None
    assert check(observed(991.0), limits, TODAY) is not None
    assert limits.minimum == limits_of("level").minimum


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_rejected_for_that(value: float) -> None:
    fault = check(observed(value), limits_of("rain"), TODAY)
    assert fault is not None
    assert fault.reason is Reason.NOT_FINITE


def test_today_is_believed_and_tomorrow_is_not() -> None:
    assert check(observed(1.0, TODAY), limits_of("rain"), TODAY) is None
    fault = check(observed(1.0, TODAY + timedelta(days=1)), limits_of("rain"), TODAY)
    assert fault is not None
    assert fault.reason is Reason.FUTURE
    assert "2026-03-11" in fault.detail


def test_a_rejection_keeps_the_row_as_it_stood() -> None:
    fault = check(observed(-1.0, row=17), limits_of("rain"), TODAY)
    assert fault is not None
    assert (fault.file, fault.row, fault.raw, fault.series, fault.day) == (
        "rain.csv",
        17,
        "A,-1.0",
        "A",
        "2026-03-10",
    )


def test_the_same_value_twice_is_kept_once_and_counted() -> None:
    settled = list(settle_duplicates([observed(3.0, row=2), observed(3.0, row=5), observed(3.0, row=9)]))
    assert settled == [(observed(3.0, row=2), 2)]


def test_different_values_for_a_day_are_all_rejected_and_name_each_other() -> None:
    settled = list(settle_duplicates([observed(3.0, row=2), observed(4.0, row=5), observed(1.0, series="B")]))
    kinds = [type(item) for item, _ in settled]
    assert kinds == [Rejection, Rejection, Observation]
    for item, _ in settled[:2]:
        assert isinstance(item, Rejection)
        assert item.reason is Reason.DUPLICATE
        assert "row 2" in item.detail
        assert "row 5" in item.detail


@given(st.lists(st.tuples(st.sampled_from("AB"), st.integers(0, 4), st.sampled_from([0.0, 1.0, 2.0]))))
def test_settling_loses_no_row_and_never_picks_one_of_two_values(rows: list[tuple[str, int, float]]) -> None:
    given_rows = sorted(
        (
            observed(value, TODAY - timedelta(days=back), series, row)
            for row, (series, back, value) in enumerate(rows)
        ),
        key=lambda item: (item.series, item.day, item.row),
    )
    settled = list(settle_duplicates(given_rows))
    assert sum(1 + repeats for _, repeats in settled) == len(rows)
    values: dict[tuple[str, date], set[float]] = {}
    for item in given_rows:
        values.setdefault((item.series, item.day), set()).add(item.value)
    kept = {(item.series, item.day): item.value for item, _ in settled if isinstance(item, Observation)}
    assert kept == {key: min(several) for key, several in values.items() if len(several) == 1}
