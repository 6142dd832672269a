"""The table that becomes Readings: rows of the archive, a day at a time, into columns of series."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from itertools import compress

import numpy as np
import numpy.typing as npt

from service.reading_values import Readings, Series
from service.readings_rule import Row


class DayTable:
    """Values by day and series, filled day by day: a day's rows at a time are held, not those of all days."""

    def __init__(self, variable: str, days: Sequence[date], positions: dict[int, list[Series]]) -> None:
        if len(set(days)) != len(days):
            raise ValueError("the same day was asked for twice")
        self._variable = variable
        self._days = tuple(days)
        self._series: list[Series] = []
        self._moved: dict[int, list[int]] = {}
        # Column by number of the series; -1: of another variable.
        self._column = np.full(max(positions, default=0) + 1, -1, dtype=np.int64)
        first, last = min(days, default=date.max), max(days, default=date.min)
        for number, found in positions.items():
            here = found if len(found) == 1 else [item for item in found if _overlaps(item, first, last)]
            self._column[number] = len(self._series)
            if len(here) > 1:
                self._moved[number] = list(range(len(self._series), len(self._series) + len(here)))
            self._series += here
        self._value = np.full((len(days), len(self._series)), np.nan, dtype=np.float32)
        self._known_at: list[str | None] = [None] * len(days)

    def fill(self, row: int, said: list[tuple[int, float, str]], doubted: dict[int, Row | None]) -> None:
        """Take in a day's good rows (series, value, known_at), ordered; `doubted`: what stands instead."""
        columns = self._columns_on(self._days[row])
        stamps: list[str] = []
        if said:
            numbers_, values, known = zip(*said, strict=True)
            numbers = np.array(numbers_, dtype=np.int64)
            place = np.full(len(numbers), -1, dtype=np.int64)
            inside = numbers < len(columns)
            place[inside] = columns[numbers[inside]]
            keep = place >= 0
            keep[:-1] &= numbers[1:] != numbers[:-1]  # the newest of each series
            if doubted:
                keep &= ~np.isin(numbers, list(doubted))
            self._value[row, place[keep]] = np.array(values, dtype=np.float64)[keep]
            newest = max(compress(known, keep.tolist()), default=None)
            stamps += [newest] if newest else []
        for number, item in doubted.items():
            if item is not None and number < len(columns) and columns[number] >= 0:
                self._value[row, columns[number]] = item.value
                stamps.append(item.known_at)
        self._known_at[row] = max(stamps, default=None)

    def _columns_on(self, day: date) -> npt.NDArray[np.int64]:
        if not self._moved:
            return self._column
        columns = self._column.copy()
        for number, candidates in self._moved.items():
            columns[number] = next(at for at in candidates if _overlaps(self._series[at], day, day))
        return columns

    def readings(self) -> Readings:
        """Return what was filled in."""
        return Readings(
            variable=self._variable,
            days=self._days,
            series=tuple(self._series),
            value=self._value,
            known_at=max((stamp for stamp in self._known_at if stamp), default=None),
            known_at_by_day=tuple(self._known_at),
        )


def _overlaps(series: Series, first: date, last: date) -> bool:
    return (series.valid_from is None or series.valid_from <= last) and (
        series.valid_to is None or series.valid_to >= first
    )
