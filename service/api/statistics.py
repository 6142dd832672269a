"""Figures of a drawn polygon."""

from __future__ import annotations

import math
from datetime import date
from typing import Annotated

import numpy as np
import numpy.typing as npt
import shapely
from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import CLASS_LABELS, Layer
from service.api.answers import json_answer
from service.api.examples import STATISTICS
from service.api.gate import Gate
from service.api.models import Answer, problems, shown_as
from service.api.site import LATEST, LAYER_ID, LeadOfLatest, Site
from service.polygon_counts import PolygonCounts, count_cells, covered_cells, onto_grid

MAX_VERTICES = 200
# Making an outline valid costs the square of its crossings: two hundred corners can make it minutes.
MAX_CROSSINGS = 100
MAX_CELLS = 25_000_000  # of the rectangle around the polygon: about a second of reading
_MAX_TEXT = 40 * MAX_VERTICES
_PROBLEMS = problems(
    [
        (404, "There is no such layer, or no cell of the region inside the polygon."),
        (410, "The layer was withdrawn."),
        (413, f"The rectangle around the polygon holds more than {MAX_CELLS:,} cells."),
        (422, "The polygon is no list of longitudes and latitudes, crosses itself too often, or is empty."),
        (503, "Too many polygons at once (Retry-After says when to try again), or a file is lost."),
    ]
)


class StatisticsArea(Answer):
    """The area of one class inside the polygon."""

    area_m2: float
    ratio: float | None = Field(description="of the cells with a known class; null where none is known")


class Distribution(Answer):
    """Susceptibility of the known cells."""

    mean: float
    median: float
    max: float


class Statistics(Answer):
    """Cells of a layer whose centres lie inside the polygon and inside the region's mask."""

    model_config = shown_as(STATISTICS)

    layer: str
    day: date
    lead: int
    cells: int
    known_cells: int
    area_m2: float
    unknown_m2: float
    areas: dict[str, StatisticsArea] = Field(description="by class: low, moderate, high, very_high")
    susceptibility: Distribution | None = Field(description="null where no cell is known")
    repaired: bool = Field(description="whether the outline crossed itself and was made valid")


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["statistics"])
    gate = Gate("polygons")

    @router.api_route(
        "/statistics",
        methods=["GET", "HEAD"],
        response_model=Statistics,
        responses=_PROBLEMS,
        name="statistics",
    )
    def statistics(
        request: Request,
        polygon: Annotated[
            str,
            Query(
                max_length=_MAX_TEXT,
                description=f"lon,lat,lon,lat,... in degrees: 3 to {MAX_VERTICES} corners, closed by itself",
                examples=["57.0,29.5,57.05,29.5,57.05,29.55"],
            ),
        ],
        identity: Annotated[str, Query(alias="id", pattern=LAYER_ID, description="of the layer")] = LATEST,
        lead: LeadOfLatest = None,
    ) -> Response:
        """Class areas, unknown area and the distribution of susceptibility inside a drawn polygon.

        A cell counts where its centre lies inside. An outline that crosses itself is made valid, which
        `repaired` says.
        """
        with gate.entered():
            drawn, repaired = _parse(polygon)
            layer = site.shown(identity, lead)
            counts = _count(site, layer, drawn)
            return json_answer(request, _said(layer, counts, repaired))

    return router


def _parse(text: str) -> tuple[shapely.Geometry, bool]:
    """Return a valid polygon in EPSG:4326, and whether it had to be repaired. Raises HTTPException (422)."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise HTTPException(422, "polygon must be numbers between commas: lon,lat,lon,lat,...") from error
    corners = list(zip(numbers[::2], numbers[1::2], strict=False))
    if len(numbers) % 2 or not 3 <= len(corners) <= MAX_VERTICES:
        raise HTTPException(
            422, f"polygon must be pairs of lon,lat, 3 to {MAX_VERTICES} of them; got {len(numbers)} numbers"
        )
    for lon, lat in corners:
        if not (math.isfinite(lon + lat) and abs(lon) <= 180 and abs(lat) <= 90):
            raise HTTPException(422, "polygon has a corner that is no longitude and latitude in degrees")
    if crossings(np.array(corners)) > MAX_CROSSINGS:
        raise HTTPException(
            422, f"polygon crosses itself more than {MAX_CROSSINGS} times; draw a simpler one"
        )
    drawn = shapely.Polygon(corners)
    repaired = not shapely.is_valid(drawn)
    if repaired:
        parts = shapely.get_parts(shapely.make_valid(drawn))
        drawn = shapely.unary_union([part for part in parts if part.area > 0])
    if not drawn.area > 0:
        raise HTTPException(422, "polygon encloses nothing: its corners lie on one line")
    return drawn, repaired


def crossings(corners: npt.NDArray[np.float64]) -> int:
    """Return how many pairs of edges of the closed ring through corners (n, 2) cross each other."""
    start, end = corners, np.roll(corners, -1, axis=0)

    def side(point: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """On which side of each edge (rows) each point (columns) lies."""
        along = (end - start)[:, None]
        there = point[None] - start[:, None]
        return np.sign(along[..., 0] * there[..., 1] - along[..., 1] * there[..., 0])

    parts = side(start) * side(end) < 0  # the edge of the row has the ends of the other on both sides
    return int((parts & parts.T).sum()) // 2


def _count(site: Site, layer: Layer, drawn: shapely.Geometry) -> PolygonCounts:
    region = site.region
    if (layer.bounds, layer.shape) != (region.grid.bounds, (region.grid.height, region.grid.width)):
        raise HTTPException(503, f"the region's grid is not that of {layer.id}; ask for a newer layer")
    polygon = onto_grid(drawn, region.grid)
    cells = covered_cells(polygon, region.grid)
    if cells > MAX_CELLS:
        raise HTTPException(
            413,
            f"the rectangle around the polygon holds {cells:,} cells, and at most {MAX_CELLS:,} are counted; "
            "draw a smaller one, or take the areas of whole zones from /zones",
        )
    path = site.file(layer, SUSCEPTIBILITY)
    counts = count_cells(path, region.mask_path, region.grid, polygon)
    if counts.cells == 0:
        raise HTTPException(404, "no cell of the region has its centre inside the polygon")
    return counts


def _said(layer: Layer, counts: PolygonCounts, repaired: bool) -> Statistics:
    cell_m2 = layer.cell_size_m**2
    unknown, *classes = (int(cells) for cells in counts.by_class(layer.classes))
    known = counts.known
    return Statistics(
        layer=layer.id,
        day=layer.day,
        lead=layer.lead,
        cells=counts.cells,
        known_cells=known,
        area_m2=counts.cells * cell_m2,
        unknown_m2=unknown * cell_m2,
        areas={
            label: StatisticsArea(area_m2=cells * cell_m2, ratio=round(cells / known, 6) if known else None)
            for label, cells in zip(CLASS_LABELS, classes, strict=True)
        },
        susceptibility=Distribution(
            mean=round(counts.mean(), 6), median=round(counts.median(), 6), max=round(counts.maximum(), 6)
        )
        if known
        else None,
        repaired=repaired,
    )
