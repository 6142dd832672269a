"""How wrong the rain of a place is where no gauge reported: each gauge in turn left out and estimated.

The estimate is made by the service's own rule (service.forcing: inverse distance over the gauges in range
that reported that day) from all other gauges, beside two plain ways: the nearest other gauge that reported
that day, and the line in time between the own readings before and after (the filling of Teng et al. 2026).
Linear filling is judged at its best here: one day at a time is left out, and real gaps are longer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from service.forcing import MAX_GAP_DAYS, GaugeDay, Neighbours, neighbours, surface_of_day
from service.progress import ProgressCallback
from service.settings import ForcingSettings

WET_MM = 20.0  # the days on which a map is decided
METHODS = ("inverse_distance", "nearest", "linear_in_time")
_RESAMPLES = 1000


@dataclass(frozen=True)
class Error:
    """One way of estimating, on one kind of days. Intervals are 95 %, by months drawn with replacement."""

    method: str
    days: str  # "all", or "20 mm and more"
    readings: int  # left out and estimated by all ways
    mean_absolute_mm: float
    low_mm: float | None  # None: readings of one month alone do not say
    high_mm: float | None
    root_mean_square_mm: float
    bias_mm: float  # estimate minus reading
    not_estimated: int  # readings of these days that this way could say nothing of


@dataclass(frozen=True)
class Left:
    """Every reading left out: what it was, and what each way said; float64 (n,), NaN where nothing."""

    month: npt.NDArray[np.int64]  # (n,) year * 12 + month
    truth: npt.NDArray[np.float64]
    estimate: dict[str, npt.NDArray[np.float64]]


def leave_one_out(
    days: Sequence[GaugeDay], settings: ForcingSettings, progress: ProgressCallback | None = None
) -> Left:
    """Estimate each reading of `days` (consecutive, without rasters or filled values) from the others.

    The same gauges must stand on all days. Raises ValueError where they do not.
    """
    if any(day.series != days[0].series for day in days):
        raise ValueError("a gauge began, ended or moved within these days; take a span in which none does")
    xy = days[0].xy
    value = np.stack([day.value for day in days]).astype(np.float64)
    month = np.array([day.day.year * 12 + day.day.month for day in days])
    rows, estimates = [], {name: [] for name in METHODS}  # type: ignore[var-annotated]
    for gauge in range(len(xy)):
        if progress is not None:
            progress(gauge, len(xy))
        others = np.delete(np.arange(len(xy)), gauge)
        here = np.flatnonzero(np.isfinite(value[:, gauge]))
        near = neighbours(xy[others], xy[[gauge]], settings)
        by_distance = [_by_distance(days[int(row)], others, xy[[gauge]], settings, near) for row in here]
        estimates["inverse_distance"].append(by_distance)
        estimates["nearest"].append(_nearest(value[np.ix_(here, others)], xy[others], xy[gauge], settings))
        estimates["linear_in_time"].append(_linear(value[:, gauge], here))
        rows.append(np.stack([month[here], value[here, gauge]]))
    if progress is not None:
        progress(len(xy), len(xy))
    told = np.concatenate(rows, axis=1)
    return Left(
        month=told[0].astype(np.int64),
        truth=told[1],
        estimate={name: np.concatenate(parts).astype(np.float64) for name, parts in estimates.items()},
    )


def errors(left: Left, wet_mm: float = WET_MM, seed: int = 0) -> list[Error]:
    """Judge each way on all days and on wet ones, on the readings that every way could estimate."""
    common = np.all([np.isfinite(estimate) for estimate in left.estimate.values()], axis=0)
    result = []
    for words, kind in (("all", left.truth >= 0), (f"{wet_mm:g} mm and more", left.truth >= wet_mm)):
        chosen = kind & common
        if not chosen.any():
            continue
        for name, estimate in left.estimate.items():
            wrong = estimate[chosen] - left.truth[chosen]
            low, high = _interval(np.abs(wrong), left.month[chosen], seed)
            result.append(
                Error(
                    method=name,
                    days=words,
                    readings=int(chosen.sum()),
                    mean_absolute_mm=float(np.abs(wrong).mean()),
                    low_mm=low,
                    high_mm=high,
                    root_mean_square_mm=float(np.sqrt((wrong**2).mean())),
                    bias_mm=float(wrong.mean()),
                    not_estimated=int((kind & ~np.isfinite(estimate)).sum()),
                )
            )
    return result


def _by_distance(
    day: GaugeDay,
    others: npt.NDArray[np.intp],
    xy: npt.NDArray[np.float64],
    settings: ForcingSettings,
    near: Neighbours,
) -> float:
    rest: dict[str, Any] = {
        "series": tuple(day.series[number] for number in others),
        "xy": day.xy[others],
        "value": day.value[others],
        "interpolated": day.interpolated[others],
    }
    return float(surface_of_day(replace(day, **rest), xy, settings, near).values[0])


def _nearest(
    value: npt.NDArray[np.float64],
    xy: npt.NDArray[np.float64],
    place: npt.NDArray[np.float64],
    settings: ForcingSettings,
) -> npt.NDArray[np.float64]:
    distance = np.hypot(*(xy - place).T)
    order = np.argsort(distance, kind="stable")
    order = order[distance[order] <= settings.max_distance_km * 1000]
    estimate = np.full(len(value), np.nan)
    for number in order[::-1]:
        reported = np.isfinite(value[:, number])
        estimate[reported] = value[reported, number]
    return estimate


def _linear(value: npt.NDArray[np.float64], here: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    estimate = np.full(len(here), np.nan)
    for number in range(1, len(here) - 1):
        before, row, after = here[number - 1], here[number], here[number + 1]
        if after - before - 1 <= MAX_GAP_DAYS:
            share = (row - before) / (after - before)
            estimate[number] = value[before] * (1 - share) + value[after] * share
    return estimate


def _interval(
    wrong: npt.NDArray[np.float64], month: npt.NDArray[np.int64], seed: int
) -> tuple[float, float] | tuple[None, None]:
    # Days of one spell of weather are wrong together, so whole months are drawn.
    _, block = np.unique(month, return_inverse=True)
    if block.max() == 0:
        return None, None
    total, count = np.bincount(block, wrong), np.bincount(block)
    drawn = np.random.default_rng(seed).integers(0, len(total), (_RESAMPLES, len(total)))
    low, high = np.percentile(total[drawn].sum(axis=1) / count[drawn].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)
