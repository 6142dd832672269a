"""The training loop: Adam, binary cross-entropy, the epoch with the least validation loss."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from service.errors import InputError
from service.manifest import FactorSpec, VariableName, VariableSpec
from trainer.networks.cnn_lstm import CnnLstm, on_threads
from trainer.rain_test import embed, rain_variable, scale_rain, scale_storm

ASSUMED = (
    "L2 0.01: the sum of squares of the kernels of the two hidden dense layers, added to the loss as Keras' "
    "kernel_regularizer does (the paper gives the rate, not the place; on the LSTM's input kernels too it "
    "shrinks them until rain no longer counts)",
    "validation loss: cross-entropy alone, without the L2 term",
)
# Where the L2 term applies. On 600 synthetic samples of slope and rain the held-out AUC is 0.87 with these,
# 0.74 (slope alone) when convolutions and LSTM inputs are penalised as well, 0.90 without any.
L2_ON = ("dense_spatial", "dense_temporal", "dense2")

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FitSettings:
    """How to train. The defaults are the paper's."""

    epochs: int = 50
    batch: int = 32
    learning_rate: float = 0.001
    l2: float = 0.01
    l2_on: tuple[str, ...] = L2_ON  # modules whose kernels (no biases, no recurrent weights) are penalised
    frozen: tuple[str, ...] = ()  # modules that stay as they are, such as ("spatial", "dense_spatial")
    rain_penalty: float = 0.0  # weight of the hinge on heavier rain that lowers the logit; 0 leaves it out
    seed: int = 0
    threads: int = 1  # sums are grouped by thread: with one, the weights do not depend on the machine's cores


@dataclass(frozen=True)
class FitSamples:
    """Labelled samples. A place is a patch or its ready spatial embedding; without windows it is CNN-only.

    Arrays may be memory-mapped: a batch is read when it is used.
    """

    labels: FloatArray  # (n,) 1 landslide, 0 none
    windows: FloatArray | None = None  # (n, N, V) physical units
    patches: FloatArray | None = None  # (n, C, P, P) physical units
    embeddings: FloatArray | None = None  # (n, S), as `trainer.rain_test.embed` makes them
    weights: FloatArray | None = None  # (n,) of each sample in the loss; None: all 1

    def __post_init__(self) -> None:
        if (self.patches is None) == (self.embeddings is None):
            raise InputError("samples need either patches or spatial embeddings, not both")
        for name in ("windows", "patches", "embeddings", "weights"):
            value = getattr(self, name)
            if value is not None and len(value) != len(self.labels):
                raise InputError(f"{len(self.labels)} labels, but {len(value)} {name}")

    def __len__(self) -> int:
        return len(self.labels)


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


