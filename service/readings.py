"""The bitemporal archive of readings: what was measured for a day, and since when we know it.

Nothing is overwritten. A correction is a new row with a later known_at, a gauge that moved is a new position,
and so is every doubt about a reading and every decision on a doubt (service.readings_rule says what stands).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import Self

from service.errors import InputError
from service.feed_log import FeedLog, FeedStatistics
from service.quality import Quality
from service.raster_index import RasterIndex
from service.reading_values import (
    AddReport,
    Doubt,
    ForecastIssue,
    Fresh,
    Issue,
    Reading,
    Readings,
    Series,
    SeriesDay,
    SeriesPosition,
    Suspect,
)
from service.readings_doubts import Doubts
from service.readings_schema import MIGRATIONS
from service.readings_series import SeriesBook
from service.readings_views import Views
from service.sqlite import open_database, transaction
from service.stage import Stage
from service.stamps import END_OF_TIME, moment_of, to_stamp, utc_now

_PLAIN = (
    "SELECT value, product_version, known_at FROM reading WHERE series = ? AND day = ? AND known_at <= ?"
    " AND {quality} AND issued_at IS NULL ORDER BY known_at DESC, row DESC LIMIT 1"
)
_STANDING_GOOD = _PLAIN.format(quality="quality = 'good'")
_STANDING_OTHER = _PLAIN.format(quality="quality <> 'good' AND quality = ?")
_STANDING_FORECAST = (
    "SELECT value, product_version, known_at FROM reading WHERE issued_at = ? AND member IS ? AND day = ?"
    " AND series = ? AND known_at <= ? AND quality = ? ORDER BY known_at DESC, row DESC LIMIT 1"
)


class Archive:
    """readings.sqlite and the rasters beside it. One object for one thread."""

    def __init__(self, path: Path, clock: Callable[[], datetime] = utc_now, *, make: bool = True) -> None:
        """Open the archive; `make` = False is for those who only look, and makes no file."""
        self.path = path
        self.clock = clock
        self._db = open_database(path, MIGRATIONS, "archive of readings", make=make)
        self._book = SeriesBook(self._db)
        self._views = Views(self._db, self._book)
        self.log = FeedLog(self._db)
        self._doubts = Doubts(self._db, self._book, self._views, self.log)
        self.rasters = RasterIndex(self._db, path.parent)

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
            self._book.forget()  # series numbered in the block are gone
            raise

    def stage(self) -> Stage:
        """Return an empty place for the rows of one fetch. There is one at a time."""
        return Stage(self._db)

    # --- writing ---

    def add_series(
        self, feed: str, variable: str, positions: Iterable[SeriesPosition], known_at: datetime | None = None
    ) -> int:
        """Take in where series are measured; return how many are new or have moved or changed their range.

        The first position of a series holds from ever; a changed one holds from the day it became known.
        """
        with self.transaction():
            return self._book.add(feed, variable, positions, to_stamp(known_at or self.clock()))

    def add(self, readings: Iterable[Reading], now: datetime | None = None) -> AddReport:
        """Take in readings, all or none; what is known already adds no row.

        A reading without known_at is known from `now` (default: the clock). One whose known_at is an
        assumption keeps it only as the first row of its day; a correction is known from `now`. Readings with
        `issued_at` are forecasts: each issue and member is apart from all others and from what was measured.

        Raises InputError for a series that add_series has not been told of, ValueError for a value that is
        not finite (a missing value is no reading).
        """
        stamp = to_stamp(now or self.clock())
        counts: Counter[str] = Counter()
        rows: Counter[tuple[str, str]] = Counter()
        earliest: dict[int, str] = {}
        reach: dict[int, tuple[str, str]] = {}
        doubted: dict[str, set[int]] = {}
        shaken: set[tuple[int, str]] = set()  # doubted before, and something new was said of it
        ahead: dict[tuple[object, ...], str] = {}
        with self.transaction():
            for reading in readings:
                outcome, number, known_at, is_row = self._add(reading, stamp)
                day = reading.day.isoformat()
                if is_row and reading.issued_at is None:
                    if day not in doubted:
                        doubted[day] = self._doubts.doubted_on(day)
                    if number in doubted[day] or reading.quality is not Quality.GOOD:
                        shaken.add((number, day))
                if outcome != "unchanged":
                    rows[reading.feed, reading.quality.value] += 1
                    if known_at < earliest.get(number, END_OF_TIME):
                        earliest[number] = known_at
                    if reading.issued_at is not None:
                        key = _forecast_day(reading)
                        ahead[key] = min(known_at, ahead.get(key, END_OF_TIME))
                    elif reading.quality is Quality.GOOD:
                        first, last = reach.get(number, (day, day))
                        reach[number] = min(first, day), max(last, day)
                if reading.quality is Quality.REJECTED:
                    outcome = "rejected"
                counts[outcome] += 1
            for number, known_at in earliest.items():
                self._book.known_from(number, known_at)
            for number, (first, last) in reach.items():
                self._book.reaches(number, first, last)
            for number, day in shaken:
                self._doubts.settle(number, day)
            self._db.executemany(
                "INSERT INTO forecast_day (variable, feed, issued_at, member, day, known_at)"
                " VALUES (?, ?, ?, ?, ?, ?)"
                " ON CONFLICT DO UPDATE SET known_at = min(known_at, excluded.known_at)",
                [(*key, known_at) for key, known_at in ahead.items()],
            )
            self.log.count(rows)
        return AddReport(counts["new"], counts["corrected"], counts["unchanged"], counts["rejected"])

    def _add(self, reading: Reading, now: str) -> tuple[str, int, str, bool]:
        """Return outcome, number of the series, known_at, and whether a row was added."""
        if not math.isfinite(reading.value):
            raise ValueError(f"{reading.series} {reading.day}: {reading.value} is no reading; leave it out")
        number = self._book.number(reading.variable, reading.feed, reading.series)
        if number is None:
            raise InputError(
                f"feed {reading.feed}: series {reading.series!r} ({reading.variable}) is not in the archive; "
                "give its position first"
            )
        issued_at = to_stamp(reading.issued_at) if reading.issued_at else None
        known_at = to_stamp(reading.known_at) if reading.known_at else now
        fixed = reading.known_at is not None and not reading.known_at_assumed
        day, quality = reading.day.isoformat(), reading.quality.value
        until = known_at if fixed else END_OF_TIME
        if issued_at is not None:
            sought = self._db.execute(
                _STANDING_FORECAST, (issued_at, reading.member, day, number, until, quality)
            )
        elif reading.quality is Quality.GOOD:
            sought = self._db.execute(_STANDING_GOOD, (number, day, until))
        else:
            sought = self._db.execute(_STANDING_OTHER, (number, day, until, quality))
        standing = sought.fetchone()
        assumed = reading.known_at_assumed
        said_again = standing is not None and (reading.value, reading.product_version) == standing[:2]
        # Said again at a later moment of its own, a value gets a row: a correction of a moment between may
        # still arrive, and must not outlast it.
        if said_again and not (fixed and standing[2] < known_at):
            return "unchanged", number, known_at, False
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
                quality,
                reading.reason,
                assumed,
            ),
        )
        if said_again:
            return "unchanged", number, known_at, True
        return "new" if standing is None else "corrected", number, known_at, True

    # --- doubts ---

    def doubt(self, doubts: Iterable[Doubt], now: datetime) -> int:
        """Keep what checks say against values; return how many suspect rows that adds.

        What a check has said before, or of a value that a person accepted or rejected, adds none. `now` is
        when the checks ran. Raises ValueError for a value that was never read.
        """
        with self.transaction():
            return self._doubts.add(doubts, to_stamp(now))

    def suspects(
        self,
        variable: str | None = None,
        since: date | None = None,
        until: date | None = None,
        feed: str | None = None,
        as_of: datetime | None = None,
        *,
        open_only: bool = True,
    ) -> list[Suspect]:
        """Return doubted values known at `as_of`, oldest day first.

        Open are those that would stand if nobody doubted them, and on which no person has decided.
        """
        found = self._doubts.suspects(variable, since, until, feed, as_of)
        return [item for item, is_open in found if is_open or not open_only]

    def accept(self, number: int, by: str, reason: str, now: datetime) -> Suspect:
        """Take a suspect value as good from now on; no check doubts it again. So a rejection is taken back.

        Raises UsageError where there is no such suspect, or a person has decided on it.
        """
        with self.transaction():
            return self._doubts.accept(number, by, reason, now)

    def reject(self, number: int, by: str, reason: str, now: datetime) -> Suspect:
        """Take a suspect value as wrong from now on, however often its feed says it again.

        Raises UsageError where there is no such suspect, or a person has decided on it.
        """
        with self.transaction():
            return self._doubts.reject(number, by, reason, now)

    def reject_reading(self, at: SeriesDay, by: str, reason: str, now: datetime) -> int:
        """Take the value that stands for a series and day as wrong from now on; return the row that says so.

        Raises UsageError where none stands.
        """
        with self.transaction():
            return self._doubts.reject_reading(at, by, reason, now)

    def suspect_counts(self) -> dict[tuple[str, str], int]:
        """Count open suspects by feed and check; one that several checks doubt counts for each."""
        return self._doubts.open_by_check()

    def open_suspects(self) -> dict[str, int]:
        """Count open suspects by feed."""
        return self._doubts.open_by_feed()

    def newest_row(self) -> int:
        """Return the number of the newest row; 0 where there is none."""
        return int(self._db.execute("SELECT coalesce(max(row), 0) FROM reading").fetchone()[0])

    def judged_row(self) -> int:
        """Return the row up to which the checks have seen all readings; 0 where they never ran."""
        row = self._db.execute("SELECT row FROM judged").fetchone()
        return int(row[0]) if row else 0

    def unchecked_row(self) -> int:
        """Return the row up to which readings were used before there were checks; 0 where none were."""
        row = self._db.execute("SELECT unchecked FROM judged").fetchone()
        return int(row[0]) if row else 0

    def set_judged_row(self, row: int) -> None:
        """Note that the checks have seen all readings up to a row."""
        with self.transaction():
            self._db.execute(
                "INSERT INTO judged (id, row) VALUES (1, ?)"
                " ON CONFLICT (id) DO UPDATE SET row = excluded.row",
                (row,),
            )

    def fresh(self, variable: str, after_row: int) -> Fresh | None:
        """Return which days and series good readings after a row touch; None: none came. No forecasts."""
        return self._views.fresh(variable, after_row)

    def fresh_since(self, after_row: int) -> datetime | None:
        """Return when the first of the good readings after a row became known; no forecasts."""
        return self._views.fresh_since(after_row)

    # --- reading ---

    def series(self, variable: str, as_of: datetime | None = None) -> list[Series]:
        """Return each series of a variable at its newest position known at `as_of`, by feed and id."""
        return [positions[-1] for positions in self._book.positions(variable, moment_of(as_of)).values()]

    def values(
        self,
        variable: str,
        days: Sequence[date],
        as_of: datetime | None = None,
        suspects: Collection[SeriesDay] = (),
    ) -> Readings:
        """Return, for each day and series, the value that stood at `as_of` (see service.readings_rule).

        `suspects` are days of series whose open suspect values are taken as good. Forecasts are not among
        them. Every series known at `as_of` has a column, in order of feed and id, whether it reported or not;
        one that moved while `days` ran has one for each position.
        """
        return self._views.values(variable, days, as_of, suspects)

    def issues(
        self, variable: str, as_of: datetime | None = None, since: datetime | None = None
    ) -> list[Issue]:
        """Return the issues of forecasts known at `as_of`, issued from `since` on, newest first."""
        return self._views.issues(variable, as_of, since)

    def forecast_values(
        self, variable: str, days: Sequence[date], issue: ForecastIssue, as_of: datetime | None = None
    ) -> Readings:
        """Return, for each day and series of its feed, what one issue and member said, factors not applied.

        Series as in `values`.
        """
        return self._views.forecast_values(variable, days, issue, as_of)

    def history(self, feed: str, variable: str, series: str, day: date) -> list[Reading]:
        """Return every row of a series and day, oldest knowledge first, forecasts included."""
        return self._views.history(feed, variable, series, day)

    def latest_readings(self, variable: str, until: date) -> list[Reading]:
        """Return the newest reading of each series up to a day, by feed and id.

        That is what stands for its day; where nothing does, the last suspect or rejected one. No forecasts.
        """
        return self._views.latest_readings(variable, until)

    def newest_by_day(self, variable: str, since: date) -> list[Reading]:
        """Return the reading of each series and day from a day on, by feed, id and day.

        That is what stands for the day; where nothing does, the last suspect or rejected one. No forecasts.
        """
        return self._views.newest_by_day(variable, since)

    def first_day(self, variable: str | None = None) -> date | None:
        """Return the oldest day on which a reading or raster of the variable (or of any) stands."""
        days = (self._views.outermost("ASC", variable), self.rasters.first_day(variable=variable))
        return min(filter(None, days), default=None)

    def newest_day(self, variable: str | None = None) -> date | None:
        """Return the newest day on which a reading or raster of the variable (or of any) stands."""
        days = (self._views.outermost("DESC", variable), self.rasters.newest_day(variable=variable))
        return max(filter(None, days), default=None)

    def feed_statistics(self) -> tuple[FeedStatistics, ...]:
        """Return each feed's attempts, errors, readings by quality and newest day, by name."""
        return self.log.statistics()


def _forecast_day(reading: Reading) -> tuple[object, ...]:
    """Return the key of a forecast's row in table forecast_day."""
    issued_at = to_stamp(reading.issued_at) if reading.issued_at else ""
    member = -1 if reading.member is None else reading.member
    return reading.variable, reading.feed, issued_at, member, reading.day.isoformat()
