"""What exporters are told of gauges and reservoirs: where they stand, and the last 40 days of readings."""

from __future__ import annotations

import hashlib
import math
from datetime import datetime, timedelta
from typing import Literal

from exporters.gauges import Bulletin, GaugeReading, GaugeSeries
from service.reading_values import Reading, Series
from service.readings import Archive
from service.settings import Settings
from service.sharing import withheld_feeds

BULLETIN_DAYS = 40  # a window of 30 days, and what came late
_UNITS: dict[Literal["rain", "level"], str] = {"rain": "mm", "level": "m above sea level"}


def make_bulletin(settings: Settings, archive: Archive, now: datetime) -> Bulletin:
    """Read the archive as it is known now.

    A day has the value that stands, which layers use; where none does, the last suspect or rejected one with
    the reason. Feeds that may not be redistributed are left out, series and all.
    """
    since = now.astimezone(settings.timezone).date() - timedelta(days=BULLETIN_DAYS - 1)
    series: list[GaugeSeries] = []
    readings: list[GaugeReading] = []
    for variable, unit in _UNITS.items():
        withheld = withheld_feeds(settings, archive, variable)
        series += [
            _series_of(item, variable, unit) for item in archive.series(variable) if item.feed not in withheld
        ]
        readings += [
            _reading_of(item, variable)
            for item in archive.newest_by_day(variable, since)
            if item.feed not in withheld
        ]
    return Bulletin(known_at=now, since=since, series=tuple(series), readings=tuple(readings))


def bulletin_digest(bulletin: Bulletin) -> str:
    """Return a digest of what a bulletin says, whenever it was made."""
    return hashlib.sha256(bulletin.model_dump_json(exclude={"known_at"}).encode()).hexdigest()


def _series_of(series: Series, variable: Literal["rain", "level"], unit: str) -> GaugeSeries:
    known = math.isfinite(series.lon) and math.isfinite(series.lat)
    return GaugeSeries(
        feed=series.feed,
        variable=variable,
        id=series.id,
        lon=series.lon if known else None,
        lat=series.lat if known else None,
        elevation_m=series.elevation_m,
        unit=unit,
    )


def _reading_of(reading: Reading, variable: Literal["rain", "level"]) -> GaugeReading:
    assert reading.known_at is not None  # noqa: S101 - for the type checker: the archive knows when
    return GaugeReading(
        feed=reading.feed,
        variable=variable,
        series=reading.series,
        day=reading.day,
        value=reading.value,
        quality=reading.quality.value,
        reason=reading.reason,
        known_at=reading.known_at,
    )
