"""The spatial state: which cells count, how exact it is, when it is built, reused and built again."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import state_build
from service.bundle import Bundle
from service.errors import AbandonedError, BundleError, FactorError, StorageError
from service.patches import NO_DATA, OUTSIDE, VALID
from service.state import Block, BlockFile, SpatialState, open_or_build_state, quantise
from tests.fix_bundle import FloatArray, ToyNetwork, write_toy_bundle
from tests.fix_scene import Scene, make_scene, write_stack

P = 23


def test_files_that_several_machines_fill_in_are_opened_for_writing_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NFS brings whole pages back of a file that it may read, and with them what a neighbour has written."""
    opened: dict[str, set[int]] = {}
    really = os.open

    def noted(path: str | Path, flags: int, *more: int) -> int:
        opened.setdefault(Path(path).name, set()).add(flags & os.O_ACCMODE)
        return really(path, flags, *more)

    scene = make_scene(tmp_path)
    monkeypatch.setattr(os, "open", noted)
    scene.state()
    for name in ("state.bin", "flags.bin", "cells.bin"):
        assert os.O_WRONLY in opened[name]
        assert os.O_RDWR not in opened[name]


def flag_map(scene: Scene, state: SpatialState) -> npt.NDArray[np.uint8]:
    """Put the flags of every forcing cell where its cells lie: (height, width)."""
    grid, k = scene.region.grid, scene.region.forcing.k
    out = np.zeros((grid.height + k, grid.width + k), np.uint8)
    for (row, column), flags in zip(
        scene.region.forcing.active, state.flags(0, len(scene.region.forcing.active)), strict=True
    ):
        out[row * k : row * k + k, column * k : column * k + k] = flags.reshape(k, k)
    return out[: grid.height, : grid.width]


def expected_flags(scene: Scene, least: float) -> npt.NDArray[np.uint8]:
    """Work out the flags cell by cell from the rule."""
    padded = np.pad(scene.factors, ((0, 0), (P, P), (P, P)), constant_values=np.nan)
    out = np.zeros(scene.mask.shape, np.uint8)
    for row, column in np.argwhere(scene.mask):
        first_row, first_column = row + P - P // 2, column + P - P // 2
        patch = padded[:, first_row : first_row + P, first_column : first_column + P]
        observed = np.isfinite(patch).all(axis=0).mean()
        if observed < least - 1e-9:
            continue
        x = scene.factors[:, row, column]
        strange = (x[:-1] < 0).any() or (x[:-1] > 100).any() or x[-1] not in (1, 2, 3, np.nan)
        known = np.isfinite(x[-1]) and strange
        out[row, column] = OUTSIDE if observed < 1 or known else VALID
    return out


def dig_holes(factors: FloatArray) -> None:
    """Make a missing cell in one band, a value outside the range and a category nobody trained on."""
    factors[1, 40, 60] = np.nan
    factors[0, 30, 25] = 130
    factors[2, 33, 30] = 7


@pytest.mark.parametrize("least", [1.0, 0.8])
def test_a_cell_is_valid_where_mask_and_patch_hold_it_and_marked_outside_training(
    tmp_path: Path, least: float
) -> None:
    mask = np.ones((70, 90), bool)
    mask[:20, 50:] = False
    scene = make_scene(
        tmp_path, mask=mask, change=dig_holes, categories={1: "forest", 2: "field", 3: "rock", 7: "glacier"}
    )
    state = scene.state(min_patch_observed=least)
    found, expected = flag_map(scene, state), expected_flags(scene, least)
    np.testing.assert_array_equal(found, expected)
    assert {NO_DATA, VALID, OUTSIDE} == set(np.unique(found).tolist())
    assert state.valid_cells.sum() == (expected != NO_DATA).sum() == state.record.valid_cells
    assert state.outside_cells.sum() == (expected == OUTSIDE).sum()


def decoded(state: SpatialState, index: int) -> tuple[FloatArray, FloatArray]:
    """Return the state (k*k, D) of a forcing cell and the step of each channel."""
    with state.opened() as file:
        block = file.block()
        file.read(index, block)
    return block.codes[0] * block.scale + block.offset, block.scale


