"""Models against each other on the same held-out samples, with intervals by block.

    summarise(repetitions, resamples=1000, seed=0) -> Comparison
    Comparison.models[name].metrics["auc"] -> Interval(mean, low, high)
    Comparison.pair(first, second, "auc") -> Pair(..., difference, low, high)     first minus second
    Comparison.to_json()                   the parts "models", "pairs", "best_reachable" of comparison.json

Samples of one block (a place, a storm, a square of ground) are not independent, so whole blocks are drawn
with replacement, within each dataset as many as it has. A block that is held out in several repetitions is
drawn for all of them at once, and all models are judged on the same draws: a difference between two models is
resampled as a difference. An interval holds the chance of the held-out samples; how a model varies with the
samples it is trained on shows only as far as the repetitions differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np

from service.errors import InputError
from trainer.evaluate import METRICS, Confusion, Floats, Integers, Scored, checked, draw_blocks, percentiles

PAIR_METRICS = ("auc", "average_precision", "brier", "accuracy")
FEW_BLOCKS = 10  # below, percentile intervals are known to be too narrow
_TRUTH = "best reachable"  # stands among the models where landslides were made up
_ROUNDS = 100  # of drawing again what holds one class only


@dataclass(frozen=True)
class Repetition:
    """One repetition's held-out samples, the test rows of all its folds together.

    `data` names the dataset: equal (data, block) are one block, whichever repetition holds it out.
    """

    name: str
    data: str
    label: Integers  # (n,) 0 or 1
    block: Integers  # (n,)
    predicted: dict[str, Floats]  # model name -> (n,), 0 to 1
    truth: Floats | None = None  # (n,) true probability, where landslides were made up


@dataclass(frozen=True)
class Interval:
    """A mean over repetitions with its 95 % interval."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Pair:
    """How far `first` is above `second` in a metric, on the same draws; the interval is of the difference."""

    first: str
    second: str
    metric: str
    difference: float
    low: float
    high: float


@dataclass(frozen=True)
class Judged:
    """One model: metrics that are defined in every repetition, and its counts over all of them."""

    metrics: dict[str, Interval]
    confusion: Confusion


@dataclass(frozen=True)
class Comparison:
    """All models on the same held-out samples."""

    models: dict[str, Judged]
    pairs: tuple[Pair, ...]  # every pair of models once, metrics PAIR_METRICS
    best_reachable: Interval | None  # AUC of the true probability on the same samples
    gaps: tuple[Pair, ...]  # AUC of each model minus the best reachable
    repetitions: int
    samples: int  # over all repetitions
    blocks: int  # distinct
    resamples: int  # that the intervals rest on
    redrawn: int  # draws made again because a repetition had one class only
    notes: tuple[str, ...]  # what a reader must know of the figures

    def pair(self, first: str, second: str, metric: str) -> Pair:
        """Return first minus second in a metric, whichever way round it is kept."""
        for kept in self.pairs:
            if kept.metric != metric:
                continue
            if (kept.first, kept.second) == (first, second):
                return kept
            if (kept.first, kept.second) == (second, first):
                return Pair(first, second, metric, -kept.difference, -kept.high, -kept.low)
        raise InputError(
            f"no pair {first}, {second} was compared by {metric}; models: {', '.join(self.models)}; "
            f"metrics: {', '.join(dict.fromkeys(pair.metric for pair in self.pairs))}"
        )

    def to_json(self) -> dict[str, Any]:
        """Return "models", "pairs", "best_reachable" and "resampling" as comparison.json holds them."""
        best = None
        if self.best_reachable is not None:
            gaps = {
                gap.first: {"difference": gap.difference, "low": gap.low, "high": gap.high}
                for gap in self.gaps
            }
            best = {"auc": asdict(self.best_reachable), "gaps": gaps}
        return {
            "models": {name: asdict(judged) for name, judged in self.models.items()},
            "pairs": [asdict(pair) for pair in self.pairs],
            "best_reachable": best,
            "resampling": {
                "resamples": self.resamples,
                "redrawn": self.redrawn,
                "blocks": self.blocks,
                "samples": self.samples,
                "repetitions": self.repetitions,
                "notes": list(self.notes),
            },
        }


