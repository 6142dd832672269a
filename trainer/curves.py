"""Curves of a model on held-out samples, and of a map against landslides.

    roc_curve(label, predicted) -> RocCurve                 mean_roc(curves) -> RocCurve, vertical average
    precision_recall_curve(label, predicted) -> PrecisionRecall
    reliability(label, predicted, bins=10) -> Reliability   at the sampling ratio of these samples
    rate_curve(area, events) -> RateCurve                   success rate or prediction rate, as the events are
    class_shares(area, events, classes) -> ClassShares      share of events in high and very high

`area` counts the map's cells by stored code, (251,): `count_codes` of an array, `count_codes_of` a raster.
`events` are the stored codes of the cells that slid, uint8 (n,); 255 is a landslide on unknown ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio

from exporters.layer import CLASS_LABELS, NODATA, TOP, ClassScheme
from service.errors import InputError
from trainer.evaluate import Floats, Integers, checked

CODES = TOP + 1
_NORMAL_95 = 1.959963984540054

Stored = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class RocCurve:
    """From (0, 0) to (1, 1), rising; `threshold` is infinite at the start."""

    false_alarm_rate: Floats  # (k,) of the negatives, at or above the threshold
    hit_rate: Floats  # (k,) of the positives
    threshold: Floats  # (k,); empty for an average of curves
    area: float


@dataclass(frozen=True)
class PrecisionRecall:
    """By falling threshold, one point at each distinct value."""

    recall: Floats
    precision: Floats
    threshold: Floats
    average_precision: float
    positive_share: float  # the precision of a model that knows nothing


@dataclass(frozen=True)
class Reliability:
    """Predicted against observed, in bins of about equally many samples; all arrays (bins,).

    Observed shares are of these samples: at another ratio of negatives to positives they are others.
    """

    predicted: Floats  # mean of the bin
    observed: Floats  # share of landslides
    low: Floats  # 95 % interval of the share (Wilson 1927), as if samples were independent
    high: Floats
    count: Integers
    expected_calibration_error: float  # mean of |observed - predicted| over the samples' bins
    sampling_ratio: float  # negatives for each positive


@dataclass(frozen=True)
class RateCurve:
    """Share of landslides in the most susceptible share of the map's area (Chung and Fabbri 2003).

    With the landslides a model was trained on it is a success rate curve, which says how well it fits; with
    held-out ones a prediction rate curve, which says how well it predicts. Cells of one stored step enter
    together, so the curve is straight across a step.
    """

    area_share: Floats  # (k,) from 0 to 1
    event_share: Floats  # (k,)
    area: float  # under the curve
    events: int
    unknown: int  # landslides on cells without susceptibility, left out

    def at(self, area_share: float) -> float:
        """Return the share of landslides in the most susceptible `area_share` of the map."""
        return float(np.interp(area_share, self.area_share, self.event_share))


@dataclass(frozen=True)
class ClassShares:
    """Where landslides and ground lie by class, low to very high; landslides on unknown ground left out."""

    labels: tuple[str, ...]
    event_share: tuple[float, ...]
    area_share: tuple[float, ...]
    high_or_above: float  # share of the events in high and very high: the paper's 86.4 %
    low: float  # 95 % interval of it (Wilson 1927)
    high: float
    events: int
    unknown: int


def roc_curve(label: npt.ArrayLike, predicted: npt.ArrayLike) -> RocCurve:
    """Return the ROC of labels and predictions (n,). Raises InputError for one class only."""
    hits, false_alarms, threshold = _counts(label, predicted)
    hit_rate = np.append(0.0, hits / hits[-1])
    false_alarm_rate = np.append(0.0, false_alarms / false_alarms[-1])
    return RocCurve(
        false_alarm_rate, hit_rate, np.append(np.inf, threshold), _area(false_alarm_rate, hit_rate)
    )


def mean_roc(curves: Sequence[RocCurve], points: int = 101) -> RocCurve:
    """Return the mean hit rate at equal false alarm rates (vertical averaging, Fawcett 2006).

    For curves of several repetitions: their predictions come from different models and cannot be pooled. The
    area is the mean of the curves' own.
    """
    if not curves:
        raise InputError("no curve to average")
    grid = np.linspace(0, 1, points)
    mean = np.mean([np.interp(grid, curve.false_alarm_rate, curve.hit_rate) for curve in curves], axis=0)
    return RocCurve(
        np.append(0.0, grid),
        np.append(0.0, mean),
        np.zeros(0),
        float(np.mean([curve.area for curve in curves])),
    )


def precision_recall_curve(label: npt.ArrayLike, predicted: npt.ArrayLike) -> PrecisionRecall:
    """Return precision and recall of labels and predictions (n,). Raises InputError for one class only."""
    hits, false_alarms, threshold = _counts(label, predicted)
    precision, recall = hits / (hits + false_alarms), hits / hits[-1]
    average = float((np.diff(recall, prepend=0.0) * precision).sum())
    return PrecisionRecall(
        recall, precision, threshold, average, float(hits[-1] / (hits[-1] + false_alarms[-1]))
    )


def reliability(label: npt.ArrayLike, predicted: npt.ArrayLike, bins: int = 10) -> Reliability:
    """Return how often landslides occurred by predicted susceptibility (n,).

    Equal predictions share a bin, so a model of few distinct values has fewer bins. Raises InputError for one
    class only.
    """
    true, value = _both(label, predicted)
    rising = np.argsort(value, kind="stable")
    first = np.searchsorted(value[rising], value, side="left")
    last = np.searchsorted(value[rising], value, side="right")
    bin_of = np.unique((bins * (first + last) // 2) // value.size, return_inverse=True)[1]
    count = np.bincount(bin_of)
    mean = np.bincount(bin_of, value) / count
    hits = np.bincount(bin_of, true)
    low, high = wilson(hits, count)
    positives = int(true.sum())
    return Reliability(
        predicted=mean,
        observed=hits / count,
        low=low,
        high=high,
        count=count.astype(np.int64),
        expected_calibration_error=float((np.abs(hits / count - mean) * count).sum() / value.size),
        sampling_ratio=(value.size - positives) / positives,
    )


def rate_curve(area: Integers, events: Stored) -> RateCurve:
    """Return the share of events by share of the map, most susceptible first.

    Raises InputError for a map without a known cell, or no event on known ground.
    """
    known = _known(events)
    ground = np.cumsum(_map(area)[::-1])
    slid = np.cumsum(np.bincount(known, minlength=CODES)[::-1])
    steps = (np.diff(ground, prepend=0) > 0) | (np.diff(slid, prepend=0) > 0)
    area_share = np.append(0.0, (ground / ground[-1])[steps])
    event_share = np.append(0.0, (slid / slid[-1])[steps])
    return RateCurve(
        area_share,
        event_share,
        _area(area_share, event_share),
        int(known.size),
        int(events.size - known.size),
    )


def class_shares(area: Integers, events: Stored, classes: ClassScheme) -> ClassShares:
    """Return the shares of events and of the map's area in each class.

    Raises InputError for a map without a known cell, or no event on known ground.
    """
    known = _known(events)
    ground = _map(area)
    class_of = classes.classify(np.arange(CODES, dtype=np.uint8)).astype(np.int64) - 1
    slid = np.bincount(class_of[known], minlength=len(CLASS_LABELS))
    cells = np.bincount(class_of, ground, minlength=len(CLASS_LABELS))
    above = int(slid[2:].sum())
    low, high = wilson(np.array([above]), np.array([known.size]))
    return ClassShares(
        labels=CLASS_LABELS,
        event_share=tuple((slid / known.size).tolist()),
        area_share=tuple((cells / cells.sum()).tolist()),
        high_or_above=above / known.size,
        low=float(low[0]),
        high=float(high[0]),
        events=int(known.size),
        unknown=int(events.size - known.size),
    )


def count_codes(stored: Stored) -> Integers:
    """Return how many cells hold each stored code 0 to 250: (251,); 255 is not counted."""
    return np.bincount(stored.ravel(), minlength=256)[:CODES].astype(np.int64)


def count_codes_of(path: Path) -> Integers:
    """Return how many cells of a layer's susceptibility.tif hold each code 0 to 250, block by block."""
    counts = np.zeros(CODES, np.int64)
    try:
        with rasterio.open(path) as raster:
            if raster.dtypes[0] != "uint8" or raster.nodata != NODATA:
                raise InputError(
                    f"{path} holds {raster.dtypes[0]} with no-data {raster.nodata}; a layer's "
                    f"susceptibility.tif, uint8 with no-data {NODATA}, is needed"
                )
            for _, window in raster.block_windows(1):
                counts += count_codes(raster.read(1, window=window))
    except rasterio.errors.RasterioIOError as error:
        raise InputError(f"the map {path} cannot be read: {error}") from error
    return counts


