"""The names of the checks, as they stand in settings, reasons and metrics."""

from __future__ import annotations

from enum import StrEnum


class CheckName(StrEnum):
    """One check each; service.checks.registry says what it looks for."""

    PHYSICAL_RANGE = "physical_range"
    OPERATING_RANGE = "operating_range"
    ZERO_LEVEL = "zero_level"
    LEVEL_UNIT = "level_unit"
    DECIMAL_POINT = "decimal_point"
    RAIN_UNIT = "rain_unit"
    STEP = "step"
    FLAT_LINE = "flat_line"
    STALE_PAGE = "stale_page"
    REPEATED_BLOCK = "repeated_block"
    DUPLICATE_SERIES = "duplicate_series"
    FALSE_ZERO = "false_zero"
    ACCUMULATION = "accumulation"
    SPATIAL_OUTLIER = "spatial_outlier"
