"""Promises of the checks on rain: what each doubts, and that storms and dry weeks are left alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.settings_quality import QualitySettings
from tests.service.checks.fix_panels import cells, doubted, panel, rain


def wet_rows(value: np.ndarray, least: float = 5.0) -> list[int]:
    """Rows on which every gauge has so much."""
    return [int(row) for row in np.flatnonzero((value >= least).all(axis=1))]


def test_weather_raises_no_doubt_and_neither_does_a_drought() -> None:
    for seed in range(10):
        assert doubted(panel("rain", rain(60, 8, seed))) == {}
    assert doubted(panel("rain", np.zeros((60, 8)))) == {}


def test_a_storm_that_all_gauges_see_is_believed_and_one_that_one_gauge_sees_is_an_extreme() -> None:
    value = rain(40, 6)
    value[30] = [180.0, 234.6, 363.0, 150.2, 228.6, 124.4]
    assert doubted(panel("rain", value)) == {}
    value[30] = [3.0, 234.6, 8.2, 1.1, 0.4, 2.2]
    assert doubted(panel("rain", value)) == {"spatial_outlier": {(30, 1)}}


def test_the_satellite_bears_out_a_lonely_storm() -> None:
    value = np.zeros((40, 6))
    value[30] = [3.0, 234.6, 8.2, 1.1, 0.4, 2.2]
    seen = np.where(np.arange(40)[:, None] == 30, 60.0, 0.0) * np.ones((1, 6))
    assert doubted(panel("rain", value, satellite=seen)) == {}


def test_without_neighbours_nothing_is_an_outlier() -> None:
    value = np.zeros((40, 2))
    value[30, 0] = 200.0
    assert doubted(panel("rain", value)) == {}


def test_a_day_beyond_the_month_and_the_latitude_is_an_extreme() -> None:
    value = np.zeros((40, 2))
    value[30] = [410.0, 390.0]  # 31 March: the cold half-year at 44 degrees north
    assert doubted(panel("rain", value)) == {"physical_range": {(30, 0)}}
    south = panel("rain", value, lat=np.array([-44.0, -44.0]))  # and the warm one at 44 degrees south
    assert doubted(south) == {}
    tropics = panel("rain", value, lat=np.array([10.0, 10.0]))
    assert doubted(tropics) == {}
    rules = QualitySettings.model_validate({"feeds": {"gauges": {"rain": {"maximum_mm": [300.0] * 12}}}})
    assert doubted(panel("rain", value, settings=rules), rules) == {"physical_range": {(30, 0), (30, 1)}}


@pytest.mark.parametrize(("amount", "days", "found"), [(12.4, 3, True), (12.4, 2, False), (2.2, 5, True)])
def test_the_same_rain_day_after_day_is_a_stuck_gauge(amount: float, days: int, found: bool) -> None:
    value = rain(40, 4)
    value[30 : 30 + days] = rain(days, 4, 3) + 4.0
    value[30 : 30 + days, 2] = amount
    expected = {"flat_line": cells(range(31, 30 + days), [2])} if found else {}
    assert doubted(panel("rain", value)) == expected


def test_dew_and_dry_days_may_be_the_same_for_weeks() -> None:
    value = np.zeros((60, 4))
    value[20:50, 1] = 0.2
    assert doubted(panel("rain", value)) == {}


@settings(max_examples=20)
@given(st.integers(0, 50), st.integers(1, 7))
def test_a_wet_page_that_comes_again_is_found_and_the_next_page_is_good(seed: int, lag: int) -> None:
    value = rain(60, 8, seed)
    value[40 - lag] = np.round(np.linspace(4.1, 31.7, 8), 1)
    value[40 - lag, 3] = 0.0
    value[40] = value[40 - lag]
    found = doubted(panel("rain", value))
    assert found["stale_page"] == cells([40], range(8))
    assert all(row <= 40 for of_check in found.values() for row, _ in of_check)


def test_of_a_page_that_is_stale_in_part_only_the_same_wet_values_are_doubted() -> None:
    value = rain(60, 10, 2)
    value[39] = np.round(np.linspace(4.1, 31.7, 10), 1)
    value[39, 9] = 0.0
    value[40] = value[39]
    value[40, :3] += 1.7
    assert doubted(panel("rain", value))["stale_page"] == cells([40], range(3, 9))


def test_a_dry_page_after_a_dry_page_is_no_fault() -> None:
    value = rain(60, 8)
    value[39:42] = 0.0
    value[39:42, 2] = [1.2, 1.2, 1.2]
    assert doubted(panel("rain", value)) == {}


def test_two_feeds_are_judged_page_by_page() -> None:
    value = rain(60, 12)
    value[39] = np.round(np.linspace(4.1, 31.7, 12), 1)
    value[40] = np.round(np.linspace(5.3, 28.2, 12), 1)
    value[40, 6:] = value[39, 6:]
    found = doubted(panel("rain", value, feeds=["a"] * 6 + ["b"] * 6))
    assert found == {"stale_page": cells([40], range(6, 12))}


def test_a_block_of_days_that_comes_again_is_found() -> None:
    value = rain(60, 6)
    value[20:50] = np.round(rain(30, 6, 9) + np.random.default_rng(2).uniform(2, 6, (30, 6)), 1)
    value[40:46, 4] = value[33:39, 4]
    assert doubted(panel("rain", value)) == {"repeated_block": cells(range(40, 46), [4])}


def test_two_gauges_with_one_series_are_both_doubted_unless_they_are_one_gauge_of_two_feeds() -> None:
    value = np.round(rain(60, 4, 5) + 2.0, 1)
    value[:, 3] = value[:, 0]
    assert doubted(panel("rain", value, first=55))["duplicate_series"] == cells(range(41, 60), [0, 3])
    lon = 11.0 + np.array([0.0, 0.06, 0.12, 0.001])
    assert doubted(panel("rain", value, feeds=["a", "a", "a", "b"], lon=lon)) == {}
    assert "duplicate_series" in doubted(panel("rain", value, feeds=["a", "a", "a", "b"], first=55))


@pytest.mark.parametrize("factor", [1 / 25.4, 25.4])
def test_a_feed_in_another_unit_is_found_by_its_ratio_to_the_satellite(factor: float) -> None:
    value = rain(60, 8, 4)
    seen = value * np.random.default_rng(1).uniform(0.6, 1.5, value.shape)
    row = next(row for row in wet_rows(value) if row >= 31)
    value[row] = np.round(value[row] * factor, 2)
    found = doubted(panel("rain", value, satellite=seen))
    assert found["rain_unit"] == cells([row], range(8))
    assert all(at == row for of_check in found.values() for at, _ in of_check)


def test_a_feed_in_inches_is_found_by_its_ratio_to_another_feed() -> None:
    value = np.round(rain(60, 12, 4), 2)
    row = next(row for row in wet_rows(value) if row >= 31)
    value[row, :6] = np.round(value[row, :6] / 25.4, 2)
    mixed = [0, 6, 1, 7, 2, 8, 3, 9, 4, 10, 5, 11]
    feeds = ["a" if column < 6 else "b" for column in mixed]
    found = doubted(panel("rain", value[:, mixed], feeds=feeds))
    assert found["rain_unit"] == cells([row], range(0, 12, 2))


def test_a_feed_that_nothing_else_covers_is_found_by_the_steps_of_its_numbers() -> None:
    value = rain(60, 8, 4)
    rows = [row for row in wet_rows(value) if 31 <= row < 50]
    value[rows] = value[rows] / 25.4
    found = doubted(panel("rain", value))
    assert found["rain_unit"] == cells(rows, range(8))


def test_one_gauge_in_inches_is_found_after_four_wet_days() -> None:
    value = np.round(rain(60, 6, 8) + 8.0, 1)
    value[30:40, 2] = np.round(value[30:40, 2] / 25.4, 2)
    found = doubted(panel("rain", value))
    assert found["rain_unit"] == cells(range(30, 40), [2])


def test_a_zero_in_the_rain_is_a_missing_value() -> None:
    value = rain(60, 6)
    value[40] = [22.4, 0.0, 31.0, 18.2, 12.6, 40.8]
    assert doubted(panel("rain", value)) == {"false_zero": {(40, 1)}}
    dry = np.zeros((60, 6))  # by satellite: it did not rain after all
    assert doubted(panel("rain", value[38:42], satellite=dry[:4])) == {}


def test_zeros_of_days_whose_rain_is_small_are_found_together() -> None:
    value = rain(60, 6)
    value[40:46] = np.round(np.linspace(5.2, 7.9, 36).reshape(6, 6), 1)
    value[40:46, 1] = 0.0
    assert doubted(panel("rain", value)) == {"false_zero": cells(range(40, 46), [1])}


def test_a_page_of_zeros_is_found_where_others_see_the_rain() -> None:
    value = rain(60, 12)
    value[40] = np.round(np.linspace(14.0, 31.7, 12), 1)
    feeds = ["a", "b"] * 6
    value[40, ::2] = 0.0
    assert doubted(panel("rain", value, feeds=feeds)) == {"false_zero": cells([40], range(0, 12, 2))}
    seen = np.full((60, 5), np.nan)
    seen[40] = [22.0, 17.0, 30.0, 12.0, 14.0]
    calm = np.zeros((60, 5))
    assert doubted(panel("rain", calm, satellite=seen)) == {"false_zero": cells([40], range(5))}


def test_zeros_beside_scattered_showers_are_believed() -> None:
    value = np.zeros((60, 6))
    value[40] = [22.4, 0.0, 0.0, 18.2, 0.6, 40.8]
    assert doubted(panel("rain", value)) == {}


def test_the_sum_of_a_gap_is_no_rain_of_its_last_day() -> None:
    value = rain(60, 6)
    value[36:40] = np.round(np.linspace(10.1, 20.3, 24).reshape(4, 6), 1)
    value[40] = np.round(np.linspace(0.5, 3.1, 6), 1)
    value[36:40, 2] = np.nan
    value[40, 2] = 58.4
    assert doubted(panel("rain", value)) == {"accumulation": {(40, 2)}}
    value[40, 2] = 4.6
    assert doubted(panel("rain", value)) == {}


def test_rain_after_a_gap_that_neighbours_had_on_that_day_is_believed() -> None:
    value = rain(60, 6)
    value[36:40] = 0.0
    value[40] = [48.2, 62.0, 58.4, 70.1, 44.4, 51.2]
    value[36:40, 2] = np.nan
    assert doubted(panel("rain", value)) == {}
