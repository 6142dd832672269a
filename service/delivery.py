"""Exporters brought up to date: each gets what it missed, in order; none waits for another.

A round asks each exporter what its target holds, puts back into the outbox what the target lacks, delivers
what is pending, then sends the gauges' bulletin and what became of events, and takes in reports from the
field. It stops at the first thing that does not get through, so that a target that is away costs one attempt
to reach it. Each exporter has a lock of its own, and none needs the region's: a refresh or an ingest may run
beside a delivery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import TypeVar

import structlog

from exporters.base import (
    Exporter,
    ExportRefused,
    ExportUnavailable,
    KnowsItsLayers,
    TakesBulletins,
    TakesOutcomes,
)
from exporters.folder import FolderExporter
from exporters.gauges import Bulletin
from exporters.layer import LayerStatus
from service.bulletin import bulletin_digest, make_bulletin
from service.errors import LockedError
from service.ledger import Ledger
from service.ledger_rows import Delivery
from service.lock import exclusive
from service.outbox import DeliveryAct
from service.outcomes import outcomes_digest, read_outcomes
from service.proposals import GathersReports
from service.readings import Archive
from service.settings import Settings
from service.settings_outlets import FolderExporter as FolderSettings
from service.settings_outlets import PostgisExporter as PostgisSettings
from service.workshop import archive_path, ledger_path

ExporterSettings = FolderSettings | PostgisSettings

_T = TypeVar("_T")
_LONGEST_WAIT = timedelta(hours=1)
# One that takes the same bulletin again is spared it for so long.
_BULLETIN_HOLDS = timedelta(hours=1)

log = structlog.get_logger()


@dataclass(frozen=True)
class Visit:
    """What one exporter got in one round."""

    exporter: str
    delivered: int = 0
    put_back: int = 0  # layers that its target lacked although the ledger knows better
    reports: int = 0
    problem: str | None = None  # why it has not all that it should have


def open_exporters(settings: Settings) -> tuple[Exporter, ...]:
    """Return the exporters that the settings name. Nothing is connected to yet."""
    return tuple(_open(section, settings) for section in settings.exporters)


def exporter_names(settings: Settings) -> list[str]:
    """Name the exporters of the settings."""
    return [section.name for section in settings.exporters]


def deliver_lock_path(settings: Settings, exporter: str) -> Path:
    """The lock that whoever delivers to an exporter holds."""
    return settings.data_dir / f"deliver-{exporter}.lock"


def deliver_all(
    settings: Settings, clock: Callable[[], datetime], purpose: str, only: str | None = None
) -> list[Visit]:
    """Bring all exporters (or one) up to date. One that somebody else is busy with is left to them."""
    visits = []
    with (
        Ledger(ledger_path(settings), clock) as ledger,
        Archive(archive_path(settings), clock, make=False) as archive,
    ):
        bulletin = cache(lambda: make_bulletin(settings, archive, clock()))
        for exporter in open_exporters(settings):
            if only is not None and exporter.name != only:
                continue
            try:
                with exclusive(deliver_lock_path(settings, exporter.name), purpose):
                    visits.append(visit(ledger, exporter, clock(), bulletin))
            except LockedError as error:
                visits.append(Visit(exporter.name, problem=str(error)))
    return visits


def take_in_reports(settings: Settings, clock: Callable[[], datetime]) -> list[Visit]:
    """Take in reports from each exporter that gathers some. No lock: a report is known by its uid."""
    visits = []
    with Ledger(ledger_path(settings), clock) as ledger:
        for exporter in open_exporters(settings):
            if not isinstance(exporter, GathersReports):
                continue
            try:
                count = _reach(exporter.name, "reports", partial(fetch_reports, ledger, exporter))
                visits.append(Visit(exporter.name, reports=count))
            except _Waits as waits:
                visits.append(Visit(exporter.name, problem=str(waits)))
    return visits


def visit(ledger: Ledger, exporter: Exporter, now: datetime, bulletin: Callable[[], Bulletin]) -> Visit:
    """Bring one exporter up to date; `bulletin` is asked only if it takes one. Its lock is held."""
    name = exporter.name
    done = deliver_pending(ledger, exporter, now)
    if done.problem is not None:
        return done
    # A bulletin that does not get through is made anew by the next round; a layer never waits for it.
    try:
        if isinstance(exporter, TakesBulletins):
            _reach(name, "bulletin", partial(_send_bulletin, ledger, name, exporter, bulletin, now))
        if isinstance(exporter, TakesOutcomes):
            _reach(name, "events", partial(_send_outcomes, ledger, name, exporter, now))
        if isinstance(exporter, GathersReports):
            done = replace(done, reports=_reach(name, "reports", partial(fetch_reports, ledger, exporter)))
    except _Waits as waits:
        return replace(done, problem=str(waits))
    return done


def deliver_pending(ledger: Ledger, exporter: Exporter, now: datetime) -> Visit:
    """Deliver what an exporter lacks, until nothing is left or something does not get through.

    An exporter that is unavailable keeps its place in the queue and is tried again later; one that refuses
    for good has that entry parked, counted and named in the log.
    """
    done = Visit(exporter.name)
    first = ledger.outbox.next(exporter.name)
    if first is not None and first.retry_at is not None and first.retry_at > now:
        return replace(done, problem=f"waits until {first.retry_at:%Y-%m-%d %H:%M} UTC: {first.last_error}")
    if isinstance(exporter, KnowsItsLayers):
        try:
            held = _reach(exporter.name, "holdings", exporter.holdings)
        except _Waits as waits:
            if first is not None:
                # Trying the delivery as well would wait for the same target a second time.
                _postpone(ledger, first, str(waits), now)
            return replace(done, problem=str(waits))
        done = replace(done, put_back=put_back(ledger, exporter.name, held))
    while (delivery := ledger.outbox.next(exporter.name)) is not None:
        try:
            count = _deliver(ledger, exporter, delivery, now)
        except _Waits as waits:
            return replace(done, problem=str(waits))
        done = replace(done, delivered=done.delivered + count)
    return done


def put_back(ledger: Ledger, exporter: str, held: Mapping[str, LayerStatus]) -> int:
    """Put into the outbox what a target should have and, by what it `held`, has not; return how many entries.

    That is the layer shown for each day and lead, as far as its files are kept; and the withdrawal of what
    the target shows although it was withdrawn, or although the layer that took its place was. What waits
    or is parked already stays as it is. So a target that was restored from a backup, or is new, is caught up.
    """
    entries: list[tuple[str, DeliveryAct, datetime]] = []
    with ledger.transaction():
        entries_open = ledger.outbox.open(exporter)
        waiting = {(entry.layer_id, entry.act) for entry in entries_open}
        coming = {entry.layer_id for entry in entries_open if entry.act == "deliver" and not entry.parked}
        standings = ledger.standings()
        # Days that show nothing, and whose newest layer the target never heard of and will not soon.
        emptied = {
            (layer.day, layer.lead): layer.withdrawn_at
            for layer in standings
            if layer.newest
            and layer.withdrawn_at is not None
            and layer.id not in held
            and layer.id not in coming
        }
        for layer in standings:
            status = held.get(layer.id)
            if status is None:
                if layer.shown and layer.removed_at is None and (layer.id, "deliver") not in waiting:
                    entries.append((layer.id, "deliver", layer.issued_at))
                continue
            withdrawn_at = layer.withdrawn_at or emptied.get((layer.day, layer.lead))
            if (
                withdrawn_at is not None
                and status != LayerStatus.WITHDRAWN
                and (layer.id, "withdraw") not in waiting
            ):
                entries.append((layer.id, "withdraw", withdrawn_at))
        for identity, act, moment in sorted(entries, key=lambda entry: entry[2]):
            ledger.outbox.put(identity, act, [exporter], since=moment)
        if entries:
            ledger.outbox.forget_bulletin(exporter)
            ledger.outbox.forget_bulletin(_outcomes_of(exporter))
    if entries:
        log.warning("target lacks layers that the ledger knows", exporter=exporter, put_back=len(entries))
    return len(entries)


def fetch_reports(ledger: Ledger, exporter: GathersReports) -> int:
    """Take in reports from the field that are not known yet; return how many. Raises as `deliver` does."""
    known = ledger.proposals.newest(exporter.name)
    reports = exporter.new_reports(known[0] - 1 if known else 0)
    if known is not None and known[1] not in {str(report.uid) for report in reports}:
        # The newest report that we know is gone: the table was restored from a backup, and its numbers
        # start again further down.
        reports = exporter.new_reports(0)
    with ledger.transaction():
        return ledger.proposals.receive(exporter.name, reports)


def _send_bulletin(
    ledger: Ledger, name: str, exporter: TakesBulletins, make: Callable[[], Bulletin], now: datetime
) -> None:
    bulletin = make()
    digest = bulletin_digest(bulletin)
    sent = ledger.outbox.bulletin_sent(name)
    if sent is not None and sent[0] == digest and now - sent[1] < _BULLETIN_HOLDS:
        return
    exporter.deliver_bulletin(bulletin)
    ledger.outbox.note_bulletin(name, digest)


def _send_outcomes(ledger: Ledger, name: str, exporter: TakesOutcomes, now: datetime) -> None:
    outcomes = read_outcomes(ledger)
    digest = outcomes_digest(outcomes)
    sent = ledger.outbox.bulletin_sent(_outcomes_of(name))
    if sent is not None and sent[0] == digest and now - sent[1] < _BULLETIN_HOLDS:
        return
    exporter.deliver_outcomes(outcomes)
    ledger.outbox.note_bulletin(_outcomes_of(name), digest)


def _outcomes_of(exporter: str) -> str:
    """What the ledger's list of bulletins calls the events of an exporter: no exporter's name has a space."""
    return f"{exporter} events"


def _deliver(ledger: Ledger, exporter: Exporter, delivery: Delivery, now: datetime) -> int:
    """Try one entry; return how many were delivered, 0 for one that was parked. Raises _Waits."""
    layer = ledger.layer(delivery.layer_id)
    if layer is None:
        ledger.outbox.failed(delivery, f"layer {delivery.layer_id} is not in the ledger", None)
        return 0
    act = exporter.deliver if delivery.act == "deliver" else exporter.withdraw
    try:
        _reach(exporter.name, layer.id, lambda: act(layer))
    except _Refused as error:
        log.error("export parked", exporter=exporter.name, layer=layer.id, reason=str(error))
        ledger.outbox.failed(delivery, str(error), None)
        return 0
    except _Waits as waits:
        _postpone(ledger, delivery, str(waits), now)
        raise
    ledger.outbox.delivered(delivery)
    return 1


class _Waits(Exception):
    """Nothing gets through to this exporter for now; the message says why."""


class _Refused(_Waits):
    """The target will not take it however often it is tried."""


def _reach(exporter: str, what: str, act: Callable[[], _T]) -> _T:
    """Let an exporter do something; every failure is a _Waits, and is in the log."""
    try:
        return act()
    except ExportRefused as error:
        log.warning("export refused", exporter=exporter, what=what, reason=str(error))
        raise _Refused(str(error)) from error
    except (ExportUnavailable, OSError) as error:
        log.warning("export waits", exporter=exporter, what=what, reason=str(error))
        raise _Waits(str(error)) from error
    except Exception as error:
        # A mistake of ours in one exporter must neither stop the others nor fail the round.
        log.exception("export failed unexpectedly", exporter=exporter, what=what)
        raise _Waits(f"{type(error).__name__}: {error}") from error


def _postpone(ledger: Ledger, delivery: Delivery, reason: str, now: datetime) -> None:
    wait = min(timedelta(minutes=2 ** min(delivery.attempts, 6)), _LONGEST_WAIT)
    ledger.outbox.failed(delivery, reason, now + wait)


def _open(section: ExporterSettings, settings: Settings) -> Exporter:
    if isinstance(section, FolderSettings):
        return FolderExporter(section.name, section.path)
    from service.postgis import open_postgis  # psycopg is loaded where it is used

    return open_postgis(section, settings)
