"""Which version of an input was in use when: settings, bundle, factor stack, mask, zones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from service.stamps import to_stamp


class InputVersion(NamedTuple):
    """An input as it was."""

    digest: str
    path: Path
    recorded: bool  # False: the first version on record, of later than the moment asked for


class Inputs:
    """The ledger's memory of inputs. Paths below `folder` are kept relative to it."""

    def __init__(self, db: sqlite3.Connection, now: Callable[[], str], folder: Path) -> None:
        self._db, self._now, self._folder = db, now, folder

    def remember(self, kind: str, digest: str, path: Path) -> None:
        """Note that from now on an input has this digest, unless it had it already."""
        row = self._db.execute(
            "SELECT digest FROM input_version WHERE kind = ? ORDER BY id DESC LIMIT 1", (kind,)
        ).fetchone()
        if row is None or row["digest"] != digest:
            kept = path.relative_to(self._folder) if path.is_relative_to(self._folder) else path
            self._db.execute(
                "INSERT INTO input_version (kind, digest, since, path) VALUES (?, ?, ?, ?)",
                (kind, digest, self._now(), str(kept)),
            )

    def at(self, kind: str, moment: datetime) -> InputVersion | None:
        """Return an input as it was at a moment; where nothing is that old, the first on record."""
        for order, bound in (("DESC", to_stamp(moment)), ("ASC", "9999")):
            row = self._db.execute(
                f"SELECT digest, path FROM input_version WHERE kind = ? AND since <= ?"  # noqa: S608
                f" ORDER BY id {order} LIMIT 1",
                (kind, bound),
            ).fetchone()
            if row is not None:
                return InputVersion(row["digest"], self._folder / row["path"], order == "DESC")
        return None
