"""Dated landslides and their rain: does the LSTM tell the day better than a rainfall threshold?

    python -m trainer.cases.dated [--shared FOLDER] [--build FOLDER] [--jobs N]

Rules and models see the same days: windows that end on the day itself (lag 0) and on the day before (lag 1).
Everything fitted, thresholds and exponents included, sees training years (or storms) alone. Negatives are
days at the events' own places: random ones, of the same season, and wet ones (10 mm or more on the day),
which are the ones that matter. The last line is the summary as one JSON object; <build>/dated.json and a
figure hold the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from service.files import write_json
from service.logs import configure_logging
from service.progress import progress_bar
from trainer.apennines import SHARED_VARIABLE
from trainer.cases.dated_data import SAMPLING, DatedCase, open_dated, storm_folds, year_folds
from trainer.cases.figures import draw_intervals
from trainer.cases.fits import Kept, Wanted, fit_all
from trainer.cases.resampling import Resampled, resample
from trainer.cases.rules import RULES, best_threshold, true_skill
from trainer.dataset import load_dataset, save_dataset
from trainer.evaluate import area_under_curve
from trainer.folds import Fold
from trainer.models import recipe_class
from trainer.sample_kinds import Kind, Sampling

Floats = npt.NDArray[np.float64]
Progress = Callable[[str, int, int], None]  # stage, done, total

NETWORK = "lstm_only"
# An L2 of 0.01 leaves no response to rain with so few events, and a warning must not fall when rain rises.
MODELS: dict[str, dict[str, Any]] = {
    NETWORK: {"epochs": 40, "l2": 0.0, "rain_penalty": 1.0, "class_weight": "balanced"},
    "logistic_regression": {},
    "random_forest": {"min_leaf": 3},
    "xgboost": {},
}
KINDS = (Kind.TEMPORAL_WET, Kind.TEMPORAL_SEASON, Kind.TEMPORAL_RANDOM)
SPLITS: dict[str, Callable[[DatedCase, int, int], tuple[Fold, ...]]] = {
    "year": year_folds,
    "storm": storm_folds,
}


@dataclass(frozen=True)
class Plan:
    """How much work to put in; the defaults are the whole case."""

    models: Mapping[str, dict[str, Any]] = field(default_factory=lambda: MODELS)
    lags: tuple[int, ...] = (0, 1)
    splits: tuple[str, ...] = ("year", "storm")
    folds: int = 5
    sampling: Sampling = SAMPLING
    resamples: int = 1000
    seed: int = 0
    jobs: int = 1


@dataclass(frozen=True)
class HeldOut:
    """What one rule or model says of held-out samples (n,): a score, and whether it warns, 0 or 1."""

    score: Floats
    warns: Floats


Fits = Mapping[tuple[int, str, str, int], Kept]  # (lag, split, model, fold)


def run(
    shared: Path, config: Path, build: Path, plan: Plan | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run the case and return its summary, which is also written to <build>/dated.json.

    `shared` is the folder that holds apennines/. Fits that an earlier run has finished are kept.
    """
    plan = plan or Plan()
    if progress:
        progress("samples", 0, 1)
    return judge_case(open_dated(shared, config, build, plan.sampling), build, plan, progress)


def judge_case(case: DatedCase, build: Path, plan: Plan, progress: Progress | None = None) -> dict[str, Any]:
    """Fit and judge on samples that are drawn already; returns and writes as `run` does."""
    report = progress or (lambda _stage, _done, _total: None)
    folds = {split: SPLITS[split](case, plan.folds, plan.seed) for split in plan.splits}
    fitted = _fit(case, folds, plan, build, partial(report, "models"))
    judged: dict[str, Any] = {}
    total = len(plan.lags) * len(plan.splits) * len(KINDS)
    for lag in plan.lags:
        for split in plan.splits:
            for kind in KINDS:
                report("judging", len(judged), total)
                judged[f"lag {lag}, by {split}, {kind.value}"] = _judge(
                    case, lag, split, kind, folds[split], fitted, plan
                )
    summary = {
        "schema": 1,
        "case": "ITALICA v2 (CC BY 4.0) with rain of ARPAE Emilia-Romagna",
        "data": {
            "digest": case.digest,
            "events_in_range": case.in_range,
            "events_complete": case.complete,
            "events_located": case.located,
            "storms": case.storms,
            "samples": case.counts,
            "shortfalls": case.shortfalls,
            "sampling": plan.sampling.model_dump(mode="json"),
        },
        "plan": {
            "folds": plan.folds,
            "seed": plan.seed,
            "models": {name: dict(values) for name, values in plan.models.items()},
            "resamples": plan.resamples,
        },
        "folds": {
            split: [
                {"name": fold.name, "train": _count(case, fold.train),
                 "validation": _count(case, fold.validation), "test": _count(case, fold.test),
                 "left_out": len(fold.left_out)}
                for fold in parts
            ]
            for split, parts in folds.items()
        },
        "results": judged,
    }  # fmt: skip
    summary["said_plainly"] = say_plainly(summary)
    summary["pictures"] = [str(path) for path in _draw(summary, build)]
    write_json(build / "dated.json", summary)
    return summary


