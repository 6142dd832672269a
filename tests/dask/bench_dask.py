"""What a cluster costs and gives on this machine: python -m tests.dask.bench_dask --side 4096

Heads and state of the paper's sizes (D 128) on a square of synthetic cells: on threads, and on a Dask cluster
of one and of two processes. CPU seconds are of this process (windows' corners, orders, assembling) and of the
workers apart. Runs are interleaved and the least of them is shown, so that other work on the machine shows as
little as it can; wall seconds mean something on a quiet machine alone.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import structlog

from service.engines.base import Engine
from service.engines.dask import DaskBuild, DaskEngine, Shared
from service.engines.dask_cluster import Cluster
from service.engines.local import LocalEngine
from service.inference import layer_strips
from service.settings_engine import EngineSettings
from service.state import SpatialState, open_or_build_state
from service.state_build import BuildTiles
from tests.fix_bundle import ToyNetwork
from tests.fix_scene import Scene, make_scene

PAPER = ToyNetwork(filters=(32, 64, 128), channels=128, hidden=64, lstm=(128, 64), k=32, gain=4)


@dataclass(frozen=True)
class Spent:
    """Seconds of one run."""

    wall: float
    here: float
    workers: float


def spent(cluster: Cluster | None, action: Callable[[], object]) -> Spent:
    """Run it, and return what it took."""
    before = _of_workers(cluster), time.process_time(), time.perf_counter()
    action()
    wall, here = time.perf_counter() - before[2], time.process_time() - before[1]
    return Spent(wall, here, _of_workers(cluster) - before[0])


def _of_workers(cluster: Cluster | None) -> float:
    return sum(cluster.client.run(time.process_time).values()) if cluster is not None else 0.0


def layer(scene: Scene, state: SpatialState, engine: Engine) -> bytes:
    """Make a layer without files, as bytes."""
    strips = layer_strips(scene.region, state, scene.bundle, scene.windows, workers=1, engine=engine)
    return b"".join(strip.stored.tobytes() for strip in strips)


def build(scene: Scene, folder: Path, how: BuildTiles | None) -> SpatialState:
    """Build the state below a folder that must not be there."""
    return open_or_build_state(
        scene.region, scene.stack, scene.bundle, folder, min_patch_observed=1.0, workers=1, build=how
    )


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=2048, help="cells along a side")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tiles-per-task", type=int, default=EngineSettings().tiles_per_task)
    parser.add_argument("--state", action=argparse.BooleanOptionalAction, default=True, help="time it too")
    asked = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        scene = make_scene(folder, PAPER, shape=(asked.side, asked.side))
        cells = asked.side**2
        shared = Shared(scene.region, scene.stack, 1.0, scene.bundle)
        clusters: dict[str, Cluster | None] = {"1 thread": None}
        for workers in (1, 2):
            settings = EngineSettings(kind="dask", workers=workers, tiles_per_task=asked.tiles_per_task)
            clusters[f"Dask, {workers} worker{'s'[: workers - 1]}"] = stack.enter_context(
                Cluster(settings, 1)
            )

        if asked.state:
            _states(scene, shared, folder, clusters)
        state = build(scene, folder / "state0", None)
        engines: dict[str, Engine] = {
            name: DaskEngine(cluster, shared, [state]) if cluster is not None else LocalEngine(1)
            for name, cluster in clusters.items()
        }
        layers = {name: layer(scene, state, engine) for name, engine in engines.items()}  # opens everything
        found: dict[str, list[Spent]] = {name: [] for name in engines}
        for _ in range(asked.rounds):
            for name, engine in engines.items():
                found[name].append(spent(clusters[name], lambda engine=engine: layer(scene, state, engine)))
        print(f"layer without files, {cells / 1e6:.1f} M cells; least of {asked.rounds}")
        for name, runs in found.items():
            least = Spent(*(min(getattr(run, part) for run in runs) for part in ("wall", "here", "workers")))
            _show(name, least, cells)
        print(f"  the same bytes: {len(set(layers.values())) == 1}")


def _states(scene: Scene, shared: Shared, folder: Path, clusters: dict[str, Cluster | None]) -> None:
    cells = scene.mask.size
    print(f"state, {cells / 1e6:.1f} M cells")
    for number, (name, cluster) in enumerate(clusters.items()):
        how = DaskBuild(cluster, shared, scene.bundle, 0) if cluster is not None else None
        if cluster is not None:
            cluster.threads()
        made = folder / f"state{number}"
        _show(name, spent(cluster, lambda made=made, how=how: build(scene, made, how)), cells)
    states = [next(path.iterdir()) for path in sorted(folder.glob("state?"))]
    same = all(
        (one / name).read_bytes() == (states[0] / name).read_bytes()
        for one in states[1:]
        for name in ("state.bin", "flags.bin", "cells.bin")
    )
    print(f"  the same bytes: {same}")


def _show(name: str, run: Spent, cells: int) -> None:
    rate = cells / run.wall / 1e6
    print(
        f"  {name:16s} wall {run.wall:6.2f} s ({rate:5.2f} M cells/s)  "
        f"CPU here {run.here:6.2f} s, workers {run.workers:6.2f} s"
    )


if __name__ == "__main__":
    main()
