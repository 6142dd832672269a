"""A real PostGIS for tests: one cluster for a test run, one fresh database for a test.

    COLLUVIUM_TEST_DSN       a superuser's DSN of a server to use; otherwise a private cluster is started
    COLLUVIUM_TEST_REQUIRE   "postgis" among its words: where there is no PostGIS, fail instead of skip

The private cluster listens on 127.0.0.1 and on a socket in its own folder, asks for passwords (they lie in
a passfile that the DSNs name), is shared by the workers of pytest-xdist and ends with the run. PostgreSQL
does not run as root, so a root user starts it as `postgres` or `nobody`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from exporters.postgis.roles import setup_statements
from tests.fix_proxy import Proxy

SCHEMAS = ("toy", "demo")  # what a fresh database is set up for
_FOLDER = "COLLUVIUM_TEST_CLUSTER"  # set by the first process of a run, read by its workers
_PREFIX = "colluvium-pg-"
_TEMPLATE = "colluvium_test_template"
_LOGINS = {name: f"colluvium_test_{name}" for name in ("owner", "writer", "reader", "field")}
_NEEDED = "a PostgreSQL server with PostGIS is needed: apt-get install postgresql postgis postgresql-postgis"


class NoPostgis(Exception):
    """There is no PostGIS on this machine; the message says what to install."""


@dataclass(frozen=True)
class Database:
    """A fresh database: extensions there, roles there, schemas `toy` and `demo` set up but not migrated."""

    name: str
    dsn: str  # the superuser's
    owner_dsn: str
    writer_dsn: str
    reader_dsn: str
    field_dsn: str

    def execute(self, statement: str, *parameters: object) -> list[tuple[object, ...]]:
        """Run one statement as the superuser and return its rows."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            cursor = connection.execute(statement.encode(), parameters or None)
            return cursor.fetchall() if cursor.description else []

    def set_up(self, schema: str) -> None:
        """Run what a superuser runs once for a schema."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(setup_statements(schema, self.name).encode())


class Cluster:
    """A private PostgreSQL cluster below `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._data = folder / "data"

    def start(self, *, fsync: bool) -> str:
        """Make and start the cluster; return the superuser's DSN. Raises NoPostgis."""
        user = _unprivileged()
        if user:
            shutil.chown(self.folder, user)
        port = _free_port()
        password = secrets.token_urlsafe(16)
        secret = self.folder / "superuser"
        secret.write_text(password)
        if user:
            shutil.chown(secret, user)
        self._run("initdb", "-U", "postgres", "-A", "scram-sha-256", "--pwfile", str(secret), "-E", "UTF8",
                  "--locale=C", "--no-sync")  # fmt: skip
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(self.folder),
            "fsync": "on" if fsync else "off",
            "max_connections": "100",
        }
        with (self._data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
        self._run("start", "-w", "-t", "60", "-l", str(self.folder / "log"))
        passfile = self.folder / "passfile"
        write_passfile(passfile, {"postgres": password})
        return make_conninfo(
            host="127.0.0.1", port=port, user="postgres", dbname="postgres", passfile=str(passfile)
        )

    def stop(self) -> None:
        """Stop the cluster and remove its folder."""
        if (self._data / "postmaster.pid").exists():
            with contextlib.suppress(subprocess.CalledProcessError):
                self._run("stop", "-m", "immediate", "-w")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, act: str, *arguments: str) -> None:
        program = "initdb" if act == "initdb" else "pg_ctl"
        command = [str(_binaries() / program), "-D", str(self._data), *([] if act == "initdb" else [act])]
        user = _unprivileged()
        # The server keeps its parent's descriptors: a pipe would never end.
        with (self.folder / f"{act}.out").open("w") as out:
            done = subprocess.run(
                [*command, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.folder,
                check=False, timeout=120, env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
                **({"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []} if user else {}),
            )  # fmt: skip
        if done.returncode and act != "stop":
            raise RuntimeError(f"{program} {act} failed: {(self.folder / f'{act}.out').read_text()[-2000:]}")


def write_passfile(path: Path, passwords: dict[str, str]) -> None:
    """Add users to a passfile that libpq accepts."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "a") as file:
        file.writelines(f"*:*:*:{user}:{password}\n" for user, password in passwords.items())


def _unprivileged() -> str | None:
    if os.geteuid():
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next(user for user in ("postgres", "nobody") if user in known)


def _binaries() -> Path:
    found = shutil.which("pg_ctl")
    places = [Path(found).resolve().parent] if found else []
    places += sorted(
        Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True
    )
    for place in places:
        if (place / "pg_ctl").is_file() and (place / "initdb").is_file():
            return place
    raise NoPostgis(_NEEDED)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# --- one server for a run ---


def pytest_configure(config: pytest.Config) -> None:
    """Settle, before any worker starts, where the run's cluster would be."""
    if not hasattr(config, "workerinput"):
        _sweep()
        os.environ[_FOLDER] = tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-")


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the run's cluster."""
    if not hasattr(config, "workerinput") and _FOLDER in os.environ:
        Cluster(Path(os.environ.pop(_FOLDER))).stop()


def _sweep() -> None:
    """End the clusters of runs that were killed."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*-*"):
        process = folder.name.removeprefix(_PREFIX).split("-")[0]
        if process.isdigit() and not Path(f"/proc/{process}").exists() and os.access(folder, os.W_OK):
            with contextlib.suppress(NoPostgis):
                Cluster(folder).stop()


@pytest.fixture(scope="session")
def postgis_server() -> dict[str, str]:
    """DSNs, by user, of a server with an empty template database; skips where there is no PostGIS."""
    folder = Path(os.environ[_FOLDER])
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = folder / "server.json"
        if not said.exists():
            try:
                said.write_text(json.dumps(_prepare(folder)))
            except NoPostgis as error:
                said.write_text(json.dumps({"missing": str(error)}))
    server: dict[str, str] = json.loads(said.read_text())
    if "missing" in server:
        if "postgis" in os.environ.get("COLLUVIUM_TEST_REQUIRE", ""):
            pytest.fail(server["missing"])
        pytest.skip(server["missing"])
    return server


def _prepare(folder: Path) -> dict[str, str]:
    dsn = os.environ.get("COLLUVIUM_TEST_DSN") or Cluster(folder).start(fsync=False)
    passwords = {login: secrets.token_urlsafe(16) for login in _LOGINS.values()}
    template = sql.Identifier(_TEMPLATE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = "SELECT count(*) FROM pg_available_extensions WHERE name = ANY(%s)"
        found = connection.execute(query, [["postgis", "postgis_raster"]]).fetchone()
        if found != (2,):
            raise NoPostgis(_NEEDED)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(template))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(template))
        with psycopg.connect(make_conninfo(dsn, dbname=_TEMPLATE), autocommit=True) as inside:
            inside.execute(setup_statements(SCHEMAS[0], _TEMPLATE).encode())
        for role, login in _LOGINS.items():
            connection.execute(sql.SQL("DROP ROLE IF EXISTS {}").format(sql.Identifier(login)))
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} IN ROLE {}").format(
                    sql.Identifier(login), passwords[login], sql.Identifier(f"colluvium_{role}")
                )
            )
    write_passfile(folder / "passfile", passwords)
    # A password in the DSN would go before the passfile.
    place = {key: value for key, value in conninfo_to_dict(dsn).items() if key != "password"}
    as_user = {
        name: make_conninfo(**{**place, "user": login, "passfile": str(folder / "passfile")})
        for name, login in _LOGINS.items()
    }
    return {"superuser": dsn, **as_user}


@pytest.fixture
def database(postgis_server: dict[str, str]) -> Iterator[Database]:
    """A fresh database of the test's own."""
    name = f"test_{secrets.token_hex(6)}"
    dsns = {user: make_conninfo(dsn, dbname=name) for user, dsn in postgis_server.items()}
    with psycopg.connect(postgis_server["superuser"], autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(_TEMPLATE))
        )
        fresh = Database(
            name, dsns["superuser"], dsns["owner"], dsns["writer"], dsns["reader"], dsns["field"]
        )
        for schema in SCHEMAS:
            fresh.set_up(schema)
        yield fresh
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def proxy(database: Database, tcp_proxy: Proxy) -> Proxy:
    """A proxy in front of `database`; `through(proxy, dsn)` gives a DSN that goes by it."""
    with psycopg.connect(database.dsn) as connection:
        tcp_proxy.open(connection.info.host, connection.info.port)
    return tcp_proxy


def through(proxy: Proxy, dsn: str) -> str:
    """Return a DSN that reaches the same database through the proxy."""
    return make_conninfo(dsn, host="127.0.0.1", port=proxy.port)
