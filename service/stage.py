"""The rows of one fetch, held on disk until it is known which of them contradict each other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date

from service.quality import Observation, Reason, Rejection, settle_duplicates
from service.sqlite import Database

_BATCH = 2_000
_RAW_AT_MOST = 500


class Stage:
    """Temporary tables of one connection; memory does not grow with the fetch."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._observations: list[tuple[object, ...]] = []
        self._rejections: list[tuple[object, ...]] = []
        self.repeated = 0
        self.clear()
        self._db.execute(
            "CREATE TEMP TABLE staged (series TEXT, day TEXT, value REAL, ends_at TEXT, file TEXT,"
            " line INTEGER, raw TEXT, version TEXT, issued_at TEXT, member INTEGER, unchanged INTEGER)"
        )
        self._db.execute(
            "CREATE TEMP TABLE turned_away (file TEXT, line INTEGER, raw TEXT, reason TEXT, detail TEXT,"
            " series TEXT, day TEXT)"
        )

    def put(self, observation: Observation) -> None:
        """Hold an observation."""
        series, day, value, ends_at, file, row, raw, *others = observation
        self._observations.append(
            (series, day.isoformat(), value, ends_at, file, row, _storable(raw), *others)
        )
        if len(self._observations) >= _BATCH:
            self._flush()

    def reject(self, rejection: Rejection) -> None:
        """Hold a rejection."""
        file, row, raw, reason, detail, series, day = rejection
        texts = [_storable(text) for text in (raw, reason.value, detail, series, day)]
        self._rejections.append((file, row, *texts))
        if len(self._rejections) >= _BATCH:
            self._flush()

    def series(self) -> list[str]:
        """Return the ids of the series that brought an observation."""
        self._flush()
        return [row[0] for row in self._db.execute("SELECT DISTINCT series FROM staged ORDER BY series")]

    def newest_day(self) -> date | None:
        """Return the newest day of the observations."""
        self._flush()
        newest = self._db.execute("SELECT max(day) FROM staged").fetchone()[0]
        return date.fromisoformat(newest) if newest else None

    def set_aside_unchanged(
        self, feed: str, variable: str, since: date | None = None, until: date | None = None
    ) -> int:
        """Set aside what the archive would find unchanged; return how many of `since` to `until`.

        That is a reading, said once in this fetch, of the value and version that the archive's last good row
        of its series and day has. Forecasts are left to the archive.
        """
        self._flush()
        self._db.execute(
            "UPDATE staged SET unchanged = 1 WHERE issued_at = '' AND (value, version) = (SELECT r.value,"
            " r.product_version FROM series s JOIN reading r ON r.series = s.number WHERE s.variable = ?"
            " AND s.feed = ? AND s.id = staged.series AND r.day = staged.day AND r.quality = 'good'"
            " AND r.issued_at IS NULL ORDER BY r.known_at DESC, r.row DESC LIMIT 1)",
            (variable, feed),
        )
        # Said more than once, values may contradict each other.
        self._db.execute(
            "UPDATE staged SET unchanged = 0 WHERE unchanged AND (series, day) IN"
            " (SELECT series, day FROM staged WHERE issued_at = '' GROUP BY series, day HAVING count(*) > 1)"
        )
        count = self._db.execute(
            "SELECT count(*) FROM staged WHERE unchanged AND day BETWEEN ? AND ?",
            (since.isoformat() if since else "", until.isoformat() if until else "9999-12-31"),
        ).fetchone()[0]
        return int(count)

    def settle(self) -> Iterator[Observation]:
        """Yield what is left of the observations by series and day; contradictions become rejections.

        What was set aside is not among them.
        """
        self._flush()
        rows = self._db.execute(
            "SELECT series, day, value, ends_at, file, line, raw, version, issued_at, member FROM staged"
            " WHERE NOT unchanged ORDER BY series, day, issued_at, member, rowid"
        )
        observations = (
            Observation(series, date.fromisoformat(day), *others) for series, day, *others in rows
        )
        for item, repeats in settle_duplicates(observations):
            self.repeated += repeats
            if isinstance(item, Observation):
                yield item
            else:
                self.reject(item)

    def rejected(self) -> list[tuple[str, Reason, int, int, str]]:
        """Return file, reason, count, first row and its detail of the rejections, by file and count."""
        self._flush()
        # In SQLite a bare column beside min() comes from the row that holds the minimum.
        rows = self._db.execute(
            "SELECT file, reason, count(*), min(line), detail FROM turned_away GROUP BY file, reason"
            " ORDER BY file, count(*) DESC, reason"
        )
        return [(file, Reason(reason), count, line, detail) for file, reason, count, line, detail in rows]

    def files_with_observations(self) -> set[str]:
        """Return the files that brought at least one observation."""
        self._flush()
        return {row[0] for row in self._db.execute("SELECT DISTINCT file FROM staged")}

    def keep_rejections(self, feed: str, seen_at: str) -> int:
        """Write the rejections into the archive, each once however often it is read; return the new ones."""
        self._flush()
        return self._db.execute(
            "INSERT OR IGNORE INTO rejection (feed, file, line, raw, reason, detail, series, day, seen_at)"
            " SELECT ?, file, line, raw, reason, detail, series, day, ? FROM turned_away ORDER BY rowid",
            (feed, seen_at),
        ).rowcount

    def clear(self) -> None:
        """Let go of everything."""
        self._db.execute("DROP TABLE IF EXISTS temp.staged")
        self._db.execute("DROP TABLE IF EXISTS temp.turned_away")

    def _flush(self) -> None:
        if not self._observations and not self._rejections:
            return
        with self._at_once():
            if self._observations:
                marks = ", ".join("?" * len(Observation._fields))
                self._db.executemany(f"INSERT INTO staged VALUES ({marks}, 0)", self._observations)  # noqa: S608
                self._observations = []
            if self._rejections:
                self._db.executemany("INSERT INTO turned_away VALUES (?, ?, ?, ?, ?, ?, ?)", self._rejections)
                self._rejections = []

    @contextmanager
    def _at_once(self) -> Iterator[None]:
        """Make one transaction of many rows, which would be one each. It locks only temporary tables."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("BEGIN DEFERRED")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise


def _storable(text: str) -> str:
    """Return text that SQLite takes: bytes that were no text are written as \\x.., and it has an end."""
    if not text.isascii():
        text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text[:_RAW_AT_MOST]
