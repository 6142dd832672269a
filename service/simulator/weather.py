"""A seeded weather: wet and dry spells, storms that cross the region, reservoirs that fill.

Whether a day is wet follows a two-state Markov chain and how much falls a gamma distribution, the usual form
of daily generators (Richardson 1981). Each wet spell is one system that enters somewhere and moves on by the
day; one spell in twelve is a great storm. Every value follows from the seed and the day alone, so it does
not matter what was asked before.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property, lru_cache

import numpy as np

from service.simulator.truth import Bounds, Float, Gauge, Reservoir

YEARS = 20  # for which the chain is drawn; a longer history would change nothing of these
WET_AFTER_DRY, WET_AFTER_WET = 0.18, 0.62
GREAT_STORM_SHARE = 1 / 12  # of spells
GREAT_STORM_FACTOR = 6.0
GREATEST_MM = 400.0  # of one day at one place
LEAST_MM = 0.2  # less is no rain


@dataclass(frozen=True)
class _Weather:
    """By day since the first: the regional mean (mm) and where the system's centre is (0 to 1)."""

    mean_mm: Float
    centre: Float  # (days, 2)


@dataclass(frozen=True)
class SyntheticTruth:
    """The weather of a seed over a region, with gauges on a jittered lattice and reservoirs between them."""

    bounds: Bounds
    seed: int = 1
    first: date = date(2024, 1, 1)
    gauge_count: int = 10  # at most 99,999,999
    reservoir_count: int = 2  # at most 676: letters

    @property
    def last(self) -> date:
        """The last day of the chain."""
        return self.first + timedelta(days=366 * YEARS - 1)

    @cached_property
    def gauges(self) -> tuple[Gauge, ...]:
        """The gauges, named in the manner of GHCN-Daily (eleven characters)."""
        random = np.random.default_rng([self.seed, 11])
        x, y = _spread(random, self.gauge_count, *self.bounds)
        heights = random.uniform(100, 1500, self.gauge_count)
        return tuple(
            Gauge(f"SIM{number + 1:08d}", round(float(lon), 5), round(float(lat), 5), round(float(height), 1))
            for number, (lon, lat, height) in enumerate(zip(x, y, heights, strict=True))
        )

    @cached_property
    def reservoirs(self) -> tuple[Reservoir, ...]:
        """The reservoirs, named in the manner of CDEC (three letters)."""
        random = np.random.default_rng([self.seed, 12])
        x, y = _spread(random, self.reservoir_count, *self.bounds)
        result = []
        for number in range(self.reservoir_count):
            full = float(np.round(random.uniform(300, 1200), 2))
            letters = f"S{chr(65 + number // 26)}{chr(65 + number % 26)}"
            result.append(
                Reservoir(
                    letters, round(float(x[number]), 5), round(float(y[number]), 5), full,
                    full - float(np.round(random.uniform(30, 60), 2)),
                    float(np.round(random.uniform(5e7, 9e8), -5)),
                )
            )  # fmt: skip
        return tuple(result)

    def rain(self, day: date, lon: Float, lat: Float) -> Float:
        """Return the day's rain in tenths of a mm at places of any one shape; days before the first: NaN."""
        number = (day - self.first).days
        if not 0 <= number < len(self._weather.mean_mm):
            return np.full(np.shape(lon), np.nan)
        mean = self._weather.mean_mm[number]
        if mean == 0:
            return np.zeros(np.shape(lon))
        west, south, east, north = self.bounds
        x, y = (np.asarray(lon) - west) / (east - west), (np.asarray(lat) - south) / (north - south)
        centre = self._weather.centre[number]
        distance = np.hypot(x - centre[0], y - centre[1])
        random = np.random.default_rng([self.seed, 13, day.toordinal()])
        waves = np.zeros(np.shape(x))
        for u, v, phase in random.uniform((-7, -7, 0), (7, 7, 2 * np.pi), (6, 3)):
            waves = waves + np.cos(u * x + v * y + phase)
        field = mean * (0.3 + 1.5 * np.exp(-((distance / 0.45) ** 2) / 2)) * np.exp(0.22 * waves)
        field = np.where(field < LEAST_MM, 0.0, np.minimum(field, GREATEST_MM))
        return np.asarray(np.round(field, 1), np.float64)

    def gauge_rain(self, day: date, gauge: Gauge) -> float:
        """Return what falls at a gauge; it measures without error and never fails by itself."""
        return _at_gauge(self, day, gauge)

    def level(self, day: date, reservoir: Reservoir) -> float:
        """Return the level in hundredths of a metre."""
        number = (day - self.first).days
        if not 0 <= number < len(self._weather.mean_mm):
            return float("nan")
        filled = _filling(self, self.reservoirs.index(reservoir))[number]
        return float(np.round(reservoir.dead_level_m + filled * self._range(reservoir), 2))

    def _range(self, reservoir: Reservoir) -> float:
        return reservoir.full_level_m - reservoir.dead_level_m

    @cached_property
    def _weather(self) -> _Weather:
        random = np.random.default_rng([self.seed, 14])
        count = 366 * YEARS
        draws, amounts = random.random(count), random.gamma(0.9, 9.0, count)
        entries, moves = random.uniform(0, 1, (count, 2)), random.normal(0, 0.3, (count, 2))
        great = random.random(count) < GREAT_STORM_SHARE
        mean, centre = np.zeros(count), np.zeros((count, 2))
        start = -1  # of the running spell
        for day in range(count):
            wet = draws[day] < (WET_AFTER_WET if start >= 0 else WET_AFTER_DRY)
            if not wet:
                start = -1
                continue
            start = day if start < 0 else start
            mean[day] = max(1.0, amounts[day]) * (GREAT_STORM_FACTOR if great[start] else 1.0)
            centre[day] = entries[start] + (day - start) * moves[start]
        return _Weather(mean, centre)


