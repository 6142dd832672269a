"""Test-time augmentation: the mean over the eight symmetries of the square (Simonyan and Zisserman 2015).

A scene has no preferred side but for the sun's, which the bands show; slope is in degrees without a
direction, so all bands turn alike. The exported graph stays plain; the service turns patches where
`manifest.test_time_augmentation` says so.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

SYMMETRIES = 8


def turned(patches: Tensor, number: int) -> Tensor:
    """Return patches (n, C, h, w) under a symmetry, 0 (as they are) to 7: mirrored from 4 on, then turned."""
    mirrored = torch.flip(patches, (3,)) if number >= 4 else patches
    return torch.rot90(mirrored, number % 4, (2, 3))


def turned_back(patches: Tensor, number: int) -> Tensor:
    """Undo `turned`."""
    straight = torch.rot90(patches, -(number % 4), (2, 3))
    return torch.flip(straight, (3,)) if number >= 4 else straight


def mean_of_symmetries(predict: Callable[[Tensor], Tensor], patches: Tensor) -> Tensor:
    """Return the mean probability (n, 1, h, w) over the eight symmetries of square patches."""
    total = turned_back(predict(turned(patches, 0)), 0)
    for number in range(1, SYMMETRIES):
        total = total + turned_back(predict(turned(patches, number)), number)
    return total / SYMMETRIES
