"""How the map did: the newest record of what was on display, held against what happened."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from exporters.verification import Verification
from service.api.answers import json_answer
from service.api.examples_events import VERIFICATION
from service.api.gate import Gate
from service.api.models import Answer, Told, problems, shown_as
from service.api.site import Site

_PROBLEMS = problems([(503, "The ledger cannot be used, or too much is asked for at once (Retry-After).")])


class VerificationAnswer(Answer):
    """The newest verification of the maps on display. A figure that is not known is null, never zero."""

    model_config = shown_as(VERIFICATION)

    verification: Verification | None
    missing: Annotated[Told | None, Field(description="not_verified: nothing was held against the maps yet")]


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["events"])
    gate = Gate("verifications")

    @router.api_route(
        "/verification",
        methods=["GET", "HEAD"],
        response_model=VerificationAnswer,
        responses=_PROBLEMS,
        summary="Hits, misses and false alarms of the maps on display",
    )
    def verification(request: Request) -> Response:
        """A hit or a miss is of a dated landslide; a false alarm is counted only where somebody looked."""
        with gate.entered():
            with site.ledger() as ledger:
                found = ledger.verifications.newest("display")
            nothing = Told(
                code="not_verified",
                says="Nothing was held against the maps yet. That is not the same as no misses.",
            )
            answer = VerificationAnswer(verification=found, missing=nothing if found is None else None)
            return json_answer(request, answer)

    return router
