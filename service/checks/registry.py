"""All checks, in the order in which they run: what an earlier one strikes is no reference for a later one."""

from __future__ import annotations

from service.checks.base import Check
from service.checks.duplicates import DUPLICATE_SERIES
from service.checks.flat import FLAT_LINE
from service.checks.levels import DECIMAL_POINT, LEVEL_UNIT, STEP
from service.checks.rain_units import RAIN_UNIT
from service.checks.ranges import OPERATING_RANGE, PHYSICAL_RANGE, ZERO_LEVEL
from service.checks.repeats import REPEATED_BLOCK, STALE_PAGE
from service.checks.space import ACCUMULATION, FALSE_ZERO, SPATIAL_OUTLIER

CHECKS: tuple[Check, ...] = (
    PHYSICAL_RANGE,
    ZERO_LEVEL,
    OPERATING_RANGE,
    LEVEL_UNIT,
    DECIMAL_POINT,
    STALE_PAGE,
    FLAT_LINE,
    REPEATED_BLOCK,
    DUPLICATE_SERIES,
    RAIN_UNIT,
    FALSE_ZERO,
    ACCUMULATION,
    STEP,
    SPATIAL_OUTLIER,
)


BY_NAME = {check.name: check for check in CHECKS}
