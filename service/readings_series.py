"""The series of the archive: their numbers, and where each was measured since when."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

from service.reading_values import Series, SeriesPosition
from service.sqlite import Database
from service.stamps import from_stamp


class SeriesBook:
    """Tables series and position. It writes inside the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._db = database
        self._numbers: dict[tuple[str, str, str], int] = {}

    def forget(self) -> None:
        """Forget what was read: the transaction in which it was written has failed."""
        self._numbers.clear()

    def number(self, variable: str, feed: str, identity: str) -> int | None:
        """Return the number of a series, or None where the archive does not know it."""
        key = (variable, feed, identity)
        if key not in self._numbers:
            row = self._db.execute(
                "SELECT number FROM series WHERE variable = ? AND feed = ? AND id = ?", key
            ).fetchone()
            if row is None:
                return None
            self._numbers[key] = row[0]
        return self._numbers[key]

    def add(self, feed: str, variable: str, positions: Iterable[SeriesPosition], known_at: str) -> int:
        """Take in where series are measured; return how many are new or have changed.

        An operating range that is not said again stays.
        """
        changed = 0
        for position in positions:
            place = (_or_none(position.lon), _or_none(position.lat), position.elevation_m)
            span = (position.lowest, position.highest)
            number = self.number(variable, feed, position.id)
            if number is None:
                cursor = self._db.execute(
                    "INSERT INTO series (feed, variable, id, first_known_at) VALUES (?, ?, ?, ?)",
                    (feed, variable, position.id, known_at),
                )
                number = self._numbers[variable, feed, position.id] = int(cursor.lastrowid or 0)
            else:
                before = self._db.execute(
                    "SELECT lon, lat, elevation_m, lowest, highest FROM position WHERE series = ?"
                    " ORDER BY known_at DESC, row DESC LIMIT 1",
                    (number,),
                ).fetchone()
                span = tuple(  # type: ignore[assignment]
                    old if new is None else new for new, old in zip(span, before[3:], strict=True)
                )
                if (*place, *span) == before:
                    continue
            self._db.execute(
                "INSERT INTO position (series, known_at, lon, lat, elevation_m, lowest, highest)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (number, known_at, *place, *span),
            )
            changed += 1
        return changed

    def known_from(self, number: int, known_at: str) -> None:
        """Note that a series was known at a moment, if it is not noted as known by then."""
        self._db.execute(
            "UPDATE series SET first_known_at = ? WHERE number = ? AND first_known_at > ?",
            (known_at, number, known_at),
        )

    def reaches(self, number: int, first: str, last: str) -> None:
        """Note that a series has good readings on these days."""
        self._db.execute(
            "UPDATE series SET first_day = min(coalesce(first_day, ?1), ?1),"
            " last_day = max(coalesce(last_day, ?2), ?2) WHERE number = ?3",
            (first, last, number),
        )

    def positions(self, variable: str, moment: str) -> dict[int, list[Series]]:
        """Return the positions of each series, oldest first, by its number; ordered by feed and id.

        Only a series that has moved has more than one; a changed operating range is no move.
        """
        rows = self._db.execute(
            "SELECT s.number, s.id, s.feed, p.lon, p.lat, p.elevation_m, p.lowest, p.highest, p.known_at"
            " FROM series s JOIN position p ON p.series = s.number"
            " WHERE s.variable = ? AND s.first_known_at <= ?"
            " AND (p.known_at <= ? OR p.row = (SELECT q.row FROM position q WHERE q.series = s.number"
            " ORDER BY q.known_at, q.row LIMIT 1)) ORDER BY s.feed, s.id, p.known_at, p.row",
            (variable, moment, moment),
        )
        found: dict[int, list[Series]] = {}
        for number, identity, feed, lon, lat, elevation, lowest, highest, known_at in rows:
            positions = found.setdefault(number, [])
            here = Series(
                identity, feed, variable, _or_nan(lon), _or_nan(lat), elevation, None, None, lowest, highest
            )
            if positions:
                before = positions[-1]
                if _place(before) == _place(here):
                    positions[-1] = replace(before, lowest=lowest, highest=highest)
                    continue
                start = from_stamp(known_at).date()
                here = replace(here, valid_from=start)
                if before.valid_from == start:
                    # Changed again on the same day: the earlier position never held for a whole day.
                    positions.pop()
                else:
                    positions[-1] = replace(before, valid_to=start - timedelta(days=1))
            positions.append(here)
        return found


def _place(series: Series) -> tuple[float | None, float | None, float | None]:
    return _or_none(series.lon), _or_none(series.lat), series.elevation_m


def _or_none(value: float) -> float | None:
    return None if math.isnan(value) else value


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value
