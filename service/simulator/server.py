"""The simulator's HTTP server: ETag, Last-Modified, ranges and HEAD, and the faults of the way."""

from __future__ import annotations

import sys
import threading
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime, parsedate_to_datetime
from hashlib import sha256
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self, cast
from urllib.parse import parse_qsl, unquote, urlsplit
from zoneinfo import ZoneInfo

from service.simulator.documents import BadRequestError, Document, Publisher, Request
from service.simulator.faults import NO_FAULTS, Down, FaultScript, Slow, Truncated, VersionRotation, WrongType
from service.simulator.rasters import Rasters
from service.simulator.truth import Truth
from service.simulator.view import UTC_ZONE, View

KEPT_DOCUMENTS = 64
MOVED = "moved"  # the first part of a path below a feed, where a rotation has brought a service


class Simulator:
    """Serves the feeds of a region from a thread of its own, until it is closed.

        with Simulator(truth, publishers(), clock, script) as simulator:
            simulator.address("imerg_early")      http://127.0.0.1:PORT/imerg_early

    `script` may be set anew at any time. `latency` overrides a service's own, by feed.
    """

    def __init__(
        self,
        truth: Truth,
        publishers: Iterable[Publisher],
        clock: Callable[[], datetime],
        script: FaultScript = NO_FAULTS,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        zone: ZoneInfo = UTC_ZONE,
        latency: dict[str, timedelta] | None = None,
    ) -> None:
        """Bind the port (0: any that is free). Raises OSError where it is taken."""
        self.truth = truth
        self.publishers = {item.feed: item for item in publishers}
        self.clock = clock
        self.script = script
        self.zone = zone
        self.requests: Counter[tuple[str, int]] = Counter()  # by feed and status
        self._latency = latency or {}
        self._kept: OrderedDict[tuple[object, ...], Document | None] = OrderedDict()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._http = _Server((host, port), _Handler)
        self._http.simulator = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def base(self) -> str:
        """The server's address, without a slash at the end."""
        host, port = self._http.server_address[:2]
        return f"http://{host!s}:{port}"

    def address(self, feed: str) -> str:
        """Return a feed's address, without a slash at the end."""
        return f"{self.base}/{feed}"

    def close(self) -> None:
        """Stop serving; answers that are slow by fault end now."""
        self._closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def view(self, feed: str, now: datetime | None = None) -> View:
        """Return what a feed shows now, or at a moment."""
        latency = self._latency.get(feed, self.publishers[feed].latency)
        return View(feed, self.truth, self.script, now or self.clock(), latency, self.zone)

    def wait(self, seconds: float) -> None:
        """Wait as a slow service does; a simulator that closes waits no more."""
        self._closing.wait(seconds)

    def document(self, view: View, request: Request) -> Document | None:
        """Return an answer's body; the last ones are kept, for ranges."""
        key = (view.feed, view.page_at.isoformat()[:13], view.newest, view.faults, request.path,
               tuple(sorted(request.query.items())))  # fmt: skip
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        document = self.publishers[view.feed].document(request, view)
        with self._lock:
            self._kept[key] = document
            while len(self._kept) > KEPT_DOCUMENTS:
                self._kept.popitem(last=False)
        return document

    def count(self, feed: str, status: int) -> None:
        """Count an answer (0: none was given)."""
        with self._lock:
            self.requests[feed, status] += 1


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    simulator: Simulator

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


