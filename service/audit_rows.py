"""The rows of both databases that an audit lists, as they stood at a moment. It only looks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path

from service.ledger_schema import MIGRATIONS as LEDGER
from service.readings_schema import MIGRATIONS as READINGS
from service.sqlite import Database, open_database
from service.stamps import to_stamp

Row = tuple[object, ...]

READING_COLUMNS = (
    "feed",
    "variable",
    "series",
    "day",
    "value",
    "known_at",
    "issued_at",
    "member",
    "product_version",
    "quality",
    "reason",
    "known_at_assumed",
    "decided_by",
)
_READING = (
    "SELECT s.feed, s.variable, s.id, r.day, r.value, r.known_at, r.issued_at, r.member, r.product_version,"
    " r.quality, r.reason, r.known_at_assumed, d.by_whom FROM reading r JOIN series s ON s.number = r.series"
    " LEFT JOIN decision d ON d.reading = r.row WHERE"
)
# In the words of the archive's partial indexes: SQLite takes them up by these words only.
_GOOD = "r.quality = 'good' AND r.issued_at IS NULL"
_DOUBTED = "r.quality <> 'good' AND r.issued_at IS NULL"


class LedgerRows:
    """Rows of ledger.sqlite."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def runs(self, since: datetime, until: datetime) -> Iterator[Row]:
        """Runs that were under way in the span; what ended them later is not said."""
        return self._db.execute(
            "SELECT id, kind, day, lead, started_at, CASE WHEN ended_at <= ?2 THEN ended_at END,"
            " CASE WHEN ended_at <= ?2 THEN outcome ELSE 'running' END,"
            " CASE WHEN ended_at <= ?2 THEN reason END, CASE WHEN ended_at <= ?2 THEN layer_id END,"
            " CASE WHEN ended_at <= ?2 THEN seconds END FROM run"
            " WHERE started_at < ?2 AND (ended_at IS NULL OR ended_at >= ?1) ORDER BY id",
            (to_stamp(since), to_stamp(until)),
        )

    def deliveries(self, since: datetime, until: datetime) -> Iterator[Row]:
        """Deliveries that were entered, waited or ended in the span.

        Columns: exporter, act, layer, when entered, when ended, state, attempts, error.
        One that ended later was still waiting; since when one is parked is not recorded.
        """
        return self._db.execute(
            "SELECT exporter, act, layer_id, created_at, CASE WHEN ended_at < ?2 THEN ended_at END,"
            " CASE WHEN ended_at < ?2 THEN state WHEN state = 'parked' THEN 'parked' ELSE 'pending' END,"
            " CASE WHEN ended_at < ?2 THEN attempts END,"
            " CASE WHEN ended_at < ?2 OR state = 'parked' THEN last_error END FROM outbox"
            " WHERE created_at < ?2 AND (ended_at IS NULL OR ended_at >= ?1) ORDER BY created_at, id",
            (to_stamp(since), to_stamp(until)),
        )

    def inputs(self, until: datetime) -> list[Row]:
        """What was in force: kind, digest, since when, where it is kept below the data folder."""
        return list(
            self._db.execute(
                "SELECT kind, digest, since, path FROM input_version WHERE id IN"
                " (SELECT max(id) FROM input_version WHERE since < ? GROUP BY kind) ORDER BY kind",
                (to_stamp(until),),
            )
        )


class ReadingRows:
    """Rows of readings.sqlite, as far as they were known by a moment."""

    def __init__(self, database: Database, known_by: datetime) -> None:
        self._db = database
        self._known_by = to_stamp(known_by)

    def readings(self, first: date, last: date, issues: Sequence[datetime]) -> Iterator[Row]:
        """Readings of some days, doubted and rejected ones too, and the forecasts issued at some moments."""
        span = (first.isoformat(), last.isoformat(), self._known_by)
        for kind in (_GOOD, _DOUBTED):
            yield from self._db.execute(
                f"{_READING} r.day BETWEEN ? AND ? AND {kind} AND r.known_at <= ?"
                " ORDER BY r.day, r.series, r.known_at, r.row",
                span,
            )
        for issue in issues:
            yield from self._db.execute(
                f"{_READING} r.issued_at = ? AND r.day BETWEEN ? AND ? AND r.known_at <= ?"
                " ORDER BY r.member, r.day, r.series, r.known_at, r.row",
                (to_stamp(issue), *span),
            )

    def doubts(self, first: date, last: date) -> Iterator[Row]:
        """What the checks said: feed, variable, series, day, value, check, detail, extreme, noted."""
        return self._db.execute(
            "SELECT s.feed, s.variable, s.id, r.day, r.value, q.check_name, q.detail, q.extreme, q.noted_at"  # noqa: S608
            " FROM reading r JOIN series s ON s.number = r.series JOIN suspicion q ON q.reading = r.row"
            f" WHERE r.day BETWEEN ? AND ? AND {_DOUBTED} AND q.noted_at <= ?"
            " ORDER BY r.day, r.series, r.row",
            (first.isoformat(), last.isoformat(), self._known_by),
        )

    def rasters(self, first: date, last: date) -> Iterator[Row]:
        """Rasters of some days; the columns are those of the index, without the source's address."""
        return self._db.execute(
            "SELECT feed, variable, day, known_at, issued_at, member, product_version, quality, reason,"
            " digest, path FROM raster_day WHERE day BETWEEN ? AND ? AND known_at <= ?"
            " ORDER BY feed, day, known_at, row",
            (first.isoformat(), last.isoformat(), self._known_by),
        )

    def series(self) -> Iterator[Row]:
        """Where each series stood: feed, variable, id, since, longitude, latitude, elevation."""
        return self._db.execute(
            "SELECT s.feed, s.variable, s.id, p.known_at, p.lon, p.lat, p.elevation_m FROM series s"
            " JOIN position p ON p.series = s.number WHERE p.known_at <= ? ORDER BY 1, 2, 3, 4, p.row",
            (self._known_by,),
        )

    def attempts(self, since: datetime) -> Iterator[Row]:
        """How feeds were read: at, feed, outcome, reason of a problem, its words, whether it is an error."""
        return self._db.execute(
            "SELECT a.at, a.feed, a.outcome, p.reason, p.message, p.is_error FROM attempt a"
            " LEFT JOIN problem p ON p.attempt = a.id WHERE a.at >= ? AND a.at <= ?"
            " ORDER BY a.at, a.id, p.rowid",
            (to_stamp(since), self._known_by),
        )

    def rejections(self, since: datetime) -> Iterator[Row]:
        """Rows that could not be read and were first seen in the span."""
        return self._db.execute(
            "SELECT seen_at, feed, file, line, reason, detail, raw FROM rejection"
            " WHERE seen_at >= ? AND seen_at <= ? ORDER BY seen_at, row",
            (to_stamp(since), self._known_by),
        )


@contextmanager
def opened_rows(
    ledger_file: Path, readings_file: Path, known_by: datetime
) -> Iterator[tuple[LedgerRows, ReadingRows]]:
    """Open both databases, each as of one moment, while others may write to them."""
    ledger = open_database(ledger_file, LEDGER, "ledger", make=False)
    try:
        readings = open_database(readings_file, READINGS, "archive", make=False)
        try:
            for database in (ledger, readings):
                database.execute("BEGIN")  # the first look fixes what is seen until the end
            yield LedgerRows(ledger), ReadingRows(readings, known_by)
        finally:
            readings.close()
    finally:
        ledger.close()
