"""Zones and hotspots."""

from __future__ import annotations

from datetime import date, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import shapely
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from rasterio.crs import CRS
from starlette.exceptions import HTTPException

from exporters.geopackage import AREAS
from exporters.layer import Hotspot, Layer, LayerStatus, ZoneArea
from service.api.answers import json_answer
from service.api.gate import Gate
from service.api.geojson import to_geojson
from service.api.levels import level_of, levels_missing, warning_of
from service.api.models import GEOJSON, GeoJsonResponse, Geometry, Told, problems
from service.api.numbers import rounded
from service.api.site import Lead, Site
from service.api.zone_models import (
    ClassArea,
    HistoryDay,
    HotspotCollection,
    HotspotFeature,
    HotspotProperties,
    LeadDay,
    RainSums,
    Why,
    ZoneCollection,
    ZoneDetail,
    ZoneDetailFeature,
    ZoneFeature,
    ZoneLinks,
    ZoneProperties,
)
from service.areas_file import ZonePolygon, read_hotspots, read_zone_polygons
from service.forcing import RAIN
from service.sharing import withheld_because, withheld_feeds
from service.zone_rain import zone_rain

_HIGH = ("high", "very_high")
_KEPT_LAYERS = 8  # whose shapes are kept in memory
_PROBLEMS = problems(
    [
        (404, "There is no layer, none of that day, or no such zone."),
        (410, "The layer of that day was withdrawn."),
        (422, "A parameter is out of bounds."),
        (503, "The layer's areas.gpkg is lost, or too much is asked for at once (Retry-After)."),
    ]
)

