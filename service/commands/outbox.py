"""Commands about what exporters have yet to deliver."""

from __future__ import annotations

from pathlib import Path

import click

from service.commands.shared import act_options, config_option, json_option, print_json
from service.delivery import deliver_all, exporter_names
from service.errors import UsageError
from service.ledger import Ledger
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import ledger_path


@click.group()
def outbox() -> None:
    """What exporters have yet to deliver."""


@outbox.command("list", epilog="Example: colluvium outbox list -c region.toml")
@config_option
@json_option
def list_entries(config: Path, as_json: bool) -> None:
    """List what is pending or parked, in the order in which it will be delivered, and why it waits."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        entries = ledger.outbox.open()
    if as_json:
        rows = [
            {
                "exporter": entry.exporter,
                "act": entry.act,
                "layer": entry.layer_id,
                "state": "parked" if entry.parked else "pending",
                "since": entry.since.isoformat(),
                "attempts": entry.attempts,
                "retry_at": entry.retry_at.isoformat() if entry.retry_at and not entry.parked else None,
                "error": entry.last_error,
            }
            for entry in entries
        ]
        print_json({"outbox": rows})
        return
    known = exporter_names(settings)
    for entry in entries:
        state = "parked" if entry.parked else "pending"
        stranger = "" if entry.exporter in known else " (no longer in the settings)"
        error = f": {entry.last_error}" if entry.last_error else ""
        click.echo(f"{entry.exporter}{stranger}  {state:<7}  {entry.act:<8}  {entry.layer_id}{error}")
    if not entries:
        click.echo("everything was delivered")


@outbox.command(
    epilog='Example: colluvium outbox retry gis -c region.toml --by "A. Rossi" --reason "zones mended"'
)
@config_option
@click.argument("exporter")
@act_options
def retry(config: Path, exporter: str, by: str, reason: str) -> None:
    """Try at once what an exporter parked, or waits with.

    A parked entry was refused for good; nothing tries it again until a person has changed what stood in its
    way and says so here.
    """
    settings = load_settings(config)
    known = exporter_names(settings)
    if exporter not in known:
        raise UsageError(f"there is no exporter {exporter!r}; the settings name {', '.join(known) or 'none'}")
    with Ledger(ledger_path(settings), utc_now) as ledger:
        count = ledger.retry(exporter, by, reason)
    click.echo(f"{count} entries of {exporter} are tried again")
    for visit in deliver_all(settings, utc_now, "colluvium outbox retry", only=exporter):
        click.echo(f"{visit.delivered} delivered" + (f"; {visit.problem}" if visit.problem else ""))


@outbox.command(
    epilog='Example: colluvium outbox drop old_share -c region.toml --by "A. Rossi" --reason "share is gone"'
)
@config_option
@click.argument("exporter")
@act_options
def drop(config: Path, exporter: str, by: str, reason: str) -> None:
    """Give up what an exporter that left the settings has not delivered.

    Until then the layers that it waits for stay on the local disk for ever.
    """
    settings = load_settings(config)
    if exporter in exporter_names(settings):
        raise UsageError(
            f"exporter {exporter} is in the settings: either take it out first, or try its entries again "
            "with 'colluvium outbox retry'"
        )
    with Ledger(ledger_path(settings), utc_now) as ledger:
        count = ledger.drop(exporter, by, reason)
    click.echo(f"{count} entries of {exporter} are given up")


COMMANDS = (outbox,)
