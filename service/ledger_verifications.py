"""What the maps were worth, as it was found on each day: kept in the ledger, newest last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from exporters.verification import Verification
from service.sqlite import Database
from service.stamps import to_stamp

Of = Literal["display", "challenger"]


class Verifications:
    """The part of ledger.sqlite that holds verifications."""

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._db = database
        self._now = now

    def keep(self, record: Verification) -> None:
        """Keep a verification. One that says the same as the newest of its kind changes nothing."""
        newest = self.newest(record.of)
        if newest is not None and newest.digest and newest.digest == record.digest:
            return
        self._db.execute(
            "INSERT INTO verification (of, made_at, record) VALUES (?, ?, ?)",
            (record.of, to_stamp(record.made_at), record.model_dump_json()),
        )

    def newest(self, of: Of = "display") -> Verification | None:
        """Return the one that was kept last; None where there is none."""
        row = self._db.execute(
            "SELECT record FROM verification WHERE of = ? ORDER BY id DESC LIMIT 1", (of,)
        ).fetchone()
        return Verification.model_validate_json(row["record"]) if row else None

    def count(self, of: Of = "display") -> int:
        """Count those that are kept."""
        row = self._db.execute("SELECT count(*) FROM verification WHERE of = ?", (of,)).fetchone()
        return int(row[0])
