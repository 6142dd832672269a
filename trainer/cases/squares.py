"""Labelled squares of May 2023: can a network read more from terrain than a forest from nine statistics?

    python -m trainer.cases.squares [--shared FOLDER] [--build FOLDER] [--jobs N]

Squares were cut around landslides, so coordinates, neighbours and no-data tell the label: a model of these
alone is judged beside the others. Every model sees factors derived inside the square and nothing else, and
blocks of ground are held out, with at least a square's width of ground between. The last line is the summary
as one JSON object; <build>/squares.json and two figures hold the same.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import click

from service.files import write_json
from service.logs import configure_logging
from service.progress import progress_bar
from trainer.apennines import SHARED_VARIABLE
from trainer.cases.figures import draw_intervals, draw_pairs
from trainer.cases.fits import Wanted, fit_all
from trainer.cases.squares_data import NAMES, PATCH, SquareCase, open_squares, square_folds
from trainer.cases.squares_judge import (
    Divided,
    Fits,
    Scheme,
    development,
    judge_scheme,
    naive_bar,
    title_of,
)
from trainer.cases.squares_rank import RankPlan, rank_squares
from trainer.dataset import load_dataset
from trainer.models import recipe_class
from trainer.squares import SQUARE_M

Progress = Callable[[str, int, int], None]  # stage, done, total

NETWORKS = ("cnn_only", "cnn_dnn")
# Hyperparameters come of the development part (squares_judge.development); grids go by validation blocks.
MODELS: dict[str, dict[str, Any]] = {
    "cnn_only": {"epochs": 10, "patience": 4, "augment": "square"},
    # Of the paper's three optimisers SGD had the best AUC on validation blocks: 0.872, Adagrad 0.869, RMSprop
    # 0.863. The whole grid would take three times as long.
    "cnn_dnn": {
        "optimisers": ("sgd",),
        "learning_rates": (0.01,),
        "layers": (1,),
        "units": (64,),
        "batches": (32,),
        "epochs": 20,
        "patience": 6,
        "augment": "square",
    },
    "random_forest": {"view": "patch", "min_leaf": 2},
    "xgboost": {"view": "patch"},
    "svm": {"view": "patch"},
    "mlp": {"view": "patch"},
    "decision_tree": {"view": "patch"},
    "logistic_regression": {"view": "patch"},
    "gaussian_nb": {"view": "patch"},
    "bernoulli_nb": {"view": "patch"},
}


RANDOM_KM = SQUARE_M / 1000
SCHEMES = (
    Scheme("random split", RANDOM_KM),
    Scheme("blocks of 10 km", 10.0),
    Scheme("blocks of 25 km", 25.0),
    Scheme("blocks of 40 km", 40.0),
    Scheme("blocks of 10 km, without elevation", 10.0, elevation=False),
    Scheme("blocks of 40 km, without elevation", 40.0, elevation=False),
)


@dataclass(frozen=True)
class Plan:
    """How much work to put in; the defaults are the whole case."""

    schemes: tuple[Scheme, ...] = SCHEMES
    models: Mapping[str, dict[str, Any]] = field(default_factory=lambda: MODELS)
    folds: int = 5
    seeds: tuple[int, ...] = (0,)
    patch: int = PATCH
    every: int = 1  # one square in so many
    resamples: int = 1000
    ranking: RankPlan = RankPlan()  # noqa: RUF009 - frozen
    jobs: int = 1


def run(
    shared: Path, config: Path, build: Path, plan: Plan | None = None, progress: Progress | None = None
) -> dict[str, Any]:
    """Run the case and return its summary, which is also written to <build>/squares.json.

    `shared` is the folder that holds apennines/. Fits that an earlier run has finished are kept.
    """
    plan = plan or Plan()
    report = progress or (lambda _stage, _done, _total: None)
    case = open_squares(shared, config, build, patch=plan.patch, every=plan.every)
    divided = [_divide(scheme, seed, case, plan) for scheme in plan.schemes for seed in plan.seeds]
    fitted = _fit(divided, plan, build / "runs", partial(report, "models"))
    judged: dict[str, Any] = {}
    for number, scheme in enumerate(plan.schemes):
        report("judging", number, len(plan.schemes))
        mine = [one for one in divided if one.scheme == scheme]
        judged[scheme.name] = judge_scheme(mine, fitted, list(plan.models), plan.resamples)
    ranking = rank_squares(case.ranked, plan.ranking, build / "ranking", partial(report, "ranking"))
    data = load_dataset(case.all)
    summary = {
        "schema": 1,
        "case": "squares of May 2023 (Sen12Landslides, CC BY 4.0), terrain inside the square alone",
        "data": {
            "digest": data.digest,
            "squares": len(data),
            "positives": int(data.label.sum()),
            "between_left_out": case.between,
            "incomplete_left_out": case.incomplete,
            "patch_cells": plan.patch,
            "factors": list(NAMES),
            "development_squares": int(development(data.xy).sum()),
        },
        "plan": {
            "folds": plan.folds,
            "seeds": list(plan.seeds),
            "models": {name: dict(values) for name, values in plan.models.items()},
            "resamples": plan.resamples,
        },
        "bar": {
            "auc": naive_bar(data, plan.schemes, plan.seeds, plan.folds),
            "stated": {"10 km": 0.907, "25 km": 0.875, "40 km": 0.802, "random": 0.920},
        },
        "splits": judged,
        "ranking": {
            f"blocks of {size:g} km": {
                "squares": found.samples,
                "blocks": found.blocks,
                "spearman": {name: asdict(value) for name, value in found.values.items()},
                "differences": [
                    {"first": first, "second": second, **asdict(value)}
                    for (first, second), value in found.differences.items()
                ],
            }
            for size, found in ranking.items()
        },
    }
    summary["said_plainly"] = say_plainly(summary)
    summary["pictures"] = [str(path) for path in _draw(summary, build)]
    write_json(build / "squares.json", summary)
    return summary


def say_plainly(summary: Mapping[str, Any]) -> str:
    """Say in one paragraph whether the networks beat the forest, and what the labels leak."""
    said = []
    for name, split in summary["splits"].items():
        for model in NETWORKS:
            pair = split["against_forest"].get(model)
            if pair is None:
                continue
            low, high = pair["low"], pair["high"]
            verdict = "beats" if low > 0 else "loses to" if high < 0 else "cannot be told from"
            said.append(
                f"{name}: {recipe_class(model).title} {verdict} the forest "
                f"({pair['difference']:+.3f}, {low:+.3f} to {high:+.3f})"
            )
    leaks = {name: split["footprint"]["auc"]["mean"] for name, split in summary["splits"].items()}
    least, most = min(leaks.values()), max(leaks.values())
    return (
        f"AUC differences, 95 % intervals over resampled blocks. {'; '.join(said)}. Where the squares lie, "
        f"and nothing of their terrain, gives AUC {least:.2f} to {most:.2f}: the labels leak through how "
        "squares were cut, so these figures rank models under one set of rules and are no measure of how "
        "well any map would do."
    )


def _divide(scheme: Scheme, seed: int, case: SquareCase, plan: Plan) -> Divided:
    folder = case.all if scheme.elevation else case.without_elevation
    data = load_dataset(folder)
    folds = square_folds(
        data.xy, data.label, scheme.block_km, seed, folds=plan.folds, buffer_m=scheme.buffer_m
    )
    return Divided(scheme, seed, folder, data, folds)


def _fit(divided: Sequence[Divided], plan: Plan, folder: Path, progress: Callable[[int, int], None]) -> Fits:
    """Return what every model says of every fold."""
    wanted = {
        (one.scheme.name, one.seed, model, number): Wanted(
            model=model,
            hyperparameters=values,
            data=one.folder,
            data_digest=one.data.digest,
            fold=fold,
            seed=one.seed,
            folder=folder,
        )
        for model, values in plan.models.items()
        for one in divided
        for number, fold in enumerate(one.folds)
    }
    return fit_all(wanted, plan.jobs, progress)


def _draw(summary: Mapping[str, Any], build: Path) -> list[Path]:
    splits = {name: split for name, split in summary["splits"].items() if split["models"]}
    shown = {
        name: {
            **{model["title"]: model["metrics"]["auc"] for model in split["models"].values()},
            "Footprint only (no terrain)": split["footprint"]["auc"],
        }
        for name, split in splits.items()
    }
    marked = [title_of(model) for model in NETWORKS]
    scores = build / "squares-auc.png"
    draw_intervals(
        shown,
        scores,
        title="Squares of May 2023: AUC on held-out squares",
        axis="AUC (95 % over blocks)",
        marked=marked,
    )
    differences = {
        name: {
            title_of(model): {"mean": pair["difference"], "low": pair["low"], "high": pair["high"]}
            for model, pair in split["against_forest"].items()
            if model in (*NETWORKS, "xgboost")
        }
        for name, split in splits.items()
    }
    pairs = build / "squares-against-forest.png"
    draw_pairs(differences, pairs, title="Squares of May 2023: AUC minus the better forest's",
               axis="difference of AUC (95 %, paired)", marked=marked)  # fmt: skip
    ranks = {
        name: {
            title_of(model): {"mean": value["value"], "low": value["low"], "high": value["high"]}
            for model, value in found["spearman"].items()
        }
        for name, found in summary["ranking"].items()
    }
    ranking = build / "squares-ranking.png"
    draw_intervals(ranks, ranking, title="Landslide pixels among squares with eight neighbours",
                   axis="Spearman's rank correlation (95 %)", marked=marked)  # fmt: skip
    return [scores, pairs, ranking]


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
@click.option(
    "--build", type=click.Path(path_type=Path, file_okay=False), default=Path("build/cases/squares")
)
@click.option("--jobs", type=click.IntRange(1), default=lambda: len(os.sched_getaffinity(0)))
@click.option("--seed", "seeds", type=int, multiple=True, default=(0,), help="Of folds and fits; repeatable.")
def main(shared: Path, config: Path, build: Path, jobs: int, seeds: tuple[int, ...]) -> None:
    """Judge every model on the squares; the last line is the summary as one JSON object."""
    configure_logging(verbose=False)  # to stderr: stdout ends with the summary
    with progress_bar("squares") as bar:
        stage = ""

        def progress(name: str, done: int, total: int) -> None:
            nonlocal stage
            if name != stage:
                stage = name
                click.echo(f"{name} ...", err=True)
            bar(done, total)

        summary = run(shared, config, build, Plan(jobs=jobs, seeds=seeds), progress)
    click.echo(summary["said_plainly"])
    click.echo(json.dumps(summary, sort_keys=True))


if __name__ == "__main__":
    main()
