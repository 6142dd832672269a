"""What the archive shows: values by day and series as known at a moment, histories, the newest readings."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import date, datetime
from itertools import groupby
from typing import Any

from service.quality import Quality
from service.reading_values import ForecastIssue, Fresh, Issue, Reading, Readings, Series, SeriesDay
from service.readings_rule import AGAINST, AGAINST_BY_PERSONS, Row, standing
from service.readings_series import SeriesBook
from service.readings_table import DayTable
from service.sqlite import Database
from service.stamps import END_OF_TIME, from_stamp, moment_of, to_stamp

# One kind of row each, in the words of the partial indexes: SQLite takes them up by these words only.
_GOOD = "quality = 'good' AND {0}issued_at IS NULL"
_DOUBTED = "quality <> 'good' AND {0}issued_at IS NULL"

_A_FEW = 100  # series of a day that are looked up one by one
_AT_ONCE = 500  # rows of one question

_CELL = "known_at, row, value, quality, reason"


class Views:
    """The reading side of readings.sqlite."""

    def __init__(self, database: Database, book: SeriesBook) -> None:
        self._db = database
        self._book = book

    # --- values ---

    def values(
        self, variable: str, days: Sequence[date], as_of: datetime | None, suspects: Collection[SeriesDay]
    ) -> Readings:
        """See Archive.values."""
        moment = moment_of(as_of)
        table = DayTable(variable, days, self._measured(variable, moment))
        lifted = {
            (self._book.number(variable, item.feed, item.series), item.day.isoformat())
            for item in suspects
            if item.variable == variable
        }
        for row, day in enumerate(days):
            text = day.isoformat()
            said = self._db.execute(
                f"SELECT series, value, known_at FROM reading WHERE day = ? AND {_GOOD.format('')}"  # noqa: S608
                " AND known_at <= ? ORDER BY series, known_at, row",
                (text, moment),
            ).fetchall()
            table.fill(row, said, self._standing_where_doubted(text, moment, lifted))
        return table.readings()

    def _measured(self, variable: str, moment: str) -> dict[int, list[Series]]:
        """Return positions as the book does, without those of forecasts: nobody measures there."""
        positions = self._book.positions(variable, moment)
        forecast_only = self._db.execute(
            "SELECT s.number FROM series s JOIN (SELECT DISTINCT feed FROM series WHERE variable = ?1) f"
            " ON f.feed = s.feed WHERE s.variable = ?1 AND s.last_day IS NULL"
            " AND EXISTS (SELECT 1 FROM forecast_day d WHERE d.variable = ?1 AND d.feed = f.feed)",
            (variable,),
        )
        for (number,) in forecast_only:
            positions.pop(number, None)
        return positions

    def _standing_where_doubted(
        self, day: str, moment: str, lifted: Collection[tuple[int | None, str]]
    ) -> dict[int, Row | None]:
        """Return what stands on a day, by the number of each series of which something was doubted."""
        return {
            number: standing(rows, AGAINST_BY_PERSONS if (number, day) in lifted else AGAINST)
            for number, rows in self._doubted_cells(day, moment)
        }

    def _doubted_cells(self, day: str, moment: str) -> Iterator[tuple[int, list[Row]]]:
        rows = self._db.execute(
            f"SELECT series, {_CELL} FROM reading WHERE day = ?1 AND {_DOUBTED.format('')}"  # noqa: S608
            f" AND known_at <= ?2 UNION ALL SELECT g.series, g.known_at, g.row, g.value, g.quality, g.reason"
            f" FROM (SELECT DISTINCT series FROM reading WHERE day = ?1 AND {_DOUBTED.format('')}"
            f" AND known_at <= ?2) d CROSS JOIN reading g ON g.series = d.series AND g.day = ?1"
            f" WHERE g.{_GOOD.format('g.')} AND g.known_at <= ?2 ORDER BY 1, 2, 3",
            (day, moment),
        )
        for number, group in groupby(rows, key=lambda item: item[0]):
            yield number, [Row(*item[1:]) for item in group]

    def forecast_values(
        self, variable: str, days: Sequence[date], issue: ForecastIssue, as_of: datetime | None
    ) -> Readings:
        """See Archive.forecast_values."""
        moment = moment_of(as_of)
        positions = {
            number: found
            for number, found in self._book.positions(variable, moment).items()
            if found[0].feed == issue.feed
        }
        table = DayTable(variable, days, positions)
        for row, day in enumerate(days):
            said = self._db.execute(
                "SELECT series, value, known_at FROM reading WHERE issued_at = ? AND member IS ?"
                " AND day = ? AND quality = 'good' AND known_at <= ?"
                " ORDER BY series, known_at, row",
                (to_stamp(issue.issued_at), issue.member, day.isoformat(), moment),
            ).fetchall()
            table.fill(row, said, {})
        return table.readings()

    def issues(self, variable: str, as_of: datetime | None, since: datetime | None) -> list[Issue]:
        """See Archive.issues."""
        rows = self._db.execute(
            "SELECT feed, issued_at, min(known_at), group_concat(DISTINCT member), min(day), max(day)"
            " FROM forecast_day WHERE variable = ? AND issued_at >= ? AND known_at <= ?"
            " GROUP BY issued_at, feed ORDER BY issued_at DESC, feed",
            (variable, to_stamp(since) if since else "", moment_of(as_of)),
        )
        return [
            Issue(
                feed,
                from_stamp(issued_at),
                from_stamp(known_at),
                tuple(
                    None if number < 0 else number
                    for number in sorted(int(part) for part in members.split(","))
                ),
                date.fromisoformat(first),
                date.fromisoformat(last),
            )
            for feed, issued_at, known_at, members, first, last in rows
        ]

    # --- readings one by one ---

    def cell(self, number: int, day: str, moment: str = END_OF_TIME) -> list[Row]:
        """Return all rows of a series and day known at a moment, forecasts aside, by known_at, then row."""
        rows = self._db.execute(
            f"SELECT {_CELL} FROM reading WHERE series = ?1 AND day = ?2 AND {_GOOD.format('')}"  # noqa: S608
            f" AND known_at <= ?3 UNION ALL SELECT {_CELL} FROM reading WHERE series = ?1 AND day = ?2"
            f" AND {_DOUBTED.format('')} AND known_at <= ?3 ORDER BY 1, 2",
            (number, day, moment),
        )
        return [Row(*row) for row in rows]

    def reading(self, row: int) -> Reading:
        """Return one row of the archive as a Reading."""
        return self._readings("r.row = ?", (row,))[0]

    def _readings_of(self, rows: Sequence[int]) -> list[Reading]:
        return self._readings(f"r.row IN ({', '.join('?' * len(rows))})", rows)

    def history(self, feed: str, variable: str, series: str, day: date) -> list[Reading]:
        """See Archive.history."""
        number = self._book.number(variable, feed, series)
        found = self._readings(
            f"r.series = ? AND r.day = ? AND r.{_GOOD.format('r.')}", (number, day.isoformat())
        )
        found += self._readings(
            f"r.series = ? AND r.day = ? AND r.{_DOUBTED.format('r.')}", (number, day.isoformat())
        )
        for issued_at, member in self._db.execute(
            "SELECT issued_at, nullif(member, -1) FROM forecast_day"
            " WHERE variable = ? AND feed = ? AND day = ?",
            (variable, feed, day.isoformat()),
        ).fetchall():
            found += self._readings(
                "r.issued_at = ? AND r.member IS ? AND r.day = ? AND r.series = ?",
                (issued_at, member, day.isoformat(), number),
            )
        return sorted(found, key=lambda item: (item.known_at, item.row))

    def _readings(self, where: str, parameters: Iterable[Any]) -> list[Reading]:
        rows = self._db.execute(
            "SELECT s.feed, s.variable, s.id, r.day, r.value, r.known_at, r.issued_at, r.member,"  # noqa: S608
            " r.product_version, r.quality, r.reason, r.known_at_assumed, r.row"
            f" FROM reading r JOIN series s ON s.number = r.series WHERE {where} ORDER BY r.known_at, r.row",
            tuple(parameters),
        )
        return [
            Reading(
                feed,
                variable,
                identity,
                date.fromisoformat(day),
                value,
                from_stamp(known_at),
                from_stamp(issued_at) if issued_at else None,
                member,
                version,
                Quality(quality),
                reason,
                bool(assumed),
                row,
            )
            for (
                feed,
                variable,
                identity,
                day,
                value,
                known_at,
                issued_at,
                member,
                version,
                quality,
                reason,
                assumed,
                row,
            ) in rows
        ]

    def latest_readings(self, variable: str, until: date) -> list[Reading]:
        """See Archive.latest_readings."""
        newest = self._newest_good(variable, until.isoformat())
        for number, day in self._db.execute(
            "SELECT s.number, max(r.day) FROM reading r JOIN series s ON s.number = r.series"  # noqa: S608
            f" WHERE r.day <= ? AND s.variable = ? AND r.{_DOUBTED.format('r.')} GROUP BY s.number",
            (until.isoformat(), variable),
        ):
            newest[number] = max(day, newest.get(number, ""))
        found = self._shown(newest.items())
        return sorted(found, key=lambda item: (item.feed, item.series))

    def _newest_good(self, variable: str, until: str) -> dict[int, str]:
        """Return the newest day with a good reading up to a day, by number of the series."""
        found: dict[int, str] = {}
        late: set[int] = set()
        for number, last in self._db.execute(
            "SELECT number, last_day FROM series WHERE variable = ? AND first_day <= ?",
            (variable, until),
        ):
            if last <= until:
                found[number] = last
            else:
                late.add(number)
        # Of the others, backwards day by day, until all are found.
        day = self._day_beyond("<", until + "~")
        while late and day is not None:
            here = {
                number
                for (number,) in self._db.execute(
                    f"SELECT series FROM reading WHERE day = ? AND {_GOOD.format('')}",  # noqa: S608
                    (day,),
                )
            }
            found.update((number, day) for number in late & here)
            late -= here
            day = self._day_beyond("<", day)
        return found

    def newest_by_day(self, variable: str, since: date) -> list[Reading]:
        """See Archive.newest_by_day."""
        cells = self._db.execute(
            "SELECT DISTINCT r.series, r.day FROM reading r JOIN series s ON s.number = r.series"  # noqa: S608
            f" WHERE r.day >= ?1 AND r.{_GOOD.format('r.')} AND s.variable = ?2 UNION"
            " SELECT DISTINCT r.series, r.day FROM reading r JOIN series s ON s.number = r.series"
            f" WHERE r.day >= ?1 AND r.{_DOUBTED.format('r.')} AND s.variable = ?2",
            (since.isoformat(), variable),
        ).fetchall()
        return sorted(self._shown(cells), key=lambda item: (item.feed, item.series, item.day))

    def _shown(self, cells: Iterable[tuple[int, str]]) -> list[Reading]:
        """Return what stands for each series and day; where nothing does, the last verdict."""
        by_day: dict[str, list[int]] = {}
        for number, day in cells:
            by_day.setdefault(day, []).append(number)
        chosen: list[int] = []
        for day, numbers in by_day.items():
            doubted = dict(self._doubted_cells(day, END_OF_TIME))
            if len(numbers) > _A_FEW:
                newest = dict(
                    self._db.execute(
                        "SELECT series, row FROM reading WHERE day = ?"  # noqa: S608
                        f" AND {_GOOD.format('')} ORDER BY series, known_at, row",
                        (day,),
                    )
                )
            else:
                newest = {number: self.cell(number, day)[-1].row for number in numbers}
            for number in numbers:
                if number in doubted:
                    rows = doubted[number]
                    row = standing(rows) or [item for item in rows if item.quality != Quality.GOOD][-1]
                    chosen.append(row.row)
                else:
                    chosen.append(newest[number])
        return [
            reading
            for start in range(0, len(chosen), _AT_ONCE)
            for reading in self._readings_of(chosen[start : start + _AT_ONCE])
        ]

    # --- extent ---

    def fresh(self, variable: str, after_row: int) -> Fresh | None:
        """See Archive.fresh."""
        # Two passes that keep what is distinct, not one that sorts: the first run may find all rows fresh.
        rows = (
            "FROM reading r NOT INDEXED CROSS JOIN series s ON s.number = r.series"
            " WHERE r.row > ? AND r.quality = 'good' AND r.issued_at IS NULL AND s.variable = ?"
        )
        asked = (after_row, variable)
        days = self._db.execute(f"SELECT DISTINCT r.day {rows}", asked).fetchall()
        if not days:
            return None
        series = self._db.execute(f"SELECT DISTINCT s.feed, s.id {rows}", asked).fetchall()
        newest = self._db.execute(f"SELECT r.row {rows} ORDER BY r.row DESC LIMIT 1", asked).fetchone()
        return Fresh(
            tuple(sorted(date.fromisoformat(day) for (day,) in days)), tuple(sorted(series)), newest[0]
        )

    def fresh_since(self, after_row: int) -> datetime | None:
        """See Archive.fresh_since."""
        (stamp,) = self._db.execute(
            "SELECT min(known_at) FROM reading NOT INDEXED"
            " WHERE row > ? AND quality = 'good' AND issued_at IS NULL",
            (after_row,),
        ).fetchone()
        return from_stamp(stamp) if stamp else None

    def outermost(self, order: str, variable: str | None) -> date | None:
        """Return the oldest (`order` = "ASC") or newest ("DESC") day on which some reading stands."""
        pick, beyond = ("max(last_day)", "<") if order == "DESC" else ("min(first_day)", ">")
        row = self._db.execute(
            f"SELECT {pick} FROM series WHERE ?1 IS NULL OR variable = ?1",  # noqa: S608
            (variable,),
        ).fetchone()
        day = row[0]
        while day is not None and not self._anything_stands(day, variable):
            day = self._day_beyond(beyond, day)
        return date.fromisoformat(day) if day else None

    def _day_beyond(self, beyond: str, day: str) -> str | None:
        pick = "max" if beyond == "<" else "min"
        row = self._db.execute(
            f"SELECT {pick}(day) FROM reading WHERE day {beyond} ? AND {_GOOD.format('')}",  # noqa: S608
            (day,),
        ).fetchone()
        return None if row[0] is None else str(row[0])

    def _anything_stands(self, day: str, variable: str | None) -> bool:
        # The order of the loops is by series, of which one variable may have few.
        rows = self._db.execute(
            "SELECT r.series FROM series s CROSS JOIN reading r ON r.series = s.number AND r.day = ?1"  # noqa: S608
            f" AND r.{_GOOD.format('r.')} WHERE (?2 IS NULL OR s.variable = ?2)"
            " AND s.first_day <= ?1 AND s.last_day >= ?1 AND NOT EXISTS (SELECT 1 FROM reading d"
            f" WHERE d.day = ?1 AND d.series = s.number AND d.{_DOUBTED.format('d.')}) LIMIT 1",
            (day, variable),
        ).fetchone()
        if rows is not None:
            return True
        of = "SELECT 1 FROM series WHERE number = ? AND (?2 IS NULL OR variable = ?2)"
        return any(
            row is not None and self._db.execute(of, (number, variable)).fetchone()
            for number, row in self._standing_where_doubted(day, END_OF_TIME, ()).items()
        )
