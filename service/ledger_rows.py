"""What the ledger's tables say, row by row."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Literal

from exporters.layer import Layer
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
    """One entry of the outbox that is not delivered yet."""

    id: int
    exporter: str
    layer_id: str
    act: Literal["deliver", "withdraw"]
    since: datetime
    parked: bool
    attempts: int
    retry_at: datetime | None
    last_error: str | None


@dataclass(frozen=True)
class OutboxCount:
    """The outbox of one exporter in figures."""

    exporter: str
    pending: int
    parked: int
    attempts: int
    errors: int
    last_error: str | None


@dataclass(frozen=True)
class Standing:
    """How a layer stands: what decides who should have it and how long its files are kept."""

    id: str
    day: date
    lead: int
    newest: bool  # no later revision of its day and lead
    issued_at: datetime
    withdrawn_at: datetime | None
    removed_at: datetime | None  # since when its files are no longer on the local disk

    @property
    def shown(self) -> bool:
        """Whether it stands for its day and lead."""
        return self.newest and self.withdrawn_at is None


def standing_of(row: Any) -> Standing:
    """Return the standing that a row tells of."""
    return Standing(
        id=row["id"],
        day=date.fromisoformat(row["day"]),
        lead=row["lead"],
        newest=bool(row["newest"]),
        issued_at=from_stamp(row["issued_at"]),
        withdrawn_at=from_stamp(row["withdrawn_at"]) if row["withdrawn_at"] else None,
        removed_at=from_stamp(row["removed_at"]) if row["removed_at"] else None,
    )


@dataclass(frozen=True)
class ShownLayer:
    """Where the layer shown for a day lies, and what its values may be compared with."""

    id: str
    day: date
    digest: str
    folder: Path
    breaks: tuple[float, float, float]
    model: str  # digest
    grid: tuple[str, tuple[float, ...], tuple[int, ...]]  # CRS, bounds, shape: which cells it lies on

    @classmethod
    def of(cls, layer: Layer) -> ShownLayer:
        """Return the same of a whole record."""
        return cls(
            id=layer.id,
            day=layer.day,
            digest=layer.digest,
            folder=layer.folder,
            breaks=layer.classes.breaks,
            model=layer.model.digest,
            grid=(layer.crs, layer.bounds, layer.shape),
        )


def shown_of(row: Any, folder: Path) -> ShownLayer:
    """Return the shown layer that a row tells of."""
    first, second, third = json.loads(row["breaks"])
    crs, bounds, shape = json.loads(row["grid"])
    return ShownLayer(
        id=row["id"],
        day=date.fromisoformat(row["day"]),
        digest=row["digest"],
        folder=folder,
        breaks=(first, second, third),
        model=row["model"],
        grid=(crs, tuple(bounds), tuple(shape)),
    )


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
