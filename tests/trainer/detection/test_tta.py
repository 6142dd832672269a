"""Test-time augmentation: eight symmetries there and back."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.detection.augment import turned as turned_array
from trainer.detection.tta import SYMMETRIES, mean_of_symmetries, turned, turned_back


def patches() -> torch.Tensor:
    return torch.arange(2 * 3 * 4 * 4).reshape(2, 3, 4, 4).float()


@pytest.mark.parametrize("number", range(SYMMETRIES))
def test_a_turned_patch_turns_back(number: int) -> None:
    assert torch.equal(turned_back(turned(patches(), number), number), patches())


def test_the_eight_are_different_and_those_of_training() -> None:
    seen = {turned(patches(), number).numpy().tobytes() for number in range(SYMMETRIES)}
    taught = {
        np.stack([turned_array(one, number) for one in patches().numpy()]).tobytes()
        for number in range(SYMMETRIES)
    }
    assert len(seen) == SYMMETRIES
    assert seen == taught


def test_the_mean_turns_with_the_patch_although_the_network_does_not() -> None:
    weights = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))

    def lopsided(given: torch.Tensor) -> torch.Tensor:
        return (given.mean(dim=1, keepdim=True) * weights).sigmoid()

    mean = mean_of_symmetries(lopsided, patches() / 100)
    for number in range(SYMMETRIES):
        there = mean_of_symmetries(lopsided, turned(patches() / 100, number))
        assert torch.allclose(there, turned(mean, number), atol=1e-6)
    assert not torch.allclose(lopsided(patches() / 100), mean, atol=1e-3)
