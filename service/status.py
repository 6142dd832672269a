"""`colluvium status`: is the map fresh, which feed is late, what is pending."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from exporters.layer import Layer, LayerStatus
from service.ledger import Ledger
from service.ledger_rows import OutboxCount, Run
from service.readings import Archive
from service.settings import Settings
from service.workshop import archive_path, ledger_path


@dataclass(frozen=True)
class FeedState:
    """One feed as an operator sees it."""

    name: str
    newest_day: date | None
    late_days: int | None  # behind what its latency promises; None where it never brought anything
    failing: bool  # its last attempt failed
    rejected: int


@dataclass(frozen=True)
class StatusReport:
    """One screen."""

    region: str
    name: str
    today: date
    latest: Layer | None
    hold: str | None
    last_run: Run | None
    feeds: tuple[FeedState, ...]
    outbox: tuple[OutboxCount, ...]

    @property
    def behind_days(self) -> int | None:
        """Days between the newest layer and today."""
        return (self.today - self.latest.day).days if self.latest else None

    @property
    def verdict(self) -> str:
        """One word for a person at 6 a.m."""
        if self.latest is None:
            return "NO MAP"
        if self.hold is not None:
            return "HELD"
        if self.behind_days:
            return "STALE"
        return "FRESH" if self.latest.status == LayerStatus.COMPLETE else self.latest.status.value.upper()

    def to_json(self) -> dict[str, Any]:
        """Return what `status --json` prints."""
        return {
            "region": self.region,
            "verdict": self.verdict,
            "today": self.today.isoformat(),
            "latest": self.latest.id if self.latest else None,
            "latest_day": self.latest.day.isoformat() if self.latest else None,
            "behind_days": self.behind_days,
            "status": self.latest.status.value if self.latest else None,
            "coverage": round(self.latest.coverage, 4) if self.latest else None,
            "synthetic": self.latest.synthetic if self.latest else None,
            "notes": list(self.latest.notes) if self.latest else [],
            "hold": self.hold,
            "last_run": {
                "outcome": self.last_run.outcome.value if self.last_run.outcome else "running",
                "day": self.last_run.day.isoformat() if self.last_run.day else None,
                "reason": self.last_run.reason,
                "started_at": self.last_run.started_at.isoformat(),
            }
            if self.last_run
            else None,
            "feeds": [
                {
                    "name": feed.name,
                    "newest_day": feed.newest_day.isoformat() if feed.newest_day else None,
                    "late_days": feed.late_days,
                    "failing": feed.failing,
                    "rejected": feed.rejected,
                }
                for feed in self.feeds
            ],
            "outbox": [
                {
                    "exporter": row.exporter,
                    "pending": row.pending,
                    "parked": row.parked,
                    "error": row.last_error,
                }
                for row in self.outbox
            ],
        }

    def to_text(self) -> str:
        """Return the screen."""
        lines = [f"{self.name} ({self.region}): {self.verdict}"]
        if self.latest is None:
            lines.append("  no layer yet; see 'colluvium check', then 'colluvium refresh'")
        else:
            behind = f", {self.behind_days} days behind {self.today}" if self.behind_days else ""
            lines.append(
                f"  map of {self.latest.day}{behind}: {self.latest.status.value}, "
                f"coverage {self.latest.coverage:.0%}, data until {self.latest.data_until}"
            )
            if self.latest.synthetic:
                lines.append("  SYNTHETIC inputs: this map says nothing about any real place")
            lines += [f"  note: {note}" for note in self.latest.notes]
        if self.hold is not None:
            lines.append(f"  {self.hold}")
        if self.last_run is not None:
            run = self.last_run
            outcome = run.outcome.value if run.outcome else "running"
            reason = f": {run.reason}" if run.reason else ""
            lines.append(f"  last run {run.started_at:%Y-%m-%d %H:%M} UTC: {outcome}{reason}")
        for feed in self.feeds:
            late = "nothing yet" if feed.late_days is None else f"late by {feed.late_days} days"
            state = "on time" if feed.late_days == 0 else late
            error = "; its last attempt failed, 'colluvium ingest' says why" if feed.failing else ""
            rejected = f"; {feed.rejected} readings rejected" if feed.rejected else ""
            lines.append(f"  feed {feed.name}: {state}, newest day {feed.newest_day or '-'}{rejected}{error}")
        for row in self.outbox:
            error = f" ({row.last_error})" if row.last_error else ""
            lines.append(f"  exporter {row.exporter}: {row.pending} pending, {row.parked} parked{error}")
        return "\n".join(lines)


def read_status(settings: Settings, now: datetime) -> StatusReport:
    """Read the report from ledger and archive; works beside a running daemon."""
    today = now.astimezone(settings.timezone).date()
    with (
        Ledger(ledger_path(settings), lambda: now, make=False) as ledger,
        Archive(archive_path(settings), lambda: now, make=False) as archive,
    ):
        known = {item.feed: item for item in archive.feed_statistics()}
        feeds = []
        for feed in settings.feeds:
            item = known.get(feed.name)
            newest = item.newest_day if item else None
            # The newest whole day that the feed's latency lets us expect by now.
            due = (now - feed.latency_hours).astimezone(settings.timezone).date() - timedelta(days=1)
            feeds.append(
                FeedState(
                    feed.name,
                    newest,
                    max(0, (due - newest).days) if newest else None,
                    item is not None and item.last_attempt != item.last_success,
                    dict(item.readings).get("rejected", 0) if item else 0,
                )
            )
        hold = ledger.hold()
        runs = ledger.runs(1, "refresh")
        return StatusReport(
            region=settings.region.id,
            name=settings.region.name,
            today=today,
            latest=ledger.latest(),
            hold=f"held by {hold.by} since {hold.at:%Y-%m-%d %H:%M} UTC: {hold.reason}" if hold else None,
            last_run=runs[0] if runs else None,
            feeds=tuple(feeds),
            outbox=tuple(ledger.outbox.counts([exporter.name for exporter in settings.exporters])),
        )
