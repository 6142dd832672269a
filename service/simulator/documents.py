"""What the simulator's services are asked, and what they answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Protocol

from service.simulator.view import View


@dataclass(frozen=True)
class Request:
    """One request for a feed: the path below the feed's own, and the query's last value of each name."""

    path: str
    query: Mapping[str, str]
    base: str  # the feed's own address, without a slash at the end

    def list_of(self, name: str) -> list[str]:
        """Return the values of a comma-separated parameter."""
        return [item.strip() for item in self.query.get(name, "").split(",") if item.strip()]

    def day_of(self, name: str) -> date | None:
        """Return a parameter's day; None where it is not there. Raises BadRequestError."""
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return date.fromisoformat(text[:10])
        except ValueError as error:
            raise BadRequestError(f"{name}={text} is not a day") from error


@dataclass(frozen=True)
class Document:
    """The body of an answer."""

    body: bytes
    content_type: str


class BadRequestError(ValueError):
    """A request that the service would answer with 400."""


class Publisher(Protocol):
    """One service, as it publishes one feed. It is named as the preset that reads it."""

    @property
    def feed(self) -> str:
        """The preset's name; the service lies below /FEED/."""

    @property
    def latency(self) -> timedelta:
        """How long after a day's end the service publishes it."""

    @property
    def teaches(self) -> str:
        """What it serves, in a line."""

    def document(self, request: Request, view: View) -> Document | None:
        """Answer a request; None: there is no such thing (404). Raises BadRequestError (400)."""

    def example(self, view: View) -> str:
        """Return a path, with its query, that gives an answer."""


def json_document(value: Any, content_type: str = "application/json; charset=utf-8") -> Document:
    """Return a value as JSON; NaN must have been settled before."""
    return Document(json.dumps(value, separators=(",", ":"), allow_nan=False).encode(), content_type)
