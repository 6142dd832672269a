"""Tiles on this machine's threads."""

from __future__ import annotations

import threading
from contextlib import closing
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pytest

from service.engines.local import LocalEngine
from service.errors import StorageError
from service.head import CpuHead
from service.state_readers import StateReader, TileState
from service.tile_work import Model, TileOrder, TileWork
from service.tiles import tiles_of
from tests.fix_scene import Scene, make_scene


@dataclass
class Watched:
    """A state reader that remembers what it was asked, and whether it was told before."""

    inner: StateReader
    broken_from: int = 1000
    told: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    untold: list[int] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def expect(self, members: npt.NDArray[np.intp]) -> None:
        self.told.append(int(members[0]))

    def tile(self, members: npt.NDArray[np.intp]) -> TileState:
        first = int(members[0])
        with self.lock:
            self.asked.append(first)
            if first not in self.told:
                self.untold.append(first)
            if len(self.asked) > self.broken_from:
                raise StorageError("the disk is gone")
        return self.inner.tile(members)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return make_scene(tmp_path_factory.mktemp("scene"), shape=(270, 400))  # three bands of four tiles


def orders_of(scene: Scene) -> list[TileOrder]:
    windows, manifest = scene.windows, scene.bundle.manifest
    embedded = np.zeros((len(windows.windows), manifest.channels), np.float32)
    return [
        TileOrder(
            tile, np.zeros(len(tile.members), bool), corners=(embedded[windows.corner_rows[tile.members]],)
        )
        for tile in tiles_of(scene.region.forcing)
    ]


@pytest.mark.parametrize("workers", [1, 3])
def test_results_come_in_order_and_each_tile_is_announced_before(scene: Scene, workers: int) -> None:
    orders = orders_of(scene)
    with scene.state().reader() as reader:
        watched = Watched(reader)
        work = TileWork(scene.bundle.manifest, Model(watched, CpuHead(scene.bundle)))
        results = list(LocalEngine(workers).run(work, orders))
    assert [result.tile for result in results] == [order.tile for order in orders]
    assert sorted(watched.asked) == sorted(int(order.tile.members[0]) for order in orders)
    assert watched.untold == []


def test_only_a_few_tiles_are_announced_ahead(scene: Scene) -> None:
    with scene.state().reader() as reader:
        watched = Watched(reader)
        work = TileWork(scene.bundle.manifest, Model(watched, CpuHead(scene.bundle)))
        with closing(LocalEngine(1).run(work, orders_of(scene))) as results:
            next(results)
            assert len(watched.told) <= 5
        assert len(watched.asked) <= 5


def test_what_a_tile_raises_ends_the_run(scene: Scene) -> None:
    with scene.state().reader() as reader:
        watched = Watched(reader, broken_from=3)
        work = TileWork(scene.bundle.manifest, Model(watched, CpuHead(scene.bundle)))
        with pytest.raises(StorageError, match="the disk is gone"):
            list(LocalEngine(2).run(work, orders_of(scene)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("colluvium")]
