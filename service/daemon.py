"""The daemon: jobs on a schedule, each in a child process, and the HTTP server beside them."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from datetime import datetime
from functools import partial
from pathlib import Path

import structlog
import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from service.api.app import create_app
from service.bundle import Bundle
from service.delivery import exporter_names
from service.errors import ColluviumError, SettingsError
from service.ledger import Ledger
from service.lock import exclusive
from service.logs import child_environment, new_run_id
from service.priority import lower
from service.runtime import chosen_device
from service.settings import Settings
from service.workshop import ledger_path, open_bundle

# The whole stop must take less than ten seconds: the server first, then all children at once.
_SERVER_STOPS_WITHIN_S = 2
_CHILDREN_STOP_WITHIN_S = 6.0
_LOOK_EVERY_S = 60.0
_ROUND_EVERY_S = 300.0

log = structlog.get_logger()


class Children:
    """Runs one command line at a time at low priority, so that the API stays quick."""

    def __init__(self, settings_path: Path) -> None:
        self._settings_path = settings_path
        self._one_at_a_time = threading.Lock()
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False
        self._given_up = threading.Event()

    def run(self, *arguments: str) -> int | None:
        """Run `colluvium ARGUMENTS -c SETTINGS` to its end and return its exit status; None once stopped."""
        with self._one_at_a_time:
            command = [sys.executable, "-m", "service", *arguments, "-c", str(self._settings_path)]
            run_id = new_run_id()
            with self._starting:
                if self._stopping:
                    return None
                self._child = child = subprocess.Popen(
                    command,
                    env=child_environment(run_id),
                    stdout=subprocess.DEVNULL,
                    # A terminal's Ctrl-C reaches the daemon alone, which then stops the child in order.
                    start_new_session=True,
                )
            # Not in the child between fork and exec: with threads about, code there may hang.
            lower(child.pid)
            words = " ".join(arguments)
            log.info("child begins", run_id=run_id, command=words, pid=child.pid)
            status = self._wait(child)
            self._child = None
            log.info("child ended", run_id=run_id, command=words, status=status)
            if status is not None and status < 0 and not self._stopping:
                log.error(
                    "child was killed; if nobody did that, the machine ran out of memory",
                    run_id=run_id,
                    command=words,
                    signal=-status,
                )
            return status

    def ask_to_stop(self) -> None:
        """Ask the child to end, and start no other."""
        with self._starting:
            self._stopping = True
            child = self._child
        if child is not None:
            child.terminate()

    def end_by(self, deadline: float) -> None:
        """Kill a child that has not ended by a moment of the monotonic clock."""
        child = self._child
        if child is not None:
            try:
                child.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.error("child did not stop and was killed; the next run sweeps up after it", pid=child.pid)
                child.kill()
        # Not even killing ends one that the kernel holds in a share that hangs; nobody waits for it.
        self._given_up.set()

    def _wait(self, child: subprocess.Popen[bytes]) -> int | None:
        while not self._given_up.is_set():
            try:
                return child.wait(1.0)
            except subprocess.TimeoutExpired:
                continue
        return child.poll()


def stop_all(children: Iterable[Children]) -> None:
    """End all children, gently first, within the time for one."""
    children = list(children)
    for each in children:
        each.ask_to_stop()
    deadline = time.monotonic() + _CHILDREN_STOP_WITHIN_S
    for each in children:
        each.end_by(deadline)


class Deliveries:
    """Keeps one exporter up to date, apart from the other jobs: a target that hangs holds up nobody else."""

    def __init__(self, exporter: str, children: Children, is_due: Callable[[str], bool]) -> None:
        self._exporter = exporter
        self._children = children
        self._is_due = is_due
        self._asked = threading.Event()

    def start(self) -> None:
        """Begin, in a thread that does not outlive the daemon."""
        threading.Thread(target=self._work, name=f"deliver {self._exporter}", daemon=True).start()

    def ask(self) -> None:
        """Have a round soon."""
        self._asked.set()

    def _work(self) -> None:
        last = time.monotonic()
        while True:
            asked = self._asked.wait(_LOOK_EVERY_S)
            self._asked.clear()
            # A round costs a process. One that nobody asked for looks for reports and restored databases.
            if asked or self._is_due(self._exporter) or time.monotonic() - last >= _ROUND_EVERY_S:
                try:
                    self._children.run("deliver", "--exporter", self._exporter, "--json")
                except OSError as error:  # no memory, no process left; the next look tries again
                    log.error("no delivery was started", exporter=self._exporter, reason=str(error))
                last = time.monotonic()


def run_daemon(settings: Settings, settings_path: Path, clock: Callable[[], datetime]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises LockedError where another daemon serves this data folder, SettingsError for a wrong schedule,
    DeviceError where `inference.device` asks for a graphics card that cannot be used.
    """
    with exclusive(settings.data_dir / "daemon.lock", "colluvium run"):
        # Before the first page is served: the children would fail one by one, hours apart.
        chosen_device(settings.inference.device)
        children = Children(settings_path)
        # Of their own: neither readings nor the map on display wait for them, nor they for one another. A
        # backlog of scenes takes hours, and what happened is held against the maps meanwhile.
        challenger, watcher, verifier = (Children(settings_path) for _ in range(3))
        bearers = {name: Children(settings_path) for name in exporter_names(settings)}
        deliveries = [
            Deliveries(name, each, partial(_is_due, settings, clock)) for name, each in bearers.items()
        ]
        scheduler = _schedule(settings, children, challenger, watcher, verifier, deliveries)
        server = _make_server(settings, clock)
        scheduler.start()
        for delivery in deliveries:
            delivery.start()
        log.info("daemon serves", host=settings.http.host, port=settings.http.port)
        try:
            server.run()
        finally:
            stop_all([children, challenger, watcher, verifier, *bearers.values()])
            scheduler.shutdown(wait=False)


