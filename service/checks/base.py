"""What a check is, and what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.checks.names import CheckName
from service.checks.panel import Evidence, Panel

NO_OTHERS = Evidence()  # the value alone says it


@dataclass(frozen=True)
class Hit:
    """One doubted cell of a panel."""

    row: int
    column: int
    detail: str  # what, against what, with units
    evidence: Evidence = NO_OTHERS
    satellite: bool = False  # the raster of a row of the evidence is part of it

    @property
    def cell(self) -> tuple[int, int]:
        """Row and column."""
        return self.row, self.column

    @property
    def seen(self) -> int:
        """The row from which on the doubt can be had."""
        return max(self.row, self.evidence.last)


@dataclass(frozen=True)
class Check:
    """One check, with its documentation."""

    name: CheckName
    variables: tuple[str, ...]
    extreme: bool  # a true extreme may look like this
    what: str
    why: str  # the reason of the default thresholds
    source: str
    measured: str  # share of readings doubted in two real tables
    cannot: str  # what it does not see
    find: Callable[[Panel], Iterable[Hit]]
