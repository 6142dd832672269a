"""How the map is kept, in figures: when it is due, how the last run ended, disk, clock, human acts."""

from __future__ import annotations

import shutil
from collections import Counter
from datetime import datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from exporters.layer import Layer
from exporters.upkeep_metrics import UpkeepFigures
from service.due import due_at, expected_at
from service.errors import Outcome
from service.ledger import Ledger
from service.ledger_rows import Run
from service.settings import Settings

# What people do; each counts from zero, so that the first of its kind is a rise that an alert can see.
_ACTS = (
    "withdraw", "hold", "resume", "accept", "reject", "retry", "drop", "drill", "add", "import",
    "retract", "close", "reopen", "promote",
)  # fmt: skip
# Enough to see a monthly schedule twice; one of minutes is seen whole much sooner.
_SEEN_DAYS, _SEEN_RUNS = 70, 2_000
_LAST_RUNS = 200  # among them is one of the newest day tried


def read_upkeep(settings: Settings, ledger: Ledger, now: datetime) -> UpkeepFigures:
    """Read the figures; what is not known is absent."""
    latest = ledger.latest()
    last = _last_outcome(ledger, settings, latest, now)
    try:
        disk = shutil.disk_usage(settings.data_dir)
    except OSError:  # no data folder yet
        disk = None
    return UpkeepFigures(
        clock=now.timestamp(),
        layer_due=due_at(settings, latest).timestamp() if latest is not None else None,
        refresh_period=longest_gap(settings.schedule.refresh, settings.timezone),
        last_outcome={one.value: one == last for one in Outcome} if last is not None else {},
        disk_free=float(disk.free) if disk else None,
        disk_size=float(disk.total) if disk else None,
        acts=dict.fromkeys(_ACTS, 0) | Counter(act.act for act in ledger.journal()),
        region={
            "id": settings.region.id,  # not `region`: the scrape gives that one
            "name": settings.region.name,
            "synthetic": str(settings.region.synthetic).lower(),
        },
    )


def _last_outcome(ledger: Ledger, settings: Settings, latest: Layer | None, now: datetime) -> Outcome | None:
    """Return how the last refresh of the newest day tried ended: is the map of today being made?

    Of each round, which looks again at days before, the newest counts. Runs of days before the map on display
    are somebody's backfill, and one that found the region locked tells of another.
    """
    runs = ledger.runs(_LAST_RUNS, "refresh", lead=0, since=latest.day if latest else None)
    told = [run for run in runs if not _tells_nothing(run, settings, latest, now)]
    if not told or told[0].day is None:
        return told[0].outcome if told else None
    newest = max(run.day for run in told if run.day is not None)
    return next(run.outcome for run in told if run.day == newest)


def _tells_nothing(run: Run, settings: Settings, latest: Layer | None, now: datetime) -> bool:
    if run.outcome in (None, Outcome.LOCKED):
        return True
    if run.outcome != Outcome.HELD or run.day is None or latest is None or run.day <= latest.day:
        return False
    # Held before its readings could be there is what every night is like.
    return now < expected_at(settings, run.day, latest.day - latest.data_until)


@lru_cache(maxsize=8)
def longest_gap(expression: str, timezone: ZoneInfo) -> float | None:
    """Return the longest gap, in seconds, between two runs of a cron expression of five fields.

    None for an expression that leaves fewer than two runs within sight, or that cron does not read: the
    daemon refuses that one when it starts.
    """
    try:
        trigger = CronTrigger.from_crontab(expression, timezone=timezone)
    except ValueError:
        return None
    # A winter without a clock change, so that the figure does not hang on the day on which it is asked.
    first = datetime(2026, 1, 4, tzinfo=timezone)
    end = first + timedelta(days=_SEEN_DAYS)
    runs: list[datetime] = []
    moment = trigger.get_next_fire_time(None, first)
    while moment is not None and moment <= end and len(runs) < _SEEN_RUNS:
        runs.append(moment)
        moment = trigger.get_next_fire_time(moment, moment + timedelta(microseconds=1))
    gaps = [(after - before).total_seconds() for before, after in pairwise(runs)]
    return max(gaps, default=None)
