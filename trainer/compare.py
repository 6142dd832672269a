"""`colluvium compare`: all models of a protocol, on the same samples and folds, judged together.

    compare(protocol, cases, out, jobs=2, ...) -> dict, also written to out/comparison.json

Runs are kept one by one under out/runs/MODEL/REPETITION/: after a kill the same command goes on where it was.
Every run is fitted in a process of its own on one thread, so figures do not depend on how many run at once.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from service.errors import InputError
from service.files import write_json
from trainer.children import begin_child
from trainer.dataset import Dataset, load_dataset
from trainer.folds import Fold, make_folds, words_of
from trainer.judge import Comparison, Repetition, summarise
from trainer.leakage import Leak, check_fold, check_labels, footprint, judge_footprint
from trainer.models.base import Recipe
from trainer.protocol import Judging, Protocol
from trainer.runs import Result, Task, packages, run_one
from trainer.splits import spatial_blocks

Progress = Callable[[int, int], None]
_log = structlog.get_logger()
# Longest first, so that no core idles at the end while one long fit runs.
_SLOW = ("cnn_dnn", "cnn_lstm", "lstm_only", "cnn_only", "svm", "mlp")


@dataclass(frozen=True)
class Case:
    """One dataset of a comparison, and what is to be said of how it came about."""

    name: str
    folder: Path  # of the dataset
    shortfalls: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    ground: Path | None = None  # a dataset of cells on a lattice, for the maps
    years: Path | None = None  # a dataset of cells drawn evenly, each on a day drawn from the record


@dataclass(frozen=True)
class Planned:
    """One repetition: a case with one seed, and its folds."""

    name: str
    case: Case
    data: Dataset
    seed: int
    folds: tuple[Fold, ...]


@dataclass(frozen=True)
class Compared:
    """A finished comparison: what is written, and what a report draws from."""

    summary: dict[str, Any]
    judged: Comparison
    planned: tuple[Planned, ...]
    results: dict[str, tuple[tuple[Planned, Result], ...]]  # by model


def compare(
    protocol: Protocol,
    cases: Sequence[Case],
    out: Path,
    *,
    chosen: tuple[str, ...] = (),
    sampling: str = "",
    jobs: int | None = None,
    progress: Progress | None = None,
) -> Compared:
    """Run what is not finished yet, judge everything, and write out/comparison.json.

    `sampling` says in words how the samples were drawn. Raises InputError for samples that the split cannot
    divide, and whatever a model raises, named.
    """
    recipes = protocol.recipes(chosen)
    planned = plan(protocol, cases)
    leaks = [leak for item in planned for leak in _leaks(item)]
    tasks = _tasks(protocol, recipes, planned, out)
    finished = _run(tasks, jobs or _cores(), progress)
    results: dict[str, list[tuple[Planned, Result]]] = {name: [] for name in recipes}
    for (name, item), result in finished:
        results[name].append((item, result))
    repetitions = [_repetition(item, results, protocol.judging) for item in planned]
    judged = summarise(repetitions, resamples=protocol.judging.resamples)
    feet, said = _footprint(planned, judged, repetitions)
    leaks.append(said)
    kept = {name: tuple(pairs) for name, pairs in results.items()}
    summary = _summary(protocol, sampling, recipes, planned, kept, judged, leaks, feet)
    write_json(out / "comparison.json", summary)
    return Compared(summary, judged, planned, kept)


def plan(protocol: Protocol, cases: Sequence[Case]) -> tuple[Planned, ...]:
    """Return the repetitions: every case with every seed."""
    planned = []
    for case in cases:
        data = load_dataset(case.folder)
        if len(set(data.label.tolist())) < 2:
            short = ", ".join(f"{count} {kind}" for kind, count in case.shortfalls.items())
            raise InputError(
                f"{case.name}: all {len(data)} samples are {'landslides' if data.label[0] else 'negatives'}; "
                "a model needs both labels"
                + (f". Not found under the sampling rules: {short}; loosen them" if short else "")
            )
        for seed in protocol.seeds:
            folds = make_folds(protocol.split, data, seed)
            planned.append(Planned(f"{case.name}-s{seed}", case, data, seed, folds))
    return tuple(planned)


def units(data: Dataset, judging: Judging) -> npt.NDArray[np.int64]:
    """Return the unit that each sample is resampled with: int64 (n,)."""
    if judging.by == "ground":
        return spatial_blocks(data.xy, judging.block_km)
    if judging.by == "storm":
        key = [sample.storm or f"{sample.day:%Y-%m}" for sample in data.samples]
    else:
        key = [sample.place for sample in data.samples]
    return np.asarray(np.unique(key, return_inverse=True)[1].reshape(-1), np.int64)


def _leaks(item: Planned) -> list[Leak]:
    found: list[Leak] = []
    for fold in item.folds:
        found += check_fold(fold, item.data)
        found += check_labels(item.data, fold.train)
    return found


def _tasks(
    protocol: Protocol, recipes: dict[str, Recipe], planned: Sequence[Planned], out: Path
) -> list[tuple[tuple[str, Planned], Task]]:
    tasks = []
    for name in sorted(recipes, key=lambda name: _SLOW.index(name) if name in _SLOW else len(_SLOW)):
        for item in planned:
            for number, fold in enumerate(item.folds):
                folder = out / "runs" / name / f"{item.name}-f{number}"
                # Maps are drawn and models explained once, from the first repetition's first fold.
                first = item is planned[0] and number == 0
                told = first and name in (protocol.explain or (next(iter(recipes)),))
                task = Task(
                    name, dict(protocol.models[name]), item.case.folder, item.data.digest, fold, item.name,
                    item.seed, protocol.calibration, folder, item.case.ground if first else None,
                    item.case.years if first else None,
                    tuple(units(item.data, protocol.judging).tolist()) if told else (),
                )  # fmt: skip
                tasks.append(((name, item), task))
    return tasks


def _run(
    tasks: Sequence[tuple[tuple[str, Planned], Task]], jobs: int, progress: Progress | None
) -> list[tuple[tuple[str, Planned], Result]]:
    """Run tasks, one by one here or several in child processes; an error names its model and fold."""
    results: dict[int, Result] = {}

    def keep(number: int, finish: Callable[[], Result]) -> None:
        task = tasks[number][1]
        try:
            results[number] = finish()
        except BrokenProcessPool as error:
            raise InputError(
                "a fit's process was killed, most likely for want of memory; what is finished is kept: run "
                "it again with fewer --jobs"
            ) from error
        except InputError as error:
            raise InputError(f"{task.model}, {task.repetition}, {task.fold.name}: {error}") from error
        _log.info(
            "fitted", model=task.model, repetition=task.repetition, fold=task.fold.name,
            seconds=results[number].record.seconds,
        )  # fmt: skip
        if progress is not None:
            progress(len(results), len(tasks))

    if jobs == 1:
        for number, (_, task) in enumerate(tasks):
            keep(number, partial(run_one, task))
    else:
        with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=begin_child) as pool:
            waiting = {pool.submit(run_one, task): number for number, (_, task) in enumerate(tasks)}
            try:
                for future in as_completed(waiting):
                    keep(waiting[future], future.result)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                for process in active_children():
                    process.terminate()
                raise
    return [(tasks[number][0], results[number]) for number in range(len(tasks))]


def _repetition(
    item: Planned, results: dict[str, list[tuple[Planned, Result]]], judging: Judging
) -> Repetition:
    """Put the test rows of a repetition's folds together; every model has them in the same order."""
    rows = np.concatenate([fold.test for fold in item.folds])
    predicted = {}
    for name, pairs in results.items():
        mine = [result for owner, result in pairs if owner is item]
        if [row for result in mine for row in result.rows.tolist()] != rows.tolist():
            raise InputError(f"{name} was judged on other rows than {item.name} holds out")
        predicted[name] = np.concatenate([result.calibrated for result in mine])
    return Repetition(
        item.name,
        item.case.name,
        item.data.label[rows],
        units(item.data, judging)[rows],
        predicted,
        None if item.data.truth is None else np.asarray(item.data.truth)[rows],
    )


