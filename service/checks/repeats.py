"""Old numbers under new dates: a whole page of a feed, or a block of days of one series."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import Cells, Evidence, Mask, Panel, runs_of

_PAGE_LAGS = range(1, 8)
_BLOCK_LAGS = range(2, 15)
_WET_MM = 0.5
_WHOLE_PAGE = 0.9
_MOVER = 0.5  # a level that stays on fewer of its days than this usually moves
_HABIT_DAYS = 60
_PAGE_CHANCE = 1e-4  # of a page of a few levels, by the habit of each: once in 27 years


def _stale_page(panel: Panel) -> Iterator[Hit]:
    for feed in range(len(panel.feeds)):
        columns = panel.columns_of(feed)
        if panel.variable == "rain":
            yield from _stale_rain(panel, columns)
        else:
            yield from _stale_levels(panel, columns)


def _stale_rain(panel: Panel, columns: Cells) -> Iterator[Hit]:
    value = panel.value[:, columns]
    fewest, share = (panel.rule(name)[columns][0] for name in ("page_series", "page_share"))
    stuck = np.zeros(value.shape, dtype=bool)
    stuck[1:] = (value[1:] == value[:-1]) & (value[1:] > 0)
    told = np.zeros(len(value), dtype=bool)
    for lag in _PAGE_LAGS:
        now, then = value[lag:], value[:-lag]
        both = np.isfinite(now) & np.isfinite(then)
        # A gauge that was stuck before says nothing about the page.
        wet = both & (np.fmax(now, then) >= _WET_MM) & ~stuck[: len(then)]
        same = both & (now == then)
        equal, of = (same & wet).sum(axis=1), wet.sum(axis=1)
        stale = (equal >= fewest) & (equal >= share * of)
        stale |= (
            (equal >= 3) & (equal == of) & (same.sum(axis=1) == both.sum(axis=1)) & (both.sum(axis=1) < 8)
        )
        for at in np.flatnonzero(stale):
            row = int(at) + lag
            if told[row] or len(np.unique(now[at][(same & wet)[at]])) < 3:
                continue
            told[row] = True
            whole = same[at].sum() >= _WHOLE_PAGE * both[at].sum()
            chosen = same[at] if whole else (same & wet)[at]
            yield from _page(panel, row, lag, columns[chosen], int(equal[at]), int(of[at]), "wet gauges")


def _stale_levels(panel: Panel, columns: Cells) -> Iterator[Hit]:
    value = panel.trusted[:, columns]
    fewest, share = (panel.rule(name)[columns][0] for name in ("page_series", "page_share"))
    zero = np.zeros((1, len(columns)))
    both = np.isfinite(value[1:]) & np.isfinite(value[:-1])
    same = both & (value[1:] == value[:-1])
    known, stays = (np.vstack([zero, zero, np.cumsum(item, axis=0)]) for item in (both, same))
    rows = np.arange(1, len(value))
    early = np.maximum(rows - _HABIT_DAYS, 0)
    # Of the days before: known[r] counts the changes up to row r - 1.
    days, stayed = known[rows] - known[early], stays[rows] - stays[early]
    mover = both & (days >= 10) & (stayed < _MOVER * days)
    # Of a small feed: all of them, where that is unlikely enough by the habit of each.
    chance = np.log((stayed + 1) / (days + 2))
    told = np.zeros(len(value), dtype=bool)
    for lag in _PAGE_LAGS:
        if lag >= len(value):
            return
        again = value[lag:] == value[:-lag]
        moving = mover[lag - 1 :] & np.isfinite(value[:-lag])
        equal, of = (again & moving).sum(axis=1), moving.sum(axis=1)
        stale = (equal >= fewest) & (equal >= share * of)
        unlikely = np.where(moving, chance[lag - 1 :], 0.0).sum(axis=1) < np.log(_PAGE_CHANCE)
        stale |= (lag == 1) & (equal >= 2) & (equal == of) & unlikely
        for at in np.flatnonzero(stale):
            row = int(at) + lag
            if told[row]:
                continue
            told[row] = True
            chosen = columns[again[at]]
            yield from _page(panel, row, lag, chosen, int(equal[at]), int(of[at]), "levels that usually move")


def _page(panel: Panel, row: int, lag: int, columns: Cells, equal: int, of: int, kind: str) -> Iterator[Hit]:
    detail = (
        f"{equal} of {of} {kind} of feed {panel.feeds[panel.feed[columns[0]]]} say exactly what they said"
        f" for {panel.day(row - lag)}"
    )
    page = Evidence((row, int(column)) for column in columns)
    for column in columns:
        yield Hit(row, int(column), detail, page)


STALE_PAGE = Check(
    CheckName.STALE_PAGE,
    ("rain", "level"),
    extreme=False,
    what="A day of a feed that repeats one of the seven days before: page_series wet gauges or more, and"
    " page_share of all wet ones, say exactly the same (of a feed of fewer than eight: three, and all of"
    " them). Levels: of those that usually move, and of a small feed all of them, where that repeats the"
    " day before and is less likely than 1e-4 by the habit of each. Where nine tenths of the page"
    " are the same, its zeros are doubted, too.",
    why="Of one day and the next, either wet, 2.9 % of readings agree (Kerala; ARPAE 0.6 %); five of eight do"
    " by chance about once in a million pages.",
    source="Kerala dams table: 23 May 2022, 28 November 2022, 16 June 2025 repeat the day before.",
    measured="Kerala 0.17 % of rain (56, on four days) and 0.19 % of levels (70, on four days); ARPAE none.",
    cannot="A repeated page of dry days, or of fewer than three wet gauges or levels; which of two equal"
    " pages is the right one: the later is doubted.",
    find=_stale_page,
)


def _repeated_block(panel: Panel) -> Iterator[Hit]:
    value = panel.value if panel.variable == "rain" else panel.trusted
    needed = panel.rule("block_wet_days" if panel.variable == "rain" else "block_days")
    told: set[tuple[int, int]] = set()
    for lag in _BLOCK_LAGS:
        if lag >= len(value):
            return
        same = np.zeros(value.shape, dtype=bool)
        same[lag:] = value[lag:] == value[:-lag]
        telling = same & (value >= 1.0) if panel.variable == "rain" else same
        run = runs_of(same)
        counted = np.vstack([np.zeros((1, value.shape[1])), np.cumsum(telling, axis=0)])
        rows, columns = np.arange(len(value))[:, None], np.arange(value.shape[1])[None, :]
        inside = counted[rows + 1, columns] - counted[rows + 1 - run, columns]
        for row, column in zip(*np.nonzero(telling & (inside >= needed)), strict=True):
            yield from _block(panel, value, telling, int(row), int(column), int(run[row, column]), lag, told)


def _block(
    panel: Panel,
    value: np.ndarray,
    telling: Mask,
    row: int,
    column: int,
    length: int,
    lag: int,
    told: set[tuple[int, int]],
) -> Iterator[Hit]:
    block = np.arange(row - length + 1, row + 1)
    block = block[telling[block, column]]
    needed = int(panel.rule("block_wet_days" if panel.variable == "rain" else "block_days")[column])
    # A lake that goes up and down by one step of its scale repeats itself in truth.
    distinct = len(np.unique(value[block[-needed:], column]))
    if distinct < needed - 1:
        return
    detail = (
        f"{panel.ids[column]} says for {panel.day(block[0])} to {panel.day(row)} what it said"
        f" {lag} days before each"
    )
    for at in block:
        if (int(at), column) not in told:
            told.add((int(at), column))
            yield Hit(int(at), column, detail, Evidence([(row, column)]))


REPEATED_BLOCK = Check(
    CheckName.REPEATED_BLOCK,
    ("rain", "level"),
    extreme=False,
    what="Consecutive days of one series that repeat those 2 to 14 days before, value for value, with"
    " block_wet_days days of 1 mm and more (levels: block_days days), all but one of them different.",
    why="Each wet day agrees with another one by chance in some 3 % of cases: four are one in a million, and"
    " they must be different values.",
    source="Durre et al. (2010), duplication of data between days and months.",
    measured="No reading of either table.",
    cannot="Blocks with fewer wet days, or copied from more than 14 days before.",
    find=_repeated_block,
)