class FactorLike(Protocol):
    """What `fit_ranges` needs to know of a factor; `service.factor_stack.FactorBand` is one."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def log(self) -> bool: ...
    @property
    def categories(self) -> dict[int, str] | None: ...


class VariableLike(Protocol):
    """What `fit_ranges` needs to know of a variable; a VariableSpec is one."""

    @property
    def name(self) -> VariableName: ...
    @property
    def unit(self) -> str: ...
    @property
    def log(self) -> bool: ...
    @property
    def unlinked(self) -> float: ...


def fit(
    model: CnnLstm,
    train: FitSamples,
    validation: FitSamples,
    settings: FitSettings | None = None,
    *,
    progress: Callable[[EpochLosses], None] | None = None,
) -> FitResult:
    """Train a model in place; it ends with the weights of the epoch with the least validation loss.

    Only what the samples reach is trained: with embeddings the convolutions stay, without windows the LSTM
    stays. A frozen module keeps its weights and its batch norm statistics; with "spatial" frozen, patches
    are embedded once. The same model, samples and settings give the same weights.

    Raises InputError for samples with NaN, for no samples, and when training and validation are of two kinds.
    """
    settings = settings or FitSettings()
    if not len(train) or not len(validation):
        raise InputError(f"{len(train)} training and {len(validation)} validation samples; both need some")
    if (train.windows is None) != (validation.windows is None):
        raise InputError("training and validation samples must both have windows, or neither")
    if settings.rain_penalty and train.windows is None:
        raise InputError("a rain penalty needs windows")
    if "spatial" in settings.frozen:
        train, validation = _embedded(model, train), _embedded(model, validation)
    with _repeatable(settings):
        return _loop(model, train, validation, settings, progress)


def fit_ranges(
    factors: Sequence[FactorLike],
    variables: Sequence[VariableLike],
    patches: FloatArray,
    windows: FloatArray,
) -> tuple[tuple[FactorSpec, ...], tuple[VariableSpec, ...]]:
    """Return factors and variables with the ranges of the training part, in the order given.

    patches (n, C, P, P), windows (n, N, V): of the training part alone, or the test part would leak into
    the scaling. Categories are those seen in training. Raises InputError for NaN, a constant factor or
    variable, a code without a name.
    """
    if not len(patches) or not len(windows):
        raise InputError("ranges need at least one training patch and one training window")
    specs = []
    for index, factor in enumerate(factors):
        where = f"factor {factor.name!r} of the training patches"
        if factor.categories is not None:
            codes = _codes(patches[:, index], where)
            unnamed = sorted(set(codes) - set(factor.categories))
            if unnamed:
                raise InputError(f"{where} has codes without a name: {', '.join(map(str, unnamed))}")
            named = {code: factor.categories[code] for code in codes}
            specs.append(FactorSpec(name=factor.name, unit=factor.unit, categories=named))
        else:
            low, high = _range(patches[:, index], where)
            specs.append(
                FactorSpec(name=factor.name, unit=factor.unit, log=factor.log, minimum=low, maximum=high)
            )
    ranged = []
    for index, variable in enumerate(variables):
        low, high = _range(windows[:, :, index], f"variable {variable.name!r} of the training windows")
        ranged.append(
            VariableSpec(
                name=variable.name,
                unit=variable.unit,
                log=variable.log,
                minimum=low,
                maximum=high,
                unlinked=variable.unlinked,
            )
        )
    return tuple(specs), tuple(ranged)


def _loop(
    model: CnnLstm,
    train: FitSamples,
    validation: FitSamples,
    settings: FitSettings,
    progress: Callable[[EpochLosses], None] | None,
) -> FitResult:
    trained = _trained_parameters(model, train, settings.frozen)
    kernels = [p for name, p in trained.items() if _is_kernel(name, settings.l2_on)]
    optimiser = torch.optim.Adam(trained.values(), lr=settings.learning_rate)
    random = np.random.default_rng(settings.seed)
    history: list[EpochLosses] = []
    best, best_weights, steps = float("inf"), copy.deepcopy(model.state_dict()), 0
    for epoch in range(1, settings.epochs + 1):
        _set_training(model, settings.frozen)
        total, weight = 0.0, 0.0
        for rows in _batches(random.permutation(len(train)), settings.batch):
            batch = _batch(train, rows)
            cross_entropy = _cross_entropy(_logits(model, batch), batch)
            loss = cross_entropy
            if kernels and settings.l2:
                loss = loss + settings.l2 * torch.stack([kernel.square().sum() for kernel in kernels]).sum()
            if settings.rain_penalty:
                loss = loss + settings.rain_penalty * _rain_penalty(model, batch, random)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            steps += 1
            total += float(cross_entropy.detach()) * float(batch.weights.sum())
            weight += float(batch.weights.sum())
        losses = EpochLosses(epoch, total / weight, validation_loss(model, validation, settings.batch))
        history.append(losses)
        if losses.validation < best:
            best, best_weights = losses.validation, copy.deepcopy(model.state_dict())
        if progress:
            progress(losses)
    if not np.isfinite(best):
        raise InputError("the validation loss was never a number; check the ranges and the samples")
    model.load_state_dict(best_weights)
    model.eval()
    best_epoch = next(losses.epoch for losses in history if losses.validation == best)
    return FitResult(tuple(history), best_epoch, best, steps)


def validation_loss(model: CnnLstm, samples: FitSamples, rows: int = 256) -> float:
    """Return the weighted mean cross-entropy of samples, outside training."""
    model.eval()
    total, weight = 0.0, 0.0
    with torch.no_grad():
        for chosen in _batches(np.arange(len(samples)), rows):
            batch = _batch(samples, chosen)
            total += float(_cross_entropy(_logits(model, batch), batch)) * float(batch.weights.sum())
            weight += float(batch.weights.sum())
    return total / weight


@dataclass(frozen=True)
class _Batch:
    labels: Tensor
    weights: Tensor
    windows: Tensor | None
    patches: Tensor | None
    embeddings: Tensor | None


def _batch(samples: FitSamples, rows: npt.NDArray[np.int64]) -> _Batch:
    def take(values: FloatArray, name: str) -> Tensor:
        chosen = np.array(values[rows], dtype=np.float32)
        bad = ~np.isfinite(chosen.reshape(len(rows), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                f"{name} of sample {int(rows[bad][0])} hold NaN or infinity; leave the sample out"
            )
        return torch.from_numpy(chosen)

    ones = np.ones(len(samples), np.float32) if samples.weights is None else samples.weights
    return _Batch(
        take(samples.labels, "labels"),
        take(ones, "weights"),
        None if samples.windows is None else take(samples.windows, "windows"),
        None if samples.patches is None else take(samples.patches, "patches"),
        None if samples.embeddings is None else take(samples.embeddings, "embeddings"),
    )


def _logits(model: CnnLstm, batch: _Batch) -> Tensor:
    embedding = _embedding(model, batch)
    if batch.windows is None:
        return model.logits_spatial(embedding)
    return model.logits_from_embedding(embedding, batch.windows)


def _embedding(model: CnnLstm, batch: _Batch) -> Tensor:
    if batch.patches is not None:
        return model.embed(batch.patches)
    if batch.embeddings is None:
        raise InputError("a batch needs patches or embeddings")
    return batch.embeddings


def _cross_entropy(logits: Tensor, batch: _Batch) -> Tensor:
    losses = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum().clamp_min(1e-12)


def _rain_penalty(model: CnnLstm, batch: _Batch, random: np.random.Generator) -> Tensor:
    """Return the mean fall of the logit from lighter to heavier rain, on every other sample of the batch.

    The two ways of the rain test take turns. Dropout is off here: its noise would be punished as a fall.
    """
    if batch.windows is None:
        raise InputError("a rain penalty needs windows")
    rain, maximum = rain_variable(model.inputs.variables)
    half = batch.windows[::2].numpy()
    # Cubed: the curve bends most near a scale of 0, where a storm appears at all.
    lighter, heavier = np.sort((3 * random.random((2, len(half))) ** 3).astype(np.float32), axis=0)
    if random.random() < 0.5:
        light, heavy = scale_rain(half, rain, lighter), scale_rain(half, rain, heavier)
    else:
        light, heavy = (scale_storm(half, rain, scale * maximum) for scale in (lighter, heavier))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # The place is given here, not judged: only what rain does to it is.
        with torch.no_grad():
            places = _embedding(model, batch)[::2]
        below = model.logits_from_embedding(places, torch.from_numpy(light))
        above = model.logits_from_embedding(places, torch.from_numpy(heavy))
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.relu(below - above).mean()


def _trained_parameters(
    model: CnnLstm, samples: FitSamples, frozen: Sequence[str]
) -> dict[str, nn.Parameter]:
    for name in frozen:
        model.get_submodule(name)  # an unknown name raises here, not silently trains on
    left_out = [f"{name}." for name in frozen]
    if samples.patches is None:
        left_out.append("spatial.")
    if samples.windows is None:
        left_out += ["temporal.", "dense_temporal.weight"]
    chosen = {name: p for name, p in model.named_parameters() if not name.startswith(tuple(left_out))}
    if not chosen:
        raise InputError("everything is frozen; there is nothing to train")
    return chosen


def _set_training(model: CnnLstm, frozen: Sequence[str]) -> None:
    model.train()
    for name in frozen:
        model.get_submodule(name).eval()


def _is_kernel(name: str, modules: Sequence[str]) -> bool:
    inside = any(name.startswith(f"{module}.") for module in modules)
    return inside and name.endswith((".weight", ".weight_ih_l0"))


def _embedded(model: CnnLstm, samples: FitSamples) -> FitSamples:
    if samples.patches is None:
        return samples
    for rows in _batches(np.arange(len(samples)), 256):
        _batch(samples, rows)  # names the sample that holds NaN
    return replace(samples, patches=None, embeddings=embed(model, samples.patches))


def _batches(order: npt.NDArray[np.int64], size: int) -> list[npt.NDArray[np.int64]]:
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        # Batch norm has no variance of one sample.
        last = batches.pop()
        batches[-1] = np.concatenate([batches[-1], last])
    return batches


def _range(values: FloatArray, where: str) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{where} holds NaN or infinity; leave those samples out")
    if low == high:
        raise InputError(f"{where} is {low} everywhere; leave it out")
    return low, high


def _codes(values: FloatArray, where: str) -> list[int]:
    found = np.unique(values)
    if not np.isfinite(found).all() or (found != np.rint(found)).any():
        raise InputError(f"{where} holds values that are not whole codes: {found[:5].tolist()}")
    return [int(code) for code in found]


@contextmanager
def _repeatable(settings: FitSettings) -> Iterator[None]:
    strict = torch.are_deterministic_algorithms_enabled()
    with torch.random.fork_rng(devices=[]), on_threads(settings.threads):
        torch.manual_seed(settings.seed)
        torch.use_deterministic_algorithms(True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
