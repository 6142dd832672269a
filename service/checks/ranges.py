"""Checks of a value by itself: what a month can bring, what a reservoir can hold, zero for no value."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import Panel, Values

# Greatest believed day (mm) by latitude band and half-year, warm half first.
_BANDS = ((30.0, 700.0, 700.0), (45.0, 500.0, 400.0), (91.0, 300.0, 250.0))
_NORTHERN_WARM = np.isin(np.arange(12), range(4, 10))  # May to October


def greatest_rain(lat: Values) -> Values:
    """Return the default bound of a day's rain by month and series, mm: (12, n); lat in degrees, (n,)."""
    degrees = np.where(np.isfinite(lat), np.abs(lat), 0.0)
    band = np.searchsorted([upper for upper, _, _ in _BANDS], degrees, side="right")
    warm, cold = np.array([bounds[1:] for bounds in _BANDS]).T
    is_warm = np.where(np.nan_to_num(lat)[None, :] >= 0, _NORTHERN_WARM[:, None], ~_NORTHERN_WARM[:, None])
    return np.asarray(np.where(is_warm, warm[band], cold[band]))


def _physical_range(panel: Panel) -> Iterator[Hit]:
    n = len(panel.ids)
    low = np.full((12, n), -np.inf)
    high = greatest_rain(panel.lat) if panel.variable == "rain" else np.full((12, n), np.inf)
    for feed, rules in enumerate(panel.rules):
        columns = panel.columns_of(feed)
        unit = "mm" if panel.variable == "rain" else "m"
        lower, upper = getattr(rules, f"minimum_{unit}", None), getattr(rules, f"maximum_{unit}", None)
        if lower is not None:
            low[:, columns] = np.array(lower)[:, None]
        if upper is not None:
            high[:, columns] = np.array(upper)[:, None]
    below, above = low[panel.months], high[panel.months]
    for row, column in zip(*np.nonzero((panel.value < below) | (panel.value > above)), strict=True):
        unit = "mm" if panel.variable == "rain" else "m"
        yield Hit(
            int(row),
            int(column),
            f"{panel.value[row, column]:g} {unit} is outside {below[row, column]:g} to"
            f" {above[row, column]:g} {unit}, the range of {panel.day(row):%B}",
        )


PHYSICAL_RANGE = Check(
    CheckName.PHYSICAL_RANGE,
    ("rain", "level"),
    extreme=True,
    what="A value outside the range of its month: quality.rain.maximum_mm, quality.level.minimum_m and"
    " maximum_m, twelve values each, of all feeds or of one.",
    why="Default for rain, near the greatest days on record of a latitude band (our choice, no table has them"
    " by month): 700 mm within 30 degrees of the equator, 500 mm (warm half-year) and 400 mm (cold) up to 45,"
    " 300 and 250 mm beyond; central Europe's record is 312 mm (Zinnwald, 12 August 2002). A region that"
    " knows its months should say so. Levels have no default: they depend on the reservoir.",
    source="WMO-No. 8 (2018), part V, chapter 1: range checks by climate; Durre et al. (2010).",
    measured="No reading of either table.",
    cannot="A wrong value within the range.",
    find=_physical_range,
)


def _operating_range(panel: Panel) -> Iterator[Hit]:
    margin = panel.rule("margin_m")
    with np.errstate(invalid="ignore"):
        low, high = panel.value < panel.lowest - margin, panel.value > panel.highest + margin
    for row, column in zip(*np.nonzero(low | high), strict=True):
        side = "below its lowest" if low[row, column] else "above its highest"
        bound = (panel.lowest if low[row, column] else panel.highest)[column]
        yield Hit(
            int(row),
            int(column),
            f"{panel.value[row, column]:g} m is more than {margin[column]:g} m {side} level, {bound:g} m",
        )


OPERATING_RANGE = Check(
    CheckName.OPERATING_RANGE,
    ("level",),
    extreme=False,
    what="A level below the lowest or above the highest of its reservoir by more than"
    " quality.level.margin_m.",
    why="2 m: dams pass floods with a surcharge of about so much above the full level; the greatest one in"
    " six years of 18 dams in Kerala is 0.46 m.",
    source="ICOLD Bulletin 142 (2012) on freeboard; Kerala dams table.",
    measured="Kerala 0.008 % of levels (3), all of them mistakes.",
    cannot="Anything where the feed gives no range; a dam that is overtopped by more than the margin is"
    " doubted like a mistake, and needs `colluvium readings accept`.",
    find=_operating_range,
)


def _zero_level(panel: Panel) -> Iterator[Hit]:
    # A reservoir near the sea, or one whose lowest level is so low, may stand at zero.
    near_zero = (panel.lowest <= 0) | (np.abs(panel.elevation_m) <= 10)
    usual = np.abs(panel.value)
    usual = np.where(usual > 0, usual, np.nan)
    # The least level before, other than zero: a lake that has been near zero may be there again.
    least = np.fmin.accumulate(usual, axis=0)
    before = np.vstack([np.full((1, panel.shape[1]), np.nan), least[:-1]])
    for row, column in zip(*np.nonzero((panel.value == 0) & ~near_zero & ~(before <= 10)), strict=True):
        yield Hit(int(row), int(column), "a level of exactly 0 m, where a missing value is meant")


ZERO_LEVEL = Check(
    CheckName.ZERO_LEVEL,
    ("level",),
    extreme=False,
    what="A level of exactly 0 m of a reservoir that is not near sea level.",
    why="Exact: forms and databases write 0 for nothing. Chenkulam and Kallarkutty (Kerala) have 14 of them.",
    source="WMO-No. 8 (2018), part V, chapter 1.",
    measured="Kerala 0.04 % of levels (14), all of them zeros for nothing.",
    cannot="Zeros of a reservoir within 10 m of sea level.",
    find=_zero_level,
)
