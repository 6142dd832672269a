"""What is remembered about feeds: attempts, their problems, and counts for the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal

from service.quality import Reason, Rejection
from service.sqlite import Database
from service.stamps import from_stamp, to_stamp

AttemptOutcome = Literal["ok", "partial", "failed"]


@dataclass(frozen=True)
class Problem:
    """Something that a person should know about a feed, with a short reason for the metric's label.

    An error is a file or a whole feed that could not be used; the rest is worth knowing only.
    """

    reason: str
    message: str
    is_error: bool = True

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True)
class FeedStatistics:
    """One feed in figures, since the archive was made."""

    feed: str
    attempts: int
    errors: Mapping[str, int]  # reason -> count
    last_attempt: datetime | None
    last_success: datetime | None
    newest_day: date | None
    readings: Mapping[str, int]  # quality -> count of rows kept


class FeedLog:
    """The part of readings.sqlite that tells of feeds. It writes inside the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def attempt(self, feed: str, at: datetime, outcome: AttemptOutcome, problems: Iterable[Problem]) -> None:
        """Note that a feed was read, and how that ended."""
        cursor = self._db.execute(
            "INSERT INTO attempt (feed, at, outcome) VALUES (?, ?, ?)", (feed, to_stamp(at), outcome)
        )
        self._db.executemany(
            "INSERT INTO problem (attempt, reason, message, is_error) VALUES (?, ?, ?, ?)",
            [(cursor.lastrowid, problem.reason, problem.message, problem.is_error) for problem in problems],
        )

    def count(self, rows: Mapping[tuple[str, str], int]) -> None:
        """Add to the counts of rows kept, by (feed, quality)."""
        self._db.executemany(
            "INSERT INTO tally (feed, quality, count) VALUES (?, ?, ?)"
            " ON CONFLICT (feed, quality) DO UPDATE SET count = count + excluded.count",
            [(feed, quality, count) for (feed, quality), count in rows.items() if count],
        )

    def watched_since(self, feed: str) -> datetime | None:
        """Return when readings of a feed were first taken in."""
        row = self._db.execute(
            "SELECT min(at) FROM attempt WHERE feed = ? AND outcome IN ('ok', 'partial')", (feed,)
        ).fetchone()
        return from_stamp(row[0]) if row[0] else None

    def rejections(self, feed: str | None = None, limit: int = 1000) -> list[Rejection]:
        """Return the rejected rows, newest first."""
        rows = self._db.execute(
            "SELECT file, line, raw, reason, detail, series, day FROM rejection"
            " WHERE ? IS NULL OR feed = ? ORDER BY row DESC LIMIT ?",
            (feed, feed, limit),
        )
        return [
            Rejection(file, line, raw, Reason(reason), detail, series, day)
            for file, line, raw, reason, detail, series, day in rows
        ]

    def statistics(self) -> tuple[FeedStatistics, ...]:
        """Return each feed that was ever tried or has readings, by name."""
        names = [
            row[0]
            for row in self._db.execute("SELECT feed FROM attempt UNION SELECT feed FROM series ORDER BY 1")
        ]
        return tuple(self._statistics_of(name) for name in names)

    def _statistics_of(self, feed: str) -> FeedStatistics:
        attempts, last, success = self._db.execute(
            "SELECT count(*), max(at), max(CASE WHEN outcome <> 'failed' THEN at END) FROM attempt"
            " WHERE feed = ?",
            (feed,),
        ).fetchone()
        errors = self._db.execute(
            "SELECT p.reason, count(*) FROM attempt a JOIN problem p ON p.attempt = a.id"
            " WHERE a.feed = ? AND p.is_error GROUP BY p.reason",
            (feed,),
        ).fetchall()
        newest = self._db.execute(
            "SELECT max((SELECT r.day FROM reading r WHERE r.series = s.number AND r.quality = 'good'"
            " AND r.issued_at IS NULL ORDER BY r.day DESC LIMIT 1)) FROM series s WHERE s.feed = ?",
            (feed,),
        ).fetchone()[0]
        readings = self._db.execute("SELECT quality, count FROM tally WHERE feed = ?", (feed,)).fetchall()
        return FeedStatistics(
            feed=feed,
            attempts=attempts,
            errors=dict(errors),
            last_attempt=from_stamp(last) if last else None,
            last_success=from_stamp(success) if success else None,
            newest_day=date.fromisoformat(newest) if newest else None,
            readings=dict(readings),
        )
