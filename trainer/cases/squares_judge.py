"""Judging on the squares: models, the forest of nine statistics and where squares lie, on the same folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GroupKFold

from trainer.cases.fits import Kept
from trainer.cases.squares_data import gap_m, statistics_of
from trainer.dataset import Dataset
from trainer.evaluate import area_under_curve
from trainer.folds import Fold
from trainer.judge import Comparison, Repetition, summarise
from trainer.leakage import footprint, judge_footprint
from trainer.models import recipe_class
from trainer.splits import spatial_blocks
from trainer.squares import SQUARE_M

Floats = npt.NDArray[np.float64]
Fits = Mapping[tuple[str, int, str, int], Kept]  # (scheme, seed, model, fold)

NINE, FOOTPRINT = "forest_of_nine", "footprint"
METRICS = ("auc", "average_precision", "brier", "accuracy")
JUDGED_BY_KM = 10.0  # blocks that intervals of a random split are drawn by
TREES = 300


@dataclass(frozen=True)
class Scheme:
    """One way to divide the squares; a block of one square is a random split."""

    name: str
    block_km: float
    elevation: bool = True

    @property
    def judged_by_km(self) -> float:
        """Blocks that are drawn for intervals."""
        return max(self.block_km, JUDGED_BY_KM)

    @property
    def buffer_m(self) -> float:
        """Ground between held-out and training squares."""
        return SQUARE_M if self.block_km * 1000 > SQUARE_M else 0.0


@dataclass(frozen=True)
class Divided:
    """One repetition of a scheme."""

    scheme: Scheme
    seed: int
    folder: Path  # of the dataset
    data: Dataset
    folds: tuple[Fold, ...]

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        """The held-out rows of all folds, in order."""
        return np.concatenate([fold.test for fold in self.folds])


def development(xy: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Return which squares hyperparameters were tried on: all but two corners of the region.

    The western strip (left of 680 km east) and the south-east (right of 720, below 4,880 km north) were not
    looked at before; what is judged there alone is free of that choice.
    """
    west = xy[:, 0] < 680_000
    south_east = (xy[:, 0] >= 720_000) & (xy[:, 1] < 4_880_000)
    return np.asarray(~(west | south_east))


def judge_scheme(
    divided: Sequence[Divided], fitted: Fits, names: Sequence[str], resamples: int
) -> dict[str, Any]:
    """Judge all models of one scheme on the same held-out squares."""
    scheme = divided[0].scheme
    repetitions, untouched = [], []
    for one in divided:
        predicted: dict[str, Floats] = {
            model: np.concatenate(
                [fitted[(scheme.name, one.seed, model, n)].test for n in range(len(one.folds))]
            )
            for model in names
        }
        predicted[NINE] = _forest_of_nine(one)[one.rows]
        predicted[FOOTPRINT] = footprint(one.data, one.folds, one.seed)[one.rows]
        block = spatial_blocks(one.data.xy, scheme.judged_by_km)[one.rows]
        label, name = one.data.label[one.rows], f"seed {one.seed}"
        repetitions.append(Repetition(name, scheme.name, label, block, predicted))
        held = ~development(one.data.xy)[one.rows]
        if len(set(label[held].tolist())) == 2:
            part = {model: values[held] for model, values in predicted.items()}
            # Two corners hold few large blocks: they are judged by the smaller ones.
            fine = spatial_blocks(one.data.xy, JUDGED_BY_KM)[one.rows][held]
            untouched.append(Repetition(name, f"{scheme.name}, untouched", label[held], fine, part))
    comparison = summarise(repetitions, METRICS, resamples=resamples)
    models = [*names, NINE]
    best = max(comparison.models[model].metrics["auc"].mean for model in models)
    feet = comparison.models[FOOTPRINT].metrics["auc"]
    gaps = [gap_m(one.data.xy, fold.test, fold.train) for one in divided for fold in one.folds]
    return {
        "block_km": scheme.block_km,
        "least_ground_between_m": min(gaps),
        "rows": [
            {"train": len(fold.train), "validation": len(fold.validation), "test": len(fold.test),
             "left_out": len(fold.left_out)}
            for one in divided for fold in one.folds
        ],
        "models": {
            model: {
                "title": title_of(model),
                "metrics": {name: asdict(value) for name, value in comparison.models[model].metrics.items()},
                "auc_by_fold": _by_fold(divided, repetitions, model),
                "seconds": round(sum(kept.seconds for kept in _mine(divided, fitted, model)), 1),
                "best_epochs": [kept.best_epoch for kept in _mine(divided, fitted, model)],
                "chosen": [kept.chosen for kept in _mine(divided, fitted, model)],
            }
            for model in models
        },
        "against_forest": _against(comparison, models),
        "pairs": [asdict(pair) for pair in comparison.pairs if FOOTPRINT not in (pair.first, pair.second)],
        "footprint": {"auc": asdict(feet), "says": judge_footprint(feet.mean, best).finding},
        "untouched": _untouched(untouched, models, resamples),
        "notes": list(comparison.notes),
    }  # fmt: skip


