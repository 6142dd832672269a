"""Reports from the field as proposals for the inventory: received once each, then accepted or rejected.

A report names the day and place of a landslide, or that somebody looked there and saw nothing. People decide
what becomes of it; nothing is deleted, and a decision may be changed, since the journal keeps every one.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, Protocol, TextIO, runtime_checkable

from exporters.event import Event
from service.errors import UsageError
from service.sqlite import Database
from service.stamps import from_stamp, to_stamp

if TYPE_CHECKING:
    from exporters.postgis.reports import EventReport

Kind = Literal["landslide", "nothing_seen"]
Decision = Literal["accepted", "rejected"]
State = Literal["proposed", "accepted", "rejected"]

# Where a report does not say how good its place is; the inventory's own default.
ASSUMED_ACCURACY_M = 100.0
INVENTORY_COLUMNS = ("id", "lon", "lat", "date", "accuracy_m", "kind", "note")


@runtime_checkable
class GathersReports(Protocol):
    """An exporter whose target takes reports from the field."""

    @property
    def name(self) -> str:
        """What the settings call this exporter."""
        ...

    def new_reports(self, after: int) -> Sequence[EventReport]:
        """Return reports with a number above `after`, in order. Raises as `deliver` does."""
        ...


@dataclass(frozen=True)
class Proposal:
    """One report and what became of it."""

    id: int
    uid: str
    exporter: str
    reported_at: datetime
    received_at: datetime
    observed_on: date
    lon: float  # EPSG:4326
    lat: float
    kind: Kind
    accuracy_m: float | None
    note: str
    reporter: str
    state: State
    decided_at: datetime | None
    by: str | None
    reason: str | None


class Proposals:
    """The part of ledger.sqlite that tells of reports from the field."""

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._db = database
        self._now = now

    def newest(self, exporter: str) -> tuple[int, str] | None:
        """Return number and uid of the report with the highest number that came from an exporter."""
        row = self._db.execute(
            "SELECT number, uid FROM proposal WHERE exporter = ? ORDER BY number DESC, id DESC LIMIT 1",
            (exporter,),
        ).fetchone()
        return (row["number"], row["uid"]) if row else None

    def receive(self, exporter: str, reports: Iterable[EventReport]) -> int:
        """Keep reports that are not known yet, by their uid; return how many those were.

        Call inside a transaction.
        """
        count = 0
        for report in reports:
            cursor = self._db.execute(
                "INSERT INTO proposal (uid, exporter, number, reported_at, received_at, observed_on, lon,"
                " lat, kind, accuracy_m, note, reporter) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (uid) DO NOTHING",
                (
                    str(report.uid),
                    exporter,
                    report.id,
                    to_stamp(report.reported_at),
                    self._now(),
                    report.observed_on.isoformat(),
                    report.lon,
                    report.lat,
                    report.kind,
                    report.accuracy_m,
                    report.note or "",
                    report.reporter,
                ),
            )
            count += cursor.rowcount
        return count

    def all(self, state: State | None = None) -> list[Proposal]:
        """Return the proposals (of one state), oldest first."""
        rows = self._db.execute(
            "SELECT * FROM proposal WHERE ? IS NULL OR state = ? ORDER BY id", (state, state)
        )
        return [_proposal_of(row) for row in rows]

    def decide(self, number: int, decision: Decision, by: str, reason: str) -> Proposal:
        """Note a decision. Call inside a transaction that also writes the journal (`Ledger.decide`)."""
        row = self._db.execute("SELECT * FROM proposal WHERE id = ?", (number,)).fetchone()
        if row is None:
            raise UsageError(f"there is no report {number}; see 'colluvium reports list'")
        if row["state"] == decision:
            raise UsageError(f"report {number} was {decision} already, by {row['by_whom']}: {row['reason']}")
        self._db.execute(
            "UPDATE proposal SET state = ?, decided_at = ?, by_whom = ?, reason = ? WHERE id = ?",
            (decision, self._now(), by, reason, number),
        )
        row = self._db.execute("SELECT * FROM proposal WHERE id = ?", (number,)).fetchone()
        return _proposal_of(row)

    def days(self) -> set[date]:
        """Return the days that a report speaks of, rejected ones left out."""
        rows = self._db.execute("SELECT DISTINCT observed_on FROM proposal WHERE state != 'rejected'")
        return {date.fromisoformat(row[0]) for row in rows}


def event_of(proposal: Proposal, day: date | None = None, after: date | None = None) -> Event:
    """Return the event of an accepted report: at the place that it names, on the day of its observation.

    A landslide may have happened earlier: on `day`, or on one of the days that follow `after`. Raises
    UsageError where these cannot be.
    """
    if proposal.by is None or proposal.reason is None or proposal.decided_at is None:
        raise ValueError(f"report {proposal.uid} is not decided")
    seen = proposal.observed_on
    if day is not None and after is not None:
        raise UsageError("give --day or --after, not both")
    if proposal.kind == "nothing_seen" and (day or after):
        raise UsageError("a visit on which nothing was seen is of its own day; leave --day and --after out")
    if day is not None and day > seen:
        raise UsageError(f"report {proposal.id} was observed on {seen}, before {day}")
    if after is not None and after >= seen:
        raise UsageError(f"report {proposal.id} was observed on {seen}, so it did not happen after {after}")
    first = day or (after + timedelta(days=1) if after is not None else seen)
    accuracy = ASSUMED_ACCURACY_M if proposal.accuracy_m is None else proposal.accuracy_m
    return Event(
        uid=proposal.uid,
        kind=proposal.kind,
        source="reported",
        day_from=first,
        day=day or seen,
        lon=proposal.lon,
        lat=proposal.lat,
        accuracy_m=accuracy,
        note=proposal.note,
        by=proposal.by,
        reason=proposal.reason,
        recorded_at=proposal.decided_at,
    )


def write_inventory(file: TextIO, proposals: Iterable[Proposal], kind: Kind) -> int:
    """Write accepted proposals of one kind as the CSV that `[training.inventory]` reads; return how many.

    Each kind has a file of its own: the inventory takes every row for a landslide. The columns carry the
    inventory's default names; set `accuracy_column = "accuracy_m"` to use that one too.
    """
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(INVENTORY_COLUMNS)
    count = 0
    for proposal in proposals:
        if proposal.state != "accepted" or proposal.kind != kind:
            continue
        accuracy = ASSUMED_ACCURACY_M if proposal.accuracy_m is None else proposal.accuracy_m
        place = (f"{proposal.lon:.7f}", f"{proposal.lat:.7f}")
        day = proposal.observed_on.isoformat()
        writer.writerow([proposal.uid, *place, day, f"{accuracy:g}", proposal.kind, proposal.note])
        count += 1
    return count


def _proposal_of(row: Any) -> Proposal:
    return Proposal(
        id=row["id"],
        uid=row["uid"],
        exporter=row["exporter"],
        reported_at=from_stamp(row["reported_at"]),
        received_at=from_stamp(row["received_at"]),
        observed_on=date.fromisoformat(row["observed_on"]),
        lon=row["lon"],
        lat=row["lat"],
        kind=row["kind"],
        accuracy_m=row["accuracy_m"],
        note=row["note"],
        reporter=row["reporter"],
        state=row["state"],
        decided_at=from_stamp(row["decided_at"]) if row["decided_at"] else None,
        by=row["by_whom"],
        reason=row["reason"],
    )
