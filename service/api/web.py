"""The map page, its files and texts, and the plain page."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import math
import re
from datetime import date
from html import escape
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlencode

import rasterio.warp
from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse
from starlette.exceptions import HTTPException

from exporters.outcomes import Outcomes
from service.api.levels import exercises
from service.api.page import notice, plain_body, plain_page
from service.api.site import Site, has_it_already
from service.errors import ColluviumError, SettingsError
from service.hillshade import find_hillshade
from service.outcomes import read_outcomes
from service.region import Grid
from service.settings import Settings
from service.status import StatusReport, read_status

FOLDER = Path(__file__).resolve().parent.parent / "web"
BUILD_COMMAND = "python web/build.py"
OPENSTREETMAP = "https://tile.openstreetmap.org"
# The only kinds of file that leave the folder.
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
    ".txt": "text/plain",
}
_FILE = re.compile(r"(?:[a-z]+/)?[A-Za-z][A-Za-z0-9_.-]*")
_VENDOR = ("maplibre-gl.mjs", "maplibre-gl-worker.mjs", "maplibre-gl.css", "uPlot.esm.js", "uPlot.min.css")
_PREVIEW = (1200, 630)  # pixels; what link previews of social networks and messengers are cut to
_WORLD = 512  # pixels of the whole world at zoom 0 in MapLibre
_PREVIEWED = {"class", "susceptibility"}
_EDGE_POINTS = 24  # of the footprint, on each edge: straight in the projection, bent on the web's map


def routes(site: Site) -> APIRouter:
    """Build the routes. Raises SettingsError where the file of texts cannot be used."""
    router = APIRouter(include_in_schema=False)
    texts = read_texts(site.settings)

    def outcomes() -> Outcomes:
        with site.ledger() as ledger:
            return read_outcomes(ledger)

    @router.api_route("/", methods=["GET", "HEAD"], response_class=HTMLResponse)
    def page(request: Request) -> HTMLResponse:
        """The map page; without its libraries, the plain page that says so."""
        headers = _headers(site.settings)
        try:
            report = read_status(site.settings, site.clock())
        except ColluviumError as error:
            return HTMLResponse(plain_page(site.settings, notice(str(error))), 503, headers)
        body = plain_body(site.settings, report, site.forecasts(), exercises(site), outcomes())
        missing = [name for name in _VENDOR if not (FOLDER / "vendor" / name).is_file()]
        if missing:
            told = f"The map page needs libraries that are not here ({', '.join(missing)}). "
            told += f"Fetch them once with: {BUILD_COMMAND}. Until then, this is the plain page."
            return HTMLResponse(plain_page(site.settings, notice(told) + body), headers=headers)
        template = Template((FOLDER / "index.html").read_text("utf-8"))
        values = {"body": body, "meta": _meta(site, request, texts, report)}
        values |= {key: escape(texts[f"page.{key}"]) for key in ("language", "loading", "plain")}
        values["title"] = escape(_title(site.settings, texts))
        return HTMLResponse(template.substitute(values), headers=headers)

    @router.api_route("/plain", methods=["GET", "HEAD"], response_class=HTMLResponse)
    def plain() -> HTMLResponse:
        """The newest map for a browser without script, and for printing."""
        report = read_status(site.settings, site.clock())
        body = plain_body(site.settings, report, site.forecasts(), exercises(site), outcomes())
        return HTMLResponse(plain_page(site.settings, body), headers=_headers(site.settings))

    @router.api_route("/site.json", methods=["GET", "HEAD"])
    def about() -> dict[str, Any]:
        """What the page needs to know of the settings."""
        return about_site(site.settings, site.region.grid)

    @router.api_route("/texts.json", methods=["GET", "HEAD"])
    def all_texts() -> dict[str, str]:
        """Every text of the page."""
        return texts

    @router.api_route("/web/{path:path}", methods=["GET", "HEAD"])
    def file(request: Request, path: str) -> Response:
        """A file of the page."""
        found = FOLDER / path
        kind = _TYPES.get(found.suffix)
        if kind is None or not _FILE.fullmatch(path) or ".." in path or not found.is_file():
            raise HTTPException(404, "the page has no such file")
        stat = found.stat()
        etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        # Asked for again at every visit, and then answered with 304: a new release is seen at once.
        headers = {"ETag": etag, "Cache-Control": "no-cache"}
        if has_it_already(request, etag):
            return Response(status_code=304, headers=headers)
        return FileResponse(found, media_type=kind, headers=headers)

    return router


def read_texts(settings: Settings) -> dict[str, str]:
    """Return the page's texts by key; those that a translation lacks stay English. Raises SettingsError."""
    texts: dict[str, str] = json.loads((FOLDER / "texts" / "en.json").read_text("utf-8"))
    path = settings.web.texts
    if path is None:
        return texts
    try:
        translated = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(f"cannot read the texts in {path} (web.texts): {error}") from error
    if not isinstance(translated, dict) or not all(isinstance(text, str) for text in translated.values()):
        raise SettingsError(
            f"{path} (web.texts) must be one JSON object of texts by key, as in texts/en.json"
        )
    return texts | {key: text for key, text in translated.items() if key in texts}


