"""A real HTTP server on this machine that says what a test wants, and a way to it with an injected clock."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zoneinfo import ZoneInfo

from service.feeds.base import FeedContext
from service.feeds.http import Http
from service.settings_http import FeedHttp

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Asked:
    """One request as it came in."""

    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case


@dataclass(frozen=True)
class Answer:
    """What is sent: `length` in place of the body's own, and `only` so many bytes of it."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    only: int | None = None
    deaf: bool = False  # says nothing until the test is over


class Server:
    """Gives the answers of each path in order, the last one again and again."""

    def __init__(self, scheme: str) -> None:
        self.scheme = scheme
        self.port = 0
        self.asked: list[Asked] = []
        self.over = threading.Event()
        self._script: dict[str, list[Answer | Callable[[Asked], Answer]]] = {}

    def say(self, path: str, *answers: Answer | Callable[[Asked], Answer] | bytes) -> None:
        """Set what is said at a path."""
        self._script[path] = [Answer(item) if isinstance(item, bytes) else item for item in answers]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        """Return a path's address."""
        return f"{self.scheme}://{host}:{self.port}{path}"

    def answer(self, asked: Asked) -> Answer:
        """Return what is said to a request."""
        self.asked.append(asked)
        script = self._script.get(asked.path)
        if not script:
            return Answer(b"not here", 404)
        item = script.pop(0) if len(script) > 1 else script[0]
        return item if isinstance(item, Answer) else item(asked)


@contextmanager
def serving(certificate: tuple[Path, Path] | None = None) -> Iterator[Server]:
    """Serve on a free port; with a certificate and its key over TLS."""
    server = Server("https" if certificate else "http")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            said = server.answer(Asked(parts.path, parse_qs(parts.query), headers))
            if said.deaf:
                server.over.wait(30)
                return
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            if "Transfer-Encoding" not in said.headers:
                self.send_header(
                    "Content-Length", str(len(said.body) if said.length is None else said.length)
                )
            self.end_headers()
            self.wfile.write(said.body[: said.only])

        def log_message(self, *_: object) -> None:
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, *_: object) -> None:
            """A client that hangs up is part of the test."""

    httpd = Quiet(("127.0.0.1", 0), Handler)
    if certificate:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*certificate)
        httpd.socket = tls.wrap_socket(httpd.socket, server_side=True)
    server.port = httpd.server_address[1]
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        httpd.shutdown()
        httpd.server_close()
        thread.join()


class Time:
    """A clock that goes on only when somebody sleeps."""

    def __init__(self, now: datetime = NOW) -> None:
        self.now = now
        self.slept: list[float] = []
        self.left = float("inf")  # seconds until the deadline

    def clock(self) -> datetime:
        """Return the time."""
        return self.now

    def monotonic(self) -> float:
        """Return the time in seconds."""
        return self.now.timestamp()

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(round(seconds, 6))
        self.now += timedelta(seconds=seconds)

    def seconds_left(self) -> float:
        """Return the seconds until the deadline."""
        return self.left


def http_to(folder: Path, time: Time, **settings: Any) -> Http:
    """Return the way of a feed named `api` to its server; jitter at its least: half the backoff."""
    context = FeedContext(
        region_timezone=ZoneInfo("UTC"),
        bounds=lambda: (0.0, 0.0, 1.0, 1.0),
        clock=time.clock,
        folder=folder / "feeds" / "api",
        seconds_left=time.seconds_left,
        sleep=time.sleep,
    )
    # Long enough for a busy machine, and never waited for: only a deaf server is given a short one.
    values = {"read_timeout_s": 20.0, "connect_timeout_s": 20.0} | settings
    return Http("api", FeedHttp(**values), context, time.monotonic, lambda: 0.0)