def test_decoded_state_is_within_half_a_step_of_the_graph(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    state, k = scene.state(), scene.region.forcing.k
    exact = scene.bundle.spatial(np.pad(scene.factors, ((0, 0), (11, 11), (11, 11)), mode="edge")[None])[0]
    checked = 0
    for index, (row, column) in enumerate(scene.region.forcing.active):
        if state.valid_cells[index] == 0:
            continue
        valid = state.flags(index, index + 1)[0] != NO_DATA
        values, step = decoded(state, index)
        # The grid ends inside the last forcing cells.
        block = np.zeros((exact.shape[0], k, k), np.float32)
        there = exact[:, row * k : row * k + k, column * k : column * k + k]
        block[:, : there.shape[1], : there.shape[2]] = there
        difference = np.abs(values - block.reshape(len(block), -1).T)[valid]
        assert (difference <= 0.501 * step + 1e-5).all()
        checked += 1
    assert checked > 20


@given(st.integers(0, 2**32 - 1), st.floats(1e-3, 1e4), st.floats(-1e3, 1e3), st.floats(0.05, 1))
def test_quantisation_is_off_by_at_most_half_a_step_and_no_data_never_widens_it(
    seed: int, spread: float, centre: float, share: float
) -> None:
    random = np.random.default_rng(seed)
    state = (centre + spread * random.standard_normal((5, 4, 4))).astype(np.float32)
    flags = (random.random((4, 4)) < share).astype(np.uint8)
    flags[0, 0] = VALID
    valid = flags != NO_DATA
    state[:, ~valid] = 1e30
    block = quantise(state, flags)
    back = (block.codes[0] * block.scale + block.offset).T.reshape(5, 4, 4)
    values = state[:, valid]
    step = np.maximum((values.max(axis=1) - values.min(axis=1)) / 255, 1e-6)
    rounding = np.abs(values).max() * 1e-6
    assert (np.abs(back[:, valid] - values) <= 0.501 * step[:, None] + rounding).all()


def test_a_graph_that_gives_no_number_is_refused() -> None:
    state = np.zeros((3, 2, 2), np.float32)
    state[1, 0, 1] = np.inf
    with pytest.raises(BundleError, match="not finite"):
        quantise(state, np.ones((2, 2), np.uint8))


def test_a_long_run_of_small_records_is_written_whole(tmp_path: Path) -> None:
    """Of forcing cells of a few cells a tile has thousands, and the system takes 1024 buffers at a time."""
    random = np.random.default_rng(1)
    blocks = [Block(2, 3) for _ in range(1500)]
    for block in blocks:
        block.scaling[:] = random.random((2, 3))
        block.codes[:] = random.integers(0, 255, block.codes.shape)
    with (tmp_path / "state.bin").open("w+b") as raw:
        file, room = BlockFile(raw.fileno(), 2, 3), Block(2, 3)
        file.write(5, blocks)
        for number, block in enumerate(blocks):
            file.read(5 + number, room)
            np.testing.assert_array_equal(room.scaling, block.scaling)
            np.testing.assert_array_equal(room.codes, block.codes)


def test_categories_are_matched_by_name_not_by_code(tmp_path: Path) -> None:
    plain = make_scene(tmp_path / "plain")
    other = {10: "rock", 20: "forest", 30: "field"}  # by name: 3, 1, 2

    def recode(factors: FloatArray) -> None:
        factors[-1] = np.select([factors[-1] == 1, factors[-1] == 2], [20, 30], 10)

    recoded = make_scene(tmp_path / "recoded", change=recode, categories=other)
    first, second = plain.state(), recoded.state()
    for name in ("flags.bin", "state.bin"):
        assert (first.folder / name).read_bytes() == (second.folder / name).read_bytes()


def test_state_is_the_same_for_any_number_of_workers(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, shape=(150, 260))
    one = scene.state(workers=1)
    again = replace(scene, folder=tmp_path / "again").state(workers=3)
    for name in ("flags.bin", "cells.bin", "state.bin"):
        assert (one.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_a_finished_state_is_reused(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    first = scene.state()
    before = (first.folder / "state.bin").stat()

    def never(done: int, total: int) -> None:
        raise AssertionError("built again")

    second = open_or_build_state(
        scene.region, scene.stack, scene.bundle, tmp_path / "state",
        min_patch_observed=1.0, workers=1, progress=never,
    )  # fmt: skip
    assert second.digest == first.digest
    assert (second.folder / "state.bin").stat().st_ino == before.st_ino


class _Changed(NamedTuple):
    scene: Scene
    least: float = 1.0


def _other_factors(scene: Scene) -> _Changed:
    factors = scene.factors.copy()
    factors[0, 35, 45] += 1
    net = scene.network
    write_stack(scene.stack.path, scene.region, net, factors, {1: "forest", 2: "field", 3: "rock"})
    return _Changed(replace(scene, stack=type(scene.stack).open(scene.stack.path, scene.region.grid)))


def _other_weights(scene: Scene) -> _Changed:
    path = write_toy_bundle(scene.folder / "other", ToyNetwork(seed=9))
    return _Changed(replace(scene, bundle=Bundle.load(path)))


def _other_mask(scene: Scene) -> _Changed:
    return _Changed(replace(scene, region=replace(scene.region, mask_digest="other")))


def _other_rule(scene: Scene) -> _Changed:
    return _Changed(scene, 0.9)


@pytest.mark.parametrize("change", [_other_factors, _other_weights, _other_mask, _other_rule])
def test_another_input_makes_another_state(tmp_path: Path, change: object) -> None:
    scene = make_scene(tmp_path)
    first = scene.state()
    assert callable(change)
    changed = change(scene)
    second = changed.scene.state(min_patch_observed=changed.least)
    assert second.digest != first.digest
    assert first.folder.exists()
    assert second.folder.exists()


def test_a_build_killed_in_the_middle_leaves_nothing_and_the_next_one_ends_the_same(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, shape=(150, 260))
    whole = replace(scene, folder=tmp_path / "whole").state()

    def stop(done: int, total: int) -> None:
        assert 0 < done < total
        raise AbandonedError("stopped")

    with pytest.raises(AbandonedError):
        open_or_build_state(
            scene.region, scene.stack, scene.bundle, tmp_path / "state",
            min_patch_observed=1.0, workers=2, progress=stop,
        )  # fmt: skip
    assert list((tmp_path / "state").iterdir()) == []
    # What SIGKILL would leave: a temporary folder that nobody removed.
    (tmp_path / "state" / ".0123456789ab.part").mkdir()
    (tmp_path / "state" / ".0123456789ab.part" / "state.bin").write_bytes(b"half")
    state = scene.state()
    assert [path.name for path in (tmp_path / "state").iterdir()] == [state.folder.name]
    assert (state.folder / "state.bin").read_bytes() == (whole.folder / "state.bin").read_bytes()


@pytest.mark.parametrize("name", ["state.bin", "flags.bin", "cells.bin", "state.json"])
def test_a_damaged_state_is_built_again(tmp_path: Path, name: str) -> None:
    scene = make_scene(tmp_path)
    state = scene.state()
    content = (state.folder / "state.bin").read_bytes()
    with (state.folder / name).open("r+b") as file:
        file.truncate(40)
    again = scene.state()
    assert (again.folder / "state.bin").read_bytes() == content


def test_progress_ends_at_the_number_of_forcing_cells(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, shape=(150, 260))
    seen: list[tuple[int, int]] = []
    open_or_build_state(
        scene.region, scene.stack, scene.bundle, tmp_path / "state",
        min_patch_observed=1.0, workers=2, progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    count = len(scene.region.forcing.active)
    assert seen[-1] == (count, count)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_full_disk_is_named_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scene = make_scene(tmp_path)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(StorageError, match="no space left"):
        scene.state()
    assert list((tmp_path / "state").iterdir()) == []


def test_a_disk_that_fills_up_on_the_way_ends_the_build_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = make_scene(tmp_path, shape=(150, 260))

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(state_build, "_AT_ONCE", 1)
    monkeypatch.setattr(os, "fdatasync", full)
    with pytest.raises(OSError, match="No space left"):
        scene.state()
    assert list((tmp_path / "state").iterdir()) == []


def test_another_forcing_cell_than_the_regions_is_refused(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    path = write_toy_bundle(tmp_path / "other", ToyNetwork(k=16))
    with pytest.raises(BundleError, match="forcing_cell = 16"):
        replace(scene, bundle=Bundle.load(path)).state()


@pytest.mark.parametrize(
    ("band", "changed", "message"),
    [
        ("f0", {"unit": "km"}, "'km'"),
        ("f0", {"categories": {1: "a"}}, "categorical"),
        ("cover", None, "cover"),
    ],
)
def test_a_factor_in_another_unit_or_kind_or_missing_is_refused(
    tmp_path: Path, band: str, changed: dict[str, object] | None, message: str
) -> None:
    scene = make_scene(tmp_path)
    bands = [
        replace(item, **changed) if item.name == band and changed else item  # type: ignore[arg-type]
        for item in scene.stack.bands
        if changed or item.name != band
    ]
    stack = type(scene.stack)(scene.stack.path, scene.region.grid, tuple(bands), {"digest": "d"})
    with pytest.raises(FactorError, match=message):
        replace(scene, stack=stack).state()
