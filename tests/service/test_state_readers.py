"""Reading the stored state tile by tile."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import StorageError
from service.patches import NO_DATA, OUTSIDE, VALID
from service.state import SpatialState
from service.state_readers import StoredReader
from service.tiles import tiles_of
from tests.fix_scene import Scene, make_scene


def holed(factors: npt.NDArray[np.float32]) -> None:
    factors[1, 40, 60] = np.nan
    factors[0, 30, 25] = 130


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    mask = np.ones((280, 420), bool)
    mask[100:140, 300:340] = False  # beside the one tile whose patches are all whole
    return make_scene(tmp_path_factory.mktemp("scene"), shape=mask.shape, mask=mask, change=holed)


def records(state: SpatialState, members: npt.NDArray[np.intp]) -> list[bytes]:
    with state.opened() as file:
        block, found = file.block(), []
        for index in members.tolist():
            file.read(index, block)
            found.append(block.scaling.tobytes() + block.codes.tobytes())
    return found


def test_a_tile_has_the_flags_and_records_of_its_forcing_cells(scene: Scene) -> None:
    state = scene.state()
    kinds: set[tuple[int, ...]] = set()
    with StoredReader(state) as reader:
        for tile in tiles_of(scene.region.forcing):
            if not len(tile.members):
                continue
            found = reader.tile(tile.members)
            flags = np.concatenate([state.flags(n, n + 1) for n in tile.members.tolist()])
            np.testing.assert_array_equal(found.flags, flags)
            kinds.add(tuple(np.unique(flags).tolist()))
            read = [block.scaling.tobytes() + block.codes.tobytes() for block in found.blocks]
            assert read == records(state, tile.members)
    assert (VALID,) in kinds  # a tile whose flags need not be read
    assert (NO_DATA, VALID, OUTSIDE) in kinds


def test_any_choice_of_forcing_cells_is_read(scene: Scene) -> None:
    state = scene.state()
    every = np.arange(len(scene.region.forcing.active))
    for members in (every[::7], every[[3]], every):
        with StoredReader(state) as reader:
            found = reader.tile(members)
            np.testing.assert_array_equal(found.flags, state.flags(0, len(every))[members])
            assert sum(1 for _ in found.blocks) == len(members)


def test_being_told_of_a_tile_changes_nothing(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    state = scene.state()
    members = next(tile.members for tile in tiles_of(scene.region.forcing) if len(tile.members))
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda _, first, length, __: asked.append((first, length)))
    size = (state.folder / "state.bin").stat().st_size // state.record.forcing_cells

    def refuse(*_: object) -> int:
        raise BlockingIOError

    with StoredReader(state) as reader:
        # Not every file system says whether something is in memory.
        monkeypatch.setattr(os, "preadv", lambda *_: 1)
        reader.expect(members)
        assert asked == []
        monkeypatch.setattr(os, "preadv", refuse)
        reader.expect(members)
    told = [index for first, length in asked for index in range(first // size, (first + length) // size)]
    assert told == members.tolist()


def test_a_state_cut_short_is_refused(scene: Scene, tmp_path: Path) -> None:
    state = scene.state()
    members = np.arange(len(scene.region.forcing.active))
    folder = tmp_path / "cut"
    folder.mkdir()
    for name in ("state.bin", "flags.bin", "cells.bin", "state.json"):
        (folder / name).write_bytes((state.folder / name).read_bytes())
    cut = SpatialState(folder, state.record, state.patches)
    for name in ("flags.bin", "state.bin"):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(whole[:-1])
        with StoredReader(cut) as reader, pytest.raises(StorageError, match="cut short at forcing cell"):
            list(reader.tile(members).blocks)
        (folder / name).write_bytes(whole)
    with StoredReader(cut) as reader:
        list(reader.tile(members).blocks)
