"""Many fits of models on folds, each kept on disk when it is whole: a run that was killed goes on.

    fit_all({key: Wanted(...)}, jobs, progress) -> {key: Kept}

Every fit runs on one thread, so figures do not depend on how many run at once.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from service.errors import InputError
from service.files import digest_of, replacing
from trainer.dataset import load_dataset
from trainer.folds import Fold
from trainer.models import recipe_of
from trainer.models.base import Job, predict_rows

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)
_VERSION = 1


@dataclass(frozen=True)
class Wanted:
    """One fit; small enough to be sent to another process."""

    model: str
    hyperparameters: Mapping[str, Any]
    data: Path  # folder of the dataset
    data_digest: str
    fold: Fold
    seed: int
    folder: Path  # of what is kept

    @property
    def digest(self) -> str:
        """The SHA-256 of all that the result depends on."""
        rows = [part.tolist() for part in (self.fold.train, self.fold.validation, self.fold.test)]
        recipe = recipe_of(self.model, self.hyperparameters).model_dump(mode="json")
        return digest_of(_VERSION, self.model, recipe, self.data_digest, rows, self.seed)


@dataclass(frozen=True)
class Kept:
    """What a fitted model says, as it says it."""

    test: Floats  # of the fold's test rows
    train: Floats
    validation: Floats
    seconds: float
    best_epoch: int | None
    chosen: dict[str, str]


def fit_all(
    wanted: Mapping[Key, Wanted], jobs: int = 1, progress: Callable[[int, int], None] | None = None
) -> dict[Key, Kept]:
    """Fit what is not kept yet. Raises what a recipe raises, with model and fold named."""
    found: dict[Key, Kept] = {}

    def keep(key: Key, kept: Kept) -> None:
        found[key] = kept
        if progress is not None:
            progress(len(found), len(wanted))

    if jobs == 1:
        for key, one in wanted.items():
            keep(key, fit_one(one))
        return found
    with ProcessPoolExecutor(jobs, get_context("spawn")) as pool:
        waiting = {pool.submit(fit_one, one): key for key, one in wanted.items()}
        try:
            for future in as_completed(waiting):
                keep(waiting[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return found


def fit_one(wanted: Wanted) -> Kept:
    """Fit one model and keep what it says, or return what the same fit said before."""
    digest = wanted.digest
    path = wanted.folder / f"{wanted.model}-{digest[:16]}.npz"
    if path.exists():
        return _read(path)
    data, fold = load_dataset(wanted.data), wanted.fold
    recipe = recipe_of(wanted.model, wanted.hyperparameters)
    started = time.monotonic()
    with threadpool_limits(1):
        try:
            fitted = recipe.fit(data, fold.train, fold.validation, Job(seed=wanted.seed))
        except InputError as error:
            raise InputError(f"{wanted.model}, {fold.name}: {error}") from error
        test, train, validation = (
            predict_rows(fitted, data, rows) for rows in (fold.test, fold.train, fold.validation)
        )
    kept = Kept(test, train, validation, time.monotonic() - started, fitted.best_epoch, fitted.chosen)
    told = {"seconds": kept.seconds, "best_epoch": kept.best_epoch, "chosen": kept.chosen}
    wanted.folder.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, test=test, train=train, validation=validation, told=np.array(json.dumps(told)))
    return kept


def _read(path: Path) -> Kept:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            return Kept(arrays["test"], arrays["train"], arrays["validation"], **told)
    except (OSError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise InputError(f"{path} holds no finished fit: {error}; remove it and it is made again") from error