def days_of_most_rain(truth: SyntheticTruth, since: date, days: int) -> list[date]:
    """Return `days` days from `since` on, the wettest by regional mean first."""
    start = (since - truth.first).days
    order = np.argsort(-truth._weather.mean_mm[start : start + days], kind="stable")
    return [since + timedelta(days=int(number)) for number in order]


@lru_cache(maxsize=100_000)
def _at_gauge(truth: SyntheticTruth, day: date, gauge: Gauge) -> float:
    return float(truth.rain(day, np.array(gauge.lon), np.array(gauge.lat)))


@lru_cache(maxsize=64)
def _filling(truth: SyntheticTruth, number: int) -> Float:
    """Return how full a reservoir is by day: 0 at the dead level, 1 at the full level."""
    random = np.random.default_rng([truth.seed, 15, number])
    mean = truth._weather.mean_mm
    inflow, release = random.uniform(0.0009, 0.0014), random.uniform(0.004, 0.006)
    noise = random.normal(0, 0.0008, len(mean))
    filled = np.zeros(len(mean))
    water = 0.55
    for day, rain in enumerate(mean):
        water += inflow * rain - release * (0.4 + water) + noise[day]
        water = float(np.clip(water, 0.06 + abs(noise[day]), 0.985 - abs(noise[day])))
        filled[day] = water
    return filled


def _spread(
    random: np.random.Generator, count: int, west: float, south: float, east: float, north: float
) -> tuple[Float, Float]:
    """Return `count` places on a lattice with jitter, away from the edges."""
    columns = max(1, int(np.ceil(np.sqrt(count))))
    rows = -(-count // columns)
    number = np.arange(count)
    x = (number % columns + 0.5 + random.uniform(-0.3, 0.3, count)) / columns
    y = (number // columns + 0.5 + random.uniform(-0.3, 0.3, count)) / rows
    return west + x * (east - west), south + y * (north - south)
