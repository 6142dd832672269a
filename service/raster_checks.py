"""The first checks on a day's raster: against what its feed said before."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

STALE = "stale"  # a stuck page: the values of an earlier day under a new date
UNIT = "unit"  # a day said again in another unit

STALE_DAYS = 31  # a stuck page repeats a recent day
# Dry days are alike by right. Days alike in so many different amounts, or with such a mean, are not.
_STALE_AMOUNTS = 3
_STALE_MEAN_MM = 1.0

# Inches or centimetres for millimetres, tenths for whole ones, metres, a mean rate per hour for a day's sum.
_UNIT_FACTORS = (2.54, 10.0, 24.0, 25.4, 100.0, 1000.0)
_UNIT_TOLERANCE = 0.07  # of the ratio of two sums: steps of a tenth of an inch are coarse
_UNIT_PIXELS = 8
_UNIT_CORRELATION = 0.95

Values = npt.NDArray[np.float32]


def is_wet(values: Values) -> bool:
    """Tell whether it rained so much, or so differently, that no other day is like this one by chance."""
    amounts = np.unique(values[values > 0])
    if len(amounts) == 0:
        return False
    return len(amounts) >= _STALE_AMOUNTS or float(np.nanmean(values, dtype=np.float64)) >= _STALE_MEAN_MM


def unit_factor(before: Values, now: Values) -> float | None:
    """Return the factor between two units if one day's values, said twice, look like it; else None.

    That is so where the sums differ by such a factor and the pattern is the same: estimates improve, but not
    by 25.4 everywhere.
    """
    if before.shape != now.shape:
        return None
    wet = np.isfinite(before) & np.isfinite(now) & ((before > 0) | (now > 0))
    old, new = before[wet].astype(np.float64), now[wet].astype(np.float64)
    if len(old) < _UNIT_PIXELS or old.sum() <= 0 or new.sum() <= 0 or not (old.std() and new.std()):
        return None
    ratio = float(new.sum() / old.sum())
    for factor in (*_UNIT_FACTORS, *(1 / factor for factor in _UNIT_FACTORS)):
        if abs(math.log(ratio / factor)) <= _UNIT_TOLERANCE:
            return factor if np.corrcoef(old, new)[0, 1] >= _UNIT_CORRELATION else None
    return None
