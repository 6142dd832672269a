"""How answers may be kept by caches, and how they say that nothing changed."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel
from pydantic_core import to_json

from exporters.layer import Layer
from service.api.drawing import COLOURS
from service.api.site import LATEST, has_it_already

# A layer of an id never changes, but it may be withdrawn: no copy outlives that by more than an hour. What
# says whether it was, and what moves on with `latest`, is asked for again each time.
AN_HOUR = "public, max-age=3600"
ASK_AGAIN = "no-cache"


def caching_of(*identities: str) -> str:
    """Return the Cache-Control of what is made from the layers that were asked for by these ids."""
    return ASK_AGAIN if LATEST in identities else AN_HOUR


def etag_of(layer: Layer, *parts: object) -> str:
    """Return the ETag of something made from a layer."""
    return f'"{"-".join([layer.id, layer.digest[:16], *map(str, parts)])}"'


def picture_etag(layer: Layer, *parts: object) -> str:
    """Return the ETag of a picture of a layer: other colours make another one."""
    return etag_of(layer, *parts, COLOURS)


def cached(request: Request, etag: str, caching: str, make: Callable[[], Response]) -> Response:
    """Return 304 to a client that has the current version, otherwise what `make` returns."""
    headers = {"ETag": etag, "Cache-Control": caching}
    if has_it_already(request, etag):
        return Response(status_code=304, headers=headers)
    response = make()
    response.headers.update(headers)
    return response


def json_answer(
    request: Request, value: BaseModel | dict[str, Any], media_type: str = "application/json"
) -> Response:
    """Return a value as JSON that is asked for again each time, and sent again only when it changed."""
    return made_answer(request, to_json(value, by_alias=True, inf_nan_mode="null"), media_type)


def made_answer(
    request: Request, body: bytes, media_type: str, *, caching: str = ASK_AGAIN, filename: str | None = None
) -> Response:
    """Return what this program made. Its ETag is of the bytes: another release may make others."""
    headers = {"Content-Disposition": f'attachment; filename="{filename}"'} if filename else None
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    return cached(request, etag, caching, lambda: Response(body, media_type=media_type, headers=headers))
