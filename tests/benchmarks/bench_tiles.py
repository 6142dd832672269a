"""Milliseconds to a map tile, to /healthz and to /metrics, for 8 clients at once while a refresh runs.

    python tests/benchmarks/bench_tiles.py [--config region.toml] [--clients 8] [--json]

The daemon is the real one, in a process of its own; the refresh beside it is a backfill at the low priority
of the daemon's own children. Without --config the demo is made in a folder of its own, and the days before
it are backfilled. Clients ask without a pause: `cold` is the first time that anyone asks for a tile, `cached`
the second. /healthz and /metrics are asked every 50 ms throughout.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np

from service.api.mercator import bounds_of, tile_range
from service.errors import EXIT_CODES, Outcome
from service.ledger import Ledger
from service.priority import lower
from service.settings import Settings, load_settings
from service.workshop import ledger_path

# What a wide screen asks for at once, and then some.
ZOOMS = range(9, 16)
MOST_TILES = 1_200  # as many as are drawn before the refresh of 60 days has ended
GOALS_MS = {"cold": 400.0, "cached": 100.0, "/healthz": 200.0, "/metrics": 200.0}


@click.command()
@click.option("--config", type=click.Path(path_type=Path), help="A region with layers; default: the demo.")
@click.option("--clients", default=8, show_default=True, help="Threads that ask for tiles.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="First day to refresh meanwhile.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(config: Path | None, clients: int, since: datetime | None, as_json: bool) -> None:
    """Measure tiles beside a refresh."""
    with tempfile.TemporaryDirectory(prefix="bench-tiles-") as name:
        found = measure(config or make_demo(Path(name) / "demo"), clients, since.date() if since else None)
    if as_json:
        click.echo(json.dumps(found))
        return
    for what, figures in found.items():
        if isinstance(figures, dict):
            shown = "  ".join(f"{key} {value:,.1f}" for key, value in figures.items())
        else:
            shown = str(figures)
        click.echo(f"{what:>22}  {shown}")


def make_demo(folder: Path) -> Path:
    """Make the demo with ten days and return its settings."""
    command = [sys.executable, "-m", "service", "demo", "--dir", str(folder), "--days", "10", "--no-serve"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return folder / "region.toml"


def measure(config: Path, clients: int, since: date | None) -> dict[str, Any]:
    """Return the figures of a region's daemon."""
    settings = load_settings(config)
    before = count_layers(settings)
    tiles = choose_tiles(settings)
    with Ledger(ledger_path(settings), now) as ledger:
        first = ledger.first_day() or now().date()
    begin = since or first - timedelta(days=60)
    with (
        serving(config) as port,
        backfilling(config, begin, first - timedelta(days=1)) as child,
        watching(port, ("/healthz", "/metrics")) as watched,
    ):
        cold, seconds_cold = ask_all(port, tiles, clients)
        cached, seconds_cached = ask_all(port, tiles, clients)
        still_running = child.poll() is None
    figures: dict[str, Any] = {"cold": told(cold), "cached": told(cached)}
    figures |= {path: told(times) for path, times in watched.items()}
    return {
        **figures,
        "goals_met": all(
            figures[what]["p95" if what in ("cold", "cached") else "max"] < goal
            for what, goal in GOALS_MS.items()
        ),
        "tiles": len(tiles),
        "clients": clients,
        "cold_tiles_per_s": round(len(tiles) / seconds_cold),
        "cached_tiles_per_s": round(len(tiles) / seconds_cached),
        "refresh_ran_throughout": still_running,
        "layers_made_meanwhile": count_layers(settings) - before,
        "cores": os.cpu_count(),
    }


