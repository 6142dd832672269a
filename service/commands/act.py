"""Human acts: withdraw, hold, resume. They need only SQLite and work beside a running daemon."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from service.cap_threads import keep_cap
from service.commands.shared import act_options, config_option
from service.commands.work import DAY
from service.delivery import deliver_all, exporter_names
from service.display import forecasts_shown, list_layers, mark_withdrawn, show_latest
from service.errors import UsageError
from service.ledger import Ledger
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import ledger_path


@click.command(
    epilog='Example: colluvium withdraw 2026-03-31 -c region.toml --by "A. Rossi" --reason "gauge 7 flooded"'
)
@config_option
@click.argument("day", type=DAY)
@click.option(
    "--lead",
    type=click.IntRange(min=0, max=7),
    default=0,
    show_default=True,
    help="Of a forecast: how many days ahead it was made.",
)
@act_options
def withdraw(config: Path, day: date, lead: int, by: str, reason: str) -> None:
    """Take a day's layer off display.

    It disappears from `latest` and from every exporter, stays on disk marked as withdrawn, and catch-up does
    not publish that day again; `refresh --day` does, once its inputs have changed.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        layer = ledger.current(day, lead)
        if layer is None:
            ahead = f", {lead} days ahead," if lead else ""
            raise UsageError(f"there is no layer of {day}{ahead} on display; see 'colluvium layers'")
        ledger.withdraw(layer, by, reason, exporter_names(settings))
        mark_withdrawn(ledger)
        show_latest(settings.data_dir, ledger)
        list_layers(settings.data_dir, ledger)
        latest, forecasts = ledger.latest(), forecasts_shown(ledger)
        messages = keep_cap(settings, ledger)
    click.echo(f"withdrew {layer.id}; the latest layer is now {latest.id if latest else 'none'}")
    for still in forecasts:
        click.echo(
            f"still on display: the forecast {still.id} (colluvium withdraw {still.day} --lead {still.lead})"
        )
    for message in messages:
        click.echo(f"CAP {message.kind} {message.identifier}: {message.infos[0].headline}")
    deliver_all(settings, utc_now, "colluvium withdraw")


@click.command(epilog='Example: colluvium hold -c region.toml --by "A. Rossi" --reason "gauges under repair"')
@config_option
@act_options
def hold(config: Path, by: str, reason: str) -> None:
    """Stop publishing until `colluvium resume`. Ingest goes on; runs end as held."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        ledger.write_act("hold", settings.region.id, by, reason)
    click.echo(f"publication of {settings.region.id} is held")


@click.command(epilog='Example: colluvium resume -c region.toml --by "A. Rossi" --reason "gauges repaired"')
@config_option
@act_options
def resume(config: Path, by: str, reason: str) -> None:
    """Publish again after `colluvium hold`."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        if ledger.hold() is None:
            raise UsageError(f"publication of {settings.region.id} is not held")
        ledger.write_act("resume", settings.region.id, by, reason)
    click.echo(f"publication of {settings.region.id} goes on")


COMMANDS = (withdraw, hold, resume)
