"""The shadow: what a switch would change is told before it, and the real data folder is only read."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from exporters.layer import NODATA, SCALE, LayerStatus, ZoneWarning
from service import tile_work
from service.backup import make_backup
from service.cli import main_group
from service.errors import BundleError, HeldError, LockedError, Outcome, UsageError
from service.ledger import Ledger
from service.ledger_schema import MIGRATIONS
from service.lock import exclusive
from service.restore import restore_backup
from service.shadow import ShadowReport, default_work, make_shadow
from service.shadow_compare import compare_cells, compare_layers
from service.snapshot import copy_database, read_version
from tests.exporters.fix_layer import SCHEME, make_layer, write_rasters
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_region import Clock, ToyRegion
from tests.service.fix_shown import NEWEST, files_of, make_shown_region


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A region with ten layers; never changed by a test."""
    return make_shown_region(tmp_path_factory.mktemp("shown") / "toy").folder


@pytest.fixture
def toy(template: Path, tmp_path: Path) -> ToyRegion:
    shutil.copytree(template, tmp_path / "toy")
    return ToyRegion(tmp_path / "toy", Clock())


def shadow(toy: ToyRegion, **more: Any) -> ShadowReport:
    work = more.pop("work", default_work(toy.settings))
    return make_shadow(toy.settings, toy.config, toy.clock, work=work, **more)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# --- what is the same ---


def test_the_same_program_makes_the_same_layers_and_changes_nothing(toy: ToyRegion) -> None:
    before = files_of(toy.data)

    with exclusive(toy.data / "lock", "a refresh of the daemon"):
        report = shadow(toy)

    assert report.same
    assert [day.day for day in report.days] == [NEWEST - timedelta(days=n) for n in range(6, -1, -1)]
    for day in report.days:
        assert day.cells is not None
        assert day.cells.compared > 2000
        assert day.areas_m2["low"][0] == day.areas_m2["low"][1]
        assert day.seconds is not None
        assert day.seconds_before is not None
    assert files_of(toy.data) == before
    assert left_in(default_work(toy.settings)) == ["shadow.lock"]


def test_a_run_beside_it_sweeps_nothing_of_the_shadow_away(toy: ToyRegion) -> None:
    def run_beside(done: int, total: int) -> None:
        half = default_work(toy.settings) / "replays" / ".0123.part"
        half.mkdir(parents=True)
        (toy.data / ".4567.part").touch()
        assert toy.refresh(NEWEST)[0].outcome == Outcome.UNCHANGED
        assert half.is_dir()
        assert not (toy.data / ".4567.part").exists()

    assert shadow(toy, days=1, on_day=run_beside).same


def test_readings_that_came_later_are_no_difference_of_the_program(toy: ToyRegion) -> None:
    toy.clock.now += timedelta(hours=1)
    toy.set_rain({(NEWEST - timedelta(days=4), "north"): 180.0})
    toy.ingest()

    assert shadow(toy, days=3).same


# --- what differs ---


def test_another_model_is_told_in_cells_areas_and_moves(toy: ToyRegion) -> None:
    before = files_of(toy.data)
    shutil.rmtree(toy.folder / "bundle")
    write_toy_bundle(toy.folder / "bundle", ToyNetwork(gain=3.0, seed=1))

    report = shadow(toy, days=3)

    assert not report.same
    assert set(report.changed) == {"bundle", "state"}
    assert report.model.digest != report.model_before.digest
    assert len(report.days) == 3
    for day in report.days:
        assert day.cells is not None
        assert day.cells.changed >= day.cells.class_changed > 0
        assert day.cells.largest > 0
        assert sum(day.cells.moves.values()) == day.cells.class_changed
        areas = [np.subtract(*day.areas_m2[label]) for label in day.areas_m2]
        assert any(areas)
        assert sum(areas) == pytest.approx(0)  # what one class loses, another wins
    assert files_of(toy.data) == before


def test_with_another_model_the_days_before_are_made_too_so_that_growth_is_known(
    toy: ToyRegion,
) -> None:
    write_toy_bundle(toy.folder / "bundle", ToyNetwork(gain=3.0, seed=1))

    shadow(toy, days=2, keep=True)

    with Ledger(default_work(toy.settings) / "ledger.sqlite", toy.clock) as ledger:
        newest = ledger.current(NEWEST)
        assert newest is not None
        (high,) = [area for area in newest.areas if area.zone == "" and area.label == "high"]
    assert set(high.change_m2) == {1, 7}


