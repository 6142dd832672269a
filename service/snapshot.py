"""Copies of our SQLite files while others write to them, and what schema a file has.

Nothing here migrates a file: it may belong to another version of the program.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import StorageError
from service.ledger_schema import MIGRATIONS as LEDGER_MIGRATIONS
from service.readings_schema import MIGRATIONS as READINGS_MIGRATIONS

LEDGER, READINGS = "ledger.sqlite", "readings.sqlite"
KNOWN_SCHEMAS = {LEDGER: len(LEDGER_MIGRATIONS), READINGS: len(READINGS_MIGRATIONS)}

_BUSY_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Schema:
    """The schema of one SQLite file, and what this program knows of it."""

    name: str
    on_disk: int | None  # None: there is no such file yet
    known: int

    @property
    def is_newer(self) -> bool:
        """Whether a newer program wrote the file: this one then refuses it."""
        return self.on_disk is not None and self.on_disk > self.known

    def to_json(self) -> dict[str, Any]:
        """Return what `schema --json` prints of it."""
        return {"file": self.name, "on_disk": self.on_disk, "known": self.known, "newer": self.is_newer}


def read_schemas(data_dir: Path) -> list[Schema]:
    """Return the schemas of the SQLite files of a data folder. Nothing is made or migrated."""
    found = []
    for name, known in KNOWN_SCHEMAS.items():
        path = data_dir / name
        found.append(Schema(name, read_version(path) if path.exists() else None, known))
    return found


def read_version(path: Path) -> int:
    """Return the schema version of a SQLite file."""
    with _opened(path) as database:
        return int(database.execute("PRAGMA user_version").fetchone()[0])


def copy_database(source: Path, target: Path) -> None:
    """Copy a SQLite file as it is at one moment, whoever writes to it; the copy is one file, and is checked.

    Raises StorageError where the source cannot be read, or what was copied is damaged.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with _opened(source) as database:
        try:
            with closing(sqlite3.connect(target)) as copy:
                # All pages at once: in steps, the copy would begin again whenever somebody writes.
                database.backup(copy)
                copy.execute("PRAGMA journal_mode = DELETE")
        except sqlite3.Error as error:
            raise StorageError(f"cannot copy {source} to {target}: {error}; is there space?") from error
    check_database(target)


def check_database(path: Path) -> None:
    """Raise StorageError where a SQLite file is damaged."""
    with _opened(path) as database:
        try:
            (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            verdict = str(error)
        if verdict != "ok":
            raise StorageError(f"{path} is damaged ({verdict}); restore it from an earlier backup")


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    try:
        # Not as read-only: a file with a write-ahead log needs its index beside it even to be read.
        database = sqlite3.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=_BUSY_TIMEOUT_S)
    except sqlite3.Error as error:
        raise StorageError(f"cannot open {path}: {error}; is it there, and does this user own it?") from error
    with closing(database):
        try:
            database.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            raise StorageError(
                f"{path} cannot be read ({error}); it is damaged, or not a SQLite database"
            ) from error
        yield database
