"""Commands that do the work: ingest, refresh, backfill, deliver, run."""

from __future__ import annotations

import resource
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click

from service.cap_threads import keep_cap
from service.commands.shared import config_option, deliver_option, json_option, print_json, say_error
from service.delivery import deliver_all, exporter_names
from service.errors import EXIT_CODES, Outcome, UsageError
from service.ingest import IngestReport
from service.ingest import ingest as ingest_feeds
from service.ledger import Ledger
from service.lock import exclusive
from service.progress import progress_bar
from service.readings import Archive
from service.refreshed import Refreshed
from service.runs import catch_up_days, overall, run_days, span
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import archive_path, ledger_path, lock_path


class Day(click.ParamType[date]):
    """A calendar day, YYYY-MM-DD."""

    name = "day"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> date:
        """Parse a day or fail with what was expected."""
        if isinstance(value, date):
            return value
        try:
            return date.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a day such as 2026-03-31", param, ctx)


class Moment(click.ParamType[datetime]):
    """A moment, ISO 8601; UTC where it names no zone."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Parse a moment or fail with what was expected."""
        if isinstance(value, datetime):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            self.fail(f"{value!r} is not a moment such as 2026-03-31T06:00Z", param, ctx)
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


DAY = Day()
MOMENT = Moment()


@click.command(epilog="Example: colluvium ingest -c region.toml --since 2026-03-01")
@config_option
@click.option("--since", type=DAY, help="First day to read (default: everything the feeds hold).")
@click.option("--until", type=DAY, help="Last day to read.")
@deliver_option
@json_option
def ingest(config: Path, since: date | None, until: date | None, deliver: bool, as_json: bool) -> None:
    """Bring new readings from the feeds into the archive.

    Rejected readings are kept with their reason. Nothing is overwritten: a correction is a new row. One bad
    feed does not stop another; the exit status is 1 if any failed.
    """
    settings = load_settings(config)
    if since and until and since > until:
        raise UsageError(f"--since {since} is after --until {until}")
    with (
        exclusive(lock_path(settings), "colluvium ingest"),
        Archive(archive_path(settings), utc_now) as archive,
        progress_bar("reading feeds") as progress,
    ):
        report = ingest_feeds(settings, archive, utc_now(), since, until, progress)
        # The job that runs through the day: what stands is sent again before receivers drop it.
        with Ledger(ledger_path(settings), utc_now) as ledger:
            keep_cap(settings, ledger)
    if as_json:
        print_json(report.to_json())
    else:
        _print_ingest(report)
    if deliver:
        deliver_all(settings, utc_now, "colluvium ingest")
    if report.failed:
        sys.exit(EXIT_CODES[Outcome.FAILED])


@click.command(
    epilog="Example: colluvium refresh -c region.toml --day 2026-03-31 --as-of 2026-03-31T06:00Z --json"
)
@config_option
@click.option("--day", type=DAY, help="The layer's day (default: the newest whose window is complete).")
@click.option(
    "--lead",
    type=click.IntRange(min=0, max=7),
    default=0,
    show_default=True,
    help="Days ahead of today: a forecast layer, from forecast rain.",
)
@click.option("--as-of", type=MOMENT, help="Rebuild it as it would have been made then, under replays/.")
@deliver_option
@json_option
def refresh(
    config: Path, day: date | None, lead: int, as_of: datetime | None, deliver: bool, as_json: bool
) -> None:
    """Make one layer and publish it.

    The same inputs publish nothing new (unchanged). With too little rain to go on, or without a young
    forecast where one is needed, the run is held, and the last good layer stays.
    """
    settings = load_settings(config)
    ahead = (as_of or utc_now()).astimezone(settings.timezone).date() + timedelta(days=lead)
    if lead and day not in (None, ahead):
        raise UsageError(
            f"--day {day} and --lead {lead} do not agree: issued today, that layer is of {ahead}; "
            "'--as-of' rebuilds one of an earlier day"
        )
    with progress_bar("spatial state") as on_state:
        results = run_days(
            settings,
            config,
            lambda _: [] if lead else [day],
            purpose="colluvium refresh",
            clock=utc_now,
            leads=[lead] if lead else [],
            as_of=as_of,
            on_state=on_state,
        )
    result = results[-1]
    if as_json:
        print_json(result.to_json())
    else:
        _print_refreshed(result)
    if deliver and as_of is None and result.outcome != Outcome.ABANDONED:
        deliver_all(settings, utc_now, "colluvium refresh")
    sys.exit(EXIT_CODES[result.outcome])


@click.command(epilog="Example: colluvium backfill -c region.toml --since 2026-01-01 --until 2026-03-31")
@config_option
@click.option("--since", type=DAY, help="First day (default: what the ledger says is missing).")
@click.option("--until", type=DAY, help="Last day (default: today).")
@deliver_option
@json_option
def backfill(config: Path, since: date | None, until: date | None, deliver: bool, as_json: bool) -> None:
    """Make the layers of many days, in one process.

    Without --since, this is the daemon's catch-up: days without a complete layer, from the ledger, and then
    the forecasts of today, if [forecast] asks for leads. Days that were withdrawn stay so; `refresh --day`
    publishes one again.
    """
    settings = load_settings(config)
    last = until or utc_now().astimezone(settings.timezone).date()
    if since and since > last:
        raise UsageError(f"--since {since} is after the last day {last}")
    if until and not since:
        raise UsageError("--until needs --since")
    started = utc_now()
    with progress_bar("days") as on_day, progress_bar("spatial state") as on_state:
        results = run_days(
            settings,
            config,
            (lambda _: span(since, last)) if since else catch_up_days,
            purpose="colluvium backfill",
            clock=utc_now,
            leads=[] if since else range(1, settings.forecast.leads + 1),
            by_hand=False,
            on_state=on_state,
            on_day=on_day,
        )
    outcome = overall(results)
    summary = _backfill_summary(results, outcome, (utc_now() - started).total_seconds())
    if as_json:
        print_json(summary)
    else:
        _print_backfill(results, summary)
    if deliver and outcome != Outcome.ABANDONED:
        deliver_all(settings, utc_now, "colluvium backfill")
    sys.exit(EXIT_CODES[outcome])


