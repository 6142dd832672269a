"""What a training makes small. Pixels that are unknown or unlabelled count in none of them.

All take logits, target (0 or 1) and known (bool), each (n, 1, h, w), and return a scalar; 0 where nothing is
known. A landslide is few pixels of a patch, often none: overlap is therefore counted over the whole batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

LossName = Literal["bce_dice", "focal", "tversky"]
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]

LOSSES: tuple[LossName, ...] = ("bce_dice", "focal", "tversky")
FOCAL_ALPHA, FOCAL_GAMMA = 0.25, 2.0  # Lin et al. (2017), their best
# Salehi et al. (2017), their best F2: a missed pixel weighs more than a false one.
TVERSKY_FALSE, TVERSKY_MISSED = 0.3, 0.7
_SMOOTH = 1.0  # pixels; keeps a batch without landslides at a loss of 0 and not at 0 / 0


def loss_of(name: LossName) -> Loss:
    """Return a loss by its name."""
    return {"bce_dice": bce_dice, "focal": focal, "tversky": tversky}[name]


def bce_dice(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return mean cross-entropy plus 1 - Dice (Milletari et al. 2016), in equal parts."""
    return cross_entropy(logits, target, known) + _one_minus_overlap(logits, target, known, 0.5, 0.5)


def cross_entropy(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return the mean binary cross-entropy over known pixels."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits.float(), target.float(), reduction="none")
    return _mean(losses, known)


def focal(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return the mean focal loss, -alpha_t (1 - p_t)^gamma log p_t (Lin et al. 2017, equation 5)."""
    logits, target = logits.float(), target.float()
    losses = nn.functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    surprise = (logits.sigmoid() - target).abs()  # 1 - p_t
    alpha = FOCAL_ALPHA * target + (1 - FOCAL_ALPHA) * (1 - target)
    return _mean(alpha * surprise.pow(FOCAL_GAMMA) * losses, known)


def tversky(logits: Tensor, target: Tensor, known: Tensor) -> Tensor:
    """Return 1 - TP / (TP + a FP + b FN) with shares of pixels (Salehi et al. 2017, equation 1)."""
    return _one_minus_overlap(logits, target, known, TVERSKY_FALSE, TVERSKY_MISSED)


def _one_minus_overlap(
    logits: Tensor, target: Tensor, known: Tensor, false_weight: float, missed_weight: float
) -> Tensor:
    """Return 1 - Tversky index; with weights of a half it is Dice."""
    counted = known.float()
    probability, target = logits.float().sigmoid() * counted, target.float() * counted
    hit = (probability * target).sum()
    false, missed = (probability * (1 - target)).sum(), ((1 - probability) * target).sum()
    return 1 - (hit + _SMOOTH) / (hit + false_weight * false + missed_weight * missed + _SMOOTH)


def _mean(losses: Tensor, known: Tensor) -> Tensor:
    counted = known.float()
    return (losses * counted).sum() / counted.sum().clamp_min(1.0)
