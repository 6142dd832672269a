"""Real clients for tests: QGIS without a screen, GDAL's programs, and the service as they reach it.

COLLUVIUM_TEST_REQUIRE   "qgis", "gdal" among its words: where there is none, fail instead of skip
COLLUVIUM_TEST_PICTURES  a folder in which QGIS's pictures are kept, to be looked at
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from psycopg.conninfo import conninfo_to_dict

from service.api.app import create_app
from service.bundle import Bundle
from tests.fix_region import ToyRegion

SCRIPT = Path(__file__).with_name("clients") / "in_qgis.py"
_PYTHON = "/usr/bin/python3"  # the distribution's, which finds the distribution's QGIS
_TIMEOUT_S = 240


class MissingClient(Exception):
    """A program is not installed; the message says how to get it."""


class ClientError(Exception):
    """A program ended badly; the message holds what it said."""


@dataclass(frozen=True)
class Qgis:
    """QGIS of the distribution, one process for a job."""

    folder: Path  # its settings and what it writes

    def run(self, job: str, *, dsn: str = "", **arguments: Any) -> dict[str, Any]:
        """Run a job of in_qgis.py and return what it found. Raises ClientError.

        `dsn` logs QGIS in: user and password travel in libpq's environment, as on a desk with a passfile.
        """
        done = subprocess.run(
            [_PYTHON, str(SCRIPT), job, json.dumps(arguments, default=str)],
            capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, cwd=self.folder,
            env={
                "PATH": "/usr/bin:/bin", "HOME": str(self.folder), "LC_ALL": "C.UTF-8", "NO_PROXY": "*",
                "QT_QPA_PLATFORM": "offscreen", "QGIS_CUSTOM_CONFIG_PATH": str(self.folder),
                "XDG_RUNTIME_DIR": str(self.folder), **login_of(dsn),
            },
        )  # fmt: skip
        if done.returncode:
            raise ClientError(f"QGIS failed at {job}:\n{done.stderr[-3000:]}{done.stdout[-1000:]}")
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found


def find_qgis(folder: Path) -> Qgis:
    """Return QGIS, with its settings in `folder`. Raises MissingClient."""
    if (
        not Path(_PYTHON).exists()
        or subprocess.run(
            [_PYTHON, "-c", "import qgis.core"], capture_output=True, timeout=60, check=False
        ).returncode
    ):
        raise MissingClient("QGIS is not installed: apt-get install python3-qgis")
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    return Qgis(folder)


def find_gdal() -> None:
    """Raise MissingClient where GDAL's programs are not installed."""
    if shutil.which("gdal_translate", path="/usr/bin:/bin") is None:
        raise MissingClient("GDAL's programs are not installed: apt-get install gdal-bin")


def run_gdal(program: str, *arguments: str, dsn: str = "") -> str:
    """Run one of GDAL's programs and return what it printed. Raises ClientError."""
    done = subprocess.run(
        [f"/usr/bin/{program}", *arguments],
        capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        env={"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "NO_PROXY": "*", **login_of(dsn)},
    )  # fmt: skip
    if done.returncode:
        raise ClientError(f"{program} {' '.join(arguments)} failed:\n{done.stderr[-3000:]}")
    return done.stdout


def login_of(dsn: str) -> dict[str, str]:
    """Return a DSN's login as the environment variables of libpq."""
    names = {"user": "PGUSER", "password": "PGPASSWORD", "passfile": "PGPASSFILE"}
    said = conninfo_to_dict(dsn) if dsn else {}
    return {variable: str(said[key]) for key, variable in names.items() if said.get(key)}


def unavailable(word: str, error: MissingClient) -> None:
    """Skip, or fail where COLLUVIUM_TEST_REQUIRE names this client."""
    if word in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
        pytest.fail(str(error))
    pytest.skip(str(error))


@pytest.fixture
def qgis(tmp_path: Path) -> Qgis:
    """QGIS with settings of the test's own."""
    try:
        return find_qgis(tmp_path / "qgis")
    except MissingClient as error:
        unavailable("qgis", error)
        raise


@pytest.fixture
def gdal() -> None:
    """GDAL's programs are there."""
    try:
        find_gdal()
    except MissingClient as error:
        unavailable("gdal", error)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go."""
    folder = Path(os.environ.get("COLLUVIUM_TEST_PICTURES", tmp_path / "pictures"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


class LiveSite:
    """The real application under uvicorn, on a port of its own."""

    def __init__(self, toy: ToyRegion) -> None:
        self.toy = toy
        settings = toy.settings
        app = create_app(settings, toy.clock, bundle=Bundle.load(settings.bundle.path, prove=False))
        self._socket = socket.socket()
        self._socket.bind(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})

    def __enter__(self) -> LiveSite:
        self._thread.start()
        deadline = time.monotonic() + 30
        while not self._server.started and self._thread.is_alive() and time.monotonic() < deadline:
            self._thread.join(0.02)
        if not self._server.started:
            raise RuntimeError("the service did not start")
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()

    def get(self, path: str) -> bytes:
        """Fetch a path. Raises urllib's HTTPError."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(f"{self.address}{path}", timeout=60) as answer:
            body: bytes = answer.read()
        return body


@pytest.fixture
def serve(toy: ToyRegion) -> Iterator[Any]:
    """A function that serves the toy region as it then is."""
    running: list[LiveSite] = []

    def start(region: ToyRegion = toy) -> LiveSite:
        running.append(LiveSite(region))
        return running[-1].__enter__()

    yield start
    for site in running:
        site.__exit__()
