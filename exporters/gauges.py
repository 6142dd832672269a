"""What every exporter is told of gauges and reservoirs: where they stand and what they last reported.

Series of a feed that may not be redistributed are never among them: whoever makes a Bulletin leaves them out.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class GaugeSeries(_Value):
    """One gauge or reservoir, at its newest position (EPSG:4326 degrees, metres above sea level)."""

    feed: str
    variable: Literal["rain", "level"]
    id: str
    lon: float | None
    lat: float | None
    elevation_m: float | None
    unit: str  # of its readings: mm, or m above sea level


class GaugeReading(_Value):
    """One value of one series for one day of the region, as known now; forecasts are not among them.

    `reason`: which checks doubt a suspect one, why a person rejected or accepted one.
    """

    feed: str
    variable: Literal["rain", "level"]
    series: str
    day: date
    value: float
    quality: Literal["good", "suspect", "rejected"]
    reason: str
    known_at: datetime


class Bulletin(_Value):
    """Series and their readings since `since`, as known at `known_at`."""

    known_at: datetime
    since: date
    series: tuple[GaugeSeries, ...]
    readings: tuple[GaugeReading, ...]
