"""The messages that were sent, by thread. A part of ledger.sqlite."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from exporters.cap import CapMessage
from service.sqlite import Database
from service.stamps import to_stamp


class CapMessages:
    """The table of messages. What was sent stays; a thread is open until its last message is a Cancel."""

    def __init__(self, database: Database, now: Callable[[], str]) -> None:
        self._db = database
        self._now = now

    def add(self, message: CapMessage) -> None:
        """Keep a message. Call inside a transaction."""
        self._db.execute(
            "INSERT INTO cap_message (identifier, thread, zone, kind, status, sent_at, expires_at, layer_id,"
            " record) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                message.identifier,
                message.thread,
                message.zone,
                message.kind,
                message.status,
                to_stamp(message.sent),
                to_stamp(message.expires),
                message.basis[0].layer_id if message.basis else None,
                message.model_dump_json(),
            ),
        )

    def find(self, identifier: str) -> CapMessage | None:
        """Return one message."""
        row = self._db.execute(
            "SELECT record FROM cap_message WHERE identifier = ?", (identifier,)
        ).fetchone()
        return CapMessage.model_validate_json(row["record"]) if row else None

    def thread(self, name: str) -> list[CapMessage]:
        """Return a thread's messages, oldest first."""
        return self._read("SELECT record FROM cap_message WHERE thread = ? ORDER BY id", (name,))

    def last_of_open_threads(self) -> list[CapMessage]:
        """Return the last message of each thread that has no Cancel yet, oldest thread first."""
        return self._read(
            "SELECT record FROM cap_message WHERE id IN (SELECT max(id) FROM cap_message GROUP BY thread)"
            " AND kind != 'Cancel' ORDER BY id",
            (),
        )

    def sent(self, since: datetime, until: datetime | None = None) -> list[CapMessage]:
        """Return the messages sent from `since` on, and before `until`, oldest first."""
        return self._read(
            "SELECT record FROM cap_message WHERE sent_at >= ? AND sent_at < ? ORDER BY id",
            (to_stamp(since), to_stamp(until) if until else "9999"),
        )

    def newest(self, limit: int) -> list[CapMessage]:
        """Return the newest messages, newest first."""
        return self._read("SELECT record FROM cap_message ORDER BY id DESC LIMIT ?", (limit,))

    def counts(self) -> dict[tuple[str, str], int]:
        """Count the messages ever sent by (kind, status), such as ("Alert", "Exercise")."""
        rows = self._db.execute("SELECT kind, status, count(*) FROM cap_message GROUP BY kind, status")
        return {(row[0], row[1]): int(row[2]) for row in rows}

    def _read(self, sql: str, parameters: tuple[object, ...]) -> list[CapMessage]:
        rows = self._db.execute(sql, parameters)
        return [CapMessage.model_validate_json(row["record"]) for row in rows]
