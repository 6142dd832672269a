"""The QGIS project that opens everything styled, and the styles alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.exceptions import HTTPException

from exporters.qgis import (
    STYLES,
    DatabasePlace,
    ProjectContents,
    ShownDay,
    project_file,
    style_file,
)
from service.api.answers import made_answer
from service.api.site import LATEST, Site
from service.hillshade import find_hillshade
from service.settings_outlets import PostgisExporter

HISTORY_DAYS = 30


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["qgis"])

    @router.api_route("/qgis/project.qgz", methods=["GET", "HEAD"], response_class=Response)
    def project(
        request: Request,
        postgis: Annotated[
            Literal["include", "leave_out"],
            Query(description="leave_out: for desks without a login to the database"),
        ] = "include",
    ) -> Response:
        """A QGIS project (3.22 and later) with every layer of the region, styled.

        It holds addresses, no data, and no user or password of the database: QGIS asks for them.
        """
        contents = _contents(site, site.address(request), postgis)
        name = f"colluvium-{contents.region}.qgz"
        return made_answer(request, project_file(contents), "application/zip", filename=name)

    @router.api_route("/qgis/styles/{name}.qml", methods=["GET", "HEAD"], response_class=Response)
    def style(request: Request, name: str) -> Response:
        """A QGIS style: class, class_band_2, susceptibility, zones, hotspots or events."""
        if name not in STYLES:
            raise HTTPException(404, f"there is no such style; there are {', '.join(STYLES)}")
        return made_answer(request, style_file(name), "application/xml", filename=f"colluvium-{name}.qml")

    return router


def _contents(site: Site, address: str, postgis: Literal["include", "leave_out"]) -> ProjectContents:
    newest = site.layer(LATEST)
    with site.ledger() as ledger:
        shown = ledger.shown(newest.day - timedelta(days=HISTORY_DAYS - 1), newest.day)
    region = site.settings.region
    return ProjectContents(
        region=region.id,
        name=region.name,
        address=address,
        crs=newest.crs,
        bounds=newest.bounds,
        attribution=region.attribution,
        synthetic=newest.synthetic,
        relief=find_hillshade(site.settings) is not None,
        # None where the newest was withdrawn in this very moment; it is what the answer is about.
        days=[ShownDay(one.id, one.day) for one in shown] or [ShownDay(newest.id, newest.day)],
        database=_database(site) if postgis == "include" else None,
    )


def _database(site: Site) -> DatabasePlace | None:
    """Return where the region's layers lie in PostGIS: the first of its exporters there."""
    for exporter in site.settings.exporters:
        if isinstance(exporter, PostgisExporter):
            return DatabasePlace.of(exporter.writer.dsn, exporter.db_schema or site.settings.region.id)
    return None
