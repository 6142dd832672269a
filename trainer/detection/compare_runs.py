"""One training of a comparison: fitted on its part, judged on the test part, and kept when it is whole.

A folder holds result.json and judged.npz; results of other settings or patches lie beside, named by their
digest, and come back when they are asked for again. The digest of a task covers patches, division, settings
and the packages' versions: what a killed comparison has finished is not done again, and what it was in the
midst of goes on from its last checkpoint. The test part is not given to the fit; it is opened when that has
ended.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import AbandonedError, InputError
from service.files import digest_of, replacing_folder, write_json
from service.progress import ProgressCallback
from trainer.detection.compare_data import open_data
from trainer.detection.data import PatchSet
from trainer.detection.fit import FitSettings, FittedDetector, fit_detector
from trainer.detection.fit_batches import known_pixels
from trainer.detection.fit_validation import predict
from trainer.detection.judge import Judged, Tally
from trainer.detection.networks import count_weights
from trainer.detection.pretrained import words_of

Indices = npt.NDArray[np.int64]
Clock = Callable[[], float]
_VERSION = 1  # of what a run does; part of its digest
_PACKAGES = ("colluvium", "torch", "segmentation-models-pytorch", "timm", "numpy")
_RESULT, _JUDGED = "result.json", "judged.npz"


class Fit(Protocol):
    """What trains: `trainer.detection.fit.fit_detector`, or a test's stand-in."""

    def __call__(
        self,
        train: PatchSet,
        train_indices: Indices,
        valid: PatchSet,
        valid_indices: Indices,
        settings: FitSettings,
        out: Path,
        progress: ProgressCallback,
        resume: bool,
    ) -> FittedDetector:
        """Return a detector that is fitted on `train_indices` and chosen on `valid_indices`."""


@dataclass(frozen=True)
class Task:
    """What one training needs; small enough to be sent to another process."""

    data: Path
    bands: tuple[str, ...]
    regions_csv: Path | None
    data_digest: str
    split: str
    part: str  # the region that is held out, or ""
    train: Indices
    valid: Indices
    test: Indices
    settings: FitSettings
    folder: Path  # of the result

    @property
    def digest(self) -> str:
        """The SHA-256 of all that the result depends on."""
        told = {
            name: value
            for name, value in asdict(replace(self.settings, weights=None)).items()
            if name != "weights"
        }
        rows = [part.tolist() for part in (self.train, self.valid, self.test)]
        return digest_of(
            _VERSION, packages(), told, words_of(self.settings.weights), list(self.bands), self.data_digest,
            self.split, self.part, rows,
        )  # fmt: skip


