"""Rating tables: from the volume that a reservoir holds to the level of its water."""

from __future__ import annotations

import bisect
import csv
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

from service.feeds.base import FeedFault
from service.feeds.lines import read_header, read_lines, split
from service.feeds.parsing import CellFault
from service.quality import Reason

Rating = tuple[tuple[float, ...], tuple[float, ...]]  # volumes, rising; levels in m above sea level, rising

_COLUMNS = ["series", "volume", "level"]


class Ratings:
    """The tables of a feed's reservoirs, linear between their rows, and nothing beyond them."""

    def __init__(self, tables: Mapping[str, Rating], path: Path) -> None:
        self._tables = tables
        self._path = path

    def level(self, series: str, volume: float) -> float:
        """Return the level at a volume, m above sea level. Raises CellFault outside the table."""
        table = self._tables.get(series)
        if table is None:
            raise CellFault(Reason.UNKNOWN_SERIES, f"{series!r} is not in the rating file {self._path}")
        volumes, levels = table
        if not volumes[0] <= volume <= volumes[-1]:
            raise CellFault(
                Reason.RANGE,
                f"{volume:g} is outside the rating of {series!r}, {volumes[0]:g} to {volumes[-1]:g}",
            )
        above = max(1, bisect.bisect_left(volumes, volume))
        share = (volume - volumes[above - 1]) / (volumes[above] - volumes[above - 1])
        return levels[above - 1] + share * (levels[above] - levels[above - 1])


def read_ratings(path: Path, feed: str) -> Ratings:
    """Read a table of series, volume and level (m). Raises FeedFault where one of its rows cannot be used.

    A reservoir needs two rows or more, and its level rises with its volume.
    """
    rows: dict[str, list[tuple[float, float]]] = {}
    try:
        lines = read_lines(path, "utf-8", feed)
        names = read_header(next(lines), ",", _COLUMNS, str(path), "utf-8", feed)
    except FeedFault as fault:
        raise FeedFault("settings", f"{fault} (the feed's rating_file)") from fault
    places = [names.index(name) for name in _COLUMNS]
    for line in lines:
        try:
            series, volume, level = (split(line.text, ",")[place].strip() for place in places)
            pair = float(volume), float(level)
            if not all(map(math.isfinite, pair)):
                raise ValueError("a number that is not finite")
        except (IndexError, ValueError, csv.Error) as error:
            raise FeedFault(
                "settings", f"feed {feed}: rating_file {path} row {line.row} cannot be used: {error}"
            ) from error
        rows.setdefault(series, []).append(pair)
    tables = {}
    for series, pairs in rows.items():
        volumes, levels = zip(*sorted(pairs), strict=True)
        rising = all(low < high for column in (volumes, levels) for low, high in pairwise(column))
        if len(pairs) < 2 or not rising:
            raise FeedFault(
                "settings",
                f"feed {feed}: rating_file {path}: {series!r} needs two rows or more, and a level that rises "
                "with the volume",
            )
        tables[series] = (volumes, levels)
    return Ratings(tables, path)
