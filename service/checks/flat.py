"""The flat line: a gauge that is stuck, or a page that is not renewed for one series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import Evidence, Mask, Panel, runs_of

_HABIT_DAYS = 90
_LEAST_HABIT = 20  # changes or stays, before a series has a habit
_AT_BOUND_M = 0.1  # so near the full or the lowest level, a reservoir that spills or is empty is level
_LONGEST_GAP = 3  # days without a reading that a run of equal values bridges


def _flat_line(panel: Panel) -> Iterator[Hit]:
    if panel.variable == "rain":
        yield from _flat_rain(panel)
    else:
        yield from _flat_level(panel)


def _flat_rain(panel: Panel) -> Iterator[Hit]:
    value = panel.value
    same = np.zeros(value.shape, dtype=bool)
    same[1:] = (value[1:] == value[:-1]) & (value[1:] >= panel.rule("flat_minimum_mm"))
    run = runs_of(same) + 1
    heavy = value >= panel.rule("flat_heavy_mm")
    needed = np.where(heavy, panel.rule("flat_heavy_days"), panel.rule("flat_days"))
    yield from _whole_runs(panel, same, same & (run >= needed), run, "mm on each of")


def _flat_level(panel: Panel) -> Iterator[Hit]:
    # A run goes over the rows that report; days between are no change, up to _LONGEST_GAP.
    value = panel.trusted
    rows = np.arange(len(value))[:, None]
    reported = np.isfinite(value)
    last = np.maximum.accumulate(np.where(reported, rows, -1), axis=0)
    before = np.vstack([np.full((1, value.shape[1]), -1), last[:-1]])
    columns = np.arange(value.shape[1])[None, :]
    known = reported & (before >= 0) & (rows - before <= _LONGEST_GAP + 1)
    same = known & (value == value[np.maximum(before, 0), columns])
    # Not reported inside a run counts as the run going on, so that it stands between its days only.
    bridged = same | (~reported & (rows - last <= _LONGEST_GAP) & (last >= 0))
    began = rows - runs_of(bridged)  # the row of the run's first value
    transitions = np.vstack([np.zeros((1, value.shape[1])), np.cumsum(known, axis=0)])
    stays = np.vstack([np.zeros((1, value.shape[1])), np.cumsum(same, axis=0)])
    start = np.maximum(began, 0)
    early = np.maximum(start - _HABIT_DAYS, 0)
    habit = transitions[start + 1, columns] - transitions[early, columns]
    stayed = stays[start + 1, columns] - stays[early, columns]
    in_run = stays[rows + 1, columns] - stays[start + 1, columns]
    chance = (stayed + 1) / (habit + 2)
    unlikely = (habit >= _LEAST_HABIT) & (in_run * np.log(chance) < np.log(panel.rule("flat_chance")))
    at_bound = (value >= panel.highest - _AT_BOUND_M) | (value <= panel.lowest + _AT_BOUND_M)
    long = (in_run + 1 >= panel.rule("flat_days")) | (unlikely & (in_run + 1 >= 5))
    yield from _whole_runs(panel, bridged, same & long & ~at_bound, in_run + 1, "m on each of")


def _whole_runs(panel: Panel, same: Mask, doubted: Mask, run: np.ndarray, unit: str) -> Iterator[Hit]:
    """Doubt the cells; with the first doubted one of a run, the earlier ones but its first value."""
    for row, column in zip(*np.nonzero(doubted), strict=True):
        detail = f"{panel.value[row, column]:g} {unit} the last {int(run[row, column])} days that report"
        yield Hit(int(row), int(column), detail)
        back = row - 1
        while back >= 0 and same[back, column] and not doubted[back, column]:
            if np.isfinite(panel.value[back, column]):
                yield Hit(int(back), int(column), detail, Evidence([(int(row), int(column))]))
            back -= 1


FLAT_LINE = Check(
    CheckName.FLAT_LINE,
    ("rain", "level"),
    extreme=False,
    what="The same value again and again. Rain: quality.rain.flat_days wet days of the same amount of"
    " flat_minimum_mm or more (flat_heavy_days from flat_heavy_mm on); dry days never. Level: a run that the"
    " series' own habit of the 90 days before makes less likely than quality.level.flat_chance, of five days"
    " at least, or one of flat_days whatever the habit; not at the full or the lowest level, where a"
    " reservoir that spills or is empty is level. All but the first value are doubted.",
    why="Of two wet days running under 10 mm, 15 % are equal in Kerala (read to the millimetre by some) and"
    " 3.3 % at the ARPAE gauges; from 10 mm on 2.9 % and 1.0 %: five and three in a row are at most one in a"
    " thousand. Levels are read to the"
    " centimetre or the decimetre, so each series has its own habit; 1e-6 allows one false run in 100 years"
    " of 30 series. 30 days: no lake is level for a month.",
    source="WMO-No. 8 (2018), part V, chapter 1: persistence; Durre et al. (2010), streaks of 20 and more.",
    measured="Kerala 0.25 % of rain (82) and 2.6 % of levels (925), most of these of the small dams Erattayar"
    " (325) and Kallar (316); ARPAE none.",
    cannot="A gauge stuck at zero (see false_zero), the first days of a run until it is long enough.",
    find=_flat_line,
)
