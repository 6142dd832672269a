"""The inventory in an audit: what it held of a day by then, and what of it was changed on that day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime

from exporters.event import Event
from service.ledger_events import Change, Events
from service.stamps import to_stamp

Row = tuple[object, ...]

_COLUMNS = (
    "uid", "kind", "source", "day_from", "day", "longitude", "latitude", "accuracy_m", "area_m2",
    "confidence", "detector", "scene", "note", "by", "reason", "recorded_at",
)  # fmt: skip


def event_tables(
    events: Events, day: date, start: datetime, until: datetime
) -> tuple[list[tuple[str, Sequence[str], list[Row]]], list[Change]]:
    """Return the tables (name, columns, rows), and the changes from `start` on and before `until`."""
    of_day = [event for event in events.all(since=day, until=day, as_of=until) if event.recorded_at < until]
    changes = events.changes(start, until)
    changed = [(to_stamp(change.at), change.what, *_row(change.event)) for change in changes]
    return [
        ("decided/events.csv", _COLUMNS, [_row(event) for event in of_day]),
        ("decided/event-changes.csv", ("at", "what", *_COLUMNS), changed),
    ], changes


def _row(event: Event) -> Row:
    return (
        event.uid,
        event.kind,
        event.source,
        event.day_from,
        event.day,
        event.lon,
        event.lat,
        event.accuracy_m,
        event.area_m2,
        event.confidence,
        event.detector,
        event.scene,
        event.note,
        event.by,
        event.reason,
        to_stamp(event.recorded_at),
    )
