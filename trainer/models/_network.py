"""What the networks share as models: hyperparameters of the training, one way to fit, one way to predict."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field

from service.errors import BundleError, InputError
from service.manifest import FactorSpec, VariableSpec
from service.proof import random_factors
from service.runtime import make_session
from trainer.dataset import Dataset, FloatArray, Indices
from trainer.fit import Checkpoint, EpochLosses, FitResult, FitSamples, FitSettings, fit
from trainer.fit_network import Network
from trainer.fit_optimiser import OptimiserName, Schedule
from trainer.models._ranges import ranges_of
from trainer.models.base import Epoch, Fitted, Input, Job, Recipe, WholeGraph
from trainer.networks.cnn_lstm import (
    DROPOUT,
    RECURRENT_DROPOUT,
    SMALLEST_PATCH,
    CnnLstm,
    Inputs,
    on_threads,
)
from trainer.networks.whole import whole_graph

# Declared where a dataset has no windows, because a bundle's window has at least one variable.
NO_WINDOW = (VariableSpec(name="rain", unit="mm", minimum=0.0, maximum=1.0),)
NO_WINDOW_DAYS = 30
# Stands for the place where a dataset has none; never leaves as a graph.
_NO_PLACE = (FactorSpec(name="none", unit="", minimum=0.0, maximum=1.0),)
_ROWS = 256
_PROOF_ROWS = 32  # of random inputs, for a traced graph
TOLERANCE = 1e-4  # of susceptibility, between a graph and its network

Module = Literal["spatial", "temporal", "dense_spatial", "dense_temporal", "dense2"]

ASSUMED = {
    "l2_on": "the paper gives the rate of L2 and not its place; here the kernels of the dense layers",
    "dropout": "the paper gives the rate and not its place; here after each of the two dense layers",
    "schedule, patience": "a constant learning rate and all epochs, since the paper names neither",
}


class NetworkRecipe(Recipe):
    """The hyperparameters of Teng et al. 2026; what the paper does not have is off."""

    epochs: Annotated[int, Field(ge=1)] = 50
    batch: Annotated[int, Field(ge=2)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    dropout: Annotated[float, Field(ge=0, lt=1)] = DROPOUT
    l2: Annotated[float, Field(ge=0)] = 0.01
    l2_on: tuple[Module, ...] = ("dense_spatial", "dense_temporal", "dense2")
    optimiser: OptimiserName = "adam"
    schedule: Schedule = "constant"
    patience: Annotated[int, Field(ge=1)] | None = None  # epochs without a lesser validation loss
    average_epochs: Annotated[int, Field(ge=1)] = 1  # epochs whose weights are averaged; 1: none
    class_weight: Literal["none", "balanced"] = "none"  # "balanced": both classes count the same

    def settings(self, job: Job) -> FitSettings:
        """Return how to train."""
        return FitSettings(
            epochs=self.epochs,
            batch=self.batch,
            learning_rate=self.learning_rate,
            l2=self.l2,
            l2_on=self.l2_on,
            seed=job.seed,
            threads=job.threads,
            optimiser=self.optimiser,
            schedule=self.schedule,
            patience=self.patience,
            average_epochs=self.average_epochs,
            device=job.device,
            mixed_precision=job.mixed_precision,
        )

    def network(self, inputs: Inputs, seed: int) -> CnnLstm:
        """Return the network before training."""
        return CnnLstm(inputs, seed=seed, dropout=self.dropout, recurrent_dropout=RECURRENT_DROPOUT)

    def fit(self, data: Dataset, train: Indices, validation: Indices, job: Job) -> Fitted:
        """Fit on `train` rows; the weights are those of the epoch with the least loss on `validation` rows.

        Ranges and categories come of `train` rows alone. Patches stay on disk. Raises InputError for rows of
        one class only, fewer training rows than a batch, NaN, a constant factor, a patch below 22 cells.
        """
        check_rows(data, train, validation, self.batch)
        inputs = self._inputs(data, train)
        model = self.network(inputs, job.seed)
        silent = tuple(branch for branch in _BRANCHES if branch not in self.sees)
        frozen = _silence(model, silent)
        result = run_fit(
            model,
            self._samples(data, train, inputs),
            self._samples(data, validation, inputs),
            replace(self.settings(job), frozen=frozen),
            job,
        )
        return NetworkFitted(
            network=model,
            sees=self.sees,
            title=self.title,
            history=epochs_of(result),
            best_epoch=result.best_epoch,
            threads=job.threads,
            placed=inputs.factors is not _NO_PLACE,
        )

    def _inputs(self, data: Dataset, train: Indices) -> Inputs:
        for name, values in (("patches", data.patches), ("window", data.windows)):
            if name in self.sees and values is None:
                missing = "patches" if name == "patches" else "windows"
                raise InputError(
                    f"{self.title} sees {missing}, but the dataset has none; leave the model out"
                )
        if "patches" in self.sees and data.patch < SMALLEST_PATCH:
            raise InputError(
                f"{self.title} needs patches of at least {SMALLEST_PATCH} cells, not of {data.patch}: three "
                "unpadded blocks leave nothing of them; set a larger patch"
            )
        factors, variables = ranges_of(data, train, "patch")
        days, patch = data.window_days, data.patch
        if not variables:
            variables, days = NO_WINDOW, NO_WINDOW_DAYS
        if not factors or patch < SMALLEST_PATCH:
            factors, patch = _NO_PLACE, SMALLEST_PATCH
        return Inputs(factors, variables, patch, days)

    def _samples(self, data: Dataset, rows: Indices, inputs: Inputs) -> FitSamples:
        label = data.label[rows]
        nowhere = None
        if "patches" not in self.sees:
            # One row of zeros, seen as many: a place that says nothing.
            nowhere = np.broadcast_to(
                np.zeros((1, inputs.embedding), np.float32), (len(data), inputs.embedding)
            )
        return FitSamples(
            label.astype(np.float32),
            windows=data.windows if "window" in self.sees else None,
            patches=data.patches if "patches" in self.sees else None,
            embeddings=nowhere,
            weights=balanced(label) if self.class_weight == "balanced" else None,
            rows=rows,
        )


@dataclass(frozen=True)
class NetworkFitted(Fitted):
    """A fitted CnnLstm, or the half of it that its model has."""

    network: CnnLstm
    sees: tuple[Input, ...]
    title: str
    threads: int
    placed: bool  # whether the factors are those of the dataset
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    def predict(self, patches: FloatArray | None, windows: FloatArray | None) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,) of patches (n, C, P, P) and windows (n, N, V), physical units.

        What the model does not see may be None. Raises InputError where an input that it sees is.
        """
        given = {"patches": patches, "window": windows}
        for name in self.sees:
            if given[name] is None:
                raise InputError(f"{self.title} needs {name} to predict")
        seen = [np.asarray(given[name]) for name in self.sees]
        self.network.eval()
        parts = []
        with torch.inference_mode(), on_threads(self.threads):
            for start in range(0, len(seen[0]), _ROWS):
                tensors = [torch.from_numpy(np.array(v[start : start + _ROWS], np.float32)) for v in seen]
                parts.append(torch.sigmoid(self._logits(dict(zip(self.sees, tensors, strict=True)))).numpy())
        return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)

    @property
    def ignores(self) -> tuple[Input, ...]:
        """The inputs that it declares and does not use."""
        return tuple(branch for branch in _BRANCHES if branch not in self.sees)

    def whole(self) -> WholeGraph:
        """Return the network as one graph. Raises InputError without factors, which a layer's cells need."""
        return self._whole

    @cached_property
    def _whole(self) -> WholeGraph:  # tracing 30 days of an LSTM takes seconds
        if not self.placed:
            raise InputError(
                f"{self.title} was fitted without factors, or on patches below {SMALLEST_PATCH} cells, so it "
                "cannot be served: a layer is made of cells with factors, though this model ignores them. "
                "Fit it on a dataset with patches, or judge it without serving it"
            )
        graph, inputs = whole_graph(self.network), self.network.inputs
        whole = WholeGraph(
            graph, inputs.factors, inputs.variables, inputs.patch, inputs.window_days, self.ignores
        )
        prove_traced(whole, self, self.title)
        return whole

    def _logits(self, given: dict[Input, torch.Tensor]) -> torch.Tensor:
        if "patches" not in given:
            window = given["window"]
            nowhere = window.new_zeros(len(window), self.network.inputs.embedding)
            return self.network.logits_from_embedding(nowhere, window)
        embedding = self.network.embed(given["patches"])
        if "window" not in given:
            return self.network.logits_spatial(embedding)
        return self.network.logits_from_embedding(embedding, given["window"])


