"""The physical model behind the synthetic landslides.

Infinite slope, with the water table parallel to the surface (Skempton and DeLory 1957, eq. 1; in the form
of Montgomery and Dietrich 1994):

    FS = [c + (gamma z - m gamma_w z) cos²(theta) tan(phi)] / (gamma z sin(theta) cos(theta))

m, the wet share of the mantle's depth, comes from
  - antecedent rain in a leaky bucket, W(d) = W(d-1) exp(-1/tau) + R(d-1): the rain of day d-1 acts on day d,
    because pore pressure takes about z²/D0 to reach the slip surface (Iverson 2000: 2 m and D0 = 5e-5 m²/s
    give 0.9 days), and the mantle drains within days;
  - the topographic wetness index (Beven and Kirkby 1979): hollows hold more of it than spurs;
  - rapid drawdown of a reservoir (Morgenstern 1963): near the rim the water stays in the slope as the lake
    falls, and m rises with the fall of the last seven days.

The probability of failure is Phi((1 - FS) / sigma), sigma being what is not known of c, phi and z. A mantle
that would fail dry has failed long ago: FS of the dry slope is at least DRY_FS.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import ndtr

from trainer.synthetic.cover import Cover
from trainer.synthetic.terrain import Terrain
from trainer.synthetic.weather import TRAINING_FIRST, TRAINING_LAST, Weather

Float = npt.NDArray[np.float64]

UNIT_WEIGHT_SOIL = 19.0  # kN/m³, moist colluvium: 17-20 (Lambe and Whitman 1969)
UNIT_WEIGHT_WATER = 9.81  # kN/m³
DEPTH_M = 2.0  # of the mantle: shallow slides are 0.5-3 m deep (Iverson 2000; Caine 1980)
# Effective cohesion, kPa, and friction angle, degrees, by engineering rock group. Ranges of colluvium and
# weathered rock: 0-20 kPa and 25-42 degrees (Selby 1993; Hoek and Bray 1981).
COHESION_KPA = {1: 13.0, 2: 9.0, 3: 5.5, 4: 3.0}
FRICTION_DEG = {1: 38.0, 2: 34.0, 3: 28.0, 4: 32.0}
# Roots add 2-12 kPa under woodland (Schmidt et al. 2001), little under shrubs.
ROOTS_KPA = {1: 0.0, 2: 0.8, 3: 4.5, 4: 1.5, 5: 0.0, 6: 0.0}
FAULT_LOSS, FAULT_REACH_M = 0.45, 500.0  # sheared rock near a fault keeps less of its cohesion
ROAD_LOSS, ROAD_REACH_M = 0.35, 90.0  # so do cuts beside a road
STORE_MM = 60.0  # drainable pores (0.03: clayey colluvium, 0.02-0.05) x DEPTH_M
DRAINAGE_DAYS = 4.0  # tau
WETNESS_GAIN = 0.22  # of ln(W) for each unit of the wetness index above its median
WETNESS_RANGE = (0.45, 2.4)
DRAWDOWN_FULL_M = 9.0  # a fall that leaves the rim saturated
RIM_REACH_M, RIM_HEIGHT_M = 700.0, 70.0  # e-folding distance and height of the reservoir's influence
SIGMA = 0.08  # of FS: 5-10 % (Griffiths and Fenton 2004, for means of c and tan(phi))
DRY_FS = 1.36
EVENTS = 1_600  # expected inventory of the training years: enough for a split by place and by storm
_SKIP = 0.02  # days on which fewer landslides are expected are passed over
_SAMPLE = 4  # every 4th row and column decides that


@dataclass(frozen=True)
class SlopeModel:
    """What decides failure at each cell, (n, n) each. Any index of cells may be applied to all of them."""

    dry: Float  # FS of the dry slope
    loss: Float  # FS lost where the whole depth is wet
    wetness: Float  # factor of the water stored
    rim: Float  # (n, n, 2) influence of each lake, 0 to 1
    able: npt.NDArray[np.bool_]  # cells that can fail: not in a lake, not flat

    def at(self, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> SlopeModel:
        """Return the model of some cells alone, each array (len(rows), ...)."""
        index = rows, columns
        return SlopeModel(
            self.dry[index], self.loss[index], self.wetness[index], self.rim[index], self.able[index]
        )

    def safety(self, water_mm: Float, fall_m: Float) -> Float:
        """Return FS of every cell: of stored water (...) and the lakes' falls of 7 days, (2,) or (..., 2)."""
        wet = 1 - np.exp(-water_mm / STORE_MM * self.wetness)
        full = np.clip(fall_m / DRAWDOWN_FULL_M, 0, 1)
        drawn = np.maximum(full[..., 0] * self.rim[..., 0], full[..., 1] * self.rim[..., 1])
        return np.asarray(self.dry - self.loss * np.clip(wet + drawn, 0, 1))

    def probability(self, water_mm: Float, fall_m: Float) -> Float:
        """Return the probability of failure of every cell, 0 to 1; arguments as `safety`."""
        chance = ndtr((1 - self.safety(water_mm, fall_m)) / SIGMA)
        return np.asarray(np.where(self.able, chance, 0.0))


