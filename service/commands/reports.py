"""Commands about reports from the field: what people saw, as proposals for the inventory."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import cast

import click

from service.commands.shared import act_options, config_option, json_option, print_json
from service.commands.work import DAY
from service.delivery import take_in_reports
from service.detection_events import alike
from service.errors import EXIT_CODES, Outcome
from service.files import replacing
from service.ledger import Ledger
from service.proposals import Decision, Kind, State, write_inventory
from service.settings import load_settings
from service.stamps import utc_now
from service.terminal import plain
from service.workshop import ledger_path


@click.group()
def reports() -> None:
    """Reports from the field: take them in, decide on them, hand them to the inventory."""


@reports.command(epilog="Example: colluvium reports fetch -c region.toml")
@config_option
@json_option
def fetch(config: Path, as_json: bool) -> None:
    """Take in new reports from the exporters' databases, each once.

    The daemon does this by itself. Exit status 1 if a database could not be read.
    """
    visits = take_in_reports(load_settings(config), utc_now)
    if as_json:
        print_json({"exporters": [asdict(visit) for visit in visits]})
    else:
        for visit in visits:
            click.echo(f"{visit.exporter}: {visit.problem or f'{visit.reports} new reports'}")
        if not visits:
            click.echo("no exporter takes reports; add one of kind postgis to [[exporters]]")
    if any(visit.problem for visit in visits):
        sys.exit(EXIT_CODES[Outcome.FAILED])


@reports.command("list", epilog="Example: colluvium reports list -c region.toml --state proposed")
@config_option
@click.option(
    "--state",
    type=click.Choice(["proposed", "accepted", "rejected"]),
    help="Only those (default: all).",
)
@json_option
def list_reports(config: Path, state: State | None, as_json: bool) -> None:
    """List the reports and what was decided; the first column is the number that accept and reject take."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        found = ledger.proposals.all(state)
    if as_json:
        print_json({"reports": [asdict(proposal) for proposal in found]})
        return
    for item in found:
        accuracy = f"{item.accuracy_m:g} m" if item.accuracy_m is not None else "?"
        decided = f" by {item.by}: {item.reason}" if item.by else ""
        click.echo(
            f"{item.id:>5}  {item.observed_on}  {item.kind:<12}  {item.lat:.5f} {item.lon:.5f} +- {accuracy}"
            f"  {plain(item.reporter)}: {plain(item.note)}  [{item.state}{decided}]"
        )
    if not found:
        click.echo("no reports")


@reports.command(
    epilog='Example: colluvium reports accept 12 -c region.toml --by "A. Rossi" --reason "seen on the photo"'
)
@config_option
@click.argument("number", type=int)
@click.option("--day", type=DAY, help="When it happened (default: on the day of the observation).")
@click.option("--after", type=DAY, help="The last day on which it had not happened yet, where that is known.")
@act_options
def accept(config: Path, number: int, day: date | None, after: date | None, by: str, reason: str) -> None:
    """Accept a report for the inventory. The decision is kept in the journal, and may be changed.

    Without --day or --after a landslide is taken to have happened on the day on which it was observed, and is
    held against that day's map. One that the inventory may hold already is named.
    """
    _decide(config, number, "accepted", by, reason, day, after)


@reports.command(
    epilog='Example: colluvium reports reject 12 -c region.toml --by "A. Rossi" --reason "an old scar"'
)
@config_option
@click.argument("number", type=int)
@act_options
def reject(config: Path, number: int, by: str, reason: str) -> None:
    """Reject a report. The decision is kept in the journal, and may be changed."""
    _decide(config, number, "rejected", by, reason)


@reports.command(epilog="Example: colluvium reports export events.csv -c region.toml")
@config_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--kind",
    type=click.Choice(["landslide", "nothing_seen"]),
    default="landslide",
    show_default=True,
    help="Landslides for the inventory, or visits where nothing was seen.",
)
def export(config: Path, file: Path, kind: str) -> None:
    """Write the accepted reports of one kind to a CSV file.

    The landslides' file is what [training.inventory] reads: path = FILE, accuracy_column = "accuracy_m".
    Visits where nothing was seen go to a file of their own, because the inventory takes every row for a
    landslide. Where a report does not say how good its place is, 100 m are assumed.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        found = ledger.proposals.all("accepted")
    with replacing(file) as temporary, temporary.open("w", encoding="utf-8", newline="") as out:
        count = write_inventory(out, found, cast(Kind, kind))
    click.echo(f"{count} reports ({kind}) in {file}")


def _decide(
    config: Path,
    number: int,
    decision: Decision,
    by: str,
    reason: str,
    day: date | None = None,
    after: date | None = None,
) -> None:
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        proposal = ledger.decide(number, decision, by, reason, day=day, after=after)
        event = ledger.events.get(proposal.uid)
        known = alike(event, ledger.events.all("landslide", event.day_from, event.day)) if event else []
    click.echo(f"report {number} ({proposal.kind} of {proposal.observed_on}) is {decision}")
    for other in known:
        click.echo(
            f"  the inventory holds a landslide there in these days: {plain(other.uid)} ({other.source}, "
            f"{other.day}); if it is the same one, reject this report, or it counts twice"
        )


COMMANDS = (reports,)