_BRANCHES: tuple[Input, ...] = ("patches", "window")
_HALF: dict[Input, str] = {"patches": "dense_spatial", "window": "dense_temporal"}


def check_rows(data: Dataset, train: Indices, validation: Indices, batch: int) -> None:
    """Raise InputError for rows of one class only, or fewer training rows than a batch."""
    for part, rows in (("training", train), ("validation", validation)):
        positives = int(data.label[rows].sum())
        if not 0 < positives < len(rows):
            raise InputError(
                f"the {part} rows are of one class only: {positives} landslides among {len(rows)} samples; "
                "check the inventory, the sampling and the split"
            )
    if len(train) < batch:
        raise InputError(
            f"{len(train)} training samples are fewer than one batch of {batch}; give more samples or a "
            "smaller batch"
        )


def run_fit(
    model: Network, train: FitSamples, validation: FitSamples, settings: FitSettings, job: Job
) -> FitResult:
    """Fit a network under a job's circumstances: its progress, and its checkpoint where it has one."""

    def tell(losses: EpochLosses) -> None:
        if job.progress is not None:
            job.progress(losses.epoch, settings.epochs)

    checkpoint = None if job.checkpoint is None else Checkpoint(job.checkpoint)
    return fit(model, train, validation, settings, progress=tell, checkpoint=checkpoint)


