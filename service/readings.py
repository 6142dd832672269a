"""The bitemporal archive of readings: what was measured for a day, and since when we know it.

Nothing is overwritten. A correction is a new row with a later known_at, a gauge that moved is a new position.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np

from service.errors import InputError
from service.feed_log import FeedLog, FeedStatistics
from service.quality import Quality
from service.reading_values import AddReport, Reading, Readings, Series, SeriesPosition
from service.readings_schema import MIGRATIONS
from service.sqlite import open_database, transaction
from service.stage import Stage
from service.stamps import from_stamp, to_stamp, utc_now

_END_OF_TIME = "9999-12-31T23:59:59.999999Z"


class Archive:
    """readings.sqlite. One object for one thread."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now, *, make: bool = True) -> None:
        """Open the archive; `make` = False is for those who only look, and makes no file."""
        self.path = path
        self.clock = clock
        self._db = open_database(path, MIGRATIONS, "archive of readings", make=make)
        self._numbers: dict[tuple[str, str, str], int] = {}
        self.log = FeedLog(self._db)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Keep all of the block or none of it; inside another such block, belong to that one."""
        if self._db.in_transaction:
            yield
            return
        try:
            with transaction(self._db):
                yield
        except BaseException:
            self._numbers.clear()  # series numbered in the block are gone
            raise

    def stage(self) -> Stage:
        """Return an empty place for the rows of one fetch. There is one at a time."""
        return Stage(self._db)

    # --- writing ---

    def add_series(
        self, feed: str, variable: str, positions: Iterable[SeriesPosition], known_at: datetime | None = None
    ) -> int:
        """Take in where series are measured; return how many are new or have moved.

        The first position of a series holds from ever; a changed one holds from the day it became known.
        """
        stamp = to_stamp(known_at or self.clock())
        changed = 0
        with self.transaction():
            for position in positions:
                number = self._number(variable, feed, position.id)
                place = (_or_none(position.lon), _or_none(position.lat), position.elevation_m)
                if number is None:
                    cursor = self._db.execute(
                        "INSERT INTO series (feed, variable, id, first_known_at) VALUES (?, ?, ?, ?)",
                        (feed, variable, position.id, stamp),
                    )
                    number = self._numbers[variable, feed, position.id] = int(cursor.lastrowid or 0)
                elif (
                    place
                    == self._db.execute(
                        "SELECT lon, lat, elevation_m FROM position WHERE series = ?"
                        " ORDER BY known_at DESC, row DESC LIMIT 1",
                        (number,),
                    ).fetchone()
                ):
                    continue
                self._db.execute(
                    "INSERT INTO position (series, known_at, lon, lat, elevation_m) VALUES (?, ?, ?, ?, ?)",
                    (number, stamp, *place),
                )
                changed += 1
        return changed

    def add(self, readings: Iterable[Reading], now: datetime | None = None) -> AddReport:
        """Take in readings, all or none; what is known already adds no row.

        A reading without known_at is known from `now` (default: the clock). One whose known_at is an
        assumption keeps it only as the first row of its day; a correction is known from `now`.

        Raises InputError for a series that add_series has not been told of, ValueError for a value that is
        not finite (a missing value is no reading).
        """
        stamp = to_stamp(now or self.clock())
        counts: Counter[str] = Counter()
        rows: Counter[tuple[str, str]] = Counter()
        earliest: dict[int, str] = {}
        with self.transaction():
            for reading in readings:
                outcome, number, known_at = self._add(reading, stamp)
                if outcome != "unchanged":
                    rows[reading.feed, reading.quality.value] += 1
                    if known_at < earliest.get(number, _END_OF_TIME):
                        earliest[number] = known_at
                if reading.quality is Quality.REJECTED:
                    outcome = "rejected"
                counts[outcome] += 1
            for number, known_at in earliest.items():
                self._db.execute(
                    "UPDATE series SET first_known_at = ? WHERE number = ? AND first_known_at > ?",
                    (known_at, number, known_at),
                )
            self.log.count(rows)
        return AddReport(counts["new"], counts["corrected"], counts["unchanged"], counts["rejected"])

    def _add(self, reading: Reading, now: str) -> tuple[str, int, str]:
        if not math.isfinite(reading.value):
            raise ValueError(f"{reading.series} {reading.day}: {reading.value} is no reading; leave it out")
        number = self._number(reading.variable, reading.feed, reading.series)
        if number is None:
            raise InputError(
                f"feed {reading.feed}: series {reading.series!r} ({reading.variable}) is not in the archive; "
                "give its position first"
            )
        issued_at = to_stamp(reading.issued_at) if reading.issued_at else None
        known_at = to_stamp(reading.known_at) if reading.known_at else now
        fixed = reading.known_at is not None and not reading.known_at_assumed
        standing = self._db.execute(
            "SELECT value, product_version, known_at FROM reading WHERE series = ? AND day = ?"
            " AND known_at <= ? AND quality = ? AND issued_at IS ? AND member IS ?"
            " ORDER BY known_at DESC, row DESC LIMIT 1",
            (
                number,
                day := reading.day.isoformat(),
                known_at if fixed else _END_OF_TIME,
                reading.quality.value,
                issued_at,
                reading.member,
            ),
        ).fetchone()
        assumed = reading.known_at_assumed
        said_again = standing is not None and (reading.value, reading.product_version) == standing[:2]
        # Said again at a later moment of its own, a value gets a row: a correction of a moment between may
        # still arrive, and must not outlast it.
        if said_again and not (fixed and standing[2] < known_at):
            return "unchanged", number, known_at
        if standing is not None and not fixed:
            # Never before the row that it corrects, or that row would go on standing.
            known_at, assumed = max(now, standing[2]), False
        self._db.execute(
            "INSERT INTO reading (series, day, value, known_at, issued_at, member, product_version, quality,"
            " reason, known_at_assumed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                number,
                day,
                reading.value,
                known_at,
                issued_at,
                reading.member,
                reading.product_version,
                reading.quality.value,
                reading.reason,
                assumed,
            ),
        )
        if said_again:
            return "unchanged", number, known_at
        return "new" if standing is None else "corrected", number, known_at

    def _number(self, variable: str, feed: str, identity: str) -> int | None:
        key = (variable, feed, identity)
        if key not in self._numbers:
            row = self._db.execute(
                "SELECT number FROM series WHERE variable = ? AND feed = ? AND id = ?", key
            ).fetchone()
            if row is None:
                return None
            self._numbers[key] = row[0]
        return self._numbers[key]

    # --- reading ---

    def series(self, variable: str, as_of: datetime | None = None) -> list[Series]:
        """Return each series of a variable at its newest position known at `as_of`, by feed and id."""
        return [positions[-1] for positions in self._positions(variable, _moment(as_of)).values()]

    def values(self, variable: str, days: Sequence[date], as_of: datetime | None = None) -> Readings:
        """Return, for each day and series, the newest good reading that was known at `as_of`.

        Forecasts are not among them. Every series known at `as_of` has a column, in order of feed and id,
        whether it reported or not; one that moved while `days` ran has one for each position.
        """
        wanted = {day.isoformat(): index for index, day in enumerate(days)}
        if len(wanted) != len(days):
            raise ValueError("the same day was asked for twice")
        moment = _moment(as_of)
        columns: list[Series] = []
        columns_of: dict[int, list[int]] = {}
        for number, positions in self._positions(variable, moment).items():
            here = [item for item in positions if days and _overlaps(item, min(days), max(days))]
            columns_of[number] = list(range(len(columns), len(columns) + len(here)))
            columns += here
        value = np.full((len(days), len(columns)), np.nan, dtype=np.float32)
        known: dict[tuple[int, int], str] = {}
        for number, day, amount, known_at in self._standing(variable, wanted, moment):
            row = wanted.get(day)
            if row is not None:
                column = _column_of(columns, columns_of[number], days[row])
                value[row, column] = amount
                known[row, column] = known_at
        by_day: list[str | None] = [None] * len(days)
        for (row, _), stamp in known.items():
            by_day[row] = max(by_day[row] or "", stamp)
        return Readings(
            variable=variable,
            days=tuple(days),
            series=tuple(columns),
            value=value,
            known_at=max((stamp for stamp in by_day if stamp), default=None),
            known_at_by_day=tuple(by_day),
        )

    def _standing(self, variable: str, days: Iterable[str], moment: str) -> sqlite3.Cursor | tuple[()]:
        first, last = min(days, default=None), max(days, default=None)
        if first is None:
            return ()
        # Older rows come first, so that the newest one of a day is what the reader is left with. CROSS JOIN
        # keeps the order of the loops: series outside, the index (series, day) inside.
        return self._db.execute(
            "SELECT r.series, r.day, r.value, r.known_at FROM series s CROSS JOIN reading r"
            " ON r.series = s.number WHERE s.variable = ? AND r.day BETWEEN ? AND ? AND r.known_at <= ?"
            " AND r.quality = ? AND r.issued_at IS NULL ORDER BY r.series, r.day, r.known_at, r.row",
            (variable, first, last, moment, Quality.GOOD.value),
        )

    def _positions(self, variable: str, moment: str) -> dict[int, list[Series]]:
        """Return the positions of each series, oldest first, by its number; ordered by feed and id."""
        rows = self._db.execute(
            "SELECT s.number, s.id, s.feed, p.lon, p.lat, p.elevation_m, p.known_at FROM series s"
            " JOIN position p ON p.series = s.number WHERE s.variable = ? AND s.first_known_at <= ?"
            " AND (p.known_at <= ? OR p.row = (SELECT q.row FROM position q WHERE q.series = s.number"
            " ORDER BY q.known_at, q.row LIMIT 1)) ORDER BY s.feed, s.id, p.known_at, p.row",
            (variable, moment, moment),
        )
        found: dict[int, list[Series]] = {}
        for number, identity, feed, lon, lat, elevation, known_at in rows:
            positions = found.setdefault(number, [])
            start = from_stamp(known_at).date() if positions else None
            if positions and positions[-1].valid_from == start:
                # Changed again on the same day: the earlier position never held for a whole day.
                positions.pop()
            elif positions:
                assert start is not None  # noqa: S101 - for the type checker
                positions[-1] = replace(positions[-1], valid_to=start - timedelta(days=1))
            positions.append(
                Series(identity, feed, variable, _or_nan(lon), _or_nan(lat), elevation, start, None)
            )
        return found

    def history(self, feed: str, variable: str, series: str, day: date) -> list[Reading]:
        """Return every row of a series and day, oldest knowledge first."""
        rows = self._db.execute(
            "SELECT r.value, r.known_at, r.issued_at, r.member, r.product_version, r.quality, r.reason,"
            " r.known_at_assumed FROM reading r JOIN series s ON s.number = r.series WHERE s.feed = ?"
            " AND s.variable = ? AND s.id = ? AND r.day = ? ORDER BY r.known_at, r.row",
            (feed, variable, series, day.isoformat()),
        )
        return [
            Reading(
                feed,
                variable,
                series,
                day,
                value,
                from_stamp(known_at),
                from_stamp(issued_at) if issued_at else None,
                member,
                version,
                Quality(quality),
                reason,
                bool(assumed),
            )
            for value, known_at, issued_at, member, version, quality, reason, assumed in rows
        ]

    def latest_readings(self, variable: str, until: date) -> list[Reading]:
        """Return the newest reading of each series up to a day, good or rejected, by feed and id.

        Of one day's readings a good one counts, since it is what a window is given. Forecasts do not.
        """
        rows = self._db.execute(
            "SELECT s.feed, s.id, r.day, r.value, r.known_at, r.product_version, r.quality, r.reason"
            " FROM series s JOIN reading r ON r.row = (SELECT q.row FROM reading q WHERE q.series = s.number"
            " AND q.day <= ? AND q.issued_at IS NULL"
            " ORDER BY q.day DESC, q.quality = 'good' DESC, q.known_at DESC, q.row DESC LIMIT 1)"
            " WHERE s.variable = ? ORDER BY s.feed, s.id",
            (until.isoformat(), variable),
        )
        return _readings_of(variable, rows)

    def newest_by_day(self, variable: str, since: date) -> list[Reading]:
        """Return the newest reading of each series and day from a day on, good or rejected, oldest day first.

        A day's newest good reading counts, or, where it has none, the newest rejected one. No forecasts.
        """
        rows = self._db.execute(
            "SELECT feed, id, day, value, known_at, product_version, quality, reason FROM ("
            "SELECT s.feed, s.id, r.*, row_number() OVER (PARTITION BY r.series, r.day"
            " ORDER BY r.quality = 'good' DESC, r.known_at DESC, r.row DESC) AS place"
            " FROM series s CROSS JOIN reading r ON r.series = s.number"
            " WHERE s.variable = ? AND r.day >= ? AND r.issued_at IS NULL)"
            " WHERE place = 1 ORDER BY feed, id, day",
            (variable, since.isoformat()),
        )
        return _readings_of(variable, rows)

    def first_day(self, variable: str | None = None) -> date | None:
        """Return the oldest day with a good reading of the variable (or of any)."""
        return self._outermost("ASC", variable)

    def newest_day(self, variable: str | None = None) -> date | None:
        """Return the newest day with a good reading of the variable (or of any)."""
        return self._outermost("DESC", variable)

    def _outermost(self, order: str, variable: str | None) -> date | None:
        pick = "max" if order == "DESC" else "min"
        row = self._db.execute(
            f"SELECT {pick}((SELECT r.day FROM reading r WHERE r.series = s.number AND r.quality = 'good'"  # noqa: S608
            f" AND r.issued_at IS NULL ORDER BY r.day {order} LIMIT 1)) FROM series s"
            " WHERE ? IS NULL OR s.variable = ?",
            (variable, variable),
        ).fetchone()
        return date.fromisoformat(row[0]) if row[0] else None

    def feed_statistics(self) -> tuple[FeedStatistics, ...]:
        """Return each feed's attempts, errors, readings by quality and newest day, by name."""
        return self.log.statistics()


def _readings_of(variable: str, rows: Iterable[Any]) -> list[Reading]:
    return [
        Reading(
            feed,
            variable,
            identity,
            date.fromisoformat(day),
            value,
            from_stamp(known_at),
            product_version=version,
            quality=Quality(quality),
            reason=reason,
        )
        for feed, identity, day, value, known_at, version, quality, reason in rows
    ]


def _moment(as_of: datetime | None) -> str:
    return _END_OF_TIME if as_of is None else to_stamp(as_of)


def _overlaps(series: Series, first: date, last: date) -> bool:
    return (series.valid_from is None or series.valid_from <= last) and (
        series.valid_to is None or series.valid_to >= first
    )


def _column_of(columns: Sequence[Series], candidates: Sequence[int], day: date) -> int:
    if len(candidates) == 1:
        return candidates[0]
    return next(column for column in candidates if _overlaps(columns[column], day, day))


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
