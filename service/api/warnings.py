"""Warning levels by zone: those that stand, and those of past days."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from exporters.layer import Layer
from service.api.answers import json_answer
from service.api.examples import WARNINGS, WARNINGS_HISTORY
from service.api.gate import Gate
from service.api.levels import Exercise, LevelNumber, LevelsOfLayer, exercises, levels_of_layer
from service.api.models import Answer, Told, problems, shown_as
from service.api.site import MOST_LEAD, Lead, Site

_MOST_DAYS = 366
_PROBLEMS = problems(
    [
        (404, "No map that was asked for has such a zone."),
        (422, "A parameter is out of bounds, or `since` is after `until`."),
        (503, "The ledger cannot be used, or too much is asked for at once (Retry-After)."),
    ]
)

OneZone = Annotated[str | None, Query(max_length=200, description="a zone's id, as /zones lists them")]


class WarningList(Answer):
    """The levels that stand now, by lead."""

    model_config = shown_as(WARNINGS)

    today: Annotated[date, Field(description="in the region's time zone")]
    behind_days: Annotated[
        int | None,
        Field(description="age of the newest nowcast in days; above 0, its levels speak of an old day"),
    ]
    exercises: Annotated[list[Exercise], Field(description="drills that run now: they are no warnings")]
    layers: Annotated[
        list[LevelsOfLayer],
        Field(description="the newest nowcast, then the current forecasts by lead; a withdrawn one has none"),
    ]
    layers_missing: Annotated[Told | None, Field(description="no_map: there is no nowcast on display")]


class LevelOnDay(Answer):
    """The level of a zone on one day; null where it was not known."""

    day: date
    layer: str
    zone: str
    name: str
    level: LevelNumber
    unconfirmed: bool
    rule: str


class WarningHistory(Answer):
    """Levels by day, oldest first. A day without a layer, or whose model could not warn, is absent."""

    model_config = shown_as(WARNINGS_HISTORY)

    since: date
    until: date
    lead: int
    levels: list[LevelOnDay]


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["warnings"])
    gate = Gate("histories of warnings")

    @router.api_route(
        "/warnings",
        methods=["GET", "HEAD"],
        response_model=WarningList,
        responses=_PROBLEMS,
        summary="The warning levels that stand, by lead and zone",
    )
    def warnings(
        request: Request,
        zone: OneZone = None,
        lead: Annotated[
            int | None, Query(ge=0, le=MOST_LEAD, description="of this lead alone; 0 is the nowcast")
        ] = None,
        min_level: Annotated[
            int, Query(ge=0, le=3, description="0: all, unknown ones too; 1 and more: known levels alone")
        ] = 0,
    ) -> Response:
        """Levels with the rule and the numbers that led to them. Drills that run stand apart, as exercises.

        A level is decided with its layer. One that is null is not known, and not green.
        """
        with site.ledger() as ledger:
            latest = ledger.latest()
        shown = [*([latest] if latest is not None else []), *site.forecasts()]
        _refuse_unknown(zone, shown)
        found = [levels_of_layer(layer) for layer in shown if lead in (None, layer.lead)]
        listed = [
            said.model_copy(
                update={
                    "levels": [
                        one
                        for one in said.levels
                        if zone in (None, one.zone) and (not min_level or (one.level or 0) >= min_level)
                    ]
                }
            )
            for said in found
        ]
        nothing = Told(
            code="no_map", says="No map is on display, so no level is known. Unknown is not green."
        )
        answer = WarningList(
            today=site.today,
            behind_days=(site.today - latest.day).days if latest is not None else None,
            exercises=exercises(site),
            layers=listed,
            layers_missing=nothing if latest is None else None,
        )
        return json_answer(request, answer)

    @router.api_route(
        "/warnings/history",
        methods=["GET", "HEAD"],
        response_model=WarningHistory,
        responses=_PROBLEMS,
        summary="Warning levels of past days",
    )
    def history(
        request: Request,
        zone: OneZone = None,
        since: Annotated[date | None, Query(description="default: 29 days before `until`")] = None,
        until: Annotated[
            date | None, Query(description="default: today, and the days that forecasts reach")
        ] = None,
        lead: Lead = 0,
    ) -> Response:
        """Levels as they stand for each day: of its newest revision, and none where that was withdrawn."""
        last = until or site.today + timedelta(days=lead)
        first = since or date.fromordinal(max(last.toordinal() - 29, 1))
        if not 0 <= (last - first).days < _MOST_DAYS:
            raise HTTPException(422, f"`since` must be at most {_MOST_DAYS - 1} days before `until`")
        with gate.entered():
            with site.ledger() as ledger:
                # The levels alone: whole records of a year take minutes where there are many zones.
                decided = ledger.levels.changes(first, last, lead)
                if zone is not None and all(layer.of(zone) is None for layer in decided):
                    _refuse_unknown(zone, ledger.layers(first, last))
            levels = [
                LevelOnDay(
                    day=layer.day,
                    layer=layer.layer_id,
                    **one.model_dump(include={"zone", "name", "level", "unconfirmed", "rule"}),
                )
                for layer in decided
                for one in layer.warnings
                if zone in (None, one.zone)
            ]
            answer = WarningHistory(since=first, until=last, lead=lead, levels=levels)
            return json_answer(request, answer)

    return router


def _refuse_unknown(zone: str | None, layers: Sequence[Layer]) -> None:
    """Raise HTTPException for a zone that no layer knows: an empty list would pass for no warning."""
    if zone is None or not layers:
        return
    known = {area.zone for layer in layers for area in layer.areas}
    if zone not in known | {one.zone for layer in layers for one in layer.warnings}:
        raise HTTPException(404, "no map here has a zone of that id; /zones lists them")
