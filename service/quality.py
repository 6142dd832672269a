"""The checks on readings: range, future, duplicates. What fails is rejected with a reason, never dropped."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from itertools import groupby
from typing import NamedTuple


class Quality(StrEnum):
    """What a reading in the archive is worth: only good ones reach a window.

    A row that is not good takes away the good reading of the same value that stood for its series and day,
    and leaves one of another value.
    """

    GOOD = "good"
    SUSPECT = "suspect"  # a check doubts it (service.checks); a person may accept or reject it
    REJECTED = "rejected"  # a person decided that it is wrong


class Reason(StrEnum):
    """Why a row was rejected."""

    RANGE = "range"
    FUTURE = "future"
    DUPLICATE = "duplicate"
    NUMBER = "number"
    NOT_FINITE = "not_finite"
    DATE = "date"
    UNKNOWN_SERIES = "unknown_series"
    FIELDS = "fields"
    ENCODING = "encoding"
    TRUNCATED = "truncated"
    FLAGGED = "flagged"  # by the source itself


class Observation(NamedTuple):
    """One value as a feed gave it: stored unit, the region's day, and when its interval ends."""

    series: str
    day: date
    value: float
    ends_at: str  # UTC, ISO with microseconds and Z
    file: str
    row: int
    raw: str
    version: str = ""  # of the product
    issued_at: str = ""  # of a forecast, UTC stamp
    member: int | None = None  # of a forecast's ensemble


class Rejection(NamedTuple):
    """One row that was not taken in, as it stood in the file. `series` and `day` as written there."""

    file: str
    row: int
    raw: str
    reason: Reason
    detail: str
    series: str = ""
    day: str = ""


@dataclass(frozen=True)
class Limits:
    """The range of believable values, both ends included, in the stored unit."""

    minimum: float
    maximum: float
    unit: str


# Rain: the greatest day on record is 1825 mm (Foc-Foc, La Réunion, January 1966; WMO).
# Levels: from the Dead Sea's shore to above the highest lake, m above sea level.
DEFAULT_LIMITS = {"rain": Limits(0.0, 2000.0, "mm"), "level": Limits(-500.0, 9000.0, "m")}


def limits_of(variable: str, minimum: float | None = None, maximum: float | None = None) -> Limits:
    """Return a variable's limits, either end replaced where a feed states its own."""
    default = DEFAULT_LIMITS.get(variable, Limits(-math.inf, math.inf, ""))
    return Limits(
        default.minimum if minimum is None else minimum,
        default.maximum if maximum is None else maximum,
        default.unit,
    )


def check(observation: Observation, limits: Limits, today: date) -> Rejection | None:
    """Return why an observation cannot be believed, or None. `today` is the region's calendar day."""
    value = observation.value
    if limits.minimum <= value <= limits.maximum:
        if observation.day <= today:
            return None
        return _reject(observation, Reason.FUTURE, f"{observation.day} is after today, {today}")
    if not math.isfinite(value):
        return _reject(observation, Reason.NOT_FINITE, f"{value} is not a finite number")
    return _reject(
        observation,
        Reason.RANGE,
        f"{value:g} {limits.unit} is outside {limits.minimum:g} to {limits.maximum:g} {limits.unit}",
    )


def settle_duplicates(observations: Iterable[Observation]) -> Iterator[tuple[Observation | Rejection, int]]:
    """Settle one fetch, sorted by series, day, issue and member: yield what is left, and its repeats.

    The same value twice is kept once. Different values for one series and day are all rejected, each
    naming the other rows: nothing says which one is right.
    """
    for _, group in groupby(observations, key=_identity):
        first, *others = group
        if all(item.value == first.value for item in others):
            yield first, len(others)
            continue
        rows = [first, *others]
        places = ", ".join(f"{item.file} row {item.row}" for item in rows[:5])
        more = f" and {len(rows) - 5} more" if len(rows) > 5 else ""
        for item in rows:
            yield _reject(item, Reason.DUPLICATE, f"different values for one day: {places}{more}"), 0


def _identity(item: Observation) -> tuple[str, date, str, int | None]:
    return item.series, item.day, item.issued_at, item.member


def _reject(observation: Observation, reason: Reason, detail: str) -> Rejection:
    return Rejection(
        file=observation.file,
        row=observation.row,
        raw=observation.raw,
        reason=reason,
        detail=detail,
        series=observation.series,
        day=observation.day.isoformat(),
    )
