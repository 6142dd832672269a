"""`colluvium detect` as a user calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from service.cli import main_group
from service.errors import HeldError, InputError, UsageError
from service.ledger import Ledger
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import ledger_path
from tests.fix_detection import make_detector, scarred, write_scene
from tests.fix_region import ToyRegion


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main_group, ["detect", *arguments])


@pytest.fixture
def given(tmp_path: Path) -> tuple[str, ...]:
    """A scene, a detector, and a folder for what comes of them."""
    scene = write_scene(tmp_path / "scene", scarred(), said={"synthetic": True})
    detector = make_detector(tmp_path / "detector")
    return "--scene", str(scene), "--model", str(detector), "--out", str(tmp_path / "out")


def test_it_says_how_many_how_large_how_much_was_not_seen_and_where_to_look(given: tuple[str, ...]) -> None:
    said = run(*given, "--after", "2026-03-01")
    assert said.exit_code == 0, said.output
    for words in (
        "toy-scene, sensed on 2026-03-04 (band rasters)",
        "SYNTHETIC",
        "2 outlines of at least 500 m2, 1.88 ha, happened after 2026-03-01, not after 2026-03-04",
        "10,800 m2  confidence 0.80, highest 0.80",
        "0.0% of the scene was not seen",
        "published: look at",
    ):
        assert words in said.output
    picture = Path(said.output.rpartition("look at ")[2].strip())
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "unchanged: look at" in run(*given, "--after", "2026-03-01").output


def test_json_holds_the_findings(given: tuple[str, ...]) -> None:
    said = json.loads(run(*given, "--json", "--min-area", "9000", "--threshold", "0.7").stdout)
    assert (said["outcome"], said["scene"], said["threshold"]) == ("published", "toy-scene", 0.7)
    assert [one["area_m2"] for one in said["detections"]] == [10_800]
    assert said["detector"]["name"] == "toy"
    assert (said["synthetic"], said["proposed"]) == (True, None)


def test_rules_for_missing_bands_are_told_back(given: tuple[str, ...], tmp_path: Path) -> None:
    detector = make_detector(tmp_path / "wants", bands=("B04", "B10", "B12"))
    arguments = (*given[:2], "--model", str(detector), *given[4:])
    refused = run(*arguments)
    assert isinstance(refused.exception, InputError)
    said = run(*arguments, "--missing", "B10=mean", "--missing", "B12=B08")
    assert "B10 is missing in the scene; its mean in training stands for it" in said.output
    assert "B12 is missing in the scene; B08 stands for it" in said.output


@pytest.mark.parametrize("rule", ["B10", "B10=", "=mean", "B10=B10"])
def test_a_rule_that_is_none_is_refused(given: tuple[str, ...], rule: str) -> None:
    assert isinstance(run(*given, "--missing", rule).exception, UsageError)


def test_without_a_detector_it_asks_for_one(given: tuple[str, ...]) -> None:
    refused = run(*given[:2])
    assert isinstance(refused.exception, UsageError)
    assert "--model" in str(refused.exception)


@pytest.fixture
def region(toy: ToyRegion, tmp_path: Path) -> ToyRegion:
    """A region whose settings name a detector."""
    make_detector(tmp_path / "detector")
    text = toy.config.read_text("utf-8")
    said = f'\n[detection]\ndetector = "{tmp_path / "detector"}"\nmin_area_m2 = 9000\nmax_unseen = 0.5\n'
    toy.config.write_text(text + said, "utf-8")
    return toy


def test_with_settings_they_give_the_defaults_and_the_outlines_become_proposals(
    region: ToyRegion, tmp_path: Path
) -> None:
    scene = write_scene(tmp_path / "scene", scarred())
    said = json.loads(run("--scene", str(scene), "-c", str(region.config), "--json").stdout)
    assert [one["area_m2"] for one in said["detections"]] == [10_800]
    assert said["proposed"] == 1
    settings = load_settings(region.config)
    assert Path(said["folder"]).parent == settings.data_dir / "detections"
    with Ledger(ledger_path(settings), utc_now) as ledger:
        (kept,) = ledger.detections.all()
    assert kept.uid == said["detections"][0]["uid"]
    again = json.loads(run("--scene", str(scene), "-c", str(region.config), "--json").stdout)
    assert (again["outcome"], again["proposed"]) == ("unchanged", 0)


def test_a_cloudy_scene_is_held(region: ToyRegion, tmp_path: Path) -> None:
    ground = scarred()
    classes = (ground["B04"] * 0 + 9).astype("uint8")
    classes[:10] = 4
    scene = write_scene(tmp_path / "scene", ground, classes=classes)
    held = run("--scene", str(scene), "-c", str(region.config))
    assert isinstance(held.exception, HeldError)