def prove_traced(whole: WholeGraph, fitted: Fitted, title: str) -> None:
    """Raise BundleError where a traced graph is not its network, on random inputs within the ranges."""
    random = np.random.default_rng(0)
    patches = np.stack([random_factors(whole.factors, whole.patch, random) for _ in range(_PROOF_ROWS)])
    low, high = (np.array([getattr(v, end) for v in whole.variables]) for end in ("minimum", "maximum"))
    shares = random.random((_PROOF_ROWS, whole.window_days, len(low)))
    windows = (low + shares * (high - low)).astype(np.float32)
    session = make_session(whole.graph.SerializeToString(), f"the graph of {title}")
    found = session.run(None, {"patches": patches, "window": windows})[0]
    worst = float(np.abs(found - fitted.predict(patches, windows)).max())
    if not worst <= TOLERANCE:
        raise BundleError(
            f"the graph of {title} differs from its network by {worst:.2g} on random inputs (at most "
            f"{TOLERANCE:g} is allowed); the tracing went wrong, do not serve it"
        )


def epochs_of(result: FitResult) -> tuple[Epoch, ...]:
    """Return the training curve."""
    return tuple(Epoch(losses.epoch, losses.train, losses.validation) for losses in result.history)


def balanced(label: npt.NDArray[np.int64]) -> FloatArray:
    """Return weights (n,) under which both classes count the same, with mean 1."""
    share = float(label.mean())
    return np.asarray(np.where(label == 1, 0.5 / share, 0.5 / (1 - share)), np.float32)


def _silence(model: CnnLstm, branches: tuple[Input, ...]) -> tuple[str, ...]:
    """Set a branch's half of the first dense layer to zero; return what must stay frozen for it.

    Without windows the loop leaves the temporal half alone by itself, and trains its bias.
    """
    for branch in branches:
        torch.nn.init.zeros_(model.get_submodule(_HALF[branch]).get_parameter("weight"))
    return ("dense_spatial",) if "patches" in branches else ()
