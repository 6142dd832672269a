"""A state that is not stored: the same layer to the bit, without its records on the disk."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from service.bundle import Bundle
from service.ensemble import open_states
from service.errors import Outcome
from service.state import Keep, SpatialState, open_or_build_state, open_state, state_bytes
from service.tiles import tiles_of
from tests.fix_bundle import FloatArray, ToyNetwork
from tests.fix_region import ToyRegion
from tests.fix_scene import Scene, make_scene
from tests.service.test_ensemble import ensemble
from tests.service.test_inference import layer


def spoil(factors: FloatArray) -> None:
    """Make a gap and values out of range."""
    factors[1, 90, 150] = np.nan
    factors[0, 30:33, 25] = 130


def patchy(folder: Path, kind: str = "factored") -> Scene:
    """Return a scene of several tiles with holes, so that some forcing cells and tiles are cut."""
    mask = np.ones((150, 260), bool)
    mask[:30, 120:200] = False
    mask[100:, 5:20] = False
    return make_scene(folder, ToyNetwork(gain=5), kind=kind, shape=(150, 260), mask=mask, change=spoil)


def opened(scene: Scene, keep: Keep) -> SpatialState:
    return open_or_build_state(
        scene.region, scene.stack, scene.bundle, scene.folder / keep,
        min_patch_observed=1.0, workers=2, keep=keep,
    )  # fmt: skip


def test_the_layer_is_the_same_to_the_bit_and_so_is_the_digest(tmp_path: Path) -> None:
    scene = patchy(tmp_path)
    stored, recomputed = opened(scene, "stored"), opened(scene, "recomputed")
    assert recomputed.digest == stored.digest
    assert not recomputed.stored
    assert not (recomputed.folder / "state.bin").exists()
    for name in ("flags.bin", "cells.bin"):
        assert (recomputed.folder / name).read_bytes() == (stored.folder / name).read_bytes()
    one = layer(scene, state=stored, workers=1)
    np.testing.assert_array_equal(one, layer(scene, state=recomputed, workers=3))
    assert len(np.unique(one)) > 20


def test_every_record_is_the_same_to_the_bit_for_whole_tiles_for_parts_and_alone(tmp_path: Path) -> None:
    scene = patchy(tmp_path)
    stored, recomputed = opened(scene, "stored"), opened(scene, "recomputed")
    random = np.random.default_rng(3)
    seen = 0
    with stored.reader() as disk, recomputed.reader() as made:
        for tile in tiles_of(scene.region.forcing):
            for members in (tile.members, tile.members[random.random(len(tile.members)) < 0.3]):
                if not len(members):
                    continue
                one, other = disk.tile(members), made.tile(members)
                np.testing.assert_array_equal(one.flags, other.flags)
                for kept, computed in zip(one.blocks, other.blocks, strict=True):
                    np.testing.assert_array_equal(kept.scaling, computed.scaling)
                    np.testing.assert_array_equal(kept.codes, computed.codes)
                    seen += 1
    assert seen > len(scene.region.forcing.active)
    with stored.opened() as disk_records, recomputed.opened() as made_records:
        here, there = disk_records.block(), made_records.block()
        for index in (0, 100, len(scene.region.forcing.active) - 1):
            disk_records.read(index, here)
            made_records.read(index, there)
            np.testing.assert_array_equal(here.codes, there.codes)
            np.testing.assert_array_equal(here.scaling, there.scaling)


def test_opening_it_needs_no_convolution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(tmp_path)

    def never(*_: object) -> FloatArray:
        raise AssertionError("convolved")

    monkeypatch.setattr(Bundle, "spatial", never)
    state = opened(scene, "recomputed")
    assert state.valid_cells.sum() > 1000


def test_the_records_go_when_they_are_no_longer_wanted_and_come_back_the_same(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)

    def at(keep: Keep) -> SpatialState:
        return open_or_build_state(
            scene.region, scene.stack, scene.bundle, tmp_path / "state",
            min_patch_observed=1.0, workers=1, keep=keep,
        )  # fmt: skip

    before = (at("stored").folder / "state.bin").read_bytes()
    small = at("recomputed")
    assert not (small.folder / "state.bin").exists()
    # As a kill between the new state.json and the end of the file leaves it.
    (small.folder / "state.bin").write_bytes(before[:100])
    assert not (at("recomputed").folder / "state.bin").exists()
    again = at("stored")
    assert again.stored
    assert (again.folder / "state.bin").read_bytes() == before


def test_who_only_looks_opens_it_with_the_bundle_and_not_without(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    state = opened(scene, "recomputed")
    folder, patches = state.folder.parent, state.patches
    assert open_state(folder, state.digest, patches) is None
    found = open_state(folder, state.digest, patches, scene.region.forcing, scene.bundle)
    assert found is not None
    assert not found.stored


def test_the_generic_path_has_no_records_either_way(tmp_path: Path) -> None:
    mask = np.zeros((70, 90), bool)
    mask[30:44, 40:60] = True
    scene = make_scene(tmp_path, kind="whole", mask=mask, shape=(70, 90))
    stored, asked = opened(scene, "stored"), opened(scene, "recomputed")
    np.testing.assert_array_equal(layer(scene, state=stored), layer(scene, state=asked))


def test_members_read_the_factors_once_for_all(tmp_path: Path) -> None:
    scene = ensemble(tmp_path)
    states = open_states(
        scene.region, scene.stack, scene.bundle, tmp_path / "state", min_patch_observed=1.0, workers=1,
        keep="recomputed",
    )  # fmt: skip
    assert len(states) == 3
    assert len({id(state.patches) for state in states}) == 1


def test_what_it_takes_is_what_was_said(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    for keep in ("stored", "recomputed"):
        states = open_states(
            scene.region, scene.stack, scene.bundle, tmp_path / keep, min_patch_observed=1.0, workers=1,
            keep=keep,
        )  # fmt: skip
        (state,) = states
        on_disk = sum(path.stat().st_size for path in state.folder.glob("*.bin"))
        forcing = scene.region.forcing
        assert on_disk == state_bytes(scene.bundle.manifest, len(forcing.active), forcing.k, keep=keep)


def test_a_refresh_publishes_the_same_map_and_nothing_new_when_the_setting_changes(toy: ToyRegion) -> None:
    (first,) = toy.refresh(None)
    assert first.outcome == Outcome.PUBLISHED
    text = toy.config.read_text()
    toy.config.write_text(text + '\n[inference]\nstate = "recomputed"\n')

    (same,) = toy.refresh(None)

    assert same.outcome == Outcome.UNCHANGED
    assert not list(toy.data.glob("state/*/state.bin"))
