"""Warnings in the Common Alerting Protocol: an Atom feed, and each message as it was sent."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter
from starlette.exceptions import HTTPException

from exporters.cap import CAP_TYPE, cap_feed, cap_xml
from service.api.answers import made_answer
from service.api.site import Site
from service.cap_texts import read_texts

_ATOM_TYPE = "application/atom+xml"
_IDENTIFIER = r"^[a-z][a-z0-9_]{0,39}-[0-9]{8}T[0-9]{6}Z-[0-9a-f]{10}$"
_AS_ATOM: dict[int | str, dict[str, Any]] = {
    200: {"description": "an Atom feed", "content": {_ATOM_TYPE: {}}}
}
_AS_CAP: dict[int | str, dict[str, Any]] = {200: {"description": "a message", "content": {CAP_TYPE: {}}}}

Identifier = Annotated[
    str,
    PathParameter(
        description="a message's identifier as /cap lists them", json_schema_extra={"pattern": _IDENTIFIER}
    ),
]


def routes(site: Site) -> APIRouter:
    """Build the routes. Raises SettingsError where the texts of messages cannot be used."""
    router = APIRouter(tags=["cap"])
    if site.settings.cap is not None:
        read_texts(site.settings.cap)

    @router.api_route(
        "/cap",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=_AS_ATOM,
        summary="Messages in the Common Alerting Protocol, as an Atom feed",
    )
    def feed(
        request: Request,
        limit: Annotated[int, Query(ge=1, le=500, description="messages, newest first")] = 100,
    ) -> Response:
        """Every Alert, Update and Cancel, newest first; each says whether it is an exercise or a draft."""
        with site.ledger() as ledger:
            messages = ledger.cap.newest(limit)
        if site.settings.cap is None and not messages:
            raise HTTPException(404, "this region sends no CAP messages: its settings have no [cap] section")
        region = site.settings.region
        body = cap_feed(
            messages,
            address=site.address(request),
            title=f"{'SYNTHETIC DATA - ' if region.synthetic else ''}{region.name}: landslide warnings",
            author=region.name,
        )
        return made_answer(request, body, _ATOM_TYPE)

    @router.api_route(
        "/cap/{identifier}.xml",
        methods=["GET", "HEAD"],
        response_class=Response,
        responses=_AS_CAP,
        summary="One message, as it was sent",
    )
    def message(request: Request, identifier: Identifier) -> Response:
        """CAP 1.2, valid against the standard's schema. What was sent is never changed or removed."""
        found = None
        if re.fullmatch(_IDENTIFIER, identifier):
            with site.ledger() as ledger:
                found = ledger.cap.find(identifier)
        if found is None:
            raise HTTPException(404, "there is no message of that identifier; /cap lists them")
        return made_answer(request, cap_xml(found), CAP_TYPE)

    return router