Day = Annotated[date | None, Query(description="default: the layer on display")]
ZoneId = Annotated[str, PathParameter(max_length=200, description="as /zones lists them")]


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["zones"])
    gate = Gate("zones")

    # A layer's folder never changes, so what was read from it stays true.
    @lru_cache(_KEPT_LAYERS)
    def zones_in(areas: Path) -> tuple[ZonePolygon, ...]:
        return read_zone_polygons(areas)

    @lru_cache(_KEPT_LAYERS)
    def outlines_in(areas: Path, crs: str, tolerance_m: float) -> dict[str, Geometry | None]:
        found = zones_in(areas)
        shapes = to_geojson([zone.geometry for zone in found], CRS.from_user_input(crs), tolerance_m)
        return {zone.id: shape for zone, shape in zip(found, shapes, strict=True)}

    @lru_cache(_KEPT_LAYERS)
    def hotspots_in(areas: Path) -> tuple[Hotspot, ...]:
        return read_hotspots(areas)

    @lru_cache(_KEPT_LAYERS)
    def labels_in(areas: Path, crs: str) -> dict[str, tuple[float, float]]:
        drawn = [(zone.id, zone.geometry) for zone in zones_in(areas) if zone.geometry is not None]
        inside = [shapely.point_on_surface(shape) for _, shape in drawn]
        points = to_geojson(inside, CRS.from_user_input(crs), 0)
        return {
            zone: (point.coordinates[0], point.coordinates[1])
            for (zone, _), point in zip(drawn, points, strict=True)
            if point is not None
        }

    def outlines(layer: Layer) -> dict[str, Geometry | None]:
        return outlines_in(site.file(layer, AREAS), layer.crs, layer.cell_size_m)

    def labels(layer: Layer) -> dict[str, tuple[float, float]]:
        return labels_in(site.file(layer, AREAS), layer.crs)

    @router.api_route(
        "/zones",
        methods=["GET", "HEAD"],
        response_model=ZoneCollection,
        response_class=GeoJsonResponse,
        responses=_PROBLEMS,
        name="zones",
    )
    def zones(request: Request, day: Day = None, lead: Lead = 0) -> Response:
        """Zones with the area of each class, how that grew, and the share of high and very high cells.

        Polygons are in EPSG:4326, simplified to one cell. `warning_level` is null where it is not known, or
        where the model may not warn: that is not green.
        """
        layer = site.shown_on(day, lead)
        shapes, places = outlines(layer), labels(layer)
        features = [
            ZoneFeature(id=said.id, geometry=shapes.get(said.id), properties=said)
            for said in _properties(layer, places)
        ]
        answer = ZoneCollection(
            layer=layer.id,
            day=layer.day,
            lead=layer.lead,
            status=layer.status,
            unconfirmed=layer.unconfirmed,
            simplified_to_m=layer.cell_size_m,
            levels_missing=levels_missing(layer),
            features=features,
        )
        return json_answer(request, answer, GEOJSON)

    @router.api_route(
        "/zones/{zone:path}",
        methods=["GET", "HEAD"],
        response_model=ZoneDetailFeature,
        response_class=GeoJsonResponse,
        responses=_PROBLEMS,
        name="zone",
    )
    def one_zone(
        request: Request,
        zone: ZoneId,
        day: Day = None,
        lead: Lead = 0,
        days: Annotated[int, Query(ge=1, le=366, description="how far back its history goes")] = 30,
    ) -> Response:
        """One zone: areas, growth, history, the rain behind them, and what is forecast.

        `track_record` is null: there is no verification yet. `why` is null, with the reason in `why_missing`,
        where rain cannot be told. The history is of nowcasts alone.
        """
        with gate.entered():
            layer = site.shown_on(day, lead)
            said = next((found for found in _properties(layer, labels(layer)) if found.id == zone), None)
            if said is None:
                raise HTTPException(404, f"{layer.id} has no zone of that id; /zones lists them")
            polygon = next((item for item in zones_in(site.file(layer, AREAS)) if item.id == zone), None)
            why, missing = _why(site, layer, polygon.geometry if polygon is not None else None)
            detail = ZoneDetail(
                **said.model_dump(exclude={"areas"}),
                areas=said.areas,
                levels_missing=levels_missing(layer),
                history=_history(site, layer, zone, days),
                why=why,
                why_missing=missing,
                leads=_leads(site, zone),
                links=_links(site.address(request), layer, zone),
            )
            answer = ZoneDetailFeature(
                id=zone,
                geometry=outlines(layer).get(zone),
                simplified_to_m=layer.cell_size_m,
                properties=detail,
            )
            return json_answer(request, answer, GEOJSON)

    @router.api_route(
        "/hotspots",
        methods=["GET", "HEAD"],
        response_model=HotspotCollection,
        response_class=GeoJsonResponse,
        responses=_PROBLEMS,
        name="hotspots",
    )
    def hotspots(
        request: Request,
        day: Day = None,
        lead: Lead = 0,
        zone: Annotated[
            str | None, Query(max_length=200, description="the zone that holds most of it")
        ] = None,
        min_area_m2: Annotated[float, Query(ge=0, le=1e12, allow_inf_nan=False)] = 0,
        limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    ) -> Response:
        """Contiguous patches of high and very high cells, largest first, in EPSG:4326.

        Outlines follow the cells, simplified to half of one. `first_seen` is the day since which a hotspot
        has stood there without a break.
        """
        layer = site.shown_on(day, lead)
        chosen = [
            spot
            for spot in hotspots_in(site.file(layer, AREAS))
            if spot.area_m2 >= min_area_m2 and (zone is None or spot.zone == zone)
        ]
        listed, tolerance_m = chosen[:limit], layer.cell_size_m / 2
        shapes = to_geojson(
            [shapely.from_wkb(spot.geometry_wkb) for spot in listed],
            CRS.from_user_input(layer.crs),
            tolerance_m,
        )
        features = [_hotspot(spot, shape, layer.day) for spot, shape in zip(listed, shapes, strict=True)]
        answer = HotspotCollection(
            layer=layer.id,
            day=layer.day,
            lead=layer.lead,
            status=layer.status,
            unconfirmed=layer.unconfirmed,
            simplified_to_m=tolerance_m,
            matched=len(chosen),
            features=features,
        )
        return json_answer(request, answer, GEOJSON)

    return router


def _properties(layer: Layer, places: dict[str, tuple[float, float]]) -> list[ZoneProperties]:
    decided = {warning.zone: level_of(warning) for warning in layer.warnings}
    by_zone: dict[str, list[ZoneArea]] = {}
    for area in layer.areas:
        if area.zone:
            by_zone.setdefault(area.zone, []).append(area)
    return [
        ZoneProperties(
            id=zone,
            name=areas[0].name,
            areas={
                area.label: ClassArea(
                    area_m2=area.area_m2,
                    ratio=rounded(area.ratio),
                    change_m2={str(back): change for back, change in area.change_m2.items()},
                )
                for area in areas
            },
            unknown_m2=areas[0].unknown_m2,
            high_ratio=_high_ratio(areas),
            warning_level=decided[zone].level if zone in decided else None,
            warning=decided.get(zone),
            label_at=places.get(zone),
            day=layer.day,
            lead=layer.lead,
            layer=layer.id,
        )
        for zone, areas in by_zone.items()
    ]


