"""Components of high cells as rows of a table, and the largest of those that are finished."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from service.row_runs import Ints

ZONE_CODES = 65_536  # zone codes are uint16


@dataclass(frozen=True)
class Component:
    """A finished component; counts are of cells."""

    cells: int
    total: int  # of stored susceptibility
    maximum: int
    known_before: int
    grown: int
    first: int  # row-major index of its first cell
    zone: int  # code that most of its cells lie in; 0: none
    pieces: tuple[int, ...]  # numbers of what strips hold of it


@dataclass
class Largest:
    """Keeps the largest components, and counts the others that are large enough."""

    min_cells: float
    at_most: int
    left_out: int = 0
    left_out_cells: int = 0
    _kept: list[Component] = field(default_factory=list)

    def add(self, component: Component) -> None:
        """Take a finished component."""
        self._kept.append(component)
        if len(self._kept) > 2 * self.at_most + 64:
            self._cut()

    def result(self) -> list[Component]:
        """Return the largest so far, largest first; equal ones by their first cells."""
        self._cut()
        return self._kept

    def _cut(self) -> None:
        self._kept.sort(key=lambda component: (-component.cells, component.first))
        self.left_out += len(self._kept[self.at_most :])
        self.left_out_cells += sum(component.cells for component in self._kept[self.at_most :])
        del self._kept[self.at_most :]


@dataclass(frozen=True)
class Table:
    """Components side by side, one row each; `zones` and `pieces` point at rows by their first column."""

    sums: Ints  # (n, 4): cells, stored susceptibility, cells known before, cells grown
    maximum: Ints  # (n,): of stored susceptibility
    first: Ints  # (n,): row-major index of the first cell
    zones: Ints  # (z, 3): row, zone code, cells; sorted
    pieces: Ints  # (p, 2): row, number of the piece

    def __len__(self) -> int:
        return len(self.sums)

    @classmethod
    def empty(cls) -> Table:
        """Return a table without rows."""
        none = np.zeros(0, np.int64)
        return cls(none.reshape(0, 4), none, none, none.reshape(0, 3), none.reshape(0, 2))

    def below(self, other: Table) -> Table:
        """Put the rows of `other` under these."""
        size = len(self)
        return Table(
            np.concatenate([self.sums, other.sums]),
            np.concatenate([self.maximum, other.maximum]),
            np.concatenate([self.first, other.first]),
            np.concatenate([self.zones, np.add(other.zones, [size, 0, 0])]),
            np.concatenate([self.pieces, np.add(other.pieces, [size, 0])]),
        )

    def merge(self, group: Ints, count: int) -> Table:
        """Join the rows with the same group, 0..count-1."""
        sums = np.zeros((count, 4), np.int64)
        np.add.at(sums, group, self.sums)
        maximum = np.zeros(count, np.int64)
        np.maximum.at(maximum, group, self.maximum)
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, group, self.first)
        pieces = np.column_stack([group[self.pieces[:, 0]], self.pieces[:, 1]])
        return Table(sums, maximum, first, zone_cells(group, self.zones), pieces)

    def take(self, chosen: npt.NDArray[np.bool_]) -> Table:
        """Keep the chosen rows, in order."""
        place = np.cumsum(chosen) - 1

        def of(table: Ints) -> Ints:
            rows = table[chosen[table[:, 0]]]
            return np.column_stack([place[rows[:, 0]], rows[:, 1:]])

        return Table(
            self.sums[chosen], self.maximum[chosen], self.first[chosen], of(self.zones), of(self.pieces)
        )

    def components(self) -> Iterator[Component]:
        """Give each row as a component."""
        zones: dict[int, tuple[int, int]] = {}
        for row, code, cells in self.zones.tolist():
            if code and cells > zones.get(row, (0, 0))[1]:  # rows are sorted: ties go to the lower code
                zones[row] = (code, cells)
        pieces = defaultdict(list)
        for row, number in self.pieces.tolist():
            pieces[row].append(number)
        for row, (cells, total, known_before, grown) in enumerate(self.sums.tolist()):
            yield Component(
                cells=cells,
                total=total,
                maximum=int(self.maximum[row]),
                known_before=known_before,
                grown=grown,
                first=int(self.first[row]),
                zone=zones.get(row, (0, 0))[0],
                pieces=tuple(pieces[row]),
            )


def zone_cells(group: Ints, zones: Ints) -> Ints:
    """Sum up zones (z, 3) of things by their group: (n, 3) of group, zone code, cells; sorted."""
    keys, inverse = np.unique(group[zones[:, 0]] * ZONE_CODES + zones[:, 1], return_inverse=True)
    cells = np.zeros(len(keys), np.int64)
    np.add.at(cells, inverse, zones[:, 2])
    return np.column_stack([keys // ZONE_CODES, keys % ZONE_CODES, cells])
