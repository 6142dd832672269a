"""The duration matrix of EDuMaP (Calvello and Piciullo, 2016): days by landslides and by level. Pure.

The method leaves limits and criteria to who uses it. Here a row is a zone's day without landslides, with
few, more or many of them (`limits`), a column its warning level, and a zone's day one day. The criterion is
that of a table of two by two: landslides under any level above green are correct alerts (CA), under green
missed ones (MA); a level above green without a landslide is a false alert (FA), green without one a true
negative (TN).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from exporters.layer import LEVEL_LABELS
from exporters.verification import DurationMatrix
from service.verify_levels import ZoneSpans, days_between

EVENT_CLASSES = ("none", "small", "intermediate", "large")
CRITERIA = (("TN", "FA", "FA", "FA"), *((("MA", "CA", "CA", "CA"),) * 3))

Days = npt.NDArray[np.float64]


def duration_matrices(
    zones: Iterable[ZoneSpans], limits: Sequence[int]
) -> tuple[DurationMatrix, DurationMatrix] | None:
    """Return the matrix, and the classical one; None where no level of any zone is known.

    In the first, a day without a landslide counts only where somebody looked. In the classical one it counts
    where nobody did, too: there, that no landslide was reported stands for that none happened.

    A landslide of one of several days counts on each with equal chance, and days as their expectation. Days
    that a landslide of a span too wide may have happened on are in neither.
    """
    looked, classical = np.zeros((4, 4)), np.zeros((4, 4))
    not_looked = 0.0
    any_level = False
    for zone in zones:
        any_level = any_level or bool(zone.levels)
        seen = {day for span in zone.looked for day in days_between(*span)}
        unclear = {day for span in zone.unclear for day in days_between(*span)}
        slid = _chances(zone)
        for day, level in zone.levels.items():
            if day in unclear:
                continue
            by_class = _by_class(slid.get(day, []), limits)
            classical[:, level] += by_class
            if day not in seen:
                not_looked += by_class[0]
                by_class[0] = 0
            looked[:, level] += by_class
    if not any_level:
        return None
    return _matrix(looked, limits, not_looked), _matrix(classical, limits, not_looked)


def indices(days: Days) -> dict[str, float | None]:
    """Return the indices of a matrix (4, 4) of days; None where there is nothing to divide by.

    efficiency (CA + TN) / all, hit_rate CA / (CA + MA), missed_alert_rate MA / (CA + MA), predictive_power
    CA / (CA + FA), false_alert_rate FA / (CA + FA), threat_score CA / (CA + MA + FA), odds_ratio
    (CA + TN) / (MA + FA), as in EDuMaP: correct days over wrong ones.
    """
    sums = {"TN": 0.0, "FA": 0.0, "MA": 0.0, "CA": 0.0}
    for row, names in zip(days, CRITERIA, strict=True):
        for value, name in zip(row, names, strict=True):
            sums[name] += float(value)
    right, wrong = sums["CA"] + sums["TN"], sums["MA"] + sums["FA"]
    return {
        "efficiency": _over(right, right + wrong),
        "hit_rate": _over(sums["CA"], sums["CA"] + sums["MA"]),
        "missed_alert_rate": _over(sums["MA"], sums["CA"] + sums["MA"]),
        "predictive_power": _over(sums["CA"], sums["CA"] + sums["FA"]),
        "false_alert_rate": _over(sums["FA"], sums["CA"] + sums["FA"]),
        "threat_score": _over(sums["CA"], sums["CA"] + sums["MA"] + sums["FA"]),
        "odds_ratio": _over(right, wrong),
    }


def _chances(zone: ZoneSpans) -> dict[date, list[float]]:
    """By day, the chance of each landslide that may have happened then."""
    found: dict[date, list[float]] = {}
    for span in sorted(zone.counts):
        days = days_between(*span)
        for day in days:
            found.setdefault(day, []).extend([1 / len(days)] * zone.counts[span])
    return found


def _by_class(chances: Sequence[float], limits: Sequence[int]) -> Days:
    """Return the chance of each class of landslide number, (4,), of independent landslides."""
    number = np.ones(1)  # chance of 0, 1, ... landslides
    for chance in chances:
        number = np.convolve(number, [1 - chance, chance])
    edges = [0, *limits, max(len(number), limits[-1] + 1)]
    return np.array([number[first:stop].sum() for first, stop in pairwise(edges)])


def _matrix(days: Days, limits: Sequence[int], not_looked: float) -> DurationMatrix:
    return DurationMatrix(
        event_classes=EVENT_CLASSES,
        limits=tuple(limits),
        levels=LEVEL_LABELS,
        days=tuple(tuple(round(float(value), 6) for value in row) for row in days),
        criteria=CRITERIA,
        indices=indices(days),
        not_looked_days=round(not_looked, 6),
    )


def _over(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None
