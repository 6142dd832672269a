"""How well predictions meet labels: discrimination, classification and calibration, with intervals.

    evaluate(label, predicted, groups=None, threshold=0.5, resamples=1000, seed=0) -> Evaluation
    area_under_curve(label, predicted) -> float          NaN where only one label is present
    Scored(label, predicted, block).metrics(times) -> {metric: (R,)}     all resamples at once

label: int (n,), 0 or 1. predicted: float (n,), susceptibility 0 to 1. groups: int (n,), the groups of
trainer.splits; intervals come from resampling whole groups, because samples of one storm are not independent.

Errors (mae, mse, rmse, mape) are of the susceptibility against the label, not of the class; mse is therefore
the Brier score. A percentage of a label of 0 is infinite, so mape divides by max(|label|, 1): by 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt

from service.errors import InputError

METRICS = (
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "auc",
    "average_precision",
    "mae",
    "mse",
    "rmse",
    "mape",
    "brier",
    "log_loss",
)
LOWER_IS_BETTER = ("mae", "mse", "rmse", "mape", "brier", "log_loss")
MAPE_MEANS = "mean of |label - predicted| / max(|label|, 1): the denominator is 1 where the label is 0"
_CLIP = 1e-7  # log loss of a prediction of exactly 0 or 1 that is wrong would be infinite
_VALUES_AT_ONCE = 200_000  # of resamples x samples; they stay in a core's cache

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Confusion:
    """Counts at a threshold; a prediction on it counts as positive."""

    tp: int
    fp: int
    tn: int
    fn: int


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one set of predictions. NaN: not defined there (one label only, nothing predicted)."""

    samples: int
    positives: int
    threshold: float
    confusion: Confusion
    accuracy: float
    precision: float
    recall: float
    specificity: float
    f1: float
    auc: float
    average_precision: float
    mae: float
    mse: float
    rmse: float
    mape: float
    brier: float
    log_loss: float  # natural logarithm
    # 2.5 and 97.5 % of the metric over resampled groups; absent without groups or where never defined.
    intervals: dict[str, tuple[float, float]] = field(default_factory=dict)

    def metrics(self) -> dict[str, float]:
        """Return the defined metrics by name, as a manifest takes them (no NaN)."""
        values = asdict(self)
        return {name: float(values[name]) for name in METRICS if np.isfinite(values[name])}


