"""The daemon as a process: it catches up by itself, answers, keeps others out, and stops when told."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from service.daemon import Children, Deliveries, _schedule, stop_all
from service.errors import EXIT_CODES, Outcome
from service.settings_detection import DetectionSettings
from tests.fix_region import ToyRegion

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def daemon(toy: ToyRegion) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """Run the daemon of a region; yield the process and its address."""
    port = free_port()
    command = [sys.executable, "-m", "service", "run", "-c", str(toy.config)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={"PATH": "", "COLLUVIUM_HTTP__PORT": str(port)}, stderr=subprocess.PIPE
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def get(url: str) -> tuple[int, bytes]:
    """Get a page; a refused connection is status 0."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 - a local address
            return int(answer.status), answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except (urllib.error.URLError, ConnectionError):
        return 0, b""


def wait_for(url: str, status: int = 200, within_s: float = 90) -> bytes:
    """Ask until the status comes."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        found, body = get(url)
        if found == status:
            return body
        time.sleep(0.2)
    raise AssertionError(f"{url} did not answer {status} within {within_s} s")


@pytest.mark.slow
def test_the_daemon_ingests_refreshes_serves_and_stops_within_ten_seconds(toy: ToyRegion) -> None:
    (toy.data / "readings.sqlite").unlink()
    with daemon(toy) as (process, url):
        wait_for(f"{url}/healthz")
        ready = json.loads(wait_for(f"{url}/readyz"))
        assert ready["layer"] == "toy-2026-03-11-l0-r1"
        metrics = get(f"{url}/metrics")[1].decode()
        assert 'colluvium_refresh_total{outcome="published"} 1.0' in metrics
        assert 'colluvium_readings_total{feed="gauges",quality="good"} 138.0' in metrics
        assert get(f"{url}/map.png")[1].startswith(b"\x89PNG")
        assert b"STALE" in get(f"{url}/")[1]

        second = subprocess.run(
            [sys.executable, "-m", "service", "run", "-c", str(toy.config)],
            cwd=ROOT, capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert second.returncode == EXIT_CODES[Outcome.LOCKED]
        assert b"colluvium run" in second.stderr

        asked = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=15) == 0
        assert time.monotonic() - asked < 10
    with toy.ledger() as ledger:
        assert all(run.outcome is not None for run in ledger.runs() if run.layer_id)


def test_a_wrong_schedule_is_refused_by_name(toy: ToyRegion) -> None:
    toy.config.write_text(toy.config.read_text() + '\n[schedule]\nrefresh = "every morning"\n')

    done = subprocess.run(
        [sys.executable, "-m", "service", "run", "-c", str(toy.config)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert done.returncode == EXIT_CODES[Outcome.USAGE]
    assert "schedule.refresh" in done.stderr


class _Noting(Children):
    """Children that are never started."""

    def __init__(self, settings_path: Path) -> None:
        super().__init__(settings_path)
        self.asked: list[str] = []

    def run(self, *arguments: str) -> int | None:
        """Note what would run."""
        self.asked.append(arguments[0])
        return 0


def test_a_long_scan_holds_up_neither_the_refresh_nor_what_holds_maps_against_events(toy: ToyRegion) -> None:
    """Children run one command at a time; a backlog of scenes takes hours."""
    detection = DetectionSettings(detector=toy.data / "detector", scenes=toy.data / "scenes")
    settings = toy.settings.model_copy(update={"detection": detection})
    work, challenger, watcher, verifier = (_Noting(toy.config) for _ in range(4))
    scheduler = _schedule(settings, work, challenger, watcher, verifier, [])
    for name in ("scan", "refresh", "verify"):
        scheduler.get_job(name).func()
    assert (work.asked, watcher.asked, verifier.asked) == (["backfill"], ["scan"], ["verify"])
    assert challenger.asked == []


def test_no_child_starts_once_the_daemon_stops(toy: ToyRegion) -> None:
    children = Children(toy.config)
    stop_all([children])

    assert children.run("status") is None


def test_a_child_reports_how_it_ended(toy: ToyRegion) -> None:
    children = Children(toy.config)

    assert children.run("refresh", "--day", "2999-01-01") == EXIT_CODES[Outcome.USAGE]


def test_children_that_do_not_stop_cost_the_time_of_one_and_hold_up_nobody(
    toy: ToyRegion, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.daemon._CHILDREN_STOP_WITHIN_S", 1.0)
    deaf = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"]
    popen = subprocess.Popen
    started: list[subprocess.Popen[bytes]] = []

    def start(*_: object, **__: object) -> subprocess.Popen[bytes]:
        started.append(popen(deaf))
        return started[-1]

    monkeypatch.setattr("service.daemon.subprocess.Popen", start)
    children = [Children(toy.config) for _ in range(3)]
    threads = [threading.Thread(target=each.run, args=("deliver",)) for each in children]
    for thread in threads:
        thread.start()
    while len(started) < len(children):
        time.sleep(0.01)

    asked = time.monotonic()
    stop_all(children)
    for thread in threads:
        thread.join(timeout=10)

    assert time.monotonic() - asked < 4
    assert not any(thread.is_alive() for thread in threads)
    assert all(child.wait(timeout=10) is not None for child in started)


def test_a_delivery_that_cannot_be_started_is_tried_again() -> None:
    started = threading.Event()

    class Unlucky(Children):
        """The first process does not start."""

        tries = 0

        def run(self, *_: str) -> int | None:
            self.tries += 1
            if self.tries == 1:
                raise BlockingIOError("no process left")
            started.set()
            return 0

    children = Unlucky(Path("region.toml"))
    deliveries = Deliveries("share", children, lambda _: False)
    deliveries.start()
    deliveries.ask()
    while children.tries < 1:
        time.sleep(0.01)
    deliveries.ask()

    assert started.wait(10)


@pytest.mark.slow
def test_a_database_that_went_deaf_holds_up_neither_refresh_nor_answers_nor_the_stop(
    toy: ToyRegion, tmp_path: Path
) -> None:
    (toy.data / "readings.sqlite").unlink()
    share = tmp_path / "share"
    share.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never says a word
        toy.config.write_text(
            toy.config.read_text()
            + '\n[[exporters]]\nkind = "postgis"\nname = "gis"\nconnect_timeout_s = 120\n'
            + f'writer = {{ dsn = "host=127.0.0.1 port={deaf.getsockname()[1]} user=x dbname=x" }}\n'
            + f'\n[[exporters]]\nkind = "folder"\nname = "share"\npath = "{share}"\n'
        )
        with daemon(toy) as (process, url):
            wait_for(f"{url}/readyz")
            deaf.settimeout(90)
            connection, _ = deaf.accept()
            with connection:
                end = time.monotonic() + 90
                while not list(share.glob("layers/*/*/item.json")) and time.monotonic() < end:
                    time.sleep(0.2)
                assert list(share.glob("layers/*/*/item.json"))  # the other exporter did not wait
                assert get(f"{url}/healthz")[0] == 200

                asked = time.monotonic()
                process.send_signal(signal.SIGTERM)
                assert process.wait(timeout=15) == 0
                assert time.monotonic() - asked < 10
    with toy.ledger() as ledger:
        assert [entry.exporter for entry in ledger.outbox.open()] == ["gis"]