@click.command(epilog="Example: colluvium deliver -c region.toml --json")
@config_option
@click.option("--exporter", metavar="NAME", help="Only this one (default: all).")
@json_option
def deliver(config: Path, exporter: str | None, as_json: bool) -> None:
    """Bring exporters up to date now: layers, withdrawals, gauges; and take in reports from the field.

    Whoever makes layers does this at the end, and the daemon every few minutes. Exit status 1 if an exporter
    still lacks something: it stays in the outbox ('colluvium outbox list') and is tried again.
    """
    settings = load_settings(config)
    known = exporter_names(settings)
    if exporter is not None and exporter not in known:
        raise UsageError(f"there is no exporter {exporter!r}; the settings name {', '.join(known) or 'none'}")
    visits = deliver_all(settings, utc_now, "colluvium deliver", only=exporter)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        counts = {count.exporter: count for count in ledger.outbox.counts(known)}
    rows = [
        {**asdict(visit), "pending": counts[visit.exporter].pending, "parked": counts[visit.exporter].parked}
        for visit in visits
    ]
    if as_json:
        print_json({"exporters": rows})
    else:
        for row in rows:
            click.echo(
                f"{row['exporter']}: {row['delivered']} delivered, {row['pending']} pending, "
                f"{row['parked']} parked, {row['reports']} new reports"
                + (f": {row['problem']}" if row["problem"] else "")
            )
        if not rows:
            click.echo("the settings name no exporter")
    if any(row["problem"] or row["pending"] or row["parked"] for row in rows):
        sys.exit(EXIT_CODES[Outcome.FAILED])


@click.command(epilog="Example: colluvium run -c region.toml   (then open http://127.0.0.1:8080)")
@config_option
def run(config: Path) -> None:
    """Run the daemon: ingest and refresh on schedule, and serve pages and metrics.

    It catches up on missed days first. SIGTERM ends it within ten seconds with nothing half done.
    """
    from service.daemon import run_daemon

    run_daemon(load_settings(config), config, utc_now)


def _backfill_summary(results: Sequence[Refreshed], outcome: Outcome, seconds: float) -> dict[str, Any]:
    made = [result for result in results if result.outcome == Outcome.PUBLISHED and result.layer]
    cells = sum(result.layer.cells for result in made if result.layer)
    spent = sum(sum(result.seconds.values()) for result in made)
    return {
        "outcome": outcome.value,
        "days": len(results),
        "outcomes": dict(Counter(result.outcome.value for result in results)),
        "seconds": round(seconds, 2),
        "cells": cells,
        "cells_per_s": round(cells / spent) if spent else None,
        "peak_rss_bytes": peak_rss_bytes(),
        "results": [result.to_json() for result in results],
    }


def peak_rss_bytes() -> int:
    """Return the most memory this process has had resident.

    From /proc where there is one: ru_maxrss also remembers the process that started this one.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _print_ingest(report: IngestReport) -> None:
    for feed in report.feeds:
        state = "failed" if feed.error else "ok"
        click.echo(
            f"{feed.name}: {state}; {feed.new} new, {feed.corrected} corrected, {feed.unchanged} unchanged, "
            f"{feed.rejected} rejected; newest day {feed.newest_day or 'none'}"
        )
        for problem in feed.problems:
            click.echo(f"  {problem}")
        if feed.error:
            say_error(f"{feed.name}: {feed.error}")
    for item in report.judged.counts:
        click.echo(
            f"{item.feed}: {item.count} readings doubted ({item.check.value}); "
            "see 'colluvium readings --suspect'"
        )


def _print_refreshed(result: Refreshed) -> None:
    if result.layer is None:
        say_error(f"{result.outcome.value}{f' {result.day}' if result.day else ''}: {result.reason}")
        return
    layer = result.layer
    what = "replay of" if result.replay else result.outcome.value
    click.echo(f"{what} {layer.id}: {layer.status.value}, data until {layer.data_until}")
    click.echo(
        f"  {layer.cells:,} cells known, coverage {layer.coverage:.0%}, {sum(result.seconds.values()):.1f} s"
    )
    for area in layer.areas:
        if area.zone == "":
            share = f"{area.ratio:6.1%}" if area.ratio is not None else "     -"
            click.echo(f"  {area.label:<10} {area.area_m2 / 1e6:10.2f} km2 {share}")
    for note in layer.notes:
        click.echo(f"  note: {note}")
    if layer.folder.is_dir():
        click.echo(f"  {layer.folder}")
    else:
        click.echo("  its files are no longer on this disk; --as-of rebuilds it below replays/")


def _print_backfill(results: Sequence[Refreshed], summary: dict[str, Any]) -> None:
    for result in results:
        if result.layer is None:
            ahead = f" (lead {result.lead})" if result.lead else ""
            say_error(
                f"{result.day or 'before the first day'}{ahead}: {result.outcome.value}: {result.reason}"
            )
    counts = ", ".join(f"{count} {outcome}" for outcome, count in summary["outcomes"].items())
    click.echo(f"{summary['days']} days in {summary['seconds']} s: {counts or 'nothing to do'}")


COMMANDS = (ingest, refresh, backfill, deliver, run)
