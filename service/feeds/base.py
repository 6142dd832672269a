"""The port through which readings come in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Protocol

from service.errors import FeedError
from service.feed_log import Problem
from service.quality import Limits, Observation, Rejection
from service.reading_values import SeriesPosition


class FeedFault(FeedError):
    """A FeedError with the short reason that its metric carries."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Batch:
    """What one fetch brings. `rows` may be a stream: it is read once, and a fault in it may raise FeedError.

    Rows of days that were not asked for are allowed. A fault that spares the other rows is a Problem.
    """

    rows: Iterable[Observation | Rejection | Problem]
    # Where the series are measured; None: the feed does not say, and any series is taken.
    series: tuple[SeriesPosition, ...] | None = None
    problems: tuple[Problem, ...] = ()
    limits: Limits | None = None  # default: by variable
    # Readings from before the first fetch are taken to have been known this long after their day ended;
    # None: nothing is assumed about them.
    latency: timedelta | None = None


class Feed(Protocol):
    """Where readings of one variable come from."""

    @property
    def name(self) -> str:
        """The feed's name in settings, messages and metrics."""

    @property
    def variable(self) -> str:
        """What it measures: `rain` (mm) or `level` (m above sea level)."""

    def fetch(self, since: date | None, until: date | None) -> Batch:
        """Return the readings of days `since` to `until`, both included; None: all there are.

        Raises FeedError, naming the feed and what to do, where nothing can be read.
        """
