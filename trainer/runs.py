"""One run of a comparison: one model fitted on one fold, kept on disk when it is whole.

    run_one(task) -> Result          fits, or reads what a run with the same inputs left
    load_result(folder) -> Result

A folder holds result.json and predictions.npz. A task's digest covers the dataset, the rows, the
hyperparameters, the seed and the packages' versions: what a killed comparison has finished is not done again,
and what it was in the midst of goes on from its last checkpoint.
"""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict
from threadpoolctl import threadpool_limits

from service.errors import InputError
from service.files import digest_of, replacing_folder, write_json
from trainer.calibration import Calibration, CalibrationError, Method, fit_calibration
from trainer.dataset import Dataset, load_dataset
from trainer.explained import EXPLAINED, explain
from trainer.folds import Fold
from trainer.models import recipe_of
from trainer.models.base import Epoch, Fitted, Job, predict_rows

_VERSION = 1  # of what a run does; part of its digest
# What decides a figure; other versions may give other ones.
_PACKAGES = ("colluvium", "torch", "scikit-learn", "xgboost-cpu", "numpy", "onnxruntime", "skl2onnx")
_RESULT, _PREDICTIONS = "result.json", "predictions.npz"


@dataclass(frozen=True)
class Task:
    """What one run needs; small enough to be sent to another process."""

    model: str
    hyperparameters: dict[str, object]
    data: Path  # folder of the dataset
    data_digest: str
    fold: Fold
    repetition: str
    seed: int
    calibration: Method
    folder: Path  # of the result
    ground: Path | None = None  # a dataset of cells to predict for a map of one day
    years: Path | None = None  # a dataset of cells, each on a day of years: the map's area by susceptibility
    block: tuple[
        int, ...
    ] = ()  # unit of each sample of the dataset; given where the model is to be explained

    @property
    def digest(self) -> str:
        """The SHA-256 of all that the result depends on."""
        rows = [part.tolist() for part in (self.fold.train, self.fold.validation, self.fold.test)]
        recipe = recipe_of(self.model, self.hyperparameters).model_dump(mode="json")
        return digest_of(
            _VERSION, packages(), self.model, recipe, self.data_digest, rows, self.seed, self.calibration,
            *(None if path is None else load_dataset(path).digest for path in (self.ground, self.years)),
            list(self.block),
        )  # fmt: skip


class Record(BaseModel):
    """result.json"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    model: str
    repetition: str
    fold: str
    seed: int
    rows: tuple[int, int, int]  # train, validation, test
    seconds: float
    history: tuple[Epoch, ...]
    best_epoch: int | None
    chosen: dict[str, str]
    calibration: str


@dataclass(frozen=True)
class Result:
    """A finished run."""

    record: Record
    rows: npt.NDArray[np.int64]  # of the test part
    train: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.float64]  # as the model says
    calibrated: npt.NDArray[np.float64]
    slid: npt.NDArray[np.float64]  # calibrated, of all landslides of the dataset, in its order
    ground: npt.NDArray[np.float64] | None  # calibrated, of the map's cells
    years: npt.NDArray[np.float64] | None


@cache
def packages() -> dict[str, str]:
    """Return the versions of what decides a figure, of what is installed."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def run_one(task: Task) -> Result:
    """Fit a task's model and keep the result, or return the one that the same task left before."""
    digest = task.digest
    if (finished := _finished(task.folder, digest)) is not None:
        return finished
    data = load_dataset(task.data)
    checkpoint = task.folder.with_name(f"{task.folder.name}.unfinished") / digest[:16]
    started = time.monotonic()
    recipe = recipe_of(task.model, task.hyperparameters)
    job = Job(seed=task.seed, threads=1, checkpoint=checkpoint)
    # How sums are grouped depends on threads: with one, figures do not depend on the machine's cores.
    with threadpool_limits(1):
        fitted = recipe.fit(data, task.fold.train, task.fold.validation, job)
        seconds = time.monotonic() - started
        result = _judge(task, digest, data, fitted, seconds)
        block = np.array(task.block, np.int64)
        explained = explain(fitted, data, task.fold, block, task.seed) if task.block else None
    if task.folder.exists():
        shutil.rmtree(task.folder)
    with replacing_folder(task.folder) as temporary:
        np.savez_compressed(
            temporary / _PREDICTIONS,
            rows=result.rows,
            train=result.train,
            predicted=result.predicted,
            calibrated=result.calibrated,
            slid=result.slid,
            ground=np.zeros(0) if result.ground is None else result.ground,
            years=np.zeros(0) if result.years is None else result.years,
        )
        if explained is not None:
            (temporary / EXPLAINED).write_text(explained.model_dump_json(indent=1) + "\n", "utf-8")
        write_json(temporary / _RESULT, result.record.model_dump(mode="json"))
    shutil.rmtree(checkpoint.parent, ignore_errors=True)
    return result


def load_result(folder: Path) -> Result:
    """Read a finished run. Raises InputError where it is not whole."""
    try:
        record = Record.model_validate_json((folder / _RESULT).read_text("utf-8"))
        # Opened here: a file that is no archive would be left open.
        with (folder / _PREDICTIONS).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return Result(
                record,
                arrays["rows"],
                arrays["train"],
                arrays["predicted"],
                arrays["calibrated"],
                arrays["slid"],
                *(arrays[name] if arrays[name].size else None for name in ("ground", "years")),
            )
    except (OSError, ValueError, KeyError, BadZipFile) as error:
        raise InputError(f"{folder} holds no finished run: {error}; run colluvium compare again") from error


def _finished(folder: Path, digest: str) -> Result | None:
    if not folder.exists():
        return None
    try:
        result = load_result(folder)
    except InputError:
        return None
    return result if result.record.digest == digest else None


def _judge(task: Task, digest: str, data: Dataset, fitted: Fitted, seconds: float) -> Result:
    test = predict_rows(fitted, data, task.fold.test)
    validated = predict_rows(fitted, data, task.fold.validation)
    for name, values in (("test", test), ("validation", validated)):
        if not (np.isfinite(values).all() and (values >= 0).all() and (values <= 1).all()):
            raise InputError(f"{task.model} predicts {name} samples outside 0 to 1, or not at all")
    try:
        calibration = fit_calibration(task.calibration, validated, data.label[task.fold.validation])
        words = calibration.words
    except CalibrationError as error:
        # A poor model is part of a comparison; it is judged as it is, and that is said.
        calibration, words = Calibration(method="none"), f"none; {error}"
    slid = calibration.apply(predict_rows(fitted, data, np.flatnonzero(data.label == 1)))
    ground, years = (
        None if path is None else calibration.apply(_everywhere(fitted, load_dataset(path)))
        for path in (task.ground, task.years)
    )
    record = Record(
        digest=digest,
        model=task.model,
        repetition=task.repetition,
        fold=task.fold.name,
        seed=task.seed,
        rows=(len(task.fold.train), len(task.fold.validation), len(task.fold.test)),
        seconds=round(seconds, 3),
        history=fitted.history,
        best_epoch=fitted.best_epoch,
        chosen=fitted.chosen,
        calibration=words,
    )
    calibrated = calibration.apply(test)
    return Result(record, task.fold.test, task.fold.train, test, calibrated, slid, ground, years)


def _everywhere(fitted: Fitted, cells: Dataset) -> npt.NDArray[np.float64]:
    return predict_rows(fitted, cells, np.arange(len(cells)))
