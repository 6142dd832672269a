"""Promises about landslides held against maps, and the rates made of them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.event import Event
from exporters.layer import TOP, ClassScheme
from service.ledger_displays import Display
from service.verify_events import Judged, judge_event, judge_events
from service.verify_rates import (
    LookedDay,
    chance_rate,
    class_tallies,
    rate_curves,
    reliability,
    wilson,
)
from service.verify_values import DayValues, count

D1, D2, D3 = (date(2026, 5, day) for day in (1, 2, 3))
SCHEME = ClassScheme(breaks=(0.2, 0.4, 0.6))  # stored: 50, 100, 150


def event(uid: str, day: date, day_from: date | None = None) -> Event:
    return Event(
        uid=uid, kind="landslide", source="added", day_from=day_from or day, day=day, lon=11.0, lat=44.0,
        accuracy_m=50, by="A", reason="seen", recorded_at=datetime(2026, 6, 1, tzinfo=UTC),
    )  # fmt: skip


def display(day: date, **changes: Any) -> Display:
    values: dict[str, Any] = {
        "day": day,
        "layer_id": f"toy-{day}-l0-r1",
        "issued_at": datetime(day.year, day.month, day.day, 6, tzinfo=UTC),
        "folder": Path("layers"),
        "scheme": SCHEME,
        "levels": {"west": 2},
        "may_warn": True,
    }
    return Display(**(values | changes))


def histogram(values: Mapping[int, int]) -> np.ndarray[Any, Any]:
    found = np.zeros(TOP + 1, np.int64)
    for value, cells in values.items():
        found[value] = cells
    return found


def day_values(events: Mapping[str, Mapping[int, int]], ground: Mapping[int, int]) -> DayValues:
    return DayValues(
        histogram(ground), {uid: histogram(item) for uid, item in events.items()}, histogram({}), {}
    )


GROUND = {10: 60, 60: 20, 120: 15, 200: 5}


def judge(item: Event, values: dict[date, DayValues | str], **changes: Any) -> Judged:
    displays = {day: display(day, **changes) for day in values}
    return judge_event(item, displays, values, "west", 3)


def test_the_highest_cell_within_the_circle_decides() -> None:
    hit = judge(event("a", D1), {D1: day_values({"a": {10: 8, 120: 1}}, GROUND)}).verified
    miss = judge(event("a", D1), {D1: day_values({"a": {10: 8, 60: 1}}, GROUND)}).verified
    assert (hit.outcome, hit.class_label, hit.susceptibility, hit.level) == ("hit", "high", 0.48, "orange")
    assert hit.rank == pytest.approx(0.8)
    assert (miss.outcome, miss.class_label) == ("miss", "moderate")


def test_the_breaks_of_that_days_own_layer_decide() -> None:
    values: dict[date, DayValues | str] = {D1: day_values({"a": {120: 1}}, GROUND)}
    assert judge(event("a", D1), values).verified.outcome == "hit"
    stricter = judge(event("a", D1), values, scheme=ClassScheme(breaks=(0.4, 0.6, 0.8)))
    assert stricter.verified.outcome == "miss"


@pytest.mark.parametrize(
    ("first", "second", "outcome", "shown"),
    [(200, 120, "hit", 0.48), (10, 60, "miss", 0.04), (10, 200, "undecided", 0.04)],
)
def test_of_two_days_both_maps_count(first: int, second: int, outcome: str, shown: float) -> None:
    values: dict[date, DayValues | str] = {
        D1: day_values({"a": {first: 1}}, GROUND),
        D2: day_values({"a": {second: 1}}, GROUND),
    }
    found = judge(event("a", D2, D1), values).verified
    assert (found.outcome, found.susceptibility) == (outcome, shown)
    assert bool(found.why) == (outcome == "undecided")


def test_a_span_too_wide_is_never_a_hit() -> None:
    item = event("a", date(2026, 5, 5), D1)
    days = [date(2026, 5, day) for day in range(1, 6)]
    found = judge(item, {day: day_values({"a": {200: 1}}, GROUND) for day in days})
    assert found.verified.outcome == "undecided"
    assert found.standing is None
    assert "max_window_days" in found.verified.why


def test_a_day_without_a_map_is_unknown_and_no_miss() -> None:
    found = judge_event(event("a", D1), {}, {}, "west", 3).verified
    assert (found.outcome, found.layer_id, found.level) == ("unknown", None, None)
    removed = judge(event("a", D1), {D1: "the files are no longer kept"}).verified
    assert (removed.outcome, removed.why) == ("unknown", "the files are no longer kept")
    nodata = judge(event("a", D1), {D1: day_values({"a": {}}, GROUND)}).verified
    assert nodata.outcome == "unknown"
    assert nodata.susceptibility is None


def test_one_day_with_a_hit_and_one_without_a_map_is_undecided() -> None:
    displays = {D1: display(D1)}
    values: dict[date, DayValues | str] = {D1: day_values({"a": {200: 1}}, GROUND)}
    assert judge_event(event("a", D2, D1), displays, values, "west", 3).verified.outcome == "undecided"


def test_hindsight_and_withdrawal_are_said() -> None:
    values: dict[date, DayValues | str] = {D1: day_values({"a": {200: 1}}, GROUND)}
    found = judge(event("a", D1), values, hindsight=True, withdrawn=True).verified
    assert found.hindsight
    assert found.withdrawn
    assert found.outcome == "hit"


def test_a_level_that_nobody_may_give_is_not_known() -> None:
    values: dict[date, DayValues | str] = {D1: day_values({"a": {200: 1}}, GROUND)}
    assert judge(event("a", D1), values, levels={}).verified.level is None


def test_the_curve_of_one_cell_is_as_by_hand() -> None:
    # 15 of 100 cells share its value, 5 are higher: it comes between 5 % and 20 % of the area.
    found = judge(event("a", D1), {D1: day_values({"a": {120: 1}}, GROUND)})
    curve = rate_curves([found])[0]
    at = dict(zip(curve.area_share, curve.landslide_share, strict=True))
    assert at[0.05] == pytest.approx(0)
    assert at[0.11] == pytest.approx(6 / 15)
    assert at[0.2] == pytest.approx(1)
    assert curve.auc == pytest.approx(1 - 0.05 - 0.075)
    assert curve.auc_low is None  # one storm is one witness


def test_a_landslide_that_may_be_anywhere_is_worth_what_chance_is() -> None:
    found = judge(event("a", D1), {D1: day_values({"a": GROUND}, GROUND)})
    curve = rate_curves([found])[0]
    assert curve.auc == pytest.approx(0.5)
    np.testing.assert_allclose(curve.landslide_share, curve.area_share, atol=1e-12)
    for item in class_tallies([found], [], frozenset(), 0.0009):
        assert item.frequency_ratio == pytest.approx(1)


def test_frequency_ratios_are_as_by_hand() -> None:
    values: dict[date, DayValues | str] = {
        D1: day_values({"a": {200: 1}, "b": {10: 1}, "c": {200: 1}, "d": {120: 1}}, GROUND)
    }
    judged = [judge(event(uid, D1), values) for uid in "abcd"]
    looked = [LookedDay(D1, histogram({10: 100, 200: 50}), SCHEME)]
    low, moderate, high, very_high = class_tallies(judged, looked, frozenset("ab"), 0.0009)
    assert [item.landslides for item in (low, moderate, high, very_high)] == [1, 0, 1, 2]
    assert low.frequency_ratio == pytest.approx(0.25 / 0.6)
    assert moderate.frequency_ratio == 0
    assert very_high.frequency_ratio == pytest.approx(0.5 / 0.05)
    assert low.looked_km2_days == pytest.approx(0.09)
    assert (low.landslides_looked, very_high.landslides_looked) == (1, 1)


def test_reliability_counts_cells_and_days_where_somebody_looked() -> None:
    values: dict[date, DayValues | str] = {D1: day_values({"a": {200: 1}, "b": {200: 1}}, GROUND)}
    judged = [judge(event(uid, D1), values) for uid in "ab"]
    looked = [LookedDay(D1, histogram({10: 900, 200: 100}), SCHEME)] * 2
    bins = reliability(judged, looked, frozenset("a"), 0.0009)
    found = {item.low: item for item in bins if item.cell_days}
    assert set(found) == {0.0, 0.8}
    assert (found[0.8].cell_days, found[0.8].landslides) == (200, 1)  # b lies where nobody looked
    assert found[0.8].landslides_per_km2_year.value == pytest.approx(1 / (200 * 0.0009 / 365.25))
    assert found[0.0].landslides_per_km2_year.value == 0
    assert found[0.8].mean_index == pytest.approx(0.8)
    assert bins[1].landslides_per_km2_year.value is None  # no such ground was looked at: not known, no zero
    assert reliability(judged, [], frozenset("a"), 0.0009) == ()


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe (1998), table I, method 3: 81 of 263, and 0 of 20.
    rate, none = wilson(81, 263), wilson(0, 20)
    assert (round(rate.low or 0, 4), round(rate.high or 0, 4)) == (0.2553, 0.3662)
    assert (none.low, round(none.high or 0, 4)) == (0.0, 0.1611)
    assert wilson(0, 0).value is None


@given(st.integers(0, 200), st.integers(1, 200))
def test_an_interval_holds_its_share(successes: int, trials: int) -> None:
    rate = wilson(min(successes, trials), trials)
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    assert 0 <= rate.low <= rate.value <= rate.high <= 1


def test_chance_is_the_mean_over_decided_landslides() -> None:
    found = judge(event("a", D1), {D1: day_values({"a": {200: 1}}, GROUND)})
    half = Judged(found.verified, found.days, found.highest_class, found.standing, (64, 32))
    none = Judged(found.verified, found.days, found.highest_class, found.standing, (10, 0))
    assert chance_rate([half, none]) == pytest.approx(0.25)
    assert chance_rate([]) is None


_GROUND = st.lists(st.integers(0, TOP), min_size=1, max_size=40)


@settings(max_examples=40)
@given(st.lists(st.tuples(_GROUND, st.sampled_from([D1, D2, D3])), min_size=1, max_size=12), st.randoms())
def test_shuffling_landslides_changes_nothing(places: list[tuple[list[int], date]], random: Any) -> None:
    events = [event(f"e{number}", day) for number, (_, day) in enumerate(places)]
    maps: dict[date, DayValues | str] = {}
    for day in (D1, D2, D3):
        cells = {f"e{n}": count(np.array(item, np.uint8)) for n, (item, of) in enumerate(places) if of == day}
        ground = sum(cells.values(), np.full(TOP + 1, 3, np.int64))
        maps[day] = DayValues(ground, cells, ground, {})
    displays = {day: display(day) for day in maps}
    zones = {item.uid: "west" for item in events}
    shuffled = list(events)
    random.shuffle(shuffled)
    one = judge_events(events, displays, maps, zones, 3)
    other = judge_events(shuffled, displays, maps, zones, 3)
    assert [item.verified for item in one] == [item.verified for item in other]
    assert rate_curves(one) == rate_curves(other)
    assert class_tallies(one, [], frozenset(), 1.0) == class_tallies(other, [], frozenset(), 1.0)
    for curve in rate_curves(one):
        assert np.all(np.diff(curve.landslide_share) >= -1e-12)
        assert curve.landslide_share[-1] == pytest.approx(1)
        assert curve.auc is not None
        assert 0 <= curve.auc <= 1
        if curve.auc_low is not None and curve.auc_high is not None:
            assert curve.auc_low <= curve.auc_high
    shares = [item.landslide_share or 0 for item in class_tallies(one, [], frozenset(), 1.0)]
    assert math.isclose(sum(shares), 1)


@given(st.integers(0, TOP), st.integers(0, TOP))
def test_a_higher_value_never_stands_worse(one: int, other: int) -> None:
    low, high = sorted((one, other))
    ground = dict.fromkeys(range(TOP + 1), 2)
    values: dict[date, DayValues | str] = {D1: day_values({"a": {low: 1}, "b": {high: 1}}, ground)}
    first, second = (judge(event(uid, D1), values) for uid in "ab")
    assert first.standing is not None
    assert second.standing is not None
    assert first.standing.auc <= second.standing.auc
    assert (first.verified.rank or 0) <= (second.verified.rank or 0)
    assert not (first.verified.outcome == "hit" and second.verified.outcome == "miss")
