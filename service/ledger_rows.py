"""What the ledger's tables say, row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Literal

from service.errors import Outcome
from service.stamps import from_stamp


@dataclass(frozen=True)
class Run:
    """One attempt, ended or not."""

    id: int
    kind: str
    day: date | None
    lead: int
    started_at: datetime
    ended_at: datetime | None
    outcome: Outcome | None
    label: str | None
    reason: str | None
    layer_id: str | None
    cells: int | None
    seconds: dict[str, float]


@dataclass(frozen=True)
class Act:
    """One human act."""

    id: int
    at: datetime
    act: str
    subject: str
    by: str
    reason: str


@dataclass(frozen=True)
class Delivery:
    """One entry of the outbox."""

    id: int
    exporter: str
    layer_id: str
    act: Literal["deliver", "withdraw"]
    attempts: int
    retry_at: datetime | None


@dataclass(frozen=True)
class OutboxCount:
    """The outbox of one exporter in figures."""

    exporter: str
    pending: int
    parked: int
    attempts: int
    errors: int
    last_error: str | None


def run_of(row: Any) -> Run:
    """Return the run that a row of the table tells of."""
    return Run(
        id=row["id"],
        kind=row["kind"],
        day=date.fromisoformat(row["day"]) if row["day"] else None,
        lead=row["lead"],
        started_at=from_stamp(row["started_at"]),
        ended_at=from_stamp(row["ended_at"]) if row["ended_at"] else None,
        outcome=Outcome(row["outcome"]) if row["outcome"] else None,
        label=row["label"],
        reason=row["reason"],
        layer_id=row["layer_id"],
        cells=row["cells"],
        seconds=json.loads(row["seconds"] or "{}"),
    )
