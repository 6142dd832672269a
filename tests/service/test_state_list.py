"""Listing, building ahead and removing spatial states; where they are kept, by settings and disk."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from service import state_list
from service.bundle import read_manifest
from service.check import run_checks
from service.cli import main_group
from service.errors import LockedError, Outcome, StorageError, UsageError
from service.factor_stack import FactorStack
from service.lock import exclusive
from service.region import open_region
from service.state_keep import Kept, choose_keep, folder_bytes, state_digests
from service.state_list import build_ahead, list_states, remove_states
from service.status import read_status
from service.workshop import lock_path
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_region import ToyRegion


def other_bundle(toy: ToyRegion) -> Path:
    """Write a bundle with other weights."""
    return write_toy_bundle(toy.folder / "other", ToyNetwork(seed=77), breaks=(0.4, 0.5, 0.6))


def use_bundle(toy: ToyRegion, name: str) -> None:
    text = toy.config.read_text()
    start = text.index("[bundle]")
    rest = text[text.index("[hotspots]") :]
    toy.config.write_text(text[:start] + f'[bundle]\npath = "{name}"\n\n' + rest)


def inference(toy: ToyRegion, *lines: str) -> None:
    toy.config.write_text("\n".join([toy.config.read_text(), "[inference]", *lines, ""]))


def kept(toy: ToyRegion) -> Kept:
    """Decide where the region's states go."""
    settings = toy.settings
    region = open_region(settings)
    manifest, _ = read_manifest(settings.bundle.path)
    with FactorStack.open(settings.stack_path, region.grid) as stack:
        digests = state_digests(region, stack, manifest, settings.inference.min_patch_observed)
    return choose_keep(settings.inference, manifest, digests, settings.data_dir / "state", region)


def with_free(monkeypatch: pytest.MonkeyPatch, folder: Path, free: float) -> None:
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=int(free)))


def test_a_state_is_listed_with_what_it_takes_and_whether_it_is_in_use(toy: ToyRegion) -> None:
    assert list_states(toy.settings, toy.clock) == []
    toy.refresh(None)

    (row,) = list_states(toy.settings, toy.clock)

    assert (row.in_use, row.stored, row.ahead, row.damaged) == (True, True, False, False)
    place = toy.data / "state" / row.digest[:16]
    record = json.loads((place / "state.json").read_text())
    assert row.cells == record["valid_cells"] > 0
    assert row.bytes == sum(path.stat().st_blocks * 512 for path in place.iterdir()) > 0
    assert row.bytes_per_cell == row.bytes / row.cells
    assert row.bundle == record["bundle"] != ""


