"""A region's own readings as the truth that the simulator serves."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np

from service.errors import UsageError
from service.feeds.opening import open_feeds
from service.quality import Observation
from service.readings import Archive
from service.settings import Settings
from service.simulator.truth import Bounds, Float, Gauge, Reservoir
from service.workshop import archive_path

NEIGHBOURS = 4
MARGIN_DEG = 0.1  # around the outermost series


@dataclass(frozen=True)
class RecordedTruth:
    """What the gauges and reservoirs of a region have reported, by (series, day)."""

    gauges: tuple[Gauge, ...]
    reservoirs: tuple[Reservoir, ...]
    rain_mm: dict[tuple[str, date], float] = field(repr=False)
    level_m: dict[tuple[str, date], float] = field(repr=False)

    @classmethod
    def of_region(cls, settings: Settings, now: datetime) -> Self:
        """Read a region's archive; where there is none, the files of its csv feeds.

        Raises UsageError where neither holds a reading.
        """
        path = archive_path(settings)
        values, places = _of_archive(path) if path.exists() else ({}, {})
        if not values:
            values, places = _of_files(settings, now)
        if not values:
            raise UsageError(
                f"region {settings.region.id} has no readings to serve: run colluvium ingest, give it a csv "
                "feed, or leave -c out for a synthetic weather"
            )
        of_variable = {
            variable: {(series, day): value for (of, series, day), value in values.items() if of == variable}
            for variable in ("rain", "level")
        }
        gauges = tuple(
            Gauge(series, lon, lat, elevation or 0.0)
            for (variable, series), (lon, lat, elevation) in sorted(places.items())
            if variable == "rain" and math.isfinite(lon)
        )
        reservoirs = tuple(
            _reservoir(series, lon, lat, of_variable["level"])
            for (variable, series), (lon, lat, _) in sorted(places.items())
            if variable == "level"
        )
        return cls(gauges, reservoirs, of_variable["rain"], of_variable["level"])

    @property
    def bounds(self) -> Bounds:
        """The box around all series, with a margin."""
        places: list[Gauge | Reservoir] = [item for item in self.reservoirs if math.isfinite(item.lon)]
        places += self.gauges
        if not places:
            raise UsageError("no series of the region has a position; give its feeds a series_file")
        lon, lat = [item.lon for item in places], [item.lat for item in places]
        return (
            min(lon) - MARGIN_DEG, min(lat) - MARGIN_DEG, max(lon) + MARGIN_DEG, max(lat) + MARGIN_DEG,
        )  # fmt: skip

    @cached_property
    def first(self) -> date:
        """The first day with a reading."""
        return min(day for _, day in (*self.rain_mm, *self.level_m))

    @cached_property
    def last(self) -> date:
        """The last day with a reading."""
        return max(day for _, day in (*self.rain_mm, *self.level_m))

    def rain(self, day: date, lon: Float, lat: Float) -> Float:
        """Return inverse-distance weighted rain of the nearest gauges that reported, mm; none: NaN."""
        there = [gauge for gauge in self.gauges if (gauge.id, day) in self.rain_mm]
        if not there:
            return np.full(np.shape(lon), np.nan)
        values = np.array([self.rain_mm[gauge.id, day] for gauge in there])
        east = np.array([gauge.lon for gauge in there])
        north = np.array([gauge.lat for gauge in there])
        shrink = np.cos(np.radians(north.mean()))
        x, y = np.ravel(lon)[:, None], np.ravel(lat)[:, None]
        squared = ((x - east) * shrink) ** 2 + (y - north) ** 2 + 1e-9
        nearest = np.argsort(squared, axis=1)[:, :NEIGHBOURS]
        weight = 1 / np.take_along_axis(squared, nearest, axis=1)
        mean = (weight * values[nearest]).sum(axis=1) / weight.sum(axis=1)
        return np.asarray(np.round(mean, 1).reshape(np.shape(lon)))

    def gauge_rain(self, day: date, gauge: Gauge) -> float:
        """Return what the gauge reported, mm; NaN: nothing."""
        return self.rain_mm.get((gauge.id, day), math.nan)

    def level(self, day: date, reservoir: Reservoir) -> float:
        """Return what was reported, m; NaN: nothing."""
        return self.level_m.get((reservoir.id, day), math.nan)


_Values = dict[tuple[str, str, date], float]
_Places = dict[tuple[str, str], tuple[float, float, float | None]]


def _of_archive(path: Path) -> tuple[_Values, _Places]:
    values: _Values = {}
    places: _Places = {}
    with Archive(path, make=False) as archive:
        first, last = archive.first_day(), archive.newest_day()
        if first is None or last is None:
            return values, places
        days = [date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1)]
        for variable in ("rain", "level"):
            read = archive.values(variable, days)
            for column, series in enumerate(read.series):
                places[variable, series.id] = (series.lon, series.lat, series.elevation_m)
                for row in np.flatnonzero(np.isfinite(read.value[:, column])):
                    values[variable, series.id, days[row]] = float(read.value[row, column])
    return values, places


def _of_files(settings: Settings, now: datetime) -> tuple[_Values, _Places]:
    values: _Values = {}
    places: _Places = {}
    kinds = {feed.name: feed.kind for feed in settings.feeds}
    for feed in open_feeds(settings, lambda: now):
        if kinds[feed.name] != "csv":
            continue
        batch = feed.fetch(None, None)
        for position in batch.series or ():
            places[feed.variable, position.id] = (position.lon, position.lat, position.elevation_m)
        for row in batch.rows:
            if isinstance(row, Observation):
                values[feed.variable, row.series, row.day] = row.value
                places.setdefault((feed.variable, row.series), (math.nan, math.nan, None))
    return values, places


def _reservoir(series: str, lon: float, lat: float, levels: dict[tuple[str, date], float]) -> Reservoir:
    """Bound a reservoir by what it has shown, with a metre to spare."""
    own = [value for (name, _), value in levels.items() if name == series]
    return Reservoir(series, lon, lat, max(own, default=1.0) + 1.0, min(own, default=0.0) - 1.0)
