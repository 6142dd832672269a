"""Readings of a day -> the day's surface on the forcing nodes.

Rain is brought onto points by inverse distance (Shepard, 1968) over the nearest gauges that reported that
day and lie in range. A gauge that failed is replaced by its neighbours of the same day, never by its own
other days, unless the settings ask for the linear filling along time of Teng et al. (2026). Where no gauge in
range reported, rain is that of the region's raster products, the first of them that has a value there: an
error of a gauge's day reaches `max_distance_km`, and a satellite's pixel is everywhere.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import structlog
from rasterio.crs import CRS
from rasterio.warp import transform
from scipy.spatial import cKDTree

from service.errors import StorageError
from service.raster_files import RasterDay
from service.raster_sampling import RasterSampler
from service.reading_values import NOTHING_MORE, ForecastIssue, Readings, Selection, Series
from service.readings import Archive
from service.settings import ForcingSettings
from service.stamps import to_stamp
from service.surfaces import Kind, Surface, SurfaceStore

_log = structlog.get_logger()

RAIN = "rain"  # the archive's variable

# A gap along time longer than this many days is not bridged: the far side says nothing about its middle.
MAX_GAP_DAYS = 30

_GEOGRAPHIC = CRS.from_epsg(4326)
_AT_GAUGE_M = 0.01  # nearer than this is at the gauge: projecting back and forth costs micrometres
_VERSION = 1  # of the surface's rule; part of its digest

Points = npt.NDArray[np.float64]
Float = TypeVar("Float", np.float32, np.float64)


@dataclass(frozen=True)
class GaugeDay:
    """One variable on one day: the g series that stood, and what those that reported said."""

    day: date
    series: tuple[str, ...]  # feed/id
    xy: Points  # (g, 2), grid CRS, metres
    value: npt.NDArray[np.float32]  # (g,), NaN where the series did not report
    interpolated: npt.NDArray[np.bool_]  # (g,) value taken along time inside a gap of the series
    rasters: tuple[RasterDay, ...] = ()  # products of the day, the preferred first
    crs: CRS | None = None  # of `xy`; needed where there are rasters
    forecast: bool = False  # nothing of this day was measured

    @property
    def names(self) -> tuple[str, ...]:
        """All that a value of the day may come from: the series, then the rasters."""
        return (*self.series, *(f"{raster.feed}/raster" for raster in self.rasters))

    @property
    def reporting(self) -> npt.NDArray[np.bool_]:
        """Series with a value: (g,)."""
        return np.isfinite(self.value)

    @property
    def reporting_xy(self) -> Points:
        """Coordinates of the series with a value."""
        return np.asarray(self.xy[self.reporting])


@dataclass(frozen=True)
class Neighbours:
    """The nearest of g series in range of each point, nearest first; padded with distance inf, index g."""

    distance_m: npt.NDArray[np.float64]  # (m, K)
    index: npt.NDArray[np.int64]  # (m, K)


def gauge_days(
    archive: Archive,
    variable: str,
    days: Sequence[date],
    crs: CRS,
    settings: ForcingSettings,
    as_of: datetime | None = None,
    selection: Selection = NOTHING_MORE,
) -> tuple[list[GaugeDay], str | None]:
    """Return what each of `days` (ascending) was given, and when the newest reading used became known.

    From the first day of `selection.forecast` on, a day is that of the forecast. Series without a position
    are left out, and named in the log. With fill = "linear", gaps of a series are bridged between readings
    on both sides, the later of them no later than the last of `days`.
    """
    issue = selection.forecast
    measured = [day for day in days if issue is None or day < issue.first]
    result, known_at = _measured_days(archive, variable, measured, crs, settings, as_of, selection)
    if issue is not None and len(measured) < len(days):
        ahead, issued_at = _forecast_days(archive, variable, days[len(measured) :], crs, issue, as_of)
        result += ahead
        known_at = max(filter(None, (known_at, issued_at)), default=None)
    return result, known_at


def _measured_days(
    archive: Archive,
    variable: str,
    days: Sequence[date],
    crs: CRS,
    settings: ForcingSettings,
    as_of: datetime | None,
    selection: Selection,
) -> tuple[list[GaugeDay], str | None]:
    if not days:
        return [], None
    wanted = list(days)
    if settings.fill == "linear":
        first = days[0] - timedelta(days=MAX_GAP_DAYS + 1)
        wanted = [first + timedelta(days=n) for n in range((days[-1] - first).days + 1)]
    readings = archive.values(variable, wanted, as_of, suspects=selection.suspects)
    value = np.asarray(readings.value, dtype=np.float32)
    interpolated = np.zeros(value.shape, dtype=bool)
    if settings.fill == "linear":
        value, interpolated = bridge_gaps(value, MAX_GAP_DAYS)
    rasters = archive.rasters.days(variable, days, as_of)
    known = [readings.known_at, *(to_stamp(product.known_at) for today in rasters for product in today)]
    stood = _stood(readings, value, interpolated, days, crs, variable)
    result = [
        replace(gauges, rasters=_preferred(products, settings.rasters), crs=crs)
        for gauges, products in zip(stood, rasters, strict=True)
    ]
    return result, max(filter(None, known), default=None)


def _forecast_days(
    archive: Archive,
    variable: str,
    days: Sequence[date],
    crs: CRS,
    issue: ForecastIssue,
    as_of: datetime | None,
) -> tuple[list[GaugeDay], str | None]:
    readings = archive.forecast_values(variable, days, issue, as_of)
    factors = dict(issue.factors)
    factor = np.array([[factors.get(day, 1.0)] for day in days], dtype=np.float32)
    value = np.asarray(readings.value * factor, dtype=np.float32)
    stood = _stood(readings, value, np.zeros(value.shape, dtype=bool), days, crs, variable)
    return [replace(gauges, forecast=True) for gauges in stood], readings.known_at


def _stood(
    readings: Readings,
    value: npt.NDArray[np.float32],
    interpolated: npt.NDArray[np.bool_],
    days: Sequence[date],
    crs: CRS,
    variable: str,
) -> list[GaugeDay]:
    placed = np.array([math.isfinite(item.lon + item.lat) for item in readings.series], dtype=bool)
    if not placed.all():
        lost = sorted({item.id for item, here in zip(readings.series, placed, strict=True) if not here})
        _log.warning("series without a position are not used", variable=variable, series=lost)
    xy = np.full((len(placed), 2), np.nan)
    xy[placed] = project([item for item, here in zip(readings.series, placed, strict=True) if here], crs)
    names = [f"{series.feed}/{series.id}" for series in readings.series]
    row_of = {day: row for row, day in enumerate(readings.days)}
    result = []
    for day in days:
        stands = placed & np.array([_stands(series, day) for series in readings.series], dtype=bool)
        row = row_of[day]
        result.append(
            GaugeDay(
                day=day,
                series=tuple(name for name, here in zip(names, stands, strict=True) if here),
                xy=xy[stands],
                value=value[row, stands],
                interpolated=interpolated[row, stands],
            )
        )
    return result


def _preferred(products: Sequence[RasterDay], order: Sequence[str]) -> tuple[RasterDay, ...]:
    last = len(order)
    rank = {feed: place for place, feed in enumerate(order)}
    return tuple(sorted(products, key=lambda item: (rank.get(item.feed, last), item.feed)))


def bridge_gaps(value: npt.NDArray[Float], longest: int) -> tuple[npt.NDArray[Float], npt.NDArray[np.bool_]]:
    """Interpolate linearly along axis 0 inside gaps of at most `longest` rows with a value on both sides.

    `value` is (days, series) over consecutive days, NaN where missing. Returns the bridged copy and
    a mask of what was bridged, both (days, series). Open ends stay missing.
    """
    bridged = value.copy()
    mask = np.zeros(value.shape, dtype=bool)
    known = np.isfinite(value)
    for column in np.flatnonzero(~known.all(axis=0)):
        rows = np.flatnonzero(known[:, column])
        for before in np.flatnonzero(np.diff(rows) > 1):
            start, end = int(rows[before]), int(rows[before + 1])
            if end - start - 1 > longest:
                continue
            low, high = float(value[start, column]), float(value[end, column])
            share = np.arange(1, end - start) / (end - start)
            bridged[start + 1 : end, column] = low * (1 - share) + high * share
            mask[start + 1 : end, column] = True
    return bridged, mask


def project(series: Iterable[Series], crs: CRS) -> Points:
    """Return coordinates of series in `crs`, metres, to the millimetre: float64 (g, 2)."""
    listed = list(series)
    if not listed:
        return np.zeros((0, 2))
    x, y = transform(_GEOGRAPHIC, crs, [item.lon for item in listed], [item.lat for item in listed])
    # Rounded, so that a digit of another PROJ build does not change every digest.
    return np.round(np.array([x, y], dtype=np.float64).T, 3)


def neighbours(series_xy: Points, xy: Points, settings: ForcingSettings) -> Neighbours:
    """Find the nearest series within `max_distance_km` of each point, at most `neighbours` of them."""
    count = min(settings.neighbours, len(series_xy))
    if count == 0 or len(xy) == 0:
        return Neighbours(np.full((len(xy), 1), np.inf), np.full((len(xy), 1), len(series_xy), np.int64))
    limit = settings.max_distance_km * 1000
    # The bound of the tree is exclusive, the range is not.
    distance, index = cKDTree(series_xy).query(
        xy, k=list(range(1, count + 1)), distance_upper_bound=np.nextafter(limit, np.inf)
    )
    outside = distance > limit
    distance[outside] = np.inf
    index[outside] = len(series_xy)
    return Neighbours(distance, index)


def surface_of_day(
    gauges: GaugeDay,
    xy: Points,
    settings: ForcingSettings,
    standing: Neighbours | None = None,
    sampler: RasterSampler | None = None,
) -> Surface:
    """Bring one day's readings onto points: float64 (m, 2), grid CRS.

    A point is observed where its nearest series in range reported, filled where only farther ones in range
    did. Where none did, a raster's value fills in for the gauges in range, and is an observation of its own
    where there are none; else the point is missing (NaN). All that a forecast day has is forecast.
    `standing` may pass `neighbours(gauges.xy, xy, settings)` when it is known, `sampler` one of these points.
    Each point's result depends on that point and the day's readings alone, so any subset of points gives the
    same bytes.
    """
    if standing is None:
        standing = neighbours(gauges.xy, xy, settings)
    reporting = gauges.reporting
    distance, index = standing.distance_m, standing.index
    silent = ~np.append(reporting, True)[index].all(axis=1)
    if silent.any():
        distance, index = distance.copy(), index.copy()
        there = np.flatnonzero(reporting)
        again = neighbours(gauges.xy[there], xy[silent], settings)
        width = again.distance_m.shape[1]
        distance[silent], index[silent] = np.inf, len(gauges.value)
        distance[silent, :width] = again.distance_m
        index[silent, :width] = np.append(there, len(gauges.value))[again.index]
    nearest, first = distance[:, 0], index[:, 0]
    found = np.isfinite(nearest)
    values = np.full(len(xy), np.nan, dtype=np.float32)
    values[found] = _inverse_distance(distance[found], index[found], gauges.value, settings.power)
    from_gap = np.append(gauges.interpolated, False)[first]
    observed = found & (nearest <= standing.distance_m[:, 0]) & ~from_gap
    kind = np.where(observed, Kind.OBSERVED, np.where(found, Kind.FILLED, Kind.MISSING)).astype(np.uint8)
    distance_km = np.where(found, nearest / 1000, np.nan).astype(np.float32)
    surface = Surface(values, kind, distance_km, np.where(found, first, -1).astype(np.int32), gauges.series)
    if gauges.rasters and not found.all():
        surface = _overlaid(surface, gauges, xy, np.isfinite(standing.distance_m[:, 0]), sampler)
    if gauges.forecast:
        kind = np.where(surface.kind == Kind.MISSING, Kind.MISSING, Kind.FORECAST).astype(np.uint8)
        surface = replace(surface, kind=kind)
    return surface


def _overlaid(
    surface: Surface,
    gauges: GaugeDay,
    xy: Points,
    watched: npt.NDArray[np.bool_],
    sampler: RasterSampler | None,
) -> Surface:
    """Give points without a value that of the first raster that has one. `watched`: a gauge is in range."""
    assert gauges.crs is not None  # noqa: S101 - for the type checker
    sampler = sampler or RasterSampler(xy, gauges.crs)
    values, kind = surface.values.copy(), surface.kind.copy()
    distance_km, nearest = surface.distance_km.copy(), surface.nearest.copy()
    for number, raster in enumerate(gauges.rasters, start=len(gauges.series)):
        sampled = sampler.sample(*raster.read())
        here = np.isnan(values) & np.isfinite(sampled.values)
        values[here] = sampled.values[here]
        kind[here] = np.where(watched[here], Kind.FILLED, Kind.OBSERVED)
        distance_km[here] = sampled.distance_m[here] / 1000
        nearest[here] = number
    return Surface(values, kind, distance_km, nearest, gauges.names)


def daily_surfaces(
    days: Sequence[GaugeDay],
    variable: str,
    xy: Points,
    settings: ForcingSettings,
    store: SurfaceStore,
) -> Iterable[Surface]:
    """Yield the surface of each day in turn, from the store where it is there, else made and stored."""
    targets = hashlib.sha256(np.ascontiguousarray(xy).tobytes()).hexdigest()
    network: tuple[Points, Neighbours] | None = None
    sampler: RasterSampler | None = None
    for gauges in days:
        digest = _digest(gauges, variable, targets, settings)
        surface = store.get(variable, gauges.day, digest, len(xy))
        if surface is None:
            if network is None or not np.array_equal(network[0], gauges.xy):
                network = gauges.xy, neighbours(gauges.xy, xy, settings)
            if gauges.rasters and sampler is None and gauges.crs is not None:
                sampler = RasterSampler(xy, gauges.crs)
            sound = without_damaged(gauges)
            surface = surface_of_day(sound, xy, settings, network[1], sampler)
            # Not of forecasts: of every member of every issue, none would be asked for again.
            if sound is gauges and not gauges.forecast:
                store.put(variable, gauges.day, digest, surface)
        yield surface


def without_damaged(gauges: GaugeDay) -> GaugeDay:
    """Leave out rasters whose files cannot be read, and name them: one bad file does not stop the map."""
    sound = []
    for raster in gauges.rasters:
        try:
            raster.read()
        except StorageError as error:
            _log.error("a raster is left out", feed=raster.feed, day=str(gauges.day), reason=str(error))
        else:
            sound.append(raster)
    return gauges if len(sound) == len(gauges.rasters) else replace(gauges, rasters=tuple(sound))


def _inverse_distance(
    distance: npt.NDArray[np.float64],
    index: npt.NDArray[np.int64],
    value: npt.NDArray[np.float32],
    power: float,
) -> npt.NDArray[np.float64]:
    at_gauge = distance <= _AT_GAUGE_M
    # Relative to the nearest, so that no power underflows; inf (padding) weighs nothing.
    floored = np.maximum(distance, _AT_GAUGE_M)
    weight = (floored[:, :1] / floored) ** power
    here = at_gauge[:, 0]
    weight[here] = at_gauge[here]
    padded = np.append(value, 0).astype(np.float64)
    total = np.zeros(len(distance))
    weights = np.zeros(len(distance))
    # Column by column: a sum along the axis could be grouped differently for another number of points.
    for column in range(distance.shape[1]):
        total += weight[:, column] * padded[index[:, column]]
        weights += weight[:, column]
    return np.asarray(total / weights)


def _digest(gauges: GaugeDay, variable: str, targets: str, settings: ForcingSettings) -> str:
    said: dict[str, Any] = {
        "version": _VERSION,
        "variable": variable,
        "day": gauges.day.isoformat(),
        "points": targets,
        "max_distance_km": settings.max_distance_km,
        "neighbours": settings.neighbours,
        "power": settings.power,
        "series": gauges.series,
    }
    if gauges.rasters:
        said["rasters"] = [[raster.feed, raster.digest] for raster in gauges.rasters]
    if gauges.forecast:
        said["forecast"] = True
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for array in (gauges.xy, gauges.value, gauges.interpolated):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _stands(series: Series, day: date) -> bool:
    return (series.valid_from is None or series.valid_from <= day) and (
        series.valid_to is None or day <= series.valid_to
    )