def test_a_state_built_ahead_outlives_refreshes_and_saves_the_switch_the_work(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.refresh(None)
    seen: list[tuple[int, int]] = []

    (digest,), chosen = build_ahead(
        toy.settings, other_bundle(toy), lambda done, total: seen.append((done, total))
    )

    assert chosen.keep == "stored"
    assert seen[-1][0] == seen[-1][1] > 0
    before = (toy.data / "state" / digest[:16] / "state.bin").stat().st_ino
    (again,) = toy.refresh(None)
    assert again.outcome == Outcome.UNCHANGED
    ahead = {row.digest: row for row in list_states(toy.settings, toy.clock)}
    assert (ahead[digest].ahead, ahead[digest].in_use, len(ahead)) == (True, False, 2)

    use_bundle(toy, "other")
    (switched,) = toy.refresh(None)

    assert switched.outcome == Outcome.PUBLISHED
    (row,) = list_states(toy.settings, toy.clock)  # the old one went with its bundle
    assert (row.digest, row.in_use, row.ahead) == (digest, True, False)
    assert (toy.data / "state" / digest[:16] / "state.bin").stat().st_ino == before


def test_the_state_in_use_is_removed_only_by_force_and_comes_back(toy: ToyRegion) -> None:
    (first,) = toy.refresh(None)
    (row,) = list_states(toy.settings, toy.clock)

    with pytest.raises(UsageError, match="in use"):
        remove_states(toy.settings, row.digest[:6], toy.clock)
    assert remove_states(toy.settings, None, toy.clock) == []
    assert (toy.data / "state" / row.digest[:16]).exists()
    assert remove_states(toy.settings, row.digest, toy.clock, force=True) == [row]
    assert not list((toy.data / "state").iterdir())

    (again,) = toy.refresh(None)
    assert (first.outcome, again.outcome) == (Outcome.PUBLISHED, Outcome.UNCHANGED)
    assert [item.digest for item in list_states(toy.settings, toy.clock)] == [row.digest]


def test_unused_and_damaged_ones_go_and_one_built_ahead_goes_by_name(toy: ToyRegion) -> None:
    toy.refresh(None)
    (used,) = list_states(toy.settings, toy.clock)
    stray = toy.data / "state" / "0123456789abcdef"
    shutil.copytree(toy.data / "state" / used.digest[:16], stray)
    (stray / "flags.bin").write_bytes(b"cut")
    (ahead,), _ = build_ahead(toy.settings, other_bundle(toy))

    removed = remove_states(toy.settings, None, toy.clock)

    assert [(row.digest, row.damaged) for row in removed] == [("0123456789abcdef", True)]
    assert {row.digest for row in list_states(toy.settings, toy.clock)} == {used.digest, ahead}
    remove_states(toy.settings, ahead[:8], toy.clock)
    assert [row.digest for row in list_states(toy.settings, toy.clock)] == [used.digest]
    for wrong in ("zzz", ""):
        with pytest.raises(UsageError, match="no state begins"):
            remove_states(toy.settings, wrong, toy.clock)


def test_a_copy_beside_is_not_taken_for_the_state_whose_name_it_begins_with(toy: ToyRegion) -> None:
    toy.refresh(None)
    (used,) = list_states(toy.settings, toy.clock)
    place = toy.data / "state" / used.digest[:16]
    copy, cut = place.with_name(place.name + ".bak"), place.with_name(place.name + ".old")
    for path in (copy, cut):
        shutil.copytree(place, path)
    (cut / "flags.bin").write_bytes(b"cut")

    removed = remove_states(toy.settings, None, toy.clock)

    assert {row.digest for row in removed} == {copy.name, cut.name}
    assert [path.name for path in (toy.data / "state").iterdir()] == [place.name]
    assert list_states(toy.settings, toy.clock) == [used]


def test_a_state_that_a_run_removes_meanwhile_is_left_out(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    toy.refresh(None)
    monkeypatch.setattr(state_list, "whole_record", lambda place: shutil.rmtree(place))
    assert list_states(toy.settings, toy.clock) == []


def test_what_goes_away_while_a_folder_is_measured_counts_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "there").write_bytes(bytes(10_000))
    alone = folder_bytes(tmp_path)
    assert alone >= 10_000
    monkeypatch.setattr(os, "walk", lambda _: [(str(tmp_path), [], ["gone", "there"])])
    assert folder_bytes(tmp_path) == alone


def test_building_and_removing_wait_for_nobody_and_disturb_no_run(toy: ToyRegion) -> None:
    with exclusive(lock_path(toy.settings), "colluvium refresh"):
        with pytest.raises(LockedError, match="colluvium refresh"):
            build_ahead(toy.settings, None)
        with pytest.raises(LockedError, match="colluvium refresh"):
            remove_states(toy.settings, None, toy.clock)


def test_auto_stores_within_budget_and_disk_and_says_otherwise(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (kept(toy).keep, kept(toy).fell_back) == ("stored", False)
    need = kept(toy).need
    inference(toy, f"state_disk_budget_gb = {need * 0.99 / 1e9:.12f}")
    over = kept(toy)
    assert (over.keep, over.fell_back) == ("recomputed", True)
    assert "state_disk_budget_gb" in over.reason
    assert over.need < need / 10
    toy.refresh(None)
    assert not list(toy.data.glob("state/*/state.bin"))
    assert "recomputed" in read_status(toy.settings, toy.clock()).spatial_state
    disk = {check.name: check for check in run_checks(toy.settings, lambda *_: None)}["disk"]
    assert disk.state == "warn"
    assert "state_disk_budget_gb" in disk.message


def test_auto_counts_what_is_there_and_recomputes_on_a_full_disk(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    need = kept(toy).need
    with monkeypatch.context() as full:
        with_free(full, toy.folder, need)
        assert "are free" in kept(toy).reason
        assert kept(toy).fell_back
    toy.refresh(None)
    assert "stored" in read_status(toy.settings, toy.clock()).spatial_state
    with_free(monkeypatch, toy.folder, 1000)
    there = kept(toy)
    assert (there.keep, there.have, there.need) == ("stored", need, need)


def test_what_the_settings_ask_for_is_done_or_refused(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference(toy, 'state = "stored"')
    with_free(monkeypatch, toy.folder, 1000)
    assert kept(toy).keep == "stored"
    with pytest.raises(StorageError, match=r'inference\.state = "recomputed"'):
        build_ahead(toy.settings, None)


def test_check_asks_for_the_old_state_and_the_new_one(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference(toy, 'state = "stored"')
    toy.config.write_text(toy.config.read_text() + "\n[schedule]\ncatch_up_days = 0\n")
    need = kept(toy).need

    def disk() -> tuple[str, str]:
        found = {check.name: check for check in run_checks(toy.settings, lambda *_: None)}["disk"]
        return found.state, found.message

    with monkeypatch.context() as free:
        with_free(free, toy.folder, 2 * need + 1000)
        assert disk()[0] == "ok"
        with_free(free, toy.folder, 2 * need - 1000)
        state, words = disk()
        assert state == "fail"
        assert 'inference.state = "recomputed"' in words
    toy.refresh(None)
    with monkeypatch.context() as free:
        # One of the two is there.
        with_free(free, toy.folder, need + 1000)
        assert disk()[0] == "ok"
        with_free(free, toy.folder, need / 2)
        assert disk()[0] == "fail"


def said(*arguments: str) -> str:
    """Run a command in this process; return what it printed. Raises what it raises."""
    done = CliRunner().invoke(main_group, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_commands_list_build_and_remove(toy: ToyRegion) -> None:
    config, bundle = str(toy.config), str(other_bundle(toy))
    assert "no state yet" in said("state", "-c", config)
    (digest,) = json.loads(said("state", "build", "-c", config, "--json"))["states"]
    name = said("state", "build", "-c", config, "--bundle", bundle).split()[0]
    rows = json.loads(said("state", "-c", config, "--json"))["states"]
    assert [row["digest"] for row in rows if row["in_use"]] == [digest]
    assert [row["digest"][:16] for row in rows if not row["in_use"]] == [name]
    assert all(row["bytes_per_cell"] > 1 for row in rows)
    shown = said("state", "-c", config)
    assert "built ahead" in shown
    assert "in use" in shown
    with pytest.raises(UsageError, match="--force"):
        said("state", "remove", digest, "-c", config)
    assert name in said("state", "remove", name, "-c", config)
    assert name not in said("state", "-c", config)
    with pytest.raises(UsageError, match="--unused"):
        said("state", "remove", "-c", config)
    with pytest.raises(UsageError, match="which region"):
        said("state")
