"""The synthetic weather: seeded, whole, and with what feeds are made to fail at."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from service.simulator.weather import SyntheticTruth, days_of_most_rain
from tests.fix_simulator import BOUNDS, TRUTH

DAYS = [TRUTH.first + timedelta(days=number) for number in range(900)]
LON, LAT = np.meshgrid(np.linspace(BOUNDS[0], BOUNDS[2], 21), np.linspace(BOUNDS[1], BOUNDS[3], 21))


def test_a_day_depends_on_the_seed_and_on_nothing_that_was_asked_before() -> None:
    day = days_of_most_rain(TRUTH, TRUTH.first, 100)[0]
    again = replace(TRUTH)
    for other in reversed(DAYS[:40]):
        again.rain(other, LON, LAT)
    assert (again.rain(day, LON, LAT) == TRUTH.rain(day, LON, LAT)).all()
    assert (replace(TRUTH, seed=5).rain(day, LON, LAT) != TRUTH.rain(day, LON, LAT)).any()


def test_there_are_wet_and_dry_spells_and_storms() -> None:
    wettest = np.array([TRUTH.rain(day, LON, LAT).max() for day in DAYS])
    assert 0.2 < (wettest > 0).mean() < 0.6
    assert (wettest > 80).sum() >= 3
    assert wettest.max() <= 400
    # Wet days come together: far more often than if each were drawn by itself.
    wet = wettest > 0
    assert wet[1:][wet[:-1]].mean() > 1.5 * wet.mean()


def test_a_system_moves_on_from_day_to_day() -> None:
    def centre(day: date) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        rain = TRUTH.rain(day, LON, LAT)
        return np.array([(rain * LON).sum() / rain.sum(), (rain * LAT).sum() / rain.sum()])

    wet = [day for day in DAYS if TRUTH.rain(day, LON, LAT).mean() > 2]
    moves = [np.hypot(*(centre(b) - centre(a))) for a, b in itertools.pairwise(wet) if b - a == timedelta(1)]
    assert len(moves) > 10
    assert np.median(moves) > 0.005


def test_reservoirs_stay_in_their_range_and_feel_the_rain() -> None:
    for reservoir in TRUTH.reservoirs:
        levels = np.array([TRUTH.level(day, reservoir) for day in DAYS])
        assert (levels > reservoir.dead_level_m).all()
        assert (levels < reservoir.full_level_m).all()
        rain = np.array([TRUTH.rain(day, LON, LAT).mean() for day in DAYS])
        change = np.diff(levels)
        assert change[rain[1:] > 15].mean() > 0.2 > 0 > change[rain[1:] == 0].mean()
        # No real level is the same for a week: that would be a stuck gauge.
        assert all(len(set(levels[start : start + 7])) > 1 for start in range(len(levels) - 7))


def test_a_day_before_the_first_has_no_weather() -> None:
    before = TRUTH.first - timedelta(days=1)
    assert np.isnan(TRUTH.rain(before, LON, LAT)).all()
    assert np.isnan(TRUTH.level(before, TRUTH.reservoirs[0]))


@pytest.mark.parametrize("count", [1, 2, 7, 40, 600])
def test_there_are_as_many_series_as_asked_for_each_at_its_own_place_in_the_region(count: int) -> None:
    truth = SyntheticTruth(BOUNDS, gauge_count=count, reservoir_count=count)
    for places in (truth.gauges, truth.reservoirs):
        assert len({item.id for item in places}) == count
        assert len({(item.lon, item.lat) for item in places}) == count
        assert all(BOUNDS[0] < item.lon < BOUNDS[2] and BOUNDS[1] < item.lat < BOUNDS[3] for item in places)
