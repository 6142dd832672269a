"""A training that is killed and started again ends with the weights of one that was never stopped."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.trainer.fix_network import FACTORS, VARIABLES, patches_of, tile, windows
from trainer.fit import Checkpoint, EpochLosses, FitResult, FitSamples, FitSettings, fit
from trainer.networks.cnn_lstm import DROPOUT, RECURRENT_DROPOUT, CnnLstm, Inputs

PLAIN = FitSettings(epochs=4, batch=8)
EVERYTHING = FitSettings(
    epochs=4, batch=8, optimiser="rmsprop", schedule="cosine", average_epochs=3, rain_penalty=1.0, patience=4
)


class Stopped(Exception):
    """Stands for whatever ends a run."""


def network(seed: int = 0) -> CnnLstm:
    return CnnLstm(Inputs(FACTORS, VARIABLES, 22, 6), seed=seed)


def samples(count: int = 16, seed: int = 0) -> FitSamples:
    window = windows(count, 6, seed)
    wet = window[:, -2:, 0].sum(axis=1)
    return FitSamples(
        (wet > np.median(wet)).astype(np.float32), window, patches_of(tile(22, 21 + count, seed), 22)
    )


class Stopper:
    """A progress that remembers the epochs it heard of, and ends the run after one of them."""

    def __init__(self, epoch: int) -> None:
        self.epoch, self.heard = epoch, list[int]()

    def __call__(self, losses: EpochLosses) -> None:
        self.heard.append(losses.epoch)
        if losses.epoch == self.epoch:
            raise Stopped


def unbroken(rules: FitSettings) -> tuple[dict[str, torch.Tensor], FitResult]:
    model = network()
    return model.state_dict(), fit(model, samples(), samples(8, 1), rules)


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("rules", [PLAIN, EVERYTHING], ids=["plain", "everything"])
def test_an_interrupted_training_goes_on_where_it_was_and_ends_with_the_same_weights(
    rules: FitSettings, tmp_path: Path
) -> None:
    weights, expected = unbroken(rules)
    stop = Stopper(2)
    with pytest.raises(Stopped):
        fit(network(), samples(), samples(8, 1), rules, progress=stop, checkpoint=Checkpoint(tmp_path, 0))
    torch.rand(7)  # what else was drawn in between does not matter
    model, later = network(), Stopper(99)
    found = fit(model, samples(), samples(8, 1), rules, progress=later, checkpoint=Checkpoint(tmp_path, 0))
    assert later.heard == [3, 4]
    assert found == expected
    assert same(weights, model.state_dict())


_CHILD = """
import os, signal
from pathlib import Path
from tests.trainer.test_fit_resume import PLAIN, network, samples
from trainer.fit import Checkpoint, fit
def kill(losses):
    if losses.epoch == 3:
        os.kill(os.getpid(), signal.SIGKILL)
fit(network(), samples(), samples(8, 1), PLAIN, progress=kill, checkpoint=Checkpoint(Path({folder!r}), 0))
"""


def test_a_killed_process_loses_no_finished_epoch(tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", _CHILD.format(folder=str(tmp_path))], check=False, cwd=root)
    assert done.returncode == -signal.SIGKILL
    weights, expected = unbroken(PLAIN)
    model, later = network(), Stopper(99)
    found = fit(model, samples(), samples(8, 1), PLAIN, progress=later, checkpoint=Checkpoint(tmp_path, 0))
    assert later.heard == [4]
    assert found == expected
    assert same(weights, model.state_dict())


def test_a_finished_training_is_not_done_again(tmp_path: Path) -> None:
    first, second, heard = network(), network(), Stopper(99)
    expected = fit(first, samples(), samples(8, 1), PLAIN, checkpoint=Checkpoint(tmp_path))
    found = fit(second, samples(), samples(8, 1), PLAIN, progress=heard, checkpoint=Checkpoint(tmp_path))
    assert heard.heard == []
    assert found == expected
    assert same(first.state_dict(), second.state_dict())
    assert not second.training


@pytest.mark.parametrize("changed", ["dropout", "recurrent dropout", "log of a variable", "names of codes"])
def test_another_network_of_the_same_weights_is_another_training(changed: str, tmp_path: Path) -> None:
    rules, inputs = replace(PLAIN, epochs=1), Inputs(FACTORS, VARIABLES, 22, 6)
    fit(network(), samples(), samples(8, 1), rules, checkpoint=Checkpoint(tmp_path))
    if changed == "log of a variable":
        first, *others = VARIABLES
        inputs = replace(inputs, variables=(first.model_copy(update={"log": not first.log}), *others))
    if changed == "names of codes":
        turned = [
            factor.model_copy(update={"categories": {code: f"other {name}" for code, name in named.items()}})
            if (named := factor.categories)
            else factor
            for factor in FACTORS
        ]
        inputs = replace(inputs, factors=tuple(turned))
    model = CnnLstm(
        inputs,
        dropout=0.5 if changed == "dropout" else DROPOUT,
        recurrent_dropout=0.5 if changed == "recurrent dropout" else RECURRENT_DROPOUT,
    )
    assert same(model.state_dict(), network().state_dict())
    heard = Stopper(99)
    fit(model, samples(), samples(8, 1), rules, progress=heard, checkpoint=Checkpoint(tmp_path))
    assert heard.heard == [1]


@pytest.mark.parametrize("changed", ["settings", "weights", "training samples", "validation samples"])
def test_what_another_training_left_is_not_taken_up(changed: str, tmp_path: Path) -> None:
    fit(network(), samples(), samples(8, 1), replace(PLAIN, epochs=1), checkpoint=Checkpoint(tmp_path))
    model, train, validation, rules = network(), samples(), samples(8, 1), replace(PLAIN, epochs=1)
    if changed == "settings":
        rules = replace(rules, learning_rate=0.002)
    elif changed == "weights":
        model = network(1)
    elif changed == "training samples":
        assert train.patches is not None
        train.patches[5, 0, 3, 3] += 1
    else:
        validation = replace(validation, labels=1 - validation.labels)
    heard = Stopper(99)
    fit(model, train, validation, rules, progress=heard, checkpoint=Checkpoint(tmp_path))
    assert heard.heard == [1]


def test_a_damaged_checkpoint_starts_the_training_over(tmp_path: Path) -> None:
    rules = replace(PLAIN, epochs=1)
    weights, expected = unbroken(rules)
    fit(network(), samples(), samples(8, 1), rules, checkpoint=Checkpoint(tmp_path))
    path = Checkpoint(tmp_path).path
    path.write_bytes(path.read_bytes()[:1000])
    model, heard = network(), Stopper(99)
    found = fit(model, samples(), samples(8, 1), rules, progress=heard, checkpoint=Checkpoint(tmp_path))
    assert heard.heard == [1]
    assert found == expected
    assert same(weights, model.state_dict())


def test_a_checkpoint_with_code_in_it_is_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[Path]]:
            return Path.touch, (marker,)

    (tmp_path / "run").mkdir()
    torch.save({"format": 1, "fingerprint": Trap()}, tmp_path / "run" / "fit.pt")
    heard = Stopper(99)
    fit(
        network(), samples(), samples(8, 1), replace(PLAIN, epochs=1),
        progress=heard, checkpoint=Checkpoint(tmp_path / "run"),
    )  # fmt: skip
    assert heard.heard == [1]
    assert not marker.exists()


def test_nothing_but_the_checkpoint_itself_is_left_in_its_folder(tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        fit(
            network(), samples(), samples(8, 1), PLAIN,
            progress=Stopper(2), checkpoint=Checkpoint(tmp_path, 0),
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["fit.pt"]
