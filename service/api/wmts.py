"""WMTS 1.0.0 for GIS desks: RESTful, the grid of web maps, a day as the dimension Time.

/wmts/1.0.0/WMTSCapabilities.xml
/wmts/{class|susceptibility}/{day}/{z}/{y}/{x}.png     day: YYYY-MM-DD, or `latest`
/wmts/{class|susceptibility}/lead-{lead}/{day}/...     the same of forecasts, so many days ahead

Forecasts are layers of their own: a desk that steps through Time never comes from nowcasts to forecasts.
"""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, NamedTuple
from xml.etree import ElementTree

from fastapi import APIRouter, Request, Response
from fastapi import Path as PathParameter
from starlette.exceptions import HTTPException

from exporters.cog import INDEX_NOTE, SYNTHETIC_NOTE
from exporters.layer import Layer
from service.api.answers import ASK_AGAIN, cached, made_answer, picture_etag
from service.api.drawing import Shows
from service.api.mercator import (
    HALF_WORLD_M,
    PIXEL_M,
    TILE_SIZE,
    Column,
    Row,
    Zoom,
    bounds_of,
    check_tile,
    closest_zoom,
    tile_range,
)
from service.api.saying import day_in_words
from service.api.site import LATEST, MOST_LEAD, Site
from service.api.tiles import PNG, layer_tile

_WMTS = "http://www.opengis.net/wmts/1.0"
_OWS = "http://www.opengis.net/ows/1.1"
_XLINK = "http://www.w3.org/1999/xlink"
_GRID = "GoogleMapsCompatible"
# A pixel of the standard is 0.28 mm wide (OGC 07-057r7, 6.1).
_PIXEL_WIDTH_M = 0.00028
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LAYERS: dict[Shows, tuple[str, str]] = {
    "class": (
        "Susceptibility class",
        "Low, moderate, high and very high susceptibility; unknown has no colour.",
    ),
    "susceptibility": ("Susceptibility", "Susceptibility from 0 to 1; unknown has no colour."),
}

for _prefix, _uri in (("", _WMTS), ("ows", _OWS), ("xlink", _XLINK)):
    ElementTree.register_namespace(_prefix, _uri)

Day = Annotated[
    str,
    PathParameter(
        pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2}|latest)$",
        description="YYYY-MM-DD, or `latest`",
        examples=[LATEST],
    ),
]


PathLead = Annotated[int, PathParameter(ge=1, le=MOST_LEAD, description="days ahead of the issue")]


class _Series(NamedTuple):
    """The maps that one WMTS layer steps through: the newest of them, and their days."""

    newest: Layer
    days: list[date]

    @property
    def place(self) -> str:
        """What stands between the picture and the day in a tile's address."""
        return f"lead-{self.newest.lead}/" if self.newest.lead else ""

    def identifier(self, shows: Shows) -> str:
        return f"{shows}-lead-{self.newest.lead}" if self.newest.lead else shows


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["wmts"])

    @router.api_route(
        "/wmts/1.0.0/WMTSCapabilities.xml",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={200: {"description": "WMTS 1.0.0", "content": {"application/xml": {}}}},
        summary="WMTS capabilities",
    )
    def capabilities(request: Request) -> Response:
        """What a GIS desk asks for first: layers, days, zoom levels and where the tiles are."""
        newest = site.layer(LATEST)
        with site.ledger() as ledger:
            days = [shown.day for shown in ledger.shown(date.min, date.max)]
        series = [
            _Series(newest, days),
            *(_Series(forecast, [forecast.day]) for forecast in site.forecasts()),
        ]
        return made_answer(request, _document(site, series, site.address(request)), "application/xml")

    def tile(request: Request, shows: Shows, lead: int, day: str, z: int, y: int, x: int) -> Response:
        layer = site.shown_on(_calendar(day), lead)
        return cached(
            request,
            picture_etag(layer, shows),
            ASK_AGAIN,  # a day may be revised
            lambda: Response(layer_tile(site, layer, shows, z, x, y), media_type="image/png"),
        )

    @router.api_route(
        "/wmts/{shows}/{day}/{z}/{y}/{x}.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=PNG,
        summary="A WMTS tile",
    )
    async def wmts_tile(request: Request, shows: Shows, day: Day, z: Zoom, y: Row, x: Column) -> Response:
        """The nowcast that is shown for a day; row before column, as WMTS has it."""
        check_tile(z, x, y)
        return await site.drawing.do(lambda: tile(request, shows, 0, day, z, y, x))

    @router.api_route(
        "/wmts/{shows}/lead-{lead}/{day}/{z}/{y}/{x}.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=PNG,
        summary="A WMTS tile of a forecast",
    )
    async def forecast_tile(
        request: Request, shows: Shows, lead: PathLead, day: Day, z: Zoom, y: Row, x: Column
    ) -> Response:
        """What was forecast for a day, so many days ahead; `latest` is the current forecast."""
        check_tile(z, x, y)
        return await site.drawing.do(lambda: tile(request, shows, lead, day, z, y, x))

    return router


def _calendar(day: str) -> date | None:
    """Return a day of the calendar, None for `latest`. Raises HTTPException (422)."""
    try:
        return None if day == LATEST else date.fromisoformat(day)
    except ValueError:
        raise HTTPException(422, f"day: the calendar has no {day}") from None


