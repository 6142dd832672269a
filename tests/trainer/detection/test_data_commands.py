"""`colluvium detector synthetic`, `inspect` and `show`."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image as Picture

from service.errors import InputError, UsageError
from tests.trainer.detection.fix_patches import write_part
from trainer.detection.commands import detector


def run(*words: str | Path) -> str:
    done = CliRunner().invoke(detector, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets") / "made"
    run("synthetic", folder, "--patches", "5", "--test", "2", "--seed", "9", "--size", "64",
        "--background", "forest", "--background", "alpine")  # fmt: skip
    return folder


def test_a_synthetic_set_is_made_and_counted(made: Path) -> None:
    found = json.loads(run("inspect", made, "--json"))
    assert list(found) == ["TrainData of made", "TestData of made"]
    train = found["TrainData of made"]
    assert (train["patches"], train["judged"], train["synthetic"]) == (5, 5, True)
    assert train["regions"] == {"forest": 3, "alpine": 2}
    assert train["radiometry"] == "reflectance"
    assert 0 < train["landslide_share"] < 0.3


def test_people_read_that_it_is_synthetic(made: Path, tmp_path: Path) -> None:
    assert "TrainData of made (SYNTHETIC), reflectance" in run("inspect", made)
    text = run("synthetic", tmp_path / "s", "--patches", "1", "--size", "32")
    assert text.startswith("SYNTHETIC patches in")
    assert "1 train, 0 valid, 0 test, seed 0" in text


def test_a_script_reads_what_was_made(tmp_path: Path) -> None:
    told = json.loads(
        run("synthetic", tmp_path / "s", "--patches", "10", "--valid", "0", "--size", "32", "--json")
    )
    assert told["patches"] == {"train": 10, "valid": 0, "test": 2}
    assert told["synthetic"] is True
    assert told["backgrounds"] == ["forest", "cropland", "dry_hills", "alpine", "red_hills"]


def test_a_sheet_shows_patches_and_their_outlines(made: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheets" / "sheet.png"
    told = json.loads(run("show", made, "--out", out, "--count", "3", "--json"))
    assert told["patches"] == ["train/1", "train/3", "train/5"]
    with Picture.open(out) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)
    # Outlines are magenta, which no ground is.
    magenta = (pixels[..., 0] > 200) & (pixels[..., 2] > 150) & (pixels[..., 1] < 100)
    assert magenta.sum() > 50
    assert pixels.std() > 20


def test_published_patches_without_masks_are_counted_and_shown(tmp_path: Path) -> None:
    write_part(tmp_path / "l4s", "train", (1, 2), side=32)
    write_part(tmp_path / "l4s", "valid", (1,), masks=False, side=32)
    found = json.loads(run("inspect", tmp_path / "l4s", "--json"))
    assert found["TrainData of l4s"]["radiometry"] == "landslide4sense"
    assert found["ValidData of l4s"]["landslide_share"] is None
    run("show", tmp_path / "l4s", "--part", "valid", "--out", tmp_path / "valid.png")
    assert (tmp_path / "valid.png").stat().st_size > 1000


def test_what_cannot_be_read_is_refused_by_name(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds neither TrainData/img"):
        run("inspect", tmp_path)
    with pytest.raises(InputError, match="has no part valid"):
        run("show", made, "--part", "valid", "--out", tmp_path / "x.png")
    with pytest.raises(UsageError, match="holds something already"):
        run("synthetic", made, "--patches", "1")
