"""Training a detector: AdamW, the epoch that is best on VALIDATION data, and a state that survives a kill.

The published reference chose its checkpoint on training data; here no such choice can be written: epochs are
compared by `fit_validation.better`, which sees validation scores, and patches of the validation part that
turn up in the training part are refused or left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog
import torch
from torch import nn

from service.detection.bands import Radiometry
from service.detection.manifest import BandStatistics
from service.errors import InputError, UsageError
from service.files import digest_of, write_json
from service.progress import ProgressCallback
from trainer.detection.data import Elevation, PatchSet
from trainer.detection.fit_batches import Batch, Indices, digests_of, steps_of, training_batches
from trainer.detection.fit_network import DetectorNetwork, MovingAverage, Weights, weights_of
from trainer.detection.fit_schedule import share_of_rate
from trainer.detection.fit_validation import ChosenBy, EpochScores, better, validate
from trainer.detection.losses import LossName, loss_of
from trainer.detection.networks import build, spec_of
from trainer.detection.plain_unet import PUBLISHED_BASE
from trainer.detection.pretrained import words_of
from trainer.detection.statistics import fit_statistics
from trainer.detection.threshold import Chosen
from trainer.fit_checkpoint import Checkpoint
from trainer.fit_optimiser import DeviceName, device_of, set_rate
from trainer.networks.cnn_lstm import on_threads

HISTORY = "history.json"
_log = structlog.get_logger()


@dataclass(frozen=True)
class FitSettings:
    """How to train. One protocol for all models: nothing here depends on which it is."""

    model: str = "resnet34"
    loss: LossName = "bce_dice"
    epochs: int = 50
    batch: int = 16
    learning_rate: float = 1e-3  # at its highest
    weight_decay: float = 1e-2  # AdamW (Loshchilov and Hutter 2019)
    warm_up: float = 0.05  # share of all steps over which the rate rises; then a cosine to 0
    clip: float = 1.0  # greatest norm of a step's gradient
    average: float = 0.999  # decay of the moving average of the weights, which is what is judged; 0: none
    patience: int | None = 12  # epochs without a better one before it ends; None: never
    choose_by: ChosenBy = "f1"  # on validation data; an equal F1 by the lesser loss
    test_time_augmentation: bool = False  # the threshold is chosen as the service will predict
    base: int = PUBLISHED_BASE  # filters of the plain U-Net's first level
    weights: Path | None = None  # of an encoder, from a local file
    seed: int = 0
    threads: int = 1  # sums are grouped by thread: with one, weights do not depend on the machine's cores
    device: DeviceName = "cpu"
    mixed_precision: bool = False  # bfloat16, on CUDA alone; refused elsewhere


@dataclass(frozen=True)
class FittedDetector:
    """A trained detector with what its manifest must say of it."""

    settings: FitSettings
    network: nn.Module  # raw units -> probability; on the processor, in evaluation mode
    architecture: str
    statistics: tuple[BandStatistics, ...]
    radiometry: Radiometry
    elevation: Elevation
    pixel_size_m: float
    patch: int
    synthetic: bool
    pretrained: str
    best: Chosen  # threshold, and the validation scores at it
    best_epoch: int
    history: tuple[EpochScores, ...]
    train_patches: int
    valid_patches: int
    data_digest: str
    notes: tuple[str, ...] = ()


def _no_progress(done: int, total: int) -> None:
    pass


def fit_detector(
    train: PatchSet,
    train_indices: Indices,
    valid: PatchSet,
    valid_indices: Indices,
    settings: FitSettings,
    out: Path,
    progress: ProgressCallback = _no_progress,
    resume: bool = False,
    *,
    on_epoch: Callable[[EpochScores], None] | None = None,
    start: Weights | None = None,
) -> FittedDetector:
    """Train a detector; it ends with the weights of the epoch that is best on the validation part.

    `out` receives history.json after every epoch, and fit.pt, from which `resume` goes on: on a CPU the
    weights are those of a run that was never stopped. `start` are weights to begin with instead of the
    seed's. Raises InputError for parts that overlap, are empty or do not go together, and for a state of
    another training; UsageError for an unknown model, or for a run that is there and was not to be resumed;
    SettingsError for a device that is not there.
    """
    device = device_of(settings.device, settings.mixed_precision)
    _check(train, train_indices, valid, valid_indices)
    checkpoint = Checkpoint(out)
    if checkpoint.path.exists() and not resume:
        raise UsageError(f"{out} holds a training already; go on with --resume, or give another folder")
    with _seeded(settings, device):
        network = build(
            settings.model, len(train.bands), settings.weights, seed=settings.seed, base=settings.base
        )
        kept, notes, digest = _apart(train, train_indices, valid, valid_indices)
        statistics = fit_statistics(train, kept, _no_progress)
        detector = DetectorNetwork(network, statistics)
        if start is not None:
            detector.load_state_dict(start)
        fingerprint = _fingerprint(settings, detector, digest, device)
        run = _Training(
            detector.to(device), train, kept, valid, np.asarray(valid_indices), settings, out, fingerprint
        )
        run.take_up(checkpoint)
        run.go(checkpoint, progress, on_epoch)
        detector.load_state_dict(run.best_weights)
        detector.cpu().eval()
        best = validate(
            detector, valid, valid_indices, loss_of(settings.loss), symmetries=settings.test_time_augmentation
        ).best
    chosen = run.chosen()
    return FittedDetector(
        settings=settings,
        network=detector,
        architecture=_architecture(settings),
        statistics=statistics,
        radiometry=train.radiometry,
        elevation=train.elevation,
        pixel_size_m=train.pixel_size_m,
        patch=run.patch,
        synthetic=train.synthetic,
        pretrained=words_of(settings.weights),
        best=best,
        best_epoch=chosen.epoch,
        history=tuple(run.history),
        train_patches=len(kept),
        valid_patches=len(valid_indices),
        data_digest=digest,
        notes=notes,
    )


@dataclass
class _Training:
    """One training: everything that changes from epoch to epoch, and so what its state holds.

    Nothing is drawn from a generator that lives longer than an epoch, so none is kept.
    """

    detector: DetectorNetwork
    train: PatchSet
    train_indices: Any
    valid: PatchSet
    valid_indices: Any
    settings: FitSettings
    out: Path
    fingerprint: str
    history: list[EpochScores] = field(default_factory=list)
    best_weights: Weights = field(default_factory=dict)
    steps: int = 0
    patch: int = 0

    def __post_init__(self) -> None:
        rules = self.settings
        self.device = self.detector.mean.device
        self.average = MovingAverage(self.detector, rules.average)
        self.optimiser = torch.optim.AdamW(
            self.detector.parameters(), lr=rules.learning_rate, weight_decay=rules.weight_decay
        )
        self.loss = loss_of(rules.loss)
        self.steps_an_epoch = steps_of(len(self.train_indices), rules.batch)
        self.patch = self.train.read(int(self.train_indices[0])).image.shape[-1]

    def go(
        self,
        checkpoint: Checkpoint,
        progress: ProgressCallback,
        on_epoch: Callable[[EpochScores], None] | None,
    ) -> None:
        """Do the epochs that are left."""
        total = self.settings.epochs * self.steps_an_epoch
        while not self._finished():
            scores = self._epoch(len(self.history) + 1, lambda: progress(self.steps, total))
            before = self.chosen() if self.history else None
            self.history.append(scores)
            if better(scores, before, self.settings.choose_by):
                self.best_weights = weights_of(self.average.network)
            if checkpoint.due() or self._finished():
                checkpoint.save(self.fingerprint, self._state())
            self._write_history()
            if on_epoch is not None:
                on_epoch(scores)
        progress(total, total)

    def chosen(self) -> EpochScores:
        """Return the epoch whose weights are kept."""
        best: EpochScores | None = None
        for scores in self.history:
            if better(scores, best, self.settings.choose_by):
                best = scores
        if best is None:
            raise InputError("no epoch was trained; epochs must be 1 or more")
        return best

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Go on from what a stopped run of this training left, where it left something."""
        if not checkpoint.path.exists():
            return
        state = checkpoint.load(self.fingerprint)
        if state is None:
            raise InputError(
                f"{checkpoint.path} is of another training (other data, settings, weights or torch) or "
                "damaged; give the settings it was started with, or another folder"
            )
        self.history = [EpochScores(*scores) for scores in state["history"]]
        self.best_weights, self.steps = state["best_weights"], state["steps"]
        self.detector.load_state_dict(state["network"])
        self.average.network.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])

    def _epoch(self, number: int, tick: Callable[[], None]) -> EpochScores:
        rules = self.settings
        # Dropout and stochastic depth draw from torch's generator: an epoch done again draws the same.
        torch.manual_seed(int(np.random.SeedSequence((rules.seed, number)).generate_state(1)[0]))
        self.detector.train()
        total, weight = 0.0, 0
        for batch in training_batches(self.train, self.train_indices, rules.batch, rules.seed, number):
            loss, known = self._step(batch.to(self.device))
            total, weight = total + loss * known, weight + known
            tick()
        if not np.isfinite(total):
            raise InputError(
                f"the training loss of epoch {number} is no number; look at the bands' values, or give a "
                f"smaller learning rate than {rules.learning_rate:g}"
            )
        found = validate(self.average.network, self.valid, self.valid_indices, self.loss)
        return EpochScores(number, total / max(weight, 1), found.loss, found.best.f1, found.best.threshold)

    def _step(self, batch: Batch) -> tuple[float, int]:
        rules = self.settings
        share = share_of_rate(self.steps, rules.epochs * self.steps_an_epoch, rules.warm_up)
        set_rate(self.optimiser, rules.learning_rate * share)
        # bfloat16 has the range of float32: the loss needs no scaling.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=rules.mixed_precision):
            logits = self.detector.logits(batch.images)
        loss = self.loss(logits, batch.target, batch.known)
        self.optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.detector.parameters(), rules.clip)
        self.optimiser.step()
        self.steps += 1
        self.average.take(self.detector, self.steps)
        return float(loss.detach()), int(batch.known.sum())

    def _finished(self) -> bool:
        if len(self.history) >= self.settings.epochs:
            return True
        patience = self.settings.patience
        return bool(self.history) and patience is not None and self._waited() >= patience

    def _waited(self) -> int:
        return len(self.history) - self.chosen().epoch

    def _state(self) -> dict[str, Any]:
        return {
            "history": [list(asdict(scores).values()) for scores in self.history],
            "best_weights": self.best_weights,
            "steps": self.steps,
            "network": self.detector.state_dict(),
            "average": self.average.network.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }

    def _write_history(self) -> None:
        told = asdict(self.settings)
        told["weights"] = words_of(self.settings.weights)
        write_json(
            self.out / HISTORY,
            {
                "settings": told,
                "epochs": [asdict(scores) for scores in self.history],
                "chosen": self.chosen().epoch,
                "chosen_by": f"validation {self.settings.choose_by}",
            },
        )


