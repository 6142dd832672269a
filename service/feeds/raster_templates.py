"""Addresses with days, steps and versions in them, and the steps that make up a region's day."""

from __future__ import annotations

import glob
import math
from datetime import UTC, date, datetime, time, timedelta
from string import Formatter
from typing import NamedTuple
from zoneinfo import ZoneInfo

from service.feeds.parsing import interval_of

_MOMENTS = ("day", "start", "end", "last")
_NAMES = (*_MOMENTS, "minutes", "version")
_SECOND = timedelta(seconds=1)


class Step(NamedTuple):
    """One interval of a feed's day; all moments in UTC."""

    day_start: datetime  # when the feed's day begins
    start: datetime
    end: datetime
    number: int  # of the step in the feed's day, from 0

    @property
    def hours(self) -> float:
        """How long it lasts."""
        return (self.end - self.start) / timedelta(hours=1)


def check_template(template: str) -> None:
    """Raise ValueError where a template cannot be filled, naming what is wrong and what there is."""
    try:
        fields = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}; write {{{{ for a brace") from error
    for _, name, form, conversion in fields:
        if name is None:
            continue
        if name not in _NAMES:
            raise ValueError(f"there is nothing to fill {{{name}}} with; there are {', '.join(_NAMES)}")
        if conversion or "{" in (form or ""):
            raise ValueError(f"{{{name}}} takes a format and nothing more")
        if name in _MOMENTS and "%" not in (form or ""):
            raise ValueError(f"{{{name}}} needs its format, as in {{{name}:%Y-%m-%d}}")


def dated(template: str) -> bool:
    """Tell whether a template names days or steps."""
    return any(name in _MOMENTS for _, name, _, _ in Formatter().parse(template))


def fill(template: str, step: Step, version: str, zone: ZoneInfo) -> str:
    """Return a template filled for a step; times are told in `zone`, the feed's."""
    return template.format_map(
        {
            "day": step.day_start.astimezone(zone),
            "start": step.start.astimezone(zone),
            "end": step.end.astimezone(zone),
            "last": (step.end - _SECOND).astimezone(zone),
            "minutes": round((step.start - step.day_start) / timedelta(minutes=1)),
            "version": version,
        }
    )


def matching_files(pattern: str) -> list[str]:
    """Return the files that a path without days names, which may be a folder's glob, in order of name."""
    return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - the pattern may be absolute


def steps_of(
    day: date, zone: ZoneInfo, boundary: time, region: ZoneInfo, step_hours: float
) -> tuple[Step, ...]:
    """Return the steps that make up a region's day: those whose middle lies in it.

    A feed's day begins at `boundary` in `zone`, and its steps follow one another from there. A daily total
    belongs, whole, to the region's day that holds its middle. Empty where no total does.
    """
    found = []
    for nearby in (day - timedelta(days=1), day, day + timedelta(days=1)):
        start = datetime.combine(nearby, boundary, zone).astimezone(UTC)
        end = datetime.combine(nearby + timedelta(days=1), boundary, zone).astimezone(UTC)
        if step_hours == 24:
            if interval_of(nearby, zone, boundary, region)[0] == day:
                found.append(Step(start, start, end, 0))
            continue
        for number in range(math.ceil((end - start) / timedelta(hours=step_hours))):
            begins = start + number * timedelta(hours=step_hours)
            ends = min(begins + timedelta(hours=step_hours), end)
            if (begins + (ends - begins) / 2).astimezone(region).date() == day:
                found.append(Step(start, begins, ends, number))
    return tuple(found)