def summarise(
    repetitions: Sequence[Repetition],
    metrics: Sequence[str] = METRICS,
    *,
    resamples: int = 1000,
    seed: int = 0,
    threshold: float = 0.5,
) -> Comparison:
    """Judge all models of some repetitions: means over them, intervals by block, paired differences.

    A draw that leaves a repetition with one class only is made again, and counted. Raises InputError for no
    repetition, repetitions that lack a model or hold one class only, unknown metrics, and predictions that
    cannot be judged.
    """
    models = _check(repetitions, metrics)
    truth = all(repetition.truth is not None for repetition in repetitions)
    draws = _draw(repetitions, resamples, seed)
    names = [*models, _TRUTH] if truth else models
    point: dict[str, dict[str, Floats]] = {}  # model -> metric -> (repetitions,)
    drawn: dict[str, dict[str, Floats]] = {}  # model -> metric -> (resamples,), mean over repetitions
    counts = {}
    for name in names:
        scored = [
            Scored(repetition.label, _predicted(repetition, name), block, threshold=threshold)
            for repetition, block in zip(repetitions, draws.block, strict=True)
        ]
        once = [one.once() for one in scored]
        resampled = [one.metrics(times) for one, times in zip(scored, draws.times, strict=True)]
        point[name] = {metric: np.array([values[metric] for values in once]) for metric in METRICS}
        drawn[name] = {
            metric: np.mean([values[metric] for values in resampled], axis=0) for metric in METRICS
        }
        counts[name] = _total([one.confusion for one in scored])
    notes = list(draws.notes)
    judged = {}
    for name in models:
        found = {}
        for metric in metrics:
            undefined = [
                repetition.name
                for repetition, value in zip(repetitions, point[name][metric], strict=True)
                if not np.isfinite(value)
            ]
            if undefined:
                notes.append(
                    f"{metric} of {name} is not defined in {', '.join(undefined)}, "
                    f"where no prediction reaches {threshold:g}"
                )
                continue
            lost = int((~np.isfinite(drawn[name][metric])).sum())
            if lost:
                notes.append(f"{metric} of {name} is not defined in {lost} of {draws.kept} draws, left out")
            found[metric] = Interval(float(point[name][metric].mean()), *percentiles(drawn[name])[metric])
        judged[name] = Judged(found, counts[name])

    def difference(first: str, second: str, metric: str) -> Pair:
        between = drawn[first][metric] - drawn[second][metric]
        low, high = percentiles({metric: between})[metric]
        mean = float(point[first][metric].mean() - point[second][metric].mean())
        return Pair(first, second, metric, mean, low, high)

    best = Interval(float(point[_TRUTH]["auc"].mean()), *percentiles(drawn[_TRUTH])["auc"]) if truth else None
    return Comparison(
        models=judged,
        pairs=tuple(
            difference(first, second, metric)
            for first, second in combinations(models, 2)
            for metric in PAIR_METRICS
            if metric in metrics
        ),
        best_reachable=best,
        gaps=tuple(difference(name, _TRUTH, "auc") for name in models) if truth else (),
        repetitions=len(repetitions),
        samples=sum(repetition.label.size for repetition in repetitions),
        blocks=draws.blocks,
        resamples=draws.kept,
        redrawn=draws.redrawn,
        notes=tuple(notes),
    )


@dataclass(frozen=True)
class _Draws:
    """How often each block of each repetition is in each resample."""

    block: tuple[Integers, ...]  # by repetition: (n,) number of each sample's block within it
    times: tuple[Integers, ...]  # by repetition: (resamples, its blocks)
    blocks: int
    kept: int
    redrawn: int
    notes: tuple[str, ...]


