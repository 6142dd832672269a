"""A detector's training that is killed and started again ends with the weights of one that was not."""

from __future__ import annotations

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from service.errors import InputError
from tests.trainer.detection.fix_learnable import TINY, made
from trainer.detection.fit import EpochScores, FitSettings, FittedDetector, fit_detector

RULES = replace(TINY, epochs=4)


class Stopped(Exception):
    """Stands for whatever ends a run."""


def run(
    folder: Path, settings: FitSettings = RULES, *, resume: bool = False, stop: int = 99
) -> tuple[FittedDetector, list[int]]:
    heard: list[int] = []

    def on_epoch(scores: EpochScores) -> None:
        heard.append(scores.epoch)
        if scores.epoch == stop:
            raise Stopped

    found = fit_detector(
        made(8), range(8), made(4, seed=1), range(4), settings, folder, resume=resume, on_epoch=on_epoch
    )
    return found, heard


def same(one: FittedDetector, other: FittedDetector) -> bool:
    mine, theirs = one.network.state_dict(), other.network.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in mine.items())


@pytest.mark.parametrize("model", ["unet", "mobilenet_v2"])
def test_a_stopped_training_goes_on_to_the_same_bits(model: str, tmp_path: Path) -> None:
    # The encoder of MobileNetV2 has the dropout-like parts and norms that the plain U-Net lacks.
    rules = RULES if model == "unet" else FitSettings(model=model, epochs=2, batch=4, patience=None)
    whole, _ = run(tmp_path / "whole", rules)
    with pytest.raises(Stopped):
        run(tmp_path / "stopped", rules, stop=1)
    torch.rand(7)  # what else was drawn in between does not matter
    found, heard = run(tmp_path / "stopped", rules, resume=True)
    assert heard == list(range(2, rules.epochs + 1))
    assert found.history == whole.history
    assert same(found, whole)


_CHILD = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from tests.trainer.detection.test_fit_resume import RULES, made
from trainer.detection.fit import fit_detector

def kill(scores):
    if scores.epoch == 2:
        os.kill(os.getpid(), signal.SIGKILL)

fit_detector(made(8), range(8), made(4, seed=1), range(4), RULES, Path(sys.argv[1]), on_epoch=kill)
"""


def test_a_process_killed_outright_goes_on_and_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole, _ = run(tmp_path / "whole")
    folder = tmp_path / "killed"
    done = subprocess.run([sys.executable, "-c", _CHILD, str(folder)], timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL
    found, heard = run(folder, resume=True)
    assert heard[-1] == 4
    assert 2 <= heard[0] <= 3  # states are saved at most every other second
    assert same(found, whole)


def test_a_finished_training_is_taken_as_it_is(tmp_path: Path) -> None:
    whole, _ = run(tmp_path)
    found, heard = run(tmp_path, resume=True)
    assert heard == []
    assert found.best == whole.best
    assert same(found, whole)


@pytest.mark.parametrize("other", [{"learning_rate": 0.02}, {"seed": 4}, {"epochs": 5}, {"loss": "focal"}])
def test_a_state_of_other_settings_is_refused(other: dict[str, object], tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="another training"):
        run(tmp_path, replace(RULES, **other), resume=True)  # type: ignore[arg-type]


def test_a_state_of_other_patches_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    with pytest.raises(InputError, match="another training"):
        fit_detector(made(8, seed=5), range(8), made(4, seed=1), range(4), RULES, tmp_path, resume=True)


def test_a_damaged_state_is_refused_and_runs_no_code(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "fit.pt").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(InputError, match="damaged"):
        run(tmp_path, resume=True)


def test_to_resume_where_nothing_was_begun_begins(tmp_path: Path) -> None:
    _, heard = run(tmp_path, resume=True)
    assert heard == [1, 2, 3, 4]
