"""What a restore would break, found before anything is changed; and what it makes the region forget."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

from service.errors import StorageError, UsageError
from service.stamps import to_stamp


def refuse_root(data_dir: Path) -> None:
    """Raise UsageError for the superuser: its files would be closed to the service, and the map away."""
    if os.geteuid() != 0 or not data_dir.exists():
        return
    owner = data_dir.stat().st_uid
    if owner != 0:
        raise UsageError(
            f"{data_dir} belongs to user {owner}, who could not open what root restores; run it as them: "
            f"sudo -u '#{owner}' colluvium restore ..."
        )


def refuse_mounts(moving: Iterable[Path]) -> None:
    """Raise StorageError for a file system of its own among them: half way through is too late for that."""
    for path in moving:
        if path.is_mount():
            raise StorageError(
                f"{path} is a file system of its own and cannot be moved aside; unmount it, or restore into "
                "another folder. Nothing was changed"
            )


def refuse_another_region(ledger: Path, region: str) -> None:
    """Raise UsageError where a ledger is of another region than `region`."""
    try:
        rows = _ask(ledger, "SELECT json_extract(record, '$.region') FROM layer ORDER BY rowid DESC LIMIT 1")
    except sqlite3.Error:
        return  # damaged: that is what backups are for
    there = {row[0] for row in rows} - {None, region}
    if there:
        raise UsageError(
            f"this is a backup of {region}, and {ledger.parent} holds {there.pop()}; nothing was changed. "
            "If that is meant, move what is there away first"
        )


def acts_since(ledger: Path, moment: datetime) -> tuple[str, ...]:
    """Say what people did after a backup: a hold or a withdrawal among it ends with the restore."""
    try:
        rows = _ask(
            ledger,
            "SELECT at, act, subject, by_whom, reason FROM journal WHERE at > ? ORDER BY id",
            to_stamp(moment),
        )
    except sqlite3.Error as error:
        return (f"the journal of the ledger that was here cannot be read: {error}",)
    return tuple(f"{at[:16]} {act} {subject} by {by}: {reason}" for at, act, subject, by, reason in rows)


def messages_since(ledger: Path, moment: datetime) -> tuple[str, ...]:
    """Say which CAP messages came after a backup: what is restored can neither update nor cancel them."""
    try:
        rows = _ask(
            ledger,
            "SELECT sent_at, kind, status, zone, identifier FROM cap_message WHERE sent_at > ? ORDER BY id",
            to_stamp(moment),
        )
    except sqlite3.Error:
        return ()  # from before there was CAP; of a damaged ledger, the acts tell
    return tuple(f"{at[:16]} {kind} ({status}) of {zone}: {name}" for at, kind, status, zone, name in rows)


def _ask(ledger: Path, query: str, *values: str) -> list[tuple[Any, ...]]:
    if not ledger.exists():
        return []
    with closing(sqlite3.connect(ledger)) as database:
        return database.execute(query, values).fetchall()
