"""What a model is to the trainer: a recipe that fits, and what it gives: predictions and a graph.

    Recipe(**hyperparameters).fit(data, train, validation, job) -> Fitted
    Fitted.predict(patches, windows) -> susceptibility (n,), before any calibration
    Fitted.whole() -> the model as one ONNX graph; networks that are a CnnLstm leave factored as well

One file of this package is one model; its module attribute RECIPE is the class. Everything fitted (scaling,
categories, feature choice, grid search) sees `train` rows alone; `validation` rows choose an epoch or a grid
point. Test rows are never given to a recipe.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import onnx
from pydantic import BaseModel, ConfigDict

from service.manifest import FactorSpec, VariableSpec
from trainer.dataset import Dataset, FloatArray, Indices

Input = Literal["patches", "window"]


@dataclass(frozen=True)
class Job:
    """The circumstances of one fit; nothing here but `seed` may change what comes of it on one machine."""

    seed: int = 0
    threads: int = 1
    checkpoint: Path | None = None  # folder for what survives a kill; None: start over after one
    progress: Callable[[int, int], None] | None = None  # steps done and in all
    device: Literal["auto", "cpu", "cuda"] = "auto"
    mixed_precision: bool = False  # on CUDA alone


@dataclass(frozen=True)
class Epoch:
    """One epoch of a training curve, counted from 1; losses are mean cross-entropy without penalties."""

    epoch: int
    train: float
    validation: float


@dataclass(frozen=True)
class WholeGraph:
    """A model as one graph: `patches` float32 (n, C, P, P), `window` (n, N, V) -> `susceptibility` (n,).

    Physical units in, scaling inside. `ignores` names inputs that the graph declares but does not use.
    """

    graph: onnx.ModelProto
    factors: tuple[FactorSpec, ...]  # with the ranges of the training part
    variables: tuple[VariableSpec, ...]
    patch: int  # 1 for a model that sees its own cell alone
    window_days: int
    ignores: tuple[Input, ...] = ()


class Fitted(ABC):
    """A fitted model."""

    history: tuple[Epoch, ...] = ()  # empty for models without epochs
    best_epoch: int | None = None

    @property
    def chosen(self) -> dict[str, str]:
        """What a grid search chose, in words; empty without one."""
        return {}

    @abstractmethod
    def predict(self, patches: FloatArray | None, windows: FloatArray | None) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,), 0 to 1, of patches (n, C, P, P), windows (n, N, V), physical units."""

    @abstractmethod
    def whole(self) -> WholeGraph:
        """Return the model as one graph; its float output equals `predict` to 1e-4."""


class Recipe(BaseModel, ABC):
    """A model with its hyperparameters; the defaults are the paper's where it states them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: ClassVar[str]  # as in files and settings
    title: ClassVar[str]  # as in tables and legends
    source: ClassVar[str]  # author, year
    sees: ClassVar[tuple[Input, ...]]  # inputs it can use; it fits where at least one of them is there
    # Hyperparameters that no source states: name -> why this value.
    assumed: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def fit(self, data: Dataset, train: Indices, validation: Indices, job: Job) -> Fitted:
        """Fit on `train` rows; `validation` rows choose an epoch or a grid point.

        The same data, rows, recipe and seed give the same model on one machine's CPU. Raises InputError for
        rows of one class only, a constant factor, NaN.
        """


def predict_rows(fitted: Fitted, data: Dataset, rows: Indices, size: int = 256) -> npt.NDArray[np.float64]:
    """Return susceptibility (len(rows),) of some samples, read batch by batch."""
    parts = [fitted.predict(patches, windows) for _, patches, windows in data.batches(rows, size)]
    return np.concatenate(parts) if parts else np.zeros(0)
