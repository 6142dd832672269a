"""Which bundle serves instead of the one that the settings name, since when, by whom and on what evidence."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from service.stamps import from_stamp, to_stamp


@dataclass(frozen=True)
class Promotion:
    """A decision of a person. The newest one counts, while the settings still name `instead_of`."""

    id: int
    at: datetime
    path: Path  # of the bundle that serves; one that was promoted lies in the data folder
    digest: str
    instead_of: Path  # bundle.path of the settings; where that is another one, the promotion has ended
    by: str
    reason: str
    evidence: dict[str, Any]  # service.promotion.Evidence as JSON

    def holds(self, bundle_path: Path) -> bool:
        """Tell whether it is in force where the settings name `bundle_path`."""
        return bundle_path == self.instead_of


class Promotions:
    """The part of ledger.sqlite that tells of promotions. Paths below `folder` are kept relative to it."""

    def __init__(self, database: sqlite3.Connection, now: Callable[[], str], folder: Path) -> None:
        self._db, self._now, self._folder = database, now, folder

    def add(
        self, path: Path, digest: str, instead_of: Path, by: str, reason: str, evidence: dict[str, Any]
    ) -> int:
        """Keep a promotion and return its id.

        Call inside a transaction that also writes the journal (`Ledger.promote`).
        """
        cursor = self._db.execute(
            "INSERT INTO promotion (at, path, digest, instead_of, by_whom, reason, evidence)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                self._now(),
                self._kept(path),
                digest,
                self._kept(instead_of),
                by,
                reason,
                json.dumps(evidence, allow_nan=False),
            ),
        )
        return int(cursor.lastrowid or 0)

    def all(self) -> list[Promotion]:
        """Return all of them, oldest first."""
        return [self._of(row) for row in self._db.execute("SELECT * FROM promotion ORDER BY id")]

    def newest(self, as_of: datetime | None = None) -> Promotion | None:
        """Return the last one made (by a moment); whether it is in force, `Promotion.holds` tells."""
        row = self._db.execute(
            "SELECT * FROM promotion WHERE at <= ? ORDER BY id DESC LIMIT 1",
            (to_stamp(as_of) if as_of is not None else "9999",),
        ).fetchone()
        return self._of(row) if row else None

    def in_force(self, bundle_path: Path, as_of: datetime | None = None) -> Promotion | None:
        """Return the promotion in force where the settings name `bundle_path`, if one is."""
        newest = self.newest(as_of)
        return newest if newest is not None and newest.holds(bundle_path) else None

    def _kept(self, path: Path) -> str:
        return str(path.relative_to(self._folder) if path.is_relative_to(self._folder) else path)

    def _of(self, row: Any) -> Promotion:
        return Promotion(
            id=row["id"],
            at=from_stamp(row["at"]),
            path=self._folder / row["path"],
            digest=row["digest"],
            instead_of=self._folder / row["instead_of"],
            by=row["by_whom"],
            reason=row["reason"],
            evidence=dict(json.loads(row["evidence"])),
        )
