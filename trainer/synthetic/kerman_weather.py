"""Weather of the synthetic Kerman: local storms, drawdowns of two reservoirs, and the gauges.

Ordinary rain is that of the demo (`weather.py`). Above it stand storms of one or two convective cores: in
arid land such a core is often 5 km across, larger ones occur, and as little as a fifth of a few hundred km²
is rained on hard in one day (Sharon 1972). Those made here are of the larger kind, as winter storms are. So
most slopes stay dry in most storms. Rain is measured by gauges on a lattice of about 4 km: too many for
stations alone, as many as stations with a satellite product beside them (Teng et al. 2026 use both; CHIRPS
has cells of 0.05 degrees, Funk et al. 2015).

A trigger is a storm or a drawdown. No two begin within GAP_DAYS of each other, so a window of 30 days holds
the rain of one storm at most, and whole triggers can be kept on one side of a split.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from trainer.synthetic.weather import NODE_KM, Weather, ordinary_rain, smooth_pattern

Float = npt.NDArray[np.float64]

FIRST = date(2001, 7, 1)  # of the readings: a window and a gap before the first water year
RECORD_FIRST, RECORD_LAST = date(2001, 10, 1), date(2021, 9, 30)  # twenty water years
GAP_DAYS = 36  # a window of 30 days, a storm of four and the days around it
STORMS_A_YEAR = (3, 5)
STORM_SEASON = (date(2001, 11, 1), 180)  # first day in any year, days: rain falls in winter and spring
# Total at the middle of a core. Kerman has 150-300 mm a year (Teng et al. 2026), and in arid land single
# storms bring a quarter to a half of the year's rain, more at their core than on average.
CORE_MM = (70.0, 130.0)
CORE_KM = (4.0, 6.0)  # standard deviation of a core: 9 to 14 km across at half its height
CORE_BASE = 0.12  # of the core's rain that falls outside it
GAUGE_ROWS = 6  # gauges stand on a jittered lattice of so many rows and columns
CATCH_ERROR = 0.04  # standard deviation, of the amount (WMO 2008: wind alone takes 2-10 % of rain)
OUTAGES_A_DAY, OUTAGE_DAYS = 1 / 250, (1, 8)
LEVEL_MISSING = 0.012  # share of days
# A rapid drawdown: 9 to 14 m in six to eight days. Half a metre a day is significant, one metre and more
# exceptional (Pinyol, Alonso and Olivella 2008).
DRAWDOWN_M, DRAWDOWN_DAYS = (9.0, 14.0), (6, 8)
DRAWDOWN_CHANCE = 0.9  # of a year, for each lake
DRAWDOWN_SEASON = (date(2001, 4, 15), 150)  # when the fields are watered


@dataclass(frozen=True)
class Trigger:
    """A storm or a drawdown, from its first day to its last."""

    name: str
    first: date
    last: date


def make_kerman_weather(orography: Float, seed: int) -> tuple[Weather, tuple[Trigger, ...]]:
    """Make the weather of a seed, and its triggers by their first day.

    `orography` is (m, m): mean annual precipitation at each node over that of the region.
    """
    random = np.random.default_rng([seed, 13])
    days = [FIRST + timedelta(days=n) for n in range((RECORD_LAST - FIRST).days + 1)]
    rain = ordinary_rain(random, days, orography.shape[0])
    triggers: list[Trigger] = []
    for year in range(RECORD_FIRST.year, RECORD_LAST.year):
        for _ in range(int(random.integers(*STORMS_A_YEAR, endpoint=True))):
            length = int(random.integers(2, 5))
            start = _free_day(random, STORM_SEASON, year, triggers)
            if start is not None:
                triggers.append(Trigger(f"storm-{start}", start, start + timedelta(days=length - 1)))
                _add_storm(random, rain, (start - FIRST).days, length)
    rain *= orography
    rain[rain < 0.1] = 0
    drop = np.zeros((len(days), 2))
    for year in range(RECORD_FIRST.year + 1, RECORD_LAST.year + 1):
        for lake in range(2):
            wanted = random.random() < DRAWDOWN_CHANCE
            start = _free_day(random, DRAWDOWN_SEASON, year, triggers)
            length = int(random.integers(*DRAWDOWN_DAYS, endpoint=True))
            metres = random.uniform(*DRAWDOWN_M)
            if wanted and start is not None:
                first = (start - FIRST).days
                drop[first : first + length, lake] = metres / length
                name = f"drawdown-{lake + 1}-{start}"
                triggers.append(Trigger(name, start, start + timedelta(days=length - 1)))
    places = _gauge_places(random, orography.shape[0])
    measured = _measure(random, rain, places)
    below_full, missing = _levels(random, days, rain, drop)
    weather = Weather(FIRST, rain.astype(np.float32), places, measured, below_full, missing)
    return weather, tuple(sorted(triggers, key=lambda trigger: trigger.first))


def trigger_of(day: date, triggers: tuple[Trigger, ...], window_days: int = 30) -> str | None:
    """Return the trigger that a window which ends the day before `day` may hold, None where none."""
    for trigger in triggers:
        if trigger.first < day <= trigger.last + timedelta(days=window_days):
            return trigger.name
    return None


def _free_day(
    random: np.random.Generator, season: tuple[date, int], year: int, triggers: list[Trigger]
) -> date | None:
    """Return a day of the season with no other trigger within GAP_DAYS; None where chance finds none."""
    start = season[0].replace(year=year)
    for offset in random.integers(0, season[1], 12):
        day = start + timedelta(days=int(offset))
        if all(abs((day - other.first).days) >= GAP_DAYS for other in triggers):
            return day
    return None


def _add_storm(random: np.random.Generator, rain: Float, first: int, length: int) -> None:
    """Add a storm of one or two cores that drift over the region."""
    nodes = rain.shape[1]
    shares = random.dirichlet(np.full(length, 4.0))
    rows, columns = np.indices((nodes, nodes))
    field = np.zeros((length, nodes, nodes))
    for _ in range(int(random.integers(1, 3))):
        centre, total = random.uniform(0, nodes - 1, 2), random.uniform(*CORE_MM)
        reach = random.uniform(*CORE_KM)
        for number, share in enumerate(shares):
            centre = centre + random.normal(0, 0.8, 2)
            distance = np.hypot(rows - centre[0], columns - centre[1]) * NODE_KM
            shape = CORE_BASE + (1 - CORE_BASE) * np.exp(-((distance / reach) ** 2) / 2)
            shape *= np.exp(0.1 * smooth_pattern(random.standard_normal((1, nodes, nodes)))[0])
            field[number] = np.maximum(field[number], total * share * shape)
    here = rain[first : first + length]
    rain[first : first + length] = np.maximum(here, field[: len(here)])


def _gauge_places(random: np.random.Generator, nodes: int) -> Float:
    """Return the gauges' rows and columns on the lattice of nodes: (GAUGE_ROWS², 2)."""
    along = (np.arange(GAUGE_ROWS) + 0.5) / GAUGE_ROWS
    places = np.stack(np.meshgrid(along, along, indexing="ij"), axis=-1).reshape(-1, 2)
    jitter = random.uniform(-0.2, 0.2, places.shape) / GAUGE_ROWS
    return np.asarray((places + jitter) * (nodes - 1))