@dataclass(frozen=True)
class _Answer:
    status: HTTPStatus
    document: Document
    headers: tuple[tuple[str, str], ...] = ()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "colluvium-simulator"
    timeout = 30

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: Simulator.requests counts."""

    def do_HEAD(self) -> None:
        """Answer without a body."""
        self._serve(body=False)

    def do_GET(self) -> None:
        """Answer."""
        self._serve(body=True)

    def _serve(self, *, body: bool) -> None:
        simulator = cast(_Server, self.server).simulator
        address = urlsplit(self.path)
        feed, _, path = unquote(address.path).lstrip("/").partition("/")
        if feed not in simulator.publishers:
            names = ", ".join(sorted(simulator.publishers))
            self._send(_said(HTTPStatus.NOT_FOUND, f"no such feed; served are {names}"), body=body)
            return
        view = simulator.view(feed)
        try:
            self._answer(simulator, view, path, address.query, body=body)
        except (BrokenPipeError, ConnectionResetError, TimeoutError):
            self.close_connection = True  # the client did not want the rest

    def _answer(self, simulator: Simulator, view: View, path: str, query: str, *, body: bool) -> None:
        for fault in view.faults:
            if isinstance(fault, Slow):
                simulator.wait(fault.wait_s)
            if isinstance(fault, Down):
                if fault.status == 0:
                    simulator.count(view.feed, 0)
                    self.close_connection = True
                    return
                more = (("Retry-After", str(fault.retry_after_s)),) if fault.retry_after_s is not None else ()
                self._send(_said(HTTPStatus(fault.status), "out of order", more), body=body, view=view)
                return
            if isinstance(fault, WrongType):
                page = Document(fault.page.encode(), fault.content_type)
                self._send(_Answer(HTTPStatus.OK, page), body=body, view=view)
                return
        self._send(self._found(simulator, view, path, query), body=body, view=view)

    def _found(self, simulator: Simulator, view: View, path: str, query: str) -> _Answer:
        rotated = any(isinstance(fault, VersionRotation) for fault in view.faults)
        moves = not isinstance(simulator.publishers[view.feed], Rasters)  # files carry their version
        if rotated and moves:
            if not path.startswith(f"{MOVED}/"):
                target = f"/{view.feed}/{MOVED}/{path}" + (f"?{query}" if query else "")
                return _said(HTTPStatus.MOVED_PERMANENTLY, "moved", (("Location", target),))
            path = path.removeprefix(f"{MOVED}/")
        # Doubled slashes come of addresses that end with one.
        request = Request(path.lstrip("/"), dict(parse_qsl(query)), simulator.address(view.feed))
        try:
            document = simulator.document(view, request)
        except BadRequestError as error:
            return _said(HTTPStatus.BAD_REQUEST, str(error))
        if document is None:
            return _said(HTTPStatus.NOT_FOUND, f"{request.path}: not published, or not yet")
        return self._conditional(document, view)

    def _conditional(self, document: Document, view: View) -> _Answer:
        tag = f'"{sha256(document.body).hexdigest()[:24]}"'
        modified = view.published_at.replace(microsecond=0)
        headers = (
            ("ETag", tag),
            ("Last-Modified", format_datetime(modified.astimezone(UTC), usegmt=True)),
            ("Accept-Ranges", "bytes"),
        )
        wanted = self.headers.get("If-None-Match")
        since = self.headers.get("If-Modified-Since")
        if wanted is not None:
            same = wanted.strip() == "*" or tag in [item.strip() for item in wanted.split(",")]
        else:
            same = since is not None and not view.faults and modified <= parsedate_to_datetime(since)
        if same:
            return _Answer(HTTPStatus.NOT_MODIFIED, Document(b"", document.content_type), headers)
        asked = self.headers.get("Range")
        held = self.headers.get("If-Range")
        if asked is None or (held is not None and held.strip() != tag):
            return _Answer(HTTPStatus.OK, document, headers)
        size = len(document.body)
        span = _span(asked, size)
        if span is None:
            return _Answer(HTTPStatus.OK, document, headers)  # more than one range: the whole, as is allowed
        first, last = span
        if first > last or first >= size:
            return _said(
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, "", (("Content-Range", f"bytes */{size}"),)
            )
        part = Document(document.body[first : last + 1], document.content_type)
        more = (*headers, ("Content-Range", f"bytes {first}-{last}/{size}"))
        return _Answer(HTTPStatus.PARTIAL_CONTENT, part, more)

    def _send(self, answer: _Answer, *, body: bool, view: View | None = None) -> None:
        simulator = cast(_Server, self.server).simulator
        faults = view.faults if view is not None else ()
        content = answer.document.body
        stated = len(content)
        for fault in faults:
            if isinstance(fault, Truncated) and answer.status in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                content = content[: int(len(content) * fault.share)]
                stated = stated if fault.stated else len(content)
                self.close_connection = True
        if view is not None:
            simulator.count(view.feed, int(answer.status))
        self.send_response(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if answer.status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", answer.document.content_type)
            self.send_header("Content-Length", str(stated))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if not body or answer.status == HTTPStatus.NOT_MODIFIED:
            return
        slow = next((fault for fault in faults if isinstance(fault, Slow) and fault.pause_s > 0), None)
        if slow is None:
            self.wfile.write(content)
            return
        for start in range(0, len(content), slow.piece_bytes):
            self.wfile.write(content[start : start + slow.piece_bytes])
            self.wfile.flush()
            simulator.wait(slow.pause_s)


def _said(status: HTTPStatus, words: str, headers: tuple[tuple[str, str], ...] = ()) -> _Answer:
    return _Answer(status, Document(f"{words}\n".encode(), "text/plain; charset=utf-8"), headers)


def _span(text: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte of one range; None where there is not just one that can be read."""
    unit, _, span = text.strip().partition("=")
    first, dash, last = span.partition("-")
    if unit != "bytes" or not dash or "," in span or not (first + last).isdecimal():
        return None
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1
