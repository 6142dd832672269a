"""The connection to a Dask scheduler, or a cluster of processes on this machine.

distributed sends functions and arrays as pickles: whoever can talk to a scheduler or a worker can run code
there. So a cluster of our own listens on 127.0.0.1 alone and speaks TLS with certificates made for the run,
which keeps other users of this machine out as well; one elsewhere needs TLS (service.settings_engine).
"""

from __future__ import annotations

import importlib
import logging
import platform
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import metadata
from typing import Any

import numpy as np
import structlog

from service.engines.dask_tasks import Versions
from service.errors import EngineError, SettingsError, UsageError
from service.runtime import onnx_runtime
from service.settings_engine import EngineSettings

log = structlog.get_logger()

_ALLOWED_FAILURES = 3  # workers that may die on one task before it is given up; Dask's own default
# No dashboard, and no pages beside it: they would tell anybody on the machine what runs.
_LOCAL_CONFIG = {
    "distributed.scheduler.http.routes": [],
    "distributed.worker.http.routes": [],
    "distributed.scheduler.allowed-failures": _ALLOWED_FAILURES,
    # Looks at every thread's stack a hundred times a second, for the dashboard.
    "distributed.worker.profile.enabled": False,
}


def distributed_library() -> Any:
    """Return the distributed module. Raises UsageError where it is not installed."""
    try:
        return importlib.import_module("distributed")
    except ImportError as error:
        raise UsageError(
            'engine.kind = "dask" needs the library distributed. Either run \'pip install '
            '"colluvium[dask]"\', here and on every worker, or set engine.kind = "local"'
        ) from error


