"""Which places and days may be negatives, given all events; used by both ways of drawing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from trainer.inventory import Event
from trainer.sample_kinds import DayRain, Elsewhere, Kind, Sampling

_ROUNDS = 40  # batches of candidate places before a negative is given up
Place = tuple[float, float]


@dataclass(frozen=True)
class EventField:
    """All events as arrays: (n,) each."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    day: npt.NDArray[np.int64]  # ordinals
    accuracy_m: npt.NDArray[np.float64]
    outlined: npt.NDArray[np.bool_]  # ground within the accuracy has slid, whatever the day

    @classmethod
    def of(cls, events: Sequence[Event]) -> EventField:
        """Return the events as arrays, in their order."""
        return cls(
            np.array([event.x for event in events], np.float64),
            np.array([event.y for event in events], np.float64),
            np.array([event.day.toordinal() for event in events], np.int64),
            np.array([event.accuracy_m for event in events], np.float64),
            np.array([event.area_m2 is not None for event in events], np.bool_),
        )

    def distance(self, x: float, y: float) -> npt.NDArray[np.float64]:
        """Return metres from a place to each event: (n,)."""
        return np.asarray(np.hypot(self.x - x, self.y - y))

    def clearance(self, day: date, sampling: Sampling) -> npt.NDArray[np.float64]:
        """Return how far a negative of a day must lie from each event, metres: (n,)."""
        near_in_time = np.abs(self.day - day.toordinal()) < sampling.window_days
        return np.asarray(
            sampling.minimum_distance_m + np.where(near_in_time | self.outlined, self.accuracy_m, 0.0)
        )


@dataclass(frozen=True)
class Ground:
    """What negatives are drawn on: the events, the archive of rain, the rules."""

    field: EventField
    rain: DayRain
    sampling: Sampling

    def places(
        self,
        day: date,
        wanted: int,
        elsewhere: Elsewhere,
        generator: np.random.Generator,
        taken: Sequence[Place] = (),
    ) -> list[Place]:
        """Return up to `wanted` places clear of every event, whose window of `day` is known.

        Two negatives of one day on top of each other would be one sample counted twice: they stay
        `place_distance_m` apart, and from those `taken`.
        """
        found: list[Place] = []
        clearance = self.field.clearance(day, self.sampling)
        window = self.window(day)
        for _ in range(_ROUNDS if wanted else 0):
            for x, y in elsewhere(generator, max(8, 2 * wanted)):
                if (self.field.distance(x, y) < clearance).any():
                    continue
                if any(np.hypot(x - a, y - b) < self.sampling.place_distance_m for a, b in (*taken, *found)):
                    continue
                if not np.isfinite(self.rain(float(x), float(y), window)).all():
                    continue
                found.append((float(x), float(y)))
                if len(found) == wanted:
                    return found
        return found

    def places_and_days(
        self, days: Sequence[date], wanted: int, elsewhere: Elsewhere, generator: np.random.Generator
    ) -> list[tuple[Place, date]]:
        """Return up to `wanted` places clear of every event, each with a day of its own out of `days`."""
        found: list[tuple[Place, date]] = []
        for _ in range(_ROUNDS if wanted and days else 0):
            for x, y in elsewhere(generator, max(8, 2 * wanted)):
                day = days[int(generator.integers(len(days)))]
                if (self.field.distance(x, y) < self.field.clearance(day, self.sampling)).any():
                    continue
                if not np.isfinite(self.rain(float(x), float(y), self.window(day))).all():
                    continue
                found.append(((float(x), float(y)), day))
                if len(found) == wanted:
                    return found
        return found

    def window(self, day: date) -> list[date]:
        """Return the days of a sample's window, the last one first."""
        last = day - timedelta(days=self.sampling.lag_days)
        return [last - timedelta(days=back) for back in range(self.sampling.window_days)]


class Calendar:
    """The days that negatives may have, rising, and which of them lie outside every storm."""

    def __init__(self, days: Sequence[date], ground: Ground) -> None:
        """Hold `days` against the days of all events."""
        self.days = days
        self.ordinals = np.array([day.toordinal() for day in days], np.int64)
        self.outside_storms = np.ones(len(days), bool)
        for other in np.unique(ground.field.day):
            self.outside_storms &= np.abs(self.ordinals - other) > ground.sampling.storm_days
        self._storms_count = ground.sampling.storm_days > 0

    @property
    def calm(self) -> list[date]:
        """The days outside `storm_days` of any storm; with `storm_days` 0, all of them."""
        if not self._storms_count:
            return list(self.days)
        return [self.days[index] for index in np.flatnonzero(self.outside_storms).tolist()]


class OtherDays:
    """The days on which nothing happened at an event's place; no day is taken twice."""

    def __init__(self, event: Event, ground: Ground, calendar: Calendar) -> None:
        """Look at rain and events of the calendar's days."""
        sampling, field, days = ground.sampling, ground.field, calendar.days
        reach = sampling.place_distance_m + field.accuracy_m + event.accuracy_m
        here = field.distance(event.x, event.y) <= reach
        free = calendar.outside_storms.copy()
        for other in field.day[here]:
            free &= np.abs(calendar.ordinals - other) >= sampling.window_days
        free &= _complete(event, days, ground.rain, sampling)
        last = ground.rain(event.x, event.y, [day - timedelta(days=sampling.lag_days) for day in days])
        season = np.array([_season_gap(day, event.day) for day in days]) <= sampling.season_days
        season &= np.array([day.year != event.day.year for day in days])
        self._days = days
        self._free = free
        self._eligible = {
            Kind.TEMPORAL_WET: np.nan_to_num(last, nan=-1.0) >= sampling.wet_mm,
            Kind.TEMPORAL_SEASON: season,
            Kind.TEMPORAL_RANDOM: np.ones(len(days), bool),
        }

    def take(self, kind: Kind, wanted: int, generator: np.random.Generator) -> list[date]:
        """Return up to `wanted` days of a kind, rising; they are not given again."""
        candidates = np.flatnonzero(self._free & self._eligible[kind])
        chosen = generator.choice(candidates, min(wanted, candidates.size), replace=False)
        self._free[chosen] = False
        return [self._days[index] for index in sorted(chosen)]


def _complete(event: Event, days: Sequence[date], rain: DayRain, sampling: Sampling) -> npt.NDArray[np.bool_]:
    """Tell for each day whether the rain of its whole window is known at the event's place: bool (n,)."""
    first = days[0] - timedelta(days=sampling.lag_days + sampling.window_days - 1)
    span = [first + timedelta(days=n) for n in range((days[-1] - first).days + 1)]
    unknown = ~np.isfinite(rain(event.x, event.y, span))
    count = np.concatenate([[0], np.cumsum(unknown)])
    end = np.array([(day - first).days - sampling.lag_days + 1 for day in days])
    return np.asarray(count[end] - count[end - sampling.window_days] == 0)


def _season_gap(day: date, other: date) -> int:
    """Return how many days apart two days lie in the year, across New Year if nearer."""
    gap = abs(day.timetuple().tm_yday - other.timetuple().tm_yday)
    return min(gap, 365 - gap)
