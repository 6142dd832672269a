"""Which ground fails, and when: the physical model of the synthetic Kerman.

Infinite slope, as in the demo (`slopes.py`; Skempton and DeLory 1957, Montgomery and Dietrich 1994), with
what an inventory of mapped landslides adds to it:

  - A landslide is a body, not a cell. Its factor of safety is the sum of what resists over the sum of what
    drives on its ground (ordinary method of slices, Fellenius 1936; several cells as one body: Milledge et
    al. 2014), here a disc of BODY_M. Cohesion, friction, slope and wetness count as their means over it.
  - The mantle thins where slopes steepen (Saulnier et al. 1997).
  - Water stands in the mantle as long as its ground drains slowly: a leaky bucket for each rock group,
    W(d) = W(d-1) exp(-1/tau) + R(d-1), tau about z²/D0 with hydraulic diffusivities D0 of 1e-5 to 4e-5 m²/s,
    inside the 1e-6 to 1e-3 of Iverson (2000). Spurs hold less of it than hollows (Beven and Kirkby 1979).
  - A rapid drawdown leaves the water of the rim standing (Morgenstern 1963); the excess drains with the same
    tau, so it is the falls of the last days that count, and slow ground remembers them longer.

m, the wet share of the mantle, is the mean of its rock groups' over the body, and FS = dry - loss m. The
probability of failure is Phi((1 - FS) / SIGMA).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.special import ndtr, ndtri

from trainer.synthetic.cover import Cover
from trainer.synthetic.slopes import (
    FAULT_LOSS,
    FAULT_REACH_M,
    ROAD_LOSS,
    ROAD_REACH_M,
    ROOTS_KPA,
    UNIT_WEIGHT_SOIL,
    UNIT_WEIGHT_WATER,
    WETNESS_GAIN,
    WETNESS_RANGE,
)
from trainer.synthetic.terrain import Terrain
from trainer.synthetic.weather import Weather

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]

# Radius of a landslide: 3 ha. What maps and images of a province show is of hectares: historical inventories
# miss most of the small ones (Malamud et al. 2004).
BODY_M = 100.0
# Effective cohesion, kPa, by engineering rock group: the low end of 0-20 for colluvium and weathered rock
# (Selby 1993), whose fines are few where it seldom rains; friction angle, degrees: 25-42 (Hoek, Bray 1981).
COHESION_KPA = {1: 4.0, 2: 3.0, 3: 2.0, 4: 1.0}
FRICTION_DEG = {1: 34.0, 2: 32.0, 3: 30.0, 4: 31.0}
# Depth of the mantle, m, from the gentlest to the steepest ground that can fail, linear in the tangent
# (Saulnier et al. 1997). 3 ha of soil or of soil and rock are 1.6 to 4.5 m deep (Larsen et al. 2010).
DEPTH_M, DEPTH_AT = (4.0, 1.0), (0.1, 1.2)
# Drainage time, days, by engineering rock group: strong (blocky), medium, weak (clayey), loose (gravel).
DRAINAGE_DAYS = (4.0, 6.0, 9.0, 3.0)
STORE_MM = 90.0  # drainable pores of clayey colluvium, 0.03 (Johnson 1967: 0.02-0.07), in 3 m
DRAWDOWN_FULL_M = 6.0  # an undrained fall that leaves the rim saturated: twice the depth of the mantle there
# e-folding distance and height of a reservoir's influence on its rim; slides of the Three Gorges reach some
# 200 m above the water (Shuping: Wang et al. 2008).
RIM_REACH_M, RIM_HEIGHT_M = 1500.0, 200.0
# Of FS: 5 %, the lower end of what c and tan(phi) leave open (Griffiths and Fenton 2004), for a mean over a
# body scatters less than a point (Vanmarcke 1977).
SIGMA = 0.05
# Ground that the water of an ordinary year brings down has come down long ago: at the median of the years'
# greatest water no body fails with more than 5 %, so many SIGMA above FS 1.
SURVIVED_SIGMA = 1.645
GENTLEST_DEG = 8.0
_GROUPS = 4


@dataclass(frozen=True)
class BodySlopes:
    """What decides the failure of the body around each cell; arrays (n, n), or (k,) of some cells."""

    dry: Float  # FS of the dry body
    loss: Float  # FS lost where the whole depth is wet
    wetness: Float  # factor of the water stored
    share: Float  # (..., 4) of the body's ground in each rock group
    rim: Float  # (..., 2) influence of each lake, 0 to 1
    able: Bool  # cells that can fail: not in a lake, not flat

    def at(self, rows: Indices, columns: Indices) -> BodySlopes:
        """Return the model of some cells alone, each array (len(rows), ...)."""
        here = rows, columns
        return BodySlopes(
            self.dry[here], self.loss[here], self.wetness[here], self.share[here], self.rim[here],
            self.able[here],
        )  # fmt: skip

    def safety(self, water_mm: Float, excess_m: Float) -> Float:
        """Return FS: of stored water (..., 4) and the lakes' undrained falls, (2, 4) or (..., 2, 4)."""
        wet = 1 - np.exp(-water_mm / STORE_MM * self.wetness[..., None])
        full = np.clip(excess_m / DRAWDOWN_FULL_M, 0, 1)
        drawn = np.maximum(self.rim[..., :1] * full[..., 0, :], self.rim[..., 1:] * full[..., 1, :])
        depth = (self.share * np.clip(wet + drawn, 0, 1)).sum(axis=-1)
        return np.asarray(self.dry - self.loss * depth)

    def probability(self, water_mm: Float, excess_m: Float) -> Float:
        """Return the probability of failure, 0 to 1; arguments as `safety`."""
        chance = ndtr((1 - self.safety(water_mm, excess_m)) / SIGMA)
        return np.asarray(np.where(self.able, chance, 0.0))

    def water_needed(self, faint: float) -> Float:
        """Return the stored water, mm, without which rain alone gives a probability below `faint`."""
        share = (self.dry - 1 + SIGMA * ndtri(faint)) / self.loss
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = -STORE_MM / self.wetness * np.log(1 - np.clip(share, 0, 1))
        return np.asarray(np.where(self.able, needed, np.inf))


