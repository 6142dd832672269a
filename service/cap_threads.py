"""Which warnings stand, and what therefore has to be sent: Alert, Update or Cancel, one thread for each.

A thread begins when a zone reaches the level from which messages are sent, in the nowcast on display or in a
current forecast, and ends when none of them says so any longer. Not knowing ends nothing: where the map is
old, or a zone's level is unknown, what was known last stands and says that it is the last known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta

import structlog

from exporters.cap import CapBasis, CapMessage
from exporters.layer import Layer, LayerStatus, ZoneWarning
from service.cap_writing import Ending, Part, Writer
from service.display import forecasts_shown
from service.drills import Drill
from service.due import due_at
from service.errors import ColluviumError
from service.ledger import Ledger
from service.region import Zone, make_grid, read_zones
from service.settings import Settings

# A map may be late by so much before receivers drop what it said; the service looks every hour.
GRACE = timedelta(hours=3)
# What is known last is sent again for so long, until something newer is known.
HOLD = timedelta(hours=12)
RENEW_BEFORE = timedelta(hours=2)
# What is older than this when it is first seen begins no thread.
_TOO_OLD_TO_BEGIN = timedelta(days=1)

log = structlog.get_logger()


@dataclass(frozen=True)
class _Standing:
    """What stands for one zone: parts in order of their days, and what its level is known for."""

    name: str
    parts: tuple[Part, ...]
    judged: bool  # by the nowcast on display; a model that may not warn judges nothing
    known_days: frozenset[date]  # of forecasts that know the zone's level
    known_until: date  # day of the nowcast on display, where it knows the zone's level


def keep_cap(settings: Settings, ledger: Ledger) -> list[CapMessage]:
    """Send what has to be sent and return it. A failure is in the log, and the next call makes up for it."""
    if settings.cap is None:
        return []
    try:
        zones = read_zones(settings.zones, make_grid(settings)) if settings.zones else ()
        return bring_cap_up_to_date(ledger, settings, zones, ledger.clock())
    except (ColluviumError, OSError, ValueError) as error:  # of values: what a message cannot carry
        log.error("no CAP messages were made; the next run tries again", reason=str(error))
        return []


def bring_cap_up_to_date(
    ledger: Ledger, settings: Settings, zones: Sequence[Zone], now: datetime
) -> list[CapMessage]:
    """Add the messages that the ledger's layers and drills call for, and return them; none is sent twice.

    Messages are made and kept in one transaction with what they were made from, so that a withdrawal beside
    a refresh is seen by one of both. Raises SettingsError for texts that cannot be used.
    """
    if settings.cap is None:
        return []
    writer = Writer(settings, zones, now)
    # Once before the lock: the writer then knows the zones' outlines, which take a minute where two hundred
    # rise at once, and whoever wants to withdraw or to hold meanwhile does not wait for them.
    if not _called_for(ledger, settings, writer, now):
        return []
    with ledger.transaction():
        made = _called_for(ledger, settings, writer, now)
        for message in made:
            ledger.cap.add(message)
    for message in made:
        log.info("CAP message", identifier=message.identifier, kind=message.kind, status=message.status)
    return made


def _called_for(ledger: Ledger, settings: Settings, writer: Writer, now: datetime) -> list[CapMessage]:
    return [*_of_layers(ledger, settings, writer, now), *_of_drills(ledger, writer, now)]


def _of_layers(ledger: Ledger, settings: Settings, writer: Writer, now: datetime) -> list[CapMessage]:
    nowcast = ledger.latest()
    shown = forecasts_shown(ledger)
    last_of = {last.zone: last for last in ledger.cap.last_of_open_threads() if last.status != "Exercise"}
    made: list[CapMessage] = []
    for zone in _zones_of([nowcast, *shown], last_of):
        last = last_of.get(zone)
        standing = _standing(settings, zone, nowcast, shown, now)
        if last is not None:
            standing = _with_last_known(ledger, settings, standing, last, nowcast, now)
            if not writer.may_continue(last):
                made.append(writer.cancel(last, Ending.REPLACED, standing.name or last.area.description))
                last = None
        if standing.parts and last is None and _may_begin(standing.parts, now):
            made.append(writer.begin(zone, standing.name, standing.parts))
        elif standing.parts and last is not None and _has_news(ledger, last, standing.parts, now):
            made.append(writer.update(last, standing.name or last.area.description, standing.parts))
        elif not standing.parts and last is not None:
            name = standing.name or last.area.description
            made.append(writer.cancel(last, _why_ended(ledger, last, standing), name, nowcast))
    return made


def _zones_of(layers: Sequence[Layer | None], open_threads: dict[str, CapMessage]) -> list[str]:
    """Name the zones that layers or open threads speak of; the whole region only where it has no zones."""
    named = {warning.zone for layer in layers if layer is not None for warning in layer.warnings}
    return sorted((named - {""} or named) | set(open_threads))


def _standing(
    settings: Settings, zone: str, nowcast: Layer | None, shown: Sequence[Layer], now: datetime
) -> _Standing:
    found: dict[date, Part] = {}
    name, known_until, known_days = "", date.min, set()
    for layer in [*([nowcast] if nowcast else []), *shown]:
        warning = _warning(layer, zone)
        if warning is None:
            continue
        name = name or warning.name
        if warning.level is not None:
            if layer.lead:
                known_days.add(layer.day)
            else:
                known_until = layer.day
        part = _part(settings, layer, warning, now)
        if part is not None:
            found.setdefault(layer.day, part)
    judged = nowcast is None or _warning(nowcast, zone) is not None
    parts = tuple(found[day] for day in sorted(found))
    return _Standing(name, parts, judged, frozenset(known_days), known_until)


def _part(settings: Settings, layer: Layer, warning: ZoneWarning, now: datetime) -> Part | None:
    """Return what a layer's level calls for; None below the level from which messages are sent."""
    assert settings.cap is not None  # noqa: S101 - for the type checker
    if warning.level is None or warning.level < settings.cap.min_level:
        return None
    old = not layer.lead and now >= due_at(settings, layer)
    basis = CapBasis(
        layer_id=layer.id,
        day=layer.day,
        lead=layer.lead,
        level=warning.level,
        unconfirmed=warning.unconfirmed,
        last_known=old,
    )
    stands_until = layer.valid_to if layer.lead else due_at(settings, layer) + GRACE
    return Part(basis, layer.valid_from, _at_least(stands_until, now), layer, warning)


