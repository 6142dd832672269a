"""From judged landslides, levels and looked ground to the record that every outlet shows. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from exporters.event import Event
from exporters.verification import LeadTally, Outcome, Verification, ZoneTally
from service.ledger_displays import Display
from service.verify_duration import duration_matrices
from service.verify_events import Judged, days_of
from service.verify_levels import Span, ZoneSpans, level_tallies
from service.verify_notes import notes_of, notes_on_maps
from service.verify_rates import (
    LookedDay,
    chance_rate,
    class_tallies,
    hit_rate,
    rate_curves,
    reliability,
    wilson,
)


@dataclass(frozen=True)
class Rule:
    """What decides how landslides are judged."""

    max_window_days: int
    event_limits: tuple[int, int, int]
    cell_km2: float


@dataclass(frozen=True)
class Evidence:
    """All that a verification rests on, read and reduced to counts."""

    events: tuple[Event, ...]  # landslides
    judged: tuple[Judged, ...]  # the same
    displays: Mapping[date, Display]
    looked: tuple[LookedDay, ...]
    seen: frozenset[str]  # uids of landslides in ground that was looked at
    looked_spans: Mapping[str, frozenset[Span]]  # by zone
    looks: int
    zones: tuple[tuple[str, str], ...]  # id and name; of a region without zones, one: ""
    leads: Mapping[int, Sequence[Outcome]]  # of forecasts, by lead
    maps_lost: int = 0  # days that somebody looked at whose map cannot be read


@dataclass(frozen=True)
class Heading:
    """What the record is of."""

    region: str
    made_at: datetime
    since: date | None
    until: date | None
    of: Literal["display", "challenger"]
    synthetic: bool
    digest: str
    notes: tuple[str, ...] = ()  # said beside those that follow from the evidence


def make_record(heading: Heading, evidence: Evidence, rule: Rule) -> Verification:
    """Return the whole record."""
    judged = evidence.judged
    outcomes = Counter(item.verified.outcome for item in judged)
    spans = {zone: _zone_spans(zone, evidence, rule) for zone, _ in evidence.zones}
    matrices = duration_matrices(spans.values(), rule.event_limits)
    newest = max(
        (item for item in evidence.displays.values() if item.model), key=lambda item: item.day, default=None
    )
    record = Verification(
        region=heading.region,
        made_at=heading.made_at,
        since=heading.since,
        until=heading.until,
        model=newest.model if newest else "",
        of=heading.of,
        synthetic=heading.synthetic,
        events=tuple(item.verified for item in judged),
        hits=outcomes["hit"],
        misses=outcomes["miss"],
        undecided=outcomes["undecided"],
        unknown=outcomes["unknown"],
        hit_rate=hit_rate(outcomes),
        hindsight=sum(
            item.verified.hindsight and item.verified.outcome in ("hit", "miss") for item in judged
        ),
        looks=evidence.looks,
        classes=class_tallies(judged, evidence.looked, evidence.seen, rule.cell_km2),
        levels=level_tallies(spans.values()),
        zones=tuple(_zone_tally(zone, name, judged, spans[zone]) for zone, name in evidence.zones),
        duration=matrices[0] if matrices else None,
        curves=rate_curves(judged),
        reliability=reliability(judged, evidence.looked, evidence.seen, rule.cell_km2),
        notes=(),
        chance_hit_rate=chance_rate(judged),
        duration_classical=matrices[1] if matrices else None,
        leads=_leads(evidence.leads, outcomes),
        maps=sum(item.layer_id is not None for item in evidence.displays.values()),
        digest=heading.digest,
    )
    warns = any(item.may_warn for item in evidence.displays.values())
    late = sum(item.hindsight and bool(item.levels) for item in evidence.displays.values())
    notes = (
        *heading.notes,
        *notes_of(record, may_warn=warns, seen=evidence.seen),
        *notes_on_maps(late_levels=late, maps_lost=evidence.maps_lost),
    )
    return record.model_copy(update={"notes": notes})


def _zone_spans(zone: str, evidence: Evidence, rule: Rule) -> ZoneSpans:
    inside = {item.verified.uid for item in evidence.judged if item.verified.zone == zone}
    here = [event for event in evidence.events if event.uid in inside]
    known = [event for event in here if days_of(event, rule.max_window_days)]
    counts = Counter((event.day_from, event.day) for event in known)
    return ZoneSpans(
        levels={
            day: item.levels[zone]
            for day, item in evidence.displays.items()
            if zone in item.levels  # one that is not known is absent
        },
        landslides=frozenset(counts),
        unclear=frozenset((event.day_from, event.day) for event in here) - frozenset(counts),
        looked=evidence.looked_spans.get(zone, frozenset()),
        counts=dict(counts),
    )


def _zone_tally(zone: str, name: str, judged: Iterable[Judged], spans: ZoneSpans) -> ZoneTally:
    outcomes = Counter(item.verified.outcome for item in judged if item.verified.zone == zone)
    return ZoneTally(
        zone=zone,
        name=name,
        landslides=outcomes.total(),
        hits=outcomes["hit"],
        misses=outcomes["miss"],
        unknown=outcomes["unknown"] + outcomes["undecided"],
        levels=level_tallies([spans]),
    )


def _leads(leads: Mapping[int, Sequence[Outcome]], nowcast: Mapping[Outcome, int]) -> tuple[LeadTally, ...]:
    """Return tallies by lead, the nowcast's first; none where no forecast was ever made."""
    if not leads:
        return ()
    counted = {0: Counter(nowcast), **{lead: Counter(outcomes) for lead, outcomes in sorted(leads.items())}}
    return tuple(
        LeadTally(
            lead=lead,
            hits=count["hit"],
            misses=count["miss"],
            hit_rate=wilson(count["hit"], count["hit"] + count["miss"]),
        )
        for lead, count in counted.items()
    )
