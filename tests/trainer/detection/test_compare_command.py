"""`colluvium detector compare` on a folder as it is published, with trainings that are real if short."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from service.cli import main_group
from tests.trainer.detection.fix_compare import NOW, official_folder
from trainer.detection import compare_runs
from trainer.detection.compare import CompareSettings, compare
from trainer.detection.compare_data import open_data
from trainer.detection.data import Patch, PatchSet
from trainer.detection.fit import FitSettings, FittedDetector, fit_detector

TINY = FitSettings(epochs=2, batch=6, base=2, learning_rate=0.01, patience=None)


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_a_folder_as_it_is_published_gives_the_table_with_one_command(tmp_path: Path) -> None:
    # ROOT/TrainData/img/image_N.h5 holds "img" (H, W, 14), ROOT/TrainData/mask/mask_N.h5 holds "mask" (H, W);
    # ValidData and TestData alike. Nothing of ours lies beside them.
    folder = official_folder(tmp_path / "Landslide4Sense", train=6, valid=2, test=2)
    assert {path.name for path in folder.iterdir()} == {"TrainData", "ValidData", "TestData"}
    arguments = [
        "detector", "compare", str(folder), "--out", str(tmp_path / "out"), "--models", "mobilenet_v2",
        "--epochs", "1", "--batch", "6", "--device", "cpu", "--jobs", "1",
    ]  # fmt: skip
    done = CliRunner().invoke(main_group, arguments, catch_exceptions=False)
    assert done.exit_code == 0
    row = next(line for line in done.stdout.splitlines() if line.startswith("MobileNetV2"))
    assert row.split("|")[1].split() == ["0.7119", "0.7000", "0.7337"]
    assert "not comparable across" in " ".join(done.stdout.split())
    assert (tmp_path / "out" / "report.html").stat().st_size > 10_000
    told = json.loads((tmp_path / "out" / "results.json").read_text())
    assert told["data"]["radiometry"] == "landslide4sense"
    assert not told["data"]["synthetic"]
    assert told["splits"][0]["parts"] == [{"part": "", "train": 6, "valid": 2, "test": 2}]
    assert told["splits"][0]["models"]["mobilenet_v2"]["scores"]["recall"]["mean"] is not None
    again = CliRunner().invoke(main_group, [*arguments, "--json"], catch_exceptions=False)
    assert json.loads(again.stdout)["splits"] == told["splits"]  # nothing was trained again, seconds included


class _Watched:
    """A set that remembers which patches were read."""

    def __init__(self, inner: PatchSet, reads: list[int]) -> None:
        self._inner, self._reads = inner, reads

    def __getattr__(self, name: str) -> object:
        return getattr(self._inner, name)

    def __len__(self) -> int:
        return len(self._inner)

    def read(self, index: int) -> Patch:
        self._reads.append(int(index))
        return self._inner.read(index)


def test_the_real_fit_never_opens_a_test_patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = official_folder(tmp_path / "data", train=24)
    reads: list[int] = []
    during: list[set[int]] = []
    monkeypatch.setattr(compare_runs, "open_data", lambda *given: _Watched(open_data(*given), reads))

    def fit(*given: object, **named: object) -> FittedDetector:
        reads.clear()
        fitted = fit_detector(*given, **named)  # type: ignore[arg-type]
        during.append(set(reads))
        return fitted

    settings = CompareSettings(models=("unet",), split="reference", jobs=1, fit=TINY)
    compare(folder, tmp_path / "out", settings, fit=fit, now=lambda: NOW)
    record = compare_runs.load_result(tmp_path / "out" / "runs" / "reference" / "unet" / "s0")
    patches = open_data(folder)
    tested = {patches.ids.index(name) for name in record.judged.ids}
    assert during
    assert during[0]
    assert tested == set(reads) - during[0]
    assert not tested & during[0]


def test_a_training_that_was_stopped_in_its_midst_ends_as_if_it_was_not(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "data", train=12, valid=2, test=2)
    epochs = replace(TINY, epochs=4)
    whole = CompareSettings(models=("unet",), jobs=1, fit=epochs)
    clock = iter([0.0, *[1.0] * 4, *[99.0] * 9])  # stopped in the second of four epochs of two steps
    stopped = compare(
        folder, tmp_path / "a", replace(whole, budget_minutes=1.0), clock=lambda: next(clock), now=lambda: NOW
    )
    assert (stopped.complete, stopped.finished_runs) == (False, 0)
    assert list((tmp_path / "a" / "runs" / "official" / "unet").rglob("fit.pt"))
    resumed = compare(folder, tmp_path / "a", whole, now=lambda: NOW).splits[0].models["unet"]
    straight = compare(folder, tmp_path / "b", whole, now=lambda: NOW).splits[0].models["unet"]
    assert resumed.scores == straight.scores
    assert resumed.runs[0].threshold == straight.runs[0].threshold
    assert not list((tmp_path / "a").rglob("fit.pt"))


@pytest.mark.slow
def test_child_processes_find_what_one_process_finds(tmp_path: Path) -> None:
    folder = official_folder(tmp_path / "data", train=8, valid=2, test=2)
    found = [
        compare(
            folder,
            tmp_path / str(jobs),
            CompareSettings(models=("unet",), seeds=(0, 1), jobs=jobs, fit=TINY),
            now=lambda: NOW,
        )
        for jobs in (1, 2)
    ]
    scores = [result.splits[0].models["unet"].scores["f1"].seeds for result in found]
    assert list(scores[0]) == ["0", "1"]
    assert np.allclose(list(scores[0].values()), list(scores[1].values()), atol=1e-6)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["--models", "resnet35"], "no model"),
        (["--seeds", "0,x"], "whole numbers"),
        (["--split", "regions"], "--regions"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_trained(
    tmp_path: Path, given: list[str], says: str
) -> None:
    folder = official_folder(tmp_path / "data", train=2, valid=1, test=1)
    done = CliRunner().invoke(
        main_group, ["detector", "compare", str(folder), "--out", str(tmp_path / "o"), *given]
    )
    assert done.exit_code != 0
    assert says in str(done.exception) + done.output
    assert not (tmp_path / "o" / "runs").exists()
