"""Errors as RFC 9457 has them: application/problem+json with status, title and detail."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException

from service.errors import ColluviumError

PROBLEM = "application/problem+json"


class Problem(BaseModel):
    """What went wrong, and what to do."""

    status: Annotated[int, Field(examples=[404])]
    title: Annotated[str, Field(examples=["Not Found"])]
    detail: Annotated[str, Field(examples=["there is no layer toy-2026-03-05-l0-r9; /layers lists them"])]


def problem_body(status: int, detail: str) -> dict[str, Any]:
    """Return what a problem document says."""
    return {"status": int(status), "title": HTTPStatus(status).phrase, "detail": detail}


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None) -> JSONResponse:
    """Return an error's response."""
    return JSONResponse(problem_body(status, detail), status, headers, media_type=PROBLEM)


def add_handlers(app: FastAPI) -> None:
    """Let every error that a route raises leave as a problem."""

    @app.exception_handler(HTTPException)
    def refused(_: Request, error: HTTPException) -> JSONResponse:
        return problem(error.status_code, str(error.detail), error.headers)

    @app.exception_handler(RequestValidationError)
    def misunderstood(_: Request, error: RequestValidationError) -> JSONResponse:
        told = (f"{'.'.join(map(str, item['loc'][1:]))}: {item['msg']}" for item in error.errors())
        return problem(422, "; ".join(told))

    @app.exception_handler(Exception)
    def broken(_: Request, __: Exception) -> JSONResponse:
        # Starlette raises it again after this answer, so that the log has it in full.
        return problem(500, "a mistake of this program; its log says where")

    @app.exception_handler(ColluviumError)
    def unavailable(_: Request, error: ColluviumError) -> JSONResponse:
        return problem(503, str(error))
