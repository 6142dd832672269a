"""Samples: dated places with a landslide (1) and without one (0).

    storms_of(events, gap_days) -> dict[event id, storm id]
    draw_samples(positives, all_events, days, elsewhere, rain, sampling) -> SampleSet
    SampleSet.samples: tuple[Sample, ...]; .shortfalls: dict[Kind, int]; .counts()
    Sample(x, y, place, day, label, kind, storm, accuracy_m, event)

Callbacks, so that the sampler knows neither archive nor region:
    elsewhere(generator, n) -> float64 (n, 2)           candidate places, in the region's CRS, metres
    rain(x, y, days) -> float32 (len(days),)            mm of each day at a place, NaN where unknown

Every negative has a date. Kinds of negatives:
    spatial           elsewhere on the event's day, `minimum_distance_m` from every event, and farther from
                      events of those weeks by the accuracy of their places
    temporal_random   the same place on another day
    temporal_season   the same place in another year, within `season_days` of the event's day of the year
    temporal_wet      the same place on a day whose last window day (lag_days before it) had `wet_mm` or more

A negative's window never overlaps that of an event which may have been at that place:
|day - event day| >= window_days. Days within `storm_days` of any storm are not drawn as temporal negatives,
so that a split by storm leaves more than one group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from service.errors import InputError
from trainer.inventory import Event

Elsewhere = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]
DayRain = Callable[[float, float, Sequence[date]], npt.NDArray[np.float32]]

_ROUNDS = 40  # batches of candidate places before a spatial negative is given up


class Kind(StrEnum):
    """Where a sample comes from."""

    EVENT = "event"
    SPATIAL = "spatial"
    TEMPORAL_RANDOM = "temporal_random"
    TEMPORAL_SEASON = "temporal_season"
    TEMPORAL_WET = "temporal_wet"
    BOTH = "both"  # elsewhere, and on another day: drawn by trainer.divide


@dataclass(frozen=True)
class Sample:
    """One place on one day. `storm` is that of the day for events and spatial negatives, else None."""

    x: float
    y: float
    place: str
    day: date
    label: int
    kind: Kind
    storm: str | None
    accuracy_m: float
    event: str  # the event this sample is, or was drawn against


class Sampling(BaseModel):
    """How many negatives of each kind for each event, and by which rules."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_days: Annotated[int, Field(ge=1)] = 30
    lag_days: Annotated[int, Field(ge=0)] = 1
    spatial: Annotated[int, Field(ge=0)] = 2
    random: Annotated[int, Field(ge=0)] = 1
    season: Annotated[int, Field(ge=0)] = 1
    wet: Annotated[int, Field(ge=0)] = 1
    minimum_distance_m: Annotated[float, Field(gt=0)] = 2_000.0
    place_distance_m: Annotated[float, Field(ge=0)] = 690.0  # one patch of 23 cells of 30 m
    season_days: Annotated[int, Field(ge=0)] = 30
    wet_mm: Annotated[float, Field(ge=0)] = 10.0
    storm_gap_days: Annotated[int, Field(ge=0)] = 3  # events at most this far apart are one storm
    storm_days: Annotated[int, Field(ge=0)] = 30
    seed: int = 0


@dataclass(frozen=True)
class SampleSet:
    """The samples, and how many negatives of each kind could not be found."""

    samples: tuple[Sample, ...]
    shortfalls: dict[Kind, int]

    def counts(self) -> dict[Kind, int]:
        """Return the number of samples of each kind."""
        return dict(Counter(sample.kind for sample in self.samples))


def storms_of(events: Sequence[Event], gap_days: int = 3) -> dict[str, str]:
    """Return the storm of each event, by id: days at most `gap_days` apart chain into one storm.

    A storm is called by its first day, such as `storm-2010-03-04`.
    """
    storms: dict[str, str] = {}
    name, last = "", date.min
    for event in sorted(events, key=lambda event: (event.day, event.id)):
        if (event.day - last).days > gap_days:
            name = f"storm-{event.day.isoformat()}"
        storms[event.id], last = name, event.day
    return storms


def draw_samples(
    positives: Sequence[Event],
    all_events: Sequence[Event],
    *,
    days: Sequence[date],
    elsewhere: Elsewhere,
    rain: DayRain,
    sampling: Sampling,
) -> SampleSet:
    """Draw dated negatives for each positive; the same inputs and seed give the same samples.

    `positives` become samples; `all_events` (which holds them) are what negatives stay clear of. `days` are
    the days that a temporal negative may have; of these, only days whose whole window has known rain at the
    place are drawn. What cannot be found is counted in `shortfalls`, never made up.

    Raises InputError for positives that are not among the events, or without any day to draw from.
    """
    missing = sorted({event.id for event in positives} - {event.id for event in all_events})
    if missing:
        raise InputError(f"positives must be among the events; not there: {', '.join(missing[:5])}")
    if not days:
        raise InputError("no day to draw temporal negatives from; give the days whose readings are known")
    generator = np.random.default_rng(sampling.seed)
    storms = storms_of(all_events, sampling.storm_gap_days)
    field = _Field.of(all_events)
    ordered = sorted(set(days))
    samples: list[Sample] = []
    short: Counter[Kind] = Counter()
    for event in sorted(positives, key=lambda event: (event.day, event.id)):
        storm, place = storms[event.id], f"event-{event.id}"
        samples.append(
            Sample(event.x, event.y, place, event.day, 1, Kind.EVENT, storm, event.accuracy_m, event.id)
        )
        found = _spatial(event, field, elsewhere, rain, generator, sampling)
        short[Kind.SPATIAL] += sampling.spatial - len(found)
        samples.extend(
            Sample(x, y, f"spatial-{event.id}-{n}", event.day, 0, Kind.SPATIAL, storm, 0.0, event.id)
            for n, (x, y) in enumerate(found)
        )
        for kind, drawn, wanted in _temporal(event, field, ordered, rain, generator, sampling):
            short[kind] += wanted - len(drawn)
            samples.extend(
                Sample(event.x, event.y, place, day, 0, kind, None, event.accuracy_m, event.id)
                for day in drawn
            )
    return SampleSet(tuple(samples), {kind: count for kind, count in short.items() if count})


