"""How long layers stay on the local disk: all for a while, then one in so many days, or none.

The ledger keeps its row of every layer for ever; `removed_at` says since when the files are gone. A layer is
marked first and removed afterwards, so that a run that is killed between leaves something for the next one
to finish, and never a row that promises files.
"""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Collection, Iterable
from datetime import date, timedelta
from pathlib import Path
from uuid import uuid4

import structlog

from service.ledger import Ledger
from service.ledger_rows import Standing
from service.settings import RetentionSettings

# What a change over seven days is counted from.
_NEEDED_DAYS = 8

log = structlog.get_logger()


def retire_layers(
    ledger: Ledger, retention: RetentionSettings, today: date, *, also: Collection[date] = ()
) -> int:
    """Remove the files of layers that are past their time; return how many. Needs the region's lock.

    `also` are days on which something happened that another ledger tells of.
    """
    if retention.layer_days is not None:
        # In one transaction with what it rests on: a withdrawal or a delivery cannot come between.
        with ledger.transaction():
            ledger.mark_removed([layer.id for layer in past_their_time(ledger, retention, today, also)])
    return remove_marked(ledger)


def past_their_time(
    ledger: Ledger, retention: RetentionSettings, today: date, also: Collection[date] = ()
) -> list[Standing]:
    """Return the layers whose files may go, oldest day first.

    Days count back from the newest layer, not from today: while nothing new is made, nothing old goes.
    What is undelivered, what a person, a warning, a report, a detection or an event refers to, and the newest
    layer are never among them.
    """
    latest = ledger.latest()
    if retention.layer_days is None or latest is None:
        return []
    end = min(today, latest.day)
    first = end - timedelta(days=max(retention.layer_days, _NEEDED_DAYS))
    old = [layer for layer in ledger.standings() if layer.day < first and layer.removed_at is None]
    stay = _undelivered(ledger) | _cited(ledger, old, also) | {latest.id}
    if retention.thin_to_days is not None:
        stay |= _one_in(retention.thin_to_days, old)
    return [layer for layer in old if layer.id not in stay]


def remove_marked(ledger: Ledger) -> int:
    """Remove the folders of layers that are marked as removed; return how many there still were."""
    count = 0
    for folder in sorted(Path(path) for path in ledger.removed_folders()):
        if not folder.is_dir():
            continue
        # Renamed first: a reader finds the whole layer or none, and a sweep knows the name for rubbish.
        rubbish = folder.with_name(f".{uuid4().hex[:12]}.part")
        with ledger.transaction():  # a withdrawal may be writing into it
            folder.rename(rubbish)
        shutil.rmtree(rubbish)
        with contextlib.suppress(OSError):  # other revisions of the day
            folder.parent.rmdir()
        count += 1
    if count:
        log.info("old layers removed from the local disk", layers=count)
    return count


def _undelivered(ledger: Ledger) -> set[str]:
    return {entry.layer_id for entry in ledger.outbox.open()}


def days_of_events(ledger: Ledger) -> set[date]:
    """Return the days on which something was seen to happen, or may have happened."""
    return ledger.proposals.days() | ledger.detections.days() | ledger.events.days()


def _cited(ledger: Ledger, layers: Iterable[Standing], also: Collection[date]) -> set[str]:
    """Layers that an act or a warning rests on, and those of a day on which something was seen to happen.

    Of such a day every nowcast: the one that was on display then need not be the newest revision.
    """
    named = {act.subject for act in ledger.journal()} | ledger.levels.cited()
    days = days_of_events(ledger).union(also)
    return {
        layer.id
        for layer in layers
        if layer.id in named or (layer.day in days and (layer.shown or layer.lead == 0))
    }


def _one_in(days: int, layers: Iterable[Standing]) -> set[str]:
    """Of each span of so many days, the oldest nowcast that is shown; spans do not move with today."""
    kept: dict[int, str] = {}
    for layer in layers:
        if layer.shown and layer.lead == 0:
            kept.setdefault(layer.day.toordinal() // days, layer.id)
    return set(kept.values())
