"""Bring what the feeds hold into the archive, feed by feed."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

import structlog

from service.errors import (
    AbandonedError,
    InputError,
    LockedError,
    StorageError,
    is_disk_full,
)
from service.feed_log import AttemptOutcome, Problem
from service.feeds.base import Batch, Feed, FeedFault
from service.feeds.csv_feed import CsvFeedReader
from service.progress import ProgressCallback
from service.quality import Observation, Reason, Rejection, check, limits_of
from service.reading_values import Reading, SeriesPosition
from service.readings import Archive
from service.settings import Settings
from service.stage import Stage
from service.stamps import from_stamp, to_stamp

log = structlog.get_logger()

_NAMED_AT_MOST = 20


@dataclass(frozen=True)
class FeedReport:
    """What one fetch of one feed brought: `unchanged` was known before, `repeated` came twice."""

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
    """What became of each feed, in the order of the settings."""

    feeds: tuple[FeedReport, ...]

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
        return {"feeds": feeds, "failed": list(self.failed)}


def open_feeds(settings: Settings) -> tuple[Feed, ...]:
    """Return the feeds of a region, in the order of its settings."""
    return tuple(CsvFeedReader(feed, settings.timezone) for feed in settings.feeds)


def ingest(
    settings: Settings,
    archive: Archive,
    now: datetime,
    since: date | None = None,
    until: date | None = None,
    progress: ProgressCallback | None = None,
    feeds: Sequence[Feed] | None = None,
) -> IngestReport:
    """Read every feed (default: those of the settings) and keep what it brings of days `since` to `until`.

    Each feed is one transaction: what the report tells of is on disk. A feed that fails leaves the archive
    as it was, is noted with its reason, and does not stop the others.

    Raises StorageError where our own disk or database fails.
    """
    chosen = open_feeds(settings) if feeds is None else tuple(feeds)
    today = now.astimezone(settings.timezone).date()
    reports = []
    for done, feed in enumerate(chosen):
        if progress is not None:
            progress(done, len(chosen))
        reports.append(_ingest_feed(feed, archive, now, today, since, until))
    if progress is not None:
        progress(len(chosen), len(chosen))
    return IngestReport(tuple(reports))


def _ingest_feed(
    feed: Feed, archive: Archive, now: datetime, today: date, since: date | None, until: date | None
) -> FeedReport:
    try:
        report = _take_in(feed, archive, now, today, since, until)
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
    feed: Feed, archive: Archive, now: datetime, today: date, since: date | None, until: date | None
) -> FeedReport:
    batch = feed.fetch(since, until)
    stage = archive.stage()
    try:
        problems = [*batch.problems, *_stage_rows(batch, stage, feed.variable, today)]
        brought = stage.series()
        newest = stage.newest_day()
        with archive.transaction():
            archive.add_series(feed.name, feed.variable, _positions(batch, feed, archive, brought), now)
            readings = _readings(feed, batch, stage, archive, now, since, until)
            added = archive.add(readings, now)
            problems += _told(feed, batch, stage, brought, everything=since is None and until is None)
            rejected = sum(count for _, _, count, _, _ in stage.rejected())
            new_rejections = stage.keep_rejections(feed.name, to_stamp(now))
            archive.log.count({(feed.name, "rejected"): new_rejections})
            outcome: AttemptOutcome = "partial" if any(item.is_error for item in problems) else "ok"
            error = None
            if not brought:
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
            new=added.new,
            corrected=added.corrected,
            unchanged=added.unchanged,
            repeated=stage.repeated,
            rejected=rejected,
            newest_day=newest,
            problems=tuple(problems),
            error=error,
        )
    finally:
        stage.clear()


def _stage_rows(batch: Batch, stage: Stage, variable: str, today: date) -> Iterator[Problem]:
    """Check the rows one by one and put them on the stage; yield the problems among them."""
    limits = batch.limits or limits_of(variable)
    known = None if batch.series is None else {position.id for position in batch.series}
    for item in batch.rows:
        if isinstance(item, Observation):
            fault = check(item, limits, today)
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


def _readings(
    feed: Feed,
    batch: Batch,
    stage: Stage,
    archive: Archive,
    now: datetime,
    since: date | None,
    until: date | None,
) -> Iterator[Reading]:
    # Once a feed is watched, a reading that arrives late was really not known before: a layer made in
    # between was made without it, and --as-of must say so.
    watched = min(archive.log.watched_since(feed.name) or now, now)
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
            known_at_assumed=known_at is not None,
        )


def _assumed(item: Observation, latency: timedelta | None, watched: datetime) -> datetime | None:
    if latency is None:
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
    for file, reason, count, row, detail in stage.rejected():
        rows = "1 row" if count == 1 else f"{count} rows"
        yield Problem(
            reason.value,
            f"feed {feed.name}: {file}: {rows} rejected ({reason.value}), first row {row}: {detail}",
            # A file without one sound row is a broken file, whatever its rows say.
            is_error=file not in sound,
        )
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
