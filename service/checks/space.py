"""Checks of a day's rain against its neighbours and the satellite."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import Cells, Evidence, Panel, Values

_SATELLITE_DRY_MM = 5.0
_LONGEST_GAP = 10
_ZERO_DAYS = 5
_PAGE = 3  # gauges of a feed that others see in the rain
_PAGE_WET = 0.8  # of those of which others know


def _count(near: Values) -> np.ndarray:
    return np.asarray(np.isfinite(near).sum(axis=1))


def _least(near: Values) -> Values:
    return np.asarray(np.where(np.isfinite(near), near, np.inf).min(axis=1))


def _greatest(near: Values) -> Values:
    return np.asarray(np.where(np.isfinite(near), near, -np.inf).max(axis=1))


def _median(near: Values) -> Values:
    """Median of the finite ones of each row, NaN where there are none: (m, k) -> (m,)."""
    count = np.isfinite(near).sum(axis=1)
    ordered = np.sort(near, axis=1)
    rows = np.arange(len(near))
    low = ordered[rows, np.maximum(count - 1, 0) // 2]
    high = ordered[rows, np.minimum(count // 2, near.shape[1] - 1)]
    return np.asarray((low + high) / 2)


def _spatial_outlier(panel: Panel) -> Iterator[Hit]:
    great, factor = panel.rule("outlier_mm"), panel.rule("outlier_factor")
    rows, columns = np.nonzero(panel.trusted >= great)
    if len(rows):
        near = panel.around(rows, columns)
        value = panel.trusted[rows, columns]
        bound = factor[columns] * _greatest(near) + great[columns] / 2
        for at in np.flatnonzero((_count(near) >= 3) & (value > bound)):
            yield _outlier(panel, int(rows[at]), int(columns[at]), near[at])
    candidates = (panel.trusted > 0) & (panel.trusted < great)
    rows, columns = np.nonzero(candidates)
    if len(rows):
        near = panel.around(rows, columns)
        least = _least(near)
        low = (
            (_count(near) >= 4) & (least >= great[columns] / 2) & (panel.trusted[rows, columns] < least / 10)
        )
        for at in np.flatnonzero(low):
            yield _outlier(panel, int(rows[at]), int(columns[at]), near[at])


def _outlier(panel: Panel, row: int, column: int, near: Values) -> Hit:
    return Hit(
        row,
        column,
        f"{panel.value[row, column]:g} mm, where {_said(near)}",
        panel.neighbour_cells(row, column),
        satellite=bool(np.isfinite(near[-1])),
    )


def _said(near: Values) -> str:
    gauges = near[:-1][np.isfinite(near[:-1])]
    parts = []
    if len(gauges):
        parts.append(f"{len(gauges)} neighbours have {gauges.min():.4g} to {gauges.max():.4g} mm")
    if np.isfinite(near[-1]):
        parts.append(f"the satellite {near[-1]:.3g} mm")
    return " and ".join(parts)


SPATIAL_OUTLIER = Check(
    CheckName.SPATIAL_OUTLIER,
    ("rain",),
    extreme=True,
    what="Rain of outlier_mm or more that is greater than outlier_factor times the greatest of at least three"
    " neighbours within neighbour_km (satellite included) plus half of outlier_mm; or rain under a tenth of"
    " the least of at least four neighbours that all have half of outlier_mm or more.",
    why="Thunderstorms make factors of two to three between gauges 10 to 20 km apart; four times and 25 mm"
    " more is rare and worth a person's look, and as an extreme it is not kept out of the map.",
    source="WMO-No. 8 (2018), part V, chapter 1; Lanzante (1996) on robust references.",
    measured="Kerala 0.03 % of rain (9), ARPAE 0.003 % (2); Banasura Sagar, 234.6 mm on 30 July 2024, is not"
    " among them: its neighbours had up to 363 mm.",
    cannot="Where fewer than three neighbours report (that storm has killed the gauges): nothing is doubted.",
    find=_spatial_outlier,
)


def _false_zero(panel: Panel) -> Iterator[Hit]:
    value = panel.trusted
    wet, fewest = panel.rule("zero_neighbour_mm"), panel.rule("zero_neighbours")
    rows, columns = np.nonzero(value == 0)
    if not len(rows):
        return
    near = panel.around(rows, columns)
    gauges, seen = near[:, :-1], near[:, -1]
    least = _least(gauges)
    count = _count(gauges)
    one_day = (count >= fewest[columns]) & (least >= wet[columns]) & ~(seen < _SATELLITE_DRY_MM)
    # With the satellite as a witness, one neighbour fewer is enough.
    one_day |= (count >= fewest[columns] - 1) & (least >= wet[columns]) & (seen >= wet[columns])
    told = set()
    for at in np.flatnonzero(one_day):
        told.add((int(rows[at]), int(columns[at])))
        yield _zero(panel, int(rows[at]), int(columns[at]), near[at], "")
    for hit in _zero_pages(panel, rows, columns, near):
        if hit.cell not in told:
            told.add(hit.cell)
            yield hit
    yield from _zero_days(panel, rows, columns, near, told)


def _zero_pages(panel: Panel, rows: Cells, columns: Cells, near: Values) -> Iterator[Hit]:
    """A day on which all of a feed say 0, and nearly everything around them is wet."""
    others = near.copy()
    feeds = np.append(panel.feed, -1)[panel.neighbours[columns]]
    others[:, :-1][feeds == panel.feed[columns][:, None]] = np.nan
    reference = _median(others)
    known = np.isfinite(reference)
    wet = known & (reference >= panel.rule("zero_neighbour_mm")[columns])
    for feed, name in enumerate(panel.feeds):
        own = panel.feed[columns] == feed
        reporting = np.isfinite(panel.value[:, panel.columns_of(feed)]).sum(axis=1)
        zeros, asked, rained = (
            np.bincount(rows[own & chosen], minlength=len(panel.value))
            for chosen in (np.ones(len(rows), dtype=bool), known, wet)
        )
        silent = np.flatnonzero((zeros == reporting) & (rained >= _PAGE) & (rained >= _PAGE_WET * asked))
        for at in np.flatnonzero(own & np.isin(rows, silent) & (reference >= 1.0)):
            row, column = int(rows[at]), int(columns[at])
            detail = (
                f"all {reporting[row]} gauges of feed {name} say 0 mm, where {_said(others[at])}"
                f" around this one; {rained[row]} of {asked[row]} are in the rain"
            )
            yield Hit(
                row, column, detail, panel.neighbour_cells(row, column), bool(np.isfinite(near[at, -1]))
            )


def _zero_days(
    panel: Panel, rows: np.ndarray, columns: np.ndarray, near: Values, told: set[tuple[int, int]]
) -> Iterator[Hit]:
    """Doubt zeros of several days on which the least neighbour had rain each, too little for one day."""
    wet, fewest = panel.rule("zero_neighbour_mm"), panel.rule("zero_neighbours")
    least = np.full(panel.shape, np.nan)
    least[rows, columns] = np.where(_count(near[:, :-1]) >= fewest[columns], _least(near), np.nan)
    zero = panel.trusted == 0
    padded = np.pad(least, ((_ZERO_DAYS - 1, 0), (0, 0)), constant_values=np.nan)
    windows = np.lib.stride_tricks.sliding_window_view(padded, _ZERO_DAYS, axis=0)
    known = np.isfinite(windows).all(axis=2)
    total = np.nan_to_num(windows).sum(axis=2)
    for row, column in zip(*np.nonzero(zero & known & (total >= 2 * wet)), strict=True):
        days = [at for at in range(row - _ZERO_DAYS + 1, row + 1) if least[at, column] >= 1.0]
        for at in days:
            if (int(at), int(column)) in told:
                continue
            told.add((int(at), int(column)))
            around = panel.around(np.array([at]), np.array([column]))[0]
            hit = _zero(panel, int(at), int(column), around, f"; 0 mm on {_ZERO_DAYS} such days")
            yield Hit(
                hit.row,
                hit.column,
                hit.detail,
                Evidence([*hit.evidence, (int(row), int(column))]),
                hit.satellite,
            )


def _zero(panel: Panel, row: int, column: int, near: Values, more: str) -> Hit:
    return Hit(
        row,
        column,
        f"0 mm, where {_said(near)}{more}",
        panel.neighbour_cells(row, column),
        satellite=bool(np.isfinite(near[-1])),
    )


FALSE_ZERO = Check(
    CheckName.FALSE_ZERO,
    ("rain",),
    extreme=False,
    what="Exactly 0 mm on a day on which all of at least zero_neighbours neighbours have zero_neighbour_mm or"
    " more and the satellite, where there is one, is wet (with a wet satellite one neighbour fewer is"
    " enough); 0 mm on five days running on which the least neighbour has twice that together; or 0 mm of all"
    " gauges of a feed, where other feeds or the satellite have zero_neighbour_mm at four fifths of them.",
    why="All of three gauges within 40 km above 10 mm is rain over the whole district; a funnel that is"
    " blocked, a form left empty, or a default of 0 are likelier than a dry spot.",
    source="WMO-No. 8 (2018), part V, chapter 1; Blenkinsop et al. (2017) on dry spells against neighbours.",
    measured="Kerala 0.009 % of rain (3), ARPAE 0.011 % (8).",
    cannot="Zeros on days of scattered showers; zeros without enough neighbours.",
    find=_false_zero,
)


def _accumulation(panel: Panel) -> Iterator[Hit]:
    value = panel.trusted
    rows = np.arange(len(value))[:, None]
    last = np.maximum.accumulate(np.where(np.isfinite(panel.value), rows, -1), axis=0)
    before = np.vstack([np.full((1, value.shape[1]), -1), last[:-1]])
    gap = np.asarray(rows - before - 1)
    great = panel.rule("accumulation_mm")
    for row, column in zip(
        *np.nonzero((gap >= 1) & (gap <= _LONGEST_GAP) & (before >= 0) & (value >= great)), strict=True
    ):
        days = np.arange(row - gap[row, column], row + 1)
        near = panel.around(days, np.full(len(days), column))  # (days, neighbours)
        complete = np.asarray(np.isfinite(near).all(axis=0))
        if complete.sum() < 2:
            continue
        total, today = np.median(near[:, complete].sum(axis=0)), np.median(near[-1, complete])
        amount = value[row, column]
        if 0.5 * total <= amount <= 2 * total and amount >= 2 * today + great[column] / 2:
            evidence = Evidence(cell for day in days for cell in panel.neighbour_cells(int(day), int(column)))
            yield Hit(
                int(row),
                int(column),
                f"{amount:g} mm after {len(days) - 1} days without a reading: neighbours have {total:.4g} mm"
                f" over these days and {today:.4g} mm on this one",
                evidence,
                satellite=bool(complete[-1]),
            )


ACCUMULATION = Check(
    CheckName.ACCUMULATION,
    ("rain",),
    extreme=False,
    what="The first reading after one to ten missing days, of accumulation_mm or more, that is half to twice"
    " what neighbours had over the gap and the day together, and more than twice (and half of"
    " accumulation_mm more than) what they had on the day.",
    why="A gauge that is read by hand is emptied after the holiday: the sum of the days stands under the last"
    " one. Below 20 mm the harm is small and chance agreement common.",
    source="WMO-No. 8 (2018), part V, chapter 1; Viney and Bates (2004) on untagged accumulations.",
    measured="Kerala none, ARPAE 0.004 % (3).",
    cannot="Accumulations where the neighbours had most of their rain on the day itself, after longer gaps,"
    " or after days that were filled with zeros.",
    find=_accumulation,
)
