"""What holds for all checks: day by day equals at once, and no fault outlasts itself."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.service.checks.fix_panels import CONTEXT_DAYS, Values, doubted, levels, panel, rain

DAYS = 12  # that are judged, after the context

FAULTS = ("unit", "stale", "stuck", "zero", "gap", "copy", "spike", "block", "page_of_zeros", "decimal")


def with_fault(value: Values, fault: str, row: int, length: int, column: int) -> Values:
    """Return the values with a fault from a row on, for `length` rows."""
    rows = slice(row, min(row + length, len(value)))
    faulty = value.copy()
    match fault:
        case "unit":
            faulty[rows] = np.round(faulty[rows] * 0.3048, 2)
        case "stale":
            faulty[rows] = value[row - 1]
        case "stuck":
            faulty[rows, column] = value[row - 1, column]
        case "zero":
            faulty[rows, column] = 0.0
        case "gap":
            faulty[rows, column] = np.nan
        case "copy":
            faulty[rows, column] = value[rows, column - 1]
        case "spike":
            faulty[row, column] += 180.0
        case "block":
            count = len(faulty[rows])
            faulty[rows, column] = value[row - 7 : row - 7 + count, column]
        case "page_of_zeros":
            faulty[row] = 0.0
        case "decimal":
            faulty[row, column] *= 10.0
    return faulty


faults = st.lists(
    st.tuples(st.sampled_from(FAULTS), st.integers(0, DAYS + 6), st.integers(1, 9), st.integers(1, 7)),
    max_size=4,
)


def faulty_panel(variable: str, seed: int, found: list[tuple[str, int, int, int]]) -> tuple[Values, Any]:
    days = CONTEXT_DAYS[variable] + DAYS
    value = rain(days, 8, seed) if variable == "rain" else levels(days, 8, seed)
    for fault, back, length, column in found:
        value = with_fault(value, fault, days - 1 - back, length, column)
    # Another way to see it, so that all references of the checks are at work.
    seen = np.round(rain(days, 8, seed) * 1.2, 1) if variable == "rain" and seed % 2 else None
    return value, seen


@settings(max_examples=25)
@given(st.sampled_from(["rain", "level"]), st.integers(0, 1000), faults)
def test_a_replay_day_by_day_doubts_what_an_import_at_once_doubts(
    variable: str, seed: int, found: list[tuple[str, int, int, int]]
) -> None:
    value, seen = faulty_panel(variable, seed, found)
    context = CONTEXT_DAYS[variable]
    feeds = ["a", "b"] * 4

    def judged(rows: slice, first: int) -> dict[str, set[tuple[int, int]]]:
        part = None if seen is None else seen[rows]
        return doubted(panel(variable, value[rows], first=first, feeds=feeds, satellite=part))

    at_once = judged(slice(None), context)
    by_day: dict[str, set[tuple[int, int]]] = {}
    for row in range(context, context + DAYS):
        for check, cells in judged(slice(0, row + 1), row).items():
            by_day.setdefault(check, set()).update(cells)
    assert by_day == at_once


@settings(max_examples=25)
@given(st.sampled_from(["rain", "level"]), st.integers(0, 1000), faults)
def test_where_the_series_stand_in_the_archive_does_not_matter(
    variable: str, seed: int, found: list[tuple[str, int, int, int]]
) -> None:
    value, _ = faulty_panel(variable, seed, found)
    order = np.random.default_rng(seed).permutation(8)
    lon = 11.0 + np.arange(8) * 5.3 / 80.0
    there = doubted(panel(variable, value, lon=lon))
    here = doubted(panel(variable, value[:, order], lon=lon[order]))
    assert {
        check: {(row, int(order[column])) for row, column in cells} for check, cells in here.items()
    } == there


@settings(max_examples=30)
@given(
    st.sampled_from(["rain", "level"]),
    st.integers(0, 1000),
    st.sampled_from(FAULTS),
    st.integers(1, 6),
    st.integers(1, 7),
)
def test_after_a_fault_has_ended_the_readings_are_good_again(
    variable: str, seed: int, fault: str, length: int, column: int
) -> None:
    days = CONTEXT_DAYS[variable] + 30
    value = rain(days, 8, seed) if variable == "rain" else levels(days, 8, seed)
    row = days - 25
    ended = row + length + 1
    found = doubted(panel(variable, with_fault(value, fault, row, length, column)))
    found.pop("accumulation", None)  # the first reading after a gap may well be the sum of it
    assert all(at < ended for cells in found.values() for at, _ in cells), found


@settings(max_examples=30)
@given(
    st.integers(0, 1000), st.sampled_from(["unit", "stale", "zero", "spike", "decimal"]), st.integers(1, 7)
)
def test_no_faulty_level_goes_unseen(seed: int, fault: str, column: int) -> None:
    days = CONTEXT_DAYS["level"] + 5
    value = levels(days, 8, seed)
    faulty = with_fault(value, fault, days - 3, 1, column)
    seen = {cell for cells in doubted(panel("level", faulty)).values() for cell in cells}
    wrong = {(int(row), int(column)) for row, column in zip(*np.nonzero(faulty != value), strict=True)}
    assert seen >= wrong
