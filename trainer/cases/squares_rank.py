"""Second task on the squares: which of those with eight neighbours failed most?

Every square of it was cut in the midst of others, so where squares were cut tells nothing. Models learn the
rank of a square's landslide pixels within the training part, 0 to 1; they are judged by Spearman's rank
correlation with the pixels of held-out blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata
from sklearn.ensemble import RandomForestRegressor
from xgboost import XGBRegressor

from service.errors import InputError
from service.files import digest_of, replacing
from service.manifest import FactorSpec
from trainer.cases.resampling import Resampled, resample
from trainer.cases.squares_data import FACTORS, NAMES, Ranked, square_folds, statistics_of
from trainer.dataset import FloatArray
from trainer.fit import FitSamples, FitSettings, fit
from trainer.folds import Fold
from trainer.models._network import NO_WINDOW, NO_WINDOW_DAYS
from trainer.networks.cnn_dnn import CnnDnn, Design
from trainer.networks.cnn_lstm import CnnLstm, Inputs
from trainer.splits import spatial_blocks

Floats = npt.NDArray[np.float64]
Progress = Callable[[int, int], None]
_VERSION = 1
CNN_ONLY = FitSettings(epochs=10, patience=4, augment="square")
CNN_DNN = FitSettings(
    epochs=20, learning_rate=0.01, l2=0.0, l2_on=(), optimiser="sgd", augment="square", patience=6
)


@dataclass(frozen=True)
class RankPlan:
    """How the ranking is made; the networks learn soft labels with cross-entropy."""

    blocks_km: tuple[float, ...] = (10.0, 25.0, 40.0)
    folds: int = 5
    trees: int = 300
    cnn_only: FitSettings = CNN_ONLY
    cnn_dnn: FitSettings = CNN_DNN
    resamples: int = 1000
    seed: int = 0


def rank_squares(
    ranked: Ranked, plan: RankPlan, folder: Path, progress: Progress | None = None
) -> dict[float, Resampled]:
    """Return Spearman's correlation of every model by size of the blocks, with intervals by block.

    Predictions of one model and fold are kept in `folder`, so a run that was killed goes on there.
    """
    learners = {
        "random_forest": _forest,
        "xgboost": _boosted,
        "cnn_only": _cnn_only,
        "cnn_dnn": _cnn_dnn,
    }
    # Halves of the pixels as labels, so that folds and validation hold both ends.
    halves = (ranked.pixels > np.median(ranked.pixels)).astype(np.int64)
    total, done = len(plan.blocks_km) * plan.folds * len(learners), 0
    found = {}
    for size in plan.blocks_km:
        folds = square_folds(ranked.xy, halves, size, plan.seed, folds=plan.folds)
        predicted = {name: np.zeros(len(ranked.pixels)) for name in learners}
        for fold in folds:
            for name, learn in learners.items():
                predicted[name][fold.test] = _kept(
                    folder, digest_of(_VERSION, name, repr(plan), size, fold.name, _content(ranked)),
                    partial(learn, ranked, fold, plan),
                )  # fmt: skip
                done += 1
                if progress:
                    progress(done, total)
        block = spatial_blocks(ranked.xy, size)
        found[size] = resample(
            spearman, ranked.pixels, predicted, block, resamples=plan.resamples, seed=plan.seed
        )
    return found


def spearman(wanted: Floats, score: Floats) -> float:
    """Return Spearman's rank correlation, ties at their mean rank; NaN where either is constant."""
    first, second = rankdata(wanted), rankdata(score)
    first, second = first - first.mean(), second - second.mean()
    below = float(np.sqrt((first**2).sum() * (second**2).sum()))
    return float((first * second).sum() / below) if below > 0 else float("nan")


def soft_labels(pixels: npt.NDArray[np.int64], train: npt.NDArray[np.int64]) -> FloatArray:
    """Return where each count stands among those of the training rows, 0 to 1: (n,)."""
    known = np.sort(pixels[train])
    below = np.searchsorted(known, pixels, "left")
    upto = np.searchsorted(known, pixels, "right")
    return ((below + upto) / (2 * len(known))).astype(np.float32)


def _forest(ranked: Ranked, fold: Fold, plan: RankPlan) -> Floats:
    statistics = statistics_of(ranked.patches, NAMES)
    forest = RandomForestRegressor(plan.trees, min_samples_leaf=3, random_state=plan.seed, n_jobs=1)
    forest.fit(statistics[fold.train], soft_labels(ranked.pixels, fold.train)[fold.train])
    return np.asarray(forest.predict(statistics[fold.test]), np.float64)


def _boosted(ranked: Ranked, fold: Fold, plan: RankPlan) -> Floats:
    statistics, wanted = statistics_of(ranked.patches, NAMES), soft_labels(ranked.pixels, fold.train)
    trees = XGBRegressor(
        n_estimators=plan.trees, max_depth=4, learning_rate=0.05, subsample=0.8, colsample_bytree=0.8,
        tree_method="hist", device="cpu", early_stopping_rounds=30, random_state=plan.seed, n_jobs=1,
    )  # fmt: skip
    held = [(statistics[fold.validation], wanted[fold.validation])]
    trees.fit(statistics[fold.train], wanted[fold.train], eval_set=held, verbose=False)
    return np.asarray(trees.predict(statistics[fold.test]), np.float64)


def _cnn_only(ranked: Ranked, fold: Fold, plan: RankPlan) -> Floats:
    inputs = Inputs(_ranges(ranked.patches[fold.train]), NO_WINDOW, ranked.patches.shape[-1], NO_WINDOW_DAYS)
    return _network(CnnLstm(inputs, seed=plan.seed), ranked, fold, plan.cnn_only)


def _cnn_dnn(ranked: Ranked, fold: Fold, plan: RankPlan) -> Floats:
    factors = _ranges(ranked.patches[fold.train])
    network = CnnDnn(factors, ranked.patches.shape[-1], Design(), seed=plan.seed)
    return _network(network, ranked, fold, plan.cnn_dnn)


def _network(network: CnnLstm | CnnDnn, ranked: Ranked, fold: Fold, settings: FitSettings) -> Floats:
    wanted = soft_labels(ranked.pixels, fold.train)
    train, validation = (
        FitSamples(wanted[rows], patches=ranked.patches[rows]) for rows in (fold.train, fold.validation)
    )
    fit(network, train, validation, settings)
    network.eval()
    with torch.inference_mode():
        parts = [
            network.logits_spatial(network.embed(torch.from_numpy(ranked.patches[rows]))).numpy()
            for rows in np.array_split(fold.test, max(1, len(fold.test) // 256))
        ]
    return np.concatenate(parts).astype(np.float64)


def _ranges(patches: FloatArray) -> tuple[FactorSpec, ...]:
    low, high = patches.min(axis=(0, 2, 3)), patches.max(axis=(0, 2, 3))
    return tuple(
        FactorSpec(name=factor.name, unit=factor.unit, minimum=float(low[n]), maximum=float(high[n]))
        for n, factor in enumerate(FACTORS)
    )


def _content(ranked: Ranked) -> str:
    return digest_of(ranked.pixels.tolist(), ranked.xy.tolist(), float(ranked.patches.sum(dtype=np.float64)))


def _kept(folder: Path, digest: str, make: Callable[[], Floats]) -> Floats:
    """Return what an earlier run left under this digest, or make and keep it."""
    path = folder / f"{digest[:16]}.npy"
    if path.exists():
        try:
            return np.asarray(np.load(path, allow_pickle=False), np.float64)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} cannot be read: {error}; remove it and it is made again") from error
    made = make()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, made)
    return made
