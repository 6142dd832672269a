"""The folder of a comparison -> its report: everything is read from disk, nothing is fitted.

report_inputs(out) -> ReportInputs
CompareRecord                         compare.json: what the comparison was run with, besides its figures
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from exporters.layer import store
from service.errors import InputError
from trainer.breaks import QuantileBreaks, breaks_of
from trainer.collinearity import collinearity
from trainer.curves import class_shares, count_codes, rate_curve
from trainer.dataset import load_dataset
from trainer.explained import EXPLAINED, Explained
from trainer.importance import Drop
from trainer.importance import Importance as Judged
from trainer.report.comparison import Comparison, read_comparison
from trainer.report.inputs import (
    Collinearity,
    HighShare,
    Importance,
    ImportanceRow,
    OcclusionExample,
    Picture,
    Predictions,
    RateLine,
    Recipe,
    ReportInputs,
    TrainingRun,
)
from trainer.runs import Result, load_result

RECORD = "compare.json"
SAMPLE_MAP, MAPS = "samples.png", "maps"


class CompareRecord(BaseModel):
    """compare.json"""

    model_config = ConfigDict(extra="forbid", frozen=True)

    command: str
    version: str
    datasets: dict[str, str]  # case -> folder, relative to the output folder
    runs: dict[str, tuple[str, ...]]  # repetition -> names of its runs' folders, fold by fold
    digests: dict[str, str]  # MODEL/NAME of a run's folder -> digest of the run
    inventory_problems: tuple[str, ...] = ()
    vintage_warnings: tuple[str, ...] = ()


def report_inputs(out: Path) -> ReportInputs:
    """Read a comparison's folder. Raises InputError where it is not finished."""
    comparison = read_comparison(out / "comparison.json")
    try:
        record = CompareRecord.model_validate_json((out / RECORD).read_text("utf-8"))
    except (OSError, ValidationError) as error:
        raise InputError(f"{out / RECORD} cannot be read: {error}; run colluvium compare again") from error
    _refuse_mixed(out, record, comparison)
    labels = {case: load_dataset(out / folder).label for case, folder in record.datasets.items()}
    predictions: list[Predictions] = []
    training: list[TrainingRun] = []
    importance: list[Importance] = []
    occlusion: list[OcclusionExample] = []
    rates: list[RateLine] = []
    shares: list[HighShare] = []
    for model in comparison.models:
        for repetition in comparison.repetitions:
            folders = [out / "runs" / model / name for name in record.runs[repetition.name]]
            results = [load_result(folder) for folder in folders]
            predictions.append(_pooled(model, repetition.name, results, labels[repetition.data]))
            if repetition is comparison.repetitions[0]:
                paper = comparison.paper.high_share.get(model) if comparison.paper else None
                lines, held = _rates(model, results[0], labels[repetition.data], paper)
                rates += lines
                shares += held
            training += [_curve(result) for result in results if result.record.history]
            for folder in folders:
                if (folder / EXPLAINED).exists():
                    explained = Explained.model_validate_json((folder / EXPLAINED).read_text("utf-8"))
                    importance.append(_importance(model, explained.importance, folder.name))
                    occlusion += [
                        OcclusionExample(model, item.words, item.label, item.susceptibility, item.effects)
                        for item in explained.examples
                    ]
    return ReportInputs(
        comparison=comparison,
        recipe=Recipe(
            record.command,
            tuple((f"dataset {case}", digest) for case, digest in comparison.data.digests.items()),
            record.version,
        ),
        inventory_problems=record.inventory_problems,
        vintage_warnings=record.vintage_warnings,
        predictions=predictions,
        training=training,
        sample_map=_picture(
            out / SAMPLE_MAP,
            "Samples and split",
            "Two maps of the samples: by kind, and by side of the split",
        ),
        maps=_maps(out / MAPS, comparison),
        rate_curves=rates,
        high_shares=shares,
        importance=importance,
        occlusion=occlusion,
        collinearity=_collinearity(out, record, comparison),
    )


