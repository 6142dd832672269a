"""Map tiles of the region's own layers, TileJSON, what the colours mean, and the hillshade below them.

Nothing that a client sends reaches a path: a layer's id is looked up in the ledger, the rest are numbers in
bounds.
"""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from exporters.layer import CLASS_LABELS, SCALE, TOP, Layer
from exporters.palette import (
    CLASS_TABLE,
    DIFFERENCE_TABLE,
    SUSCEPTIBILITY_TABLE,
    Table,
    difference_code,
)
from exporters.picture import encode_indexed_png
from service.api.answers import cached, caching_of, json_answer, picture_etag
from service.api.drawing import COLOURS, EMPTY_TILE, LOOKS, SHADE, Shows, draw_tile, opened, tile_values
from service.api.mercator import Column, Row, Zoom, bounds_of, check_tile, closest_zoom, geographic
from service.api.saying import day_in_words, trust_in_words
from service.api.site import LayerId, LeadOfLatest, Site
from service.hillshade import find_hillshade

PNG: dict[int | str, dict[str, Any]] = {
    200: {"content": {"image/png": {}}, "description": "256 x 256 pixels; unknown is transparent"}
}
Showing = Annotated[Shows, Query(description="what the tile shows")]
_NO_SHADE = (
    "no hillshade yet: the next refresh makes it where grid.dem, factors.dem or an elevation factor is"
)


class TileJson(BaseModel):
    """TileJSON 3.0.0, with what a map must say about the layer beside it."""

    tilejson: str = "3.0.0"
    name: str
    description: str
    version: str = "1.0.0"
    attribution: str
    scheme: str = "xyz"
    tiles: list[str]
    minzoom: int = 0
    maxzoom: int
    bounds: Annotated[list[float], Field(min_length=4, max_length=4)]
    layer: str | None = None
    day: str | None = None
    lead: int | None = None
    status: str | None = None
    unconfirmed: bool | None = None


class ClassColour(BaseModel):
    """One class: its colour, and the susceptibility from which and up to which it reaches."""

    label: str
    colour: str
    from_: Annotated[float, Field(serialization_alias="from")]
    to: float


class Colour(BaseModel):
    """The colour of one value."""

    value: float
    colour: str


class DifferenceColour(Colour):
    """The colour of a change by so many classes."""

    label: str


class Unknown(BaseModel):
    """What is not known is not drawn."""

    colour: None = None
    label: str = "unknown, which is not low"


