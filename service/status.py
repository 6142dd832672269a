"""`colluvium status`: is the map fresh, which feed is late, what is pending."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from typing import Any

from exporters.layer import LEVEL_LABELS, Layer, LayerStatus
from service.challenger_state import ChallengerState, promotion_words, read_challenger
from service.display import forecasts_shown
from service.drills import Drill
from service.due import due_at
from service.errors import ColluviumError
from service.feed_log import SILENT_AFTER_DAYS, FeedStatistics, Problem
from service.feeds.http_breaker import find_breaker
from service.figures import open_suspects
from service.figures_detection import DetectionSummary, read_detection_summary
from service.ledger import Ledger
from service.ledger_rows import OutboxCount, Run
from service.readings import Archive
from service.runtime import chosen_device
from service.settings import Settings
from service.settings_feeds import FeedSettings
from service.state import whole_record
from service.state_keep import folder_bytes
from service.workshop import archive_path, ledger_path

_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class FeedState:
    """One feed as an operator sees it."""

    name: str
    newest_day: date | None
    late_days: int | None  # behind what its latency promises; None where it never brought anything
    failing: bool  # its last attempt failed
    rejected: int
    last_attempt: datetime | None = None
    problem: Problem | None = None  # the worst of the last attempt
    more_problems: int = 0  # errors beside it
    not_asked_until: datetime | None = None  # its server failed too often
    suspects: int = 0  # doubted readings on which nobody has decided
    silent: tuple[str, ...] = ()  # series days behind the others
    newest_issue: datetime | None = None  # of a feed of forecasts

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "name": self.name,
            "newest_day": self.newest_day.isoformat() if self.newest_day else None,
            "newest_issue": _moment(self.newest_issue),
            "late_days": self.late_days,
            "failing": self.failing,
            "rejected": self.rejected,
            "suspects": self.suspects,
            "silent": list(self.silent),
            "last_attempt": _moment(self.last_attempt),
            "problem": asdict(self.problem) if self.problem else None,
            "more_problems": self.more_problems,
            "not_asked_until": _moment(self.not_asked_until),
        }

    def to_lines(self) -> list[str]:
        """Return it for a person."""
        late = "nothing yet" if self.late_days is None else f"late by {self.late_days} days"
        words = ["on time" if self.late_days == 0 else late]
        if self.newest_issue is None:
            words[0] += f", newest day {self.newest_day or '-'}"
        else:
            words[0] += f", newest forecast of {self.newest_issue:%Y-%m-%d %H:%M} UTC"
        if self.rejected:
            words.append(f"{self.rejected} readings rejected")
        if self.suspects:
            words.append(f"{self.suspects} doubted, see 'colluvium readings --suspect'")
        if self.silent:
            shown = ", ".join(self.silent[:_NAMED_AT_MOST])
            more = (
                f" and {len(self.silent) - _NAMED_AT_MOST} more" if len(self.silent) > _NAMED_AT_MOST else ""
            )
            words.append(f"silent for {SILENT_AFTER_DAYS} days or longer: {shown}{more}")
        lines = [f"  feed {self.name}: {'; '.join(words)}"]
        if self.failing:
            lines.append(f"  feed {self.name} FAILED at its last attempt, {_moment(self.last_attempt)}")
        if self.problem is not None:
            more = f" (and {self.more_problems} more)" if self.more_problems else ""
            lines.append(f"    {self.problem.reason}: {self.problem.message}{more}")
        if self.not_asked_until is not None:
            lines.append(f"    its server is not asked until {self.not_asked_until:%Y-%m-%d %H:%M} UTC")
        return lines


@dataclass(frozen=True)
class StatusReport:
    """One screen."""

    region: str
    name: str
    today: date
    latest: Layer | None
    hold: str | None
    last_run: Run | None  # of a nowcast
    feeds: tuple[FeedState, ...]
    outbox: tuple[OutboxCount, ...]
    forecast_runs: tuple[Run, ...] = ()  # the last one of each lead that the settings ask for
    due: datetime | None = None  # when the map on display becomes old, in the region's time
    now: datetime | None = None
    forecasts: tuple[Layer, ...] = ()  # current ones
    drills: tuple[Drill, ...] = ()  # that run now
    device: str = ""  # what a refresh from here would compute on, in words
    spatial_state: str = ""  # of the newest layer: whether it is stored, and what it takes, in words
    scenes: DetectionSummary | None = None
    challenger: ChallengerState | None = None
    promotion: str = ""  # in words, where a person decided which bundle serves

    @property
    def overdue(self) -> bool:
        """Whether the next map should be there by now."""
        return self.due is not None and self.now is not None and self.now >= self.due

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
            "unconfirmed": self.latest.unconfirmed if self.latest else None,
            "coverage": round(self.latest.coverage, 4) if self.latest else None,
            "synthetic": self.latest.synthetic if self.latest else None,
            "notes": list(self.latest.notes) if self.latest else [],
            "due": _moment(self.due),
            "overdue": self.overdue,
            "warnings": [
                {"layer": layer.id, "lead": layer.lead, **warning.model_dump(mode="json")}
                for layer in self._layers
                for warning in layer.warnings
            ],
            "may_warn": self.latest.model.may_warn if self.latest else None,
            "drills": [
                {
                    "zone": drill.zone,
                    "level": drill.level,
                    "label": LEVEL_LABELS[drill.level],
                    "ends_at": _moment(drill.ends_at),
                    "by": drill.by,
                    "reason": drill.reason,
                }
                for drill in self.drills
            ],
            "device": self.device,
            "spatial_state": self.spatial_state,
            "hold": self.hold,
            "last_run": _run_json(self.last_run) if self.last_run else None,
            "forecast_runs": [{"lead": run.lead, **_run_json(run)} for run in self.forecast_runs],
            "feeds": [feed.to_json() for feed in self.feeds],
            "outbox": [
                {
                    "exporter": row.exporter,
                    "pending": row.pending,
                    "parked": row.parked,
                    "error": row.last_error,
                }
                for row in self.outbox
            ],
            "scenes": self.scenes.to_json() if self.scenes else None,
            "challenger": self.challenger.to_json() if self.challenger else None,
            "promotion": self.promotion,
        }

    def to_text(self) -> str:
        """Return the screen."""
        lines = [f"{self.name} ({self.region}): {self.verdict}"]
        if self.latest is None:
            lines.append("  no layer yet; see 'colluvium check', then 'colluvium refresh'")
        else:
            behind = f", {self.behind_days} days behind {self.today}" if self.behind_days else ""
            trust = self.latest.status.value + (", unconfirmed" if self.latest.unconfirmed else "")
            lines.append(
                f"  map of {self.latest.day}{behind}: {trust}, "
                f"coverage {self.latest.coverage:.0%}, data until {self.latest.data_until}"
            )
            if self.overdue and self.due is not None:
                lines.append(f"  OVERDUE: the next map was due by {self.due:%Y-%m-%d %H:%M %Z}")
            elif self.due is not None:
                lines.append(f"  next map due by {self.due:%Y-%m-%d %H:%M %Z}")
            if self.latest.synthetic:
                lines.append("  SYNTHETIC inputs: this map says nothing about any real place")
            lines += self._level_lines()
            lines += [f"  note: {note}" for note in self.latest.notes]
        for drill in self.drills:
            lines.append(
                f"  EXERCISE: zone {drill.zone} plays {LEVEL_LABELS[drill.level]} until "
                f"{drill.ends_at:%Y-%m-%d %H:%M} UTC (by {drill.by}: {drill.reason})"
            )
        if self.hold is not None:
            lines.append(f"  {self.hold}")
        if self.last_run is not None:
            lines.append(f"  last run {_run_words(self.last_run)}")
        for run in self.forecast_runs:
            lines.append(f"  forecast of {run.day or '-'}, lead {run.lead}: last run {_run_words(run)}")
        for feed in self.feeds:
            lines += feed.to_lines()
        for row in self.outbox:
            error = f" ({row.last_error})" if row.last_error else ""
            lines.append(f"  exporter {row.exporter}: {row.pending} pending, {row.parked} parked{error}")
        if self.scenes is not None:
            lines += self.scenes.to_lines()
        if self.promotion:
            lines.append(f"  bundle: {self.promotion}")
        if self.challenger is not None:
            lines.append(self.challenger.to_line())
        if self.device:
            lines.append(f"  computes on {self.device}")
        if self.spatial_state:
            lines.append(f"  spatial state {self.spatial_state}")
        return "\n".join(lines)

    @property
    def _layers(self) -> tuple[Layer, ...]:
        return (self.latest, *self.forecasts) if self.latest else self.forecasts

    def _level_lines(self) -> list[str]:
        """Return what zones are at: each one above green by name, and how many are not known."""
        lines = []
        for layer in self._layers:
            when = f"levels of {layer.day}" + (f", lead {layer.lead}" if layer.lead else "")
            if not layer.warnings:
                why = "not decided for this map" if layer.model.may_warn else "none: this model may not warn"
                lines.append(f"  {when}: {why}")
                continue
            raised = [one for one in layer.warnings if one.level]
            unknown = sum(one.level is None for one in layer.warnings)
            words = [f"{len(raised)} of {len(layer.warnings)} zones above {LEVEL_LABELS[0]}"]
            if unknown:
                words.append(f"{unknown} NOT KNOWN")
            old = " (of an old map)" if self.behind_days and not layer.lead else ""
            lines.append(f"  {when}{old}: {', '.join(words)}")
            raised.sort(key=lambda one: -(one.level or 0))
            for one in raised[:_NAMED_AT_MOST]:
                doubt = ", unconfirmed" if one.unconfirmed else ""
                label = LEVEL_LABELS[one.level or 0].upper()
                lines.append(f"    {label} {one.name} ({one.zone}){doubt}: {one.rule}")
            if len(raised) > _NAMED_AT_MOST:
                lines.append(f"    and {len(raised) - _NAMED_AT_MOST} more")
        return lines


def read_status(settings: Settings, now: datetime) -> StatusReport:
    """Read the report from ledger and archive; works beside a running daemon."""
    today = now.astimezone(settings.timezone).date()
    with (
        Ledger(ledger_path(settings), lambda: now, make=False) as ledger,
        Archive(archive_path(settings), lambda: now, make=False) as archive,
    ):
        known = {item.feed: item for item in archive.feed_statistics()}
        waiting = open_suspects(archive)
        feeds = [
            _feed_state(feed, known.get(feed.name), waiting[feed.name], settings, now)
            for feed in settings.feeds
        ]
        hold = ledger.hold()
        latest = ledger.latest()
        runs = ledger.runs(1, "refresh", lead=0)
        return StatusReport(
            region=settings.region.id,
            name=settings.region.name,
            today=today,
            latest=latest,
            hold=f"held by {hold.by} since {hold.at:%Y-%m-%d %H:%M} UTC: {hold.reason}" if hold else None,
            last_run=runs[0] if runs else None,
            feeds=tuple(feeds),
            outbox=tuple(ledger.outbox.counts([exporter.name for exporter in settings.exporters])),
            forecast_runs=tuple(
                run
                for lead in range(1, settings.forecast.leads + 1)
                for run in ledger.runs(1, "refresh", lead=lead)
            ),
            due=due_at(settings, latest) if latest else None,
            now=now,
            forecasts=tuple(forecasts_shown(ledger)),
            drills=tuple(ledger.drills.running(now)),
            device=_device_words(settings),
            spatial_state=_state_words(settings, ledger.basis(latest.id)) if latest else "",
            scenes=read_detection_summary(ledger),
            challenger=read_challenger(settings, ledger, lambda: now),
            promotion=promotion_words(settings, ledger),
        )


def _device_words(settings: Settings) -> str:
    try:
        device = chosen_device(settings.inference.device)
    except ColluviumError as error:
        return f"nothing: {error}"
    fallen = f" instead of a graphics card: {device.reason}" if device.fell_back else ""
    return f"{device.name} ({device.provider}){fallen}"


def _state_words(settings: Settings, basis: dict[str, str]) -> str:
    digest = basis.get("state", "")
    place = settings.data_dir / "state" / digest[:16]
    record = whole_record(place, digest)
    if record is None:
        return "not there: the next refresh builds it"
    if not record.stored:
        return "recomputed for each layer, which takes longer; see 'colluvium check'"
    size = folder_bytes(place)
    each = f", {size / record.valid_cells:.0f} bytes a cell" if record.valid_cells else ""
    return f"stored: {size / 1e9:.2f} GB{each}"


def _feed_state(
    feed: FeedSettings, item: FeedStatistics | None, waiting: int, settings: Settings, now: datetime
) -> FeedState:
    breaker = find_breaker(settings.data_dir, feed.name)
    until = breaker.open_until if breaker and breaker.is_open(now) else None
    if item is None:
        return FeedState(feed.name, None, None, failing=False, rejected=0, not_asked_until=until)
    errors = [problem for problem in item.last_problems if problem.is_error]
    return FeedState(
        name=feed.name,
        newest_day=item.newest_day,
        late_days=_late_days(feed, item, settings, now),
        failing=item.last_outcome == "failed",
        rejected=item.readings.get("rejected", 0),
        last_attempt=item.last_attempt,
        problem=errors[0] if errors else None,
        more_problems=max(0, len(errors) - 1),
        not_asked_until=until,
        suspects=waiting,
        silent=item.silent,
        newest_issue=item.newest_issue if feed.forecast else None,
    )


def _late_days(feed: FeedSettings, item: FeedStatistics, settings: Settings, now: datetime) -> int | None:
    """Return how many days a feed is behind what its latency lets us expect by now."""
    if feed.forecast:
        # Somewhere a forecast is issued every day.
        return max(0, (now - item.newest_issue - feed.latency_hours).days) if item.newest_issue else None
    due = (now - feed.latency_hours).astimezone(settings.timezone).date() - timedelta(days=1)
    return max(0, (due - item.newest_day).days) if item.newest_day else None


def _run_words(run: Run) -> str:
    outcome = run.outcome.value if run.outcome else "running"
    return f"{run.started_at:%Y-%m-%d %H:%M} UTC: {outcome}{f': {run.reason}' if run.reason else ''}"


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "outcome": run.outcome.value if run.outcome else "running",
        "day": run.day.isoformat() if run.day else None,
        "reason": run.reason,
        "started_at": run.started_at.isoformat(),
    }


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
