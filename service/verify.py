"""How good the maps on display were: each dated landslide held against the map before it.

1. What happened, and where somebody looked: the inventory (`Ledger.events`).
2. Which map was on display on each of those days (`Ledger.displays`), or (`rebuild`) would have been.
3. Each of those layers is read once, into counts.
4. Landslides become hits and misses, levels are held against zones and days, and all of it one record.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Literal

import structlog

from exporters.event import Event
from exporters.verification import Outcome, Verification
from service.errors import StorageError, UsageError
from service.files import digest_of
from service.ledger import Ledger
from service.ledger_displays import Display
from service.progress import ProgressCallback
from service.region import Region, open_region
from service.settings import Settings
from service.verify_events import days_of, judge_event, judge_events
from service.verify_ground import Footprint, LookedGround, footprint_of, zone_finder
from service.verify_kept import KeptValues
from service.verify_levels import Span, days_between
from service.verify_rates import LookedDay
from service.verify_rebuild import rebuild_days
from service.verify_record import Evidence, Heading, Rule, make_record
from service.verify_values import DayValues, read_values

# Raised whenever the same inputs would give other figures.
_METHOD = 1
_DEFAULT_WINDOW_DAYS = 3  # without [detection], as there

Of = Literal["display", "challenger"]
Values = Mapping[date, DayValues | str]

log = structlog.get_logger()


def verify(
    settings: Settings,
    ledger: Ledger,
    clock: Callable[[], datetime],
    *,
    layers: Ledger | None = None,
    settings_path: Path | None = None,
    rebuild: bool = False,
    since: date | None = None,
    until: date | None = None,
    progress: ProgressCallback | None = None,
) -> Verification:
    """Return how the maps did from `since` to `until`: by default from the first map to the newest landslide.

    `layers` is the challenger's ledger where its maps are judged; the inventory is always `ledger`'s. With
    `rebuild` (and `settings_path`), maps that are missing are made again as of their day, under replays/.

    Raises UsageError for a rebuild of a challenger's maps, LockedError where a rebuild finds the region busy,
    RegionError for a region that cannot be opened.
    """
    if rebuild and (layers is not None or settings_path is None):
        raise UsageError("--rebuild makes maps of the model on display; it cannot rebuild a challenger's")
    shown, rule = layers or ledger, _rule(settings)
    first, last = _span(ledger, shown, since, until, all_events=rebuild)
    events = ledger.events.all("landslide", first, last)
    looks = ledger.events.looks(first, last)
    early = len(ledger.events.all("landslide", until=until)) - len(events) if since is None else 0
    displays = shown.displays.between(first or date.min, last or date.max, settings.timezone)
    wanted = sorted({day for event in events for day in days_of(event, rule.max_window_days)})
    if rebuild and settings_path is not None:
        displays |= rebuild_days(
            settings, settings_path, ledger, clock, [displays.get(day, Display(day)) for day in wanted]
        )
    region = open_region(settings)
    with LookedGround.of(looks, region) as looked:
        reader = _Reader(shown.path.parent, region, events, looked, rule, progress)
        values = reader.read(displays)
        zone_at = zone_finder(region)
        zones = {event.uid: zone_at(event.lon, event.lat) for event in events}
        judged = judge_events(events, displays, values, zones, rule.max_window_days)
        evidence = Evidence(
            events=tuple(events),
            judged=judged,
            displays=displays,
            looked=tuple(_looked_days(values, displays)),
            seen=_seen(events, looked, reader.footprints),
            looked_spans=_zone_looks(looked, first, last),
            looks=len(looks),
            zones=tuple((zone.id, zone.name) for zone in region.zones) or (("", settings.region.name),),
            leads=_by_lead(shown, settings, reader, zones, first, last),
            maps_lost=_maps_lost(looked, displays, values),
        )
        if since is None and until is None:
            reader.kept.sweep()
    notes = [f"landslides before the first map, which are left out: {early}"] if early > 0 else []
    heading = Heading(
        region=settings.region.id,
        made_at=clock(),
        since=first,
        until=last,
        of="challenger" if layers is not None else "display",
        synthetic=settings.region.synthetic,
        digest=news_digest(settings, ledger, layers, since=since, until=until, rebuild=rebuild),
        notes=tuple(notes),
    )
    return make_record(heading, evidence, rule)


def news_digest(
    settings: Settings,
    ledger: Ledger,
    layers: Ledger | None = None,
    *,
    since: date | None = None,
    until: date | None = None,
    rebuild: bool = False,
) -> str:
    """Return what changes whenever a verification would: 64 hex digits. Reads no layer."""
    rule = _rule(settings)
    zones = settings.zones.path if settings.zones else None
    return digest_of(
        _METHOD,
        [event.model_dump(mode="json") for event in ledger.events.all("landslide")],
        [look.model_dump(mode="json") for look in ledger.events.looks()],
        (layers or ledger).displays.state(),
        [rule.max_window_days, rule.event_limits, rule.cell_km2],
        zones.stat().st_mtime_ns if zones is not None and zones.exists() else None,
        [since, until, rebuild],
    )


@dataclass
class _Reader:
    """Reads each layer that an event or a look asks for, once, or takes what was read of it before."""

    folder: Path  # of the data
    region: Region
    events: Sequence[Event]
    looked: LookedGround
    rule: Rule
    progress: ProgressCallback | None

    def __post_init__(self) -> None:
        self.kept = KeptValues(self.folder)
        found = {event.uid: footprint_of(event, self.region.grid) for event in self.events}
        self.footprints = {uid: item for uid, item in found.items() if item is not None}
        self._by_day: dict[date, dict[str, Footprint]] = {}
        for event in self.events:
            if event.uid in self.footprints:
                for day in days_of(event, self.rule.max_window_days):
                    self._by_day.setdefault(day, {})[event.uid] = self.footprints[event.uid]

    def read(self, displays: Mapping[date, Display], *, whole: bool = True) -> Values:
        """Return values by day. Without `whole`, only the landslides' own ground, as for forecasts."""
        days = set(self._by_day)
        if whole:
            days |= {day for span in self.looked.spans for day in days_between(span.day_from, span.day)}
        wanted = sorted(days & displays.keys())
        found: dict[date, DayValues | str] = {}
        for number, day in enumerate(wanted, start=1):
            found[day] = self._one(displays[day], whole=whole)
            if self.progress is not None:
                self.progress(number, len(wanted))
        return found

    def _one(self, display: Display, *, whole: bool) -> DayValues | str:
        if display.scheme is None:
            return display.why
        high = display.scheme.codes[1]
        footprints = self._by_day.get(display.day, {})
        spans = self.looked.on(display.day) if whole else []
        with_ground = whole and bool(footprints)
        key = digest_of(
            [_METHOD, display.layer_id, display.digest, high, with_ground, self.region.mask_digest],
            {uid: item.digest for uid, item in footprints.items()},
            [span.digest for span in spans],
        )
        # Also of a layer whose files retention has removed since: what was counted of it stays counted.
        values = self.kept.get(key)
        if values is None:
            if display.folder is None:
                return display.why
            try:
                values = read_values(
                    display.folder,
                    self.region.grid,
                    high,
                    footprints,
                    self.looked,
                    spans,
                    with_ground=with_ground,
                )
            except StorageError as error:
                # What is returned is published; where the data lie is not.
                log.warning("map cannot be used", layer=display.layer_id, reason=str(error))
                return f"the files of {display.layer_id} cannot be read, or lie on other cells than the grid"
            self.kept.put(key, values)
        return values


