from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from trainer.inventory import Event
from trainer.samples import DayRain, Kind, Sample, SampleSet, Sampling, draw_samples, storms_of

START = date(2010, 1, 1)
DAYS = [START + timedelta(days=n) for n in range(1500)]
SIDE_M = 30_000.0


def elsewhere(generator: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
    return generator.uniform(0, SIDE_M, (count, 2))


def showers(x: float, y: float, days: Sequence[date]) -> npt.NDArray[np.float32]:
    """Rain of 12 mm on every eleventh day, everywhere."""
    return np.array([12.0 if day.toordinal() % 11 == 0 else 1.0 for day in days], np.float32)


def event(name: str, day: date, x: float = 15_000.0, y: float = 15_000.0, accuracy_m: float = 100.0) -> Event:
    return Event(name, x, y, day, accuracy_m)


def draw(events: Sequence[Event], sampling: Sampling | None = None, rain: DayRain = showers) -> SampleSet:
    return draw_samples(
        events, events, days=DAYS, elsewhere=elsewhere, rain=rain, sampling=sampling or Sampling()
    )


def of_kind(drawn: SampleSet, kind: Kind) -> list[Sample]:
    return [sample for sample in drawn.samples if sample.kind == kind]


def test_each_event_gets_the_wanted_number_of_each_kind() -> None:
    drawn = draw([event("a", date(2011, 6, 1)), event("b", date(2012, 3, 1), x=2_000)], Sampling(spatial=3))
    assert drawn.counts() == {
        Kind.EVENT: 2, Kind.SPATIAL: 6, Kind.TEMPORAL_RANDOM: 2, Kind.TEMPORAL_SEASON: 2,
        Kind.TEMPORAL_WET: 2,
    }  # fmt: skip
    assert drawn.shortfalls == {}


def test_spatial_negatives_share_the_day_and_the_storm_of_their_event_at_a_distance() -> None:
    events = [event("a", date(2011, 6, 1)), event("b", date(2013, 6, 1), x=25_000)]
    for sample in of_kind(draw(events, Sampling(spatial=20, minimum_distance_m=4_000)), Kind.SPATIAL):
        own = next(item for item in events if item.id == sample.event)
        assert sample.day == own.day
        assert sample.storm == f"storm-{own.day}"
        assert all(np.hypot(sample.x - item.x, sample.y - item.y) >= 4_000 for item in events)


def test_an_event_whose_place_is_vague_keeps_spatial_negatives_of_those_weeks_away() -> None:
    vague = event("a", date(2011, 6, 1), accuracy_m=100_000)
    drawn = draw([vague])
    assert of_kind(drawn, Kind.SPATIAL) == []
    assert drawn.shortfalls == {Kind.SPATIAL: 2}


def test_wet_negatives_had_ten_millimetres_on_the_last_day_of_their_window() -> None:
    for lag in (0, 1, 3):
        drawn = draw([event("a", date(2011, 6, 1))], Sampling(wet=8, lag_days=lag))
        wet = of_kind(drawn, Kind.TEMPORAL_WET)
        assert len(wet) == 8
        assert all(showers(0, 0, [sample.day - timedelta(days=lag)])[0] >= 10 for sample in wet)


def test_season_matched_negatives_lie_in_other_years_within_thirty_days_of_the_date() -> None:
    drawn = draw([event("a", date(2012, 1, 5))], Sampling(season=20))
    season = of_kind(drawn, Kind.TEMPORAL_SEASON)
    assert len(season) == 20
    for sample in season:
        anniversaries = [date(year, 1, 5) for year in range(2009, 2016)]
        assert sample.day.year != 2012
        # A leap year's day counts as the neighbouring one.
        assert min(abs((sample.day - other).days) for other in anniversaries) <= 31


def test_no_negative_is_drawn_where_a_day_of_its_window_is_unknown() -> None:
    broken = date(2012, 7, 1)

    def rain(x: float, y: float, days: Sequence[date]) -> npt.NDArray[np.float32]:
        values = showers(x, y, days)
        values[[day == broken for day in days]] = np.nan
        return values

    drawn = draw([event("a", date(2011, 6, 1))], Sampling(random=2000, season=0, wet=0, storm_days=0), rain)
    days = {sample.day for sample in of_kind(drawn, Kind.TEMPORAL_RANDOM)}
    hidden = {broken + timedelta(days=n) for n in range(1, 31)}
    assert days
    assert not days & hidden
    assert broken in days  # its window ends the day before
    assert broken + timedelta(days=31) in days


def test_what_cannot_be_found_is_counted_not_made_up() -> None:
    def drought(x: float, y: float, days: Sequence[date]) -> npt.NDArray[np.float32]:
        return np.zeros(len(days), np.float32)

    drawn = draw([event("a", date(2011, 6, 1))], Sampling(wet=3), drought)
    assert of_kind(drawn, Kind.TEMPORAL_WET) == []
    assert drawn.shortfalls == {Kind.TEMPORAL_WET: 3}


def test_events_a_few_days_apart_are_one_storm() -> None:
    days = [date(2010, 3, 4), date(2010, 3, 7), date(2010, 3, 11)]
    storms = storms_of([event(str(n), day) for n, day in enumerate(days)], gap_days=3)
    assert storms == {"0": "storm-2010-03-04", "1": "storm-2010-03-04", "2": "storm-2010-03-11"}


def test_an_inventory_without_days_or_with_a_stranger_is_refused() -> None:
    known = event("a", date(2011, 6, 1))
    with pytest.raises(InputError, match="no day"):
        draw_samples([known], [known], days=[], elsewhere=elsewhere, rain=showers, sampling=Sampling())
    with pytest.raises(InputError, match="not there: a"):
        draw_samples([known], [], days=DAYS, elsewhere=elsewhere, rain=showers, sampling=Sampling())


events_strategy = st.lists(
    st.tuples(
        st.integers(100, 1400),
        st.floats(0, SIDE_M),
        st.floats(0, SIDE_M),
        st.sampled_from([100.0, 1_000.0, 10_000.0]),
    ),
    min_size=1,
    max_size=6,
).map(
    lambda rows: [
        Event(f"e{n}", x, y, START + timedelta(days=day), accuracy)
        for n, (day, x, y, accuracy) in enumerate(rows)
    ]
)


@settings(max_examples=40, deadline=None)
@given(events_strategy, st.integers(0, 3), st.integers(1, 40))
def test_every_negative_is_dated_and_never_overlaps_an_event_at_its_place(
    events: list[Event], seed: int, window: int
) -> None:
    sampling = Sampling(seed=seed, window_days=window)
    drawn = draw(events, sampling)
    for sample in drawn.samples:
        assert isinstance(sample.day, date)
        if sample.label == 1:
            continue
        for other in events:
            at_place = np.hypot(sample.x - other.x, sample.y - other.y) <= other.accuracy_m
            assert not at_place or abs((sample.day - other.day).days) >= window
    assert draw(events, sampling) == drawn
