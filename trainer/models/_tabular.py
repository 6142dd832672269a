"""Models of one row of features for each sample: what they share, from the grid search to the graph.

A model of this kind says its hyperparameters, how its features are scaled and how it learns from a table:

    class Forest(TabularRecipe): def learn(self, task) -> Learned
    Learned.probability(features) -> susceptibility;  Learned.add_to(graph, features) -> the same as nodes
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Any, ClassVar, Protocol, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator
from skl2onnx import convert_sklearn
from skl2onnx.common.data_types import FloatTensorType
from sklearn.metrics import roc_auc_score

from service.errors import BundleError, InputError
from service.manifest import VariableSpec
from service.runtime import make_session
from trainer.dataset import Dataset, FloatArray, Indices
from trainer.models._features import ASSUMED, Features, Scaling, fit_features
from trainer.models._ranges import View
from trainer.models.base import Epoch, Fitted, Input, Job, Recipe, WholeGraph
from trainer.onnx_graph import OPSET, GraphBuilder, port

TOLERANCE = 1e-4  # of susceptibility, between a graph and its Python form
_PROOF_ROWS = 1000
# What a graph declares of a window where the model saw none: daily rain, which it ignores.
_NO_WINDOW = VariableSpec(name="rain", unit="mm", minimum=0.0, maximum=1.0)
_NO_WINDOW_DAYS = 30

BY_AUC = (
    "its points, and the choice by AUC on the validation rows, the first of equals; Azarafza et al. choose "
    "by accuracy, which many points share on few rows"
)


@dataclass(frozen=True)
class Table:
    """Features float32 (n, F) and labels 0 or 1 (n,)."""

    features: FloatArray
    label: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What there is to learn from: training rows, and validation rows that may say when to stop."""

    train: Table
    validation: Table
    job: Job


class Learned(Protocol):
    """What a model learned from a table, in Python and as nodes of a graph."""

    @property
    def history(self) -> tuple[Epoch, ...]: ...
    @property
    def best_epoch(self) -> int | None: ...
    def probability(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,) of features (n, F)."""
        ...

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        """Add the nodes from features (n, F); return the name of the susceptibility, n numbers."""
        ...


@dataclass(frozen=True)
class Converted:
    """A fitted scikit-learn classifier of two classes; skl2onnx makes its graph."""

    classifier: Any
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    def probability(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Return the probability of class 1, (n,)."""
        return np.asarray(self.classifier.predict_proba(features)[:, 1], dtype=np.float64)

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        """Add the classifier's nodes; return the name of its second column."""
        width = int(self.classifier.n_features_in_)
        model = convert_sklearn(
            self.classifier,
            initial_types=[("features", FloatTensorType([None, width]))],
            target_opset={"": OPSET, "ai.onnx.ml": 3},
            options={id(self.classifier): {"zipmap": False}},
        )
        both = graph.embed(model, {"features": features}, model.graph.output[1].name)
        return graph.add("Gather", both, graph.scalar(1), axis=1)


