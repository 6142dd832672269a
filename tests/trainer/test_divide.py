"""Landslides, storms and places divided among training, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS

from service.errors import InputError
from service.region import Grid, Region
from trainer.divide import SIDES, Divided, NodeRain, SplitSettings, divide, draw
from trainer.inventory import Event
from trainer.samples import Kind, Sampling

GRID = Grid(CRS.from_epsg(32640), 500_000.0, 3_270_000.0, 30.0, 400, 600)
START = date(2020, 1, 1)


def events_of(seed: int, count: int = 300, storms: int = 12) -> list[Event]:
    random = np.random.default_rng(seed)
    starts = np.cumsum(random.integers(20, 120, storms))
    events = []
    for number in range(count):
        day = START + timedelta(days=int(random.choice(starts)) + int(random.integers(0, 3)))
        x = GRID.left + float(random.uniform(0, GRID.width * 30))
        events.append(Event(f"e{number}", x, GRID.top - 3_000.0, day, 30.0))
    return events


def divided(seed: int) -> Divided:
    return divide(events_of(seed), GRID, SplitSettings(), Sampling())


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000))
def test_no_place_and_no_storm_stands_on_two_sides(seed: int) -> None:
    result = divided(seed)
    sides = list(result.events.items())

    for number, (_, part) in enumerate(sides):
        for _, other in sides[number + 1 :]:
            apart = np.abs(np.array([e.x for e in part])[:, None] - np.array([e.x for e in other]))
            days = np.array([e.day.toordinal() for e in part])[:, None]
            gaps = np.abs(days - np.array([e.day.toordinal() for e in other]))
            assert apart.min() > 690.0
            assert gaps.min() > 30


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_every_landslide_is_used_once_or_counted_as_left_out(seed: int) -> None:
    result = divided(seed)
    used = [event.id for part in result.events.values() for event in part]

    assert len(used) == len(set(used))
    assert len(used) + result.left_out == 300


def test_a_side_sees_its_own_columns_only() -> None:
    result = divided(1)

    for side in SIDES:
        first, last = result.columns[side]
        columns = [int((event.x - GRID.left) // 30) for event in result.events[side]]
        assert first <= min(columns)
        assert max(columns) < last


def test_one_storm_cannot_be_divided() -> None:
    with pytest.raises(InputError, match="no landslide"):
        divide(events_of(3, storms=1), GRID, SplitSettings(), Sampling())


@pytest.mark.parametrize("shares", [(0.5, 0.2, 0.2), (1.0, 0.0, 0.0)])
def test_shares_that_cannot_be_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(InputError, match="shares"):
        divide(events_of(1), GRID, SplitSettings(shares=shares), Sampling())


class _Rain:
    """Rain is known everywhere, and it is dry."""

    def at(self, x: float, y: float, days: Sequence[date]) -> np.ndarray:
        return np.zeros(len(days), np.float32)


def test_negatives_of_the_weeks_after_a_storm_are_elsewhere_and_cross_no_side() -> None:
    events = events_of(4, count=120)
    split, sampling = SplitSettings(both=2), Sampling(random=0, season=0, wet=0, minimum_distance_m=60.0)
    result = divide(events, GRID, split, sampling)
    days = [START + timedelta(days=n) for n in range(1_500)]
    region = cast(Region, SimpleNamespace(grid=GRID))

    drawn = draw(result, events, days, region, cast(NodeRain, _Rain()), sampling, split, 23)

    by_id = {event.id: event for event in events}
    for side, samples in drawn.sides.items():
        later = [sample for sample in samples if sample.kind is Kind.BOTH]
        assert len(later) + drawn.shortfalls.get("both", 0) >= len(result.events[side])
        for sample in later:
            assert sample.label == 0
            assert 2 <= (sample.day - by_id[sample.event].day).days <= 21
            others = [day for name, all_days in result.storm_days.items() if name != side for day in all_days]
            assert min(abs((sample.day - day).days) for day in others) > 30
            assert all(
                np.hypot(event.x - sample.x, event.y - sample.y) >= 60.0
                for event in events
                if abs((event.day - sample.day).days) < 30
            )
