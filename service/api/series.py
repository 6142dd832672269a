"""Gauges and reservoirs with their latest readings."""

from __future__ import annotations

import math
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import Field

from service.api.answers import json_answer
from service.api.examples import SERIES
from service.api.models import GEOJSON, Answer, GeoJsonResponse, Geometry, problems, shown_as
from service.api.numbers import rounded
from service.api.site import Site
from service.reading_values import Reading, Series
from service.readings import Archive
from service.sharing import withheld_feeds

DAYS = 30
_UNITS: dict[Literal["rain", "level"], str] = {"rain": "mm", "level": "m above sea level"}


class Latest(Answer):
    """The newest reading, good or not; a rejected one makes no layer, and the reason says why."""

    day: date
    value: float
    quality: Literal["good", "suspect", "rejected"]
    reason: str


class SeriesDay(Answer):
    """One good reading."""

    day: date
    value: float


class SeriesProperties(Answer):
    """One gauge or reservoir."""

    feed: str
    variable: Literal["rain", "level"]
    series: str
    unit: str
    elevation_m: float | None
    latest: Latest | None
    days: list[SeriesDay] = Field(description="good readings, oldest first; a missing day is absent, never 0")


class SeriesFeature(Answer):
    """A series where it is measured; no geometry where that is not known."""

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: Geometry | None
    properties: SeriesProperties


class SeriesCollection(Answer):
    """Every series whose feed may be passed on."""

    model_config = shown_as(SERIES)

    type: Literal["FeatureCollection"] = "FeatureCollection"
    withheld: list[str] = Field(description="feeds that are used and may not be shown")
    features: list[SeriesFeature]


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["series"])

    @router.api_route(
        "/series",
        methods=["GET", "HEAD"],
        response_model=SeriesCollection,
        response_class=GeoJsonResponse,
        responses=problems([(503, "The archive of readings cannot be used.")]),
        name="series",
    )
    def series(request: Request) -> Response:
        """Gauges and reservoirs: where they stand, the newest reading, and 30 days of good ones.

        The 30 days end with the newest day that any shown series of the variable reported. A feed with
        `redistribute = false` is named under `withheld`, and nothing else of it is here.
        """
        features: list[SeriesFeature] = []
        withheld: set[str] = set()
        with site.archive() as archive:
            for variable in _UNITS:
                closed = withheld_feeds(site.settings, archive, variable)
                withheld.update(closed)
                features += _features(archive, variable, closed, site.today)
        return json_answer(request, SeriesCollection(withheld=sorted(withheld), features=features), GEOJSON)

    return router


def _features(
    archive: Archive, variable: Literal["rain", "level"], closed: Iterable[str], today: date
) -> list[SeriesFeature]:
    hidden = set(closed)
    shown = [item for item in archive.series(variable) if item.feed not in hidden]
    latest = {(item.feed, item.series): item for item in archive.latest_readings(variable, today)}
    ends = [latest[item.feed, item.id].day for item in shown if (item.feed, item.id) in latest]
    if not ends:
        return [_feature(item, variable, None, []) for item in shown]
    last = max(ends)
    days = [last - timedelta(days=back) for back in range(DAYS - 1, -1, -1)]
    readings = archive.values(variable, days)
    found: dict[tuple[str, str], list[SeriesDay]] = {}
    for row, day in enumerate(days):
        # A gauge that moved has a column a position, of which one holds on a day.
        for column, item in enumerate(readings.series):
            value = rounded(readings.value[row, column])
            if value is not None:
                found.setdefault((item.feed, item.id), []).append(SeriesDay(day=day, value=value))
    return [
        _feature(item, variable, latest.get((item.feed, item.id)), found.get((item.feed, item.id), []))
        for item in shown
    ]


def _feature(
    item: Series, variable: Literal["rain", "level"], latest: Reading | None, days: list[SeriesDay]
) -> SeriesFeature:
    placed = math.isfinite(item.lon + item.lat)
    return SeriesFeature(
        id=f"{item.feed}/{variable}/{item.id}",
        geometry=Geometry(type="Point", coordinates=[item.lon, item.lat]) if placed else None,
        properties=SeriesProperties(
            feed=item.feed,
            variable=variable,
            series=item.id,
            unit=_UNITS[variable],
            elevation_m=rounded(item.elevation_m),
            latest=Latest(
                day=latest.day,
                value=round(latest.value, 6),
                quality=latest.quality.value,
                reason=latest.reason,
            )
            if latest is not None
            else None,
            days=days,
        ),
    )