def wilson(hits: npt.NDArray[np.integer], count: npt.NDArray[np.integer]) -> tuple[Floats, Floats]:
    """Return the 95 % interval of shares hits / count (Wilson 1927)."""
    share = hits / count
    z2 = _NORMAL_95**2 / count
    middle = (share + z2 / 2) / (1 + z2)
    half = np.sqrt(z2 * (share * (1 - share) + z2 / 4)) / (1 + z2)
    # At no hit and at all hits a bound is exactly 0 or 1, which rounding would miss.
    return np.where(hits == 0, 0.0, middle - half), np.where(hits == count, 1.0, middle + half)


def _counts(label: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return positives and negatives at or above each distinct value, and the values, falling."""
    true, value = _both(label, predicted)
    falling = np.argsort(-value, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(value[falling])), value.size - 1)
    hits = np.cumsum(true[falling])[ends].astype(np.float64)
    return hits, ends + 1.0 - hits, value[falling][ends]


def _both(label: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Integers, Floats]:
    true, value = checked(label, predicted)
    if true.min() == true.max():
        raise InputError(f"all {true.size} samples are of class {true[0]}; a curve needs both classes")
    return true, value


def _known(events: Stored) -> Stored:
    known = events[events <= TOP]
    if not known.size:
        raise InputError(f"none of {events.size} landslides lies on a cell with a susceptibility")
    return known


def _map(area: Integers) -> Integers:
    if area.shape != (CODES,) or not area.sum():
        raise InputError(f"the map has no known cell, or counts of shape {area.shape} instead of ({CODES},)")
    return area


def _area(x: Floats, y: Floats) -> float:
    area = float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum())
    return min(1.0, max(0.0, area)) if math.isfinite(area) else area
