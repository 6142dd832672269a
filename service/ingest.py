"""Bring what the feeds hold into the archive, feed by feed."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from service.checks.judge import JudgeReport, judge
from service.errors import (
    AbandonedError,
    InputError,
    LockedError,
    StorageError,
    is_disk_full,
)
from service.feed_log import AttemptOutcome, Problem
from service.feeds.base import Batch, Feed, FeedFault, Grid
from service.feeds.opening import open_feeds
from service.fetching import Deadline, Fetched, fetch_all
from service.progress import ProgressCallback
from service.quality import Limits, Observation, Reason, Rejection, check, limits_of
from service.reading_values import Reading, SeriesPosition
from service.readings import Archive
from service.settings import Settings
from service.stage import Stage
from service.stamps import from_stamp, to_stamp

log = structlog.get_logger()

_NAMED_AT_MOST = 20
_FORECAST_DAYS = 16  # no public forecast of rain says anything of a day beyond


@dataclass(frozen=True)
class FeedReport:
    """What one fetch of one feed brought: `unchanged` was known before, `repeated` came twice.

    Days of rasters count as readings do.
    """

    name: str
    variable: str
    outcome: AttemptOutcome
    new: int
    corrected: int
    unchanged: int
    repeated: int
    rejected: int
    newest_day: date | None
    problems: tuple[Problem, ...]
    error: str | None  # why it failed


@dataclass(frozen=True)
class IngestReport:
    """What became of each feed, in the order of the settings, and what the checks then doubted."""

    feeds: tuple[FeedReport, ...]
    judged: JudgeReport

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the feeds that brought nothing usable."""
        return tuple(feed.name for feed in self.feeds if feed.outcome == "failed")

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        feeds = []
        for feed in self.feeds:
            values = asdict(feed)
            values["newest_day"] = feed.newest_day.isoformat() if feed.newest_day else None
            values["problems"] = [asdict(problem) for problem in feed.problems]
            feeds.append(values)
        return {
            "feeds": feeds,
            "failed": list(self.failed),
            "doubted": self.judged.doubted,
            "doubted_by_check": [asdict(item) for item in self.judged.counts],
        }