def _draw(repetitions: Sequence[Repetition], resamples: int, seed: int) -> _Draws:
    block: list[Integers] = [np.zeros(0, np.int64)] * len(repetitions)
    times: list[Integers] = [np.zeros((0, 0), np.int64)] * len(repetitions)
    possible = np.ones(resamples, bool)
    total, redrawn = 0, 0
    notes = []
    # A dataset's draws do not depend on which others are judged with it, or in which order.
    for data in dict.fromkeys(repetition.data for repetition in repetitions):
        rows = [number for number, repetition in enumerate(repetitions) if repetition.data == data]
        ids, number_of = np.unique(
            np.concatenate([repetitions[row].block for row in rows]), return_inverse=True
        )
        total += ids.size
        ends = np.cumsum([repetitions[row].label.size for row in rows])[:-1]
        positives = np.zeros((ids.size, len(rows)), np.int64)
        negatives = np.zeros((ids.size, len(rows)), np.int64)
        held: list[Integers] = []
        for column, (row, numbers) in enumerate(zip(rows, np.split(number_of, ends), strict=True)):
            label = repetitions[row].label
            positives[:, column] = np.bincount(numbers[label == 1], minlength=ids.size)
            negatives[:, column] = np.bincount(numbers[label == 0], minlength=ids.size)
            own, block[row] = np.unique(numbers, return_inverse=True)
            held.append(own)
        generator = np.random.default_rng([seed, *data.encode()])
        drawn = draw_blocks(generator, ids.size, resamples)
        for _ in range(_ROUNDS):
            lacking = np.flatnonzero(((drawn @ positives == 0) | (drawn @ negatives == 0)).any(axis=1))
            if not lacking.size:
                break
            redrawn += lacking.size
            drawn[lacking] = draw_blocks(generator, ids.size, lacking.size)
        possible &= ~((drawn @ positives == 0) | (drawn @ negatives == 0)).any(axis=1)
        for row, own in zip(rows, held, strict=True):
            times[row] = drawn[:, own]
        if ids.size < FEW_BLOCKS:
            notes.append(f"{data}: only {ids.size} blocks; intervals from so few are too narrow")
    kept = int(possible.sum())
    if not kept:
        raise InputError(
            f"none of {resamples} draws of blocks holds both classes in every repetition: too few blocks "
            "hold one of them; either make the blocks smaller or the repetitions fewer"
        )
    if redrawn:
        notes.append(f"{redrawn} draws of blocks held one class only and were made again")
    if kept < resamples:
        notes.append(f"{resamples - kept} of {resamples} draws held one class only and were left out")
    return _Draws(tuple(block), tuple(part[possible] for part in times), total, kept, redrawn, tuple(notes))


def _check(repetitions: Sequence[Repetition], metrics: Sequence[str]) -> list[str]:
    """Return the models' names in the order of the first repetition; raise for what cannot be judged."""
    if not repetitions:
        raise InputError("nothing to judge: there is no repetition")
    unknown = [metric for metric in metrics if metric not in METRICS]
    if unknown:
        raise InputError(f"no metric is called {', '.join(unknown)}; there are: {', '.join(METRICS)}")
    models = list(repetitions[0].predicted)
    for repetition in repetitions:
        if set(repetition.predicted) != set(models):
            raise InputError(
                f"repetition {repetition.name} has {', '.join(repetition.predicted)}, "
                f"but {repetitions[0].name} has {', '.join(models)}; models are compared on the same samples"
            )
        for name, predicted in repetition.predicted.items():
            try:
                checked(repetition.label, predicted)
            except InputError as error:
                raise InputError(f"repetition {repetition.name}, model {name}: {error}") from error
        if len(np.unique(repetition.label)) < 2:
            raise InputError(
                f"the held-out samples of repetition {repetition.name} are all of one class; nothing can be "
                "ranked: either give more events or another split"
            )
        if repetition.block.shape != repetition.label.shape:
            raise InputError(
                f"repetition {repetition.name}: {repetition.label.size} samples, "
                f"but blocks of shape {repetition.block.shape}"
            )
    return models


def _predicted(repetition: Repetition, name: str) -> Floats:
    if name == _TRUTH and repetition.truth is not None:
        return repetition.truth
    return repetition.predicted[name]


def _total(counts: Sequence[Confusion]) -> Confusion:
    return Confusion(
        tp=sum(count.tp for count in counts),
        fp=sum(count.fp for count in counts),
        tn=sum(count.tn for count in counts),
        fn=sum(count.fn for count in counts),
    )
