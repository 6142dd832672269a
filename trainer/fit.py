"""The training loop: an optimiser, binary cross-entropy, the epoch with the least validation loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from service.errors import InputError
from trainer.fit_augment import SYMMETRIES, check_turnable, turn
from trainer.fit_checkpoint import Checkpoint, State
from trainer.fit_losses import cross_entropy_of, rain_penalty_of
from trainer.fit_network import (
    Network,
    Weights,
    device_under,
    embedding_of,
    is_kernel,
    logits_of,
    mean_weights,
    renew_norms,
    set_training,
    trained_parameters,
    weights_of,
)
from trainer.fit_optimiser import (
    DeviceName,
    OptimiserName,
    Schedule,
    device_of,
    optimiser_of,
    rate_share,
    set_rate,
)
from trainer.fit_ranges import fit_ranges
from trainer.fit_samples import ROWS_AT_ONCE, Batch, FitSamples, batches, read_batch, reading
from trainer.networks.cnn_dnn import CnnDnn
from trainer.networks.cnn_lstm import CnnLstm, on_threads

ASSUMED = (
    "L2 0.01: the sum of squares of the kernels of the two hidden dense layers, added to the loss as Keras' "
    "kernel_regularizer does (the paper gives the rate, not the place; on the LSTM's input kernels too it "
    "shrinks them until rain no longer counts)",
    "validation loss: cross-entropy alone, without the L2 term",
)
# Where the L2 term applies. On 600 synthetic samples of slope and rain the held-out AUC is 0.87 with these,
# 0.74 (slope alone) when convolutions and LSTM inputs are penalised as well, 0.90 without any.
L2_ON = ("dense_spatial", "dense_temporal", "dense2")


class DivergedError(InputError):
    """The loss was never a number."""


@dataclass(frozen=True)
class FitSettings:
    """How to train. The defaults are the paper's (Teng et al. 2026); what it does not have is off."""

    epochs: int = 50
    batch: int = 32
    learning_rate: float = 0.001
    l2: float = 0.01
    l2_on: tuple[str, ...] = L2_ON  # modules whose kernels (no biases, no recurrent weights) are penalised
    frozen: tuple[str, ...] = ()  # modules that stay as they are, such as ("spatial", "dense_spatial")
    rain_penalty: float = 0.0  # weight of the hinge on heavier rain that lowers the logit; 0 leaves it out
    seed: int = 0
    threads: int = 1  # sums are grouped by thread: with one, the weights do not depend on the machine's cores
    optimiser: OptimiserName = "adam"
    schedule: Schedule = "constant"  # of the learning rate over all epochs
    patience: int | None = None  # epochs without a lesser validation loss before it ends; None: never
    augment: Literal["none", "square"] = "none"  # "square": each patch under a random symmetry of the square
    average_epochs: int = 1  # an epoch is judged by the mean weights of so many epochs; 1: by its own
    device: DeviceName = "cpu"
    mixed_precision: bool = False  # bfloat16 where it does no harm; on CUDA alone


@dataclass(frozen=True)
class EpochLosses:
    """Losses of one epoch, counted from 1; both are mean cross-entropy, without L2 and penalties."""

    epoch: int
    train: float
    validation: float


@dataclass(frozen=True)
class FitResult:
    """What came of a training; the model itself holds the weights of `best_epoch`."""

    history: tuple[EpochLosses, ...]
    best_epoch: int
    best_validation: float
    steps: int  # of the optimiser


def fit(
    model: Network,
    train: FitSamples,
    validation: FitSamples,
    settings: FitSettings | None = None,
    *,
    progress: Callable[[EpochLosses], None] | None = None,
    checkpoint: Checkpoint | None = None,
) -> FitResult:
    """Train a model in place; it ends with the weights of the epoch with the least validation loss.

    Only what the samples reach is trained: with embeddings the convolutions stay, without windows the LSTM
    stays. A frozen module keeps its weights and its batch norm statistics; with "spatial" frozen, patches
    are embedded once. The same model, samples and settings give the same weights on a CPU; with a checkpoint
    also where the run was killed and started again, and `progress` then hears of the epochs still to do.

    Raises InputError for samples with NaN, for no samples, when training and validation are of two kinds and
    for factors that cannot be turned; DivergedError where the validation loss never was a number;
    SettingsError for a device that is not there.
    """
    settings = settings or FitSettings()
    _check(model, train, validation, settings)
    device = device_of(settings.device, settings.mixed_precision)
    with _repeatable(settings, device):
        model.to(device)
        try:
            if "spatial" in settings.frozen:
                train, validation = _embedded(model, train), _embedded(model, validation)
            return _Training(model, train, validation, settings, checkpoint).run(progress)
        finally:
            model.to("cpu")


