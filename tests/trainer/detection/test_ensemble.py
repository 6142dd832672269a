"""Several trainings as one detector."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from service.errors import UsageError
from tests.trainer.detection.fix_learnable import TINY, made
from trainer.detection.ensemble import Combine, fit_ensemble
from trainer.detection.export import detector_graph, prove
from trainer.detection.fit import FittedDetector
from trainer.detection.fit_network import (
    DetectorNetwork,
    MeanOfNetworks,
    mean_weights,
    renew_norms,
    weights_of,
)
from trainer.detection.fit_validation import validate
from trainer.detection.losses import bce_dice

RULES = replace(TINY, epochs=2)


def ensemble(folder: Path, combine: Combine, members: int = 2, *, resume: bool = False) -> FittedDetector:
    def quiet(done: int, total: int) -> None:
        assert done <= total

    return fit_ensemble(
        made(8), range(8), made(4, seed=1), range(4), RULES, folder, quiet, resume,
        members=members, combine=combine,
    )  # fmt: skip


def test_the_mean_of_an_ensemble_is_the_mean_of_its_members(tmp_path: Path) -> None:
    found = ensemble(tmp_path, "mean")
    assert isinstance(found.network, MeanOfNetworks)
    given = torch.rand(2, 4, 32, 32)
    with torch.no_grad():
        each = [member(given) for member in found.network.members]
        assert torch.allclose(found.network(given), sum(each) / 2, atol=1e-6)
    assert not torch.allclose(each[0], each[1], atol=1e-3)
    assert "2 trainings" in found.architecture
    prove(found, detector_graph(found.network, 4, 32).SerializeToString())


def test_averaged_weights_are_one_network_with_statistics_of_its_own(tmp_path: Path) -> None:
    found = ensemble(tmp_path, "weights")
    assert isinstance(found.network, DetectorNetwork)
    states = [
        torch.load(tmp_path / f"member-{number}" / "fit.pt", weights_only=True)["best_weights"]
        for number in range(2)
    ]
    own, mean = weights_of(found.network), mean_weights(states)
    trained = [name for name in own if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(own[name], mean[name]) for name in trained)
    running = [name for name in own if "running_var" in name]
    assert any(not torch.allclose(own[name], mean[name], rtol=1e-3) for name in running)


def test_members_of_averaged_weights_begin_where_the_first_ended(tmp_path: Path) -> None:
    ensemble(tmp_path, "weights")
    first, second = (
        torch.load(tmp_path / f"member-{number}" / "fit.pt", weights_only=True)["best_weights"]
        for number in range(2)
    )
    name = "network.down.0.0.weight"
    apart = float((first[name] - second[name]).abs().max())
    assert 0 < apart < 0.05 < float(first[name].std())


@pytest.mark.parametrize("combine", ["mean", "weights"])
def test_the_threshold_is_that_of_the_ensemble_on_validation_patches(
    combine: Combine, tmp_path: Path
) -> None:
    found = ensemble(tmp_path, combine)
    assert found.best == validate(found.network, made(4, seed=1), range(4), bce_dice).best
    assert f"together {found.best.f1:.4f}" in found.notes[-1]


def test_a_stopped_ensemble_goes_on_with_the_member_it_was_at(tmp_path: Path) -> None:
    whole = ensemble(tmp_path / "whole", "mean")
    ensemble(tmp_path / "part", "mean")
    for file in (tmp_path / "part" / "member-1").iterdir():
        file.unlink()
    before = (tmp_path / "part" / "member-0" / "fit.pt").stat().st_mtime_ns
    found = ensemble(tmp_path / "part", "mean", resume=True)
    assert (tmp_path / "part" / "member-0" / "fit.pt").stat().st_mtime_ns == before
    theirs = whole.network.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in found.network.state_dict().items())


def test_one_training_is_no_ensemble(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="2 or more"):
        ensemble(tmp_path, "mean", 1)


def test_renewed_norms_are_those_of_the_patches() -> None:
    network = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 1, 1))
    patches = torch.randn(12, 2, 5, 5, generator=torch.Generator().manual_seed(0)) * 3 + 1
    renew_norms(network, lambda: iter(patches.split(4)))
    norm = network[0]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert torch.allclose(norm.running_mean, patches.mean(dim=(0, 2, 3)), atol=1e-5)
    assert norm.momentum == 0.1
    assert not network.training
