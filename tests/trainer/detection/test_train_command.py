"""`colluvium detector train`: from a folder in the official layout to a detector the service loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main_group
from service.detection.detector import Detector
from service.detection.manifest import CARD
from service.errors import ColluviumError, UsageError
from trainer.detection.fit import FittedDetector
from trainer.detection.synthetic_set import write_synthetic

QUICK = ("--model", "unet", "--base", "2", "--epochs", "1", "--batch", "2", "--device", "cpu")
BANDS = ("--bands", "B02,B03,B04,B08,slope")


@pytest.fixture
def patches(tmp_path: Path) -> Path:
    def quiet(done: int, total: int) -> None:
        assert done <= total

    folder = tmp_path / "patches"
    write_synthetic(folder, 3, {"train": 10, "valid": 4, "test": 3}, quiet, size=32)
    return folder


def train(patches: Path, out: Path, *words: str) -> Result:
    return CliRunner().invoke(
        main_group, ["detector", "train", str(patches), "--out", str(out), *QUICK, *BANDS, *words]
    )


def test_a_folder_of_patches_becomes_a_detector(patches: Path, tmp_path: Path) -> None:
    done = train(patches, tmp_path / "out", "--json", "--name", "trial", "--loss", "tversky")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    loaded = Detector.load(tmp_path / "out" / "detector")
    made = loaded.manifest
    assert (made.name, made.synthetic, made.radiometry) == ("trial", True, "reflectance")
    assert [band.name for band in made.bands] == ["B02", "B03", "B04", "B08", "slope"]
    assert "SYNTHETIC" in made.trained_on
    assert "official" in made.trained_on
    assert "validation" in made.threshold_chosen_on
    assert made.scores is not None
    assert made.scores.patches == 3
    assert told["manifest"]["threshold"] == made.threshold
    card = (tmp_path / "out" / "detector" / CARD).read_text()
    assert "colluvium" in card
    assert "tversky" in card
    history = json.loads((tmp_path / "out" / "training" / "history.json").read_text())
    assert history["settings"]["loss"] == "tversky"


def test_an_ensemble_is_one_detector(patches: Path, tmp_path: Path) -> None:
    done = train(patches, tmp_path / "out", "--ensemble", "2", "--combine", "weights")
    assert done.exit_code == 0, done.output
    assert "SYNTHETIC" in done.stdout
    assert "mean of the weights of 2 trainings" in done.stdout
    assert "2 trainings" in Detector.load(tmp_path / "out" / "detector").manifest.architecture


def test_patches_that_are_copies_of_test_patches_are_not_learnt_from(
    patches: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for kind, name in (("img", "image"), ("mask", "mask")):
        copied, test = patches / "TrainData" / kind, patches / "TestData" / kind
        number = min(int(path.stem.split("_")[1]) for path in copied.iterdir())
        shutil.copy(sorted(test.iterdir())[0], copied / f"{name}_{number}.h5")
    fitted = []

    def export(found: FittedDetector, folder: Path, told: object) -> None:
        fitted.append(found)
        raise UsageError("enough was seen")

    monkeypatch.setattr("trainer.detection.train.export_detector", export)
    train(patches, tmp_path / "out")
    assert fitted[0].train_patches == 9
    assert "1 training or validation patches that are copies of test patches" in fitted[0].notes[0]


def test_a_region_that_is_left_out_is_judged_on(patches: Path, tmp_path: Path) -> None:
    done = train(patches, tmp_path / "out", "--without", "forest", "--json")
    assert done.exit_code == 0, done.output
    assert "patches of forest" in json.loads(done.stdout)["manifest"]["trained_on"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--model", "resnet9000"), "resnet9000"),
        (("--bands", "B02,B8A"), "B8A"),
        (("--combine", "weights"), "--ensemble"),
        (("--mixed-precision",), "CUDA"),
        (("--without", "atlantis"), "atlantis"),
    ],
)
def test_what_cannot_be_is_refused_with_words(
    words: tuple[str, ...], said: str, patches: Path, tmp_path: Path
) -> None:
    done = train(patches, tmp_path / "out", *words)
    assert isinstance(done.exception, ColluviumError)
    assert said in str(done.exception)
    assert not (tmp_path / "out" / "detector").exists()


def test_what_was_made_is_not_written_over_and_a_begun_training_asks_for_resume(
    patches: Path, tmp_path: Path
) -> None:
    assert train(patches, tmp_path / "out").exit_code == 0
    again = train(patches, tmp_path / "out")
    assert isinstance(again.exception, UsageError)
    assert "exists" in str(again.exception)
    detector = tmp_path / "out" / "detector"
    detector.rename(tmp_path / "away")
    assert "--resume" in str(train(patches, tmp_path / "out").exception)
    assert train(patches, tmp_path / "out", "--resume").exit_code == 0
    one, other = ((folder / "model.onnx").read_bytes() for folder in (detector, tmp_path / "away"))
    assert one == other
