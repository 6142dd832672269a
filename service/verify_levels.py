"""Warning levels held against zones' spans of days: hits, misses, false alarms where somebody looked. Pure.

The unit is a zone and a span of days. Landslides of one zone and span are one unit, and so is what was looked
at without a landslide: spans of looks that share a day are one span.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

from exporters.layer import LEVEL_LABELS
from exporters.verification import LevelTally
from service.verify_rates import wilson

Span = tuple[date, date]
# Zone -> day -> level 0..3; a level that is not known is absent.
Levels = Mapping[str, Mapping[date, int]]


@dataclass(frozen=True)
class ZoneSpans:
    """What is known of one zone."""

    levels: Mapping[date, int]
    landslides: frozenset[Span] = frozenset()  # whose days are known well enough
    unclear: frozenset[Span] = frozenset()  # of landslides that may have happened on any day of a wide span
    looked: frozenset[Span] = frozenset()
    counts: Mapping[Span, int] = field(default_factory=dict)  # landslides by span


@dataclass
class _Count:
    hits: int = 0
    misses: int = 0
    false_alarms: int = 0
    rightly_quiet: int = 0
    not_known: int = 0
    not_looked: int = 0

    def __add__(self, other: _Count) -> _Count:
        return _Count(*(getattr(self, name) + getattr(other, name) for name in vars(self)))


def level_tallies(zones: Iterable[ZoneSpans]) -> tuple[LevelTally, ...]:
    """Return the tallies of yellow, orange and red, summed over zones."""
    zones = list(zones)
    return tuple(
        _tally(label, sum((_count(zone, level) for zone in zones), _Count()))
        for level, label in enumerate(LEVEL_LABELS)
        if level > 0
    )


def merged(spans: Iterable[Span]) -> list[Span]:
    """Return spans with those that share a day made one, oldest first."""
    found: list[Span] = []
    for first, last in sorted(spans):
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(found[-1][1], last)
        else:
            found.append((first, last))
    return found


def days_between(first: date, last: date) -> list[date]:
    """Return all days from `first` to `last`."""
    return [first + timedelta(days=offset) for offset in range((last - first).days + 1)]


def _count(zone: ZoneSpans, level: int) -> _Count:
    count = _Count()
    for span in zone.landslides:
        stood = _stood(zone, span, level)
        if all(stood):
            count.hits += 1
        elif not any(item is None or item for item in stood):
            count.misses += 1
        else:
            count.not_known += 1
    slid = [*zone.landslides, *zone.unclear]
    looked = merged(zone.looked)
    for span in looked:
        if any(_meet(span, other) for other in slid):
            continue
        stood = _stood(zone, span, level)
        if any(stood):
            count.false_alarms += 1
        elif None in stood:
            count.not_known += 1
        else:
            count.rightly_quiet += 1
    count.not_looked = _runs(zone, level, [*looked, *slid])
    return count


def _stood(zone: ZoneSpans, span: Span, level: int) -> list[bool | None]:
    """Whether the level stood on each day of a span; None where it is not known."""
    found = [zone.levels.get(day) for day in days_between(*span)]
    return [None if item is None else item >= level for item in found]


def _runs(zone: ZoneSpans, level: int, settled: Sequence[Span]) -> int:
    """Count runs of days with the level that no span touches."""
    days = sorted(
        day
        for day, stood in zone.levels.items()
        if stood >= level and not any(first <= day <= last for first, last in settled)
    )
    return sum(
        1 for index, day in enumerate(days) if index == 0 or (day - days[index - 1]) > timedelta(days=1)
    )


def _meet(one: Span, other: Span) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _tally(label: str, count: _Count) -> LevelTally:
    return LevelTally(
        level=label,
        **vars(count),
        detection_rate=wilson(count.hits, count.hits + count.misses),
        false_alarm_ratio=wilson(count.false_alarms, count.false_alarms + count.hits),
    )