class TabularRecipe(Recipe):
    """A model of tabular features. `grid`: hyperparameter -> the values of which validation rows choose."""

    sees: ClassVar[tuple[Input, ...]] = ("patches", "window")
    scaling: ClassVar[Scaling] = "none"
    assumed: ClassVar[dict[str, str]] = ASSUMED

    default_grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {}

    view: View = "cell"  # "patch" where the label is that of the whole patch
    grid: dict[str, tuple[Any, ...]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _search_what_is_not_set(cls, values: Any) -> Any:
        if isinstance(values, dict) and "grid" not in values:
            return values | {"grid": {k: v for k, v in cls.default_grid.items() if k not in values}}
        return values

    @model_validator(mode="after")
    def _usable_grid(self) -> Self:
        allowed = sorted(set(type(self).model_fields) - {"grid", "view"})
        for name, values in self.grid.items():
            if name not in allowed:
                raise ValueError(f"grid: no hyperparameter {name!r}; there are: {', '.join(allowed)}")
            if not values:
                raise ValueError(f"grid: {name!r} has no values; leave it out to use the one set beside it")
            if name in self.model_fields_set:
                raise ValueError(f"{name!r} is set and in the grid too; leave one of them out")
        if self.grid:
            list(self.points())  # each is checked as it is made
        return self

    def points(self) -> Iterator[tuple[dict[str, str], Self]]:
        """Yield (what was chosen, in words; the recipe with it), in the grid's order."""
        fixed = {name: getattr(self, name) for name in type(self).model_fields if name != "grid"}
        for values in product(*self.grid.values()):
            point = dict(zip(self.grid, values, strict=True))
            yield (
                {name: str(value) for name, value in point.items()},
                type(self).model_validate({**fixed, **point, "grid": {}}),
            )

    @abstractmethod
    def learn(self, task: Task) -> Learned:
        """Return what is learned from the training table; the validation table says when to stop."""

    def fit(self, data: Dataset, train: Indices, validation: Indices, job: Job) -> Fitted:
        """Fit on `train` rows; the grid's point is the one with the best AUC on `validation` rows.

        Raises InputError for rows of one class only, for a constant factor, for NaN.
        """
        _check_classes(data.label[train], "training")
        points = list(self.points())
        if len(points) > 1:
            _check_classes(data.label[validation], "validation", f"; {self.name} chooses by them")
        features = fit_features(data, train, view=self.view, scaling=self.scaling)
        held = Table(features.of_rows(data, validation), data.label[validation])
        task = Task(Table(features.of_rows(data, train), data.label[train]), held, job)
        best: tuple[float, dict[str, str], Learned] | None = None
        for number, (words, point) in enumerate(points, start=1):
            learned = point.learn(task)
            auc = float(roc_auc_score(held.label, learned.probability(held.features))) if words else 0.0
            if best is None or auc > best[0]:
                best = auc, words, learned
            if job.progress:
                job.progress(number, len(points))
        if best is None:
            raise RuntimeError("a grid has at least one point")
        _, words, learned = best
        return TabularFitted(
            self.title, features, learned, data, train, words, learned.history, learned.best_epoch
        )


@dataclass(frozen=True)
class TabularFitted(Fitted):
    """A fitted tabular model. Keeps hold of its dataset, whose training rows prove the graph."""

    title: str
    features: Features
    learned: Learned
    data: Dataset
    train: Indices
    words: Mapping[str, str] = field(default_factory=dict)
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    @property
    def chosen(self) -> dict[str, str]:
        """What the grid search chose."""
        return dict(self.words)

    def predict(self, patches: FloatArray | None, windows: FloatArray | None) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,) of patches (n, C, P, P) and windows (n, N, V), physical units."""
        return self.learned.probability(self.features.compute(patches, windows))

    def whole(self) -> WholeGraph:
        """Return features and model as one graph; a cell's own view takes patches of one cell.

        Raises InputError without factors, which a map needs, and BundleError where the graph differs from
        `predict` by more than 1e-4 on training rows.
        """
        features = self.features
        if not features.factors:
            raise InputError(
                f"{self.title} saw no factors, so it has no map: a bundle needs at least one factor of its "
                "region. Give the dataset patches, or judge this model without serving it"
            )
        patch = 1 if features.view == "cell" else features.patch
        variables, days = features.variables, features.window_days
        if not variables:
            variables, days = (_NO_WINDOW,), _NO_WINDOW_DAYS
        graph = GraphBuilder()
        value = self.learned.add_to(graph, features.add_to(graph, patch))
        graph.add("Reshape", value, graph.integers([-1]), output="susceptibility")
        model = graph.model(
            "whole",
            [
                port("patches", ["n", len(features.factors), patch, patch]),
                port("window", ["n", days, len(variables)]),
            ],
            [port("susceptibility", ["n"])],
        )
        self._prove(model.SerializeToString(), patch, days, len(variables))
        used = dict(zip(("patches", "window"), features.uses, strict=True))
        ignores: tuple[Input, ...] = tuple(name for name in self._inputs if not used[name])
        return WholeGraph(model, features.factors, variables, patch, days, ignores)

    _inputs: ClassVar[tuple[Input, ...]] = ("patches", "window")

    def _prove(self, graph: bytes, patch: int, days: int, width: int) -> None:
        session = make_session(graph, f"the graph of {self.title}")
        step = -(-len(self.train) // _PROOF_ROWS)
        worst = 0.0
        for _, patches, windows in self.data.batches(self.train[::step]):
            if patches is None:
                raise RuntimeError("a model with factors was fitted on patches")
            start = (patches.shape[-1] - patch + 1) // 2
            given = {
                "patches": patches[:, :, start : start + patch, start : start + patch].copy(),
                "window": np.zeros((len(patches), days, width), np.float32) if windows is None else windows,
            }
            found = session.run(None, given)[0]
            difference = float(np.abs(found - self.predict(patches, windows)).max())
            worst = max(worst, difference if np.isfinite(difference) else np.inf)
        if not worst <= TOLERANCE:
            raise BundleError(
                f"the graph of {self.title} differs from its Python form by {worst:.2g} on training samples "
                f"(at most {TOLERANCE:g} is allowed); the conversion of this model is wrong, do not serve it"
            )


def cross_entropy(label: npt.NDArray[np.int64], probability: npt.NDArray[np.float64]) -> float:
    """Return the mean cross-entropy, probabilities held 1e-7 away from 0 and 1."""
    held = np.clip(probability, 1e-7, 1 - 1e-7)
    return float(-np.mean(np.where(label == 1, np.log(held), np.log1p(-held))))


def _check_classes(label: npt.NDArray[np.int64], part: str, why: str = "") -> None:
    positives = int(label.sum())
    if not 0 < positives < len(label):
        raise InputError(
            f"the {part} rows are of one class only: {positives} landslides among {len(label)} samples{why}; "
            "check the inventory, the sampling and the split"
        )