def say_plainly(summary: Mapping[str, Any]) -> str:
    """Say in one paragraph whether the network beats the rules against wet days."""
    data, said = summary["data"], []
    for name, result in summary["results"].items():
        if Kind.TEMPORAL_WET.value not in name or NETWORK not in result["auc"]:
            continue
        pair = result["network_minus_best_rule"]["auc"]
        low, high = pair["low"], pair["high"]
        verdict = "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
        said.append(
            f"{name.removesuffix(f', {Kind.TEMPORAL_WET.value}')}: LSTM-only "
            f"{result['auc'][NETWORK]['value']:.2f} {verdict} the best rule, "
            f"{RULES[result['best_rule']].title.lower()}, {result['auc'][result['best_rule']]['value']:.2f} "
            f"({pair['difference']:+.2f}, {low:+.2f} to {high:+.2f})"
        )
    return (
        f"Against wet days, AUC on held-out samples with 95 % intervals over resampled storms. "
        f"{'; '.join(said)}. It rests on {data['events_complete']} landslides of {data['storms']} storms, "
        f"{data['events_located']} of them located to 1 km or better: a case study, and no evidence that a "
        "warning would be right."
    )


def _fit(
    case: DatedCase,
    folds: Mapping[str, tuple[Fold, ...]],
    plan: Plan,
    build: Path,
    progress: Callable[[int, int], None],
) -> Fits:
    wanted: dict[tuple[int, str, str, int], Wanted] = {}
    for lag in plan.lags:
        described = case.dataset(lag)
        folder = build / f"samples-lag-{lag}-{described.digest[:12]}"
        data = load_dataset(folder) if folder.exists() else save_dataset(described, folder)
        for model, values in plan.models.items():
            for split, parts in folds.items():
                for number, fold in enumerate(parts):
                    wanted[(lag, split, model, number)] = Wanted(
                        model=model,
                        hyperparameters=values,
                        data=folder,
                        data_digest=data.digest,
                        fold=fold,
                        seed=plan.seed,
                        folder=build / "fits",
                    )
    return fit_all(wanted, plan.jobs, progress)


def _judge(
    case: DatedCase,
    lag: int,
    split: str,
    kind: Kind,
    folds: tuple[Fold, ...],
    fitted: Fits,
    plan: Plan,
) -> dict[str, Any]:
    """Judge rules and models on events against negatives of one kind."""
    here = np.flatnonzero(case.against(kind))
    rules = {name: _rule(case, lag, name, here, folds) for name in RULES}
    words = {name: found[1] for name, found in rules.items()}
    heard = {name: found[0] for name, found in rules.items()}
    for model in plan.models:
        heard[model] = _model(case, here, folds, [fitted[(lag, split, model, n)] for n in range(len(folds))])
    label = case.label[here].astype(np.float64)
    auc = resample(
        _auc, label, {name: one.score for name, one in heard.items()}, case.storm[here],
        resamples=plan.resamples, seed=plan.seed,
    )  # fmt: skip
    skill = resample(
        true_skill, label, {name: one.warns for name, one in heard.items()}, case.storm[here],
        resamples=plan.resamples, seed=plan.seed,
    )  # fmt: skip
    # The best here, on what is held out: no rule chosen beforehand could be harder to beat.
    best = max(RULES, key=lambda name: auc.values[name].value)
    most_skilled = max(RULES, key=lambda name: skill.values[name].value)
    told: dict[str, Any] = {
        "events": int(label.sum()),
        "negatives": int((1 - label).sum()),
        "storms": auc.blocks,
        "auc": {name: asdict(value) for name, value in auc.values.items()},
        "true_skill": {name: asdict(value) for name, value in skill.values.items()},
        "best_rule": best,
        "most_skilled_rule": most_skilled,
        "rules": words,
        "models_minus_best_rule": {
            model: {
                "auc": _difference(auc, model, best),
                "true_skill": _difference(skill, model, most_skilled),
            }
            for model in plan.models
        },
    }
    if NETWORK in plan.models:
        told["network_minus_best_rule"] = told["models_minus_best_rule"][NETWORK]
    return told