class Record(BaseModel):
    """result.json"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    digest: str
    model: str
    split: str
    part: str
    seed: int
    rows: tuple[int, int, int]  # train, valid, test
    threshold: float
    valid_f1: float
    best_epoch: int
    history: tuple[dict[str, Any], ...]
    parameters: int
    pretrained: str
    notes: tuple[str, ...]
    seconds: float  # of the last session alone, where a training was stopped and went on


@dataclass(frozen=True)
class Result:
    """A finished training."""

    record: Record
    judged: Judged


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


def run_one(
    task: Task,
    stop_at: float | None = None,
    *,
    fit: Fit = fit_detector,
    clock: Clock = time.monotonic,
    progress: ProgressCallback | None = None,
) -> Result:
    """Fit and judge, or return what the same task left before.

    Raises AbandonedError where `clock()` passes `stop_at`: what was learnt up to the last checkpoint stays,
    and the same task goes on from there. On Linux the clock is the same in all processes.
    """
    digest = task.digest
    if (finished := _finished(task.folder, digest)) is not None:
        return finished

    def tick(done: int, total: int) -> None:
        if stop_at is not None and clock() >= stop_at:
            raise AbandonedError(f"the time for {task.folder.name} is up; the same command goes on with it")
        if progress is not None:
            progress(done, total)

    tick(0, 1)
    started = time.monotonic()
    unfinished = task.folder.with_name(f"{task.folder.name}.unfinished")
    patches = open_data(task.data, task.bands, task.regions_csv)
    fitted = fit(
        patches, task.train, patches, task.valid, task.settings, unfinished / digest[:16], tick, True
    )
    judged = judge_patches(
        patches,
        task.test,
        fitted.best.threshold,
        lambda indices: predict(
            fitted.network, patches, indices, symmetries=task.settings.test_time_augmentation
        ),
    )
    record = Record(
        digest=digest,
        model=task.settings.model,
        split=task.split,
        part=task.part,
        seed=task.settings.seed,
        rows=(len(task.train), len(task.valid), len(task.test)),
        threshold=fitted.best.threshold,
        valid_f1=fitted.best.f1,
        best_epoch=fitted.best_epoch,
        history=tuple(asdict(epoch) for epoch in fitted.history),
        parameters=count_weights(fitted.network),
        pretrained=fitted.pretrained,
        notes=fitted.notes,
        seconds=round(time.monotonic() - started, 3),
    )
    result = Result(record, judged)
    _keep(task.folder, result)
    shutil.rmtree(unfinished, ignore_errors=True)
    return result


def judge_patches(
    patches: PatchSet,
    indices: Indices,
    threshold: float,
    predicted: Callable[[Indices], Any],
) -> Judged:
    """Judge probabilities at a threshold: `predicted` yields (index, probability (h, w)) of the indices.

    A probability of the threshold or more is a landslide. Raises InputError for a patch without a mask.
    """
    tally = Tally(patches.pixel_size_m)
    for index, probability in predicted(indices):
        patch = patches.read(int(index))
        name = patches.ids[int(index)]
        if patch.mask is None:
            raise InputError(f"{name} has no mask and cannot be judged")
        said = probability.astype(np.float64) >= threshold
        tally.add(name, patches.regions[int(index)], said, patch.mask, known_pixels(patch))
    return tally.judged()


def load_result(folder: Path) -> Result:
    """Read a finished training. Raises InputError where it is not whole."""
    try:
        record = Record.model_validate_json((folder / _RESULT).read_text("utf-8"))
        # Opened here: a file that is no archive would be left open.
        with (folder / _JUDGED).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            judged = Judged(
                ids=tuple(arrays["ids"].tolist()),
                regions=tuple(name or None for name in arrays["regions"].tolist()),
                pixel_size_m=float(arrays["pixel_size_m"]),
                **{name: arrays[name] for name in _ARRAYS},
            )
    except (OSError, ValueError, KeyError, ValidationError, BadZipFile) as error:
        raise InputError(f"{folder} holds no finished training: {error}; compare again") from error
    return Result(record, judged)


_ARRAYS = ("counts", "true_patch", "true_pixels", "true_found", "false_patch", "false_pixels", "unseen")


def _keep(folder: Path, result: Result) -> None:
    _put_aside(folder)
    judged = result.judged
    with replacing_folder(folder) as temporary:
        np.savez_compressed(
            temporary / _JUDGED,
            ids=np.array(judged.ids),
            regions=np.array([region or "" for region in judged.regions]),
            pixel_size_m=np.array(judged.pixel_size_m),
            **{name: getattr(judged, name) for name in _ARRAYS},
        )
        write_json(temporary / _RESULT, result.record.model_dump(mode="json"))


def _finished(folder: Path, digest: str) -> Result | None:
    result = _loaded(folder)
    if result is not None and result.record.digest == digest:
        return result
    aside = _aside(folder, digest)
    result = _loaded(aside)
    if result is None or result.record.digest != digest:
        return None
    _put_aside(folder)
    aside.rename(folder)
    return result


def _loaded(folder: Path) -> Result | None:
    try:
        return load_result(folder) if folder.exists() else None
    except InputError:
        return None


def _aside(folder: Path, digest: str) -> Path:
    return folder.with_name(f"{folder.name}.{digest[:16]}")


def _put_aside(folder: Path) -> None:
    """Make way for another result: a whole one took hours, and is kept; a damaged one goes."""
    there = _loaded(folder)
    if there is not None:
        aside = _aside(folder, there.record.digest)
        shutil.rmtree(aside, ignore_errors=True)
        folder.rename(aside)
    elif folder.exists():
        shutil.rmtree(folder)