def test_other_breaks_move_classes_and_no_value(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text() + "\n[classes]\nbreaks = [0.4, 0.52, 0.6]\n")

    report = shadow(toy, days=2)

    for day in report.days:
        assert day.cells is not None
        assert (day.cells.changed, day.cells.largest) == (0, 0)
        assert day.cells.class_changed > 0
        assert set(day.cells.moves) == {"high -> moderate"}
    assert report.changed == ("classes",)


def test_a_change_of_the_program_itself_is_found(toy: ToyRegion, monkeypatch: pytest.MonkeyPatch) -> None:
    real = tile_work.store

    def rounded_down(values: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
        found = real(values)
        return np.where((found > 0) & (found < NODATA), found - 1, found).astype(np.uint8)

    monkeypatch.setattr(tile_work, "store", rounded_down)

    report = shadow(toy, days=1)

    (day,) = report.days
    assert report.changed == ()  # by every digest it is the same layer
    assert day.cells is not None
    assert day.cells.changed > 2000
    assert day.cells.largest == SCALE


def test_a_layer_whose_files_are_gone_is_told_and_stops_no_other(toy: ToyRegion) -> None:
    with toy.ledger() as ledger:
        layer = ledger.current(NEWEST - timedelta(days=1))
        assert layer is not None
    (layer.folder / "susceptibility.tif").unlink()

    report = shadow(toy, days=3)

    assert [day.problem is None for day in report.days] == [True, False, True]
    assert "susceptibility.tif" in str(report.days[1].problem)
    assert not report.same


# --- what it refuses ---


def test_a_refused_bundle_is_not_hidden_by_the_one_in_use(toy: ToyRegion) -> None:
    (toy.folder / "bundle" / "head.onnx").write_bytes(b"broken")
    with pytest.raises(BundleError, match=r"head\.onnx"):
        shadow(toy)
    assert left_in(default_work(toy.settings)) == ["shadow.lock"]


def test_without_a_layer_there_is_nothing_to_make_again(toy: ToyRegion) -> None:
    for path in toy.data.glob("ledger*"):
        path.unlink()
    with pytest.raises(HeldError, match="nothing to make again"):
        shadow(toy)


def test_two_shadows_do_not_meet_and_none_is_made_inside_the_data_folder(toy: ToyRegion) -> None:
    work = default_work(toy.settings)
    with (
        exclusive(work / "shadow.lock", "another shadow"),
        pytest.raises(LockedError, match="another shadow"),
    ):
        shadow(toy)
    with pytest.raises(UsageError, match="sweep"):
        shadow(toy, work=toy.data / "try")


def test_nothing_is_removed_from_a_folder_that_is_not_its_own(toy: ToyRegion, tmp_path: Path) -> None:
    mine, other = tmp_path / "mine", tmp_path / "other"
    mine.mkdir()
    (mine / "thesis.txt").write_text("ten years")
    shutil.copytree(toy.data, other)  # of another region, with a lock of its own
    for folder in (mine, other, toy.folder):  # the last one holds the data folder itself
        before = files_of(folder)
        with pytest.raises(UsageError, match="is not empty"):
            shadow(toy, days=1, work=folder)
        assert files_of(folder) == before

    assert shadow(toy, days=1, work=tmp_path / "new").same
    (tmp_path / "new" / "ledger.sqlite").write_text("of one that was killed")
    assert shadow(toy, days=1, work=tmp_path / "new").same
    assert left_in(tmp_path / "new") == ["shadow.lock"]


def test_a_newer_program_migrates_the_copy_and_not_the_ledger(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.ledger.MIGRATIONS", (*MIGRATIONS, "CREATE TABLE of_tomorrow (x TEXT);"))

    report = shadow(toy, days=1, keep=True)

    assert report.same
    assert read_version(default_work(toy.settings) / "ledger.sqlite") == len(MIGRATIONS) + 1
    assert read_version(toy.data / "ledger.sqlite") == len(MIGRATIONS)


# --- the comparison ---


def stored() -> st.SearchStrategy[npt.NDArray[np.uint8]]:
    values = st.one_of(st.integers(0, 250), st.just(NODATA))
    return arrays(np.uint8, (6, 5), elements=values)


@settings(max_examples=25)
@given(stored(), stored())
def test_cells_are_counted_as_a_person_would_count_them(
    one: npt.NDArray[np.uint8], other: npt.NDArray[np.uint8]
) -> None:
    with TemporaryDirectory() as name:
        before, after = Path(name) / "a", Path(name) / "b"
        write_rasters(before, one, threads=1)
        write_rasters(after, other, threads=1)
        found = compare_cells(before, after)
        back = compare_cells(after, before)
    assert found is not None
    assert back is not None
    both = (one != NODATA) & (other != NODATA)
    classes = SCHEME.classify(one), SCHEME.classify(other)
    assert found.compared == both.sum()
    assert found.changed == (one != other)[both].sum()
    assert found.class_changed == sum(found.moves.values()) == (classes[0] != classes[1])[both].sum()
    largest = max((abs(int(a) - int(b)) for a, b in zip(one[both], other[both], strict=True)), default=0)
    assert found.largest == pytest.approx(largest * SCALE)
    assert (found.appeared, found.vanished) == (back.vanished, back.appeared)
    assert found.appeared == ((one == NODATA) & (other != NODATA)).sum()
    assert found.same == np.array_equal(one, other)


def warning(zone: str, level: int | None) -> ZoneWarning:
    return ZoneWarning(
        zone=zone,
        name=zone.title(),
        level=level,
        previous=None,
        rule="as the test wants it",
        numbers={},
        decided_at=datetime(2026, 3, 1, 6, tzinfo=UTC),
    )


def levels_of(before: Sequence[ZoneWarning], after: Sequence[ZoneWarning], tmp_path: Path) -> list[Any]:
    write_rasters(tmp_path, np.zeros((4, 4), np.uint8))
    layers = [
        make_layer(tmp_path, date(2026, 3, 1)).model_copy(update={"warnings": tuple(warnings)})
        for warnings in (before, after)
    ]
    found = compare_layers(layers[0], layers[1], 1.0, None)
    assert found.same == (not found.levels)
    return [(item.zone, item.before, item.after) for item in found.levels]


def test_levels_that_differ_are_named_and_not_known_is_no_level(tmp_path: Path) -> None:
    before = [warning("a", 0), warning("b", 2), warning("c", None), warning("d", 1)]
    after = [warning("a", 1), warning("b", 2), warning("d", None), warning("e", 3)]
    assert levels_of(before, after, tmp_path) == [
        ("a", "green", "yellow"),
        ("d", "yellow", None),
        ("e", None, "red"),
    ]


def test_another_status_is_a_difference(tmp_path: Path) -> None:
    write_rasters(tmp_path, np.zeros((4, 4), np.uint8))
    layer = make_layer(tmp_path, date(2026, 3, 1))
    degraded = layer.model_copy(update={"status": LayerStatus.DEGRADED})
    assert compare_layers(layer, layer, 1.0, None).same
    assert not compare_layers(layer, degraded, 1.0, None).same


def test_layers_of_another_grid_cannot_be_compared_cell_by_cell(tmp_path: Path) -> None:
    write_rasters(tmp_path / "a", np.zeros((4, 4), np.uint8))
    write_rasters(tmp_path / "b", np.zeros((4, 5), np.uint8))
    one, other = (make_layer(tmp_path / name, date(2026, 3, 1)) for name in "ab")
    found = compare_layers(one, other, 1.0, None)
    assert "grid differs" in str(found.problem)
    assert not found.same


# --- the command ---


def test_the_command_ends_with_0_for_the_same_and_1_for_a_difference(toy: ToyRegion) -> None:
    runner = CliRunner()
    same = runner.invoke(main_group, ["shadow", "-c", str(toy.config), "--layers", "2"])
    assert (same.exit_code, same.exception) == (0, None)
    assert "the same: every cell" in same.stdout
    toy.config.write_text(toy.config.read_text() + "\n[classes]\nbreaks = [0.4, 0.52, 0.6]\n")

    differs = runner.invoke(main_group, ["shadow", "-c", str(toy.config), "--layers", "2"])
    as_json = runner.invoke(main_group, ["shadow", "-c", str(toy.config), "--layers", "2", "--json"])

    assert differs.exit_code == 1
    assert "DIFFERS on 2 of 2 days" in differs.stdout
    assert "cells high -> moderate" in differs.stdout
    assert as_json.exit_code == 1
    said = json.loads(as_json.stdout)
    assert (said["same"], said["changed"], len(said["layers"])) == (False, ["classes"], 2)
    assert said["layers"][0]["cells"]["class_changed"] > 0


def test_a_shadow_can_be_made_of_a_restored_backup(toy: ToyRegion, tmp_path: Path) -> None:
    make_backup(toy.settings, tmp_path / "toy.tar", toy.clock)
    restore_backup(tmp_path / "toy.tar", toy.data, "A", "b", toy.clock, replace=True)
    assert shadow(toy, days=2).same
    copy_database(toy.data / "ledger.sqlite", tmp_path / "copy.sqlite")
    with rasterio.open(next((toy.data / "layers").glob("*/*/class.tif"))) as dataset:
        assert dataset.shape == (64, 80)
