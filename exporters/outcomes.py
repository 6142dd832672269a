"""The inventory and how the map did, as outlets publish them: no names of people, and no words of theirs.

A note says who saw what from whose garden; it stays in the ledger, with who decided and why. So does the
challenger's record: only what was on display is published.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from exporters.event import Event, EventKind, EventSource
from exporters.verification import Verification


class PublicEvent(BaseModel):
    """One entry of the inventory. It happened on one of the days `day_from` to `day`, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    kind: EventKind
    source: EventSource
    day_from: date
    day: date
    lon: float  # EPSG:4326
    lat: float
    accuracy_m: float
    area_m2: float | None
    outline: dict[str, Any] | None  # GeoJSON, EPSG:4326: Polygon or MultiPolygon
    confidence: float | None  # of the detector
    detector: str | None
    scene: str | None
    recorded_at: datetime

    @classmethod
    def of(cls, event: Event) -> Self:
        """Leave out who and why. An outline that is no area is left out too: the place stands for it."""
        said = event.model_dump(include=set(cls.model_fields))
        if event.outline is not None and event.outline.get("type") not in ("Polygon", "MultiPolygon"):
            said["outline"] = None
        return cls(**said)


class Outcomes(BaseModel):
    """What exporters that show events are brought in line with."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: tuple[PublicEvent, ...]
    verification: Verification | None  # None: nothing was ever held against the maps

    @classmethod
    def of(cls, events: Iterable[Event], verification: Verification | None) -> Self:
        """Make them of the inventory and the newest record of what was on display.

        Raises ValueError for a record of the challenger.
        """
        if verification is not None and verification.of != "display":
            raise ValueError(f"a record of the {verification.of} is not published")
        return cls(events=tuple(PublicEvent.of(event) for event in events), verification=verification)
