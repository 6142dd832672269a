"""Our SQLite files: one way to open them, numbered migrations, errors that say what to do."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from service.errors import StorageError

_BUSY_TIMEOUT_S = 30.0
_T = TypeVar("_T")


class Database(sqlite3.Connection):
    """A connection in autocommit mode whose errors of disk and file are StorageErrors that name the file.

    Broken constraints stay sqlite3.IntegrityError: they are mistakes of the caller, not of the disk.
    """

    path: Path

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run one statement."""
        return self._guarded(lambda: super(Database, self).execute(sql, parameters))

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        """Run one statement for each row of parameters."""
        return self._guarded(lambda: super(Database, self).executemany(sql, parameters))

    def _guarded(self, act: Callable[[], _T]) -> _T:
        try:
            return act()
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise
        except sqlite3.DatabaseError as error:
            raise _explained(error, self.path) from error


def open_database(path: Path, migrations: Sequence[str], name: str, *, make: bool = True) -> Database:
    """Open a SQLite file, make it where it is missing, and bring its schema up to date.

    WAL; synchronous=FULL, so that what was committed survives a power cut; foreign keys enforced; waits 30 s
    for another writer. `migrations[n]` takes the schema from PRAGMA user_version n to n + 1 and is applied
    once, in a transaction. `name` is what messages call it ("ledger"). The connection is in autocommit mode
    and belongs to the thread that opened it.

    With `make` = False a missing file is not made: who only looks finds an empty database, in memory.

    Raises StorageError where the file cannot be opened or made, is not a database, or was written by a
    newer version of the program.
    """
    in_memory = not make and not path.exists()
    try:
        if make:
            path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(
            ":memory:" if in_memory else path,
            timeout=_BUSY_TIMEOUT_S,
            isolation_level=None,
            factory=Database,
            cached_statements=256,
        )
    except (OSError, sqlite3.Error) as error:
        raise StorageError(
            f"cannot open the {name} {path}: {error}. Does this user own the folder, and is there space?"
        ) from error
    database.path = path
    try:
        if not in_memory:
            _prepare(database)
        _migrate(database, migrations, name)
    except BaseException:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: Database) -> Iterator[None]:
    """Keep all of the block or none of it. When the block has ended without an error, it is on disk."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        # A full disk makes SQLite roll back by itself; a second ROLLBACK would hide the first error.
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def _prepare(database: Database) -> None:
    mode = database.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        mode = database.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StorageError(
            f"{database.path} cannot use a write-ahead log (its journal mode stays {mode!r}); "
            "put region.data_dir on a local disk"
        )
    database.execute("PRAGMA synchronous = FULL")
    database.execute("PRAGMA foreign_keys = ON")


def _migrate(database: Database, migrations: Sequence[str], name: str) -> None:
    known = len(migrations)
    if _version(database) == known:
        return
    with transaction(database):
        # Read again: another process may have migrated while we waited for the lock.
        version = _version(database)
        if version > known:
            raise StorageError(
                f"the {name} {database.path} has schema version {version}, and this program knows "
                f"versions up to {known}: a newer Colluvium wrote it. Either install that version again "
                "or restore the file from a backup made before the upgrade."
            )
        for number in range(version, known):
            for statement in _statements(migrations[number]):
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {number + 1}")


def _version(database: Database) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _statements(script: str) -> Iterator[str]:
    """Split a script; executescript() would commit the transaction that must hold it together."""
    statement = ""
    for piece in script.split(";"):
        statement += piece + ";"
        if sqlite3.complete_statement(statement):
            if statement.strip() != ";":
                yield statement
            statement = ""
    if statement.strip(" \t\r\n;"):
        raise ValueError(f"a migration ends inside a statement: {statement.strip()[:80]!r}")


def _explained(error: sqlite3.DatabaseError, path: Path) -> StorageError:
    text = str(error)
    if "full" in text:
        return StorageError(
            f"no space left for {path}: {text}. Nothing was changed; free space on that disk and run it again"
        )
    if "locked" in text or "busy" in text:
        return StorageError(
            f"{path} has been held by another process for {_BUSY_TIMEOUT_S:.0f} s ({text}); "
            "wait for that run to end and try again"
        )
    if "not a database" in text or "malformed" in text:
        return StorageError(
            f"{path} is damaged or not a SQLite database ({text}); move it aside and restore it from a backup"
        )
    if "readonly" in text or "unable to open" in text:
        return StorageError(f"{path} cannot be opened for writing ({text}); make it writable for this user")
    return StorageError(f"{path} could not be used: {text}")
