"""Layers: the list, each as a STAC item, and their files with range requests."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from fastapi.responses import FileResponse, RedirectResponse
from starlette.exceptions import HTTPException

from exporters.companions import PROBABILITY, QUANTILES, UNCERTAINTY, companions_of
from exporters.layer import Layer, LayerStatus
from exporters.picture import class_picture, susceptibility_picture
from exporters.stac import Entry, collection_text, layer_item
from service.api.answers import (
    ASK_AGAIN,
    cached,
    caching_of,
    etag_of,
    json_answer,
    made_answer,
    picture_etag,
)
from service.api.drawing import Shows
from service.api.layer_list import LayerList, areas_csv, summary
from service.api.site import LATEST, MOST_LEAD, LayerId, Lead, LeadOfLatest, Site
from service.ledger import Ledger

_COG = "image/tiff; application=geotiff; profile=cloud-optimized"
FILES = {
    "susceptibility.tif": _COG,
    "class.tif": _COG,
    "provenance.tif": _COG,
    "areas.gpkg": "application/geopackage+sqlite3",
    "item.json": "application/geo+json",
}
# What some layers have and others have not.
_COMPANIONS = {UNCERTAINTY: _COG, PROBABILITY: _COG, QUANTILES: _COG}
_LACKING = {
    UNCERTAINTY: "its model has no ensemble",
    PROBABILITY: "its model states no event rate, and an index is no probability",
    QUANTILES: "it is no forecast, or one of too few members",
}
_CSV = "areas.csv"  # made from the ledger, so that it stays when files go
_NAMES = (*FILES, *_COMPANIONS, _CSV)
_GEOJSON = "application/geo+json"
# The ledger is read in spans of days: it may hold years, and a page wants a few hundred layers.
_SPAN = timedelta(days=100)
_FARTHEST = timedelta(days=100)  # no lead is longer

FileName = Annotated[
    str,
    PathParameter(
        description=f"one of {', '.join(_NAMES)}; {' and '.join(_COMPANIONS)} where the layer has them",
        json_schema_extra={"enum": list(_NAMES)},
    ),
]
_AS_FILE: dict[int | str, dict[str, Any]] = {
    200: {"description": "the file", "content": {kind: {} for kind in (*FILES.values(), "text/csv")}},
    206: {
        "description": "the range that was asked for",
        "content": {kind: {} for kind in (*FILES.values(), "multipart/byteranges")},
    },
}


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["layers"])

    @router.api_route(
        "/layers", methods=["GET", "HEAD"], response_model=LayerList, summary="The layers, oldest day first"
    )
    def layers(
        request: Request,
        since: Annotated[date | None, Query(description="first day", examples=["2026-03-01"])] = None,
        until: Annotated[date | None, Query(description="last day", examples=["2026-03-31"])] = None,
        lead: Annotated[
            int | None, Query(ge=0, le=MOST_LEAD, description="days ahead; 0: nowcasts; default: all")
        ] = None,
        status: Annotated[LayerStatus | None, Query(description="only layers of this status")] = None,
        limit: Annotated[int, Query(ge=1, le=400, description="layers on a page, by whole days")] = 100,
    ) -> Response:
        """The newest revision of each day and lead; a day whose newest revision was withdrawn says so.

        Without `lead`, past and current forecasts are among them; /forecasts has the current ones alone.
        """
        found: list[Layer] = []
        following: date | None = None
        last = site.today + _FARTHEST
        with site.ledger() as ledger:
            for day, of_day in _by_day(ledger, since, min(until or last, last)):
                chosen = [
                    layer for layer in of_day if lead in (None, layer.lead) and status in (None, layer.status)
                ]
                if found and len(found) + len(chosen) > limit:
                    following = day
                    break
                found += chosen
        address = site.address(request)
        query = urlencode({**request.query_params, "since": following})
        page = LayerList(
            layers=[summary(layer, links_of(site, layer, address)) for layer in found],
            next=f"{address}/layers?{query}" if following else None,
        )
        return json_answer(request, page)

    @router.api_route(
        "/layers/{identity}",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={200: {"description": "a STAC item", "content": {_GEOJSON: {}}}},
        summary="A layer as a STAC item",
    )
    def item(request: Request, identity: LayerId, lead: LeadOfLatest = None) -> Response:
        """What the layer is and where its files are; of a withdrawn layer, that it was withdrawn."""
        layer = site.layer(identity, lead)
        return json_answer(request, _item(site, layer, site.address(request)), _GEOJSON)

    @router.api_route(
        "/layers/{identity}/{name}",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=_AS_FILE,
        summary="A file of a layer, with range requests",
    )
    def file(request: Request, identity: LayerId, name: FileName, lead: LeadOfLatest = None) -> Response:
        """GeoTIFF, GeoPackage, STAC item or CSV; GDAL reads the first with /vsicurl/."""
        return _file(site, request, identity, name, lead)

    @router.api_route(
        "/collection.json",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={200: {"description": "a STAC collection", "content": {"application/json": {}}}},
        summary="The layers as a STAC collection",
    )
    def collection() -> Response:
        """Links to the item of every layer that is shown."""
        with site.ledger() as ledger:
            every = [layer for layer in ledger.layers(with_areas=False) if site.has_files(layer)]
        folder = site.settings.data_dir / "layers"
        entries = [replace(Entry.of_layer(layer, folder), path=f"layers/{layer.id}") for layer in every]
        if all(entry.status == LayerStatus.WITHDRAWN for entry in entries):
            raise HTTPException(404, "no layer is on display yet; see /status")
        return Response(collection_text(entries), media_type="application/json")

    @router.api_route(
        "/latest",
        methods=["GET", "HEAD"],
        status_code=307,
        response_class=Response,
        responses={200: {"description": "the item, once followed", "content": {_GEOJSON: {}}}},
        summary="The newest nowcast's STAC item",
    )
    def latest_item() -> Response:
        """Lead to the newest layer's STAC item, whose links are relative to its own place."""
        return RedirectResponse("latest/item.json")

    @router.api_route(
        "/latest/{name}",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=_AS_FILE,
        summary="A file of the newest nowcast",
    )
    def latest_file(request: Request, name: FileName) -> Response:
        """The same as /layers/latest/{name}; never a forecast."""
        return _file(site, request, LATEST, name, None)

    @router.api_route(
        "/map.png",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={200: {"description": "a picture", "content": {"image/png": {}}}},
        summary="The newest layer as a picture, in its own projection",
    )
    async def picture(
        request: Request,
        width: Annotated[int, Query(ge=64, le=2048)] = 900,
        shows: Shows = "class",
        lead: Lead = 0,
    ) -> Response:
        """One picture of the whole region, without words or base map; /preview.png has both."""

        def draw() -> Response:
            layer = site.shown(LATEST, lead)
            path = site.file(layer, f"{shows}.tif")
            make = class_picture if shows == "class" else susceptibility_picture
            etag = picture_etag(layer, shows, width)
            return cached(
                request,
                etag,
                ASK_AGAIN,
                lambda: Response(
                    site.drawing.once((etag,), lambda: make(path, width)), media_type="image/png"
                ),
            )

        return await site.drawing.do(draw)

    return router