def serve_pages(settings: Settings, clock: Callable[[], datetime]) -> None:
    """Serve page, API and metrics until SIGTERM or SIGINT; nothing is fetched, made or delivered.

    Raises LockedError where a daemon serves this data folder.
    """
    with exclusive(settings.data_dir / "daemon.lock", "colluvium demo"):
        _make_server(settings, clock).run()


def _make_server(settings: Settings, clock: Callable[[], datetime]) -> uvicorn.Server:
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(settings, clock, bundle=_load_bundle(settings, clock)),
            host=settings.http.host,
            port=settings.http.port,
            log_config=None,  # its lines go the way of all others: service.logs
            log_level="warning",
            timeout_graceful_shutdown=_SERVER_STOPS_WITHIN_S,
        )
    )
    # uvicorn's own handlers would re-raise the signal after the server ended.
    server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: setattr(server, "should_exit", True))
    return server


def _schedule(
    settings: Settings,
    children: Children,
    challenger: Children,
    watcher: Children,
    verifier: Children,
    deliveries: Sequence[Deliveries],
) -> BackgroundScheduler:
    # A clock change may fire a job twice or not at all: jobs are idempotent, and missed days come from the
    # ledger. The grace time's default of one second would drop a job that waits for another.
    scheduler = BackgroundScheduler(
        timezone=settings.timezone,
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 3600},
    )

    def ingest() -> None:
        work("ingest")

    def refresh() -> None:
        work("backfill")
        scheduler.add_job(judge, id="verify", replace_existing=True)
        if settings.bundle.challenger is not None:
            # At once, apart from this job. While one still runs, none is added: it finds the days by itself.
            scheduler.add_job(challenge, id="challenger", replace_existing=True)

    def challenge() -> None:
        challenger.run("challenger", "run", "--json")
        challenger.run("verify", "--challenger", "--if-news", "--json")

    def judge() -> None:
        verifier.run("verify", "--if-news", "--json")

    def work(command: str) -> None:
        # Delivered apart from it: the next hour's readings do not wait for a share that hangs.
        children.run(command, "--json", "--no-deliver")
        for delivery in deliveries:
            delivery.ask()

    def start() -> None:
        ingest()
        refresh()

    scheduler.add_job(start, id="start")
    scheduler.add_job(ingest, _cron("schedule.ingest", settings.schedule.ingest, settings), id="ingest")
    scheduler.add_job(refresh, _cron("schedule.refresh", settings.schedule.refresh, settings), id="refresh")
    detection = settings.detection
    if detection is not None and detection.scenes is not None:
        scan = partial(watcher.run, "scan", "--json")
        scheduler.add_job(scan, _cron("detection.schedule", detection.schedule, settings), id="scan")
    return scheduler


def _cron(name: str, expression: str, settings: Settings) -> CronTrigger:
    try:
        return CronTrigger.from_crontab(expression, timezone=settings.timezone)
    except ValueError as error:
        raise SettingsError(
            f"{name} = {expression!r} is not a cron expression of five fields: {error}"
        ) from error


def _is_due(settings: Settings, clock: Callable[[], datetime], exporter: str) -> bool:
    try:
        with Ledger(ledger_path(settings), clock, make=False) as ledger:
            return ledger.outbox.is_due(exporter, clock())
    except ColluviumError as error:
        log.error("the outbox cannot be read", reason=str(error))
        return False


def _load_bundle(settings: Settings, clock: Callable[[], datetime]) -> Bundle | None:
    """Load the bundle for /readyz; without one the daemon still serves what there is, and says so."""
    try:
        with Ledger(ledger_path(settings), clock) as ledger:
            return open_bundle(settings, ledger, workers=1, fall_back=True)[0]
    except ColluviumError as error:
        log.error("no bundle", reason=str(error))
        return None
