"""The daemon: jobs on a schedule, each in a child process, and the HTTP server beside them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

import structlog
import uvicorn
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger

from service.api.app import create_app
from service.bundle import Bundle
from service.delivery import deliver_pending, open_exporters
from service.errors import ColluviumError, SettingsError
from service.ledger import Ledger
from service.lock import exclusive
from service.settings import Settings
from service.workshop import ledger_path, lock_path, open_bundle

_CHILD_NICENESS = 10
# The whole stop must take less than ten seconds: the child first, then the server.
_CHILD_STOPS_WITHIN_S = 6.0
_SERVER_STOPS_WITHIN_S = 2
_DELIVERY_EVERY_S = 60

log = structlog.get_logger()


class Children:
    """Runs one command line at a time at low priority, so that the API stays quick."""

    def __init__(self, settings_path: Path) -> None:
        self._settings_path = settings_path
        self._one_at_a_time = threading.Lock()
        self._starting = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None
        self._stopping = False

    def run(self, *arguments: str) -> int | None:
        """Run `colluvium ARGUMENTS -c SETTINGS` to its end and return its exit status."""
        with self._one_at_a_time:
            command = [sys.executable, "-m", "service", *arguments, "-c", str(self._settings_path)]
            with self._starting:
                if self._stopping:
                    return None
                self._child = subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    # A terminal's Ctrl-C reaches the daemon alone, which then stops the child in order.
                    start_new_session=True,
                )
            # Not in the child between fork and exec: with threads about, code there may hang.
            os.setpriority(os.PRIO_PROCESS, self._child.pid, _CHILD_NICENESS)
            status = self._child.wait()
            self._child = None
            log.info("child ended", command=" ".join(arguments), status=status)
            return status

    @contextmanager
    def idle(self) -> Iterator[bool]:
        """Keep children from starting while the block runs; False where one runs already."""
        free = self._one_at_a_time.acquire(blocking=False)
        try:
            yield free and not self._stopping
        finally:
            if free:
                self._one_at_a_time.release()

    def stop(self) -> None:
        """End the child, gently first, and start no other."""
        with self._starting:
            self._stopping = True
            child = self._child
        if child is None:
            return
        child.terminate()
        try:
            child.wait(_CHILD_STOPS_WITHIN_S)
        except subprocess.TimeoutExpired:
            log.error("child did not stop and was killed; the next run sweeps up after it", pid=child.pid)
            child.kill()


def run_daemon(settings: Settings, settings_path: Path, clock: Callable[[], datetime]) -> None:
    """Run until SIGTERM or SIGINT.

    Raises LockedError where another daemon serves this data folder, SettingsError for a wrong schedule.
    """
    with exclusive(settings.data_dir / "daemon.lock", "colluvium run"):
        children = Children(settings_path)
        scheduler = _schedule(settings, children, clock)
        app = create_app(settings, clock, bundle=_load_bundle(settings, clock))
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                host=settings.http.host,
                port=settings.http.port,
                log_level="warning",
                timeout_graceful_shutdown=_SERVER_STOPS_WITHIN_S,
            )
        )
        # uvicorn's own handlers would re-raise the signal after the server ended.
        server.capture_signals = nullcontext  # type: ignore[method-assign,assignment]
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: setattr(server, "should_exit", True))
        scheduler.start()
        log.info("daemon serves", host=settings.http.host, port=settings.http.port)
        try:
            server.run()
        finally:
            children.stop()
            scheduler.shutdown(wait=False)


def _schedule(settings: Settings, children: Children, clock: Callable[[], datetime]) -> BackgroundScheduler:
    # A clock change may fire a job twice or not at all: jobs are idempotent, and missed days come from the
    # ledger. The grace time's default of one second would drop a job that waits for another.
    scheduler = BackgroundScheduler(
        timezone=settings.timezone,
        job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": 3600},
    )

    def ingest() -> None:
        children.run("ingest", "--json")

    def refresh() -> None:
        children.run("backfill", "--json")

    def start() -> None:
        ingest()
        refresh()

    def deliver() -> None:
        # A child that starts now would find the lock held, and its day would have to wait for the next hour.
        with children.idle() as idle:
            if idle:
                _deliver(settings, clock)

    scheduler.add_job(start, id="start")
    scheduler.add_job(ingest, _cron("ingest", settings.schedule.ingest, settings), id="ingest")
    scheduler.add_job(refresh, _cron("refresh", settings.schedule.refresh, settings), id="refresh")
    if settings.exporters:
        scheduler.add_job(deliver, "interval", seconds=_DELIVERY_EVERY_S, id="deliver")
    return scheduler


def _cron(name: str, expression: str, settings: Settings) -> CronTrigger:
    try:
        return CronTrigger.from_crontab(expression, timezone=settings.timezone)
    except ValueError as error:
        raise SettingsError(
            f"schedule.{name} = {expression!r} is not a cron expression of five fields: {error}"
        ) from error


def _deliver(settings: Settings, clock: Callable[[], datetime]) -> None:
    """Retry what exporters missed while no refresh runs, which delivers on its own."""
    try:
        with (
            exclusive(lock_path(settings), "delivery"),
            Ledger(ledger_path(settings), clock) as ledger,
        ):
            deliver_pending(ledger, open_exporters(settings), clock())
    except ColluviumError as error:
        log.info("delivery waits", reason=str(error))


def _load_bundle(settings: Settings, clock: Callable[[], datetime]) -> Bundle | None:
    """Load the bundle for /readyz; without one the daemon still serves what there is, and says so."""
    try:
        with Ledger(ledger_path(settings), clock) as ledger:
            return open_bundle(settings, ledger, workers=1, fall_back=True)[0]
    except ColluviumError as error:
        log.error("no bundle", reason=str(error))
        return None