def _measure(random: np.random.Generator, rain: Float, places: Float) -> npt.NDArray[np.float32]:
    """What the gauges report: a catch error, tenths of a millimetre, outages of days."""
    measured = np.stack([
        ndimage.map_coordinates(day, places.T, order=1, mode="nearest") for day in rain
    ])  # fmt: skip
    measured = np.round(measured * random.normal(1.0, CATCH_ERROR, measured.shape), 1)
    for gauge in range(measured.shape[1]):
        for start in np.flatnonzero(random.random(len(rain)) < OUTAGES_A_DAY):
            length = int(random.integers(*OUTAGE_DAYS, endpoint=True))
            measured[start : start + length, gauge] = np.nan
    return np.asarray(np.maximum(measured, 0), np.float32)


def _levels(
    random: np.random.Generator, days: list[date], rain: Float, drop: Float
) -> tuple[Float, npt.NDArray[np.bool_]]:
    """Return levels below full, m, (days, 2) and which were not reported: season, rain and drawdowns."""
    inflow = rain.mean(axis=(1, 2))
    depth = np.zeros((len(days), 2))
    level = np.array([6.0, 8.0])
    for number, day in enumerate(days):
        season = np.sin(2 * np.pi * (day.timetuple().tm_yday - 60) / 365.25)
        target = np.array([7.0, 9.0]) - np.array([3.5, 5.0]) * season
        rise = 0.035 * inflow[max(0, number - 2) : number + 1].mean()
        level = np.clip(level + (target - level) / 40.0 - rise + drop[number], 0.3, 38.0)
        depth[number] = level
    below = np.round(-depth + random.normal(0, 0.01, depth.shape), 2)
    return np.minimum(below, 0.0), random.random(depth.shape) < LEVEL_MISSING
