"""The CNN-DNN of Azarafza et al. 2021, with its grid search.

The paper searches optimiser, learning rate, number of hidden layers, units and batch size. Its grid is not
given, and 5000 epochs for each point would take days; here every point has a few epochs, the best quarter of
each optimiser has more (successive halving, Jamieson and Talwalkar 2016), and the best of all is trained.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import Annotated, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from service.errors import InputError
from service.files import digest_of, write_json
from service.manifest import VariableSpec
from trainer.dataset import Dataset, FloatArray, Indices
from trainer.fit import DivergedError, FitSamples, FitSettings, fit
from trainer.fit_optimiser import OptimiserName
from trainer.models._network import (
    NO_WINDOW,
    NO_WINDOW_DAYS,
    balanced,
    check_rows,
    epochs_of,
    prove_traced,
    run_fit,
)
from trainer.models._ranges import ranges_of
from trainer.models.base import Epoch, Fitted, Input, Job, Recipe, WholeGraph
from trainer.networks.cnn_dnn import ASSUMED, CnnDnn, Design
from trainer.networks.cnn_lstm import on_threads
from trainer.networks.whole import patches_graph

_RUNGS = (2, 8)  # epochs of a grid point: at first, and for the best quarter of its optimiser
_KEPT = 4  # one of so many goes on
_ROWS = 256


@dataclass(frozen=True)
class Point:
    """One point of the grid."""

    optimiser: OptimiserName
    learning_rate: float
    layers: int
    units: int
    batch: int

    @property
    def words(self) -> dict[str, str]:
        """Return the point for tables."""
        return {
            "optimiser": self.optimiser,
            "learning rate": f"{self.learning_rate:g}",
            "hidden layers": str(self.layers),
            "units": str(self.units),
            "batch": str(self.batch),
        }


class CnnDnnRecipe(Recipe):
    """A patch CNN extracts features, a dense head sorts them; validation rows choose the grid's point."""

    name: ClassVar[str] = "cnn_dnn"
    title: ClassVar[str] = "CNN-DNN"
    source: ClassVar[str] = "Azarafza et al. 2021"
    sees: ClassVar[tuple[Input, ...]] = ("patches",)
    assumed: ClassVar[dict[str, str]] = {
        "layers of the network": "; ".join(ASSUMED),
        "grid": "the paper names what it searched and the learning rate 0.01, not the other values",
        "search": f"successive halving within each optimiser: {_RUNGS[0]} epochs for every point, "
        f"{_RUNGS[1]} for the best of {_KEPT}; the paper does not say how its grid was judged",
        "choice": "least validation cross-entropy; the paper takes the highest accuracy, often a tie",
        "epochs, patience": "at most 200, ended after 20 without a lesser validation loss; the paper ran "
        "5000 without saying when it stopped (set epochs = 5000 for its bound)",
        "RMSprop, Adagrad": "the constants of Keras, which the paper used",
        "schedule": "a constant learning rate; the paper names callbacks of Keras and not which",
    }

    optimisers: Annotated[tuple[OptimiserName, ...], Field(min_length=1)] = ("sgd", "rmsprop", "adagrad")
    learning_rates: Annotated[tuple[float, ...], Field(min_length=1)] = (0.01, 0.001)
    layers: Annotated[tuple[int, ...], Field(min_length=1)] = (1, 2)
    units: Annotated[tuple[int, ...], Field(min_length=1)] = (32, 64)
    batches: Annotated[tuple[int, ...], Field(min_length=1)] = (16, 32)
    filters: Annotated[tuple[int, ...], Field(min_length=1)] = (16, 32)
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    epochs: Annotated[int, Field(ge=1)] = 200
    patience: Annotated[int, Field(ge=1)] | None = 20
    class_weight: Literal["none", "balanced"] = "none"
    augment: Literal["none", "square"] = "none"  # "square": patches turned and mirrored at random

    def fit(self, data: Dataset, train: Indices, validation: Indices, job: Job) -> Fitted:
        """Fit on `train` rows; `validation` rows choose the grid's point and the epoch.

        Ranges and categories come of `train` rows alone. Patches stay on disk. Raises InputError for rows of
        one class only, fewer training rows than a batch, NaN, a constant factor, a patch too small for its
        pooling; DivergedError where no point learned.
        """
        check_rows(data, train, validation, max(self.batches))
        if data.patches is None:
            raise InputError(f"{self.title} sees patches, but the dataset has none; leave the model out")
        smallest = 1 << len(self.filters)
        if data.patch < smallest:
            raise InputError(
                f"{self.title} needs patches of at least {smallest} cells, not of {data.patch}; set a larger "
                "patch"
            )
        factors, variables = ranges_of(data, train, "patch")

        def network(point: Point) -> CnnDnn:
            design = Design(self.filters, point.layers, point.units, self.dropout)
            return CnnDnn(factors, data.patch, design, seed=job.seed)

        search = _Search(self, data, train, validation, job, network)
        best = search.best()
        model = network(best)
        settings = replace(self.settings(best, self.epochs, job), patience=self.patience)
        own = replace(job, progress=search.after(job.progress))
        result = run_fit(model, search.train, search.validation, settings, own)
        return CnnDnnFitted(
            model=model,
            point=best,
            title=self.title,
            history=epochs_of(result),
            best_epoch=result.best_epoch,
            threads=job.threads,
            variables=variables or NO_WINDOW,
            window_days=data.window_days or NO_WINDOW_DAYS,
        )

    def points(self, optimiser: OptimiserName) -> list[Point]:
        """Return an optimiser's points of the grid."""
        values = product(self.learning_rates, self.layers, self.units, self.batches)
        return [Point(optimiser, *value) for value in values]

    def settings(self, point: Point, epochs: int, job: Job) -> FitSettings:
        """Return how to train one point of the grid."""
        return FitSettings(
            epochs=epochs,
            batch=point.batch,
            learning_rate=point.learning_rate,
            l2=0.0,
            l2_on=(),
            seed=job.seed,
            threads=job.threads,
            optimiser=point.optimiser,
            augment=self.augment,
            device=job.device,
            mixed_precision=job.mixed_precision,
        )


