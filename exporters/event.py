"""A landslide that people stand behind, or a place where they looked and saw none, as exporters know it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

EventKind = Literal["landslide", "nothing_seen"]
EventSource = Literal["detected", "reported", "added", "imported"]


class Event(BaseModel):
    """One entry of the inventory. It happened on one of the days `day_from` to `day`, both included."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    kind: EventKind
    source: EventSource
    day_from: date
    day: date
    lon: float  # EPSG:4326
    lat: float
    accuracy_m: float  # it lies within this distance of the place; of an outline, its farthest corner
    area_m2: float | None = None
    outline: dict[str, Any] | None = None  # GeoJSON, EPSG:4326; of a detection, or of what was imported
    confidence: float | None = None  # of the detector
    detector: str | None = None  # name, version, digest
    scene: str | None = None
    note: str = ""
    by: str  # who accepted or added it
    reason: str
    recorded_at: datetime

    @property
    def is_dated(self) -> bool:
        """Whether its day is known, and not only a span of days."""
        return self.day_from == self.day


class Look(BaseModel):
    """Ground on which a landslide of the days `day_from` to `day` would have been seen."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    uid: str
    source: EventSource
    day_from: date
    day: date
    area: dict[
        str, Any
    ]  # GeoJSON, EPSG:4326: of a reviewed scene its clear ground, of a visit its surroundings
    by: str