def _untouched(
    repetitions: Sequence[Repetition], models: Sequence[str], resamples: int
) -> dict[str, Any] | None:
    """Judge on the corners that no hyperparameter was tried on; None where they hold one label only."""
    if not repetitions:
        return None
    comparison = summarise(repetitions, ("auc",), resamples=resamples)
    return {
        "squares": int(repetitions[0].label.size),
        "positives": int(repetitions[0].label.sum()),
        "auc": {model: asdict(comparison.models[model].metrics["auc"]) for model in models},
        "against_forest": _against(comparison, models),
        "notes": list(comparison.notes),
    }


def _against(comparison: Comparison, models: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return each model's AUC minus the forest's; the forest is the better of both by its AUC here."""
    forests = [model for model in ("random_forest", NINE) if model in models]
    forest = max(forests, key=lambda model: comparison.models[model].metrics["auc"].mean)
    return {model: asdict(comparison.pair(model, forest, "auc")) for model in models if model not in forests}


def _forest_of_nine(one: Divided) -> Floats:
    """Predict with a forest on nine statistics of the patch, fitted on the same rows as every model.

    Without elevation three of the nine go.
    """
    if one.data.patches is None:
        raise RuntimeError("squares have patches")
    names = [factor.name for factor in one.data.factors]
    if "elevation" in names:
        known = statistics_of(np.asarray(one.data.patches), names)
    else:
        blank = np.zeros_like(one.data.patches[:, :1])
        known = statistics_of(np.concatenate([blank, one.data.patches], axis=1), ["elevation", *names])[:, 3:]
    predicted = np.zeros(len(one.data))
    for fold in one.folds:
        forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=one.seed, n_jobs=1)
        forest.fit(known[fold.train], one.data.label[fold.train])
        predicted[fold.test] = forest.predict_proba(known[fold.test])[:, 1]
    return predicted


def naive_bar(
    data: Dataset, schemes: Sequence[Scheme], seeds: Sequence[int], folds: int
) -> dict[str, dict[str, float]]:
    """Return the AUC of the forest of nine under naive rules: no buffer, every other square to train on.

    By scheme and by how blocks are dealt out: in the order of their size, or shuffled by a seed.
    """
    known = statistics_of(np.asarray(data.patches), [factor.name for factor in data.factors])
    found: dict[str, dict[str, float]] = {}
    for scheme in schemes:
        if not scheme.elevation:
            continue
        block = spatial_blocks(data.xy, scheme.block_km)
        ways = {"in order": GroupKFold(folds)}
        ways |= {f"seed {seed}": GroupKFold(folds, shuffle=True, random_state=seed) for seed in seeds}
        found[scheme.name] = {}
        for way, splitter in ways.items():
            predicted = np.zeros(len(data))
            for train, test in splitter.split(known, groups=block):
                forest = RandomForestClassifier(TREES, min_samples_leaf=2, random_state=0, n_jobs=1)
                forest.fit(known[train], data.label[train])
                predicted[test] = forest.predict_proba(known[test])[:, 1]
            found[scheme.name][way] = round(area_under_curve(data.label, predicted), 4)
    return found


def _by_fold(divided: Sequence[Divided], repetitions: Sequence[Repetition], model: str) -> list[float | None]:
    """Return the AUC within each fold; None where it holds one label only."""
    values: list[float | None] = []
    for one, repetition in zip(divided, repetitions, strict=True):
        ends = np.cumsum([len(fold.test) for fold in one.folds])[:-1]
        for label, predicted in zip(
            np.split(repetition.label, ends), np.split(repetition.predicted[model], ends), strict=True
        ):
            value = area_under_curve(label, predicted)
            values.append(round(value, 4) if np.isfinite(value) else None)
    return values


def _mine(divided: Sequence[Divided], fitted: Fits, model: str) -> list[Kept]:
    keys = [(one.scheme.name, one.seed, model, n) for one in divided for n in range(len(one.folds))]
    return [fitted[key] for key in keys if key in fitted]


def title_of(model: str) -> str:
    """Return a model's name as in tables and legends."""
    return "Forest of nine statistics" if model == NINE else recipe_class(model).title
