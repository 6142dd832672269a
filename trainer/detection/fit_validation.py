"""What a network makes of patches that it did not learn from: the only ground on which anything is chosen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from service.detection.manifest import DetectorScores
from service.progress import ProgressCallback
from trainer.detection.data import PatchSet
from trainer.detection.fit_batches import Batch, Indices, plain_batches
from trainer.detection.judge import ratios
from trainer.detection.losses import Loss
from trainer.detection.threshold import Chosen, Histogram
from trainer.detection.tta import mean_of_symmetries

ChosenBy = Literal["f1", "loss"]
_AT_ONCE = 16


class Validation(NamedTuple):
    """A network on the validation part: its loss, and the threshold of the best F1 with scores at it."""

    loss: float
    best: Chosen


@dataclass(frozen=True)
class EpochScores:
    """One epoch, counted from 1. The training loss is kept to be looked at; nothing is chosen by it."""

    epoch: int
    train_loss: float
    valid_loss: float
    valid_f1: float
    threshold: float


def better(one: EpochScores, other: EpochScores | None, by: ChosenBy) -> bool:
    """Tell whether an epoch is to be kept instead of another: by validation alone, an equal one is not."""
    if other is None:
        return True
    if by == "loss":
        return one.valid_loss < other.valid_loss
    return (one.valid_f1, -one.valid_loss) > (other.valid_f1, -other.valid_loss)


def validate(
    network: nn.Module, patches: PatchSet, indices: Indices, loss: Loss, *, symmetries: bool = False
) -> Validation:
    """Return loss and best threshold on patches; nothing is turned but for the `symmetries`' mean.

    Raises InputError where no landslide pixel is known.
    """
    counts = Histogram()
    total, weight = 0.0, 0.0
    for batch, probability in _predicted(network, patches, indices, symmetries):
        known = int(batch.known.sum())
        clipped = probability.double().clamp(1e-7, 1 - 1e-7)
        total += float(loss(torch.logit(clipped), batch.target, batch.known)) * known
        weight += known
        counts.add(probability.numpy(), batch.target.numpy(), batch.known.numpy())
    return Validation(total / max(weight, 1.0), counts.best())


def predict(
    network: nn.Module,
    patches: PatchSet,
    indices: Indices,
    *,
    symmetries: bool = False,
    progress: ProgressCallback | None = None,
) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
    """Yield each index with its probability (h, w) float32, in the given order."""
    done = 0
    for batch, probability in _predicted(network, patches, indices, symmetries):
        for index, one in zip(batch.indices, probability[:, 0].numpy(), strict=True):
            done += 1
            if progress is not None:
                progress(done, len(indices))
            yield index, one


def score(
    network: nn.Module,
    patches: PatchSet,
    indices: Indices,
    threshold: float,
    data: str,
    *,
    symmetries: bool = False,
) -> DetectorScores:
    """Return the pooled pixel scores at a threshold on patches that neither training nor it has seen."""
    hit = false = missed = 0
    for batch, probability in _predicted(network, patches, indices, symmetries):
        found = (probability.double() >= threshold) & batch.known
        mapped = (batch.target == 1) & batch.known
        hit += int((found & mapped).sum())
        false += int((found & ~mapped).sum())
        missed += int((~found & mapped).sum())
    return DetectorScores(data=data, patches=len(indices), **ratios(hit, false, missed)._asdict())


def _predicted(
    network: nn.Module, patches: PatchSet, indices: Indices, symmetries: bool
) -> Iterator[tuple[Batch, Tensor]]:
    device = next(network.parameters()).device
    network.eval()
    for batch in plain_batches(patches, indices, _AT_ONCE):
        with torch.no_grad():
            images = batch.to(device).images
            probability = mean_of_symmetries(network, images) if symmetries else network(images)
        yield batch, probability.float().cpu()