class Scored:
    """Labels and predictions of one model, sorted once: a resample is then a weighted sum.

    `block` (n,) numbers the block of each sample from 0; a resample says how often each block was drawn.
    Raises InputError for labels other than 0 and 1, predictions outside 0 to 1, lengths that differ, or no
    sample.
    """

    def __init__(
        self,
        label: npt.ArrayLike,
        predicted: npt.ArrayLike,
        block: Integers | None = None,
        *,
        threshold: float = 0.5,
    ) -> None:
        self.label, value = checked(label, predicted)
        self.block = np.arange(self.label.size) if block is None else np.asarray(block, np.int64)
        if self.block.shape != self.label.shape:
            raise InputError(f"{self.label.size} samples, but blocks of shape {self.block.shape}")
        self.blocks = int(self.block.max()) + 1
        true, said = self.label == 1, value >= threshold
        clipped = np.clip(value, _CLIP, 1 - _CLIP)
        error = np.abs(self.label - value)
        terms = np.stack(
            [
                said & true,
                said & ~true,
                ~said & ~true,
                ~said & true,
                error,
                error**2,
                error / np.maximum(np.abs(self.label), 1),
                -np.where(true, np.log(clipped), np.log1p(-clipped)),
            ]
        ).astype(np.float64)
        self._sums = np.stack([np.bincount(self.block, term, self.blocks) for term in terms], axis=1)
        falling = np.argsort(-value, kind="stable")
        # Samples of one value enter together: a curve has no point between them.
        self._ends = np.append(np.flatnonzero(np.diff(value[falling])), value.size - 1)
        self._sorted_block, self._sorted_label = self.block[falling], self.label[falling]

    @property
    def confusion(self) -> Confusion:
        """The counts over all samples, each once."""
        tp, fp, tn, fn = (round(float(value)) for value in self._sums[:, :4].sum(axis=0))
        return Confusion(tp, fp, tn, fn)

    def once(self) -> dict[str, float]:
        """Return every metric with each sample counted once; NaN where not defined."""
        values = self.metrics(np.ones((1, self.blocks), np.int64))
        return {name: float(value[0]) for name, value in values.items()}

    def metrics(self, times: Integers) -> dict[str, Floats]:
        """Return every metric of R resamples, (R,) each, NaN where not defined.

        `times` is int (R, B): how often each block is in each resample.
        """
        tp, fp, tn, fn, absolute, squared, relative, loss = (times @ self._sums).T
        count = tp + fp + tn + fn
        auc, average_precision = self._ranked(times)
        return {
            "accuracy": _ratio(tp + tn, count),
            "precision": _ratio(tp, tp + fp),
            "recall": _ratio(tp, tp + fn),
            "specificity": _ratio(tn, tn + fp),
            "f1": _ratio(2 * tp, 2 * tp + fp + fn),
            "auc": auc,
            "average_precision": average_precision,
            "mae": _ratio(absolute, count),
            "mse": _ratio(squared, count),
            "rmse": np.sqrt(_ratio(squared, count)),
            "mape": _ratio(relative, count),
            "brier": _ratio(squared, count),
            "log_loss": _ratio(loss, count),
        }

    def _ranked(self, times: Integers) -> tuple[Floats, Floats]:
        """Return AUC and average precision (R,) each.

        AUC: the chance that a positive ranks above a negative, ties half (Hanley and McNeil 1982). Average
        precision: precision at each distinct value, weighted by the recall gained there.
        """
        auc, average = np.full(len(times), np.nan), np.full(len(times), np.nan)
        step = max(1, _VALUES_AT_ONCE // self.label.size)
        for start in range(0, len(times), step):
            rows = slice(start, start + step)
            weight = times[rows][:, self._sorted_block].astype(np.float64)
            above = np.cumsum(weight * self._sorted_label, axis=1)[:, self._ends]
            below = np.cumsum(weight, axis=1)[:, self._ends] - above
            positives, negatives = above[:, -1], below[:, -1]
            gained = np.diff(above, axis=1, prepend=0)
            lost = np.diff(below, axis=1, prepend=0)
            auc[rows] = _ratio((lost * (above - gained / 2)).sum(axis=1), positives * negatives)
            precision = above / np.maximum(above + below, 1)  # where nothing is drawn yet, nothing is gained
            average[rows] = _ratio((gained * precision).sum(axis=1), positives)
        return auc, average


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
    block = None if groups is None else np.unique(groups, return_inverse=True)[1]
    scored = Scored(label, predicted, block, threshold=threshold)
    intervals = {}
    if groups is not None:
        generator = np.random.default_rng(seed)
        drawn = scored.metrics(draw_blocks(generator, scored.blocks, resamples))
        intervals = {name: found for name, found in percentiles(drawn).items() if np.isfinite(found[0])}
    return Evaluation(
        samples=int(scored.label.size),
        positives=int(scored.label.sum()),
        threshold=threshold,
        confusion=scored.confusion,
        **scored.once(),
        intervals=intervals,
    )


def draw_blocks(generator: np.random.Generator, blocks: int, resamples: int) -> Integers:
    """Return how often each of B blocks is in each of R resamples of B blocks: int64 (R, B)."""
    drawn = generator.integers(0, blocks, (resamples, blocks)) + np.arange(resamples)[:, None] * blocks
    return np.bincount(drawn.ravel(), minlength=resamples * blocks).reshape(resamples, blocks)


def percentiles(drawn: Mapping[str, Floats]) -> dict[str, tuple[float, float]]:
    """Return the 2.5 and 97.5 % of each metric's defined resamples; NaN where none is defined."""
    found = {}
    for name, values in drawn.items():
        defined = values[np.isfinite(values)]
        low, high = np.percentile(defined, (2.5, 97.5)) if defined.size else (np.nan, np.nan)
        found[name] = (float(low), float(high))
    return found


def area_under_curve(label: npt.NDArray[np.int64], predicted: npt.NDArray[np.floating]) -> float:
    """Return the chance that a positive scores above a negative, ties half (Hanley and McNeil 1982).

    `predicted` is any finite score (n,). NaN where only one label is present.
    """
    if label.size == 0:
        return float("nan")
    if not np.isfinite(predicted).all():
        raise InputError(f"{int((~np.isfinite(predicted)).sum())} of {label.size} scores are not numbers")
    # Ranks alone matter, so any score may stand for a susceptibility.
    ranks = np.unique(np.asarray(predicted, np.float64), return_inverse=True)[1]
    return Scored(label, ranks / max(1, int(ranks.max()))).once()["auc"]


def checked(label: npt.ArrayLike, predicted: npt.ArrayLike) -> tuple[Integers, Floats]:
    """Return labels (n,) and predictions (n,) that can be judged; raises InputError for others."""
    true, value = np.asarray(label), np.asarray(predicted, np.float64)
    if true.shape != value.shape or true.ndim != 1 or true.size == 0:
        raise InputError(
            f"labels {true.shape} and predictions {value.shape} must be equally long and not empty"
        )
    if not np.isin(true, (0, 1)).all():
        raise InputError(f"labels must be 0 or 1, got {sorted(set(true.tolist()))[:5]}")
    if not ((value >= 0) & (value <= 1)).all():
        raise InputError(
            f"predictions must lie between 0 and 1; of {value.size}, {int((value < 0).sum())} are below, "
            f"{int((value > 1).sum())} above, {int(np.isnan(value).sum())} NaN"
        )
    return true.astype(np.int64), value


def _ratio(part: Floats, whole: Floats) -> Floats:
    ratio = np.full(part.shape, np.nan)
    np.divide(part, whole, out=ratio, where=whole != 0)
    return ratio
