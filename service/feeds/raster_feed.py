"""Days of a raster product: the newest there are, each from its best product, the region's part of them."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from tempfile import TemporaryFile
from typing import IO, NamedTuple

import numpy as np

from service.feed_log import Problem
from service.feeds.base import Batch, FeedContext, FeedFault, Grid
from service.feeds.http_secrets import Masker
from service.feeds.raster_day import DayReader
from service.feeds.raster_sources import RasterSources
from service.quality import limits_of
from service.settings_raster import RasterFeed, RasterProduct

# A file may be at fault by itself; these speak of all files of a product, or of all of the feed.
_OF_THE_PRODUCT = {"unreachable", "timeout", "tls", "login", "rate_limited", "redirect", "crs", "outside"}
_OF_THE_FEED = {"breaker_open", "deadline", "settings"}
_RESERVE_S = 5.0  # before the deadline, to hand over what there is
_LEAST_S = 5.0  # for another day
_LATE_DAYS = 2  # beyond its latency, a newest day is late
_NAMED_AT_MOST = 20


class Candidate(NamedTuple):
    """A product in one version; what a day is asked for, best first."""

    product: RasterProduct
    version: str

    @property
    def label(self) -> str:
        """The product version in the archive."""
        return " ".join(part for part in (self.product.name, self.version) if part)


@dataclass(frozen=True)
class _Sought:
    """A day to look at, and the candidates that would be better than what is known of it, or as good."""

    day: date
    candidates: tuple[Candidate, ...]


class RasterFeedReader:
    """Reads what a `[[feeds]]` section of kind raster describes."""

    def __init__(self, settings: RasterFeed, context: FeedContext) -> None:
        self.name = settings.name
        self.variable: str = settings.variable
        self._settings = settings
        self._context = context
        self._shown = Masker()

    def fetch(self, since: date | None, until: date | None) -> Batch:
        """Return the days `since` to `until`; by default those not known yet, probing back from today.

        Days are asked for newest first, each from the best product on, and handed over oldest first. A day
        that is known is asked for again while it is young, and for better products until it is old; a worse
        product never replaces a better one. Days that are asked for by name are read again in any case.

        Raises FeedFault where nothing could be asked for, or nothing was found and nothing is known.
        """
        settings = self._settings
        now = self._context.clock()
        known = dict(self._context.known_days())
        days = self._days(since, until, now)
        sought = [self._sought(day, known, days[0], asked=since is not None) for day in days]
        # What is not known yet goes first, so that a long list gets on although each fetch is bounded.
        sought.sort(key=lambda item: (item.day in known, -item.day.toordinal()))
        kept = _Kept(self._open_temporary)
        problems: list[Problem] = []
        down: set[str] = set()
        # What is not handed over in time is lost, so no request may last until the deadline.
        told = replace(self._context, seconds_left=lambda: self._context.seconds_left() - _RESERVE_S)
        with RasterSources(settings, told) as sources:
            reader = DayReader(settings, told, sources)
            for item in sought:
                if item.candidates and (why := self._enough(sources)):
                    problems.append(Problem("more", f"feed {self.name}: {why}", is_error=False))
                    break
                try:
                    self._find(item, reader, now, kept, problems, down)
                except FeedFault as fault:
                    if not len(kept):
                        raise
                    problems.append(Problem(fault.reason, str(fault)))
                    break
            problems += sources.problems
        if not len(kept) and not known.keys() & set(days):
            raise self._nothing(problems, days)
        if until is None and not any(problem.is_error for problem in problems):
            problems += self._late(known.keys() | kept.days(), now)
        if len(problems) > _NAMED_AT_MOST:
            left = len(problems) - _NAMED_AT_MOST
            problems[_NAMED_AT_MOST:] = [
                Problem("more", f"feed {self.name}: {left} more problems of this kind", is_error=False)
            ]
        return Batch(
            rows=(),
            grids=kept.grids(),
            problems=tuple(problems),
            limits=limits_of(self.variable, settings.minimum, settings.maximum),
            latency=settings.latency_hours if settings.assume_history else None,
        )

    def _days(self, since: date | None, until: date | None, now: datetime) -> list[date]:
        today = now.astimezone(self._context.region_timezone).date()
        last = min(until or today, today)
        first = since or last - timedelta(days=self._settings.lookback_days)
        if since is None and until is None:
            first = min(first, today - timedelta(days=self._settings.settle_days))
        days = [last - timedelta(days=n) for n in range((last - first).days + 1)]
        return days or [last]

    def _sought(self, day: date, known: dict[date, str], newest: date, *, asked: bool) -> _Sought:
        settings = self._settings
        candidates = [
            Candidate(product, version)
            for product in settings.chain
            for version in (product.versions or ("",))
        ]
        age = (newest - day).days
        if day not in known:
            return _Sought(day, tuple(candidates) if asked or age <= settings.lookback_days else ())
        labels = [candidate.label for candidate in candidates]
        # A version that the settings no longer name is worse than any that they do.
        rank = labels.index(known[day]) if known[day] in labels else len(labels)
        if asked or age <= settings.recheck_days:
            return _Sought(day, tuple(candidates[: rank + 1]))
        return _Sought(day, tuple(candidates[:rank]) if age <= settings.settle_days else ())

    def _find(
        self,
        item: _Sought,
        reader: DayReader,
        now: datetime,
        kept: _Kept,
        problems: list[Problem],
        down: set[str],
    ) -> None:
        """Keep the best product of a day; `down` are products that are not asked any more.

        Raises FeedFault where there is no use in asking on.
        """
        for product, version in item.candidates:
            if product.name in down:
                continue
            label = Candidate(product, version).label
            try:
                found = reader.read(item.day, product, version, label, now)
            except FeedFault as fault:
                if fault.reason in _OF_THE_PRODUCT:
                    down.add(product.name)
                if fault.reason in _OF_THE_FEED or len(down) == len(self._settings.chain):
                    raise
                problems.append(Problem(fault.reason, str(fault)))
                continue
            problems += found.problems
            if found.grid is not None:
                kept.add(found.grid)
                return

    def _enough(self, sources: RasterSources) -> str | None:
        if self._context.seconds_left() < _RESERVE_S + _LEAST_S:
            return "there was no time for older days; the next fetch goes on"
        if sources.requests >= self._settings.max_requests:
            return f"{sources.requests} files were asked for (max_requests); the next fetch goes on"
        return None

    def _late(self, there: Set[date], now: datetime) -> Iterator[Problem]:
        """Yield a problem where the newest day is older than it should be: nothing else would tell of it."""
        zone, latency = self._context.region_timezone, self._settings.latency_hours
        expected = (now - latency).astimezone(zone).date() - timedelta(days=1)
        if (newest := max(there)) < expected - timedelta(days=_LATE_DAYS):
            places = ", ".join(product.place for product in self._settings.chain)
            yield Problem(
                "late",
                f"feed {self.name}: there is nothing after {newest}, and {expected} was expected; either it "
                f"is late or the address or its 'versions' have changed: {self._shown(places)}",
            )

    def _nothing(self, problems: list[Problem], days: list[date]) -> FeedFault:
        errors = [problem for problem in problems if problem.is_error]
        if errors:
            return FeedFault(errors[0].reason, errors[0].message)
        places = self._shown(", ".join(product.place for product in self._settings.chain))
        return FeedFault(
            "absent",
            f"feed {self.name}: there is nothing of {days[-1]} to {days[0]} at {places}; either nothing was "
            "published yet, or the address or its 'versions' have changed",
        )

    def _open_temporary(self) -> IO[bytes]:
        self._context.folder.mkdir(parents=True, exist_ok=True)
        return TemporaryFile(dir=self._context.folder)


class _Kept:
    """Grids of a fetch, their values on disk: a fetch of years needs no more memory than one of a day."""

    def __init__(self, temporary: Callable[[], IO[bytes]]) -> None:
        self._temporary = temporary
        self._file: IO[bytes] | None = None
        self._grids: list[tuple[Grid, int, tuple[int, int]]] = []

    def __len__(self) -> int:
        return len(self._grids)

    def days(self) -> set[date]:
        """Return the days of which there is a grid."""
        return {grid.day for grid, _, _ in self._grids}

    def add(self, grid: Grid) -> None:
        """Keep a grid."""
        if self._file is None:
            self._file = self._temporary()
            weakref.finalize(self, self._file.close)
        height, width = grid.values.shape
        offset = self._file.tell()
        self._file.write(np.ascontiguousarray(grid.values, dtype=np.float32).tobytes())
        empty = np.empty((0, 0), dtype=np.float32)
        self._grids.append((replace(grid, values=empty), offset, (height, width)))

    def grids(self) -> Iterator[Grid]:
        """Yield what was kept, oldest day first; once."""
        for grid, offset, shape in sorted(self._grids, key=lambda item: item[0].day):
            assert self._file is not None  # noqa: S101 - for the type checker
            self._file.seek(offset)
            data = self._file.read(4 * math.prod(shape))
            yield replace(grid, values=np.frombuffer(data, dtype=np.float32).reshape(shape))
