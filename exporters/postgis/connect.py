"""Connections to the database: bounded in time, and every failure in words that say what to do.

The server bounds statements, locks and idle transactions itself; the client bounds every wait of its own
too, because a server that went deaf (a firewall that drops packets, a hung host) reports nothing at all.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg.abc import PQGen
from psycopg.conninfo import conninfo_to_dict

from exporters.base import ExportError, ExportRefused, ExportUnavailable

# How much longer than the server's own limit a wait may take: the time that an answer is on its way.
_GRACE_S = 2.0

SETUP = "colluvium postgis setup -c region.toml | psql -d DATABASE  (as a superuser)"
MIGRATE = "colluvium postgis migrate -c region.toml"


@dataclass(frozen=True)
class ConnectionSettings:
    """How to reach the database as one role.

    `dsn` holds no password; what it leaves out comes from libpq's PG* variables. `password` is asked at
    each connection, and may raise ExportUnavailable.
    """

    dsn: str = ""
    password: Callable[[], str] | None = field(default=None, repr=False)
    connect_timeout_s: int = 10
    statement_timeout_s: int = 300
    lock_timeout_s: int = 30


class Deaf(psycopg.OperationalError):
    """The server said nothing for longer than its own limits allow."""


class PatientConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that gives up a wait after `patience_s` and closes itself."""

    patience_s = 60.0

    def wait(self, gen: PQGen[Any], *arguments: Any, **options: Any) -> Any:
        """Wait for the server as psycopg does, but not for ever. Raises Deaf."""
        try:
            return super().wait(_within(gen, self.patience_s), *arguments, **options)
        except Deaf:
            self.close()  # or leaving the transaction would wait once more, to roll back
            raise


def _within(gen: PQGen[Any], seconds: float) -> PQGen[Any]:
    """Pass a psycopg generator through until it ends, or raise Deaf once `seconds` went by in silence."""
    deadline = time.monotonic() + seconds
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > deadline:
                raise Deaf(f"no answer for {seconds:g} s")
            wanted = gen.send(ready)
    except StopIteration as end:
        return end.value


@contextmanager
def connected(settings: ConnectionSettings, exporter: str) -> Iterator[PatientConnection]:
    """Open a connection; the block is one transaction, kept whole or not at all.

    Raises ExportUnavailable or ExportRefused for everything that psycopg raises, here or in the block.
    """
    connection = _open(settings, exporter)
    where = place(settings, exporter)
    try:
        try:
            with connection:
                yield connection
        finally:
            connection.close()
    except psycopg.Error as error:
        raise _translated(error, where, settings) from error


def place(settings: ConnectionSettings, exporter: str) -> str:
    """Name the exporter and the database for a message."""
    try:
        said = conninfo_to_dict(settings.dsn)
    except psycopg.Error:
        return exporter
    host = said.get("host") or said.get("hostaddr") or os.environ.get("PGHOST") or "the local socket"
    port = said.get("port") or os.environ.get("PGPORT") or "5432"
    database = said.get("dbname") or os.environ.get("PGDATABASE") or said.get("service") or "its default"
    return f"{exporter}: database {database} at {host}:{port}"


def _open(settings: ConnectionSettings, exporter: str) -> PatientConnection:
    password = settings.password() if settings.password else None
    where = place(settings, exporter)
    try:
        connection = PatientConnection.connect(
            settings.dsn,
            password=password,
            connect_timeout=settings.connect_timeout_s,
            application_name="colluvium",
            client_encoding="utf8",
            keepalives=1,
            keepalives_idle=30,
            keepalives_interval=10,
            keepalives_count=3,
            tcp_user_timeout=60_000,
        )
    except psycopg.OperationalError as error:
        raise ExportUnavailable(
            f"{where}: cannot connect: {_first_line(error)}. "
            "Either start the server, or correct dsn and password in [[exporters]]"
        ) from error
    except psycopg.Error as error:
        # The parser's message quotes the DSN, which may hold what should not be in a log.
        raise ExportUnavailable(f"{exporter}: the dsn in [[exporters]] cannot be read") from error
    connection.patience_s = settings.statement_timeout_s + _GRACE_S
    try:
        # By statement, because poolers refuse most settings at start-up; for this transaction alone, because
        # they hand the connection on to others.
        connection.execute(
            "SELECT set_config('statement_timeout', %s, true), set_config('lock_timeout', %s, true),"
            " set_config('idle_in_transaction_session_timeout', %s, true),"
            " set_config('timezone', 'UTC', true)",
            [
                f"{settings.statement_timeout_s}s",
                f"{settings.lock_timeout_s}s",
                f"{settings.statement_timeout_s}s",
            ],
        )
    except psycopg.Error as error:
        connection.close()
        raise _translated(error, where, settings) from error
    return connection


def _translated(error: psycopg.Error, where: str, settings: ConnectionSettings) -> ExportError:
    said = _first_line(error)
    match error:
        case Deaf():
            todo = "The server hangs or the network drops packets; it is tried again"
        case psycopg.errors.InsufficientPrivilege():
            todo = (
                "Either the login is no member of its group: as a superuser run "
                "GRANT colluvium_writer TO LOGIN; (colluvium_owner for one that migrates); "
                f"or the group lost its rights on schema or database: {SETUP}"
            )
        case psycopg.errors.ReadOnlySqlTransaction():
            todo = "The server is a standby: name the primary in dsn"
        case psycopg.errors.UndefinedTable() | psycopg.errors.InvalidSchemaName():
            todo = f"Run {MIGRATE}"
        case psycopg.errors.UndefinedFunction() | psycopg.errors.UndefinedObject():
            todo = f"Is an extension missing? Run {SETUP}"
        case psycopg.errors.LockNotAvailable():
            todo = f"Another session kept a lock for {settings.lock_timeout_s} s; see pg_stat_activity"
        case psycopg.errors.QueryCanceled():
            todo = f"Raise statement_timeout_s ({settings.statement_timeout_s}) if the server is only slow"
        case psycopg.errors.DiskFull():
            todo = "Make room on the server's disk"
        case psycopg.DataError() | psycopg.IntegrityError():
            return ExportRefused(f"{where}: the database does not take it: {said}")
        case _:
            todo = "It is tried again"
    return ExportUnavailable(f"{where}: {said}. {todo}")


def _first_line(error: psycopg.Error) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
