"""One series' numbers under another's name."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from service.checks.base import Check, Hit
from service.checks.names import CheckName
from service.checks.panel import SAME_PLACE_KM, Evidence, Panel

_RAIN_WINDOW = 15
_WET_MM = 1.0


def _duplicate_series(panel: Panel) -> Iterator[Hit]:
    rain = panel.variable == "rain"
    value = panel.value if rain else panel.trusted
    needed = panel.rule("duplicate_wet_days" if rain else "duplicate_days").astype(int)
    for row in range(panel.first, len(value)):
        span = _RAIN_WINDOW if rain else int(needed.max(initial=1))
        window = value[max(row - span + 1, 0) : row + 1]
        telling = window >= _WET_MM if rain else np.isfinite(window)
        if rain and not telling[-1].any():
            continue
        candidates = np.flatnonzero(telling[-1] & (telling.sum(axis=0) >= needed))
        if len(candidates) < 2:
            continue
        for columns in _equal_columns(window[:, candidates]):
            group = candidates[columns]
            if len(np.unique(window[telling[:, group[0]], group[0]])) < min(needed[group].min(), 4):
                continue
            for column in group:
                others = [int(other) for other in group if other != column and _apart(panel, column, other)]
                if others:
                    yield from _copies(panel, row, int(column), others, window, telling[:, column])


def _equal_columns(window: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the groups of columns that are equal, missing days included."""
    keys = np.ascontiguousarray(np.nan_to_num(window.T, nan=-1e30))
    rows = keys.view(np.dtype((np.void, keys.dtype.itemsize * keys.shape[1])))[:, 0]
    _, group, count = np.unique(rows, return_inverse=True, return_counts=True)
    for number in np.flatnonzero(count > 1):
        yield np.flatnonzero(group == number)


def _apart(panel: Panel, column: int, other: int) -> bool:
    """Whether two series cannot be one gauge that comes by two feeds."""
    if panel.feed[column] == panel.feed[other]:
        return True
    north = (panel.lat[column] - panel.lat[other]) * 111.2
    east = (panel.lon[column] - panel.lon[other]) * 111.2 * np.cos(np.radians(panel.lat[column]))
    return bool(np.hypot(north, east) > SAME_PLACE_KM)


def _copies(
    panel: Panel, row: int, column: int, others: list[int], window: np.ndarray, telling: np.ndarray
) -> Iterator[Hit]:
    days = np.flatnonzero(telling) + row - len(window) + 1
    other = others[0]
    detail = (
        f"{len(days)} days to {panel.day(row)} are exactly those of {panel.feeds[panel.feed[other]]}"
        f" {panel.ids[other]}"
    )
    for at in days:
        yield Hit(int(at), column, detail, Evidence([(row, column), (row, other)]))


DUPLICATE_SERIES = Check(
    CheckName.DUPLICATE_SERIES,
    ("rain", "level"),
    extreme=False,
    what="Two series that report exactly the same on every day of the last 15, with duplicate_wet_days days"
    " of 1 mm and more, four of them different (levels: on the last duplicate_days days, all different). Both"
    " are doubted: nothing says whose numbers they are. Not those of two feeds within 1 km: that is one"
    " gauge by two ways.",
    why="Two gauges of one table, both wet, have the same amount on 1.6 % (Kerala) and 2.1 % (ARPAE) of days;"
    " five such days running are four in a billion.",
    source="WMO-No. 8 (2018), part V, chapter 1; Durre et al. (2010).",
    measured="No reading of either table.",
    cannot="Copies that are shifted by a day or rounded; copies of dry weeks.",
    find=_duplicate_series,
)