def _rule(settings: Settings) -> Rule:
    window = settings.detection.max_window_days if settings.detection else _DEFAULT_WINDOW_DAYS
    return Rule(
        max_window_days=window,
        event_limits=settings.verification.event_limits,
        cell_km2=settings.grid.cell_size_m**2 / 1e6,
    )


def _span(
    ledger: Ledger, shown: Ledger, since: date | None, until: date | None, *, all_events: bool
) -> tuple[date | None, date | None]:
    """First and last day that count. Before the first map only a rebuild can say anything."""
    days = [day for event in ledger.events.all("landslide") for day in (event.day_from, event.day)]
    mapped = shown.displays.span()
    firsts = [mapped[0]] if mapped else []
    lasts = [mapped[1]] if mapped else []
    if all_events or not mapped:
        firsts += days
    lasts += days
    return since or min(firsts, default=None), until or max(lasts, default=None)


def _looked_days(values: Values, displays: Mapping[date, Display]) -> list[LookedDay]:
    found = []
    for day, item in sorted(values.items()):
        scheme = displays[day].scheme
        if isinstance(item, DayValues) and scheme is not None and item.looked.any():
            found.append(LookedDay(day, item.looked, scheme))
    return found


def _maps_lost(looked: LookedGround, displays: Mapping[date, Display], values: Values) -> int:
    """Count days that somebody looked at whose map was on display and cannot be read any more."""
    days = {day for span in looked.spans for day in days_between(span.day_from, span.day)}
    shown = (day for day in days & displays.keys() if displays[day].scheme is not None)
    return sum(not isinstance(values.get(day), DayValues) for day in shown)


def _seen(
    events: Sequence[Event], looked: LookedGround, footprints: Mapping[str, Footprint]
) -> frozenset[str]:
    """Landslides on ground, and within days, that somebody looked at."""
    return frozenset(
        event.uid
        for event in events
        if event.uid in footprints
        and any(
            span.covers(event.day_from, event.day) and looked.holds(span, *footprints[event.uid].centre)
            for span in looked.spans
        )
    )


def _zone_looks(looked: LookedGround, first: date | None, last: date | None) -> dict[str, frozenset[Span]]:
    found: dict[str, set[Span]] = {}
    for span in looked.spans:
        within = max(span.day_from, first or date.min), min(span.day, last or date.max)
        for zone in span.zones:
            found.setdefault(zone, set()).add(within)
    return {zone: frozenset(spans) for zone, spans in found.items()}


def _by_lead(
    shown: Ledger,
    settings: Settings,
    reader: _Reader,
    zones: Mapping[str, str | None],
    first: date | None,
    last: date | None,
) -> dict[int, tuple[Outcome, ...]]:
    """Judge forecasts as nowcasts are judged: those of a landslide's day that were issued before it."""
    found = {}
    for lead in shown.displays.leads():
        all_of = shown.displays.between(first or date.min, last or date.max, settings.timezone, lead=lead)
        displays = {day: display for day, display in all_of.items() if not display.hindsight}
        values = reader.read(displays, whole=False)
        found[lead] = tuple(
            judge_event(
                event, displays, values, zones[event.uid], reader.rule.max_window_days
            ).verified.outcome
            for event in reader.events
        )
    return found
