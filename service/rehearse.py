"""A rehearsal: what thresholds would have done on the days that the archive of layers holds.

    replay(records, settings) -> {zone: ZonePast}           levels day by day, by the rule of service.warnings
    judge(past, happened, days) -> Rehearsal                calls a year, hits, misses, false alarms

A call is a zone's rise to a level or beyond. A landslide is caught in time where the level stood on its day
(the map of a day with lag 1 knows no rain of that day), late where it stood on the day after only. An alarm
is false only where somebody looked that day and saw nothing; where nobody looked, nothing is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from exporters.layer import LEVEL_LABELS, ZoneWarning
from service.layer_basis import are_comparable
from service.ledger_levels import DayRecord
from service.rehearse_events import Happened, ZoneDay
from service.settings_warnings import WarningSettings
from service.warnings import decide, figures_of, incomparable

_YEAR = 365.25
_NEVER = datetime.fromtimestamp(0, UTC)  # a rehearsal decides nothing


@dataclass(frozen=True)
class ZonePast:
    """Levels of one zone on the days with a map, oldest first; None: not known."""

    zone: str
    name: str
    levels: dict[date, int | None]
    # Days on which the level that was decided then, by the thresholds of then, is another one.
    decided_otherwise: int = 0

    def rises(self, level: int) -> list[date]:
        """Return the days on which the zone rose to `level` or beyond."""
        found, below = [], True
        for day, value in self.levels.items():
            stands = (value or 0) >= level
            if stands and below:
                found.append(day)
            below = not stands
        return found

    def stands(self, level: int, day: date) -> bool | None:
        """Whether the level, or a higher one, stood on a day; None where that is not known."""
        value = self.levels.get(day)
        return None if value is None else value >= level


@dataclass(frozen=True)
class Judged:
    """How a level met what happened; events are zones' days with landslides, however many."""

    in_time: int = 0
    late: int = 0  # only on the day after
    missed: int = 0
    not_known: int = 0  # no level on that day
    false_alarms: int = 0  # the level stood where somebody looked and saw nothing
    rightly_quiet: int = 0  # it did not, there


@dataclass(frozen=True)
class LevelResult(Judged):
    """What one level, or a higher one, would have done over the whole region."""

    level: str = ""
    calls: int = 0  # rises of zones
    calls_a_year: float = 0.0
    days_with_a_call: int = 0  # one storm calls for many zones at once
    days_with_a_call_a_year: float = 0.0
    zone_days: int = 0  # on which it stood


@dataclass(frozen=True)
class ZoneResult:
    """What would have been said of one zone."""

    zone: str
    name: str
    days: dict[str, int]  # by level, "unknown" among them
    calls: dict[str, int]
    events: int
    judged: dict[str, Judged] = field(default_factory=dict)


@dataclass(frozen=True)
class Rehearsal:
    """The whole of it."""

    since: date | None  # of the first day with a map
    until: date | None
    days: int  # with a map
    events: int  # zones' days with landslides
    landslides: int
    visits: int  # zones' days on which somebody looked and saw nothing
    outside: int  # landslides and visits in no zone, of any day
    decided_otherwise: int
    levels: tuple[LevelResult, ...]
    zones: tuple[ZoneResult, ...]
    notes: tuple[str, ...] = ()


