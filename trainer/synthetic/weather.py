"""Synthetic weather: daily rain over the region, ten gauges that measure it, two reservoirs that feel it.

Rain follows the usual stochastic form of daily generators (Richardson 1981): a two-state Markov chain says
whether a day is wet, a gamma distribution how much falls; here one chain for the region, a log-normal field
with a correlation length of about 4 km for its pattern, and more rain on higher ground. Dry summers and
150 to 300 mm a year, as in Kerman. Great storms of two to four days stand above it, at most three a year,
never two within `STORM_GAP_DAYS`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Float = npt.NDArray[np.float64]

HISTORY_FIRST = date(2016, 7, 1)
TRAINING_FIRST, TRAINING_LAST = date(2016, 10, 1), date(2025, 9, 30)
LAST_DAY = date(2026, 3, 31)  # the demo ends here, whatever the day on which it is run
STORM_LAST = LAST_DAY - timedelta(days=4)  # last rain of the storm in the demo's last week
STORM_DAYS = 3  # on which that storm's rain falls
STORM_GAP_DAYS = 66  # great storms are at least this far apart: two 30-day windows and a storm
STORM_MM = (45.0, 95.0)  # regional total of a great storm: a quarter to a half of the year's rain
DEMO_STORM_MM = 85.0
NODE_KM = 0.96  # lattice of the rain field
GAUGES = 10
DRAWDOWN_M = (9.0, 14.0)  # a rapid drawdown: this much in six to eight days
DEMO_DRAWDOWN = date(2026, 2, 20)


@dataclass(frozen=True)
class Weather:
    """Rain on a lattice and levels, by day from `first` on."""

    first: date
    rain_mm: npt.NDArray[np.float32]  # (days, m, m) true rain on the lattice
    gauge_rc: Float  # (GAUGES, 2) row and column on the lattice
    gauge_mm: npt.NDArray[np.float32]  # (days, GAUGES) as measured; NaN where a gauge was silent
    below_full_m: Float  # (days, 2) true level minus full level, at most 0
    level_missing: npt.NDArray[np.bool_]  # (days, 2) not reported

    @property
    def days(self) -> int:
        """How many days there are."""
        return len(self.rain_mm)

    def index(self, day: date) -> int:
        """Return the row of a day."""
        return (day - self.first).days


def make_weather(orography: Float, seed: int) -> Weather:
    """Make the weather of a seed over a lattice.

    `orography` is (m, m): mean annual precipitation at each node over that of the region. The whole history
    is always made, so that no day's weather depends on how much of it is wanted.
    """
    random = np.random.default_rng([seed, 3])
    days = [HISTORY_FIRST + timedelta(days=n) for n in range((LAST_DAY - HISTORY_FIRST).days + 1)]
    rain = ordinary_rain(random, days, orography.shape[0])
    for start, total in _storms(random):
        _add_storm(random, rain, (start - HISTORY_FIRST).days, total)
    demo = DEMO_STORM_MM
    _add_storm(
        random, rain, (STORM_LAST - HISTORY_FIRST).days - (STORM_DAYS - 1), demo, shares=(0.25, 0.5, 0.25)
    )
    # After the storm the sky clears, so that the last maps show the slopes drain.
    rain[(STORM_LAST - HISTORY_FIRST).days + 1 :] = 0
    rain *= orography
    rain[rain < 0.1] = 0
    places = _gauge_places(random, orography.shape[0])
    measured = _measure(random, rain, places)
    levels, missing = _levels(random, days, rain)
    return Weather(HISTORY_FIRST, rain.astype(np.float32), places, measured, levels, missing)


def _season(day: date) -> float:
    """1 in mid-February, 0 in mid-August."""
    return 0.5 + 0.5 * float(np.cos(2 * np.pi * (day.timetuple().tm_yday - 45) / 365.25))


def ordinary_rain(random: np.random.Generator, days: list[date], nodes: int) -> Float:
    """Rain of ordinary days: float64 (days, nodes, nodes)."""
    season = np.array([_season(day) for day in days])
    wet = np.zeros(len(days), dtype=bool)
    draws = random.random(len(days))
    for number in range(len(days)):
        begins = 0.015 + 0.15 * season[number]
        wet[number] = draws[number] < (0.45 if number and wet[number - 1] else begins)
    mean = np.where(wet, random.gamma(0.9, 1.0, len(days)) * (1.8 + 2.7 * season), 0.0)
    pattern = random.standard_normal((len(days), nodes, nodes))
    pattern = smooth_pattern(pattern)
    field = np.exp(0.55 * pattern - 0.15)
    return np.asarray(np.minimum(mean, 16.0)[:, None, None] * field)


def smooth_pattern(pattern: Float) -> Float:
    smooth = ndimage.gaussian_filter(pattern, (0, 4 / NODE_KM / 1.5, 4 / NODE_KM / 1.5), mode="reflect")
    return np.asarray(smooth / smooth.std())


def _storms(random: np.random.Generator) -> list[tuple[date, float]]:
    """First day and regional total of each great storm of the training years."""
    storms: list[tuple[date, float]] = []
    for year in range(TRAINING_FIRST.year, TRAINING_LAST.year):
        season = date(year, 11, 10)
        for _ in range(int(random.integers(2, 4))):
            start = season + timedelta(days=int(random.integers(0, 165)))
            if all(abs((start - other).days) >= STORM_GAP_DAYS for other, _ in storms):
                storms.append((start, float(random.uniform(*STORM_MM))))
    return sorted(storms)


def _add_storm(
    random: np.random.Generator,
    rain: Float,
    first: int,
    total: float,
    shares: tuple[float, ...] | None = None,
) -> None:
    """Add a storm whose core wanders over the region."""
    nodes = rain.shape[1]
    if shares is None:
        shares = tuple(random.dirichlet(np.full(int(random.integers(2, 5)), 4.0)))
    centre = random.uniform(0.2, 0.8, 2) * nodes
    rows, columns = np.indices((nodes, nodes))
    for offset, share in enumerate(shares):
        centre = centre + random.normal(0, 1.5, 2)
        distance = np.hypot(rows - centre[0], columns - centre[1]) * NODE_KM
        field = 0.75 + 0.6 * np.exp(-((distance / 5.0) ** 2) / 2)
        field *= np.exp(0.15 * smooth_pattern(random.standard_normal((1, nodes, nodes)))[0])
        rain[first + offset] = np.maximum(rain[first + offset], total * share * field / field.mean())


def _gauge_places(random: np.random.Generator, nodes: int) -> Float:
    """Ten places, spread: rows of three, four and three."""
    places = []
    for row, columns in ((0.17, (0.18, 0.5, 0.82)), (0.5, (0.1, 0.36, 0.63, 0.9)), (0.83, (0.18, 0.5, 0.82))):
        places += [(row, column) for column in columns]
    jitter = random.uniform(-0.055, 0.055, (GAUGES, 2))
    return np.asarray((np.array(places) + jitter) * (nodes - 1))


def _measure(random: np.random.Generator, rain: Float, places: Float) -> npt.NDArray[np.float32]:
    """What the gauges report: 4 % catch error, tenths of a millimetre, outages of days."""
    measured = np.stack([
        ndimage.map_coordinates(day, places.T, order=1, mode="nearest") for day in rain
    ])  # fmt: skip
    measured = np.round(measured * random.normal(1.0, 0.04, measured.shape), 1)
    outage = np.zeros(measured.shape, dtype=bool)
    for gauge in range(GAUGES):
        for start in np.flatnonzero(random.random(len(rain)) < 1 / 250):
            outage[start : start + int(random.integers(1, 9)), gauge] = True
    # In the demo's storm one gauge is flooded on its worst day: its neighbours must stand in.
    worst = (STORM_LAST - HISTORY_FIRST).days - 1
    outage[worst - 3 : worst + 3] = False
    outage[worst : worst + 2, 6] = True
    return np.where(outage, np.nan, np.maximum(measured, 0)).astype(np.float32)


def _levels(
    random: np.random.Generator, days: list[date], rain: Float
) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Levels that follow the season, rise with rain and are drawn down in haste a few times."""
    depth = np.zeros((len(days), 2))
    inflow = rain.mean(axis=(1, 2))
    drop = np.zeros((len(days), 2))
    starts = [
        (date(year, month, 8) + timedelta(days=int(random.integers(0, 14))), lake)
        for year, month, lake in ((2017, 7, 0), (2018, 9, 1), (2019, 7, 1), (2020, 9, 0), (2021, 7, 0),
                                  (2022, 8, 1), (2023, 8, 0), (2024, 7, 1), (2025, 7, 0))
    ]  # fmt: skip
    for start, lake in [*starts, (DEMO_DRAWDOWN, 1)]:
        length = int(random.integers(6, 9))
        first = (start - days[0]).days
        drop[first : first + length, lake] = random.uniform(*DRAWDOWN_M) / length
    level = np.array([6.0, 8.0])
    for number, day in enumerate(days):
        target = np.array([7.0, 9.0]) - np.array([3.5, 5.0]) * np.sin(
            2 * np.pi * (day.timetuple().tm_yday - 60) / 365.25
        )
        rise = 0.035 * inflow[max(0, number - 2) : number + 1].mean()
        level = np.clip(level + (target - level) / 40.0 - rise + drop[number], 0.3, 38.0)
        depth[number] = level
    below = np.round(-depth + random.normal(0, 0.01, depth.shape), 2)
    missing = random.random(depth.shape) < 0.012
    return np.minimum(below, 0.0), missing
