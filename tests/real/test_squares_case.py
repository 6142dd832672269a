"""The squares of May 2023, every seventh of them: terrain inside the square against where squares lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.cases.squares import Plan, Scheme, run
from trainer.cases.squares_data import PATCH, open_squares
from trainer.cases.squares_rank import RankPlan
from trainer.dataset import load_dataset
from trainer.fit import FitSettings
from trainer.squares import SQUARE_M, neighbour_counts, read_squares

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("COLLUVIUM_SHARED_DATA", ROOT.parent / "shared" / "data"))
DATA = SHARED / "apennines"
CONFIG = ROOT / "config" / "apennines.toml"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason=f"no real data at {DATA}; set COLLUVIUM_SHARED_DATA"
)

PLAN = Plan(
    schemes=(Scheme("blocks of 10 km", 10.0),),
    models={"cnn_only": {"epochs": 2, "augment": "square"}, "random_forest": {"view": "patch", "trees": 50}},
    folds=3,
    every=7,
    resamples=100,
    ranking=RankPlan(
        blocks_km=(25.0,),
        folds=2,
        trees=30,
        cnn_only=FitSettings(epochs=1),
        cnn_dnn=FitSettings(epochs=1, l2=0.0, l2_on=()),
        resamples=100,
    ),
)


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("squares")


@pytest.fixture(scope="module")
def summary(build: Path) -> dict[str, Any]:
    return run(SHARED, CONFIG, build, PLAN)


def test_terrain_tells_the_label_and_where_squares_lie_tells_it_better(summary: dict[str, Any]) -> None:
    (split,) = summary["splits"].values()
    assert split["models"]["random_forest"]["metrics"]["auc"]["mean"] > 0.75
    assert split["footprint"]["auc"]["mean"] > 0.85
    assert "leak" in split["footprint"]["says"]
    assert split["least_ground_between_m"] >= SQUARE_M - 1
    assert "labels leak" in summary["said_plainly"]


def test_networks_are_held_against_the_forest_in_pairs(summary: dict[str, Any]) -> None:
    (split,) = summary["splits"].values()
    pair = split["against_forest"]["cnn_only"]
    assert pair["low"] <= pair["difference"] <= pair["high"]
    auc = {name: model["metrics"]["auc"]["mean"] for name, model in split["models"].items()}
    best = max(auc["random_forest"], auc["forest_of_nine"])
    assert pair["difference"] == pytest.approx(auc["cnn_only"] - best, abs=1e-9)
    (ranked,) = summary["ranking"].values()
    assert -1 <= ranked["spearman"]["random_forest"]["value"] <= 1
    assert all(Path(picture).stat().st_size > 5_000 for picture in summary["pictures"])


def test_a_second_run_gives_the_same_figures_without_fitting(
    summary: dict[str, Any], build: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a finished fit was made again")

    monkeypatch.setattr("trainer.cases.fits.recipe_of", _only_digests)
    monkeypatch.setattr("trainer.cases.squares_rank.fit", refuse)
    again = run(SHARED, CONFIG, build, PLAN)
    assert again["splits"] == summary["splits"]
    assert again["ranking"] == summary["ranking"]


def test_the_squares_are_those_that_are_described(build: Path, summary: dict[str, Any]) -> None:
    squares = read_squares(DATA / "landslide_patches_2023-05-16.csv")
    label = np.array([-1 if square.label is None else square.label for square in squares])
    crowded = neighbour_counts(squares) == 8
    assert ((label == 1).sum(), (label == 0).sum()) == (1222, 1283)
    assert ((label == 1) & crowded).sum() == 1026
    assert ((label == 0) & crowded).sum() == 23
    assert summary["data"]["squares"] == sum(square.label is not None for square in squares[::7])
    assert summary["data"]["incomplete_left_out"] == 0
    case = open_squares(SHARED, CONFIG, build, every=7)
    data = load_dataset(case.without_elevation)
    assert data.patch == PATCH
    assert "elevation" not in [factor.name for factor in data.factors]


def _only_digests(name: str, hyperparameters: Any) -> Any:
    """A recipe that says what it is and refuses to fit."""
    from trainer.models import recipe_of

    recipe = recipe_of(name, hyperparameters)

    class Refusing:
        model_dump = recipe.model_dump

        def fit(self, *_args: object) -> None:
            raise AssertionError("a finished fit was made again")

    return Refusing()
