"""The OpenAPI description: GET only, and every error a problem document."""

from __future__ import annotations

import copy
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute

from service.api.problems import PROBLEM, Problem

_ERRORS = {
    "4XX": "what was asked for is not there, or cannot be understood",
    "5XX": "not available now; the detail says why",
}


def name_of(route: APIRoute) -> str:
    """Return the operation's name: FastAPI's own is drawn from a set of methods and changes by the run."""
    return f"{route.tags[0]}_{route.name}" if route.tags else route.name


def keep_head_to_itself(router: APIRouter) -> APIRouter:
    """Give HEAD routes of its own, which the description leaves out: it would tell each operation twice."""
    for route in list(router.routes):
        if isinstance(route, APIRoute) and route.methods == {"GET", "HEAD"}:
            twin = copy.copy(route)
            twin.methods, twin.include_in_schema = {"HEAD"}, False
            route.methods = {"GET"}
            router.routes.append(twin)
    return router


def describe(app: FastAPI) -> None:
    """Write the description that /openapi.json gives. Call it when all routes are there."""
    described = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
    )
    schemas = described.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    for path in described["paths"].values():
        for operation in path.values():
            _add_errors(operation["responses"])
    app.openapi = lambda: described  # type: ignore[method-assign]  # FastAPI documents this as the way


def _add_errors(responses: dict[str, Any]) -> None:
    """Say that errors are problem documents, unless a route says otherwise of one of its own."""
    schema = {"$ref": "#/components/schemas/Problem"}
    responses.pop("422", None)
    for code, description in _ERRORS.items():
        responses.setdefault(code, {"description": description})
    for code, response in responses.items():
        said = response.get("content", {}).get("application/json", {}).get("schema", schema)
        if code[0] in "45" and said == schema:
            response["content"] = {PROBLEM: {"schema": schema}}