@dataclass(frozen=True)
class Landslide:
    """One synthetic landslide."""

    day: date
    row: int
    column: int


def make_slope_model(terrain: Terrain, cover: Cover, cell_size_m: float = 30.0) -> SlopeModel:
    """Work out the constants of the model for a relief and its cover."""
    theta = np.radians(np.maximum(terrain.slope_deg.astype(np.float64), 1.0))
    group = np.array([0.0, *(COHESION_KPA[code] for code in sorted(COHESION_KPA))])
    cohesion = group[cover.rock_group]
    cohesion *= 1 - FAULT_LOSS * np.exp(-cover.fault_distance_m / FAULT_REACH_M)
    cohesion *= 1 - ROAD_LOSS * np.exp(-cover.road_distance_m / ROAD_REACH_M)
    cohesion += np.array([0.0, *(ROOTS_KPA[code] for code in sorted(ROOTS_KPA))])[cover.land_use]
    tangent = np.tan(np.radians(np.array([0.0, *(FRICTION_DEG[code] for code in sorted(FRICTION_DEG))])))
    friction = tangent[cover.rock_group]
    weight = UNIT_WEIGHT_SOIL * DEPTH_M
    dry = (cohesion + weight * np.cos(theta) ** 2 * friction) / (weight * np.sin(theta) * np.cos(theta))
    loss = UNIT_WEIGHT_WATER / UNIT_WEIGHT_SOIL * friction / np.tan(theta)
    slopes = terrain.slope_deg > 10
    wetness = np.exp(WETNESS_GAIN * (terrain.twi - np.median(terrain.twi[slopes])))
    rims = []
    for lake in terrain.lakes:
        distance = ndimage.distance_transform_edt(~lake.mask) * cell_size_m
        above = np.maximum(terrain.elevation_m - lake.full_level_m, 0)
        rims.append(np.exp(-distance / RIM_REACH_M - above / RIM_HEIGHT_M))
    able = (terrain.slope_deg >= 8) & ~terrain.lakes[0].mask & ~terrain.lakes[1].mask
    return SlopeModel(
        np.maximum(dry, DRY_FS),
        loss,
        np.clip(wetness, *WETNESS_RANGE),
        np.stack(rims, axis=-1),
        np.asarray(able),
    )


def stored_water(weather: Weather) -> npt.NDArray[np.float32]:
    """Return water in the mantle at the time of failure, mm, on the lattice: float32 (days, m, m)."""
    keep = np.exp(-1 / DRAINAGE_DAYS)
    water = np.zeros_like(weather.rain_mm)
    for day in range(1, weather.days):
        water[day] = water[day - 1] * keep + weather.rain_mm[day - 1]
    return water


def level_fall(weather: Weather) -> Float:
    """Return how far each lake fell in the seven days before a day, m, 0 where it rose: (days, 2)."""
    fall = np.zeros_like(weather.below_full_m)
    # The level of the morning of a day is yesterday's reading, as in a window with a lag of one day.
    fall[8:] = np.maximum(weather.below_full_m[:-8] - weather.below_full_m[7:-1], 0)
    return fall


def draw_landslides(
    model: SlopeModel, weather: Weather, seed: int, events: float = EVENTS
) -> tuple[tuple[Landslide, ...], float]:
    """Draw landslides of the training years from their true probability.

    An unstable cell becomes a landslide of the inventory at a rate that makes `events` the expected number:
    one slide covers many cells, and not every slide is recorded. Returns the landslides, by
    day, and the rate.
    """
    random = np.random.default_rng([seed, 4])
    size = model.dry.shape[0]
    water, fall = stored_water(weather), level_fall(weather)
    days = range(weather.index(TRAINING_FIRST), weather.index(TRAINING_LAST) + 1)
    rows, columns = np.meshgrid(np.arange(0, size, _SAMPLE), np.arange(0, size, _SAMPLE), indexing="ij")
    sample = model.at(rows, columns)
    expected = {}
    for day in days:
        stored = on_grid(water[day], size, _SAMPLE)
        expected[day] = _SAMPLE**2 * float(sample.probability(stored, fall[day]).sum())
    rate = events / sum(expected.values())
    slides = []
    for day in days:
        if expected[day] * rate < _SKIP:
            continue
        chance = model.probability(on_grid(water[day], size), fall[day]) * rate
        for row, column in np.argwhere(random.random(chance.shape) < chance):
            when = date.fromordinal(weather.first.toordinal() + day)
            slides.append(Landslide(when, int(row), int(column)))
    return tuple(slides), rate


def on_grid(lattice: npt.NDArray[np.float32], size: int, step: int = 1) -> Float:
    """Interpolate a lattice (m, m) that spans the region to every `step`-th cell, bilinearly: float64."""
    nodes = lattice.shape[0]
    where = (np.arange(0, size, step) + 0.5) * (nodes - 1) / size
    # Tent functions: each cell is the weighted sum of the two nodes beside it, along both axes.
    weights = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(nodes)[None, :]))
    return np.asarray(weights @ lattice.astype(np.float64) @ weights.T)
