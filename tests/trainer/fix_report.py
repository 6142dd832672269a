"""Inputs of a report from random numbers: every part is there, nothing was trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from exporters.layer import ClassScheme
from exporters.palette import SUSCEPTIBILITY_TABLE
from exporters.picture import encode_png
from trainer.curves import class_shares, count_codes, rate_curve
from trainer.judge import Repetition, summarise
from trainer.models.base import Epoch
from trainer.report import (
    Collinearity,
    Comparison,
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

# Name -> title, and how much noise stands between the truth and what the model says.
MODELS = {
    "cnn_lstm": ("CNN-LSTM", 0.6),
    "xgboost": ("XGBoost", 0.9),
    "cnn_dnn": ("CNN-DNN", 1.2),
    "random_forest": ("Random forest", 1.1),
    "cnn_only": ("CNN-only", 2.4),
    "lstm_only": ("LSTM-only", 2.0),
    "svm": ("SVM", 1.7),
    "mlp": ("MLP", 1.5),
    "decision_tree": ("Decision tree", 3.2),
    "logistic_regression": ("Logistic regression", 1.9),
    "gaussian_nb": ("Gaussian naive Bayes", 2.8),
    "bernoulli_nb": ("Bernoulli naive Bayes", 3.8),
}
FACTORS = (
    "elevation", "slope", "aspect", "plan_curvature", "profile_curvature", "twi", "spi", "distance_to_faults",
    "distance_to_rivers", "distance_to_roads", "ndvi", "annual_precipitation",
)  # fmt: skip


@dataclass(frozen=True)
class Drawn:
    """What a comparison is summarised from."""

    repetitions: tuple[Repetition, ...]
    predictions: tuple[Predictions, ...]


def draw(models: Sequence[str], repetitions: int = 3, samples: int = 216, seed: int = 0) -> Drawn:
    random = np.random.default_rng(seed)
    held, given = [], []
    for number in range(repetitions):
        logit = random.normal(0, 4, samples)
        truth = 1 / (1 + np.exp(-logit))
        label = (random.random(samples) < truth).astype(np.int64)
        block = random.integers(0, 40, samples)
        predicted = {}
        for model in models:
            noise = MODELS[model][1] if model in MODELS else 2.2
            said = logit + random.normal(0, 2.2 * noise, samples)
            raw = 1 / (1 + np.exp(-1.8 * said / (1 + noise)))
            calibrated = 1 / (1 + np.exp(-0.9 * said / (1 + noise)))
            predicted[model] = calibrated
            given.append(Predictions(model, f"r{number}", label, raw, calibrated, block))
        held.append(Repetition(f"r{number}", "made up", label, block, predicted, truth))
    return Drawn(tuple(held), tuple(given))


def comparison_of(drawn: Drawn, *, resamples: int = 60, **changes: Any) -> dict[str, Any]:
    """Return the contents of a comparison.json; `changes` replace its parts."""
    told = summarise(drawn.repetitions, resamples=resamples).to_json()
    for name, model in told["models"].items():
        model |= {
            "title": MODELS[name][0] if name in MODELS else name,
            "source": "made up for a test",
            "seconds": 12.5,
            "chosen": {"optimiser": "rmsprop"} if name == "cnn_dnn" else {},
            "assumed": {"trees": "300, where scores no longer change"} if name == "random_forest" else {},
            "calibration": "Platt: logit 0.50 x + 0.01",
            "hyperparameters": {"seed_offset": 0},
        }
    written = {
        "schema": 1,
        "name": "teng2026",
        "title": "Kerman in the manner of Teng et al. 2026",
        "synthetic": True,
        "protocol": {
            "name": "teng2026",
            "source": "Teng et al. 2026",
            "split": "stratified at random, 70%/15%/15%; one place and one storm never on both sides",
            "sampling": "719 events and 719 non-events, at least 500 m apart",
            "calibration": "platt",
            "assumed": ["days of non-landslides: the paper does not say which"],
            "judging": {"by": "ground", "block_km": 2.0, "resamples": resamples},
        },
        "data": {
            "digests": {"made up": "ab" * 32},
            "samples": 1438,
            "positives": 719,
            "counts": {"event": 719, "spatial": 500, "temporal_wet": 219},
            "crs": "EPSG:32640",
            "shortfalls": {"made up": {"temporal_wet": 4}},
            "warnings": ["made up: ndvi has one value in 3 % of the cells"],
        },
        "repetitions": [
            {
                "name": item.name, "data": item.data, "seed": number, "folds": 1, "train": 1006,
                "validation": 216, "test": item.label.size, "left_out": 0,
            }
            for number, item in enumerate(drawn.repetitions)
        ],
        **told,
        "paper": {
            "source": "Teng et al. 2026, Table 2",
            "models": {
                "cnn_lstm": {
                    "accuracy": 0.956, "precision": 0.928, "recall": 0.943, "f1": 0.935, "auc": 0.98
                },
                "random_forest": {"auc": 0.92},
                "mlp": {"auc": 0.90},
                "svm": {"auc": 0.88},
                "decision_tree": {"auc": 0.86},
            },
        },
        "leaks": [
            {"check": "overlapping patches", "finding": "random: 31 of 216 samples", "severity": "warning"},
            {"check": "label in a factor", "finding": "none separates the labels alone", "severity": "note"},
        ],
        "footprint": {"auc": {"mean": 0.561, "low": 0.512, "high": 0.611}, "says": "places tell little"},
        "environment": {
            "python": "3.12.3", "packages": {"torch": "2.13.0", "scikit-learn": "1.9.0"}, "threads": 1
        },
    }  # fmt: skip
    return written | changes


def report_inputs(
    models: Sequence[str] = tuple(MODELS), *, repetitions: int = 3, seed: int = 0, **changes: Any
) -> ReportInputs:
    """Return inputs with every part; `changes` replace parts of comparison.json."""
    random = np.random.default_rng(seed)
    drawn = draw(models, repetitions, seed=seed)
    # Through the text, as the report reads it.
    text = json.dumps(comparison_of(drawn, **changes))
    stored = _surface(random)
    area = count_codes(stored)
    return ReportInputs(
        comparison=Comparison.model_validate_json(text),
        recipe=Recipe(
            "colluvium compare --protocol teng2026 --region config/kerman.toml --out run",
            (("inventory", "cd" * 32), ("factors", "ef" * 32)),
            "0.1.0",
        ),
        inventory_problems=("row 17: 4,100 m off the grid", "rows 3 and 90: the same landslide twice"),
        vintage_warnings=("ndvi is of 2021, 143 of 719 landslides are older.",),
        predictions=drawn.predictions,
        training=tuple(_curve(model, run, random) for model in models if "cnn" in model or "lstm" in model
                       for run in range(repetitions)),
        sample_map=_map("Samples", stored, random),
        fold_map=_map("Folds", stored, random),
        maps=tuple(_map(MODELS[name][0] if name in MODELS else name, stored, random) for name in models[:4]),
        rate_curves=tuple(_rate(name, kind, stored, area, random) for name in models[:4]
                          for kind in ("success", "prediction")),
        high_shares=tuple(_share(name, of, stored, area, random) for name in models[:2]
                          for of in ("all 719", "the test part")),
        importance=(_importance(models[0], random),),
        occlusion=tuple(_occluded(models[0], number, random) for number in range(3)),
        collinearity=_collinearity(random),
    )  # fmt: skip


def _surface(random: np.random.Generator) -> np.ndarray:
    rows, columns = np.mgrid[0:60, 0:80] / 12
    waves = np.sin(rows + random.random()) * np.cos(columns * 1.3) + 0.4 * np.sin(3.1 * rows * columns / 5)
    return np.clip(125 + 95 * waves, 0, 250).astype(np.uint8)


def _map(title: str, stored: np.ndarray, random: np.random.Generator) -> Picture:
    shown = np.clip(stored + random.normal(0, 12, stored.shape), 0, 250).astype(np.uint8)
    png = encode_png(SUSCEPTIBILITY_TABLE[np.kron(shown, np.ones((6, 6), np.uint8))])
    return Picture(title, png, f"Map: {title}", "susceptibility")


def _events(stored: np.ndarray, random: np.random.Generator, count: int) -> np.ndarray:
    cells = stored.ravel()
    chance = np.exp(cells / 40.0)
    return random.choice(cells, count, p=chance / chance.sum())


def _rate(
    name: str, kind: Any, stored: np.ndarray, area: np.ndarray, random: np.random.Generator
) -> RateLine:
    return RateLine(name, kind, rate_curve(area, _events(stored, random, 120)))


def _share(
    name: str, of: str, stored: np.ndarray, area: np.ndarray, random: np.random.Generator
) -> HighShare:
    scheme = ClassScheme(breaks=(0.248, 0.5, 0.752))
    return HighShare(name, of, class_shares(area, _events(stored, random, 108), scheme), 0.864)


def _curve(model: str, run: int, random: np.random.Generator) -> TrainingRun:
    steps = np.arange(1, 41)
    train = 0.12 + 0.55 * np.exp(-steps / 9) + random.normal(0, 0.006, 40)
    validation = 0.2 + 0.48 * np.exp(-steps / 8) + 0.0012 * steps + random.normal(0, 0.012, 40)
    history = tuple(
        Epoch(int(n), float(a), float(b)) for n, a, b in zip(steps, train, validation, strict=True)
    )
    return TrainingRun(model, f"r{run}-f0", history, int(np.argmin(validation)) + 1)


def _importance(model: str, random: np.random.Generator) -> Importance:
    def row(name: str, group: str, drop: float) -> ImportanceRow:
        half = 0.004 + 0.1 * drop * random.random()
        return ImportanceRow(name, group, drop, drop - half, drop + half)

    rows = [row(name, "patch", float(random.exponential(0.02))) for name in FACTORS]
    rows += [row("rain", "rain", 0.11), row("level_below_full", "reservoir", 0.03)]
    groups = [row("patch", "patch", 0.21), row("rain", "rain", 0.12), row("reservoir", "reservoir", 0.05)]
    return Importance(model, rows, groups)


def _occluded(model: str, number: int, random: np.random.Generator) -> OcclusionExample:
    effects = tuple((name, float(random.normal(0.02, 0.09))) for name in (*FACTORS, "rain"))
    return OcclusionExample(model, f"Sample {number}, 3 March 2019", number % 2, 0.3 + 0.2 * number, effects)


def _collinearity(random: np.random.Generator) -> Collinearity:
    values = random.normal(0, 1, (400, len(FACTORS)))
    values[:, 6] = values[:, 5] + 0.3 * values[:, 6]
    values[:, 11] = 0.9 * values[:, 0] - 0.2 * values[:, 11]
    pearson = np.corrcoef(values.T)
    return Collinearity(FACTORS, pearson, np.diag(np.linalg.inv(pearson)).copy())
