"""Promises of the checks on levels: what each doubts, and that the readings after a fault are good again."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.settings_quality import QualitySettings
from tests.service.checks.fix_panels import cells, doubted, levels, panel


def test_levels_as_they_are_raise_no_doubt() -> None:
    for seed in range(5):
        assert doubted(panel("level", levels(150, 6, seed))) == {}


@settings(max_examples=15)
@given(st.integers(10, 100), st.integers(1, 20), st.integers(0, 2), st.sampled_from([1 / 0.3048, 0.3048]))
def test_levels_in_another_unit_are_found_for_as_long_as_they_come_and_no_longer(
    row: int, length: int, column: int, factor: float
) -> None:
    value = levels(130, 3)
    value[row : row + length, column] *= factor
    assert doubted(panel("level", value)) == {
        "level_unit": cells(range(row, min(row + length, 130)), [column])
    }


@settings(max_examples=15)
@given(st.integers(10, 100), st.sampled_from([0.01, 0.1, 10.0, 100.0]))
def test_a_lost_or_moved_decimal_point_is_found(row: int, factor: float) -> None:
    value = levels(130, 3)
    value[row, 1] *= factor
    assert doubted(panel("level", value)) == {"decimal_point": {(row, 1)}}


@settings(max_examples=15)
@given(st.integers(5, 120), st.integers(1, 15))
def test_a_level_of_zero_is_a_missing_value(row: int, length: int) -> None:
    value = levels(140, 3)
    value[row : row + length, 2] = 0.0
    assert doubted(panel("level", value)) == {"zero_level": cells(range(row, min(row + length, 140)), [2])}


def test_a_reservoir_at_the_sea_may_stand_at_zero() -> None:
    value = np.round(levels(60, 2) - 300.0, 1)
    value[30, 0] = 0.0
    assert doubted(panel("level", value, elevation_m=np.array([3.0, 103.0]))) == {}


def test_a_level_outside_the_operating_range_is_doubted_and_a_surcharge_is_not() -> None:
    value = levels(60, 1)
    value[40], value[41] = 304.9, 305.1
    assert doubted(panel("level", value, highest=np.array([303.0]))) == {"operating_range": {(41, 0)}}
    value = levels(60, 1)
    value[40:] = np.linspace(302.0, 303.0, 20)[:, None]
    assert doubted(panel("level", value, highest=np.array([301.5]))) == {}
    assert doubted(panel("level", value, lowest=np.array([303.5])))["operating_range"] >= {(10, 0), (20, 0)}


def test_a_step_is_doubted_once_and_only_its_first_day() -> None:
    value = levels(60, 2)
    value[30, 0] += 15.0  # and back
    value[40:, 1] -= 12.0  # to stay
    assert doubted(panel("level", value)) == {"step": {(30, 0), (40, 1)}}


def test_a_flood_that_fills_a_reservoir_by_five_metres_a_day_is_believed() -> None:
    value = levels(60, 1)
    value[30:33, 0] += [5.0, 10.0, 15.0]
    value[33:, 0] += 15.0
    assert doubted(panel("level", value)) == {}


def test_the_days_without_readings_allow_for_a_greater_step() -> None:
    value = levels(60, 1)
    value[30:33, 0] = np.nan
    value[33:, 0] += 20.0
    assert doubted(panel("level", value)) == {}


def test_a_gauge_that_sticks_is_found_by_its_own_habit_and_the_first_value_is_left() -> None:
    value = levels(130, 2)
    value[100:110, 0] = value[100, 0]
    assert doubted(panel("level", value)) == {"flat_line": cells(range(101, 110), [0])}


def test_a_reservoir_that_often_stays_may_stay_longer() -> None:
    value = np.round(levels(130, 1) * 2, 0) / 2  # read to half a metre
    value[100:110, 0] = value[100, 0]
    assert doubted(panel("level", value)) == {}


def test_a_reservoir_that_spills_is_level() -> None:
    value = levels(130, 1)
    value[80:125, 0] = value[80, 0]
    stuck = doubted(panel("level", value))
    assert stuck == {"flat_line": cells(range(81, 125), [0])}
    assert doubted(panel("level", value, highest=value[80])) == {}


def test_yesterdays_page_of_levels_is_found_and_todays_real_one_is_not() -> None:
    value = levels(130, 6)
    value[120] = value[119]
    value[125, :3] = value[124, :3]
    assert doubted(panel("level", value)) == {"stale_page": cells([120], range(6))}


def test_a_small_feed_repeats_itself_by_chance_only_where_its_levels_often_stay() -> None:
    value = levels(130, 3)
    value[120] = value[119]
    assert doubted(panel("level", value)) == {"stale_page": cells([120], range(3))}
    lazy = np.round(value * 4, 0) / 4
    assert doubted(panel("level", lazy)) == {}


def test_a_block_of_levels_that_comes_again_is_found() -> None:
    value = levels(130, 3)
    value[110:117, 1] = value[103:110, 1]
    assert doubted(panel("level", value))["repeated_block"] == cells(range(110, 117), [1])


def test_two_reservoirs_with_one_level_are_both_doubted() -> None:
    value = levels(60, 3)
    value[50:, 1] = value[50:, 0]
    found = doubted(panel("level", value))
    assert found["duplicate_series"] == cells(range(50, 60), [0, 1])


def test_a_month_has_its_own_range_of_levels() -> None:
    months = tuple(305.0 if month == 4 else 1000.0 for month in range(12))
    rules = QualitySettings.model_validate({"level": {"maximum_m": months}})
    value = np.full((70, 1), 306.0) + np.arange(70)[:, None] / 100
    found = doubted(panel("level", value, settings=rules), rules)
    assert found == {"physical_range": cells(range(61, 70), [0])}  # from 1 May on


def test_a_feed_may_have_thresholds_of_its_own() -> None:
    rules = QualitySettings.model_validate({"feeds": {"wild": {"level": {"step_m": 30.0}}}})
    value = levels(60, 2)
    value[30] += 15.0
    given_panel = panel("level", value, feeds=["calm", "wild"], settings=rules)
    assert doubted(given_panel, rules) == {"step": {(30, 0)}}


@pytest.mark.parametrize("off", [{"off": ["step"]}, {"feeds": {"gauges": {"off": ["step"]}}}])
def test_a_check_may_be_switched_off(off: dict[str, object]) -> None:
    rules = QualitySettings.model_validate(off)
    value = levels(60, 2)
    value[30] += 15.0
    assert doubted(panel("level", value, settings=rules), rules) == {}
