"""Leaks: ways in which a score comes out high for a wrong reason, looked for and said.

    check_fold(fold, data) -> tuple[Leak, ...]            places, patches or storms on both sides
    check_labels(data, rows) -> tuple[Leak, ...]          one factor or aggregate that is the label
    footprint(data, folds, ...) -> (n,) predictions       a model of where samples lie, and of nothing else
    judge_footprint(auc, best) -> Leak                    what the footprint's score means for the others
    prove_blind(recipe, data, fold, job) -> Leak | None   does a fit change when test rows change?

A leak is reported beside the scores, never repaired in silence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeClassifier

from trainer.dataset import Dataset, FloatArray, Indices
from trainer.evaluate import area_under_curve
from trainer.folds import Fold
from trainer.models.base import Job, Recipe, predict_rows
from trainer.sample_kinds import Kind

Severity = Literal["note", "warning", "error"]

# Alone above this, one input tells the labels apart as no terrain or rain of one cell should.
TELLTALE_AUC = 0.98
# A model of where samples lie that comes this near to a model of terrain and rain casts doubt on it.
FOOTPRINT_AUC, FOOTPRINT_MARGIN = 0.9, 0.05
FOOTPRINT_CHANCE = 0.6  # below, it knows too little to be behind any score
_NEIGHBOURS = 8
_FEWEST_IN_RANGE = 5  # samples


@dataclass(frozen=True)
class Leak:
    """What was looked for, what was found, and how bad it is."""

    check: str
    finding: str
    severity: Severity


def check_fold(fold: Fold, data: Dataset) -> tuple[Leak, ...]:
    """Look for the same place, overlapping patches, the same inputs or the same storm on both sides.

    Place and identical inputs on both sides are errors; overlapping patches and storms are warnings.
    """
    seen = np.concatenate([fold.train, fold.validation])
    found: list[Leak] = []
    severities: tuple[tuple[str, Severity], ...] = (("place", "error"), ("storm", "warning"))
    for what, severity in severities:
        key = [getattr(sample, what) for sample in data.samples]
        both = ({key[row] for row in seen} & {key[row] for row in fold.test}) - {None}
        if both:
            first = sorted(str(name) for name in both)[:3]
            found.append(
                Leak(f"{what} on both sides", f"{fold.name}: {len(both)} ({', '.join(first)} ...)", severity)
            )
    reach = data.patch * data.cell_size_m
    if reach:
        nearest, _ = cKDTree(data.xy[seen]).query(data.xy[fold.test], p=np.inf)
        near = int((nearest < reach).sum())
        if near:
            words = (
                f"{fold.name}: the patches of {near} of {len(fold.test)} test samples overlap training ones"
            )
            found.append(Leak("overlapping patches", words, "warning"))
    twins = _twins(data, seen, fold.test)
    if twins:
        words = f"{fold.name}: {twins} test samples have the very inputs of a training sample"
        found.append(Leak("identical inputs on both sides", words, "error"))
    return tuple(found)


def check_labels(data: Dataset, rows: Indices) -> tuple[Leak, ...]:
    """Look for one factor at the sample's cell, or one sum of its window, that alone is the label.

    By its order, and by ranges of its values: a category's code, or a value in the middle, tells labels apart
    without any order. A factor is also held against negatives elsewhere alone: at an event's own place, on
    another day, it is the same by nature.
    """
    label = data.label[rows]
    kind = np.array([data.samples[row].kind for row in rows.tolist()])
    elsewhere = (label == 1) | np.isin(kind, (Kind.SPATIAL, Kind.BOTH))
    found = []
    factors = {factor.name for factor in data.factors}
    for name, value in _single_inputs(data, rows):
        asked = [(label, value, "the labels")]
        if name in factors and not elsewhere.all() and (label[elsewhere] == 0).any():
            asked.append((label[elsewhere], value[elsewhere], "landslides from samples elsewhere"))
        for of, values, words in asked:
            auc = _alone(of, values)
            if auc >= TELLTALE_AUC:
                found.append(
                    Leak(
                        "label in a factor",
                        f"{name} alone separates {words} of {len(of)} training samples with AUC {auc:.3f}; "
                        "was it made from the inventory?",
                        "error",
                    )
                )
                break
    return tuple(found)


def footprint(data: Dataset, folds: Sequence[Fold], seed: int = 0) -> npt.NDArray[np.float64]:
    """Predict labels from where samples lie alone: (n,), NaN where a row is in no test part.

    Coordinates, distances to the neighbouring samples, how many lie within a patch, and the share of ground
    without data around, where known. A random forest; it is fitted on the same rows as the models.
    """
    known = footprint_features(data)
    predicted = np.full(len(data), np.nan)
    for fold in folds:
        rows = np.concatenate([fold.train, fold.validation])
        forest = RandomForestClassifier(100, min_samples_leaf=3, random_state=seed, n_jobs=1)
        forest.fit(known[rows], data.label[rows])
        predicted[fold.test] = forest.predict_proba(known[fold.test])[:, 1]
    return predicted


def footprint_features(data: Dataset) -> npt.NDArray[np.float64]:
    """Return x, y, distances to the 8 nearest samples, samples within two patches, no-data share: (n, 12)."""
    tree = cKDTree(data.xy)
    count = min(_NEIGHBOURS + 1, len(data))
    distance, _ = tree.query(data.xy, k=count)
    distance = np.asarray(distance).reshape(len(data), -1)[:, 1:]
    reach = 2 * max(data.patch, 23) * data.cell_size_m
    crowd = tree.query_ball_point(data.xy, reach, return_length=True)
    columns = [data.xy, distance, np.asarray(crowd, np.float64)[:, None]]
    if data.nodata_share is not None:
        columns.append(np.asarray(data.nodata_share, np.float64)[:, None])
    return np.concatenate(columns, axis=1)


def judge_footprint(auc: float, best: float) -> Leak:
    """Say what the footprint-only model's AUC means beside the best model's.

    One that tells nothing apart is no leak, however poor the models are.
    """
    said = f"where samples lie, and nothing else, gives AUC {auc:.3f}; the best model gives {best:.3f}"
    if auc >= FOOTPRINT_AUC or (auc >= FOOTPRINT_CHANCE and auc >= best - FOOTPRINT_MARGIN):
        return Leak(
            "footprint-only model",
            f"{said}: the labels leak through where samples lie, and no score here shows skill by itself",
            "warning",
        )
    return Leak("footprint-only model", said, "note")


def prove_blind(recipe: Recipe, data: Dataset, fold: Fold, job: Job) -> Leak | None:
    """Fit twice, the second time with the test rows spoiled; None where both fits are the same.

    What scales, selects, calibrates or chooses by test rows gives other predictions for validation rows.
    """
    honest = predict_rows(recipe.fit(data, fold.train, fold.validation, job), data, fold.validation)
    spoiled = spoil(data, fold.test, job.seed)
    again = predict_rows(recipe.fit(spoiled, fold.train, fold.validation, job), data, fold.validation)
    if np.array_equal(honest, again):
        return None
    largest = float(np.abs(honest - again).max())
    return Leak(
        "fit sees test rows",
        f"{recipe.title}: with other test rows, validation predictions change by up to {largest:.3g}",
        "error",
    )


def spoil(data: Dataset, rows: Indices, seed: int) -> Dataset:
    """Return a copy whose `rows` have other inputs and the other label; in memory, for small datasets."""
    random = np.random.default_rng(seed)

    def other(values: FloatArray | None) -> FloatArray | None:
        if values is None:
            return None
        changed = np.array(values, np.float32)
        # Values that were there before, so that codes stay codes, but from elsewhere and far larger spread.
        changed[rows] = changed[rows][random.permutation(len(rows))]
        return changed

    samples = list(data.samples)
    for row in rows:
        samples[row] = replace(samples[row], label=1 - samples[row].label)
    patches, windows = other(data.patches), other(data.windows)
    if patches is not None:
        continuous = np.array([factor.categories is None for factor in data.factors])
        patches[np.ix_(rows, np.flatnonzero(continuous))] *= 7.0
    if windows is not None:
        windows[rows] *= 7.0
    return replace(data, samples=tuple(samples), patches=patches, windows=windows)


def _twins(data: Dataset, seen: Indices, test: Indices) -> int:
    """Count test rows whose patch and window equal those of a row seen in training."""

    def digests(rows: Indices) -> list[bytes]:
        found = []
        for chosen, patches, windows in data.batches(rows):
            parts = [part for part in (patches, windows) if part is not None]
            for index in range(len(chosen)):
                found.append(sha256(b"".join(part[index].tobytes() for part in parts)).digest())
        return found

    known = set(digests(seen))
    return sum(digest in known for digest in digests(test))


def _alone(label: npt.NDArray[np.int64], value: npt.NDArray[np.float64]) -> float:
    """Return how well one value tells the labels apart, up or down or by ranges."""
    if np.unique(value).size < 2:
        return 0.5
    auc = area_under_curve(label, value)
    return max(auc, 1 - auc, _auc_of_ranges(label, value))


def _auc_of_ranges(label: npt.NDArray[np.int64], value: npt.NDArray[np.float64]) -> float:
    """Return the AUC of the label's share in up to 8 ranges of a value, each half judged by the other's."""
    half = np.zeros(len(label), np.int64)
    for kind in (0, 1):
        # Alternately along the value, so that both halves hold every range of it.
        members = np.flatnonzero(label == kind)
        half[members[np.argsort(value[members], kind="stable")]] = np.arange(len(members)) % 2
    if min(np.bincount(half * 2 + label, minlength=4)) < _FEWEST_IN_RANGE:
        return 0.5
    areas = []
    for judged in (0, 1):
        known, asked = half != judged, half == judged
        tree = DecisionTreeClassifier(max_leaf_nodes=8, min_samples_leaf=_FEWEST_IN_RANGE, random_state=0)
        tree.fit(value[known, None], label[known])
        areas.append(area_under_curve(label[asked], tree.predict_proba(value[asked, None])[:, 1]))
    return float(np.mean(areas))


def _single_inputs(data: Dataset, rows: Indices) -> list[tuple[str, npt.NDArray[np.float64]]]:
    """Return (name, value (len(rows),)) of each factor at the cell and of sums of each variable's window."""
    centre = data.patch // 2
    cells: list[FloatArray] = []
    sums: list[FloatArray] = []
    for _, patches, windows in data.batches(rows):
        if patches is not None:
            cells.append(patches[:, :, centre, centre])
        if windows is not None:
            spans = [windows[:, -days:].sum(axis=1) for days in (1, 3, 7, 30)]
            sums.append(np.stack(spans, axis=1))
    found = []
    if cells:
        values = np.concatenate(cells)
        found += [(factor.name, values[:, n].astype(np.float64)) for n, factor in enumerate(data.factors)]
    if sums:
        values = np.concatenate(sums)
        found += [
            (f"{variable.name} of the last {days} days", values[:, m, n].astype(np.float64))
            for n, variable in enumerate(data.variables)
            for m, days in enumerate((1, 3, 7, 30))
        ]
    return found
