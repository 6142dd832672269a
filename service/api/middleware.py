"""What every request passes through: limits, the Host header, CORS, security headers, gzip.

Pure ASGI: Starlette's own base class for middleware would read each download through a queue of its own.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus

from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import problem, problem_body

# /statistics takes a polygon of 200 vertices, percent-encoded; nothing else comes near.
_MOST_QUERY_BYTES = 16_384
_MOST_PATH_BYTES = 512
# A Host header stands in the links of answers, and answers are kept by caches.
_HOST = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?")

_FOR_ALL = {
    "X-Content-Type-Options": "nosniff",
    # The page brings its own policy.
    "Content-Security-Policy": "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    # What says nothing else of it, errors too: a cache may keep a 404 or a 410 of its own accord.
    "Cache-Control": "no-cache",
    # Everything is public and nothing can be changed: maps on other sites may read it. Said without being
    # asked, because a cache would otherwise hand them what it kept for a page that needed no such word.
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Content-Range, Content-Length, Accept-Ranges, Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
}
_PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD",
    "Access-Control-Allow-Headers": "Range, If-None-Match, If-Range, If-Modified-Since",
    "Access-Control-Max-Age": "86400",
}
# Compressed already; or read in ranges, which are ranges of the bytes on disk.
_NOT_GZIPPED = (".png", ".tif", ".gpkg", ".qgz", ".woff2", ".jpg", ".webp")


class Door:
    """Refuses what cannot be meant well, answers preflights, and puts the common headers on each answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send)
        headers = Headers(scope=scope)
        path = scope.get("raw_path") or scope["path"].encode()
        if len(path) > _MOST_PATH_BYTES or len(scope["query_string"]) > _MOST_QUERY_BYTES:
            refusal = problem(
                414, f"the address has more than {_MOST_PATH_BYTES} bytes, or {_MOST_QUERY_BYTES} after its ?"
            )
            await refusal(scope, receive, answer.send)
        elif not _HOST.fullmatch(headers.get("host", "none")) or len(headers.getlist("host")) > 1:
            await problem(400, "the Host header is not the name of a host")(scope, receive, answer.send)
        elif scope["method"] == "OPTIONS" and "access-control-request-method" in headers:
            await _preflight(answer.send)
        else:
            await self._app(scope, receive, answer.send)


class _Answer:
    """Adds the common headers, and turns plain words of an error into a problem document."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            for name, value in _FOR_ALL.items():
                headers.setdefault(name, value)
            message = {**message, "headers": headers.raw}
            if message["status"] >= 400 and headers.get("content-type", "").startswith("text/plain"):
                # Starlette's own refusals, such as that of a range beyond a file's end.
                self._held = message
                return
        elif self._held is not None:
            start, self._held = self._held, None
            status = HTTPStatus(start["status"])
            said = message.get("body", b"").decode("utf-8", "replace").strip()
            body = json.dumps(problem_body(status, said or status.description or status.phrase)).encode()
            headers = MutableHeaders(raw=start["headers"])
            headers["content-type"] = "application/problem+json"
            headers["content-length"] = str(len(body))
            await self._send({**start, "headers": headers.raw})
            message = {"type": "http.response.body", "body": body}
        await self._send(message)


class Gzip:
    """Compresses texts; leaves alone what is compressed already and what is asked for in ranges."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._gzip = GZipMiddleware(app, minimum_size=1_000, compresslevel=5)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        plain = (
            scope["type"] != "http" or scope["path"].endswith(_NOT_GZIPPED) or "range" in Headers(scope=scope)
        )
        if plain:
            await self._app(scope, receive, send)
            return

        async def weaken(message: Message) -> None:
            # Compressed bytes are not the bytes that a strong ETag names.
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message["headers"]))
                etag = headers.get("etag", "")
                if "content-encoding" in headers and etag.startswith('"'):
                    headers["etag"] = f"W/{etag}"
                    message = {**message, "headers": headers.raw}
            await send(message)

        await self._gzip(scope, receive, weaken)


async def _preflight(send: Send) -> None:
    headers = [(name.lower().encode(), value.encode()) for name, value in _PREFLIGHT.items()]
    await send({"type": "http.response.start", "status": 204, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