def _rule(
    case: DatedCase, lag: int, name: str, here: npt.NDArray[np.int64], folds: tuple[Fold, ...]
) -> tuple[HeldOut, list[str]]:
    """Fit a rule on each fold's training side (validation rows too: it needs none) against this kind."""
    windows = case.windows[lag][:, :, 0]
    score, warns, words = np.zeros(len(case.samples)), np.zeros(len(case.samples)), []
    # Values of one formula compare across folds as they are; fitted formulas only by how far above the line.
    one_formula = len(RULES[name].choices) == 1
    for fold in folds:
        rows = np.intersect1d(np.concatenate([fold.train, fold.validation]), here)
        rule = RULES[name].fit(windows[rows], case.label[rows])
        above = rule.exceedance(windows[fold.test])
        score[fold.test] = rule.value(windows[fold.test]) if one_formula else above
        warns[fold.test] = above >= 0
        words.append(rule.words)
    return HeldOut(score[here], warns[here]), words


def _model(
    case: DatedCase, here: npt.NDArray[np.int64], folds: tuple[Fold, ...], results: list[Kept]
) -> HeldOut:
    """Take a model's held-out scores; its threshold is the best one on this kind of the training side."""
    score, warns = np.zeros(len(case.samples)), np.zeros(len(case.samples))
    for fold, result in zip(folds, results, strict=True):
        rows = np.concatenate([fold.train, fold.validation])
        said = np.concatenate([result.train, result.validation])
        seen = np.isin(rows, here)
        threshold = best_threshold(case.label[rows[seen]], said[seen])
        score[fold.test] = result.test
        warns[fold.test] = result.test >= threshold
    return HeldOut(score[here], warns[here])


def _auc(label: Floats, score: Floats) -> float:
    return area_under_curve(label.astype(np.int64), score)


def _difference(found: Resampled, first: str, second: str) -> dict[str, float]:
    kept = found.difference(first, second)
    return {"difference": kept.value, "low": kept.low, "high": kept.high}


def _count(case: DatedCase, rows: npt.NDArray[np.int64]) -> dict[str, int]:
    return {"samples": len(rows), "events": int(case.label[rows].sum())}


def _title(name: str) -> str:
    return RULES[name].title if name in RULES else recipe_class(name).title


def _draw(summary: Mapping[str, Any], build: Path) -> list[Path]:
    drawn = []
    for metric, axis in (("auc", "AUC (95 % over storms)"), ("true_skill", "true skill (95 % over storms)")):
        panels = {
            _panel(name): {
                _title(model): {"mean": result[metric][model]["value"], **_bounds(result[metric][model])}
                for model in (*RULES, *summary["plan"]["models"])
            }
            for name, result in summary["results"].items()
        }
        path = build / f"dated-{metric.replace('_', '-')}.png"
        title = "Dated landslides against days without one at the same places"
        draw_intervals(panels, path, title=title, axis=axis, marked=[_title(NETWORK)])
        drawn.append(path)
    return drawn


def _panel(name: str) -> str:
    """Return a result's name as the title of a panel."""
    lag, split, kind = name.split(", ")
    ends = {"lag 0": "to the day", "lag 1": "to the day before"}[lag]
    return f"{kind.removeprefix('temporal_')} days, {split}, rain {ends}"


def _bounds(value: Mapping[str, float]) -> dict[str, float]:
    return {"low": value["low"], "high": value["high"]}


@click.command()
@click.option(
    "--shared",
    type=click.Path(path_type=Path, file_okay=False),
    envvar=SHARED_VARIABLE,
    default=Path("../shared/data"),
    show_default=True,
    help="The folder that holds apennines/.",
)
@click.option("--config", type=click.Path(path_type=Path), default=Path("config/apennines.toml"))
@click.option("--build", type=click.Path(path_type=Path, file_okay=False), default=Path("build/cases/dated"))
@click.option("--jobs", type=click.IntRange(1), default=lambda: len(os.sched_getaffinity(0)))
def main(shared: Path, config: Path, build: Path, jobs: int) -> None:
    """Judge the LSTM against rainfall thresholds; the last line is the summary as one JSON object."""
    configure_logging(verbose=False)  # to stderr: stdout ends with the summary
    with progress_bar("dated") as bar:
        stage = ""

        def progress(name: str, done: int, total: int) -> None:
            nonlocal stage
            if name != stage:
                stage = name
                click.echo(f"{name} ...", err=True)
            bar(done, total)

        summary = run(shared, config, build, Plan(jobs=jobs), progress)
    click.echo(summary["said_plainly"])
    click.echo(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
