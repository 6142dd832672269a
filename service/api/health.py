"""Is it alive, is it ready, how does it fare: /healthz, /readyz, /metrics, /status."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from exporters.metrics import ServiceCollector
from service.api.site import Site
from service.figures import read_figures
from service.status import read_status

_NOT_READY: dict[str, Any] = {
    "description": "what is missing",
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {
                    "status": {"type": "string"},
                    "missing": {"type": "array", "items": {"type": "string"}},
                },
            }
        }
    },
}


def routes(site: Site, registry: CollectorRegistry) -> APIRouter:
    """Build the routes. The registry is injected so that tests can read it."""
    registry.register(ServiceCollector(lambda: read_figures(site.settings, site.clock)))
    router = APIRouter(tags=["health"])

    @router.api_route("/healthz", methods=["GET", "HEAD"])
    async def healthz() -> dict[str, str]:
        """The process answers."""
        # async: it must not wait for a thread that a slow answer holds.
        return {"status": "ok"}

    @router.api_route("/readyz", methods=["GET", "HEAD"], responses={503: _NOT_READY})
    def readyz() -> JSONResponse:
        """A layer is being served and the bundle is loaded."""
        with site.ledger() as ledger:
            layer = ledger.latest()
        missing = [
            what
            for what, there in (("no layer is being served", layer), ("no bundle is loaded", site.bundle))
            if there is None
        ]
        if missing:
            return JSONResponse({"status": "not ready", "missing": missing}, status_code=503)
        return JSONResponse({"status": "ready", "layer": layer.id if layer else None})

    @router.api_route(
        "/metrics",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses={200: {"description": "Prometheus text", "content": {"text/plain": {}}}},
    )
    def metrics() -> Response:
        """Prometheus metrics, read from the ledger at each scrape."""
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)

    @router.api_route("/status", methods=["GET", "HEAD"])
    def status() -> dict[str, Any]:
        """What `colluvium status --json` prints."""
        return read_status(site.settings, site.clock()).to_json()

    return router
