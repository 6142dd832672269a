"""Commands about the challenger: a bundle whose layers are made beside those on display, and not shown."""

from __future__ import annotations

import os
import sys
from datetime import date
from pathlib import Path
from typing import Any

import click

from service.challenger import (
    ChallengerRun,
    challenger_bundle,
    challenger_ledger,
    other_folders,
    run_challenger,
)
from service.challenger_compare import DayBeside, agreement_of, compare_days
from service.commands.shared import config_option, json_option, print_json, say_error
from service.commands.work import DAY
from service.errors import EXIT_CODES, UsageError
from service.ledger import Ledger
from service.priority import NICENESS
from service.progress import progress_bar
from service.runs import overall
from service.settings import load_settings
from service.shadow import SHADOWED
from service.stamps import utc_now
from service.workshop import ledger_path


@click.group()
def challenger() -> None:
    """The challenger: a bundle whose layers are made beside those on display, kept, and never shown."""


@challenger.command(epilog="Example: colluvium challenger run -c region.toml --since 2026-03-01")
@config_option
@click.option("--since", type=DAY, help="First day (default: what it lacks of the last days on display).")
@click.option("--until", type=DAY, help="Last day (default: the newest on display).")
@json_option
def run(config: Path, since: date | None, until: date | None, as_json: bool) -> None:
    """Make the layers of bundle.challenger for days that are on display.

    The daemon does this by itself after each refresh. Nothing on display changes, nothing is delivered, and a
    challenger that fails disturbs nobody: its runs stand in its own ledger.
    """
    settings = load_settings(config)
    if since and until and since > until:
        raise UsageError(f"--since {since} is after --until {until}")
    os.nice(NICENESS)  # beside the daemon, which goes first
    with progress_bar("days") as on_day, progress_bar("spatial state") as on_state:
        done = run_challenger(
            settings, config, utc_now, since=since, until=until, on_state=on_state, on_day=on_day
        )
    outcome = overall(done.results)
    if as_json:
        print_json(
            {
                "bundle": done.bundle,
                "digest": done.digest,
                "folder": done.folder,
                "outcome": outcome.value,
                "note": done.note,
                "results": [result.to_json() for result in done.results],
            }
        )
    else:
        _print_run(done)
    sys.exit(EXIT_CODES[outcome])


@challenger.command("list", epilog="Example: colluvium challenger list -c region.toml --json")
@config_option
@click.option(
    "--layers",
    type=click.IntRange(min=1, max=366),
    default=SHADOWED,
    show_default=True,
    help="How many of the newest days that both have a layer of.",
)
@json_option
def list_layers(config: Path, layers: int, as_json: bool) -> None:
    """Put the challenger's layers beside those on display: areas of the high classes, cells that differ."""
    settings = load_settings(config)
    path, digest, name = challenger_bundle(settings)
    with (
        Ledger(ledger_path(settings), utc_now, make=False) as shown,
        challenger_ledger(settings, utc_now) as own,
        progress_bar("layers") as progress,
    ):
        days = compare_days(shown, own, layers, progress)
        latest = own.latest()
    others = other_folders(settings, digest)
    agreement = agreement_of(days).to_json()
    if as_json:
        print_json(
            {
                "bundle": name,
                "digest": digest,
                "path": path,
                "latest": latest.id if latest else None,
                "agreement": agreement,
                "layers": [day.to_json() for day in days],
                "earlier_challengers": others,
            }
        )
        return
    click.echo(f"challenger {name} ({digest[:8]}), newest layer {latest.id if latest else 'none yet'}")
    if days:
        click.echo(f"{'day':<10} {'classes':>10} {'unknown':>9} {'largest':>8} {'high + very high, km2':>24}")
    for day in days:
        _print_day(day)
    if days:
        _print_agreement(agreement)
    for folder in others:
        click.echo(
            f"an earlier challenger's layers lie in {folder}; nothing uses them, and it may be removed"
        )


def _print_run(done: ChallengerRun) -> None:
    for result in done.results:
        if result.layer is None:
            say_error(f"{result.day or 'before the first day'}: {result.outcome.value}: {result.reason}")
        else:
            click.echo(f"{result.outcome.value} {result.layer.id} of {done.bundle}, not shown")
    if done.note:
        click.echo(done.note)


def _print_day(day: DayBeside) -> None:
    difference = day.difference
    if difference.cells is None:
        click.echo(f"{difference.day} {difference.problem}")
        return
    cells, (before, after) = difference.cells, day.high_km2
    note = "" if day.same_readings else "  other readings or variables"
    click.echo(
        f"{difference.day} {cells.class_changed:>10,} {cells.appeared + cells.vanished:>9,} "
        f"{cells.largest:>8.3f} {f'{before:.2f} -> {after:.2f}':>24}{note}"
    )


def _print_agreement(found: dict[str, Any]) -> None:
    if found["class_changed_ratio"] is not None:
        click.echo(
            f"{found['class_changed_ratio']:.1%} of {found['cells']:,} cells of {found['days']} days in "
            f"another class; {found['raised_to_high']:,} raised to high or very high, "
            f"{found['lowered_from_high']:,} lowered from there"
        )


COMMANDS = (challenger,)