def _with_last_known(
    ledger: Ledger,
    settings: Settings,
    standing: _Standing,
    last: CapMessage,
    nowcast: Layer | None,
    now: datetime,
) -> _Standing:
    """Add what the last message said of days of which nothing newer is known, as the last known."""
    if not standing.judged:
        return standing
    days = {part.basis.day for part in standing.parts} | standing.known_days
    carried = []
    for basis in last.basis:
        layer = ledger.layer(basis.layer_id) if basis.layer_id else None
        if layer is None or layer.status == LayerStatus.WITHDRAWN:
            continue
        warning = _warning(layer, last.zone)
        if warning is None or basis.day <= standing.known_until or basis.day in days:
            continue
        if _is_over(ledger, last.zone, basis, nowcast):
            continue
        part = _part(settings, layer, warning, now)
        if part is not None:
            known_last = part.basis.model_copy(update={"last_known": True})
            carried.append(replace(part, basis=known_last, expires=_at_least(layer.valid_to, now)))
    parts = sorted([*standing.parts, *carried], key=lambda part: part.basis.day)
    return replace(standing, name=standing.name or last.area.description, parts=tuple(parts))


def _is_over(ledger: Ledger, zone: str, basis: CapBasis, nowcast: Layer | None) -> bool:
    """Tell whether what was said of a day has ended although the zone's level is not known now.

    A level goes down to "not known" where the cells that raised it are calm again and too few for green:
    nothing else takes it there. A forecast says nothing of the days after its own, once they have a map.
    """
    if nowcast is None or nowcast.day < basis.day:
        return False
    if basis.lead and nowcast.day > basis.day:
        return True
    since = [decided.of(zone) for decided in ledger.levels.changes(basis.day, nowcast.day)]
    return any(warning is not None and warning.level is None and warning.previous for warning in since)


def _may_begin(parts: Sequence[Part], now: datetime) -> bool:
    """Tell whether any part is young enough to wake somebody."""
    return any(
        not part.basis.last_known or now < part.onset + timedelta(days=1) + _TOO_OLD_TO_BEGIN
        for part in parts
    )


def _has_news(ledger: Ledger, last: CapMessage, parts: Sequence[Part], now: datetime) -> bool:
    """Tell whether the last message no longer says what stands, or will soon be dropped by receivers."""
    said = [_news_of(item) for item in last.basis]
    stands = [_news_of(part.basis) for part in parts]
    soon = min(info.expires for info in last.infos) - now < RENEW_BEFORE
    return said != stands or soon or _rests_on_withdrawn(ledger, last)


def _news_of(basis: CapBasis) -> tuple[object, ...]:
    """What readers are told at once when it changes; another revision, or a shorter lead, is no news."""
    return basis.day, basis.level, basis.lead > 0, basis.unconfirmed, basis.last_known


def _why_ended(ledger: Ledger, last: CapMessage, standing: _Standing) -> Ending:
    if _rests_on_withdrawn(ledger, last):
        return Ending.WITHDRAWN
    known = standing.known_until != date.min or bool(standing.known_days)
    return Ending.ENDED if standing.judged and known else Ending.UNJUDGED


def _rests_on_withdrawn(ledger: Ledger, message: CapMessage) -> bool:
    layers = (ledger.layer(item.layer_id) for item in message.basis if item.layer_id is not None)
    return any(layer is not None and layer.status == LayerStatus.WITHDRAWN for layer in layers)


def _of_drills(ledger: Ledger, writer: Writer, now: datetime) -> list[CapMessage]:
    last_of = {last.thread: last for last in ledger.cap.last_of_open_threads() if last.status == "Exercise"}
    made = []
    for drill in ledger.drills.all():
        thread = writer.thread_of(drill)
        running = drill.started_at <= now < drill.ends_at
        last = last_of.get(thread)
        if running and last is None and not ledger.cap.thread(thread):
            made.append(writer.begin_drill(drill, _part_of(drill, writer.day_of(drill.started_at))))
        elif not running and last is not None:
            made.append(writer.end_drill(last, drill))
    return made


def _part_of(drill: Drill, day: date) -> Part:
    basis = CapBasis(layer_id=None, day=day, lead=0, level=drill.level)
    return Part(basis, drill.started_at, drill.ends_at, None, None)


def _warning(layer: Layer, zone: str) -> ZoneWarning | None:
    return next((warning for warning in layer.warnings if warning.zone == zone), None)


def _at_least(moment: datetime, now: datetime) -> datetime:
    """Return a moment, or `HOLD` from now where it is past or nearly so."""
    return moment if moment - now >= RENEW_BEFORE else now + HOLD
