"""What goes wrong on a cluster: a worker that dies is replaced, everything else is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import distributed
import pytest

from exporters.layer import Odds
from service.bundle import Bundle
from service.check import run_checks
from service.engines import dask_cluster
from service.engines.base import Engine
from service.engines.dask import DaskEngine, Shared
from service.engines.dask_cluster import Cluster, versions_here
from service.errors import EXIT_CODES, BundleError, EngineError, Outcome, StorageError, UsageError
from service.inference import layer_strips
from service.settings_engine import EngineSettings
from service.state import SpatialState
from service.state_list import build_ahead
from service.tile_work import TileOrder, TileResult, TileWork
from tests.dask.conftest import TestCluster, make_certificates
from tests.fix_bundle import ToyNetwork
from tests.fix_region import LAST_DAY, ToyRegion
from tests.fix_scene import Scene, make_scene

LIVELY = ToyNetwork(gain=5)


@dataclass(frozen=True)
class Spoiled:
    """An engine that gets the order of one tile with corner rows that no head can take."""

    engine: Engine
    band: int

    def run(self, work: TileWork, orders: Iterable[TileOrder]) -> Iterator[TileResult]:
        spoiled = (
            replace(order, corners=tuple(rows[..., :-1] for rows in order.corners))
            if order.tile.band == self.band
            else order
            for order in orders
        )
        return self.engine.run(work, spoiled)


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    """Three bands of one tile each."""
    return make_scene(tmp_path, LIVELY, shape=(300, 100))


def shared(scene: Scene) -> Shared:
    return Shared(scene.region, scene.stack, 1.0, scene.bundle)


def stored(scene: Scene, state: SpatialState, engine: Engine | None) -> bytes:
    strips = layer_strips(scene.region, state, scene.bundle, scene.windows, workers=1, engine=engine)
    with closing(strips):
        return b"".join(strip.stored.tobytes() for strip in strips)


def test_a_worker_that_is_killed_while_it_has_tiles_changes_nothing(
    cluster: TestCluster, tmp_path: Path
) -> None:
    scene = make_scene(tmp_path, replace(LIVELY, k=64), shape=(4 * 128, 2 * 128))
    state = scene.state()
    expected = stored(scene, state, None)
    with Cluster(cluster.settings(tiles_per_task=1), 1) as connected:
        client = connected.client
        victim, pid = next(iter(client.run(os.getpid).items()))
        # It takes tasks and finishes none, so that it certainly dies in the middle of one.
        os.kill(pid, signal.SIGSTOP)

        def kill_once_it_has_tiles() -> None:
            while not client.processing()[victim]:
                time.sleep(0.01)
            os.kill(pid, signal.SIGKILL)

        killer = threading.Thread(target=kill_once_it_has_tiles)
        killer.start()
        try:
            found = stored(scene, state, DaskEngine(connected, shared(scene), [state]))
        finally:
            killer.join()
        assert found == expected
        client.wait_for_workers(2)
        assert pid not in client.run(os.getpid).values()


def test_a_bad_tile_names_itself_and_its_worker(cluster: TestCluster, scene: Scene) -> None:
    state = scene.state()
    with Cluster(cluster.settings(tiles_per_task=2), 1) as connected:
        spoiled = Spoiled(DaskEngine(connected, shared(scene), [state]), band=2)
        with pytest.raises(EngineError) as failed:
            stored(scene, state, spoiled)
    words = str(failed.value)
    assert "tile of band 2, forcing cells in rows 32 to 36 and columns 1 to 11" in words
    assert "cells in rows 256 to 295 and columns 8 to 95" in words
    assert "failed on worker tls://127.0.0.1:" in words
    assert "15" in words  # of 16 channels


def test_a_state_that_is_cut_short_is_named_with_the_worker_that_saw_it(
    cluster: TestCluster, scene: Scene
) -> None:
    state = scene.state()
    path = state.folder / "state.bin"
    with Cluster(cluster.settings(), 1) as connected, path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1)  # the last tile's; the driver's own proof is of the first
        with pytest.raises(
            StorageError, match=r"worker tls://127\.0\.0\.1.* no whole spatial state"
        ) as failed:
            stored(scene, state, DaskEngine(connected, shared(scene), [state]))
    assert str(state.folder) in str(failed.value)


def test_another_bundle_under_the_same_path_is_refused_with_both_digests(
    cluster: TestCluster, scene: Scene
) -> None:
    state = scene.state()
    manifest = scene.bundle.folder / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**values, "version": "2"}))
    with Cluster(cluster.settings(), 1) as connected, pytest.raises(BundleError) as refused:
        stored(scene, state, DaskEngine(connected, shared(scene), [state]))
    words = str(refused.value)
    other = Bundle.load(scene.bundle.folder).digest
    assert all(word in words for word in (str(scene.bundle.folder), scene.bundle.digest[:16], other[:16]))
    assert "worker tls://127.0.0.1" in words


def test_a_worker_that_comes_to_other_bits_is_refused(cluster: TestCluster, scene: Scene) -> None:
    state = scene.state()
    odds = Odds(event_rate=1e-4, per="cell and day", positives_share=0.5)

    @dataclass(frozen=True)
    class Mistaken:
        """Has the workers compute with other odds than this process: stands for another processor."""

        engine: DaskEngine

        def run(self, work: TileWork, orders: Iterable[TileOrder]) -> Iterator[TileResult]:
            return self.engine.run(_Altered(work, odds), orders)

    with Cluster(cluster.settings(), 1) as connected:
        engine = Mistaken(DaskEngine(connected, shared(scene), [state]))
        with pytest.raises(EngineError, match=r"cannot take part: .*rounds differently"):
            stored(scene, state, engine)


class _Altered:
    """A TileWork that says it has odds, and computes without."""

    def __init__(self, work: TileWork, odds: Odds) -> None:
        self._work, self.odds = work, odds
        self.members, self.quantiles = work.members, work.quantiles

    def compute(self, order: TileOrder) -> TileResult:
        return self._work.compute(order)


def test_other_versions_are_refused_by_name(cluster: TestCluster, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = versions_here()._replace(onnxruntime="1.0.0")
    monkeypatch.setattr(dask_cluster, "versions_here", lambda: ours)
    with Cluster(cluster.settings(), 1) as connected, pytest.raises(EngineError) as refused:
        connected.threads()
    words = str(refused.value)
    assert words.count(f"has onnxruntime {versions_here().onnxruntime}") == 2
    assert words.count("tls://127.0.0.1") == 3  # the scheduler, two workers
    assert "Here: " in words
    assert "onnxruntime 1.0.0" in words


def test_a_scheduler_that_is_not_there_fails_the_refresh_with_words(toy: ToyRegion) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with toy.config.open("a") as file:
            file.write(f'\n[engine]\nkind = "dask"\nscheduler = "{address}"\nconnect_timeout_s = 0.3\n')
        (done,) = toy.refresh(LAST_DAY)
        with pytest.raises(EngineError, match="no Dask scheduler answers"):
            build_ahead(toy.settings, None)
        checks = {check.name: check for check in run_checks(toy.settings, lambda *_: None)}
    assert done.outcome == Outcome.FAILED
    assert EXIT_CODES[done.outcome] == 1
    assert done.reason is not None
    for words in (done.reason, checks["engine"].message):
        assert f"no Dask scheduler answers at {address}" in words
        assert "engine.scheduler" in words
    assert checks["engine"].state == "fail"
    assert toy.latest() is None


def test_a_cluster_without_workers_is_not_waited_for_for_ever() -> None:
    with (
        distributed.LocalCluster(
            n_workers=0, host="127.0.0.1", dashboard_address="127.0.0.1:0", processes=True,
            scheduler_kwargs={"dashboard": False},
        ) as empty,
        Cluster(
            EngineSettings(kind="dask", scheduler=empty.scheduler_address, worker_timeout_s=0.2), 1
        ) as connected,
        pytest.raises(EngineError, match="no worker has joined"),
    ):  # fmt: skip
        connected.threads()


def test_a_connection_that_was_lost_is_made_again_when_it_is_needed(cluster: TestCluster) -> None:
    with Cluster(cluster.settings(), 1) as connected:
        before = connected.threads()
        connected.client.close()
        assert connected.threads() == before


def test_a_worker_that_hangs_is_not_waited_for_for_ever(cluster: TestCluster, scene: Scene) -> None:
    state = scene.state()
    with Cluster(cluster.settings(task_timeout_s=0.1), 1) as connected:
        client = connected.client
        pids = client.run(os.getpid).values()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(EngineError, match=r"given nothing for 2 tiles from the tile of band 0"):
                stored(scene, state, DaskEngine(connected, shared(scene), [state]))
        finally:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)


def test_a_worker_that_answers_nothing_at_the_start_is_not_waited_for_for_ever(cluster: TestCluster) -> None:
    with Cluster(cluster.settings(), 1) as connected:
        pids = connected.client.run(os.getpid).values()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        with (
            Cluster(cluster.settings(worker_timeout_s=1), 1) as other,
            pytest.raises(EngineError, match="has not answered within 1 s"),
        ):
            other.threads()
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_nobody_gets_in_with_a_certificate_of_another_authority(cluster: TestCluster, tmp_path: Path) -> None:
    stranger = cluster.settings(tls=make_certificates(tmp_path), connect_timeout_s=0.5)
    with Cluster(stranger, 1) as outside, pytest.raises(EngineError, match="no Dask scheduler answers"):
        outside.threads()


def test_check_names_each_worker_with_what_it_does_not_see(
    cluster: TestCluster, toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    with toy.config.open("a") as file:
        file.write(
            f'\n[engine]\nkind = "dask"\nscheduler = "{cluster.address}"\n'
            f'tls = {{ ca = "{cluster.tls.ca}", cert = "{cluster.tls.cert}", key = "{cluster.tls.key}" }}\n'
        )

    def engine() -> tuple[str, str]:
        (found,) = [one for one in run_checks(toy.settings, lambda *_: None) if one.name == "engine"]
        return found.state, found.message

    state, words = engine()
    assert state == "ok", words
    assert "2 workers with 2 threads" in words
    assert "still to be built" in words
    toy.refresh(LAST_DAY)
    assert "still to be built" not in engine()[1]

    gone = toy.folder / "elsewhere"
    open_there = Bundle.load

    def load_and_take_away(path: Path, **how: object) -> Bundle:
        shutil.copytree(path, gone, dirs_exist_ok=True)
        return replace(open_there(path, **how), folder=toy.folder / "only-here")  # type: ignore[arg-type]

    monkeypatch.setattr(Bundle, "load", load_and_take_away)
    state, words = engine()
    assert state == "fail"
    assert words.count("only-here") == 2
    assert words.count("worker tls://127.0.0.1") == 2


def test_without_the_library_the_words_say_what_to_install(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(dask_cluster.importlib, "import_module", missing)
    with (
        Cluster(EngineSettings(kind="dask"), 1) as connected,
        pytest.raises(UsageError, match=r"colluvium\[dask\]"),
    ):
        connected.threads()
