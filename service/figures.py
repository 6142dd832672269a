"""What the metrics and the status screen say, read from ledger and archive."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from exporters.forecast_metrics import AreaScoreFigures, ForecastFigures, RainScoreFigures
from exporters.metrics import ExporterFigures, FeedFigures, Figures
from service.display import forecasts_shown
from service.feed_log import FeedStatistics
from service.feeds.http_breaker import find_breaker
from service.forecast_scores import read_scores
from service.ledger import Ledger
from service.readings import Archive
from service.settings import Settings
from service.settings_feeds import FeedSettings
from service.workshop import archive_path, ledger_path

# The only provider that this version opens sessions with (service.bundle).
PROVIDER = "CPUExecutionProvider"


def read_figures(settings: Settings, clock: Callable[[], datetime]) -> Figures:
    """Read all figures. Opens its own connections, so any thread may call it."""
    names = [exporter.name for exporter in settings.exporters]
    with (
        Ledger(ledger_path(settings), clock, make=False) as ledger,
        Archive(archive_path(settings), clock, make=False) as archive,
    ):
        success = ledger.last_success()
        known = {item.feed: item for item in archive.feed_statistics()}
        waiting = open_suspects(archive)
        feeds = [
            _feed_figures(feed, known.get(feed.name), waiting[feed.name], settings, clock())
            for feed in settings.feeds
        ]
        return Figures(
            latest=ledger.latest(),
            last_success=success.ended_at.timestamp() if success and success.ended_at else None,
            last_duration=success.seconds if success else {},
            outcomes={outcome.value: count for outcome, count in ledger.outcome_counts().items()},
            cells_total=ledger.cells_total(),
            provider=PROVIDER,
            feeds=feeds,
            exporters=[
                ExporterFigures(count.exporter, count.pending, count.parked, count.attempts, count.errors)
                for count in ledger.outbox.counts(names)
            ],
            held=ledger.hold() is not None,
            build={"version": importlib.metadata.version("colluvium")},
            forecasts=_forecasts(ledger),
        )


def _forecasts(ledger: Ledger) -> ForecastFigures:
    scores = read_scores(ledger)
    return ForecastFigures(
        layers=forecasts_shown(ledger),
        issued=ledger.forecasts_issued(),
        rain_scores=[
            RainScoreFigures(
                score.ahead, score.days, score.hit_rate, score.false_alarm_ratio, score.bias, score.factor
            )
            for score in (scores.rain if scores is not None else ())
        ],
        area_scores=[
            AreaScoreFigures(score.lead, score.days, score.bias)
            for score in (scores.areas if scores is not None else ())
        ],
    )


def open_suspects(archive: Archive) -> Counter[str]:
    """Count, by feed, doubted readings and rasters on which nobody has decided."""
    counts = Counter(archive.open_suspects())
    counts.update(row.feed for row in archive.rasters.suspects())
    return counts


def _feed_figures(
    feed: FeedSettings, item: FeedStatistics | None, waiting: int, settings: Settings, now: datetime
) -> FeedFigures:
    if item is None:
        return FeedFigures(feed.name, None, None, 0, {}, {"good": 0, "rejected": 0})
    newest = (
        datetime.combine(item.newest_day, datetime.min.time(), settings.timezone) if item.newest_day else None
    )
    breaker = find_breaker(settings.data_dir, feed.name)
    return FeedFigures(
        feed=feed.name,
        last_success=item.last_success.timestamp() if item.last_success else None,
        newest_reading=newest.timestamp() if newest else None,
        attempts=item.attempts,
        errors=dict(item.errors),
        readings={"good": 0, "rejected": 0, **item.readings},
        breaker_open=breaker.is_open(now) if breaker else None,
        suspects=dict(item.suspects),
        suspects_open=waiting,
        silent=len(item.silent) if item.newest_day else None,
        newest_issue=item.newest_issue.timestamp() if item.newest_issue else None,
    )
