"""Promises about the level of one zone: when it rises, stays and goes down, and when nobody knows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from exporters.layer import CLASS_LABELS, ZoneArea, ZoneWarning
from service.settings_warnings import LevelRule, WarningSettings
from service.warnings import CALM_LEVEL, ZoneFigures, decide, figures_of, incomparable

NOW = datetime(2026, 3, 1, 6, tzinfo=UTC)
RULES = WarningSettings()
ZONE_M2 = 1_000_000.0

shares = st.floats(0, 1)
growths = st.floats(-1, 1)
levels = st.one_of(st.none(), st.integers(0, 3))


def figures(
    share: float, growth: float | None, *, unknown: float = 0.0, footprint: float | None = None
) -> ZoneFigures:
    """A zone of one square kilometre; growth is over one day."""
    known = ZONE_M2 * (1 - unknown)
    on = known if footprint is None else footprint * ZONE_M2
    return ZoneFigures(
        zone="a",
        name="Alpha",
        high_m2=share * known,
        known_m2=known,
        unknown_m2=ZONE_M2 * unknown,
        growth={} if growth is None else {1: growth},
        growth_m2={} if growth is None else {1: growth * on},
        footprint_m2={} if growth is None else {1: on},
    )


def after(
    before: ZoneWarning | None,
    share: float,
    growth: float | None,
    *,
    shown: ZoneWarning | None = None,
    rules: WarningSettings = RULES,
    **others: Any,
) -> ZoneWarning:
    return decide(figures(share, growth, **others), rules, before, shown, decided_at=NOW)


def story(*days: tuple[float, float | None], unknown: Sequence[float] = ()) -> list[ZoneWarning]:
    """Decide day after day: share and growth of each."""
    found: list[ZoneWarning] = []
    for number, (share, growth) in enumerate(days):
        lost = unknown[number] if number < len(unknown) else 0.0
        found.append(after(found[-1] if found else None, share, growth, unknown=lost))
    return found


@st.composite
def states(draw: st.DrawFn) -> ZoneWarning | None:
    level = draw(levels)
    if draw(st.booleans()):
        return None
    raised = bool(level)
    calm = draw(st.integers(0, RULES.lower_after_days - 1)) if raised else 0
    return ZoneWarning(
        zone="a",
        name="Alpha",
        level=level,
        previous=None,
        rule="",
        numbers={
            "reference_unknown": draw(st.floats(0, 1)) if raised else None,
            CALM_LEVEL: draw(st.integers(0, level - 1)) if calm and level else None,
        },
        reference_share=draw(st.one_of(st.none(), shares)) if raised else None,
        calm_days=calm,
        decided_at=NOW,
    )


@pytest.mark.parametrize(
    ("share", "growth", "level"),
    [
        (0.049, 0.5, 0),  # too little of it is high
        (0.5, 0.029, 0),  # much is high, but it always was
        (0.05, 0.03, 1),
        (0.2, 0.08, 2),
        (0.3, 0.15, 3),
    ],
)
def test_a_level_needs_enough_high_ground_and_enough_growth(share: float, growth: float, level: int) -> None:
    assert after(None, share, growth).level == level


def test_the_larger_growth_of_one_day_and_of_seven_counts() -> None:
    slow = ZoneFigures("a", "Alpha", 3e5, 1e6, 0.0, {1: 0.01, 7: 0.16}, {1: 1e4, 7: 1.6e5})
    warning = decide(slow, RULES, None, decided_at=NOW)
    assert warning.level == 3
    assert "16.0 points more than 7 days before" in warning.rule
    assert (warning.numbers["growth_1_day"], warning.numbers["growth_7_days"]) == (0.01, 0.16)


def test_the_rule_names_what_was_found_and_what_was_asked() -> None:
    warning = after(None, 0.32, 0.25)
    for word in ("raised to red", "32.0%", "20.0%", "25.0 points", "15.0 points"):
        assert word in warning.rule
    assert warning.reference_share == pytest.approx(0.07)
    assert warning.numbers["share"] == pytest.approx(0.32)


def test_a_level_stays_while_enough_of_the_rise_stands_and_goes_down_after_days_in_a_row() -> None:
    days = story((0.03, 0.0), (0.25, 0.22), (0.24, -0.01), (0.125, -0.1), (0.1, -0.02), (0.1, 0.0))
    assert [day.level for day in days] == [0, 3, 3, 3, 3, 2]
    assert [day.calm_days for day in days] == [0, 0, 0, 0, 1, 0]
    assert "1 so far" in days[4].rule
    assert "lowered to orange: for 2 days in a row less than 9.0 points" in days[5].rule


def test_one_calm_day_between_others_lowers_nothing() -> None:
    days = story((0.03, 0.0), (0.25, 0.22), (0.05, -0.2), (0.2, 0.15), (0.05, -0.15), (0.2, 0.15))
    assert {day.level for day in days[1:]} == {3}


def test_a_level_goes_down_to_the_highest_that_its_calm_days_spoke_for() -> None:
    days = story((0.03, 0.0), (0.25, 0.22), (0.08, -0.17), (0.03, -0.05), (0.03, 0.0))
    assert [day.level for day in days] == [0, 3, 3, 2, 0]


def test_back_to_normal_is_measured_from_before_the_first_rise() -> None:
    days = story((0.03, 0.0), (0.07, 0.04), (0.15, 0.08), (0.3, 0.15))
    assert [day.level for day in days] == [0, 1, 2, 3]
    assert [day.reference_share for day in days[1:]] == pytest.approx([0.03] * 3)


@pytest.mark.parametrize("unknown", [0.6, 1.0])
def test_a_zone_that_is_mostly_unknown_has_no_level_and_keeps_one_that_stands(unknown: float) -> None:
    assert after(None, 0.0, 0.0, unknown=unknown).level is None
    assert after(after(None, 0.0, 0.0), 0.0, 0.0, unknown=unknown).level is None, "green, once, is not known"
    raised = after(None, 0.3, 0.25)
    held = raised
    for _ in range(5):
        held = after(held, 0.0, -0.25, unknown=unknown)
    assert held.level == 3
    assert held.reference_share == raised.reference_share
    assert "unknown" in held.rule or "known" in held.rule


def test_without_growth_nothing_is_known() -> None:
    assert after(None, 0.5, None).level is None
    assert after(after(None, 0.3, 0.25), 0.0, None).level == 3


def test_growth_on_a_corner_of_a_zone_does_not_speak_for_the_zone() -> None:
    assert after(None, 0.0, 0.0, footprint=0.1).level is None
    assert after(None, 0.3, 0.5, footprint=0.1).level == 1, (
        "5 points of the whole zone, whatever the rest did"
    )


def test_what_the_known_cells_reach_for_the_whole_zone_is_raised_though_most_is_unknown() -> None:
    warning = after(None, 0.9, 0.8, unknown=0.7)
    assert warning.level == 3
    assert "on the known cells alone (70% of the zone is unknown" in warning.rule
    calm = after(after(warning, 0.0, -0.9, unknown=0.7), 0.0, 0.0, unknown=0.7)
    assert calm.level is None, "the cells that rose are calm again, and of the others nothing is known"


def test_a_tenth_of_the_zone_may_fall_silent_before_nothing_is_lowered() -> None:
    assert [day.level for day in story((0.3, 0.25), (0, -0.3), (0, 0), unknown=[0, 0.1, 0.1])] == [3, 3, 0]
    days = story((0.3, 0.25), *[(0.0, 0.0)] * 5, unknown=[0, *[0.11] * 5])
    assert [day.level for day in days] == [3] * 6
    assert "11% of the zone fell silent since it rose (more than 10%)" in days[-1].rule


def test_a_day_that_is_not_known_neither_counts_as_calm_nor_starts_the_count_again() -> None:
    days = story((0.3, 0.25), (0.0, -0.3), (0.0, None), (0.0, 0.0))
    assert [day.level for day in days] == [3, 3, 3, 0]
    assert [day.calm_days for day in days] == [0, 1, 1, 0]


def test_a_later_revision_that_knows_less_keeps_what_the_earlier_one_said() -> None:
    calm = after(None, 0.0, 0.0)
    first = after(calm, 0.3, 0.3)
    second = after(calm, 0.0, None, shown=first, unknown=0.9)
    assert (first.level, second.level) == (3, 3)
    assert second.reference_share == first.reference_share


def test_a_later_revision_that_knows_better_corrects_the_earlier_one() -> None:
    calm = after(None, 0.0, 0.0)
    assert after(calm, 0.01, 0.01, shown=after(calm, 0.3, 0.3)).level == 0


def test_another_models_shares_are_not_held_against_this_ones() -> None:
    """Under the new model a fifth of the zone is high on any day."""
    raised = incomparable(after(None, 0.3, 0.25))
    first = after(raised, 0.6, None)
    assert first.level == 3
    second = after(incomparable(first), 0.6, 0.0)
    assert second.level == 3
    assert second.reference_share == pytest.approx(0.45)
    assert after(after(second, 0.4, -0.2), 0.4, 0.0).level == 0


def test_a_level_that_rests_on_doubted_readings_says_so_and_green_does_not() -> None:
    raised = decide(figures(0.3, 0.3), RULES, None, decided_at=NOW, unconfirmed=True)
    assert raised.unconfirmed
    assert not decide(figures(0.0, 0.0), RULES, None, decided_at=NOW, unconfirmed=True).unconfirmed


def test_figures_are_of_the_zones_and_of_the_whole_where_there_are_none() -> None:
    def areas(zone: str) -> list[ZoneArea]:
        return [
            ZoneArea(
                zone=zone,
                name=zone,
                label=label,
                area_m2=100.0 * (index + 1),
                ratio=(index + 1) / 10,
                unknown_m2=250.0,
                change_m2={1: 10.0 * index, 7: -5.0},
                change_ratio={1: 0.01 * index, 7: -0.005},
                footprint_m2={1: 1_000.0, 7: 900.0},
            )
            for index, label in enumerate(CLASS_LABELS)
        ]

    (zone,) = figures_of([*areas(""), *areas("a")])
    assert (zone.zone, zone.share, zone.unknown_share) == ("a", 0.7, 0.2)
    assert zone.growth == pytest.approx({1: 0.05, 7: -0.01})
    assert zone.growth_m2 == {1: 50.0, 7: -10.0}
    assert [item.zone for item in figures_of(areas(""))] == [""]


def test_levels_must_ask_for_more_from_one_to_the_next() -> None:
    with pytest.raises(ValidationError, match="red must ask for at least the share and growth that orange"):
        WarningSettings(red=LevelRule(share=0.2, growth=0.01))


@given(states(), shares, st.one_of(st.none(), growths), st.floats(0, 1))
def test_the_same_figures_after_the_same_day_give_the_same_level(
    before: ZoneWarning | None, share: float, growth: float | None, unknown: float
) -> None:
    assert after(before, share, growth, unknown=unknown) == after(before, share, growth, unknown=unknown)


@given(states(), states(), shares, st.one_of(st.none(), growths), st.floats(0, 1))
def test_what_is_not_known_never_lowers_a_level_and_never_calls_a_zone_green(
    before: ZoneWarning | None, shown: ZoneWarning | None, share: float, growth: float | None, unknown: float
) -> None:
    base = before.numbers["reference_unknown"] if before and before.level else None
    limit = max(RULES.max_unknown, base or 0.0)
    found = after(before, share, growth, unknown=unknown, shown=shown)
    if growth is None or unknown > limit + 1e-6:
        held = max((item.level or 0 for item in (before, shown) if item), default=0)
        assert (found.level or 0) >= held
        assert found.level != 0
    if unknown > RULES.max_unknown + 1e-6:
        assert found.level != 0


@given(states(), shares, shares, growths, growths, st.floats(0, 1))
def test_more_high_ground_and_more_growth_never_mean_a_lower_level(
    before: ZoneWarning | None, one: float, other: float, slow: float, fast: float, unknown: float
) -> None:
    lower = after(before, min(one, other), min(slow, fast), unknown=unknown)
    higher = after(before, max(one, other), max(slow, fast), unknown=unknown)
    assert (higher.level or 0) >= (lower.level or 0)


@given(states(), shares, growths)
def test_a_level_goes_down_on_no_single_day_unless_one_is_enough(
    before: ZoneWarning | None, share: float, growth: float
) -> None:
    found = after(before, share, growth)
    if before is not None and (found.level or 0) < (before.level or 0):
        assert before.calm_days + 1 >= RULES.lower_after_days


@given(states(), shares, st.one_of(st.none(), growths), st.floats(0, 1))
def test_a_level_always_says_why_and_carries_what_the_next_day_needs(
    before: ZoneWarning | None, share: float, growth: float | None, unknown: float
) -> None:
    found = after(before, share, growth, unknown=unknown)
    assert found.rule
    assert found.previous == (before.level if before else None)
    assert ZoneWarning.model_validate_json(found.model_dump_json()) == found
    if not found.level:
        assert (found.reference_share, found.calm_days) == (None, 0)


def test_growth_that_does_not_speak_for_the_zone_is_neither_said_nor_used() -> None:
    """Six new gauges since last week: of seven days back, a hundredth of the zone can be compared."""
    week = ZoneFigures("a", "Alpha", 2e5, 1e6, 0.0, {1: 0.16, 7: 0.9}, {1: 1.6e5, 7: 9e3}, {1: 1e6, 7: 1e4})
    warning = decide(week, RULES, None, decided_at=NOW)
    assert "16.0 points more than the day before" in warning.rule
    assert warning.reference_share == pytest.approx(0.04)
    assert warning.numbers["growth"] == 0.16
