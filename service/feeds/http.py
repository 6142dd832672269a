"""Asks a feed's server over HTTP: politely, with limits to everything, and trusting no reply."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from io import RawIOBase
from pathlib import Path
from threading import Lock
from typing import TypeVar
from uuid import uuid4

import requests
from urllib3.exceptions import HTTPError

from service.feeds.base import FeedContext, FeedFault
from service.feeds.http_breaker import Breaker, BreakerState, read_breaker
from service.feeds.http_content import LOOKED_AT, Expect, first_words, wrong_content
from service.feeds.http_range import FIRST_RANGE, Piece, RangeFile, read_content_range
from service.feeds.http_replies import Kept, Replies, Reply, moment_of
from service.feeds.http_session import Broken, Login, Session, broken_by
from service.settings_http import FeedHttp

__all__ = ["BreakerState", "Expect", "Http", "Reply", "read_breaker"]

_T = TypeVar("_T")

_CHUNK = 1 << 16
_FINE = (200, 203)
_NOT_MODIFIED = 304
_GONE = (404, 410)
_NO_CONTENT = (204, 205)
_LOGIN = (401, 403)
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_LONGEST_BACKOFF_S = 60.0
# The server itself is in order, unless it is worth asking again.
_NOT_THE_SERVER = frozenset({"absent", "status", "settings", "deadline", "breaker_open"})


class Http:
    """One feed's way to its server. Any thread may use it; what it remembers lies in the context's folder.

    All methods raise FeedFault, naming feed, address (without secrets) and what happened. The reasons:
    unreachable, timeout, tls, status, login, absent, too_large, wrong_type, truncated, redirect,
    rate_limited, breaker_open, deadline, settings.
    """

    def __init__(
        self,
        feed: str,
        settings: FeedHttp,
        context: FeedContext,
        monotonic: Callable[[], float] = time.monotonic,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.feed = feed
        self._settings = settings
        self._context = context
        self._monotonic = monotonic
        self._jitter = jitter  # 0 to 1
        self._lock = Lock()
        self._next_request = -float("inf")
        self._opened: tuple[Session, Login, Replies] | None = None
        self._breaker = Breaker(
            context.folder,
            settings.breaker_failures,
            timedelta(minutes=settings.breaker_minutes),
            context.clock,
        )

    def get(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        expect: Expect = "any",
        absent_ok: bool = False,
    ) -> Reply | None:
        """Return the reply of an address, or None where there is none (404, 410, 204) and `absent_ok`.

        A body kept from before is used again if the server says that it still holds.
        """
        params, headers = dict(params or {}), dict(headers or {})
        _, _, replies = self._open()
        # Of what the caller asks: the login is no part of it, so no digest of a secret names a file.
        key = hashlib.sha256(
            repr((url, sorted(params.items()), sorted(headers.items()))).encode()
        ).hexdigest()
        kept = replies.kept(key)

        def once() -> Reply | None:
            return self._once(url, params, headers, expect, key, kept)

        reply = self._tried(url, once)
        if reply is None and not absent_ok:
            raise FeedFault("absent", f"feed {self.feed}: there is nothing at {self._shown(url)} (HTTP 404)")
        return reply

    def open_range(self, url: str, expect: Expect = "any") -> RawIOBase:
        """Return a file to seek and read in, of which only what is read is fetched.

        From a server that does not do ranges the whole file is fetched first.
        """
        first = self._tried(url, lambda: self._piece(url, *FIRST_RANGE, expect))
        if first is None:
            reply = self.get(url, expect=expect)
            assert reply is not None  # noqa: S101 - absent_ok is not given
            return reply.path.open("rb", buffering=0)

        def fetch(start: int, last: int) -> Piece:
            piece = self._tried(url, lambda: self._piece(url, start, last, "any"))
            if piece is None:
                raise fault("truncated", "no longer gives parts of its file")
            return piece

        def fault(reason: str, detail: str) -> FeedFault:
            return FeedFault(reason, f"feed {self.feed}: {self._shown(url)} {detail}")

        return RangeFile(fetch, first, fault)

    # --- one request ---

    def _once(
        self,
        url: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        expect: Expect,
        key: str,
        kept: Kept | None,
    ) -> Reply | None:
        _, _, replies = self._open()
        with self._sent(url, params, {**headers, **(kept.conditions if kept else {})}) as response:
            if response.status_code == _NOT_MODIFIED and kept is not None:
                if kept.is_whole():
                    replies.touch(kept)
                    return self._reply(url, kept.path, kept.content_type, kept.modified, unchanged=True)
            elif response.status_code in (*_GONE, *_NO_CONTENT):
                return None
            else:
                self._refuse_status(response)
                return self._taken(url, response, expect, key)
        # What was kept is not what came: ask for all of it.
        return self._once(url, params, headers, expect, key, None)

    def _taken(self, url: str, response: requests.Response, expect: Expect, key: str) -> Reply:
        _, _, replies = self._open()
        spooled = replies.folder / f".{uuid4().hex}.part"
        digest = hashlib.sha256()
        start = b""
        try:
            with spooled.open("wb") as file:
                for chunk in self._body(response):
                    if len(start) < LOOKED_AT:
                        start += chunk[: LOOKED_AT - len(start)]
                        if len(start) == LOOKED_AT:
                            _refuse_content(start, expect)
                    digest.update(chunk)
                    file.write(chunk)
            _refuse_content(start, expect)
            etag, modified = (response.headers.get(name, "") for name in ("ETag", "Last-Modified"))
            content_type = response.headers.get("Content-Type", "")
            path = replies.put(key, spooled, etag, modified, content_type, digest.hexdigest())
        finally:
            spooled.unlink(missing_ok=True)
        return self._reply(response.url or url, path, content_type, modified, unchanged=False)

    def _piece(self, url: str, first: int, last: int, expect: Expect) -> Piece | None:
        """Return bytes `first` to `last` of a file, or None where the server gives it as a whole only."""
        asked = {"Range": f"bytes={first}-{last}", "Accept-Encoding": "identity"}
        with self._sent(url, {}, asked) as response:
            if response.status_code in (*_GONE, *_NO_CONTENT):
                raise Broken("absent", "is not there (HTTP 404)", again=False)
            given = read_content_range(response.headers.get("Content-Range", ""))
            if response.status_code != requests.codes.partial_content or given is None:
                self._refuse_status(response)
                return None
            data = b"".join(self._body(response))
            if given != (first, min(last, given[2] - 1), given[2]) or len(data) != given[1] - first + 1:
                raise Broken("truncated", f"sent {len(data)} bytes of {first} to {last}", again=True)
            if first == 0:
                _refuse_content(data[:LOOKED_AT], expect)
            version = response.headers.get("ETag", "") or response.headers.get("Last-Modified", "")
            return Piece(data, given[2], version)

    def _reply(self, url: str, path: Path, content_type: str, modified: str, *, unchanged: bool) -> Reply:
        return Reply(
            url=self._shown(url),
            path=path,
            content_type=content_type,
            fetched_at=self._context.clock(),
            unchanged=unchanged,
            modified=moment_of(modified) if modified else None,
            feed=self.feed,
        )

    def _body(self, response: requests.Response) -> Iterator[bytes]:
        """Yield the body, unpacked, within the limits of size and time. Raises Broken."""
        limit = self._settings.max_bytes
        length = response.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > limit:
            raise Broken("too_large", f"{_too_large(limit)} (it says {int(length):,} bytes)", again=False)
        size = 0
        while True:
            if self._context.seconds_left() <= 0:
                raise Broken("timeout", "was still sending when the ingest's deadline passed", again=False)
            try:
                # Whatever is there: a server that drips must not hold us until a chunk is full.
                chunk = response.raw.read1(_CHUNK, decode_content=True)
            except (HTTPError, OSError) as error:
                raise broken_by(error) from error
            if not chunk:
                return
            size += len(chunk)
            if size > limit:
                raise Broken("too_large", _too_large(limit), again=False)
            yield chunk

    def _refuse_status(self, response: requests.Response) -> None:
        status = response.status_code
        if status in _FINE:
            return
        said = self._first_words(response)
        what = f"answered HTTP {status}" + (f": {said!r}" if said else "")
        if status in _LOGIN:
            raise Broken("login", f"{what}; check the feed's login or token, and its licence", again=False)
        if status == requests.codes.too_many_requests:
            raise _Busy("rate_limited", what, self._retry_after(response))
        if status in _AGAIN:
            raise _Busy("status", what, self._retry_after(response))
        raise Broken("status", what, again=False)

    def _first_words(self, response: requests.Response) -> str:
        try:
            return first_words(response.raw.read1(LOOKED_AT, decode_content=True))
        except (HTTPError, OSError):
            return ""

    def _retry_after(self, response: requests.Response) -> float | None:
        text = response.headers.get("Retry-After", "").strip()
        if text.isdigit():
            return float(text)
        moment = moment_of(text) if text else None
        return max(0.0, (moment - self._context.clock()).total_seconds()) if moment else None

    # --- again and again ---

    def _tried(self, url: str, once: Callable[[], _T]) -> _T:
        """Do something with the server, again where that is worth it. Raises FeedFault."""
        for attempt in range(self._settings.retries + 1):
            self._refuse_open_breaker()
            try:
                done = once()
            except Broken as error:
                broken = error
            else:
                self._breaker.succeeded()
                return done
            if not broken.again or attempt == self._settings.retries:
                break
            wait = self._wait(broken, attempt)
            if wait is None:
                break
            self._context.sleep(wait)
        # Outside the except block: the libraries' exceptions, which this one would carry, show secrets.
        asked_to_wait = broken.wait if isinstance(broken, _Busy) else None
        if broken.again or broken.reason not in _NOT_THE_SERVER:
            self._breaker.failed(broken.reason, asked_to_wait)
        tries = f" (tried {attempt + 1} times)" if attempt else ""
        detail = self._masked(broken.detail)
        raise FeedFault(broken.reason, f"feed {self.feed}: {self._shown(url)} {detail}{tries}")

    def _wait(self, broken: Broken, attempt: int) -> float | None:
        """Return for how many seconds to wait before the next try; None: there is none."""
        backoff = min(self._settings.backoff_s * 2**attempt, _LONGEST_BACKOFF_S)
        wait = backoff * (0.5 + self._jitter() / 2)
        if isinstance(broken, _Busy) and broken.wait is not None:
            if broken.wait > self._settings.max_retry_after_s:
                return None
            wait = max(broken.wait, wait)
        return wait if wait < self._context.seconds_left() else None

    def _refuse_open_breaker(self) -> None:
        state = self._breaker.state
        if self._breaker.is_open() and state.open_until is not None:
            raise FeedFault(
                "breaker_open",
                f"feed {self.feed}: not asked until {state.open_until:%Y-%m-%d %H:%M} UTC: its server failed "
                f"{state.failures} times in a row (last: {state.reason})",
            )

    @contextmanager
    def _sent(
        self, url: str, params: Mapping[str, str], headers: Mapping[str, str]
    ) -> Iterator[requests.Response]:
        session, _, _ = self._open()
        self._take_turn()
        left = self._context.seconds_left()
        if left <= 0:
            raise Broken("deadline", "was not asked any more: the ingest's deadline has passed", again=False)
        response = session.send(url, params, headers, left)
        try:
            yield response
        finally:
            response.close()

    def _take_turn(self) -> None:
        """Wait until the rate limit allows the next request."""
        if self._settings.requests_per_minute is None:
            return
        interval = 60.0 / self._settings.requests_per_minute
        with self._lock:
            now = self._monotonic()
            turn = max(now, self._next_request)
            self._next_request = turn + interval
        wait = turn - now
        if wait >= self._context.seconds_left():
            raise Broken("deadline", "was not asked: its turn comes after the ingest's deadline", again=False)
        if wait > 0:
            self._context.sleep(wait)

    def _open(self) -> tuple[Session, Login, Replies]:
        with self._lock:
            if self._opened is None:
                login = Login.of(self._settings, self.feed)
                replies = Replies(self._context.folder / "replies")
                self._opened = Session(self._settings, login), login, replies
            return self._opened

    def _masked(self, text: str) -> str:
        _, login, _ = self._open()
        return login.masker(text)

    def _shown(self, url: str) -> str:
        return self._masked(url)


class _Busy(Broken):
    """The server asks to be left alone for a while, or is in trouble."""

    def __init__(self, reason: str, detail: str, wait: float | None) -> None:
        super().__init__(reason, detail, again=True)
        self.wait = wait


def _refuse_content(start: bytes, expect: Expect) -> None:
    wrong = wrong_content(start, expect)
    if wrong is not None:
        raise Broken("wrong_type", f"sent {wrong}", again=False)


def _too_large(limit: int) -> str:
    return f"sends more than {limit:,} bytes, the feed's 'max_bytes'"
