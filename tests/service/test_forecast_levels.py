"""Levels under a forecast: they persist from their last reading, and say that nothing was read."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
import shapely

from service.reservoirs import MARGIN_DAYS, LevelReadings, Levels, level_variables
from service.settings import ForcingSettings
from service.surfaces import Kind
from tests.service.test_reservoirs import DAY, make_reservoirs


def levels_of(
    known: dict[int, float], *names: str, first: int = 10, length: int = 6, max_carry_days: int = 1
) -> Levels:
    """Return levels of the days from DAY + 6 on, of which those from DAY + `first` on are forecast."""
    reservoirs = make_reservoirs(shapely.box(0, 0, 100, 100))
    days = [DAY + timedelta(days=6 + number) for number in range(length)]
    read = range(6 - MARGIN_DAYS, 6 + length)
    level = np.array([[known.get(day, np.nan)] for day in read])
    readings = LevelReadings(DAY + timedelta(days=read[0]), level, None)
    return level_variables(
        readings,
        reservoirs,
        names or ("level_below_full",),
        days,
        ForcingSettings(max_carry_days=max_carry_days),
        DAY + timedelta(days=first),
    )


def test_a_level_persists_through_the_forecast_and_is_marked_as_forecast() -> None:
    levels = levels_of({day: 90.0 + day for day in range(-40, 10)}, "level_below_full", "level_change_1d")
    assert levels.value[:, 0, 0].tolist() == [-4, -3, -2, -1, -1, -1]
    assert levels.value[:, 0, 1].tolist() == [1, 1, 1, 1, 0, 0]
    assert levels.kind[:, 0, 0].tolist() == [Kind.OBSERVED] * 4 + [Kind.FORECAST] * 2


def test_a_reading_of_a_forecast_day_is_a_reading() -> None:
    levels = levels_of({day: 90.0 + day for day in range(-40, 11)})
    assert levels.value[:, 0, 0].tolist() == [-4, -3, -2, -1, 0, 0]
    assert levels.kind[:, 0, 0].tolist() == [Kind.OBSERVED] * 5 + [Kind.FORECAST]


@pytest.mark.parametrize(("last", "known"), [(9, True), (8, True), (7, False)])
def test_a_level_that_was_too_old_before_the_forecast_is_not_made_younger_by_it(
    last: int, known: bool
) -> None:
    levels = levels_of(dict.fromkeys(range(-40, last + 1), 90.0), max_carry_days=1)
    ahead = levels.value[4:, 0, 0]
    assert np.isfinite(ahead).all() == known
    expected = Kind.FORECAST if known else Kind.MISSING
    assert (levels.kind[4:, 0, 0] == expected).all()
    carried = levels.kind[2:4, 0, 0].tolist()
    assert (
        carried
        == {
            9: [Kind.OBSERVED, Kind.OBSERVED],
            8: [Kind.OBSERVED, Kind.CARRIED],
            7: [Kind.CARRIED, Kind.MISSING],
        }[last]
    )


def test_a_long_forecast_persists_to_its_end() -> None:
    levels = levels_of(dict.fromkeys(range(-40, 10), 90.0), length=11, max_carry_days=0)
    assert (levels.value[:, 0, 0] == -10).all()
    assert (levels.kind[4:, 0, 0] == Kind.FORECAST).all()