def _footprint(
    planned: Sequence[Planned], judged: Comparison, repetitions: Sequence[Repetition]
) -> tuple[dict[str, Any], Leak]:
    """Judge a model of where samples lie, on the same folds."""
    found = []
    for item, repetition in zip(planned, repetitions, strict=True):
        rows = np.concatenate([fold.test for fold in item.folds])
        predicted = footprint(item.data, item.folds, item.seed)[rows]
        found.append(
            Repetition(repetition.name, repetition.data, repetition.label, repetition.block,
                       {"footprint": predicted})
        )  # fmt: skip
    auc = summarise(found, ("auc",)).models["footprint"].metrics["auc"]
    best = max(model.metrics["auc"].mean for model in judged.models.values())
    leak = judge_footprint(auc.mean, best)
    return {"auc": {"mean": auc.mean, "low": auc.low, "high": auc.high}, "says": leak.finding}, leak


def _summary(
    protocol: Protocol,
    sampling: str,
    recipes: dict[str, Recipe],
    planned: Sequence[Planned],
    results: dict[str, tuple[tuple[Planned, Result], ...]],
    judged: Comparison,
    leaks: Sequence[Leak],
    feet: dict[str, Any],
) -> dict[str, Any]:
    told = judged.to_json()
    for name, recipe in recipes.items():
        records = [result.record for _, result in results[name]]
        told["models"][name] |= {
            "title": recipe.title,
            "source": recipe.source,
            "seconds": round(sum(record.seconds for record in records), 1),
            "chosen": records[0].chosen,
            "calibration": records[0].calibration,
            "assumed": dict(recipe.assumed),
            "hyperparameters": recipe.model_dump(mode="json"),
        }
    cases = [next(items) for _, items in groupby(planned, key=lambda item: item.case.name)]
    counts: dict[str, int] = {}
    for item in cases:
        for sample in item.data.samples:
            counts[sample.kind.value] = counts.get(sample.kind.value, 0) + 1
    return {
        "schema": 1,
        "name": protocol.name,
        "title": protocol.title,
        "synthetic": any(item.data.synthetic for item in planned),
        "protocol": {
            "name": protocol.name,
            "source": protocol.source,
            "split": words_of(protocol.split),
            "sampling": sampling,
            "assumed": list(protocol.assumed),
            "calibration": protocol.calibration,
            "judging": protocol.judging.model_dump(mode="json"),
        },
        "data": {
            "digests": {item.case.name: item.data.digest for item in cases},
            "samples": sum(len(item.data) for item in cases),
            "positives": int(sum(item.data.label.sum() for item in cases)),
            "counts": counts,
            "crs": cases[0].data.crs,
            "shortfalls": {item.case.name: item.case.shortfalls for item in cases if item.case.shortfalls},
            "warnings": [f"{item.case.name}: {words}" for item in cases for words in item.case.warnings],
        },
        "repetitions": [
            {
                "name": item.name,
                "data": item.case.name,
                "seed": item.seed,
                "folds": len(item.folds),
                "train": sum(len(fold.train) for fold in item.folds),
                "validation": sum(len(fold.validation) for fold in item.folds),
                "test": sum(len(fold.test) for fold in item.folds),
                "left_out": sum(len(fold.left_out) for fold in item.folds),
            }
            for item in planned
        ],
        **told,
        "paper": None if protocol.paper is None else protocol.paper.model_dump(mode="json"),
        "leaks": [
            {"check": leak.check, "finding": leak.finding, "severity": leak.severity}
            for leak in dict.fromkeys(leaks)
        ],
        "footprint": feet,
        "environment": {
            "python": platform.python_version(),
            "packages": packages(),
            "threads": 1,
        },
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0))
