"""Every model of the list leaves as a bundle, and the layer that `refresh` makes with it is the model's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.factor_stack import FactorStack
from service.readings import Archive
from service.region import open_region
from service.workshop import archive_path
from tests.fix_region import LAST_DAY, SHAPE, Clock, ToyRegion, make_toy_region
from trainer.dataset import Dataset, Variable
from trainer.models import names, recipe_of
from trainer.models.base import Job
from trainer.proof_of_models import prove, serve
from trainer.region_dataset import Opened, WindowRule, gather
from trainer.samples import Kind, Sample

DAY = LAST_DAY - timedelta(days=4)
TRAIN, VALIDATION = np.arange(0, 240), np.arange(240, 320)
# Enough to learn something; how well is for other tests.
BRIEF: dict[str, dict[str, Any]] = {
    "cnn_lstm": {"epochs": 1, "learning_rate": 0.003},
    "cnn_only": {"epochs": 1, "learning_rate": 0.003},
    "lstm_only": {"epochs": 6, "learning_rate": 0.01, "l2": 0.0, "dropout": 0.0},
    "cnn_dnn": {
        "epochs": 2, "optimisers": ("rmsprop",), "learning_rates": (0.001,), "layers": (1,), "units": (32,),
        "batches": (32,), "filters": (16,),
    },
    "random_forest": {"trees": 40},
    "xgboost": {"trees": 40},
    "mlp": {"epochs": 20},
}  # fmt: skip


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyRegion:
    region = make_toy_region(tmp_path_factory.mktemp("served") / "toy")
    region.ingest()
    return region


@pytest.fixture(scope="module")
def data(toy: ToyRegion, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Places of the region on days of its readings; landslides where one factor is high after rain."""
    random = np.random.default_rng(3)
    region = open_region(toy.settings)
    rows, columns = random.integers(12, SHAPE[0] - 12, 320), random.integers(12, SHAPE[1] - 12, 320)
    days = random.integers(0, 38, 320)
    xs, ys = region.grid.left + 30 * (columns + 0.5), region.grid.top - 30 * (rows + 0.5)
    samples = [
        Sample(
            x=float(xs[n]), y=float(ys[n]), place=f"p{n}", day=LAST_DAY - timedelta(days=int(days[n])),
            label=0, kind=Kind.SPATIAL, storm=f"s{days[n]}", accuracy_m=10.0, event=f"e{n}",
        )
        for n in range(320)
    ]  # fmt: skip
    rule = WindowRule((Variable("rain", "mm"),))
    with (
        FactorStack.open(toy.settings.stack_path, region.grid) as stack,
        Archive(archive_path(toy.settings), toy.clock) as archive,
    ):
        opened = Opened(toy.settings, region, archive, stack, None)
        folder = tmp_path_factory.mktemp("data") / "dataset"
        found = gather(opened, samples, [band.name for band in stack.bands], rule, folder).data
    assert len(found) == 320
    assert found.patches is not None
    assert found.windows is not None
    logit = (found.patches[:, 0, 11, 11] - 50) / 15 + (found.windows[:, -7:, 0].sum(axis=1) - 40) / 20
    labels = random.random(320) < 1 / (1 + np.exp(-logit))
    relabelled = [
        replace(sample, label=int(label)) for sample, label in zip(found.samples, labels, strict=True)
    ]
    return replace(found, samples=tuple(relabelled))


NETWORKS = ("cnn_lstm", "cnn_only", "lstm_only", "cnn_dnn")  # tracing them takes the time
EVERY = [pytest.param(name, marks=pytest.mark.slow) if name in NETWORKS else name for name in names()]


@pytest.mark.parametrize("name", EVERY)
def test_the_layer_of_every_model_is_what_python_says(
    name: str, toy: ToyRegion, data: Dataset, tmp_path: Path
) -> None:
    recipe = recipe_of(name, BRIEF.get(name))
    fitted = recipe.fit(data, TRAIN, VALIDATION, Job())

    served = serve(fitted, toy.config, tmp_path / name, name=name, title=recipe.title, day=DAY, clock=Clock())
    found = prove(fitted, served, patch=data.patch)

    assert found.graph_difference <= 1e-4
    assert found.layer_difference <= found.layer_tolerance
    assert found.passed
    assert found.cells == 1000
    # Two gauges rain much alike all over the region, and the rain is all that LSTM-only sees.
    assert found.spread > (1e-4 if name == "lstm_only" else 0.01)
    assert served.bundle.manifest.model == recipe.title
    assert not served.bundle.manifest.may_warn
