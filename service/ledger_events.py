"""The inventory: landslides that people stand behind, and places where they looked. A part of ledger.sqlite.

Nothing is deleted: a changed decision retracts its row, and one that is made again adds another with the same
uid. So what was known at a moment can be told at any later one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from exporters.event import Event, EventKind, EventSource, Look
from service.errors import UsageError
from service.ledger_looks import Looks, look_of
from service.sqlite import Database, transaction
from service.stamps import from_stamp, moment_of

WriteAct = Callable[[str, str, str, str], None]  # act, subject, by, reason

# Of an event whose day is known to within so many days, the layers of all of them are kept; one of a wider
# span is held against no map (detection.max_window_days is at most this).
WIDEST_CITED_DAYS = 60


@dataclass(frozen=True)
class Change:
    """What became of an event, and when."""

    at: datetime
    what: str  # recorded, retracted
    event: Event


class Events:
    """The table of events. Days are calendar days of the region's time zone."""

    def __init__(self, database: Database, now: Callable[[], str], write_act: WriteAct) -> None:
        self._db = database
        self._now = now
        self._write_act = write_act
        self._looks = Looks(database)

    def add(self, event: Event) -> None:
        """Add an event: its row and the journal in one transaction.

        Raises UsageError where one of that uid is in force.
        """
        with transaction(self._db):
            self.put(event)
            self._write_act("add", f"event {event.uid}", event.by, event.reason)

    def add_all(self, events: Sequence[Event], by: str, reason: str, source: str) -> None:
        """Add events that came together from `source`: all or none, with one line in the journal."""
        with transaction(self._db):
            for event in events:
                self.put(event)
            self._write_act("import", f"{len(events)} events from {source}", by, reason)

    def put(self, event: Event) -> None:
        """Add an event's row. Call inside a transaction that also writes the journal."""
        if self.get(event.uid) is not None:
            raise UsageError(f"there is an event {event.uid} already; see 'colluvium event list'")
        self._db.execute(
            "INSERT INTO event (uid, kind, source, day_from, day, recorded_at, record)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                event.uid,
                event.kind,
                event.source,
                event.day_from.isoformat(),
                event.day.isoformat(),
                moment_of(event.recorded_at),
                event.model_dump_json(),
            ),
        )

    def retract(self, uid: str, by: str, reason: str) -> Event:
        """Take an event out of the inventory: its row stays, and the journal says who and why.

        Raises UsageError where none of that uid is in force, or where it rests on a report or a detection,
        whose decision is what has to be changed.
        """
        with transaction(self._db):
            event = self.get(uid)
            if event is None:
                raise UsageError(f"there is no event {uid}; see 'colluvium event list'")
            for table, command in (("proposal", "reports"), ("detection", "detections")):
                row = self._db.execute(
                    f"SELECT id FROM {table} WHERE uid = ? AND state = 'accepted'",  # noqa: S608
                    (uid,),
                ).fetchone()
                if row is not None:
                    raise UsageError(
                        f"event {uid} rests on a decision; change that one: 'colluvium {command} reject "
                        f"{row['id']}'"
                    )
            self.take_out(uid)
            self._write_act("retract", f"event {uid}", by, reason)
        return event

    def take_out(self, uid: str) -> None:
        """Retract an event's row. Call inside a transaction that also writes the journal."""
        self._db.execute(
            "UPDATE event SET retracted_at = ? WHERE uid = ? AND retracted_at IS NULL", (self._now(), uid)
        )

    def get(self, uid: str) -> Event | None:
        """Return the event of that uid that is in force."""
        row = self._db.execute(
            "SELECT record FROM event WHERE uid = ? AND retracted_at IS NULL", (uid,)
        ).fetchone()
        return Event.model_validate_json(row["record"]) if row else None

    def all(
        self,
        kind: EventKind | None = None,
        since: date | None = None,
        until: date | None = None,
        as_of: datetime | None = None,
        source: EventSource | None = None,
    ) -> list[Event]:
        """Return events by day: those that may have happened on the days `since` to `until`.

        With `as_of`, those that were in force at that moment.
        """
        bound = moment_of(as_of)
        rows = self._db.execute(
            "SELECT record FROM event WHERE (?1 IS NULL OR kind = ?1) AND (?2 IS NULL OR source = ?2)"
            " AND day >= ?3 AND day_from <= ?4 AND recorded_at <= ?5"
            " AND (retracted_at IS NULL OR retracted_at > ?5) ORDER BY day, day_from, id",
            (
                kind,
                source,
                since.isoformat() if since else "0000",
                until.isoformat() if until else "9999",
                bound,
            ),
        )
        return [Event.model_validate_json(row["record"]) for row in rows]

    def looks(
        self, since: date | None = None, until: date | None = None, as_of: datetime | None = None
    ) -> list[Look]:
        """Return the ground on which a landslide of the days `since` to `until` would have been seen.

        Clear ground of scenes whose review a person closed, and the surroundings of visits on which nothing
        was seen.
        """
        found = [*self._looks.of_scenes(as_of), *map(look_of, self.all("nothing_seen", as_of=as_of))]
        first, last = since or date.min, until or date.max
        here = (look for look in found if look.day >= first and look.day_from <= last)
        return sorted(here, key=lambda look: (look.day, look.day_from, look.uid))

    def changes(self, since: datetime, until: datetime) -> list[Change]:
        """Return what was recorded or retracted from `since` on and before `until`, in order."""
        rows = self._db.execute(
            "SELECT 'recorded' AS what, recorded_at AS at, id, record FROM event UNION ALL"
            " SELECT 'retracted', retracted_at, id, record FROM event WHERE retracted_at IS NOT NULL"
            " ORDER BY at, id"
        )
        first, last = moment_of(since), moment_of(until)
        return [
            Change(from_stamp(row["at"]), row["what"], Event.model_validate_json(row["record"]))
            for row in rows
            if first <= row["at"] < last
        ]

    def was_retracted(self, uid: str) -> bool:
        """Tell whether an event of that uid was retracted and none is in force."""
        row = self._db.execute(
            "SELECT max(retracted_at IS NULL) AS stands FROM event WHERE uid = ?", (uid,)
        ).fetchone()
        return bool(row["stands"] == 0)

    def days(self) -> set[date]:
        """Return the days whose layers an event in force rests on."""
        rows = self._db.execute("SELECT DISTINCT day_from, day FROM event WHERE retracted_at IS NULL")
        return days_cited((date.fromisoformat(row[0]), date.fromisoformat(row[1])) for row in rows)

    def counts(self) -> dict[tuple[EventSource, EventKind], int]:
        """Count the events in force by (source, kind)."""
        rows = self._db.execute(
            "SELECT source, kind, count(*) FROM event WHERE retracted_at IS NULL GROUP BY source, kind"
        )
        return {(row[0], row[1]): int(row[2]) for row in rows}


def days_cited(spans: Iterable[tuple[date, date]]) -> set[date]:
    """Return all days of spans (first, last) that maps can be held against; of wider ones, the last day."""
    days: set[date] = set()
    for first, last in spans:
        width = (last - first).days
        back = width if width <= WIDEST_CITED_DAYS else 0
        days.update(last - timedelta(days=n) for n in range(back + 1))
    return days
