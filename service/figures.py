"""What the metrics and the status screen say, read from ledger and archive."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from datetime import datetime

from exporters.metrics import ExporterFigures, FeedFigures, Figures
from service.ledger import Ledger
from service.readings import Archive
from service.settings import Settings
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
        feeds = []
        for feed in settings.feeds:
            item = known.get(feed.name)
            if item is None:
                feeds.append(FeedFigures(feed.name, None, None, 0, {}, {"good": 0, "rejected": 0}))
                continue
            newest = (
                datetime.combine(item.newest_day, datetime.min.time(), settings.timezone).timestamp()
                if item.newest_day
                else None
            )
            feeds.append(
                FeedFigures(
                    feed.name,
                    item.last_success.timestamp() if item.last_success else None,
                    newest,
                    item.attempts,
                    dict(item.errors),
                    {"good": 0, "rejected": 0, **item.readings},
                )
            )
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
        )
