"""What the metrics and the status screen say, read from ledger and archive."""

from __future__ import annotations

import importlib.metadata
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta

from exporters.forecast_metrics import AreaScoreFigures, ForecastFigures, RainScoreFigures
from exporters.metrics import ExporterFigures, FeedFigures, Figures
from exporters.warning_metrics import ExerciseFigures, SentFigures, WarningFigures
from service.challenger_state import challenger_figures
from service.display import forecasts_shown
from service.errors import ColluviumError
from service.feed_log import FeedStatistics
from service.feeds.http_breaker import find_breaker
from service.figures_detection import read_detection_figures
from service.figures_upkeep import read_upkeep
from service.forecast_scores import read_scores
from service.ledger import Ledger
from service.readings import Archive
from service.runtime import chosen_device
from service.settings import Settings
from service.settings_feeds import FeedSettings
from service.workshop import archive_path, ledger_path

# Feeds start at zero in these: the first doubted reading must be a rise.
_QUALITIES = {"good": 0, "suspect": 0, "rejected": 0}


def read_figures(settings: Settings, clock: Callable[[], datetime]) -> Figures:
    """Read all figures. Opens its own connections, so any thread may call it."""
    names = [exporter.name for exporter in settings.exporters]
    with (
        Ledger(ledger_path(settings), clock, make=False) as ledger,
        Archive(archive_path(settings), clock, make=False) as archive,
    ):
        now = clock()
        success = ledger.last_success()
        provider, device = _computes_on(settings)
        known = {item.feed: item for item in archive.feed_statistics()}
        waiting = open_suspects(archive)
        feeds = [
            _feed_figures(feed, known.get(feed.name), waiting[feed.name], settings, now)
            for feed in settings.feeds
        ]
        return Figures(
            latest=ledger.latest(),
            last_success=success.ended_at.timestamp() if success and success.ended_at else None,
            last_duration=success.seconds if success else {},
            outcomes={outcome.value: count for outcome, count in ledger.outcome_counts().items()},
            cells_total=ledger.cells_total(),
            provider=provider,
            device=device,
            feeds=feeds,
            exporters=[
                ExporterFigures(count.exporter, count.pending, count.parked, count.attempts, count.errors)
                for count in ledger.outbox.counts(names)
            ],
            held=ledger.hold() is not None,
            build={"version": importlib.metadata.version("colluvium")},
            forecasts=_forecasts(ledger),
            upkeep=read_upkeep(settings, ledger, now),
            warnings=_warnings(settings, ledger, now),
            verification=ledger.verifications.newest("display"),
            challenger=challenger_figures(settings, ledger, clock),
            detection=read_detection_figures(settings, ledger),
        )


def _computes_on(settings: Settings) -> tuple[str, str]:
    """Return the provider and the device that sessions get here; "none" where a run would be refused."""
    try:
        device = chosen_device(settings.inference.device)
    except ColluviumError:  # the daemon, check and doctor say why
        return "none", "none"
    return device.provider, device.name


def _warnings(settings: Settings, ledger: Ledger, now: datetime) -> WarningFigures:
    status = settings.cap.status if settings.cap is not None else None
    sent: dict[tuple[str, str], int] = {}
    if status is not None:
        sent = {(kind, status): 0 for kind in ("Alert", "Update", "Cancel")}
    sent.update(ledger.cap.counts())
    return WarningFigures(
        decided=settings.warnings.enabled,
        exercises=[ExerciseFigures(drill.zone, drill.level) for drill in ledger.drills.running(now)],
        sent=[SentFigures(kind, of, count) for (kind, of), count in sent.items()],
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
        return FeedFigures(feed.name, None, None, 0, {}, _QUALITIES)
    newest = (
        datetime.combine(item.newest_day, datetime.min.time(), settings.timezone) if item.newest_day else None
    )
    breaker = find_breaker(settings.data_dir, feed.name)
    due = _due(feed, item, settings)
    return FeedFigures(
        feed=feed.name,
        last_success=item.last_success.timestamp() if item.last_success else None,
        newest_reading=newest.timestamp() if newest else None,
        attempts=item.attempts,
        errors=dict(item.errors),
        readings={**_QUALITIES, **item.readings},
        breaker_open=breaker.is_open(now) if breaker else None,
        suspects=dict(item.suspects),
        suspects_open=waiting,
        silent=len(item.silent) if item.newest_day else None,
        newest_issue=item.newest_issue.timestamp() if item.newest_issue else None,
        due=due.timestamp() if due else None,
    )


def _due(feed: FeedSettings, item: FeedStatistics, settings: Settings) -> datetime | None:
    """From when on a feed that brought nothing newer is late; None where it never brought anything."""
    if feed.forecast:  # somewhere a forecast is issued every day
        return item.newest_issue + timedelta(days=1) + feed.latency_hours if item.newest_issue else None
    if item.newest_day is None:
        return None
    # The day after the newest must end, and its readings take their time to come.
    ended = datetime.combine(item.newest_day + timedelta(days=2), datetime.min.time(), settings.timezone)
    return ended + feed.latency_hours
