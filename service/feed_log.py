"""What is remembered about feeds: attempts, their problems, and counts for the metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal

from service.quality import Reason, Rejection
from service.sqlite import Database
from service.stamps import from_stamp, to_stamp

AttemptOutcome = Literal["ok", "partial", "failed"]

# A series is silent when the others of its feed are so many days ahead of it.
SILENT_AFTER_DAYS = 3


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
    newest_day: date | None  # of a reading or a raster; of what was measured, not of a forecast
    readings: Mapping[str, int]  # quality -> count of rows kept
    last_outcome: AttemptOutcome | None = None
    last_problems: tuple[Problem, ...] = ()  # of the last attempt, errors first
    newest_issue: datetime | None = None  # of a feed of forecasts
    suspects: Mapping[str, int] = field(default_factory=dict)  # check -> readings that it ever doubted
    silent: tuple[str, ...] = ()  # series whose newest reading is SILENT_AFTER_DAYS behind the feed's


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

    def newest_day(self, feed: str) -> date | None:
        """Return the newest day of a feed that was measured, by a reading or a raster."""
        return self._newest(feed)[0]

    def newest_by_series(self, feed: str) -> dict[str, date]:
        """Return the newest day with a good reading of each series of a feed that has one."""
        rows = self._db.execute(
            "SELECT id, last_day FROM series WHERE feed = ? AND last_day IS NOT NULL ORDER BY id", (feed,)
        )
        return {series: date.fromisoformat(day) for series, day in rows}

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
        readings = self._db.execute("SELECT quality, count FROM tally WHERE feed = ?", (feed,)).fetchall()
        outcome, problems = self._last_attempt(feed)
        newest, issue = self._newest(feed)
        return FeedStatistics(
            feed=feed,
            attempts=attempts,
            errors=dict(errors),
            last_attempt=from_stamp(last) if last else None,
            last_success=from_stamp(success) if success else None,
            newest_day=newest,
            readings=dict(readings),
            last_outcome=outcome,
            last_problems=problems,
            newest_issue=issue,
            suspects=self._suspects(feed),
            silent=self._silent(feed),
        )

    def _last_attempt(self, feed: str) -> tuple[AttemptOutcome | None, tuple[Problem, ...]]:
        attempt = self._db.execute(
            "SELECT id, outcome FROM attempt WHERE feed = ? ORDER BY id DESC LIMIT 1", (feed,)
        ).fetchone()
        if attempt is None:
            return None, ()
        number, outcome = attempt
        rows = self._db.execute(
            "SELECT reason, message, is_error FROM problem WHERE attempt = ? ORDER BY is_error DESC, rowid",
            (number,),
        )
        return outcome, tuple(Problem(reason, message, bool(is_error)) for reason, message, is_error in rows)

    def _newest(self, feed: str) -> tuple[date | None, datetime | None]:
        """Return the newest day that was measured, and the newest issue of a forecast."""
        day, issue = self._db.execute(
            "SELECT (SELECT max(day) FROM (SELECT max(last_day) AS day FROM series WHERE feed = :feed"
            " UNION ALL SELECT max(day) FROM raster_day"
            " WHERE feed = :feed AND quality = 'good' AND issued_at IS NULL)),"
            " (SELECT max(issued_at) FROM (SELECT max(issued_at) AS issued_at FROM forecast_day"
            " WHERE feed = :feed UNION ALL SELECT max(issued_at) FROM raster_day WHERE feed = :feed))",
            {"feed": feed},
        ).fetchone()
        return date.fromisoformat(day) if day else None, from_stamp(issue) if issue else None

    def _suspects(self, feed: str) -> dict[str, int]:
        found = dict(
            self._db.execute(
                "SELECT q.check_name, count(*) FROM suspicion q JOIN reading r ON r.row = q.reading"
                " JOIN series s ON s.number = r.series WHERE s.feed = ? GROUP BY 1 ORDER BY 1",
                (feed,),
            ).fetchall()
        )
        # A raster's reason begins with the name of its check.
        rasters = self._db.execute(
            "SELECT substr(reason, 1, instr(reason || ':', ':') - 1), count(*) FROM raster_day"
            " WHERE feed = ? AND quality = 'suspect' GROUP BY 1",
            (feed,),
        )
        for check, count in rasters:
            found[check] = found.get(check, 0) + count
        return found

    def _silent(self, feed: str) -> tuple[str, ...]:
        newest = self._db.execute("SELECT max(last_day) FROM series WHERE feed = ?", (feed,)).fetchone()[0]
        if newest is None:
            return ()
        heard = date.fromisoformat(newest) - timedelta(days=SILENT_AFTER_DAYS)
        rows = self._db.execute(
            "SELECT id FROM series WHERE feed = ? AND (last_day IS NULL OR last_day < ?) ORDER BY id",
            (feed, heard.isoformat()),
        )
        return tuple(row[0] for row in rows)
