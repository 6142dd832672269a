"""What answers about places share: their base, why something is not said, geometries, documented errors."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict

from service.api.problems import PROBLEM, Problem

GEOJSON = "application/geo+json"


class GeoJsonResponse(JSONResponse):
    """Lets OpenAPI say what GeoJSON is sent as."""

    media_type = GEOJSON


class Answer(BaseModel):
    """Base of what is answered. Nothing in it is NaN: an unknown number is null."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Told(Answer):
    """Why something is not said: a code to translate by, and a sentence."""

    code: str
    says: str


class Geometry(Answer):
    """A GeoJSON geometry in EPSG:4326, longitude first."""

    type: Literal["Point", "Polygon", "MultiPolygon"]
    coordinates: list[Any]


def shown_as(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of an answer whose description shows an example."""
    return ConfigDict(json_schema_extra={"examples": [example]})


def problems(told: Iterable[tuple[int, str]]) -> dict[int | str, dict[str, Any]]:
    """Return what OpenAPI says of errors, given (status, when it is returned)."""
    schema = Problem.model_json_schema()
    return {status: {"description": when, "content": {PROBLEM: {"schema": schema}}} for status, when in told}
