"""The port through which readings come in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Protocol
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS

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
class Grid:
    """One day of a raster product over the region, as a feed gave it: stored unit, the region's day."""

    day: date
    values: npt.NDArray[np.float32]  # (height, width), NaN where there is no data
    transform: Affine  # of the pixels, in `crs`
    crs: CRS
    ends_at: str  # UTC stamp: when the day's interval ends
    source: str  # the address or file
    version: str = ""  # of the product
    issued_at: str = ""  # of a forecast, UTC stamp
    member: int | None = None
    latency: timedelta | None = None  # of its product, where that is not the batch's


@dataclass(frozen=True)
class Batch:
    """What one fetch brings. `rows` may be a stream: it is read once, and a fault in it may raise FeedError.

    Rows of days that were not asked for are allowed. A fault that spares the other rows is a Problem.
    """

    rows: Iterable[Observation | Rejection | Problem]
    # Where the series are measured; None: the feed does not say, and any series is taken.
    series: tuple[SeriesPosition, ...] | None = None
    problems: tuple[Problem, ...] = ()
    grids: Iterable[Grid | Problem] = ()  # of a raster product; read once, as `rows`
    limits: Limits | None = None  # default: by variable
    # Readings from before the first fetch are taken to have been known this long after their day ended;
    # None: nothing is assumed about them.
    latency: timedelta | None = None


@dataclass(frozen=True)
class FeedContext:
    """What a feed may know of the service that reads it."""

    region_timezone: ZoneInfo
    # The region in EPSG:4326: west, south, east, north. Opened only where a feed asks.
    bounds: Callable[[], tuple[float, float, float, float]]
    clock: Callable[[], datetime]
    folder: Path  # of the feed's own, for replies that are kept
    # What the archive has of the feed: days with their product version, newest first; for conditional work.
    known_days: Callable[[], Mapping[date, str]] = dict
    # The newest day that it has of each series of the feed; a series that never brought one is not there.
    known_series: Callable[[], Mapping[str, date]] = dict
    # Until the ingest's deadline; nobody waits for a retry that would end later.
    seconds_left: Callable[[], float] = lambda: math.inf
    sleep: Callable[[float], None] = time.sleep


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
