"""HTTP: health, metrics, the latest layer and a page. Reading is open; nothing here changes state."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

from exporters.picture import class_picture
from fastapi import FastAPI, Query, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from exporters.layer import Layer
from exporters.metrics import ServiceCollector
from service.api.page import render_page
from service.bundle import Bundle
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

    def latest() -> Layer | None:
        with Ledger(ledger_path(settings), clock) as ledger:
            return ledger.latest()

    @app.middleware("http")
    async def add_headers(request: Any, call_next: Any) -> Any:
        response = await call_next(request)
        for name, value in _SECURITY.items():
            response.headers.setdefault(name, value)
        return response

    @app.get("/healthz")
    def healthz() -> dict[str, str]:
        """The process answers."""
        return {"status": "ok"}

    @app.get("/readyz")
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

    @app.get("/metrics")
    def metrics() -> Response:
        """Prometheus metrics, read from the ledger at each scrape."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/status")
    def status() -> dict[str, Any]:
        """What `colluvium status --json` prints."""
        return read_status(settings, clock()).to_json()

    @app.get("/latest")
    def latest_item() -> Response:
        """The newest layer's STAC item."""
        layer = latest()
        if layer is None:
            return _no_layer()
        return FileResponse(layer.folder / "item.json", media_type=FILES["item.json"])

    @app.get("/latest/{name}")
    def latest_file(name: str) -> Response:
        """A file of the newest layer, with range requests."""
        layer = latest()
        if layer is None:
            return _no_layer()
        if name not in FILES:
            return _problem(404, f"a layer has no file {name!r}; it has {', '.join(FILES)}")
        return FileResponse(layer.folder / name, media_type=FILES[name], filename=f"{layer.id}-{name}")

    @app.get("/map.png")
    def picture(width: Annotated[int, Query(ge=64, le=2048)] = 900) -> Response:
        """The newest layer's classes as a picture."""
        layer = latest()
        if layer is None:
            return _no_layer()
        image = class_picture(Path(layer.folder) / "class.tif", width)
        return Response(image, media_type="image/png", headers={"ETag": f'"{layer.digest[:16]}-{width}"'})

    @app.get("/", response_class=HTMLResponse)
    def page() -> str:
        """The map, how fresh it is, and what it says, for a person."""
        return render_page(settings, read_status(settings, clock()))

    return app


def _no_layer() -> JSONResponse:
    return _problem(404, "no layer is on display yet; see /status")


def _problem(status: int, detail: str) -> JSONResponse:
    return JSONResponse(
        {"status": status, "detail": detail}, status_code=status, media_type="application/problem+json"
    )
