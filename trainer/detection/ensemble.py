"""Several trainings as one detector: the mean of what they say, or the mean of their weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

from torch import Tensor

from service.errors import UsageError
from service.progress import ProgressCallback
from trainer.detection.data import PatchSet
from trainer.detection.fit import FitSettings, FittedDetector, fit_detector
from trainer.detection.fit_batches import Indices, plain_batches
from trainer.detection.fit_network import MeanOfNetworks, mean_weights, renew_norms, weights_of
from trainer.detection.fit_validation import validate
from trainer.detection.losses import loss_of
from trainer.networks.cnn_lstm import on_threads

Combine = Literal["mean", "weights"]
_RATE_AFTER = 0.1  # of the first training's learning rate: the others are to stay in the same valley
_EPOCHS_AFTER = 0.5  # of its epochs


def fit_ensemble(
    train: PatchSet,
    train_indices: Indices,
    valid: PatchSet,
    valid_indices: Indices,
    settings: FitSettings,
    out: Path,
    progress: ProgressCallback,
    resume: bool = False,
    *,
    members: int,
    combine: Combine = "mean",
) -> FittedDetector:
    """Train so many members, each in a folder of its own below `out`, and return them as one detector.

    "mean": trainings of the seeds that follow one another; the graph holds all of them and gives their mean
    probability. "weights": one training, from whose weights the others go on with draws of their own at a
    tenth of its rate for half of its epochs; their weights are averaged (Wortsman et al. 2022) and batch
    norm's statistics renewed, so the graph is no larger. Trainings of different first weights cannot be
    averaged so. The threshold is chosen anew, on the same validation part.
    Raises UsageError for fewer than two members, and what a training raises.
    """
    if members < 2:
        raise UsageError(f"an ensemble of {members} is none; give 2 or more")
    fitted: list[FittedDetector] = []
    for number in range(members):
        own, start = replace(settings, seed=settings.seed + number), None
        if combine == "weights" and number:
            epochs = max(1, round(settings.epochs * _EPOCHS_AFTER))
            own = replace(own, epochs=epochs, learning_rate=settings.learning_rate * _RATE_AFTER)
            start = weights_of(fitted[0].network)
        folder = out / f"member-{number}"
        fitted.append(
            fit_detector(
                train, train_indices, valid, valid_indices, own, folder, _part(progress, number, members),
                resume and (folder / "fit.pt").exists(), start=start,
            )
        )  # fmt: skip
    network = fitted[0].network
    if combine == "mean":
        network = MeanOfNetworks([one.network for one in fitted]).eval()
        words = "mean of the probabilities"
    else:
        network.load_state_dict(mean_weights([weights_of(one.network) for one in fitted]))
        renew_norms(network, _images(train, train_indices, settings.batch))
        words = "mean of the weights"
    with on_threads(settings.threads):
        best = validate(
            network, valid, valid_indices, loss_of(settings.loss), symmetries=settings.test_time_augmentation
        ).best
    alone = ", ".join(f"{one.best.f1:.4f}" for one in fitted)
    note = f"{words} of {members} trainings; each alone had validation F1 {alone}, together {best.f1:.4f}"
    return replace(
        fitted[0],
        network=network,
        architecture=f"{fitted[0].architecture}, {members} trainings, {words}",
        best=best,
        notes=(*fitted[0].notes, note),
    )


def _images(patches: PatchSet, indices: Indices, size: int) -> Callable[[], Iterator[Tensor]]:
    return lambda: (batch.images for batch in plain_batches(patches, indices, size))


def _part(progress: ProgressCallback, number: int, parts: int) -> ProgressCallback:
    return lambda done, total: progress(number * total + done, parts * total)
