"""Promises about warning levels held against zones' spans of days."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.verify_duration import duration_matrices, indices
from service.verify_levels import ZoneSpans, level_tallies, merged

D1, D2, D3 = (date(2026, 5, day) for day in (1, 2, 3))
GREEN, YELLOW, ORANGE, RED = range(4)
LIMITS = (1, 3, 10)


def _four_zones() -> list[ZoneSpans]:
    """Two by two zones on three days.

    nw: red on D2, three landslides on D2, looked at on D1.    ne: yellow throughout, looked at on all days.
    sw: green throughout, a landslide on D3, looked at on D1.  se: orange on D1, nobody looked anywhere.
    """
    return [
        ZoneSpans(
            {D1: GREEN, D2: RED, D3: YELLOW},
            landslides=frozenset({(D2, D2)}),
            looked=frozenset({(D1, D1)}),
            counts={(D2, D2): 3},
        ),
        ZoneSpans({D1: YELLOW, D2: YELLOW, D3: YELLOW}, looked=frozenset({(D1, D3)})),
        ZoneSpans(
            {D1: GREEN, D2: GREEN, D3: GREEN},
            landslides=frozenset({(D3, D3)}),
            looked=frozenset({(D1, D1)}),
            counts={(D3, D3): 1},
        ),
        ZoneSpans({D1: ORANGE, D2: GREEN, D3: GREEN}),
    ]


def test_four_zones_on_three_days_are_counted_as_by_hand() -> None:
    yellow, orange, red = level_tallies(_four_zones())
    for level, expected in (
        # hits, misses, false alarms, rightly quiet, not known, not looked
        (yellow, (1, 1, 1, 2, 0, 2)),  # not looked: nw on D3, se on D1
        (orange, (1, 1, 0, 3, 0, 1)),
        (red, (1, 1, 0, 3, 0, 0)),
    ):
        found = (level.hits, level.misses, level.false_alarms, level.rightly_quiet, level.not_known)
        assert (*found, level.not_looked) == expected, level.level
    assert yellow.detection_rate.value == 0.5
    assert yellow.false_alarm_ratio.value == 0.5
    assert orange.false_alarm_ratio.value == 0.0


def test_the_duration_matrix_of_those_zones_is_as_by_hand() -> None:
    matrices = duration_matrices(_four_zones(), LIMITS)
    assert matrices is not None
    looked, classical = matrices
    # Days looked at without landslides: nw D1 green, ne D1 to D3 yellow, sw D1 green.
    assert looked.days == ((2, 3, 0, 0), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0))
    # Beside those: nw D3 yellow, sw D2 green, se D1 orange, D2 and D3 green.
    assert classical.days == ((5, 4, 1, 0), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0))
    assert looked.not_looked_days == 5
    assert looked.indices["efficiency"] == pytest.approx(3 / 7)
    assert looked.indices["hit_rate"] == 0.5
    assert looked.indices["missed_alert_rate"] == 0.5
    assert looked.indices["false_alert_rate"] == pytest.approx(3 / 4)
    assert looked.indices["odds_ratio"] == pytest.approx(3 / 4)
    assert classical.indices["efficiency"] == pytest.approx(6 / 12)


def test_a_landslide_of_one_of_two_days_is_half_a_day_on_each() -> None:
    zone = ZoneSpans(
        {D1: GREEN, D2: RED}, landslides=frozenset({(D1, D2)}), looked=frozenset({(D1, D2)}),
        counts={(D1, D2): 1},
    )  # fmt: skip
    matrices = duration_matrices([zone], LIMITS)
    assert matrices is not None
    assert matrices[0].days[0] == (0.5, 0, 0, 0.5)
    assert matrices[0].days[1] == (0.5, 0, 0, 0.5)


def test_days_of_a_landslide_of_a_wide_span_are_in_no_cell() -> None:
    zone = ZoneSpans({D1: GREEN, D2: GREEN}, unclear=frozenset({(D1, D2)}), looked=frozenset({(D1, D2)}))
    matrices = duration_matrices([zone], LIMITS)
    assert matrices is not None
    assert sum(map(sum, matrices[1].days)) == 0


def test_without_any_level_there_is_no_matrix() -> None:
    assert duration_matrices([ZoneSpans({}, looked=frozenset({(D1, D1)}))], LIMITS) is None


def test_an_index_without_anything_to_divide_by_is_none() -> None:
    assert set(indices(np.zeros((4, 4))).values()) == {None}


def test_looks_that_share_a_day_are_one_span() -> None:
    assert merged([(D2, D3), (D1, D2)]) == [(D1, D3)]
    assert merged([(D1, D1), (D2, D3)]) == [(D1, D1), (D2, D3)]
    zone = ZoneSpans({D1: RED, D2: RED, D3: RED}, looked=frozenset({(D1, D2), (D2, D3)}))
    assert level_tallies([zone])[2].false_alarms == 1


def test_a_level_that_is_not_known_is_neither_quiet_nor_an_alarm() -> None:
    zone = ZoneSpans({D1: GREEN}, looked=frozenset({(D1, D2)}), landslides=frozenset({(D3, D3)}))
    for level in level_tallies([zone]):
        assert (level.rightly_quiet, level.false_alarms, level.hits, level.misses) == (0, 0, 0, 0)
        assert level.not_known == 2 if level.level == "yellow" else level.not_known >= 1


def test_an_alarm_is_no_false_one_where_a_landslide_of_an_unknown_day_may_have_been_it() -> None:
    zone = ZoneSpans({D1: RED, D2: RED}, unclear=frozenset({(D1, D3)}), looked=frozenset({(D2, D2)}))
    assert all(level.false_alarms == 0 for level in level_tallies([zone]))


_DAYS = [D1 + timedelta(days=offset) for offset in range(8)]


@st.composite
def _zones(draw: st.DrawFn) -> ZoneSpans:
    levels = {
        day: level for day in _DAYS if (level := draw(st.one_of(st.none(), st.integers(0, 3)))) is not None
    }
    spans = st.frozensets(
        st.tuples(st.integers(0, 7), st.integers(0, 2)).map(
            lambda item: (_DAYS[item[0]], _DAYS[min(7, item[0] + item[1])])
        ),
        max_size=3,
    )
    slid = draw(spans)
    return ZoneSpans(
        levels, slid, draw(spans) - slid, draw(spans), {span: draw(st.integers(1, 12)) for span in slid}
    )


@settings(max_examples=40)
@given(st.lists(_zones(), min_size=1, max_size=4), st.randoms())
def test_the_order_of_zones_changes_nothing(zones: list[ZoneSpans], random: object) -> None:
    shuffled = list(zones)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert level_tallies(zones) == level_tallies(shuffled)


@settings(max_examples=40)
@given(st.lists(_zones(), min_size=1, max_size=3))
def test_a_higher_level_never_detects_more(zones: list[ZoneSpans]) -> None:
    tallies = level_tallies(zones)
    for lower, higher in pairwise(tallies):
        assert higher.hits <= lower.hits
        assert higher.misses >= lower.misses
        assert higher.false_alarms <= lower.false_alarms


@settings(max_examples=40)
@given(st.lists(_zones(), min_size=1, max_size=3))
def test_one_more_hit_never_lowers_the_detection_rate(zones: list[ZoneSpans]) -> None:
    hit = ZoneSpans({D1: RED}, landslides=frozenset({(D1, D1)}), counts={(D1, D1): 1})
    for before, after in zip(level_tallies(zones), level_tallies([*zones, hit]), strict=True):
        assert after.hits == before.hits + 1
        assert (after.detection_rate.value or 0) >= (before.detection_rate.value or 0)


@settings(max_examples=40)
@given(st.lists(_zones(), min_size=1, max_size=3))
def test_every_day_with_a_level_is_in_one_cell_or_set_apart(zones: list[ZoneSpans]) -> None:
    matrices = duration_matrices(zones, LIMITS)
    if matrices is None:
        assert all(not zone.levels for zone in zones)
        return
    unclear = sum(
        any(first <= day <= last for first, last in zone.unclear) for zone in zones for day in zone.levels
    )
    days = sum(len(zone.levels) for zone in zones) - unclear
    looked, classical = matrices
    assert sum(map(sum, classical.days)) == pytest.approx(days, abs=1e-4)
    assert sum(map(sum, looked.days)) + looked.not_looked_days == pytest.approx(days, abs=1e-4)
