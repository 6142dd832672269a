"""HTTP: health, metrics, layers, tiles, places and a page. Reading is open; nothing here changes state."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from datetime import datetime

from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from exporters.cog import INDEX_NOTE
from service.api import (
    cap,
    events,
    forecasts,
    health,
    layers,
    point,
    preview,
    qgis,
    series,
    statistics,
    tiles,
    verification,
    warnings,
    web,
    wmts,
    zones,
)
from service.api.middleware import Door, Gzip
from service.api.problems import add_handlers
from service.api.schema import describe, keep_head_to_itself, name_of
from service.api.site import Site
from service.bundle import Bundle
from service.settings import Settings


def create_app(
    settings: Settings,
    clock: Callable[[], datetime],
    *,
    bundle: Bundle | None,
    registry: CollectorRegistry | None = None,
) -> FastAPI:
    """Build the application. The registry is injected so that tests can read it."""
    site = Site(settings, clock, bundle)
    app = FastAPI(
        title=f"Colluvium: {settings.region.name}",
        summary="Daily landslide susceptibility, to read",
        description=f"{INDEX_NOTE} {settings.region.attribution}".strip(),
        version=importlib.metadata.version("colluvium"),
        # Their pages fetch scripts from elsewhere; /openapi.json is there for any reader of it.
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=name_of,
    )
    add_handlers(app)
    app.add_middleware(Gzip)
    app.add_middleware(Door)  # added last: the first that a request meets

    app.include_router(keep_head_to_itself(health.routes(site, registry or CollectorRegistry())))
    # Tiles and TileJSON stand before the files of layers, whose names are a parameter.
    for module in (
        tiles,
        layers,
        forecasts,
        warnings,
        cap,
        events,
        verification,
        preview,
        wmts,
        zones,
        series,
        point,
        statistics,
        qgis,
        web,
    ):
        app.include_router(keep_head_to_itself(module.routes(site)))
    describe(app)
    return app
