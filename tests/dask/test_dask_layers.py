"""Layers made on a cluster: the same bytes as on this machine's threads, and few tasks at a time."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from exporters.layer import NODATA, Odds
from service.bundle import Bundle
from service.engines.base import Engine
from service.engines.dask import DaskBuild, DaskEngine, Shared
from service.engines.dask_cluster import Cluster
from service.engines.dask_tasks import PackedOrders
from service.engines.local import LocalEngine
from service.ensemble import Member, open_members, open_states
from service.errors import Outcome
from service.inference import LayerStrip, layer_strips
from service.settings_engine import EngineSettings
from service.state import open_or_build_state
from service.tile_work import TileOrder, TileResult, TileWork
from service.tiles import Tile
from tests.dask.conftest import TestCluster
from tests.fix_bundle import ToyNetwork
from tests.fix_region import LAST_DAY, Clock, ToyRegion
from tests.fix_scene import Scene, make_scene, make_windows, without_window
from tests.service.test_ensemble import with_members

LIVELY = ToyNetwork(gain=5)
ODDS = Odds(event_rate=1e-4, per="cell and day", positives_share=0.5)


@dataclass(frozen=True)
class Counted:
    """An engine that counts the orders that were asked for before each result."""

    engine: Engine
    asked: list[int]

    def run(self, work: TileWork, orders: Iterator[TileOrder]) -> Iterator[TileResult]:
        count = 0

        def counting() -> Iterator[TileOrder]:
            nonlocal count
            for order in orders:
                count += 1
                yield order

        with closing(self.engine.run(work, counting())) as results:
            for result in results:
                self.asked.append(count)
                yield result


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """A ragged region of three bands of three tiles, one of them without a cell."""
    shape = (300, 290)
    mask = np.ones(shape, bool)
    mask[128:256, :130] = False
    mask[:40, :17] = False
    made = make_scene(tmp_path_factory.mktemp("scene"), LIVELY, shape=shape, mask=mask)
    bundle = with_members(made.folder / "bundle-factored", [replace(LIVELY, seed=7)])
    return replace(made, bundle=bundle, windows=without_window(made.windows, 40))


@pytest.fixture(scope="module")
def members(scene: Scene) -> tuple[Member, ...]:
    """The members of its ensemble, with states that were built on threads."""
    states = open_states(
        scene.region, scene.stack, scene.bundle, scene.folder / "state", min_patch_observed=1.0, workers=2
    )
    return open_members(scene.bundle, states)


def shared(scene: Scene) -> Shared:
    return Shared(scene.region, scene.stack, 1.0, scene.bundle)


def bytes_of(strips: Iterator[LayerStrip]) -> list[tuple[int, int, list[bytes | None]]]:
    with closing(strips) as every:  # type: ignore[type-var]
        return [
            (
                strip.row,
                strip.outside,
                [
                    None if part is None else part.tobytes()
                    for part in (strip.stored, strip.uncertainty, strip.probability, strip.quantiles)
                ],
            )
            for strip in every
        ]


def test_a_layer_with_all_its_rasters_is_the_same_byte_for_byte(
    cluster: TestCluster, scene: Scene, members: tuple[Member, ...]
) -> None:
    state = scene.state()
    partial = replace(scene.windows, partial={50: np.arange(LIVELY.k**2) % 3 > 0})
    sets = [make_windows(scene.region.forcing, replace(LIVELY, seed=seed)) for seed in (5, 6, 7)]
    kinds = {
        "members and odds": {"windows": partial, "members": members, "odds": ODDS},
        "a forecast of three": {"windows": sets[0], "forecasts": sets},
    }
    with Cluster(cluster.settings(), 1) as connected:
        engine = DaskEngine(connected, shared(scene), [state, *(member.state for member in members)])
        for kind, what in kinds.items():
            made = [
                bytes_of(layer_strips(scene.region, state, scene.bundle, workers=2, engine=one, **what))  # type: ignore[arg-type]
                for one in (LocalEngine(1), engine)
            ]
            assert made[0] == made[1], kind
            stored = np.frombuffer(b"".join(parts[0] or b"" for *_, parts in made[1]), np.uint8)
            assert len(np.unique(stored)) > 20
            assert 0 < (stored == NODATA).sum() < len(stored)


def test_a_cluster_of_one_process_gives_the_same_and_shows_itself_to_nobody(scene: Scene) -> None:
    state = scene.state()
    with Cluster(EngineSettings(kind="dask", workers=1, tiles_per_task=1), 4) as own:
        strips = [
            bytes_of(layer_strips(scene.region, state, scene.bundle, scene.windows, workers=1, engine=engine))
            for engine in (None, DaskEngine(own, shared(scene), [state]))
        ]
        assert strips[0] == strips[1]
        (worker,) = own.threads()
        assert worker.startswith("tls://127.0.0.1:")
        workers = [psutil.Process(pid) for pid in own.client.run(_pid).values()]
        listening = {
            connection.laddr.ip
            for process in (psutil.Process(), *workers)
            for connection in process.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {"127.0.0.1"}
    assert all(not worker.is_running() for worker in workers)


def _pid() -> int:
    import os

    return os.getpid()


def test_few_tasks_are_under_way_however_many_tiles_there_are(cluster: TestCluster, tmp_path: Path) -> None:
    scene = make_scene(tmp_path, replace(LIVELY, k=64), shape=(3 * 128, 6 * 128))
    state, asked = scene.state(), []
    with Cluster(cluster.settings(tiles_per_task=1), 1) as connected:
        counted = Counted(DaskEngine(connected, shared(scene), [state]), asked)
        strips = layer_strips(scene.region, state, scene.bundle, scene.windows, workers=1, engine=counted)  # type: ignore[arg-type]
        assert sum(strip.stored.size for strip in strips) == scene.mask.size
    ahead = [count - number for number, count in enumerate(asked, start=1)]
    assert len(asked) == 18
    assert max(ahead) <= 6  # three for each of two threads


def test_stopping_in_the_middle_leaves_no_task_behind(cluster: TestCluster, scene: Scene) -> None:
    state = scene.state()
    with Cluster(cluster.settings(tiles_per_task=1), 1) as connected:
        engine = DaskEngine(connected, shared(scene), [state])
        with closing(
            layer_strips(scene.region, state, scene.bundle, scene.windows, workers=1, engine=engine)
        ) as strips:
            next(strips)
        client, until = connected.client, time.monotonic() + 60
        while any(str(key).startswith("compute_tiles") for key in client.run_on_scheduler(_task_keys)):
            assert time.monotonic() < until  # cancelling is a message; a task that runs is waited for
            time.sleep(0.01)


def _task_keys(dask_scheduler: object) -> list[str]:
    return [str(key) for key in dask_scheduler.tasks]  # type: ignore[attr-defined]


def test_a_state_built_on_a_cluster_is_the_same_byte_for_byte(cluster: TestCluster, tmp_path: Path) -> None:
    hole = np.ones((200, 290), bool)
    hole[20:60, 100:180] = False
    scene = make_scene(tmp_path, LIVELY, shape=hole.shape, mask=hole)
    bundle = with_members(scene.folder / "bundle-factored", [replace(LIVELY, seed=9)])
    scene = replace(scene, bundle=bundle)
    found = []
    for place in ("threads", "cluster"):
        with ExitStack() as stack:
            build = None
            if place == "cluster":
                connected = stack.enter_context(Cluster(cluster.settings(tiles_per_task=4), 1))

                def build(one: Bundle, number: int, to: Cluster = connected) -> DaskBuild:
                    return DaskBuild(to, shared(scene), one, number)

            counted: list[int] = []
            states = open_states(
                scene.region, scene.stack, bundle, tmp_path / place, min_patch_observed=1.0, workers=1,
                progress=lambda done, _, into=counted: into.append(done), build=build,
            )  # fmt: skip
            assert counted[-1] == 2 * len(scene.region.forcing.active)
        found.append(
            [
                (path.name, hashlib.sha256(path.read_bytes()).hexdigest())
                for state in states
                for path in sorted(state.folder.iterdir())
            ]
        )
    assert found[0] == found[1]
    assert len(found[1]) == 8


def test_a_state_that_is_recomputed_serves_on_a_cluster_too(cluster: TestCluster, tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY, shape=(140, 150))
    state = open_or_build_state(
        scene.region, scene.stack, scene.bundle, tmp_path / "state",
        min_patch_observed=1.0, workers=1, keep="recomputed",
    )  # fmt: skip
    with Cluster(cluster.settings(), 1) as connected:
        engine = DaskEngine(connected, shared(scene), [state])
        made = [
            bytes_of(layer_strips(scene.region, state, scene.bundle, scene.windows, workers=1, engine=one))
            for one in (None, engine)
        ]
    assert made[0] == made[1]


def test_corner_rows_that_forcing_cells_share_travel_once_and_arrive_as_they_were() -> None:
    random = np.random.default_rng(1)
    nodes = random.standard_normal((30, 16)).astype(np.float32)
    nodes[3] = -nodes[2]
    nodes[4] = 0
    nodes[5] = -nodes[4]  # minus zero is another bit
    orders = []
    for band in range(3):
        rows = random.integers(0, 30, (5, 4))
        tile = Tile(band, np.arange(5 * band, 5 * band + 5), last=True)
        orders.append(
            TileOrder(
                tile, rows[:, 0] > 9, {1: rows[0] > 4}, (nodes[rows], nodes[rows] * 2), (nodes[rows] + 1,)
            )
        )
    packed = PackedOrders.of(orders)
    assert all(len(rows) <= 30 for rows, _ in packed.corners)
    for order, found in zip(orders, packed.unpacked(), strict=True):
        assert found.tile is order.tile
        assert found.in_range is order.in_range
        for before, after in zip(
            (*order.corners, *order.member_corners), (*found.corners, *found.member_corners), strict=True
        ):
            assert before.tobytes() == after.tobytes()


def test_a_refresh_with_the_engine_in_its_settings_publishes_the_same_files(
    cluster: TestCluster, toy: ToyRegion, tmp_path: Path
) -> None:
    other = ToyRegion(tmp_path / "other", Clock())
    shutil.copytree(toy.folder, other.folder)
    with other.config.open("a") as file:
        file.write(
            f'\n[engine]\nkind = "dask"\nscheduler = "{cluster.address}"\n'
            f'tls = {{ ca = "{cluster.tls.ca}", cert = "{cluster.tls.cert}", key = "{cluster.tls.key}" }}\n'
        )
    rasters = []
    for region in (toy, other):
        (done,) = region.refresh(LAST_DAY)
        assert done.outcome == Outcome.PUBLISHED, done.reason
        assert done.layer is not None
        rasters.append(
            {path.name: path.read_bytes() for path in sorted(done.layer.folder.glob("*.tif"))}
            | {path.name: path.read_bytes() for path in (region.data / "state").glob("*/*.bin")}
        )
    assert rasters[0].keys() >= {"susceptibility.tif", "class.tif", "state.bin"}
    assert rasters[0] == rasters[1]
