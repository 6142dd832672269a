"""`colluvium detector compare`: every model under one protocol, on the same patches and divisions.

    compare(data, out, CompareSettings(models=("resnet34", "unet"), seeds=(0, 1, 2))) -> Results

Trainings are kept one by one under out/runs/SPLIT/MODEL/SEED/: after a kill the same command goes on where it
was. Seeds come before models, so that a comparison that is stopped early has every model once.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from datetime import datetime
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Literal

import structlog

from service.detection.bands import LANDSLIDE4SENSE
from service.errors import AbandonedError, InputError, UsageError
from service.progress import ProgressCallback
from service.stamps import utc_now
from trainer.children import begin_child
from trainer.detection.compare_data import (
    Divided,
    Division,
    SplitName,
    divide,
    open_data,
    patch_digests,
    without_copies,
)
from trainer.detection.compare_results import PaperRow, Results, write_results
from trainer.detection.compare_runs import Clock, Fit, Result, Task, packages, run_one
from trainer.detection.compare_summary import data_words, protocol_words, split_results
from trainer.detection.fit import FitSettings, fit_detector
from trainer.detection.networks import MODELS, spec_of
from trainer.detection.objects import HIT_SHARE
from trainer.detection.plain_unet import PUBLISHED_BASE

_log = structlog.get_logger()
WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


@dataclass(frozen=True)
class CompareSettings:
    """What is compared, and how. `fit` is the same for all models but for their name and seed."""

    models: tuple[str, ...] = tuple(spec.name for spec in MODELS)
    seeds: tuple[int, ...] = (0,)
    split: SplitName | Literal["all"] = "official"
    split_seed: int = 0
    bands: tuple[str, ...] = LANDSLIDE4SENSE
    regions_csv: Path | None = None
    weights: Path | None = None  # folder with encoders' weights, MODEL.safetensors or .pth
    hit_share: float = HIT_SHARE
    budget_minutes: float | None = None
    jobs: int | None = None
    fit: FitSettings = field(default_factory=FitSettings)

    def __post_init__(self) -> None:
        for name in self.models:
            spec_of(name)
        for what, given in (("model", self.models), ("seed", self.seeds)):
            if not given:
                raise UsageError(f"no {what} was named; nothing can be compared")
            if len(set(given)) < len(given):
                raise UsageError(f"a {what} is named twice: {', '.join(map(str, given))}")


@dataclass(frozen=True)
class Planned:
    """A comparison before anything is trained: the patches, how they are divided, and the tasks."""

    divided: Divided
    digest: str
    notes: tuple[str, ...]
    tasks: tuple[Task, ...]


def compare(
    data: Path,
    out: Path,
    settings: CompareSettings,
    *,
    command: str = "colluvium detector compare",
    progress: ProgressCallback | None = None,
    fit: Fit = fit_detector,
    clock: Clock = time.monotonic,
    now: Callable[[], datetime] = utc_now,
) -> Results:
    """Train what is not trained yet, judge everything, and write out/results.json.

    Where the budget ends first, results are of what is finished and say so. Raises InputError for data that
    cannot be read or divided, and for a training that fails, named; UsageError for unknown models.
    """
    started = clock()
    stop_at = None if settings.budget_minutes is None else started + 60 * settings.budget_minutes
    planned = plan(data, out, settings, progress)
    finished = _run(planned.tasks, settings, stop_at, progress, fit, clock)
    results = Results(
        command=command,
        version=packages().get("colluvium", "unknown"),
        made=now(),
        complete=len(finished) == len(planned.tasks),
        finished_runs=len(finished),
        planned_runs=len(planned.tasks),
        data=data_words(data, planned.divided.patches, planned.digest, planned.notes),
        protocol=protocol_words(settings.fit, settings.split_seed, settings.hit_share),
        splits=split_results(planned.divided.divisions, settings.models, settings.seeds, finished,
                             settings.hit_share, out),
        skipped=planned.divided.skipped,
        paper={
            spec.name: PaperRow(title=spec.title, f1=spec.f1, precision=spec.precision, recall=spec.recall)
            for spec in MODELS
        },
        environment={"python": platform.python_version(), **packages()},
    )  # fmt: skip
    write_results(results, out)
    return results


def plan(
    data: Path, out: Path, settings: CompareSettings, progress: ProgressCallback | None = None
) -> Planned:
    """Open and divide the patches and return the tasks; nothing is trained.

    Training and validation patches that are copies of test patches are left out of every division, and
    counted. Raises InputError where the data cannot be read or divided.
    """
    patches = open_data(data, settings.bands, settings.regions_csv)
    divided = divide(patches, settings.split, settings.split_seed)
    digests, whole = patch_digests(data, patches, out / "patches.json", progress or _silent)
    divided, notes = without_copies(divided, digests)
    tasks = []
    for division in divided.divisions:
        for seed in settings.seeds:
            for model in settings.models:
                tasks.append(_task(data, out, settings, division, model, seed, whole))
    return Planned(divided, whole, notes, tuple(tasks))


def weights_for(folder: Path | None, model: str) -> Path | None:
    """Return the file with a model's encoder's weights in a folder; None: it begins from scratch."""
    if folder is None:
        return None
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; --weights is one with files such as resnet34.safetensors")
    found = [path for suffix in WEIGHT_SUFFIXES if (path := folder / f"{model}{suffix}").is_file()]
    if len(found) > 1:
        raise UsageError(f"{folder} has {found[0].name} and {found[1].name}; leave one")
    return found[0] if found else None


def _task(
    data: Path, out: Path, settings: CompareSettings, division: Division, model: str, seed: int, digest: str
) -> Task:
    split = division.split
    # The width is the plain U-Net's alone.
    base = settings.fit.base if spec_of(model).encoder is None else PUBLISHED_BASE
    return Task(
        data=data,
        bands=settings.bands,
        regions_csv=settings.regions_csv,
        data_digest=digest,
        split=division.name,
        part=division.part,
        train=split.train,
        valid=split.valid,
        test=split.test,
        settings=replace(
            settings.fit, model=model, seed=seed, base=base, weights=weights_for(settings.weights, model)
        ),
        folder=out / "runs" / division.folder / model / f"s{seed}",
    )


def _run(
    tasks: Sequence[Task],
    settings: CompareSettings,
    stop_at: float | None,
    progress: ProgressCallback | None,
    fit: Fit,
    clock: Clock,
) -> dict[Path, Result]:
    """Run tasks, here or in child processes, until all are done or the time is up; by folder."""
    results: dict[Path, Result] = {}

    def keep(task: Task, finish: Callable[[], Result]) -> None:
        try:
            results[task.folder] = finish()
        except AbandonedError:
            return  # its checkpoint stays; finished ones are still to be read
        except BrokenProcessPool as error:
            raise InputError(
                "a training's process was killed, most likely for want of memory; what is finished is kept: "
                "run it again with fewer --jobs or a smaller --batch"
            ) from error
        except InputError as error:
            where = f"{task.split}{f' without {task.part}' if task.part else ''}"
            raise InputError(
                f"{task.settings.model}, seed {task.settings.seed}, split {where}: {error}"
            ) from error
        record = results[task.folder].record
        _log.info("trained", model=record.model, seed=record.seed, split=record.split, part=record.part)
        if progress is not None:
            progress(len(results), len(tasks))

    jobs = settings.jobs or _jobs(settings.fit)
    if jobs == 1:
        for task in tasks:
            keep(task, lambda task=task: run_one(task, stop_at, fit=fit, clock=clock))  # type: ignore[misc]
        return results
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=begin_child) as pool:
        waiting: dict[Future[Result], Task] = {pool.submit(run_one, task, stop_at): task for task in tasks}
        try:
            while waiting:
                for future in wait(waiting, return_when=FIRST_COMPLETED).done:
                    keep(waiting.pop(future), future.result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise
    return results


def _jobs(fit: FitSettings) -> int:
    """One training for each core; a graphics card is not shared."""
    return len(os.sched_getaffinity(0)) if fit.device == "cpu" else 1


def _silent(done: int, total: int) -> None:
    pass
