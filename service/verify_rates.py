"""Rates from judged landslides and looked ground: classes, success-rate curves, reliability. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import numpy.typing as npt

from exporters.layer import CLASS_LABELS, SCALE, TOP, ClassScheme
from exporters.verification import ClassTally, Outcome, Rate, RateCurve, ReliabilityBin
from service.verify_events import AREA_SHARES, Judged
from service.verify_values import Counts

_Z = 1.959963984540054  # of the normal distribution, two-sided 95 %
_RESAMPLES = 1000
_SEED = 20160118
_BINS = 10
_DAYS_PER_YEAR = 365.25
_MONTHS_AT_MOST = 24  # with landslides in more of them, curves are by year


def wilson(successes: float, trials: float) -> Rate:
    """Return a share with its 95 % score interval (Wilson, 1927); all None without a trial."""
    if trials <= 0:
        return Rate(value=None, low=None, high=None)
    share = successes / trials
    scale = 1 + _Z**2 / trials
    middle = (share + _Z**2 / (2 * trials)) / scale
    half = _Z / scale * math.sqrt(max(0.0, share * (1 - share) / trials + _Z**2 / (4 * trials**2)))
    # At 0 and at all of them the bound is the share itself, but for rounding.
    return Rate(
        value=share, low=max(0.0, min(share, middle - half)), high=min(1.0, max(share, middle + half))
    )


@dataclass(frozen=True)
class LookedDay:
    """Ground that was looked at, on the map of one day."""

    day: date
    counts: Counts
    scheme: ClassScheme


def class_tallies(
    judged: Sequence[Judged], looked: Sequence[LookedDay], seen: frozenset[str], cell_km2: float
) -> tuple[ClassTally, ...]:
    """Return what fell into each class. `seen` are the uids of landslides in ground that was looked at."""
    counted = [item for item in judged if item.standing is not None]
    share = ground = None
    if counted:
        share = np.mean([item.standing.classes for item in counted if item.standing], axis=0)
        ground = np.mean([item.standing.ground for item in counted if item.standing], axis=0)
    km2_days = np.zeros(len(CLASS_LABELS))
    for day in looked:
        of_value = day.scheme.classify(np.arange(TOP + 1, dtype=np.uint8))
        km2_days += np.bincount(of_value, day.counts, minlength=5)[1:] * cell_km2
    found = []
    for index, label in enumerate(CLASS_LABELS):
        here = [item for item in counted if item.highest_class == index + 1]
        ratio = None
        if share is not None and ground is not None and ground[index] > 0:
            ratio = float(share[index] / ground[index])
        found.append(
            ClassTally(
                label=label,
                landslides=len(here),
                landslide_share=float(share[index]) if share is not None else None,
                ground_share=float(ground[index]) if ground is not None else None,
                frequency_ratio=ratio,
                looked_km2_days=float(km2_days[index]),
                landslides_looked=sum(item.verified.uid in seen for item in here),
            )
        )
    return tuple(found)


def rate_curves(judged: Sequence[Judged]) -> tuple[RateCurve, ...]:
    """Return the success-rate curve of all landslides, and by month, or by year where months are many."""
    counted = [item for item in judged if item.standing is not None]
    if not counted:
        return ()
    counted.sort(key=lambda item: (item.verified.day, item.verified.uid))
    months = {_month(item.verified.day) for item in counted}
    by_year = len(months) > _MONTHS_AT_MOST
    periods: dict[str, list[Judged]] = {}
    for item in counted:
        name = str(item.verified.day.year) if by_year else _month(item.verified.day)
        periods.setdefault(name, []).append(item)
    return (_curve("all", counted), *(_curve(name, items) for name, items in sorted(periods.items())))


def reliability(
    judged: Sequence[Judged], looked: Sequence[LookedDay], seen: frozenset[str], cell_km2: float
) -> tuple[ReliabilityBin, ...]:
    """Return how often looked ground slid, by bins of the stored index; none where nobody looked.

    A landslide's index is the median of its ground. Rates are per square kilometre and year of looking; their
    intervals take each cell and day for a trial (Wilson, 1927).
    """
    together: npt.NDArray[np.int64] = np.sum([day.counts for day in looked], axis=0, dtype=np.int64)
    if not looked or not together.any():
        return ()
    indices = [
        item.standing.index for item in judged if item.standing is not None and item.verified.uid in seen
    ]
    edges = np.linspace(0, TOP, _BINS + 1)
    of_value = np.minimum(np.arange(TOP + 1) // (TOP // _BINS), _BINS - 1)
    per_km2_year = _DAYS_PER_YEAR / cell_km2
    found = []
    for number in range(_BINS):
        cells = np.where(of_value == number, together, 0)
        days = int(cells.sum())
        slid = sum(int(of_value[index]) == number for index in indices)
        rate = wilson(slid, days)
        found.append(
            ReliabilityBin(
                low=float(edges[number] * SCALE),
                high=float(edges[number + 1] * SCALE),
                mean_index=float((cells * np.arange(TOP + 1)).sum() / days * SCALE) if days else None,
                cell_days=days,
                landslides=slid,
                landslides_per_km2_year=Rate(
                    **{
                        name: None if value is None else value * per_km2_year
                        for name, value in rate.model_dump().items()
                    }
                ),
            )
        )
    return tuple(found)


def chance_rate(judged: Sequence[Judged]) -> float | None:
    """Return the hit rate at random places: of decided landslides, each counting one; None without any."""
    shares = [
        item.chance[1] / item.chance[0]
        for item in judged
        if item.verified.outcome in ("hit", "miss") and item.chance[0]
    ]
    return float(np.mean(sorted(shares))) if shares else None


def hit_rate(outcomes: Mapping[Outcome, int]) -> Rate:
    """Return hits over hits and misses."""
    hits, misses = outcomes.get("hit", 0), outcomes.get("miss", 0)
    return wilson(hits, hits + misses)


def _curve(period: str, items: Sequence[Judged]) -> RateCurve:
    curves = np.array([item.standing.curve for item in items if item.standing])
    aucs = np.array([item.standing.auc for item in items if item.standing])
    low, high = _resampled(aucs, [item.verified.day for item in items])
    return RateCurve(
        period=period,
        landslides=len(items),
        area_share=tuple(round(float(value), 2) for value in AREA_SHARES),
        landslide_share=tuple(float(value) for value in curves.mean(axis=0)),
        auc=float(aucs.mean()),
        auc_low=low,
        auc_high=high,
    )


def _resampled(aucs: npt.NDArray[np.float64], days: Sequence[date]) -> tuple[float | None, float | None]:
    """Return the 95 % interval of the mean by drawing days; None for fewer than 3 days.

    Landslides of one storm are no independent witnesses: the bootstrap draws days with all that they hold
    (Davison and Hinkley, 1997).
    """
    _, group = np.unique([day.toordinal() for day in days], return_inverse=True)
    count = int(group.max()) + 1
    if count < 3:
        return None, None
    sums, sizes = np.bincount(group, aucs), np.bincount(group)
    drawn = np.random.default_rng(_SEED).integers(0, count, (_RESAMPLES, count))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _month(day: date) -> str:
    return f"{day:%Y-%m}"
