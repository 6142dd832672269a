"""Checks of a level against its own recent levels: units, decimal points, steps."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import Panel, Values

FOOT = 0.3048
_UNITS = ((1 / FOOT, "feet where metres are meant"), (FOOT, "metres taken for feet"))
_DECIMALS = tuple((10.0**power, "a decimal point") for power in (-2, -1, 1, 2, 3))
_LEAST_LEVEL_M = 10.0  # below, a true change may have any ratio
_REMEMBERED = 5
_LONG_AGO_DAYS = 10  # from here on, a gap allows for no more


class _Recent:
    """The last few believed levels of each series, newest first, and the row of each."""

    def __init__(self, panel: Panel) -> None:
        n = len(panel.ids)
        self.value = np.full((_REMEMBERED, n), np.nan)
        self.row = np.full((_REMEMBERED, n), -1, dtype=np.int64)
        self.push(-_LONG_AGO_DAYS, panel.believed)

    def push(self, row: int, value: Values) -> None:
        """Remember the finite ones of a day's values, (n,)."""
        here = np.isfinite(value)
        self.value[1:, here] = self.value[:-1, here]
        self.row[1:, here] = self.row[:-1, here]
        self.value[0, here] = value[here]
        self.row[0, here] = row

    def median(self) -> Values:
        """Median of those remembered, NaN where there are none: (n,)."""
        count = np.isfinite(self.value).sum(axis=0)
        ordered = np.sort(self.value, axis=0)  # NaN last
        columns = np.arange(ordered.shape[1])
        low = ordered[np.maximum(count - 1, 0) // 2, columns]
        high = ordered[np.minimum(count // 2, _REMEMBERED - 1), columns]
        return np.asarray((low + high) / 2)


def _by_ratio(panel: Panel, factors: tuple[tuple[float, str], ...]) -> Iterator[Hit]:
    """Doubt what is a factor times the recent level; what is doubted is no reference for the next day."""
    tolerance = panel.rule("unit_tolerance")
    recent = _Recent(panel)
    for row, value in enumerate(panel.value):
        reference = recent.median()
        doubted = np.zeros(len(value), dtype=bool)
        ratio = _ratio(value, reference)
        for factor, meaning in factors:
            hits = (np.abs(ratio / factor - 1) <= tolerance) & (np.abs(reference) >= _LEAST_LEVEL_M)
            doubted |= hits
            for column in np.flatnonzero(hits):
                yield Hit(
                    row,
                    int(column),
                    f"{value[column]:g} m is {ratio[column]:.4g} times its recent level,"
                    f" {reference[column]:g} m: {meaning}",
                )
        recent.push(row, np.where(doubted, np.nan, panel.trusted[row]))


def _ratio(value: Values, reference: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(value / reference)


LEVEL_UNIT = Check(
    CheckName.LEVEL_UNIT,
    ("level",),
    extreme=False,
    what="A level 3.2808 or 0.3048 times the median of the last five believed ones, within"
    " quality.level.unit_tolerance.",
    why="4 %: no reservoir more than 10 m above the sea changes its level by a factor of three."
    " A lake far above the sea stays within 4 % of its level, and a low one in ten readings.",
    source="Ratio of the international foot to the metre.",
    measured="No reading of Kerala: no level in feet is left in the table.",
    cannot="A series in feet from its first reading on (operating_range does, where the feed gives one); a"
    " change that nobody acts on for three years; levels below 10 m.",
    find=lambda panel: _by_ratio(panel, _UNITS),
)

DECIMAL_POINT = Check(
    CheckName.DECIMAL_POINT,
    ("level",),
    extreme=False,
    what="A level 10, 100, 1000, 0.1 or 0.01 times the median of the last five believed ones, within"
    " quality.level.unit_tolerance.",
    why="As for level_unit. 973.43 as 97343, 419 as 41.9 and 1597.4 as 157.45 stand in the Kerala table.",
    source="Kerala dams table: levels typed by hand.",
    measured="Kerala 0.008 % of levels (3), all of them mistakes.",
    cannot="Two digits exchanged, or one missed that leaves the size of the number (see step).",
    find=lambda panel: _by_ratio(panel, _DECIMALS),
)


def _steps(panel: Panel) -> Iterator[Hit]:
    allowed = panel.rule("step_m")
    recent = _Recent(panel)
    for row, value in enumerate(panel.trusted):
        days = np.clip(row - recent.row[0], 1, _LONG_AGO_DAYS)
        away = np.abs(value - recent.value)
        far = (away > allowed * days) | ~np.isfinite(recent.value)
        hits = far.all(axis=0) & np.isfinite(recent.value[0]) & np.isfinite(value)
        for column in np.flatnonzero(hits):
            yield _step(row, int(column), value, recent.value, recent.row)
        recent.push(row, value)


def _step(row: int, column: int, value: Values, before: Values, rows: npt.NDArray[np.int64]) -> Hit:
    return Hit(
        row,
        column,
        f"{value[column]:g} m is {value[column] - before[0, column]:+g} m from the level of"
        f" {row - rows[0, column]} days before, {before[0, column]:g} m",
    )


STEP = Check(
    CheckName.STEP,
    ("level",),
    extreme=True,
    what="A level farther from each of the last five than quality.level.step_m a day (of at most ten days)."
    " The first of a new level is doubted, the next ones are not.",
    why="8 m: the greatest change in a day of six years of 18 dams in Kerala that its neighbours in time bear"
    " out is 7.1 m; a small reservoir may fill faster in a flood, so the doubt is an extreme's.",
    source="WMO-No. 8 (2018), part V, chapter 1: time consistency checks.",
    measured="Kerala 0.03 % of levels (11); eight of them return the next day.",
    cannot="A mistake smaller than the step; rain, which has no memory.",
    find=_steps,
)