def _check(train: PatchSet, train_indices: Indices, valid: PatchSet, valid_indices: Indices) -> None:
    if len(train_indices) < 2 or not len(valid_indices):
        raise InputError(
            f"{len(train_indices)} training and {len(valid_indices)} validation patches; at least two and "
            "one are needed"
        )
    for attribute in ("bands", "radiometry", "pixel_size_m", "elevation"):
        mine, theirs = getattr(train, attribute), getattr(valid, attribute)
        if mine != theirs:
            raise InputError(
                f"training patches have {attribute} {mine}, validation patches {theirs}; they must be alike"
            )
    learnt, judged = (
        {patches.ids[int(i)] for i in indices}
        for patches, indices in ((train, train_indices), (valid, valid_indices))
    )
    both = sorted(learnt & judged)
    if both and train == valid:
        raise InputError(
            f"{len(both)} patches, such as {both[0]}, are in the training and in the validation part; what "
            "is chosen on training data is not chosen"
        )


def _apart(
    train: PatchSet, train_indices: Indices, valid: PatchSet, valid_indices: Indices
) -> tuple[Any, tuple[str, ...], str]:
    """Return the training indices without copies of validation patches, words on them, the data's digest."""
    learnt = digests_of(train, train_indices, _no_progress)
    judged = digests_of(valid, valid_indices, _no_progress)
    seen = set(judged)
    kept = np.array([int(i) for i, digest in zip(train_indices, learnt, strict=True) if digest not in seen])
    copies = len(learnt) - len(kept)
    notes: tuple[str, ...] = ()
    if copies:
        notes = (f"{copies} training patches that are the same as validation patches were left out",)
        _log.warning("training patches equal validation patches; left out", patches=copies)
    if len(kept) < 2:
        raise InputError(f"all but {len(kept)} training patches are validation patches too")
    return kept, notes, digest_of(learnt, judged, list(train.bands), train.radiometry)


def _fingerprint(settings: FitSettings, detector: DetectorNetwork, data: str, device: torch.device) -> str:
    weights = {name: value.double().sum().item() for name, value in detector.state_dict().items()}
    told = {**asdict(replace(settings, weights=None)), "weights": words_of(settings.weights)}
    return digest_of(torch.__version__, device.type, told, data, weights)


def _architecture(settings: FitSettings) -> str:
    spec = spec_of(settings.model)
    return f"{spec.architecture}, {settings.base} filters" if spec.encoder is None else spec.architecture


@contextmanager
def _seeded(settings: FitSettings, device: torch.device) -> Iterator[None]:
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), on_threads(settings.threads):
        torch.manual_seed(settings.seed)
        yield


__all__ = ["HISTORY", "EpochScores", "FitSettings", "FittedDetector", "fit_detector"]
