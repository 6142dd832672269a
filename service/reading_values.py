"""What the archive of readings takes in and gives out: where a series stands, what it reported."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from service.quality import Quality


@dataclass(frozen=True)
class SeriesPosition:
    """Where a series is measured: EPSG:4326 degrees (NaN: not known), metres above sea level.

    `lowest` and `highest` bound its operating range in the stored unit (of a reservoir: the dead storage
    level and the maximum water level), where the feed knows them.
    """

    id: str
    lon: float
    lat: float
    elevation_m: float | None = None
    lowest: float | None = None
    highest: float | None = None


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
    lowest: float | None = None
    highest: float | None = None


class SeriesDay(NamedTuple):
    """One day of one series of one feed and variable."""

    feed: str
    variable: str
    series: str
    day: date


@dataclass(frozen=True)
class ForecastIssue:
    """One issue of a forecast, one member of it, and the first day on which it stands for readings.

    `factors` multiply its rain by day, to correct its bias at that lead; a day without one is left as it is.
    """

    feed: str
    issued_at: datetime
    first: date
    member: int | None = None
    factors: tuple[tuple[date, float], ...] = ()


@dataclass(frozen=True)
class Selection:
    """What windows are made from beside the good readings: suspects taken as true, a forecast for the end."""

    suspects: frozenset[SeriesDay] = frozenset()
    forecast: ForecastIssue | None = None


NOTHING_MORE = Selection()


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
    row: int = field(default=0, compare=False)  # its number in the archive; 0: not in one yet


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


@dataclass(frozen=True)
class Finding:
    """Why one check doubts a reading. `extreme`: a true extreme may look like this."""

    check: str
    detail: str
    extreme: bool


@dataclass(frozen=True)
class Doubt:
    """What the checks say against one value of one day of a series.

    `known_at` is when the doubt could first be had: that of the value (None), or of later readings that are
    the evidence; assumed where theirs is.
    """

    at: SeriesDay
    value: float
    findings: tuple[Finding, ...]
    known_at: datetime | None = None
    known_at_assumed: bool = False


@dataclass(frozen=True)
class Suspect:
    """A doubted value, and what a person decided about it. `number` names it on the command line."""

    number: int
    at: SeriesDay
    value: float
    known_at: datetime
    findings: tuple[Finding, ...]
    decided: Literal["accepted", "rejected"] | None = None
    by: str = ""
    why: str = ""

    @property
    def extreme(self) -> bool:
        """Whether every check that doubts it is one that a true extreme may fail."""
        return bool(self.findings) and all(finding.extreme for finding in self.findings)


@dataclass(frozen=True)
class Issue:
    """One issue of a forecast feed. `members` is (None,) where it has no ensemble; days are region days."""

    feed: str
    issued_at: datetime
    known_at: datetime  # of its first reading
    members: tuple[int | None, ...]
    first: date
    last: date


@dataclass(frozen=True)
class Fresh:
    """Good readings that came after some row of the archive: which days and series they touch."""

    days: tuple[date, ...]  # ascending
    series: tuple[tuple[str, str], ...]  # (feed, id), ascending
    row: int  # the newest of them

    @property
    def first(self) -> date:
        """The oldest day touched."""
        return self.days[0]

    @property
    def last(self) -> date:
        """The newest day touched."""
        return self.days[-1]
