"""Losses count known pixels alone, and are what their papers say."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from trainer.detection.losses import LOSSES, LossName, bce_dice, focal, loss_of, tversky

SHAPE = (2, 1, 4, 4)


def some(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = torch.randn(SHAPE, generator=random)
    target = (torch.rand(SHAPE, generator=random) < 0.3).float()
    known = torch.rand(SHAPE, generator=random) < 0.6
    return logits, target, known


@pytest.mark.parametrize("name", LOSSES)
@given(seed=st.integers(0, 1000))
def test_what_lies_under_unknown_pixels_changes_neither_loss_nor_gradient(name: LossName, seed: int) -> None:
    logits, target, known = some(seed)
    other = torch.where(known, logits, logits + 7).requires_grad_()
    labelled = torch.where(known, target, 1 - target)
    loss = loss_of(name)(other, labelled, known)
    assert torch.isclose(loss, loss_of(name)(logits, target, known), atol=1e-6)
    (gradient,) = torch.autograd.grad(loss, other)
    assert bool((gradient[~known] == 0).all())


@pytest.mark.parametrize("name", LOSSES)
def test_a_loss_falls_towards_zero_as_every_pixel_is_called_right(name: LossName) -> None:
    _, target, known = some()
    sure = (2 * target - 1) * 20
    right, wrong = loss_of(name)(sure, target, known), loss_of(name)(-sure, target, known)
    assert 0 <= float(right) < 1e-3 < 0.5 < float(wrong)


@pytest.mark.parametrize("name", LOSSES)
def test_a_batch_of_which_nothing_is_known_gives_a_number_and_no_gradient(name: LossName) -> None:
    logits, target, _ = some()
    logits.requires_grad_()
    loss = loss_of(name)(logits, target, torch.zeros(SHAPE, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(loss, logits)
    assert float(loss.detach()) == 0
    assert bool((gradient == 0).all())


def test_the_focal_loss_of_one_pixel_is_that_of_the_paper() -> None:
    probability = torch.tensor([[[[0.8]]]])
    one, known = torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1, dtype=torch.bool)
    wanted = -0.25 * (1 - 0.8) ** 2 * torch.log(torch.tensor(0.8))
    assert float(focal(probability.logit(), one, known)) == pytest.approx(float(wanted), rel=1e-5)
    other = -0.75 * 0.8**2 * torch.log(torch.tensor(0.2))
    assert float(focal(probability.logit(), one * 0, known)) == pytest.approx(float(other), rel=1e-5)


def test_tversky_minds_a_missed_pixel_more_than_a_false_one() -> None:
    target = torch.zeros(1, 1, 10, 10)
    target[..., :5, :] = 1
    known = torch.ones_like(target, dtype=torch.bool)
    sure = (2 * target - 1) * 20
    missed, false = sure.clone(), sure.clone()
    missed[..., 4, :], false[..., 5, :] = -20.0, 20.0
    # 40 or 50 of 50 hit, 10 missed or false, and a smoothing of 1.
    assert float(tversky(missed, target, known)) == pytest.approx(1 - 41 / (41 + 0.7 * 10), rel=1e-4)
    assert float(tversky(false, target, known)) == pytest.approx(1 - 51 / (51 + 0.3 * 10), rel=1e-4)


def test_cross_entropy_and_dice_count_in_equal_parts() -> None:
    logits = torch.zeros(1, 1, 2, 2)
    target = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])
    known = torch.ones(1, 1, 2, 2, dtype=torch.bool)
    dice = 1 - (0.5 + 1) / (0.5 * (2.0 + 1.0) + 1)
    assert float(bce_dice(logits, target, known)) == pytest.approx(0.693147 + dice, rel=1e-5)
