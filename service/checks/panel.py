"""The checks look at days x series of one variable, as delivered, and context before the judged days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Self

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from service.settings_quality import LevelRules, RainRules

Values = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Cells = npt.NDArray[np.intp]

NEIGHBOURS = 8
# Two series of different feeds nearer than this may be one gauge that comes twice.
SAME_PLACE_KM = 1.0
_EARTH_KM = 6371.0


class Evidence(tuple[tuple[int, int], ...]):
    """Cells (row, column) without which a reading would not be doubted. The hits of a page share one."""

    @cached_property
    def last(self) -> int:
        """The last row, -1 where there are none."""
        return max((row for row, _ in self), default=-1)


@dataclass(frozen=True)
class Panel:
    """T consecutive days of n series of one variable; a series has one column, wherever it stood."""

    variable: str
    start: date  # of row 0
    first: int  # the row of the first day that is judged; rows before it are context
    feeds: tuple[str, ...]  # the feeds that occur
    rules: tuple[RainRules | LevelRules, ...]  # of each of them
    feed: npt.NDArray[np.intp]  # (n,) index into `feeds`
    ids: tuple[str, ...]
    value: Values  # (T, n) stored unit, NaN where nothing was delivered; doubted values are among them
    lon: Values  # (n,) EPSG:4326, NaN where not known
    lat: Values
    elevation_m: Values  # (n,)
    lowest: Values  # (n,) of the operating range
    highest: Values
    satellite: Values | None = None  # (T, n) rain of the preferred raster product at the series
    # (n,) the last believed value before row 0, of series whose context is doubted throughout; else NaN.
    believed: Values = field(default_factory=lambda: np.zeros(0))
    # What the checks before this one hold for wrong, extremes aside: no reference for others.
    struck: Mask = field(default_factory=lambda: np.zeros((0, 0), dtype=bool))

    def __post_init__(self) -> None:
        """Begin with nothing struck."""
        if self.believed.shape != self.value.shape[1:]:
            object.__setattr__(self, "believed", np.full(self.value.shape[1], np.nan))
        if self.struck.shape != self.value.shape:
            object.__setattr__(self, "struck", np.zeros(self.value.shape, dtype=bool))

    @property
    def shape(self) -> tuple[int, int]:
        """T and n."""
        return self.value.shape[0], self.value.shape[1]

    def day(self, row: int) -> date:
        """Return the day of a row."""
        return self.start + timedelta(days=int(row))

    @cached_property
    def months(self) -> npt.NDArray[np.intp]:
        """Month of each row, 0 to 11: (T,)."""
        return np.array([self.day(row).month - 1 for row in range(len(self.value))], dtype=np.intp)

    @cached_property
    def trusted(self) -> Values:
        """Values without those struck: (T, n)."""
        return np.where(self.struck, np.nan, self.value)

    def strike(self, cells: Sequence[tuple[int, int]]) -> Self:
        """Return the panel with more cells struck."""
        if not cells:
            return self
        struck = self.struck.copy()
        rows, columns = np.array(cells, dtype=np.intp).T
        struck[rows, columns] = True
        return replace(self, struck=struck)

    def rule(self, name: str) -> Values:
        """Return a threshold for each series, by its feed: (n,)."""
        return np.array([getattr(rules, name) for rules in self.rules], dtype=np.float64)[self.feed]

    def columns_of(self, feed: int) -> Cells:
        """Return the columns of one feed."""
        return np.flatnonzero(self.feed == feed)

    @cached_property
    def neighbours(self) -> Cells:
        """The nearest series in range of each, nearest first, padded with n: (n, NEIGHBOURS).

        Series of other feeds at the same place are left out: they may be the same gauge.
        """
        n = len(self.ids)
        found = np.full((n, NEIGHBOURS), n, dtype=np.intp)
        placed = np.flatnonzero(np.isfinite(self.lon) & np.isfinite(self.lat))
        if len(placed) < 2:
            return found
        lon, lat = np.radians(self.lon[placed]), np.radians(self.lat[placed])
        xyz = _EARTH_KM * np.stack(
            [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1
        )
        reach = self.rule("neighbour_km")[placed]
        k = min(len(placed), 2 * NEIGHBOURS)
        distance, index = cKDTree(xyz).query(xyz, k=k)
        own = np.arange(len(placed))[:, None]
        same = (distance < SAME_PLACE_KM) & (self.feed[placed][index] != self.feed[placed][:, None])
        usable = (index != own) & ~same & (distance <= reach[:, None])
        order = np.argsort(~usable, axis=1, kind="stable")[:, :NEIGHBOURS]
        chosen = np.where(
            np.take_along_axis(usable, order, axis=1),
            placed[np.take_along_axis(index, order, axis=1)],
            n,
        )
        found[placed, : chosen.shape[1]] = chosen
        return found

    @cached_property
    def _padded(self) -> Values:
        return np.pad(self.trusted, ((0, 0), (0, 1)), constant_values=np.nan)

    def around(self, rows: Cells, columns: Cells) -> Values:
        """Return what neighbours and, last, the satellite say of m cells: (m, NEIGHBOURS + 1)."""
        near = self._padded[rows[:, None], self.neighbours[columns]]
        seen = np.full(len(rows), np.nan) if self.satellite is None else self.satellite[rows, columns]
        return np.column_stack([near, seen])

    def neighbour_cells(self, row: int, column: int) -> Evidence:
        """Return the cells of the neighbours that reported on a day: the evidence of a comparison."""
        return Evidence(
            (int(row), int(other))
            for other in self.neighbours[column]
            if other < len(self.ids) and np.isfinite(self.trusted[row, other])
        )


def runs_of(same: Mask) -> npt.NDArray[np.int64]:
    """Return for each row how many rows in a stretch, itself included, were True: (T, n)."""
    rows = np.arange(1, len(same) + 1)[:, None]
    last_false = np.maximum.accumulate(np.where(same, 0, rows), axis=0)
    return np.asarray(rows - last_false, dtype=np.int64)