class Cluster:
    """A cluster that is connected to when it is first asked for; a context manager that lets it go."""

    def __init__(self, settings: EngineSettings, workers: int) -> None:
        self.settings = settings
        self._workers = settings.workers or workers
        self._stack = ExitStack()
        self._client: Any = None

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Disconnect, and stop a cluster of our own."""
        self._client = None
        self._stack.close()

    @property
    def name(self) -> str:
        """What messages call it."""
        return self.settings.scheduler or f"a cluster of {self._workers} processes on this machine"

    @property
    def client(self) -> Any:
        """The connected distributed.Client, whose workers run what this process runs.

        Raises UsageError without the library, SettingsError for certificates that cannot be used, EngineError
        where the scheduler does not answer, no worker comes, or a worker has other versions.
        """
        if self._client is not None and self._client.status != "running":
            self.close()  # lost; the next day of a backfill finds the scheduler again, if it is there
        if self._client is None:
            try:
                client = self._connect()
                self._wait_for_worker(client)
                self._refuse_other_versions(client)
            except BaseException:
                self._stack.close()
                raise
            self._client = client
        return self._client

    def threads(self) -> dict[str, int]:
        """Return how many tasks each worker runs at a time, by address. Raises EngineError: no answer."""
        client = self.client
        return dict(self._answered(client.sync, client.scheduler.ncores))

    def run_everywhere(self, action: Callable[..., Any], *values: object) -> dict[str, Any]:
        """Return what `action` returns on each worker, by address; an error that it raises, as it is.

        Raises EngineError where one of them does not answer.
        """
        return dict(self._answered(self.client.run, action, *values, on_error="return"))

    def _answered(self, ask: Callable[..., Any], *values: object, **named: object) -> Any:
        """Ask the scheduler, or by way of it the workers, and do not wait for ever: one may hang."""
        within_s = self.settings.worker_timeout_s
        try:
            return ask(*values, callback_timeout=within_s, **named)
        except TimeoutError as error:
            raise EngineError(
                f"{self.name}, or a worker of it, has not answered within {within_s:g} s; look at their logs "
                "and processes, or give them longer with engine.worker_timeout_s"
            ) from error
        except OSError as error:
            raise EngineError(
                f"the connection to {self.name} was lost ({_one_line(error)}); look after the scheduler and "
                "run the command again"
            ) from error

    def _connect(self) -> Any:
        library = distributed_library()
        # Importing it lets it say at level info what each process of its own does.
        logging.getLogger("distributed").setLevel(logging.WARNING)
        settings = self.settings
        if settings.scheduler is None:
            security = _temporary_security(library)
            address = self._stack.enter_context(self._local(library, security)).scheduler_address
        else:
            security, address = self._security(library), settings.scheduler
            if settings.insecure_network and settings.tls is None:
                log.warning("the cluster's network is trusted: no TLS is asked for", scheduler=address)
        try:
            client = library.Client(
                address,
                security=security,
                timeout=settings.connect_timeout_s,
                set_as_default=False,
                name="colluvium",
            )
        except (OSError, TimeoutError) as error:
            raise EngineError(
                f"no Dask scheduler answers at {address} within {settings.connect_timeout_s:g} s "
                f"({_one_line(error)}). Either start it ('dask scheduler', see docs/dask.md), correct "
                'engine.scheduler or engine.tls, or set engine.kind = "local"'
            ) from error
        self._stack.callback(client.close)
        return client

    def _local(self, library: Any, security: Any) -> Any:
        config = importlib.import_module("dask").config
        with config.set(_LOCAL_CONFIG):
            return library.LocalCluster(
                n_workers=self._workers,
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                protocol="tls://",
                security=security,
                scheduler_port=0,
                dashboard_address="127.0.0.1:0",
                scheduler_kwargs={"dashboard": False},
                # What fails in a task comes back from it. That a heartbeat finds no scheduler in the end is
                # an error for the worker alone.
                silence_logs=logging.CRITICAL,
            )

    def _security(self, library: Any) -> Any:
        tls = self.settings.tls
        if tls is None:
            return None
        for path in (tls.ca, tls.cert, tls.key):
            if not path.is_file():
                raise SettingsError(f"no {path}; engine.tls names it (docs/dask.md shows how to make one)")
        return library.Security(
            tls_ca_file=str(tls.ca),
            tls_client_cert=str(tls.cert),
            tls_client_key=str(tls.key),
            require_encryption=True,
        )

    def _wait_for_worker(self, client: Any) -> None:
        try:
            client.wait_for_workers(1, timeout=self.settings.worker_timeout_s)
        except TimeoutError as error:
            raise EngineError(
                f"no worker has joined {self.name} within {self.settings.worker_timeout_s:g} s; start one "
                "('dask worker', see docs/dask.md), or give them longer with engine.worker_timeout_s"
            ) from error

    def _refuse_other_versions(self, client: Any) -> None:
        """Raise EngineError that names the workers whose libraries are not the ones here."""
        ours = versions_here()
        # Its own question, not a function sent there: those of another Python cannot be unpacked.
        found = self._answered(
            client.sync, client.scheduler.broadcast, msg={"op": "versions", "packages": []}, on_error="ignore"
        )
        pythons = {name: _minor(str(one["host"]["python"])) for name, one in found.items()}
        wrong = [f"{name} has Python {one}" for name, one in pythons.items() if one != ours.python]
        if not wrong:
            # Sent by value: it must run where Colluvium is missing, or another one.
            reports = self._answered(client.run, _versions_by_value(), on_error="return")
            wrong = [words for name, one in reports.items() for words in _differences(name, one, ours)]
        if wrong:
            raise EngineError(
                f"workers of {self.name} would make another layer than this machine: {'; '.join(wrong)}. "
                f"Here: {_listed(ours)}. Start the workers from the same image or the same lock file"
            )


def versions_here() -> Versions:
    """Return the versions in this process."""
    return Versions(
        metadata.version("colluvium"),
        str(onnx_runtime().__version__),
        np.__version__,
        _minor(platform.python_version()),
    )


def _versions_by_value() -> Callable[[], dict[str, str | None]]:
    def versions_there() -> dict[str, str | None]:
        from importlib import import_module
        from importlib.metadata import PackageNotFoundError, version

        found: dict[str, str | None] = {}
        try:
            found["colluvium"] = version("colluvium")
        except PackageNotFoundError:
            found["colluvium"] = None
        for name in ("onnxruntime", "numpy"):
            try:
                found[name] = str(import_module(name).__version__)
            except ImportError:
                found[name] = None
        return found

    return versions_there


def _differences(worker: str, found: Any, ours: Versions) -> Sequence[str]:
    if isinstance(found, BaseException):
        return [f"{worker} cannot say its versions ({_one_line(found)})"]
    expected = ours._asdict()
    return [
        f"{worker} has {f'{name} {there}' if there else f'no {name}'}"
        for name, there in found.items()
        if there != expected[name]
    ]


def _temporary_security(library: Any) -> Any:
    try:
        return library.Security.temporary()
    except ImportError as error:
        raise UsageError(
            "a Dask cluster on this machine makes itself certificates with the library cryptography, which "
            "is not installed. Run 'pip install \"colluvium[dask]\"'"
        ) from error


def _listed(versions: Versions) -> str:
    return ", ".join(f"{name} {value}" for name, value in versions._asdict().items())


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