@dataclass(frozen=True)
class CnnDnnFitted(Fitted):
    """A fitted CNN-DNN."""

    model: CnnDnn
    point: Point
    title: str
    threads: int
    variables: tuple[VariableSpec, ...]  # declared in the graph, not used
    window_days: int
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    @property
    def chosen(self) -> dict[str, str]:
        """What the grid search chose."""
        return self.point.words

    def predict(self, patches: FloatArray | None, windows: FloatArray | None) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,) of patches (n, C, P, P), physical units; windows are not used."""
        del windows
        if patches is None:
            raise InputError(f"{self.title} needs patches to predict")
        self.model.eval()
        parts = []
        with torch.inference_mode(), on_threads(self.threads):
            for start in range(0, len(patches), _ROWS):
                part = torch.from_numpy(np.array(patches[start : start + _ROWS], np.float32))
                parts.append(self.model(part).numpy())
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    def whole(self) -> WholeGraph:
        """Return the network as one graph, which declares a window and ignores it."""
        graph = patches_graph(self.model, self.window_days, len(self.variables))
        whole = WholeGraph(
            graph, self.model.factors, self.variables, self.model.patch, self.window_days, ("window",)
        )
        prove_traced(whole, self, self.title)
        return whole


class _Search:
    """The grid search of one fit; what it has found is kept in the job's checkpoint folder."""

    def __init__(
        self,
        recipe: CnnDnnRecipe,
        data: Dataset,
        train: Indices,
        validation: Indices,
        job: Job,
        network: Callable[[Point], CnnDnn],
    ) -> None:
        self._recipe, self._job, self._network = recipe, job, network
        self.train, self.validation = (
            _samples(data, rows, recipe.class_weight) for rows in (train, validation)
        )
        self._path = None if job.checkpoint is None else job.checkpoint / "grid.json"
        # Rows and dataset: what a search left for others is not taken up.
        self._digest = digest_of(
            data.digest, recipe.model_dump(mode="json"), train.tolist(), validation.tolist(), job.seed
        )
        self._known = self._load()
        self._done, self._epochs = 0, self._epochs_in_all()

    def best(self) -> Point:
        """Return the point with the least validation loss after the last rung."""
        points = [point for name in self._recipe.optimisers for point in self._recipe.points(name)]
        if len(points) == 1:
            return points[0]
        finalists = []
        for name in self._recipe.optimisers:
            # Sorting is stable: of equal points the first of the grid goes on.
            first = sorted(self._recipe.points(name), key=lambda point: self._loss(point, _RUNGS[0]))
            left = first[: max(1, len(first) // _KEPT)]
            finalists.append(min(left, key=lambda point: self._loss(point, _RUNGS[1])))
        return min(finalists, key=lambda point: self._loss(point, _RUNGS[-1]))

    def after(self, progress: Callable[[int, int], None] | None) -> Callable[[int, int], None] | None:
        """Return a progress that counts the search as done."""
        if progress is None:
            return None
        return lambda done, total: progress(self._epochs + done, self._epochs + total)

    def _epochs_in_all(self) -> int:
        count = len(self._recipe.points(self._recipe.optimisers[0]))
        if count * len(self._recipe.optimisers) == 1:
            return 0
        return len(self._recipe.optimisers) * (count * _RUNGS[0] + max(1, count // _KEPT) * _RUNGS[1])

    def _loss(self, point: Point, epochs: int) -> float:
        """Return the least validation loss of a point within some epochs; infinity where it diverged."""
        key = f"{point!r} {epochs}"
        if key not in self._known:
            try:
                settings = self._recipe.settings(point, epochs, self._job)
                loss = fit(self._network(point), self.train, self.validation, settings).best_validation
            except DivergedError:
                loss = float("inf")
            self._known[key] = loss
            self._save()
            self._done += epochs
            if self._job.progress is not None:
                self._job.progress(self._done, self._epochs + self._recipe.epochs)
        return self._known[key]

    def _load(self) -> dict[str, float]:
        if self._path is None or not self._path.exists():
            return {}
        try:
            found = json.loads(self._path.read_text("utf-8"))
            if found["of"] != self._digest:
                return {}
            return {str(key): float(loss) for key, loss in found["losses"].items()}
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}

    def _save(self) -> None:
        if self._path is not None:
            # As words: JSON has no infinity.
            losses = {key: repr(loss) for key, loss in self._known.items()}
            write_json(self._path, {"of": self._digest, "losses": losses})


def _samples(data: Dataset, rows: Indices, weighting: str) -> FitSamples:
    label = data.label[rows]
    weights = balanced(label) if weighting == "balanced" else None
    return FitSamples(label.astype(np.float32), patches=data.patches, weights=weights, rows=rows)


RECIPE = CnnDnnRecipe
