"""The inventory: landslides by day and place, with what the map before each showed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field
from starlette.exceptions import HTTPException

from exporters.event import EventKind, EventSource
from exporters.outcomes import Outcomes, PublicEvent
from exporters.verification import Outcome, VerifiedEvent
from service.api.answers import json_answer
from service.api.examples_events import EVENTS
from service.api.gate import Gate
from service.api.models import GEOJSON, Answer, GeoJsonResponse, Geometry, Told, problems, shown_as
from service.api.numbers import rounded
from service.api.site import Site
from service.outcomes import read_outcomes

_MOST_EVENTS = 5_000
_PROBLEMS = problems(
    [
        (422, "A parameter is out of bounds, or `since` is after `until`."),
        (503, "The ledger cannot be used, or too much is asked for at once (Retry-After)."),
    ]
)


class MapBefore(Answer):
    """What the map that was on display before a landslide showed where it began."""

    layer: Annotated[str | None, Field(description="null: there was no map")]
    issued_at: datetime | None
    hindsight: Annotated[bool, Field(description="the map was made after the day: nobody had it before")]
    withdrawn: Annotated[bool, Field(description="the map was taken back later")]
    susceptibility: Annotated[
        float | None, Field(description="the highest index within its outline or accuracy; null: unknown")
    ]
    label: Annotated[str | None, Field(alias="class")]
    rank: Annotated[float | None, Field(description="share of the known ground that stood below it")]
    zone: Annotated[str | None, Field(description="null: it lies in no zone")]
    level: Annotated[
        str | None, Field(description="of the zone on that day; null: not known, which is not green")
    ]
    why: Annotated[str, Field(description="why it is undecided or unknown; otherwise empty")]


class EventProperties(Answer):
    """One event. It happened on one of the days `day_from` to `day`, both included."""

    uid: str
    kind: EventKind
    source: EventSource
    day_from: date
    day: date
    accuracy_m: Annotated[float, Field(description="it lies within this distance of the point")]
    area_m2: float | None
    outline: Annotated[Geometry | None, Field(description="EPSG:4326; null where unknown")]
    confidence: Annotated[float | None, Field(description="of the detector; null where none looked")]
    detector: str | None
    scene: str | None
    recorded_at: datetime
    outcome: Annotated[
        Outcome | None,
        Field(description="hit: high or very high stood there; null: not held against a map, see `missing`"),
    ]
    before: MapBefore | None
    missing: Annotated[
        Told | None,
        Field(description="not_verified: no verification knows it yet; nothing_seen: none to hold"),
    ]


class EventFeature(Answer):
    """An event as GeoJSON: a point; its outline, where one is known, is among the properties."""

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: Geometry
    properties: EventProperties


class EventCollection(Answer):
    """Events, the newest first. Who reported or accepted them, and notes, are not published."""

    model_config = shown_as(EVENTS)

    type: Literal["FeatureCollection"] = "FeatureCollection"
    matched: Annotated[int, Field(description="so many were found; `limit` may leave some out")]
    verified_at: Annotated[datetime | None, Field(description="null: nothing was ever verified")]
    synthetic: Annotated[bool | None, Field(description="whether the maps were; null: not verified")]
    features: list[EventFeature]


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["events"])
    gate = Gate("events")

    @router.api_route(
        "/events",
        methods=["GET", "HEAD"],
        response_model=EventCollection,
        response_class=GeoJsonResponse,
        responses=_PROBLEMS,
        summary="Landslides of the inventory, and what the map before each showed",
    )
    def events(
        request: Request,
        since: Annotated[
            date | None, Query(description="that may have happened on this day or later")
        ] = None,
        until: Annotated[
            date | None, Query(description="that may have happened on this day or before")
        ] = None,
        kind: Annotated[EventKind | None, Query(description="nothing_seen: somebody looked")] = None,
        source: Annotated[EventSource | None, Query()] = None,
        outcome: Annotated[Outcome | None, Query(description="by the newest verification")] = None,
        bbox: Annotated[
            str | None,
            Query(
                max_length=120,
                description="west,south,east,north in degrees, EPSG:4326",
                examples=["11,44,12,45"],
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_EVENTS)] = 1_000,
    ) -> Response:
        """Events that people stand behind. A day span wider than one day means that nobody knows better."""
        if since is not None and until is not None and since > until:
            raise HTTPException(422, "`since` must not be after `until`")
        box = _box(bbox)
        with gate.entered():
            with site.ledger() as ledger:
                outcomes = read_outcomes(ledger)
            judged = judged_of(outcomes)
            found = [
                event
                for event in newest_first(outcomes)
                if (since is None or event.day >= since)
                and (until is None or event.day_from <= until)
                and kind in (None, event.kind)
                and source in (None, event.source)
                and (outcome is None or _outcome(event, judged) == outcome)
                and (box is None or (box[0] <= event.lon <= box[2] and box[1] <= event.lat <= box[3]))
            ]
            record = outcomes.verification
            answer = EventCollection(
                matched=len(found),
                verified_at=record.made_at if record is not None else None,
                synthetic=record.synthetic if record is not None else None,
                features=[_feature(event, judged.get(event.uid)) for event in found[:limit]],
            )
            return json_answer(request, answer, GEOJSON)

    return router


def judged_of(outcomes: Outcomes) -> dict[str, VerifiedEvent]:
    """Return what the newest verification says, by event."""
    record = outcomes.verification
    return {one.uid: one for one in record.events} if record is not None else {}


def newest_first(outcomes: Outcomes) -> list[PublicEvent]:
    """Return the events by their last possible day, the newest first."""
    return sorted(outcomes.events, key=lambda event: (event.day, event.day_from, event.uid), reverse=True)


def _outcome(event: PublicEvent, judged: Mapping[str, VerifiedEvent]) -> Outcome | None:
    found = judged.get(event.uid)
    return found.outcome if found is not None else None


def _feature(event: PublicEvent, judged: VerifiedEvent | None) -> EventFeature:
    said = event.model_dump(exclude={"lon", "lat", "outline"})
    properties = EventProperties(
        **said,
        outline=Geometry(**event.outline) if event.outline is not None else None,
        outcome=judged.outcome if judged is not None else None,
        before=_before(judged) if judged is not None else None,
        missing=_missing(event) if judged is None else None,
    )
    place = Geometry(type="Point", coordinates=[event.lon, event.lat])
    return EventFeature(id=event.uid, geometry=place, properties=properties)


def _before(judged: VerifiedEvent) -> MapBefore:
    return MapBefore.model_validate(
        {
            "layer": judged.layer_id,
            "class": judged.class_label,
            "susceptibility": rounded(judged.susceptibility),
            "rank": rounded(judged.rank),
            **judged.model_dump(include={"issued_at", "hindsight", "withdrawn", "zone", "level", "why"}),
        }
    )


def _missing(event: PublicEvent) -> Told:
    if event.kind == "nothing_seen":
        return Told(code="nothing_seen", says="Somebody looked here and saw no landslide.")
    return Told(code="not_verified", says="It was not held against a map yet, which is neither hit nor miss.")


def _box(text: str | None) -> tuple[float, float, float, float] | None:
    if text is None:
        return None
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise HTTPException(422, "`bbox` must be four numbers: west,south,east,north") from error
    if not (all(map(math.isfinite, (west, south, east, north))) and west <= east and south <= north):
        raise HTTPException(422, "`bbox` must go from west to east and from south to north, in degrees")
    return west, south, east, north