class Legend(BaseModel):
    """What the colours of all tiles mean."""

    classes: list[ClassColour]
    unknown: Unknown
    susceptibility: list[Colour]
    difference: list[DifferenceColour]


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["tiles"])
    drawing = site.drawing

    def tile(
        identity: str, lead: int | None, request: Request, z: int, x: int, y: int, shows: Shows
    ) -> Response:
        layer = site.shown(identity, lead)
        return cached(
            request,
            picture_etag(layer, shows),
            caching_of(identity),
            lambda: _png(layer_tile(site, layer, shows, z, x, y)),
        )

    @router.api_route(
        "/layers/{identity}/tiles/{z}/{x}/{y}.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=PNG,
        summary="A map tile of a layer",
    )
    async def tile_of_layer(
        request: Request,
        identity: LayerId,
        z: Zoom,
        x: Column,
        y: Row,
        shows: Showing = "class",
        lead: LeadOfLatest = None,
    ) -> Response:
        """Web Mercator, 256 pixels, nearest cell: a colour is a class or a stored value (/legend.json)."""
        check_tile(z, x, y)
        return await drawing.do(lambda: tile(identity, lead, request, z, x, y, shows))

    @router.api_route(
        "/layers/{identity}/tilejson.json",
        methods=["GET", "HEAD"],
        response_model=TileJson,
        summary="TileJSON of a layer",
    )
    def tilejson(
        request: Request, identity: LayerId, shows: Showing = "class", lead: LeadOfLatest = None
    ) -> Response:
        """Where the tiles are, over which ground, down to which zoom; MapLibre and Leaflet read it."""
        layer = site.shown(identity, lead)
        site.file(layer, LOOKS[shows].file)
        # Another address where a layer of the same id was made anew, in a new data folder, or the colours are
        # others: tiles are kept for an hour without a question.
        version = f"{layer.digest[:8]}{COLOURS}"
        place = f"layers/{layer.id}/tiles/{{z}}/{{x}}/{{y}}.png?shows={shows}&v={version}"
        return json_answer(
            request,
            TileJson(
                name=f"{site.settings.region.name}: {shows}, {day_in_words(layer)}",
                description=f"Landslide susceptibility of {day_in_words(layer)}: {trust_in_words(layer)}",
                attribution=escape(layer.attribution, quote=False),
                tiles=[f"{site.address(request)}/{place}"],
                maxzoom=closest_zoom(bounds_of(layer), layer.cell_size_m),
                bounds=list(bounds_of(layer)),
                layer=layer.id,
                day=layer.day.isoformat(),
                lead=layer.lead,
                status=layer.status.value,
                unconfirmed=layer.unconfirmed,
            ),
        )

    def difference(request: Request, identity: str, other: str, z: int, x: int, y: int) -> Response:
        now, then = site.shown(identity), site.shown(other)
        etag = picture_etag(now, "minus", then.id, then.digest[:16])

        def draw() -> bytes:
            values = [
                tile_values(site.file(layer, LOOKS["class"].file), LOOKS["class"], z, x, y)
                for layer in (now, then)
            ]
            if values[0] is None or values[1] is None:
                return EMPTY_TILE
            return encode_indexed_png(difference_code(values[0], values[1]), DIFFERENCE_TABLE)

        return cached(
            request, etag, caching_of(identity, other), lambda: _png(drawing.once((etag, z, x, y), draw))
        )

    @router.api_route(
        "/layers/{identity}/difference/{other}/tiles/{z}/{x}/{y}.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=PNG,
        summary="A map tile of what changed between two layers",
    )
    async def difference_tile(
        request: Request, identity: LayerId, other: LayerId, z: Zoom, x: Column, y: Row
    ) -> Response:
        """Class of the first layer minus class of the other, only where both are known."""
        check_tile(z, x, y)
        return await drawing.do(lambda: difference(request, identity, other, z, x, y))

    def basemap(request: Request, z: int, x: int, y: int) -> Response:
        path = _hillshade(site)
        key = (path.stem, z, x, y)
        return cached(
            request,
            f'"{path.stem}-{COLOURS}"',
            "public, max-age=86400",
            lambda: _png(drawing.once(key, lambda: draw_tile(path, SHADE, z, x, y))),
        )

    @router.api_route(
        "/basemap/{z}/{x}/{y}.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=PNG,
        summary="A map tile of the relief",
    )
    async def basemap_tile(request: Request, z: Zoom, x: Column, y: Row) -> Response:
        """The hillshade of the region's own DEM: a base map that needs no internet."""
        check_tile(z, x, y)
        return await drawing.do(lambda: basemap(request, z, x, y))

    @router.api_route(
        "/basemap/tilejson.json",
        methods=["GET", "HEAD"],
        response_model=TileJson,
        summary="TileJSON of the relief",
    )
    def basemap_tilejson(request: Request) -> Response:
        """Where the tiles of the relief are."""
        path = _hillshade(site)
        with opened(path) as raster:
            bounds, size = geographic(raster.crs.to_wkt(), tuple(raster.bounds)), float(raster.res[0])
        return json_answer(
            request,
            TileJson(
                name=f"{site.settings.region.name}: relief",
                description="Hillshade of the region's own elevation",
                attribution=escape(site.settings.region.attribution, quote=False),
                tiles=[f"{site.address(request)}/basemap/{{z}}/{{x}}/{{y}}.png?v={path.stem[-8:]}{COLOURS}"],
                maxzoom=closest_zoom(bounds, size),
                bounds=list(bounds),
            ),
        )

    @router.api_route(
        "/legend.json", methods=["GET", "HEAD"], response_model=Legend, summary="What the colours mean"
    )
    def legend(request: Request) -> Response:
        """Colours of classes, susceptibility and differences; breaks are those of the newest layer."""
        return json_answer(request, _legend(site.layer("latest")))

    return router


def layer_tile(site: Site, layer: Layer, shows: Shows, z: int, x: int, y: int) -> bytes:
    """Return a layer's tile as PNG. Raises HTTPException where its file is gone."""
    look = LOOKS[shows]
    path = site.file(layer, look.file)
    key = (layer.id, layer.digest, shows, z, x, y)
    return site.drawing.once(key, lambda: draw_tile(path, look, z, x, y))


def _png(picture: bytes) -> Response:
    return Response(picture, media_type="image/png")


def _hillshade(site: Site) -> Path:
    path = find_hillshade(site.settings)
    if path is None:
        raise HTTPException(404, _NO_SHADE)
    return path


def _legend(layer: Layer) -> Legend:
    edges = (0.0, *layer.classes.breaks, 1.0)
    steps = len(CLASS_LABELS) - 1
    return Legend(
        classes=[
            ClassColour(
                label=label, colour=_hex(CLASS_TABLE, code + 1), from_=edges[code], to=edges[code + 1]
            )
            for code, label in enumerate(CLASS_LABELS)
        ],
        unknown=Unknown(),
        susceptibility=[
            Colour(value=round(stored * SCALE, 3), colour=_hex(SUSCEPTIBILITY_TABLE, stored))
            for stored in range(TOP + 1)
        ],
        difference=[
            DifferenceColour(
                value=change, colour=_hex(DIFFERENCE_TABLE, change + steps + 1), label=_change(change)
            )
            for change in range(-steps, steps + 1)
        ],
    )


def _hex(table: Table, value: int) -> str:
    return "#" + "".join(f"{part:02x}" for part in table[value, :3])


def _change(classes: int) -> str:
    if classes == 0:
        return "same class"
    return f"{abs(classes)} class{'es' if abs(classes) > 1 else ''} {'higher' if classes > 0 else 'lower'}"