def choose_tiles(settings: Settings) -> list[str]:
    """Return the addresses of tiles over the region, of all layers, in an order that no cache likes."""
    with Ledger(ledger_path(settings), now) as ledger:
        layers = ledger.layers()
    if not layers:
        raise click.ClickException("the region has no layer yet; run colluvium refresh")
    found = []
    for layer in layers:
        for z in ZOOMS:
            tiles = tile_range(bounds_of(layer), z)
            found += [
                f"/layers/{layer.id}/tiles/{z}/{x}/{y}.png?shows={shows}"
                for x in range(tiles.first_column, tiles.last_column + 1)
                for y in range(tiles.first_row, tiles.last_row + 1)
                for shows in ("class", "susceptibility")
            ]
    random.Random(1).shuffle(found)  # noqa: S311 - an order, not a secret
    return found[:MOST_TILES]


@contextmanager
def serving(config: Path) -> Iterator[int]:
    """Run the daemon on a free port until the block ends."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "COLLUVIUM_HTTP__PORT": str(port), "COLLUVIUM_HTTP__HOST": "127.0.0.1"}
    command = [sys.executable, "-m", "service", "run", "-c", str(config)]
    quiet = subprocess.DEVNULL
    daemon = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                ask(http.client.HTTPConnection("127.0.0.1", port, timeout=5), "/healthz")
                break
            except OSError:
                if time.monotonic() > deadline or daemon.poll() is not None:
                    raise click.ClickException("the daemon does not answer; try colluvium run") from None
                time.sleep(0.2)
        yield port
    finally:
        daemon.terminate()
        daemon.wait(20)


@contextmanager
def backfilling(config: Path, since: date, until: date) -> Iterator[subprocess.Popen[bytes]]:
    """Refresh days at the priority of the daemon's children until the block ends."""
    command = [
        sys.executable, "-m", "service", "backfill", "-c", str(config),
        "--since", str(since), "--until", str(until), "--json",
    ]  # fmt: skip
    quiet = subprocess.DEVNULL
    for _ in range(20):
        child = subprocess.Popen(command, stdout=quiet, stderr=quiet, start_new_session=True)
        lower(child.pid)
        time.sleep(3)  # past its start, into its work
        if child.poll() != EXIT_CODES[Outcome.LOCKED]:  # by the daemon's own first run
            break
    try:
        yield child
    finally:
        child.terminate()
        child.wait(60)


@contextmanager
def watching(port: int, paths: tuple[str, ...]) -> Iterator[dict[str, list[float]]]:
    """Ask for each path every 50 ms while the block runs; the times are there afterwards."""
    times: dict[str, list[float]] = {path: [] for path in paths}
    done = threading.Event()

    def watch(path: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while not done.wait(0.05):
            times[path].append(ask(connection, path))

    threads = [threading.Thread(target=watch, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    try:
        yield times
    finally:
        done.set()
        for thread in threads:
            thread.join()


def ask_all(port: int, tiles: list[str], clients: int) -> tuple[list[float], float]:
    """Fetch all tiles, shared among the clients; return milliseconds of each, and seconds of all."""
    waiting = iter(tiles)
    lock = threading.Lock()
    times: list[float] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while True:
            with lock:
                tile = next(waiting, None)
            if tile is None:
                return
            times.append(ask(connection, tile))

    threads = [threading.Thread(target=work) for _ in range(clients)]
    begin = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, time.perf_counter() - begin


def ask(connection: http.client.HTTPConnection, path: str) -> float:
    """Fetch one address over an open connection and return milliseconds."""
    begin = time.perf_counter()
    connection.request("GET", path)
    answer = connection.getresponse()
    answer.read()
    if answer.status != 200:
        raise click.ClickException(f"{path} answered {answer.status}")
    return (time.perf_counter() - begin) * 1e3


def told(times: list[float]) -> dict[str, float]:
    """Return what is said of a list of milliseconds."""
    p50, p95 = np.percentile(times, [50, 95])
    return {
        "p50": round(float(p50), 1),
        "p95": round(float(p95), 1),
        "max": round(max(times), 1),
        "n": len(times),
    }


def count_layers(settings: Settings) -> int:
    """Count the region's layers."""
    with Ledger(ledger_path(settings), now) as ledger:
        return len(ledger.layers())


def now() -> datetime:
    """Return the time."""
    return datetime.now(UTC)


if __name__ == "__main__":
    main()