def replay(records: Sequence[DayRecord], settings: WarningSettings) -> dict[str, ZonePast]:
    """Decide the levels again, day after day, with these thresholds. Records are the oldest first.

    What an earlier revision of a day said is not replayed: each day has the revision that stands.
    """
    names: dict[str, str] = {}
    levels: dict[str, dict[date, int | None]] = {}
    otherwise: dict[str, int] = {}
    before: dict[str, ZoneWarning] = {}
    basis: Mapping[str, str] = {}
    for record in records:
        same = are_comparable(record.basis, basis)
        decided = {item.zone: item.level for item in record.warnings}
        now = {}
        for figures in figures_of(record.areas):
            zone = figures.zone
            earlier = before.get(zone)
            if earlier is not None and not same:
                earlier = incomparable(earlier)
            now[zone] = decide(figures, settings, earlier, decided_at=_NEVER)
            names[zone] = figures.name
            levels.setdefault(zone, {})[record.day] = now[zone].level
            differs = zone in decided and decided[zone] != now[zone].level
            otherwise[zone] = otherwise.get(zone, 0) + differs
        before, basis = now, record.basis
    return {zone: ZonePast(zone, names[zone], levels[zone], otherwise[zone]) for zone in levels}


def judge(past: Mapping[str, ZonePast], happened: Happened, notes: Sequence[str] = ()) -> Rehearsal:
    """Count calls, and hold them against what happened on the days with a map."""
    days = sorted({day for zone in past.values() for day in zone.levels})
    inside = happened.within(days[0], days[-1]) if days else Happened({}, frozenset(), 0, ())
    years = len(days) / _YEAR
    zones = tuple(_zone_result(zone, inside) for zone in past.values())
    levels = []
    for level, label in _levels():
        rises = [day for zone in past.values() for day in zone.rises(level)]
        whole = _judge(past, inside.landslides, inside.quiet, level)
        levels.append(
            LevelResult(
                **vars(whole),
                level=label,
                calls=len(rises),
                calls_a_year=len(rises) / years if years else 0.0,
                days_with_a_call=len(set(rises)),
                days_with_a_call_a_year=len(set(rises)) / years if years else 0.0,
                zone_days=sum(
                    (value or 0) >= level for zone in past.values() for value in zone.levels.values()
                ),
            )
        )
    return Rehearsal(
        since=days[0] if days else None,
        until=days[-1] if days else None,
        days=len(days),
        events=len(inside.landslides),
        landslides=sum(inside.landslides.values()),
        visits=len(inside.quiet),
        outside=happened.outside,
        decided_otherwise=sum(zone.decided_otherwise for zone in past.values()),
        levels=tuple(levels),
        zones=zones,
        notes=(*notes, *happened.notes),
    )


def _zone_result(zone: ZonePast, happened: Happened) -> ZoneResult:
    landslides = {item: count for item, count in happened.landslides.items() if item.zone == zone.zone}
    quiet = frozenset(item for item in happened.quiet if item.zone == zone.zone)
    days = {"unknown": sum(value is None for value in zone.levels.values())}
    for number, label in enumerate(LEVEL_LABELS):
        days[label] = sum(value == number for value in zone.levels.values())
    return ZoneResult(
        zone=zone.zone,
        name=zone.name,
        days=days,
        calls={label: len(zone.rises(level)) for level, label in _levels()},
        events=len(landslides),
        judged={label: _judge({zone.zone: zone}, landslides, quiet, level) for level, label in _levels()},
    )


def _judge(
    past: Mapping[str, ZonePast], landslides: Mapping[ZoneDay, int], quiet: frozenset[ZoneDay], level: int
) -> Judged:
    counts = dict.fromkeys(vars(Judged()), 0)
    for at in landslides:
        zone = past.get(at.zone)
        on_the_day = zone.stands(level, at.day) if zone else None
        day_after = zone.stands(level, at.day + timedelta(days=1)) if zone else None
        if on_the_day:
            counts["in_time"] += 1
        elif day_after:
            counts["late"] += 1
        elif on_the_day is None:
            counts["not_known"] += 1
        else:
            counts["missed"] += 1
    for at in quiet:
        zone = past.get(at.zone)
        stood = zone.stands(level, at.day) if zone else None
        if stood is not None:
            counts["false_alarms" if stood else "rightly_quiet"] += 1
    return Judged(**counts)


def _levels() -> list[tuple[int, str]]:
    return list(enumerate(LEVEL_LABELS))[1:]