def make_body_slopes(
    terrain: Terrain, cover: Cover, ordinary_mm: Float, cell_size_m: float = 30.0
) -> BodySlopes:
    """Work out the constants of the model for a relief, its cover and the water of an ordinary year (4,)."""
    tangent = np.maximum(np.tan(np.radians(terrain.slope_deg.astype(np.float64))), 0.02)
    cosine2 = 1 / (1 + tangent**2)
    depth = np.interp(tangent, DEPTH_AT, DEPTH_M)
    cohesion = _by_code(COHESION_KPA)[cover.rock_group]
    cohesion *= 1 - FAULT_LOSS * np.exp(-cover.fault_distance_m / FAULT_REACH_M)
    cohesion *= 1 - ROAD_LOSS * np.exp(-cover.road_distance_m / ROAD_REACH_M)
    cohesion += _by_code(ROOTS_KPA)[cover.land_use]
    friction = np.tan(np.radians(_by_code(FRICTION_DEG)))[cover.rock_group]
    disc = _disc(BODY_M / cell_size_m)
    drives = _mean(UNIT_WEIGHT_SOIL * depth * tangent * cosine2, disc)
    resists = _mean(cohesion + UNIT_WEIGHT_SOIL * depth * cosine2 * friction, disc)
    floats = _mean(UNIT_WEIGHT_WATER * depth * cosine2 * friction, disc)
    slopes = terrain.slope_deg > 10
    wetness = WETNESS_GAIN * (_mean(terrain.twi, disc) - np.median(terrain.twi[slopes]))
    groups = np.stack([_mean(cover.rock_group == code, disc) for code in range(1, _GROUPS + 1)], axis=-1)
    rims = []
    for lake in terrain.lakes:
        distance = ndimage.distance_transform_edt(~lake.mask) * cell_size_m
        above = np.maximum(terrain.elevation_m - lake.full_level_m, 0)
        rims.append(np.exp(-distance / RIM_REACH_M - above / RIM_HEIGHT_M))
    able = (terrain.slope_deg >= GENTLEST_DEG) & ~terrain.lakes[0].mask & ~terrain.lakes[1].mask
    any_age = BodySlopes(
        resists / drives,
        floats / drives,
        np.clip(np.exp(wetness), *WETNESS_RANGE),
        groups / groups.sum(axis=-1, keepdims=True),
        np.stack(rims, axis=-1),
        np.asarray(able),
    )
    lacking = 1 + SURVIVED_SIGMA * SIGMA - any_age.safety(ordinary_mm, np.zeros((2, _GROUPS)))
    return replace(any_age, dry=any_age.dry + np.maximum(lacking, 0))