def _document(site: Site, series: list[_Series], address: str) -> bytes:
    newest = series[0].newest
    bounds = bounds_of(newest)
    closest = closest_zoom(bounds, newest.cell_size_m)
    root = ElementTree.Element(_wmts("Capabilities"), {"version": "1.0.0"})
    identification = _add(root, _ows("ServiceIdentification"))
    _add(identification, _ows("Title"), f"{site.settings.region.name}: landslide susceptibility")
    _add(identification, _ows("Abstract"), _abstract(newest))
    _add(identification, _ows("ServiceType"), "OGC WMTS")
    _add(identification, _ows("ServiceTypeVersion"), "1.0.0")
    _add(identification, _ows("AccessConstraints"), site.settings.web.licence or "none")
    contents = _add(root, _wmts("Contents"))
    for one in series:
        for shows in _LAYERS:
            _add_layer(contents, shows, one, address, closest)
    _add_grid(contents, closest)
    _add(root, _wmts("ServiceMetadataURL")).set(_xlink("href"), f"{address}/wmts/1.0.0/WMTSCapabilities.xml")
    return bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True))


def _add_layer(
    contents: ElementTree.Element, shows: Shows, series: _Series, address: str, closest: int
) -> None:
    title, abstract = _LAYERS[shows]
    newest = series.newest
    layer = _add(contents, _wmts("Layer"))
    _add(layer, _ows("Title"), f"{title}: {day_in_words(newest)}" if newest.lead else title)
    _add(layer, _ows("Abstract"), f"{abstract} {_abstract(newest)}")
    west, south, east, north = bounds_of(newest)
    box = _add(layer, _ows("WGS84BoundingBox"))
    _add(box, _ows("LowerCorner"), f"{west:.7f} {south:.7f}")
    _add(box, _ows("UpperCorner"), f"{east:.7f} {north:.7f}")
    _add(layer, _ows("Identifier"), series.identifier(shows))
    style = _add(layer, _wmts("Style"))
    style.set("isDefault", "true")
    _add(style, _ows("Identifier"), "default")
    _add(layer, _wmts("Format"), "image/png")
    time = _add(layer, _wmts("Dimension"))
    _add(time, _ows("Identifier"), "Time")
    _add(time, _ows("UOM"), "ISO8601")
    _add(time, _wmts("Default"), newest.day.isoformat())
    for day in series.days:
        _add(time, _wmts("Value"), day.isoformat())
    link = _add(layer, _wmts("TileMatrixSetLink"))
    _add(link, _wmts("TileMatrixSet"), _GRID)
    limits = _add(link, _wmts("TileMatrixSetLimits"))
    for zoom in range(closest + 1):
        tiles = tile_range(bounds_of(newest), zoom)
        limit = _add(limits, _wmts("TileMatrixLimits"))
        _add(limit, _wmts("TileMatrix"), str(zoom))
        _add(limit, _wmts("MinTileRow"), str(tiles.first_row))
        _add(limit, _wmts("MaxTileRow"), str(tiles.last_row))
        _add(limit, _wmts("MinTileCol"), str(tiles.first_column))
        _add(limit, _wmts("MaxTileCol"), str(tiles.last_column))
    resource = _add(layer, _wmts("ResourceURL"))
    resource.set("format", "image/png")
    resource.set("resourceType", "tile")
    tiles_of = f"{address}/wmts/{shows}/{series.place}"
    resource.set("template", f"{tiles_of}{{Time}}/{{TileMatrix}}/{{TileRow}}/{{TileCol}}.png")


def _add_grid(contents: ElementTree.Element, closest: int) -> None:
    grid = _add(contents, _wmts("TileMatrixSet"))
    _add(grid, _ows("Identifier"), _GRID)
    _add(grid, _ows("SupportedCRS"), "urn:ogc:def:crs:EPSG::3857")
    _add(grid, _wmts("WellKnownScaleSet"), f"urn:ogc:def:wkss:OGC:1.0:{_GRID}")
    for zoom in range(closest + 1):
        matrix = _add(grid, _wmts("TileMatrix"))
        _add(matrix, _ows("Identifier"), str(zoom))
        _add(matrix, _wmts("ScaleDenominator"), repr(PIXEL_M / 2**zoom / _PIXEL_WIDTH_M))
        _add(matrix, _wmts("TopLeftCorner"), f"{-HALF_WORLD_M!r} {HALF_WORLD_M!r}")
        for name, value in (
            ("TileWidth", TILE_SIZE),
            ("TileHeight", TILE_SIZE),
            ("MatrixWidth", 2**zoom),
            ("MatrixHeight", 2**zoom),
        ):
            _add(matrix, _wmts(name), str(value))


def _abstract(newest: Layer) -> str:
    notes = [INDEX_NOTE]
    notes += [SYNTHETIC_NOTE] if newest.synthetic else []
    notes += [newest.attribution] if newest.attribution else []
    return " ".join(notes)


def _add(parent: ElementTree.Element, tag: str, text: str = "") -> ElementTree.Element:
    element = ElementTree.SubElement(parent, tag)
    # ElementTree escapes, but writes characters that no XML 1.0 document may hold.
    element.text = _NOT_XML.sub(" ", text) or None
    return element


def _wmts(name: str) -> str:
    return f"{{{_WMTS}}}{name}"


def _ows(name: str) -> str:
    return f"{{{_OWS}}}{name}"


def _xlink(name: str) -> str:
    return f"{{{_XLINK}}}{name}"