def _refuse_mixed(out: Path, record: CompareRecord, comparison: Comparison) -> None:
    """Raise InputError where a later comparison, not finished yet, has replaced some of what was judged."""
    wanted = {
        f"{model}/{name}"
        for model in comparison.models
        for repetition in comparison.repetitions
        for name in record.runs.get(repetition.name, (repetition.name,))
    }
    changed = set(comparison.data.digests) ^ set(record.datasets)
    changed |= {
        case
        for case, folder in record.datasets.items()
        if load_dataset(out / folder).digest != comparison.data.digests.get(case)
    }
    changed |= wanted ^ set(record.digests)
    if not changed:
        changed = {
            name for name in wanted if load_result(out / "runs" / name).record.digest != record.digests[name]
        }
    if changed:
        raise InputError(
            f"{out} holds parts of two comparisons: {', '.join(sorted(changed)[:3])} is not what "
            "comparison.json was made from; run colluvium compare again to its end"
        )


def _pooled(model: str, repetition: str, results: Sequence[Result], label: np.ndarray) -> Predictions:
    rows = np.concatenate([result.rows for result in results])
    return Predictions(
        model,
        repetition,
        label[rows],
        np.concatenate([result.predicted for result in results]),
        np.concatenate([result.calibrated for result in results]),
    )


def _curve(result: Result) -> TrainingRun:
    record = result.record
    return TrainingRun(record.model, f"{record.repetition}, {record.fold}", record.history, record.best_epoch)


def _importance(model: str, found: Judged, run: str) -> Importance:
    branch_of = {
        member: drop.name for drop in found.drops if drop.kind == "branch" for member in drop.members
    }

    def row(drop: Drop, group: str) -> ImportanceRow:
        return ImportanceRow(drop.name, group, drop.auc.mean, drop.auc.low, drop.auc.high, drop.share)

    single = [drop for drop in found.drops if drop.kind in ("factor", "variable")]
    groups = [drop for drop in found.drops if drop.kind in ("branch", "group")]
    return Importance(
        model,
        [row(drop, branch_of.get(drop.name, drop.name)) for drop in single],
        [row(drop, drop.name) for drop in groups],
        run=run,
    )


def _rates(
    model: str, result: Result, label: np.ndarray, paper: float | None
) -> tuple[list[RateLine], list[HighShare]]:
    """Hold the landslides against the map's area over the years, in the first run of a model."""
    if result.years is None:
        return [], []
    codes = store(result.years)
    area = count_codes(codes)
    slides = np.flatnonzero(label == 1)
    trained, tested = np.isin(slides, result.train), np.isin(slides, result.rows)
    slid = store(result.slid)
    lines = [
        RateLine(model, "success", rate_curve(area, slid[trained])),
        RateLine(model, "prediction", rate_curve(area, slid[tested])),
    ]
    try:
        classes = breaks_of(QuantileBreaks(), codes).classes
    except InputError:  # the index is the same everywhere: no classes to speak of
        return lines, []
    shares = [
        HighShare(model, f"all {len(slides)}", class_shares(area, slid, classes), paper),
        HighShare(
            model,
            f"the {int(tested.sum())} of the test part",
            class_shares(area, slid[tested], classes),
            paper,
        ),
    ]
    return lines, shares


def _collinearity(out: Path, record: CompareRecord, comparison: Comparison) -> Collinearity | None:
    """Return that of the training rows of the first fold of the first repetition."""
    first = comparison.repetitions[0]
    data = load_dataset(out / record.datasets[first.data])
    if data.patches is None or sum(factor.categories is None for factor in data.factors) < 2:
        return None
    model = next(iter(comparison.models))
    found = collinearity(data, load_result(out / "runs" / model / record.runs[first.name][0]).train)
    return Collinearity(found.names, found.correlation, found.vif, found.warnings)


def _maps(folder: Path, comparison: Comparison) -> list[Picture]:
    pictures = []
    for name, model in comparison.models.items():
        picture = _picture(folder / f"{name}.png", model.title, f"Susceptibility by {model.title}")
        if picture is not None:
            pictures.append(Picture(picture.title, picture.png, picture.description, legend="susceptibility"))
    return pictures


def _picture(path: Path, title: str, description: str) -> Picture | None:
    return Picture(title, path.read_bytes(), description) if path.exists() else None