def _file(site: Site, request: Request, identity: str, name: str, lead: int | None) -> Response:
    if name not in _NAMES:
        raise HTTPException(404, f"a layer has no file {name!r}; it has {', '.join(_NAMES)}")
    # The item of a withdrawn layer says that it was withdrawn.
    layer = site.layer(identity, lead) if name == "item.json" else site.shown(identity, lead)
    # The item changes on withdrawal.
    caching = ASK_AGAIN if name == "item.json" else caching_of(identity)
    etag = etag_of(layer, layer.status.value, name) if name == "item.json" else etag_of(layer, name)
    filename = f"{layer.id}-{name}"
    if name == _CSV:
        return made_answer(
            request, areas_csv(layer).encode(), "text/csv; charset=utf-8", caching=caching, filename=filename
        )
    if name in _COMPANIONS and name not in companions_of(layer):
        raise HTTPException(404, f"{layer.id} has no {name}: {_LACKING[name]}")
    path = site.file(layer, name)
    kind = FILES[name] if name in FILES else _COMPANIONS[name]
    return cached(request, etag, caching, lambda: FileResponse(path, media_type=kind, filename=filename))


def _by_day(ledger: Ledger, since: date | None, until: date) -> Iterator[tuple[date, list[Layer]]]:
    """Yield each day with the newest revision of each of its leads, oldest first."""
    first = ledger.first_day()
    if first is None:
        return
    day = max(first, since or first)
    while day <= until:
        end = min(day + _SPAN, until)
        found: dict[date, dict[int, Layer]] = {}
        for layer in ledger.layers(day, end, with_zones=False):  # revisions rise
            found.setdefault(layer.day, {})[layer.lead] = layer
        for one, of_day in found.items():
            yield one, list(of_day.values())
        if end == until:
            return
        day = end + timedelta(days=1)


def links_of(site: Site, layer: Layer, address: str) -> dict[str, str]:
    """Return what can be had of a layer, by kind."""
    place = f"{address}/layers/{layer.id}"
    links = {"self": place}
    if layer.status == LayerStatus.WITHDRAWN:
        return links
    links["csv"] = f"{place}/{_CSV}"
    if site.has_files(layer):
        links["tilejson"] = f"{place}/tilejson.json"
        names = [name for name in (*FILES, *companions_of(layer)) if name != "item.json"]
        links |= {name.split(".")[0]: f"{place}/{name}" for name in names}
    return links


def _item(site: Site, layer: Layer, address: str) -> dict[str, Any]:
    """Return the layer's STAC item with addresses of this site."""
    place = f"{address}/layers/{layer.id}"
    item = layer_item(layer).to_dict(transform_hrefs=False)
    gone = layer.status == LayerStatus.WITHDRAWN or not site.has_files(layer)
    item["assets"] = (
        {}
        if gone
        else {
            name: {**asset, "href": f"{place}/{asset['href'].removeprefix('./')}"}
            for name, asset in item["assets"].items()
        }
    )
    links = [{**link, "href": f"{address}/collection.json"} for link in item["links"]]
    links.append({"rel": "self", "href": place, "type": _GEOJSON})
    if not gone:
        links.append({"rel": "tilejson", "href": f"{place}/tilejson.json", "type": "application/json"})
        links.append(
            {
                "rel": "preview",
                "href": f"{address}/preview.png?day={layer.day}"
                + (f"&lead={layer.lead}" if layer.lead else ""),
                "type": "image/png",
            }
        )
    item["links"] = links
    return item
