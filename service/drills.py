"""Drills: marked exercises that go down the whole chain. A part of ledger.sqlite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from service.sqlite import Database
from service.stamps import from_stamp, to_stamp


@dataclass(frozen=True)
class Drill:
    """One exercise: a zone that plays a level for a while."""

    id: int
    zone: str
    level: int
    started_at: datetime
    ends_at: datetime
    by: str
    reason: str


class Drills:
    """The table of drills. A drill touches no layer and no warning."""

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._db = database
        self._now = now

    def start(self, zone: str, level: int, ends_at: datetime, by: str, reason: str) -> int:
        """Note that a drill begins now and return its number. Call inside a transaction."""
        cursor = self._db.execute(
            "INSERT INTO drill (zone, level, started_at, ends_at, by_whom, reason) VALUES (?, ?, ?, ?, ?, ?)",
            (zone, level, self._now(), to_stamp(ends_at), by, reason),
        )
        return int(cursor.lastrowid or 0)

    def end(self, number: int) -> None:
        """End a drill now."""
        self._db.execute("UPDATE drill SET ends_at = ? WHERE id = ?", (self._now(), number))

    def running(self, now: datetime) -> list[Drill]:
        """Return the drills that have begun and not ended, oldest first."""
        return [drill for drill in self.all() if drill.started_at <= now < drill.ends_at]

    def all(self) -> list[Drill]:
        """Return all drills, oldest first."""
        rows = self._db.execute("SELECT * FROM drill ORDER BY id")
        return [
            Drill(
                row["id"],
                row["zone"],
                row["level"],
                from_stamp(row["started_at"]),
                from_stamp(row["ends_at"]),
                row["by_whom"],
                row["reason"],
            )
            for row in rows
        ]