def about_site(settings: Settings, grid: Grid) -> dict[str, Any]:
    """Return what `/site.json` answers; positions in degrees, EPSG:4326."""
    ring = _footprint(grid)
    lons, lats = zip(*ring, strict=True)
    web = settings.web
    official = {"name": web.official_name or web.official_url, "url": web.official_url}
    return {
        "region": settings.region.id,
        "name": settings.region.name,
        "timezone": settings.region.timezone,
        "bounds": [min(lons), min(lats), max(lons), max(lats)],
        "footprint": ring,
        "cell_size_m": grid.cell_size_m,
        "synthetic": settings.region.synthetic,
        "attribution": settings.region.attribution,
        "licence": web.licence,
        "official": official if web.official_name or web.official_url else None,
        "openstreetmap": web.openstreetmap,
        "hillshade": find_hillshade(settings) is not None,
        "leads": settings.forecast.leads,
        "hotspot_min_area_m2": settings.hotspots.min_area_m2,
        "version": importlib.metadata.version("colluvium"),
    }


def _footprint(grid: Grid) -> list[list[float]]:
    left, bottom, right, top = grid.bounds
    steps = [n / _EDGE_POINTS for n in range(_EDGE_POINTS)]
    xs = [left + (right - left) * s for s in steps] + [right] * _EDGE_POINTS
    ys = [top] * _EDGE_POINTS + [top + (bottom - top) * s for s in steps]
    # The other two edges are the first two seen from the opposite corner.
    xs += [left + right - x for x in xs]
    ys += [top + bottom - y for y in ys]
    lons, lats = rasterio.warp.transform(grid.crs, "EPSG:4326", [*xs, xs[0]], [*ys, ys[0]])
    return [[round(lon, 6), round(lat, 6)] for lon, lat in zip(lons, lats, strict=True)]


def _headers(settings: Settings) -> dict[str, str]:
    outside = f" {OPENSTREETMAP}" if settings.web.openstreetmap else ""
    policy = (
        "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self'; "
        f"img-src 'self' data: blob:{outside}; connect-src 'self'{outside}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
    )
    headers = {
        "Content-Security-Policy": policy,
        "Cache-Control": "no-cache",
        "Permissions-Policy": "geolocation=(self)",
    }
    if outside:
        # OpenStreetMap's tile policy asks for a Referer.
        headers["Referrer-Policy"] = "strict-origin-when-cross-origin"
    return headers


def _title(settings: Settings, texts: dict[str, str]) -> str:
    return texts["page.title"].replace("{name}", settings.region.name)


def _meta(site: Site, request: Request, texts: dict[str, str], report: StatusReport) -> str:
    """Return the tags that a link preview is made from; the query decides which view it shows."""
    address = site.address(request)
    width, height = _PREVIEW
    query = _preview_query(request.query_params) | {"width": str(width), "height": str(height)}
    said = [
        texts["page.description"].replace(
            "{status}", ": ".join(line.strip() for line in report.to_text().splitlines()[:2])
        )
    ]
    if report.latest is not None and report.latest.synthetic:
        said.append(texts["banner.synthetic"])
    tags = {
        "og:type": "website",
        "og:title": _title(site.settings, texts),
        "og:description": " ".join(said),
        "og:image": f"{address}/preview.png?{urlencode(query)}",
        "og:image:width": str(width),
        "og:image:height": str(height),
        "og:image:alt": texts["page.preview"],
        "twitter:card": "summary_large_image",
    }
    return "\n".join(
        f'<meta {"name" if name.startswith("twitter") else "property"}="{name}" content="{escape(value)}">'
        for name, value in tags.items()
    )


def _preview_query(query: Any) -> dict[str, str]:
    """Return the part of a view's address that its preview needs; what cannot be right is left out."""
    wanted = {"shows": query["shows"]} if query.get("shows") in _PREVIEWED else {}
    lead = query.get("lead", "")
    if re.fullmatch(r"[1-9][0-9]?", lead):
        wanted["lead"] = lead  # the current forecast: the page's address then names no day
    else:
        with contextlib.suppress(KeyError, ValueError):
            wanted["day"] = date.fromisoformat(query["day"]).isoformat()
    try:
        lon, lat, zoom = (float(query[name]) for name in ("lon", "lat", "z"))
    except (KeyError, ValueError):
        return wanted
    if not (-180 <= lon <= 180 and -85 <= lat <= 85 and 0 <= zoom <= 22):  # also refuses NaN
        return wanted
    half_width, half_height = (size / 2 * 360 / (_WORLD * 2**zoom) for size in _PREVIEW)
    middle = math.degrees(math.asinh(math.tan(math.radians(lat))))  # Mercator's y, in degrees of longitude
    south, north = (
        math.degrees(math.atan(math.sinh(math.radians(middle + half))))
        for half in (-half_height, half_height)
    )
    west, east = max(lon - half_width, -180), min(lon + half_width, 180)
    wanted["bbox"] = ",".join(f"{value:.5f}" for value in (west, south, east, north))
    return wanted
