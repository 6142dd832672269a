"""Promises of the leave-one-out errors: each way is judged on what it could not see."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest

from service.forcing import GaugeDay
from service.interpolation import errors, leave_one_out
from service.settings import ForcingSettings

NAN = float("nan")
SETTINGS = ForcingSettings(max_distance_km=15, neighbours=3)
XY = np.array([(0.0, 0.0), (3000.0, 0.0), (0.0, 4000.0), (90_000.0, 0.0)])  # the last stands alone


def days_of(value: npt.NDArray[np.float32]) -> list[GaugeDay]:
    names = tuple(f"feed/g{number}" for number in range(value.shape[1]))
    plain = np.zeros(value.shape[1], dtype=bool)
    first = date(2024, 1, 1)
    return [
        GaugeDay(first + timedelta(days=number), names, XY[: value.shape[1]], row, plain)
        for number, row in enumerate(value.astype(np.float32))
    ]


def test_each_way_says_what_it_says_elsewhere() -> None:
    value = np.array([[1, 4, 8, 0], [30, 12, 6, 5], [3, 3, 3, 9]], np.float32)
    left = leave_one_out(days_of(value), SETTINGS)
    row = 1  # gauge 0 on the second day
    assert left.truth[row] == 30
    assert left.estimate["nearest"][row] == 12
    assert left.estimate["linear_in_time"][row] == pytest.approx((1 + 3) / 2)
    weight = 1 / 3000**2, 1 / 4000**2
    assert left.estimate["inverse_distance"][row] == pytest.approx(
        (12 * weight[0] + 6 * weight[1]) / sum(weight), rel=1e-5
    )


def test_a_reading_does_not_help_to_estimate_itself() -> None:
    value = np.array([[1, 4, 8], [30, 12, 6], [3, 3, 3]], np.float32)
    other = value.copy()
    other[1, 0] = 300
    one, two = (leave_one_out(days_of(table), SETTINGS) for table in (value, other))
    for name in one.estimate:
        assert one.estimate[name][1] == two.estimate[name][1]


def test_a_gauge_alone_and_an_open_end_are_not_estimated_and_counted() -> None:
    value = np.array([[1, 4, 8, 0], [30, 12, 6, 50], [3, 3, 3, 9]], np.float32)
    left = leave_one_out(days_of(value), SETTINGS)
    assert np.isnan(left.estimate["inverse_distance"][-3:]).all()
    assert np.isnan(left.estimate["linear_in_time"][[0, 2]]).all()
    by_way = {row.method: row for row in errors(left) if row.days == "all"}
    assert by_way["inverse_distance"].not_estimated == 3
    assert by_way["linear_in_time"].not_estimated == 8
    assert {row.readings for row in by_way.values()} == {3}  # what all three can say something of


def test_silent_neighbours_are_passed_over() -> None:
    value = np.array([[5, 9, 1], [5, NAN, 1], [5, 9, 1]], np.float32)
    left = leave_one_out(days_of(value), SETTINGS)
    assert left.estimate["nearest"][1] == 1
    assert left.estimate["inverse_distance"][1] == 1


def test_wet_days_are_judged_apart_with_an_interval_around_their_error() -> None:
    random = np.random.default_rng(3)
    value = random.gamma(0.4, 12, (400, 3)).astype(np.float32)
    table = {(row.days, row.method): row for row in errors(leave_one_out(days_of(value), SETTINGS))}
    assert {days for days, _ in table} == {"all", "20 mm and more"}
    for row in table.values():
        assert row.low_mm is not None
        assert row.high_mm is not None
        assert row.low_mm < row.mean_absolute_mm < row.high_mm
        assert row.root_mean_square_mm >= row.mean_absolute_mm
    wet = table["20 mm and more", "inverse_distance"]
    assert wet.bias_mm < 0
    assert wet.mean_absolute_mm > table["all", "inverse_distance"].mean_absolute_mm


def test_a_network_that_changed_within_the_span_is_refused() -> None:
    days = days_of(np.ones((2, 3), np.float32))
    changed = GaugeDay(days[1].day, ("feed/other",), XY[:1], np.ones(1, np.float32), np.zeros(1, bool))
    with pytest.raises(ValueError, match="moved"):
        leave_one_out([days[0], changed], SETTINGS)