def ordinary_water(weather: Weather) -> Float:
    """Return the median over years and places of the year's greatest stored water, mm: (4 groups,)."""
    water = stored_water(weather)
    years = len(water) // 365
    greatest = water[: years * 365].reshape(years, 365, -1, _GROUPS).max(axis=1)
    return np.asarray(np.median(greatest.reshape(-1, _GROUPS), axis=0), np.float64)


def stored_water(weather: Weather) -> Float32:
    """Return water in the mantle at the time of failure, mm, on the lattice: (days, m, m, 4 groups)."""
    keep = np.exp(-1 / np.array(DRAINAGE_DAYS)).astype(np.float32)
    water = np.zeros((*weather.rain_mm.shape, _GROUPS), np.float32)
    for day in range(1, weather.days):
        water[day] = water[day - 1] * keep + weather.rain_mm[day - 1][..., None]
    return water


def undrained_fall(weather: Weather) -> Float:
    """Return each lake's falls that the ground has not drained yet, m: (days, 2 lakes, 4 groups)."""
    keep = np.exp(-1 / np.array(DRAINAGE_DAYS))
    level = weather.below_full_m
    excess = np.zeros((weather.days, 2, _GROUPS))
    for day in range(2, weather.days):
        # The level of the morning of a day is yesterday's reading, as in a window with a lag of one day.
        fall = np.maximum(level[day - 2] - level[day - 1], 0)
        excess[day] = excess[day - 1] * keep + fall[:, None]
    return excess


def at_cells(lattice: Float32, days: Indices, rows: Indices, columns: Indices, size: int) -> Float:
    """Interpolate a lattice (days, m, m, 4) that spans the region to cells on their days: (k, 4)."""
    nodes = lattice.shape[1]
    y, x = ((index + 0.5) * (nodes - 1) / size for index in (rows, columns))
    top, left = (np.clip(along.astype(np.int64), 0, nodes - 2) for along in (y, x))
    south, east = (y - top)[:, None], (x - left)[:, None]
    north_row = lattice[days, top, left] * (1 - east) + lattice[days, top, left + 1] * east
    south_row = lattice[days, top + 1, left] * (1 - east) + lattice[days, top + 1, left + 1] * east
    return np.asarray(north_row * (1 - south) + south_row * south, np.float64)


def _by_code(values: dict[int, float]) -> Float:
    return np.array([0.0, *(values[code] for code in sorted(values))])


def _disc(radius: float) -> Float:
    """Return a disc of weight 1, radius in cells."""
    reach = int(radius)
    south, east = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = (np.hypot(south, east) <= radius).astype(np.float64)
    return np.asarray(disc / disc.sum())


def _mean(values: npt.ArrayLike, disc: Float) -> Float:
    return np.asarray(ndimage.convolve(np.asarray(values, np.float64), disc, mode="nearest"))