def validation_loss(model: Network, samples: FitSamples, rows: int = ROWS_AT_ONCE) -> float:
    """Return the weighted mean cross-entropy of samples, outside training."""
    model.eval()
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for batch in reading(samples, device_under(model), rows):
            total += float(cross_entropy_of(logits_of(model, batch), batch)) * float(batch.weights.sum())
            weight += float(batch.weights.sum())
    return total / weight


@dataclass
class _Training:
    """One training: everything that changes from step to step, and so what a checkpoint holds."""

    model: Network
    train: FitSamples
    validation: FitSamples
    settings: FitSettings
    checkpoint: Checkpoint | None
    history: list[EpochLosses] = field(default_factory=list)
    best: float = float("inf")
    best_weights: Weights = field(default_factory=dict)
    recent: list[Weights] = field(default_factory=list)  # of the last epochs, where they are averaged
    steps: int = 0
    fingerprint: str = ""

    def __post_init__(self) -> None:
        settings = self.settings
        trained = trained_parameters(self.model, self.train, settings.frozen)
        self.kernels = [p for name, p in trained.items() if is_kernel(name, settings.l2_on)]
        self.optimiser = optimiser_of(settings.optimiser, trained.values(), settings.learning_rate)
        self.random = np.random.default_rng(settings.seed)
        self.device = device_under(self.model)
        self.names = tuple(factor.name for factor in _factors(self.model))
        self.best_weights = weights_of(self.model)

    def run(self, progress: Callable[[EpochLosses], None] | None) -> FitResult:
        finished = self._resume()
        while not finished:
            losses = self._epoch(len(self.history) + 1)
            self.history.append(losses)
            finished = self._finished()
            if self.checkpoint is not None and (finished or self.checkpoint.due()):
                self.checkpoint.save(self.fingerprint, self._state(finished))
            if progress:
                progress(losses)
        if not np.isfinite(self.best):
            raise DivergedError(
                "the validation loss was never a number; check the ranges and the samples, or give a smaller "
                f"learning rate than {self.settings.learning_rate:g}"
            )
        self.model.load_state_dict(self.best_weights)
        self.model.eval()
        return FitResult(tuple(self.history), self._best_epoch(), self.best, self.steps)

    def _epoch(self, number: int) -> EpochLosses:
        settings = self.settings
        set_training(self.model, settings.frozen)
        total, weight = 0.0, 0.0
        order = batches(self.random.permutation(len(self.train)), settings.batch)
        for chosen in order:
            set_rate(self.optimiser, settings.learning_rate * self._rate_share(len(order)))
            batch = self._read(chosen)
            cross_entropy = cross_entropy_of(self._logits(batch), batch)
            loss = cross_entropy
            if self.kernels and settings.l2:
                squares = torch.stack([kernel.square().sum() for kernel in self.kernels])
                loss = loss + settings.l2 * squares.sum()
            if settings.rain_penalty and isinstance(self.model, CnnLstm):
                loss = loss + settings.rain_penalty * rain_penalty_of(self.model, batch, self.random)
            self.optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimiser.step()
            self.steps += 1
            total += float(cross_entropy.detach()) * float(batch.weights.sum())
            weight += float(batch.weights.sum())
        return EpochLosses(number, total / weight, self._judge())

    def _judge(self) -> float:
        """Return the epoch's validation loss, and keep its weights where it is the least so far."""
        settings, own = self.settings, None
        if settings.average_epochs > 1:
            own = weights_of(self.model)
            self.recent = [*self.recent, own][-settings.average_epochs :]
            self.model.load_state_dict(mean_weights(self.recent))
            if len(self.recent) > 1:
                renew_norms(self.model, self.train, settings.batch)
        loss = validation_loss(self.model, self.validation, settings.batch)
        if loss < self.best:
            self.best, self.best_weights = loss, weights_of(self.model)
        if own is not None:
            self.model.load_state_dict(own)
        return loss

    def _read(self, chosen: Any) -> Batch:
        batch = read_batch(self.train, chosen, self.device)
        if self.settings.augment == "none" or batch.patches is None:
            return batch
        drawn = self.random.integers(0, SYMMETRIES, len(chosen))
        turned = turn(batch.patches.cpu().numpy(), self.names, drawn)
        return replace(batch, patches=torch.from_numpy(turned).to(self.device))

    def _logits(self, batch: Batch) -> Tensor:
        if not self.settings.mixed_precision:
            return logits_of(self.model, batch)
        # bfloat16 has the range of float32: no scaling of the loss is needed.
        with torch.autocast(self.device.type, torch.bfloat16):
            return logits_of(self.model, batch)

    def _rate_share(self, steps_an_epoch: int) -> float:
        return rate_share(self.settings.schedule, self.steps, steps_an_epoch * self.settings.epochs)

    def _best_epoch(self) -> int:
        return next((one.epoch for one in self.history if one.validation == self.best), 0)

    def _finished(self) -> bool:
        patience = self.settings.patience
        waited = len(self.history) - self._best_epoch()
        return len(self.history) >= self.settings.epochs or (patience is not None and waited >= patience)

    def _resume(self) -> bool:
        """Take up what a killed run of this training left; tell whether it was finished."""
        if self.checkpoint is None:
            return False
        self.fingerprint = _fingerprint(self.model, self.train, self.validation, self.settings)
        state = self.checkpoint.load(self.fingerprint)
        if state is None:
            return False
        self.history = [EpochLosses(*losses) for losses in state["history"]]
        self.best, self.best_weights, self.steps = state["best"], state["best_weights"], state["steps"]
        if state["finished"]:
            return True
        self.recent = [
            {name: value.to(self.device) for name, value in weights.items()} for weights in state["recent"]
        ]
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.bit_generator.state = json.loads(state["numpy"])
        torch.set_rng_state(state["torch"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda"], self.device)
        return False

    def _state(self, finished: bool) -> State:
        state: State = {
            "finished": finished,
            "history": [list(astuple(losses)) for losses in self.history],
            "best": self.best,
            "best_weights": self.best_weights,
            "steps": self.steps,
        }
        if finished:
            return state
        return state | {
            "recent": self.recent,
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "numpy": json.dumps(self.random.bit_generator.state),
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }


def _check(model: Network, train: FitSamples, validation: FitSamples, settings: FitSettings) -> None:
    if not len(train) or not len(validation):
        raise InputError(f"{len(train)} training and {len(validation)} validation samples; both need some")
    if (train.windows is None) != (validation.windows is None):
        raise InputError("training and validation samples must both have windows, or neither")
    if settings.rain_penalty and (train.windows is None or isinstance(model, CnnDnn)):
        raise InputError("a rain penalty needs windows")
    if settings.augment != "none":
        if train.patches is None or "spatial" in settings.frozen:
            raise InputError(
                "augmentation turns patches; it needs some, and a spatial branch that is trained"
            )
        check_turnable([factor.name for factor in _factors(model)])


def _factors(model: Network) -> Any:
    return model.factors if isinstance(model, CnnDnn) else model.inputs.factors


def _embedded(model: Network, samples: FitSamples) -> FitSamples:
    """Return the samples with ready embeddings, made as `trainer.rain_test.embed` does."""
    if samples.patches is None:
        return samples
    model.eval()
    order, parts = np.arange(len(samples)), []
    with torch.no_grad():
        for start in range(0, len(order), ROWS_AT_ONCE):
            batch = read_batch(samples, order[start : start + ROWS_AT_ONCE], device_under(model))
            parts.append(embedding_of(model, batch).cpu().numpy())
    return samples.embedded(np.concatenate(parts))


def _fingerprint(model: Network, train: FitSamples, validation: FitSamples, settings: FitSettings) -> str:
    """Return the SHA-256 of all that a training depends on: settings, network, samples, kind of device."""
    # Neither dropout nor how factors and variables are scaled is among the weights.
    masks = [(name, getattr(module, "p", None), getattr(module, "recurrent_dropout", None))
             for name, module in model.named_modules()]  # fmt: skip
    seen = model.factors if isinstance(model, CnnDnn) else model.inputs
    described = (torch.__version__, device_under(model).type, settings, seen, masks)
    digest = hashlib.sha256(repr(described).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode() + value.cpu().numpy().tobytes())
    digest.update(f"{train.digest()} {validation.digest()}".encode())
    return digest.hexdigest()


@contextmanager
def _repeatable(settings: FitSettings, device: torch.device) -> Iterator[None]:
    strict = torch.are_deterministic_algorithms_enabled()
    memory: Any = torch.utils.deterministic
    filled = memory.fill_uninitialized_memory
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), on_threads(settings.threads):
        torch.manual_seed(settings.seed)
        # On CUDA pooling has no repeatable gradient.
        torch.use_deterministic_algorithms(device.type == "cpu")
        # Every array is written before it is read; filling them first takes a tenth of the time.
        memory.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            memory.fill_uninitialized_memory = filled


__all__ = [
    "ASSUMED",
    "L2_ON",
    "Checkpoint",
    "DivergedError",
    "EpochLosses",
    "FitResult",
    "FitSamples",
    "FitSettings",
    "fit",
    "fit_ranges",
    "validation_loss",
]
