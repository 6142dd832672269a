"""HTTP: health, metrics, the latest layer and a page. Reading is open; nothing here changes state."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException

from exporters.layer import Layer
from exporters.metrics import ServiceCollector
from exporters.picture import class_picture, susceptibility_picture
from service.api.page import render_page
from service.bundle import Bundle
from service.errors import ColluviumError
from service.figures import read_figures
from service.ledger import Ledger
from service.settings import Settings
from service.status import read_status
from service.workshop import ledger_path

FILES = {
    "susceptibility.tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    "class.tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    "provenance.tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    "areas.gpkg": "application/geopackage+sqlite3",
    "item.json": "application/geo+json",
}
_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
}


def create_app(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    bundle: Bundle | None,
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """Build the application. The registry is injected so that tests can read it."""
    registry = registry or CollectorRegistry()
    registry.register(ServiceCollector(lambda: read_figures(settings, clock)))
    app = FastAPI(title=f"Colluvium: {settings.region.name}", docs_url=None, redoc_url=None)

    def get(path: str, **options: Any) -> Callable[[Any], Any]:
        # GDAL and caches ask for the head first.
        return app.api_route(path, methods=["GET", "HEAD"], **options)

    def latest() -> Layer | None:
        with Ledger(ledger_path(settings), clock, make=False) as ledger:
            return ledger.latest()

    @app.middleware("http")
    async def add_headers(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        for name, value in _SECURITY.items():
            response.headers.setdefault(name, value)
        return response

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return _problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def misunderstood(_: Request, error: RequestValidationError) -> JSONResponse:
        told = (f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        return _problem(422, "; ".join(told))

    @app.exception_handler(ColluviumError)
    def unavailable(_: Request, error: ColluviumError) -> JSONResponse:
        return _problem(503, str(error))

    @get("/healthz")
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @get("/readyz")
    def readyz() -> JSONResponse:
        """A layer is being served and the bundle is loaded."""
        layer = latest()
        missing = [
            what
            for what, there in (("no layer is being served", layer), ("no bundle is loaded", bundle))
            if there is None
        ]
        if missing:
            return JSONResponse({"status": "not ready", "missing": missing}, status_code=503)
        return JSONResponse({"status": "ready", "layer": layer.id if layer else None})

    @get("/metrics")
    def metrics() -> Response:
        """Prometheus metrics, read from the ledger at each scrape."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @get("/status")
    def status() -> dict[str, Any]:
        """What `colluvium status --json` prints."""
        return read_status(settings, clock()).to_json()

    @get("/latest")
    def latest_item() -> Response:
        """Lead to the newest layer's STAC item, whose links are relative to its own place."""
        return RedirectResponse("latest/item.json")

    @get("/latest/{name}")
    def latest_file(request: Request, name: str) -> Response:
        """A file of the newest layer, with range requests."""
        layer = latest()
        if layer is None:
            return _no_layer()
        if name not in FILES:
            return _problem(404, f"a layer has no file {name!r}; it has {', '.join(FILES)}")
        path = layer.folder / name
        if not path.is_file():
            return _problem(503, f"{layer.id} has lost its {name}; restore {layer.folder} from a backup")
        headers = {"ETag": f'"{layer.id}-{layer.digest[:16]}-{name}"', "Cache-Control": "no-cache"}
        if _has_it_already(request, headers):
            return Response(status_code=304, headers=headers)
        filename = f"{layer.id}-{name}"
        return FileResponse(path, media_type=FILES[name], filename=filename, headers=headers)

    @get("/map.png")
    def picture(
        request: Request,
        width: Annotated[int, Query(ge=64, le=2048)] = 900,
        shows: Literal["class", "susceptibility"] = "class",
    ) -> Response:
        """The newest layer as a picture."""
        layer = latest()
        if layer is None:
            return _no_layer()
        headers = {"ETag": f'"{layer.id}-{layer.digest[:16]}-{shows}-{width}"', "Cache-Control": "no-cache"}
        if _has_it_already(request, headers):
            return Response(status_code=304, headers=headers)
        draw = class_picture if shows == "class" else susceptibility_picture
        image = draw(layer.folder / f"{shows}.tif", width)
        return Response(image, media_type="image/png", headers=headers)

    @get("/", response_class=HTMLResponse)
    def page() -> str:
        """The map, how fresh it is, and what it says, for a person."""
        return render_page(settings, read_status(settings, clock()))

    return app


def _no_layer() -> JSONResponse:
    return _problem(404, "no layer is on display yet; see /status")


def _has_it_already(request: Request, headers: Mapping[str, str]) -> bool:
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    return headers["ETag"] in known or "*" in known


def _problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error as RFC 9457 has it."""
    body = {"status": status, "title": HTTPStatus(status).phrase, "detail": detail}
    return JSONResponse(body, status, headers, media_type="application/problem+json")
