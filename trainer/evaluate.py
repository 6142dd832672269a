"""How well predictions meet labels: discrimination, classification and calibration, with intervals.

    evaluate(label, predicted, groups=None, threshold=0.5, resamples=1000, seed=0) -> Evaluation
    area_under_curve(label, predicted) -> float          NaN where only one label is present

label: int (n,), 0 or 1. predicted: float (n,), susceptibility 0 to 1. groups: int (n,), the groups of
trainer.splits; intervals come from resampling whole groups, because samples of one storm are not independent.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from service.errors import InputError

METRICS = ("auc", "log_loss", "accuracy", "precision", "recall", "f1", "brier")
_CLIP = 1e-7  # log loss of a prediction of exactly 0 or 1 that is wrong would be infinite


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one set of predictions. NaN: not defined there (one label only, nothing predicted)."""

    samples: int
    positives: int
    threshold: float
    auc: float
    log_loss: float  # natural logarithm
    accuracy: float
    precision: float
    recall: float
    f1: float
    brier: float
    # 2.5 and 97.5 % of the metric over resampled groups; absent without groups or where never defined.
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Return the defined metrics by name, as a manifest takes them (no NaN)."""
        values = asdict(self)
        return {name: float(values[name]) for name in METRICS if np.isfinite(values[name])}


def evaluate(
    label: npt.NDArray[np.int64],
    predicted: npt.NDArray[np.floating],
    groups: npt.NDArray[np.int64] | None = None,
    *,
    threshold: float = 0.5,
    resamples: int = 1000,
    seed: int = 0,
) -> Evaluation:
    """Compare predictions (n,) with labels (n,) and, given groups (n,), resample them for intervals.

    A prediction on the threshold counts as positive. Raises InputError for labels other than 0 and 1,
    predictions outside 0 to 1, lengths that differ, or no sample.
    """
    label = np.asarray(label, np.int64)
    value = np.asarray(predicted, np.float64)
    if label.shape != value.shape or label.ndim != 1 or label.size == 0:
        raise InputError(
            f"labels {label.shape} and predictions {value.shape} must be equally long and not empty"
        )
    if not np.isin(label, (0, 1)).all():
        raise InputError(f"labels must be 0 or 1, got {sorted(set(label.tolist()))[:5]}")
    if not ((value >= 0) & (value <= 1)).all():
        raise InputError(
            f"predictions must lie between 0 and 1, got {np.nanmin(value):.3g} to {np.nanmax(value):.3g}"
        )
    point = _metrics(label, value, threshold)
    intervals = {} if groups is None else _intervals(label, value, groups, threshold, resamples, seed)
    return Evaluation(int(label.size), int(label.sum()), threshold, *point, intervals=intervals)


def area_under_curve(label: npt.NDArray[np.int64], predicted: npt.NDArray[np.floating]) -> float:
    """Return the chance that a positive scores above a negative, ties half (Hanley and McNeil 1982)."""
    positives = int(label.sum())
    negatives = label.size - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = rankdata(predicted)
    return float((ranks[label == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _metrics(
    label: npt.NDArray[np.int64], value: npt.NDArray[np.float64], threshold: float
) -> tuple[float, float, float, float, float, float, float]:
    """Return the metrics in the order of METRICS."""
    said = value >= threshold
    true = label == 1
    hits, false_alarms, misses = (said & true).sum(), (said & ~true).sum(), (~said & true).sum()
    clipped = np.clip(value, _CLIP, 1 - _CLIP)
    log_loss = -np.mean(np.where(true, np.log(clipped), np.log1p(-clipped)))
    return (
        area_under_curve(label, value),
        float(log_loss),
        float(np.mean(said == true)),
        _ratio(hits, hits + false_alarms),
        _ratio(hits, hits + misses),
        _ratio(2 * hits, 2 * hits + false_alarms + misses),
        float(np.mean((value - label) ** 2)),
    )


def _ratio(part: np.int64, whole: np.int64) -> float:
    return float(part / whole) if whole else float("nan")


def _intervals(
    label: npt.NDArray[np.int64],
    value: npt.NDArray[np.float64],
    groups: npt.NDArray[np.int64],
    threshold: float,
    resamples: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    members = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    generator = np.random.default_rng(seed)
    drawn = np.empty((resamples, len(METRICS)))
    for row in range(resamples):
        picked = generator.integers(0, len(members), len(members))
        index = np.concatenate([members[group] for group in picked])
        drawn[row] = _metrics(label[index], value[index], threshold)
    intervals = {}
    for column, name in enumerate(METRICS):
        defined = drawn[np.isfinite(drawn[:, column]), column]
        if defined.size:
            low, high = np.percentile(defined, (2.5, 97.5))
            intervals[name] = (float(low), float(high))
    return intervals
