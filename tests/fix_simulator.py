"""A simulator of feeds over a small region, with a clock that tests set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email.message import Message
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPErrorProcessor, HTTPHandler, ProxyHandler, Request, build_opener

from service.simulator.catalogue import PUBLISHERS
from service.simulator.faults import Fault, FaultScript
from service.simulator.server import Simulator
from service.simulator.weather import SyntheticTruth

BOUNDS = (11.0, 44.0, 11.5, 44.4)
TODAY = date(2026, 3, 10)
TRUTH = SyntheticTruth(BOUNDS, seed=4, first=date(2025, 9, 1), gauge_count=6, reservoir_count=2)


class Clock:
    """A clock that tests set; noon of a day unless told otherwise."""

    def __init__(self, day: date = TODAY, hour: int = 20) -> None:
        self.now = datetime(day.year, day.month, day.day, hour, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the time."""
        return self.now

    def pass_days(self, days: float = 1) -> None:
        """Let days pass."""
        self.now += timedelta(days=days)


@contextmanager
def simulating(*faults: Fault, clock: Clock | None = None, **more: Any) -> Iterator[Simulator]:
    """Serve all feeds of TRUTH."""
    truth = more.pop("truth", TRUTH)
    publishers = more.pop("publishers", PUBLISHERS)
    with Simulator(truth, publishers, clock or Clock(), FaultScript(faults=faults), **more) as simulator:
        yield simulator


class _AsItIs(HTTPErrorProcessor):
    def http_response(self, request: Request, response: Any) -> Any:
        """Let every status through."""
        return response


_opener = build_opener(HTTPHandler(), ProxyHandler({}), _AsItIs())


class Answer:
    """An answer as it came."""

    def __init__(self, status: int, headers: Message, body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body


def get(url: str, method: str = "GET", timeout: float = 10, **headers: str) -> Answer:
    """Ask without following redirects; header names with _ for -."""
    request = Request(  # noqa: S310 - an address of the test's own server
        url, headers={name.replace("_", "-"): value for name, value in headers.items()}, method=method
    )
    try:
        with _opener.open(request, timeout=timeout) as reply:
            return Answer(reply.status, reply.headers, reply.read())
    except HTTPError as error:
        return Answer(error.code, error.headers, error.read())


def example(simulator: Simulator, feed: str) -> str:
    """Return an address that a feed answers."""
    return f"{simulator.address(feed)}/{simulator.publishers[feed].example(simulator.view(feed))}"
