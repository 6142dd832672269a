"""What the archive of readings takes in and gives out: where a series stands, what it reported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime

import numpy as np
import numpy.typing as npt

from service.quality import Quality


@dataclass(frozen=True)
class SeriesPosition:
    """Where a series is measured: EPSG:4326 degrees (NaN: not known), metres above sea level."""

    id: str
    lon: float
    lat: float
    elevation_m: float | None = None


@dataclass(frozen=True)
class Series:
    """One gauge or reservoir at one position, which holds for days `valid_from` to `valid_to`, both included.

    None means open. The first position that was given holds for all days before it, too.
    """

    id: str
    feed: str
    variable: str
    lon: float
    lat: float
    elevation_m: float | None
    valid_from: date | None
    valid_to: date | None


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of one series for one day of the region, in the stored unit (mm; m above sea level)."""

    feed: str
    variable: str
    series: str
    day: date
    value: float
    known_at: datetime | None = None  # None: the moment it is added
    issued_at: datetime | None = None
    member: int | None = None
    product_version: str = ""
    quality: Quality = Quality.GOOD
    reason: str = ""
    known_at_assumed: bool = False  # known_at counts only if this is the first row of its day


@dataclass(frozen=True)
class AddReport:
    """What became of readings: the first of their day, a change to it, the same again, kept as rejected."""

    new: int
    corrected: int
    unchanged: int
    rejected: int


@dataclass(frozen=True)
class Readings:
    """Readings of a variable as they were known at one moment. A gauge that moved has a column a position."""

    variable: str
    days: tuple[date, ...]
    series: tuple[Series, ...]
    value: npt.NDArray[np.float32]  # (n_days, n_series), NaN where missing
    known_at: str | None  # of the newest reading used, ISO UTC
    known_at_by_day: tuple[str | None, ...]