def ingest(
    settings: Settings,
    archive: Archive,
    now: datetime,
    since: date | None = None,
    until: date | None = None,
    progress: ProgressCallback | None = None,
    feeds: Sequence[Feed] | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> IngestReport:
    """Read every feed (default: those of the settings) and keep what it brings of days `since` to `until`.

    The feeds are fetched side by side, under the deadline of the settings, and taken in one after another.
    Each feed is one transaction: what the report tells of is on disk. A feed that fails, or is not done in
    time, leaves the archive as it was, is noted with its reason, and does not stop the others. At the end the
    checks judge what is new.

    Raises StorageError where our own disk or database fails.
    """
    deadline = Deadline(settings.ingest.deadline_minutes * 60, monotonic)
    if feeds is None:
        # Read here: the archive is for this thread alone.
        known = {feed.name: known_days(archive, feed.name) for feed in settings.feeds}
        series = {feed.name: archive.log.newest_by_series(feed.name) for feed in settings.feeds}
        feeds = open_feeds(
            settings, lambda: now, known.__getitem__, deadline.seconds_left, series.__getitem__
        )
    today = now.astimezone(settings.timezone).date()
    reports: dict[int, FeedReport] = {}
    for fetched in fetch_all(feeds, since, until, settings.ingest.parallel, deadline):
        if progress is not None:
            progress(len(reports), len(feeds))
        feed = feeds[fetched.number]
        reports[fetched.number] = _ingest_feed(feed, fetched, archive, now, today, since, until)
    if progress is not None:
        progress(len(feeds), len(feeds))
    judged = judge(archive, settings, now)
    return IngestReport(tuple(reports[number] for number in sorted(reports)), judged)


def known_days(archive: Archive, feed: str) -> dict[date, str]:
    """Return what the archive has of a feed (see FeedContext): days of rasters, or the newest of readings."""
    rasters = archive.rasters.known_days(feed)
    newest = archive.log.newest_day(feed)
    return rasters or ({newest: ""} if newest else {})


def _ingest_feed(
    feed: Feed,
    fetched: Fetched,
    archive: Archive,
    now: datetime,
    today: date,
    since: date | None,
    until: date | None,
) -> FeedReport:
    try:
        if isinstance(fetched.result, Exception):
            raise fetched.result
        report = _take_in(feed, fetched.result, archive, now, today, since, until)
    except (StorageError, AbandonedError, LockedError):
        raise
    except Exception as error:
        if is_disk_full(error):
            raise StorageError(f"no space left while reading feed {feed.name}: {error}") from error
        if isinstance(error, FeedFault):
            reason = error.reason
        elif isinstance(error, InputError | OSError):
            reason = "feed"
        else:
            # A mistake of ours in one feed must not silence the others.
            reason = "internal"
            log.exception("feed failed unexpectedly", feed=feed.name)
        text = str(error) if isinstance(error, InputError) else f"feed {feed.name}: {error!r}"
        report = _failed(feed, (Problem(reason, text),), text)
        with archive.transaction():
            archive.log.attempt(feed.name, now, report.outcome, report.problems)
    _tell(report)
    return report


def _take_in(
    feed: Feed,
    batch: Batch,
    archive: Archive,
    now: datetime,
    today: date,
    since: date | None,
    until: date | None,
) -> FeedReport:
    stage = archive.stage()
    try:
        problems = [*batch.problems, *_stage_rows(batch, stage, feed.variable, today)]
        brought = stage.series()
        with archive.transaction():
            archive.add_series(feed.name, feed.variable, _positions(batch, feed, archive, brought), now)
            # Once a feed is watched, a reading that arrives late was really not known before: a layer made in
            # between was made without it, and --as-of must say so.
            watched = min(archive.log.watched_since(feed.name) or now, now)
            # Most of what a feed sends, it has sent before.
            said_again = stage.set_aside_unchanged(feed.name, feed.variable, since, until)
            added = archive.add(_readings(feed, batch, stage, watched, since, until), now)
            grids = archive.rasters.add(
                feed.name,
                feed.variable,
                _grids(feed, batch, today, since, until),
                now,
                batch.latency,
                watched,
            )
            problems += grids.problems
            problems += _told(feed, batch, stage, brought, everything=since is None and until is None)
            rejected = sum(count for _, _, count, _, _ in stage.rejected())
            new_rejections = stage.keep_rejections(feed.name, to_stamp(now))
            archive.log.count({(feed.name, "rejected"): new_rejections})
            outcome: AttemptOutcome = "partial" if any(item.is_error for item in problems) else "ok"
            error = None
            # A product of rasters whose newest day is known already has nothing to bring.
            waits = outcome == "ok" and bool(archive.rasters.known_days(feed.name))
            if not brought and grids.newest_day is None and not waits:
                outcome = "failed"
                error = f"feed {feed.name} brought no usable reading" + (
                    f": {problems[0].message}" if problems else "; its files hold no-data only"
                )
                problems.append(Problem("no_readings", error))
            archive.log.attempt(feed.name, now, outcome, problems)
        return FeedReport(
            name=feed.name,
            variable=feed.variable,
            outcome=outcome,
            new=added.new + grids.new,
            corrected=added.corrected + grids.corrected,
            unchanged=said_again + added.unchanged + grids.unchanged,
            repeated=stage.repeated,
            rejected=rejected,
            newest_day=max(filter(None, (stage.newest_day(), grids.newest_day)), default=None),
            problems=tuple(problems),
            error=error,
        )
    finally:
        stage.clear()


def _grids(
    feed: Feed, batch: Batch, today: date, since: date | None, until: date | None
) -> Iterator[Grid | Problem]:
    """Yield the rasters of the days asked for; those that lie in the future become problems."""
    for item in batch.grids:
        if isinstance(item, Grid):
            if (since and item.day < since) or (until and item.day > until):
                continue
            last = today + timedelta(days=_FORECAST_DAYS if item.issued_at else 0)
            if item.day > last:
                yield Problem(
                    Reason.FUTURE.value,
                    f"feed {feed.name}: {item.source} is of {item.day}, after {last}; not taken in",
                )
                continue
        yield item


def _stage_rows(batch: Batch, stage: Stage, variable: str, today: date) -> Iterator[Problem]:
    """Check the rows one by one and put them on the stage; yield the problems among them."""
    limits = batch.limits or limits_of(variable)
    known = None if batch.series is None else {position.id for position in batch.series}
    for item in batch.rows:
        if isinstance(item, Observation):
            fault = _check(item, limits, today)
            if known is not None and item.series not in known:
                fault = Rejection(
                    item.file,
                    item.row,
                    item.raw,
                    Reason.UNKNOWN_SERIES,
                    f"{item.series!r} is not among the feed's series",
                    item.series,
                    item.day.isoformat(),
                )
            if fault is None:
                stage.put(item)
            else:
                stage.reject(fault)
        elif isinstance(item, Rejection):
            stage.reject(item)
        else:
            yield item


def _check(item: Observation, limits: Limits, today: date) -> Rejection | None:
    if not item.issued_at:
        return check(item, limits, today)
    farthest = today + timedelta(days=_FORECAST_DAYS)
    if item.day <= farthest:
        return check(item, limits, farthest)
    return Rejection(
        item.file,
        item.row,
        item.raw,
        Reason.FUTURE,
        f"{item.day} is more than {_FORECAST_DAYS} days ahead of today, {today}",
        item.series,
        item.day.isoformat(),
    )


def _readings(
    feed: Feed, batch: Batch, stage: Stage, watched: datetime, since: date | None, until: date | None
) -> Iterator[Reading]:
    for item in stage.settle():
        if (since and item.day < since) or (until and item.day > until):
            continue
        known_at = _assumed(item, batch.latency, watched)
        yield Reading(
            feed=feed.name,
            variable=feed.variable,
            series=item.series,
            day=item.day,
            value=item.value,
            known_at=known_at,
            issued_at=from_stamp(item.issued_at) if item.issued_at else None,
            member=item.member,
            product_version=item.version,
            known_at_assumed=known_at is not None,
        )


def _assumed(item: Observation, latency: timedelta | None, watched: datetime) -> datetime | None:
    if latency is None or item.issued_at:
        return None
    known_at = from_stamp(item.ends_at) + latency
    return known_at if known_at < watched else None


def _positions(batch: Batch, feed: Feed, archive: Archive, brought: Sequence[str]) -> list[SeriesPosition]:
    if batch.series is not None:
        return list(batch.series)
    known = {series.id for series in archive.series(feed.variable) if series.feed == feed.name}
    return [SeriesPosition(name, math.nan, math.nan) for name in brought if name not in known]


def _told(
    feed: Feed, batch: Batch, stage: Stage, brought: Sequence[str], *, everything: bool
) -> Iterator[Problem]:
    """Yield what a person should know: rows rejected by file and reason, series that brought nothing."""
    sound = stage.files_with_observations()
    files: Counter[tuple[Reason, bool]] = Counter()
    for file, reason, count, row, detail in stage.rejected():
        # A file without one sound row is a broken file, whatever its rows say.
        is_error = file not in sound
        files[reason, is_error] += 1
        if files[reason, is_error] > _NAMED_AT_MOST:
            continue  # thousands of stations may each have a row that was refused long ago
        rows = "1 row" if count == 1 else f"{count} rows"
        yield Problem(
            reason.value,
            f"feed {feed.name}: {file}: {rows} rejected ({reason.value}), first row {row}: {detail}",
            is_error=is_error,
        )
    for (reason, is_error), count in files.items():
        if count > _NAMED_AT_MOST:
            message = f"feed {feed.name}: rows of {count - _NAMED_AT_MOST} more files rejected alike"
            yield Problem(reason.value, f"{message} ({reason.value})", is_error=is_error)
    if everything and batch.series is not None and brought:
        silent = sorted({position.id for position in batch.series} - set(brought))
        if silent:
            shown = ", ".join(silent[:_NAMED_AT_MOST])
            more = f" and {len(silent) - _NAMED_AT_MOST} more" if len(silent) > _NAMED_AT_MOST else ""
            yield Problem(
                "missing_series",
                f"feed {feed.name}: no file brings a usable reading of: {shown}{more}",
                is_error=False,
            )


def _failed(feed: Feed, problems: tuple[Problem, ...], error: str) -> FeedReport:
    return FeedReport(feed.name, feed.variable, "failed", 0, 0, 0, 0, 0, None, problems, error)


def _tell(report: FeedReport) -> None:
    for problem in report.problems:
        (log.warning if problem.is_error else log.info)(
            "feed problem", feed=report.name, reason=problem.reason, message=problem.message
        )
    log.info(
        "feed read",
        feed=report.name,
        outcome=report.outcome,
        new=report.new,
        corrected=report.corrected,
        unchanged=report.unchanged,
        rejected=report.rejected,
        newest_day=str(report.newest_day) if report.newest_day else None,
    )
