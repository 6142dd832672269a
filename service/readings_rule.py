"""The one rule for what stands: of all that was said of a series' day, the value that windows are given.

Rows are walked by known_at, then row. Each good row says a value. A row that is not good is a verdict on one
value of that day, and so is a good row with a reason, by which a person accepts it. A verdict lasts, however
often the value is said again, until the next one on it; a check's doubt never overrules a person. What stands
is the good value said last among those with no verdict against them: a doubted correction leaves the value
before it, a doubted first value leaves nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple

from service.quality import Quality

AGAINST = frozenset({Quality.SUSPECT, Quality.REJECTED})
# What would stand if no check had doubted anything.
AGAINST_BY_PERSONS = frozenset({Quality.REJECTED})


class Row(NamedTuple):
    """One row of a series and day; forecasts aside."""

    known_at: str
    row: int
    value: float
    quality: str
    reason: str


def verdicts(rows: Iterable[Row]) -> dict[float, Row]:
    """Return, by value, the row whose verdict is in force; a value that nobody doubted is not there.

    `rows` come ordered by known_at, then row. A good row among the results is an acceptance.
    """
    found: dict[float, Row] = {}
    for item in rows:
        if item.quality == Quality.SUSPECT:
            if item.value not in found:
                found[item.value] = item
        elif item.quality == Quality.REJECTED or item.reason:
            found[item.value] = item
    return found


def standing(rows: Collection[Row], against: Collection[str] = AGAINST) -> Row | None:
    """Return the row that stands, or None. `against`: the qualities that take a value away.

    `rows` come ordered by known_at, then row.
    """
    verdict = verdicts(rows)
    result = None
    for item in rows:
        if item.quality == Quality.GOOD and (
            item.value not in verdict or verdict[item.value].quality not in against
        ):
            result = item
    return result