def _high_ratio(areas: list[ZoneArea]) -> float | None:
    known = sum(area.area_m2 for area in areas)
    return round(sum(area.area_m2 for area in areas if area.label in _HIGH) / known, 6) if known else None


def _history(site: Site, layer: Layer, zone: str, days: int) -> list[HistoryDay]:
    with site.ledger() as ledger:
        every = ledger.layers(layer.day - timedelta(days=days - 1), layer.day)
    # Revisions come in order, so that the last one of a day is the one that counts.
    newest = {found.day: found for found in every if found.lead == 0}
    history = []
    for day, found in sorted(newest.items()):
        areas = [area for area in found.areas if area.zone == zone]
        if areas and found.status != LayerStatus.WITHDRAWN:
            history.append(
                HistoryDay(
                    day=day,
                    high_ratio=_high_ratio(areas),
                    status=found.status,
                    warning_level=_level(found, zone),
                )
            )
    return history


def _leads(site: Site, zone: str) -> list[LeadDay]:
    """Return what the current forecasts say of a zone; one whose layer has no such zone is left out."""
    found = []
    for layer in site.forecasts():
        areas = [area for area in layer.areas if area.zone == zone]
        if areas:
            said = layer.model_dump(include={"lead", "day", "issued_at", "status", "unconfirmed"})
            ratio, level = _high_ratio(areas), _level(layer, zone)
            found.append(LeadDay(**said, layer=layer.id, high_ratio=ratio, warning_level=level))
    return found


def _level(layer: Layer, zone: str) -> int | None:
    warning = warning_of(layer, zone)
    return warning.level if warning is not None else None


def _why(site: Site, layer: Layer, zone: shapely.Geometry | None) -> tuple[Why | None, Told | None]:
    if layer.lead:
        says = "A forecast rests on the rain of several members, and partly on none that was measured."
        return None, Told(code="forecast", says=says)
    if zone is None:
        return None, Told(code="no_geometry", says="The layer has no outline of this zone.")
    if site.bundle is None:
        return None, Told(code="no_bundle", says="No bundle is loaded; see the daemon's log.")
    manifest = site.bundle.manifest
    with site.archive() as archive:
        withheld = withheld_because(withheld_feeds(site.settings, archive, RAIN))
        if withheld is not None:
            return None, Told(code="withheld", says=withheld)
        rain = zone_rain(
            site.settings.forcing,
            site.region.forcing,
            archive,
            zone,
            layer.day,
            window_days=manifest.window_days,
            lag_days=manifest.lag_days,
            as_of=layer.issued_at,
        )
    if rain is None:
        says = "No place in this zone had a gauge in reach that reported on every day."
        return None, Told(code="no_rain_in_reach", says=says)
    before = RainSums(
        rain_window_mm=round(rain.window_mm_week_before, 2), rain_3d_mm=round(rain.short_mm_week_before, 2)
    )
    why = Why(
        rain_window_mm=round(rain.window_mm, 2),
        rain_3d_mm=round(rain.short_mm, 2),
        window_days=manifest.window_days,
        week_before=before,
        points=rain.points,
    )
    return why, None


def _links(address: str, layer: Layer, zone: str) -> ZoneLinks:
    quoted = quote(zone, safe="")
    when = f"day={layer.day}&lead={layer.lead}" if layer.lead else f"day={layer.day}"
    return ZoneLinks(
        self=f"{address}/zones/{quoted}?{when}",
        zones=f"{address}/zones?{when}",
        hotspots=f"{address}/hotspots?{when}&zone={quoted}",
        layer=f"{address}/layers/{layer.id}",
    )


def _hotspot(spot: Hotspot, shape: Geometry | None, day: date) -> HotspotFeature:
    properties = HotspotProperties(
        id=spot.id,
        area_m2=spot.area_m2,
        mean=round(spot.mean, 6),
        maximum=round(spot.maximum, 6),
        growth_m2=spot.growth_m2,
        first_seen=spot.first_seen,
        zone=spot.zone,
        day=day,
    )
    return HotspotFeature(id=spot.id, geometry=shape, properties=properties)
