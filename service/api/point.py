"""One place: what the map says there, since when, and why."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.answers import json_answer
from service.api.gate import Gate
from service.api.models import problems
from service.api.panel import look_at
from service.api.point_models import PointAnswer
from service.api.site import Lead, Site
from service.past import PastReader

MAX_DAYS = 366

_PROBLEMS = problems(
    [
        (404, "There is no layer, or none of that day."),
        (410, "The layer of that day was withdrawn."),
        (422, "A parameter is missing or out of bounds."),
        (503, "Too many points at once (Retry-After says when to try again), or the region cannot be read."),
    ]
)


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["point"])
    gate = Gate("points")
    past = PastReader()

    @router.api_route(
        "/point", methods=["GET", "HEAD"], response_model=PointAnswer, responses=_PROBLEMS, name="point"
    )
    def point(
        request: Request,
        lon: Annotated[float, Query(ge=-180, le=180, allow_inf_nan=False, examples=[57.08])],
        lat: Annotated[float, Query(ge=-90, le=90, allow_inf_nan=False, examples=[30.28])],
        day: Annotated[date | None, Query(description="default: the layer on display")] = None,
        lead: Lead = 0,
        days: Annotated[int, Query(ge=1, le=MAX_DAYS, description="how far back its past goes")] = 365,
    ) -> Response:
        """What the map says of one place, how that ranks in the place's own past, and why.

        The value is exactly the published one; unknown is null and says why. Reasons are Shapley values of
        rain and reservoir, evaluated with the bundle that made the layer on the readings known when it was
        issued. They share out an index; none of them is a probability. A place outside the region is no
        error: its value is unknown. A forecast is told with `lead`, never otherwise, and its past is of
        nowcasts. One of several members has no reasons: the median of their values has no single window.
        """
        with gate.entered():
            layer = site.shown_on(day, lead)
            return json_answer(request, look_at(site, past, lon, lat, layer, days))

    return router
