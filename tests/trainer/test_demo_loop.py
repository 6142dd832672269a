"""The loop on the SYNTHETIC demo: a storm, seen from space, judges the maps and makes the next model."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from service.bundle import read_manifest
from service.challenger import challenger_ledger
from service.cli import main_group
from service.errors import UsageError
from service.ledger import Ledger
from service.serving import serving_path
from service.settings import Settings, load_settings
from service.stamps import utc_now
from service.workshop import ledger_path
from trainer.demo_loop import DETECTOR, SLID, SMALL, run_loop

pytest.importorskip("torch", reason="the loop trains a model")


# One test, so that the loop runs once however many processes share the tests.
@pytest.mark.slow
def test_the_loop_closes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    said: list[str] = []
    folder = tmp_path / "demo"
    loop = folder, run_loop(folder, scale=SMALL, say=said.append), said

    what_was_accepted_is_in_the_inventory_with_its_scene_and_detector(loop)
    both_models_are_judged_by_the_same_landslides_on_the_maps_before_them(loop)
    the_retrained_model_is_promoted_and_serves(loop)
    every_step_is_told_as_it_is_typed_and_all_of_it_is_called_synthetic(loop)


def settings_of(folder: Path) -> Settings:
    return load_settings(folder / "region.toml")


def what_was_accepted_is_in_the_inventory_with_its_scene_and_detector(
    loop: tuple[Path, dict[str, Any], list[str]],
) -> None:
    folder, summary, _ = loop
    with Ledger(ledger_path(settings_of(folder)), utc_now) as ledger:
        events = ledger.events.all(kind="landslide")

    assert len(events) == summary["scenes"]["after"]["accepted"] > 0
    for event in events:
        assert event.source == "detected"
        assert (event.day_from, event.day) == (SLID, SLID)
        assert event.scene is not None
        assert event.scene.startswith("SYNTHETIC-after")
        assert event.detector is not None
        assert json.loads((DETECTOR / "detector.json").read_text("utf-8"))["name"] in event.detector


def both_models_are_judged_by_the_same_landslides_on_the_maps_before_them(
    loop: tuple[Path, dict[str, Any], list[str]],
) -> None:
    folder, _, _ = loop
    settings = settings_of(folder)
    with Ledger(ledger_path(settings), utc_now) as ledger, challenger_ledger(settings, utc_now) as own:
        for of, layers in (("display", ledger), ("challenger", own)):
            found = ledger.verifications.newest(of)  # type: ignore[arg-type]
            assert found is not None
            assert found.synthetic
            assert {event.uid for event in found.events} == {
                event.uid for event in ledger.events.all(kind="landslide")
            }
            for event in found.events:
                if event.layer_id is not None:
                    layer = layers.layer(event.layer_id)
                    assert layer is not None
                    assert layer.day == SLID
                    assert layer.data_until < SLID


def the_retrained_model_is_promoted_and_serves(loop: tuple[Path, dict[str, Any], list[str]]) -> None:
    folder, summary, _ = loop
    settings = settings_of(folder)
    digest = read_manifest(folder / "challenger")[1]

    assert summary["served"]["model"]["digest"] == digest == summary["promotion"]["digest"]
    assert read_manifest(serving_path(settings, utc_now))[1] == digest
    with Ledger(ledger_path(settings), utc_now) as ledger:
        latest, (promotion,) = ledger.latest(), ledger.promotions.all()
        before = ledger.newest_revision(SLID)
    assert latest is not None
    assert before is not None
    assert latest.model.digest == digest != before.model.digest
    assert promotion.evidence["agreement"]["days"] == SMALL.days
    assert promotion.evidence["challenger"] is not None


def every_step_is_told_as_it_is_typed_and_all_of_it_is_called_synthetic(
    loop: tuple[Path, dict[str, Any], list[str]],
) -> None:
    folder, summary, said = loop
    typed = [line.removeprefix("$ ") for line in said if line.startswith("$ ")]

    assert typed == [step["command"] for step in summary["steps"]]
    verbs = [words.split()[1] for words in typed]
    order = ["backfill", "detect", "verify", "train", "challenger", "bundle", "refresh"]
    assert sorted(order, key=verbs.index) == order
    assert "proves" in summary["caution"] or "prove" in summary["caution"]
    assert said[0] == summary["caution"]
    for picture in summary["pictures"]:
        assert Path(picture).stat().st_size > 10_000
    for report in summary["reports"]:
        assert "SYNTHETIC" in Path(report).read_text("utf-8").upper()
    assert (folder / "LOOP.txt").exists()
    assert date.fromisoformat(summary["slid_on"]) == SLID


# --- what is refused before any work ---


def test_without_torch_it_says_so_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)

    with pytest.raises(UsageError, match=r"torch: pip install 'colluvium\[trainer\]'"):
        run_loop(tmp_path / "new")

    assert not (tmp_path / "new").exists()


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep", "utf-8")

    with pytest.raises(UsageError, match="holds no loop"):
        run_loop(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_missing_detector_is_told_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no detector"):
        run_loop(tmp_path / "new", detector=tmp_path / "none")

    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("words", [["--loop", "--live"], ["--detector", "somewhere"]])
def test_demos_that_exclude_each_other_are_refused(words: list[str]) -> None:
    assert CliRunner().invoke(main_group, ["demo", *words]).exit_code != 0