@dataclass(frozen=True)
class _Field:
    """All events as arrays: (n,) each."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    day: npt.NDArray[np.int64]  # ordinals
    accuracy_m: npt.NDArray[np.float64]

    @classmethod
    def of(cls, events: Sequence[Event]) -> _Field:
        return cls(
            np.array([event.x for event in events], np.float64),
            np.array([event.y for event in events], np.float64),
            np.array([event.day.toordinal() for event in events], np.int64),
            np.array([event.accuracy_m for event in events], np.float64),
        )

    def distance(self, x: float, y: float) -> npt.NDArray[np.float64]:
        return np.asarray(np.hypot(self.x - x, self.y - y))


def _spatial(
    event: Event,
    field: _Field,
    elsewhere: Elsewhere,
    rain: DayRain,
    generator: np.random.Generator,
    sampling: Sampling,
) -> list[tuple[float, float]]:
    """Return places without an event on the event's day."""
    found: list[tuple[float, float]] = []
    near_in_time = np.abs(field.day - event.day.toordinal()) < sampling.window_days
    clearance = sampling.minimum_distance_m + np.where(near_in_time, field.accuracy_m, 0.0)
    window = _window(event.day, sampling)
    for _ in range(_ROUNDS if sampling.spatial else 0):
        for x, y in elsewhere(generator, max(8, 2 * sampling.spatial)):
            if (field.distance(x, y) < clearance).any():
                continue
            # Two negatives of one day on top of each other would be one sample counted twice.
            if any(np.hypot(x - a, y - b) < sampling.place_distance_m for a, b in found):
                continue
            if not np.isfinite(rain(float(x), float(y), window)).all():
                continue
            found.append((float(x), float(y)))
            if len(found) == sampling.spatial:
                return found
    return found


def _temporal(
    event: Event,
    field: _Field,
    days: Sequence[date],
    rain: DayRain,
    generator: np.random.Generator,
    sampling: Sampling,
) -> list[tuple[Kind, list[date], int]]:
    """Return the days drawn for each kind; no day is drawn twice for one event."""
    ordinals = np.array([day.toordinal() for day in days], np.int64)
    here = field.distance(event.x, event.y) <= sampling.place_distance_m + field.accuracy_m + event.accuracy_m
    free = np.ones(len(days), bool)
    for other, at_place in zip(field.day, here, strict=True):
        gap = np.abs(ordinals - other)
        free &= gap > sampling.storm_days
        if at_place:
            free &= gap >= sampling.window_days
    free &= _complete(event, days, rain, sampling)
    last = rain(event.x, event.y, [day - timedelta(days=sampling.lag_days) for day in days])
    wet = np.nan_to_num(last, nan=-1.0) >= sampling.wet_mm
    season = np.array([_season_gap(day, event.day) for day in days]) <= sampling.season_days
    season &= np.array([day.year != event.day.year for day in days])
    result = []
    # The scarcer kinds choose first.
    for kind, eligible, wanted in (
        (Kind.TEMPORAL_WET, wet, sampling.wet),
        (Kind.TEMPORAL_SEASON, season, sampling.season),
        (Kind.TEMPORAL_RANDOM, np.ones(len(days), bool), sampling.random),
    ):
        candidates = np.flatnonzero(free & eligible)
        chosen = generator.choice(candidates, min(wanted, candidates.size), replace=False)
        free[chosen] = False
        result.append((kind, [days[index] for index in sorted(chosen)], wanted))
    return result


def _complete(event: Event, days: Sequence[date], rain: DayRain, sampling: Sampling) -> npt.NDArray[np.bool_]:
    """Tell for each day whether the rain of its whole window is known at the event's place: bool (n,)."""
    first = days[0] - timedelta(days=sampling.lag_days + sampling.window_days - 1)
    span = [first + timedelta(days=n) for n in range((days[-1] - first).days + 1)]
    unknown = ~np.isfinite(rain(event.x, event.y, span))
    count = np.concatenate([[0], np.cumsum(unknown)])
    end = np.array([(day - first).days - sampling.lag_days + 1 for day in days])
    return np.asarray(count[end] - count[end - sampling.window_days] == 0)


def _window(day: date, sampling: Sampling) -> list[date]:
    last = day - timedelta(days=sampling.lag_days)
    return [last - timedelta(days=back) for back in range(sampling.window_days)]


def _season_gap(day: date, other: date) -> int:
    """Return how many days apart two days lie in the year, across New Year if nearer."""
    gap = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(gap, 365 - gap)
