"""The outbox: what each exporter has yet to deliver. The part of ledger.sqlite that tells of deliveries."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from typing import Any, Literal

from service.ledger_rows import Delivery, OutboxCount
from service.sqlite import Database
from service.stamps import from_stamp, to_stamp

DeliveryAct = Literal["deliver", "withdraw"]

# What was put back late stands where it would have stood: `created_at` is then the layer's own moment.
_IN_ORDER = "ORDER BY created_at, id"


class Outbox:
    """Entries are `pending` until `delivered`, or `parked` until a person has them tried again or dropped."""

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._db = database
        self._now = now

    def put(
        self, layer_id: str, act: DeliveryAct, exporters: Iterable[str], since: datetime | None = None
    ) -> None:
        """Enter an act for exporters, at the place in the order of the moment `since` (default: now)."""
        stamp = to_stamp(since) if since else self._now()
        self._db.executemany(
            "INSERT INTO outbox (exporter, layer_id, act, created_at, state) VALUES (?, ?, ?, ?, 'pending')",
            [(exporter, layer_id, act, stamp) for exporter in exporters],
        )

    def next(self, exporter: str) -> Delivery | None:
        """Return what an exporter has to deliver first."""
        row = self._db.execute(
            f"SELECT * FROM outbox WHERE exporter = ? AND state = 'pending' {_IN_ORDER} LIMIT 1",  # noqa: S608
            (exporter,),
        ).fetchone()
        return _delivery_of(row) if row else None

    def open(self, exporter: str | None = None) -> list[Delivery]:
        """Return what an exporter (default: any, known or not) has not delivered, parked entries included."""
        rows = self._db.execute(
            "SELECT * FROM outbox WHERE state IN ('pending', 'parked') AND (? IS NULL OR exporter = ?)"  # noqa: S608
            f" {_IN_ORDER}",
            (exporter, exporter),
        )
        return [_delivery_of(row) for row in rows]

    def is_due(self, exporter: str, now: datetime) -> bool:
        """Tell whether an exporter has something to deliver that need not wait longer."""
        first = self.next(exporter)
        return first is not None and (first.retry_at is None or first.retry_at <= now)

    def delivered(self, delivery: Delivery) -> None:
        """Note a delivery."""
        self._db.execute(
            "UPDATE outbox SET state = 'delivered', attempts = attempts + 1, ended_at = ? WHERE id = ?",
            (self._now(), delivery.id),
        )

    def failed(self, delivery: Delivery, error: str, retry_at: datetime | None) -> None:
        """Note a failed delivery: tried again at `retry_at`, or parked for good where that is None."""
        self._db.execute(
            "UPDATE outbox SET attempts = attempts + 1, errors = errors + 1, last_error = ?, retry_at = ?,"
            " state = CASE WHEN ? IS NULL THEN 'parked' ELSE 'pending' END WHERE id = ?",
            (error, to_stamp(retry_at) if retry_at else None, 1 if retry_at else None, delivery.id),
        )

    def retry(self, exporter: str) -> int:
        """Have an exporter's parked entries, and those that wait, tried at once; return how many."""
        cursor = self._db.execute(
            "UPDATE outbox SET state = 'pending', retry_at = NULL WHERE exporter = ?"
            " AND (state = 'parked' OR state = 'pending' AND retry_at IS NOT NULL)",
            (exporter,),
        )
        return cursor.rowcount

    def drop(self, exporter: str) -> int:
        """Give up what an exporter has not delivered; return how many entries that were."""
        cursor = self._db.execute(
            "UPDATE outbox SET state = 'dropped', ended_at = ? WHERE exporter = ?"
            " AND state IN ('pending', 'parked')",
            (self._now(), exporter),
        )
        return cursor.rowcount

    def counts(self, exporters: Sequence[str]) -> list[OutboxCount]:
        """Return the outbox in figures, one row for each exporter, from zero."""
        rows = self._db.execute(
            "SELECT exporter, sum(state = 'pending') AS pending, sum(state = 'parked') AS parked,"
            " sum(attempts) AS attempts, sum(errors) AS errors FROM outbox GROUP BY exporter"
        )
        found = {row["exporter"]: row for row in rows}
        counts = []
        for name in exporters:
            row = found.get(name)
            if row is None:
                counts.append(OutboxCount(name, 0, 0, 0, 0, None))
                continue
            error = self._db.execute(
                "SELECT last_error FROM outbox WHERE exporter = ? AND state != 'delivered'"  # noqa: S608
                f" AND last_error IS NOT NULL {_IN_ORDER} LIMIT 1",
                (name,),
            ).fetchone()
            counts.append(
                OutboxCount(
                    name,
                    row["pending"],
                    row["parked"],
                    row["attempts"],
                    row["errors"],
                    error["last_error"] if error else None,
                )
            )
        return counts

    def bulletin_sent(self, exporter: str) -> tuple[str, datetime] | None:
        """Return the digest of the bulletin that an exporter last took, and when that was."""
        row = self._db.execute(
            "SELECT digest, sent_at FROM bulletin WHERE exporter = ?", (exporter,)
        ).fetchone()
        return (row["digest"], from_stamp(row["sent_at"])) if row else None

    def note_bulletin(self, exporter: str, digest: str) -> None:
        """Note that an exporter took a bulletin."""
        self._db.execute(
            "INSERT INTO bulletin (exporter, digest, sent_at) VALUES (?, ?, ?)"
            " ON CONFLICT (exporter) DO UPDATE SET digest = excluded.digest, sent_at = excluded.sent_at",
            (exporter, digest, self._now()),
        )

    def forget_bulletin(self, exporter: str) -> None:
        """Have the next bulletin sent even if it says nothing new."""
        self._db.execute("DELETE FROM bulletin WHERE exporter = ?", (exporter,))


def _delivery_of(row: Any) -> Delivery:
    return Delivery(
        id=row["id"],
        exporter=row["exporter"],
        layer_id=row["layer_id"],
        act=row["act"],
        since=from_stamp(row["created_at"]),
        parked=row["state"] == "parked",
        attempts=row["attempts"],
        retry_at=from_stamp(row["retry_at"]) if row["retry_at"] else None,
        last_error=row["last_error"],
    )
