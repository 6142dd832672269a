"""`colluvium alerts drill`: a marked exercise that goes down the whole chain, and touches no layer."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from exporters.cap import CapMessage
from exporters.layer import LEVEL_LABELS
from service.cap_threads import keep_cap
from service.commands.alerts import alerts
from service.commands.shared import act_options, config_option, json_option, print_json
from service.drills import Drill
from service.errors import UsageError
from service.ledger import Ledger
from service.region import make_grid, read_zones
from service.settings import Settings, load_settings
from service.stamps import utc_now
from service.workshop import ledger_path

_REGION = ""  # how the whole of a region without zones is named in the ledger


@alerts.command(
    epilog='Example: colluvium alerts drill --zone west --level orange --by "A. Rossi" --reason "drill"'
)
@config_option
@click.option("--zone", help="The zone's id; a region without zones needs none.")
@click.option(
    "--level",
    type=click.Choice(LEVEL_LABELS[1:]),
    default="orange",
    show_default=True,
    help="What is played.",
)
@click.option(
    "--minutes",
    type=click.IntRange(1, 1_440),
    default=30,
    show_default=True,
    help="How long it lasts at the most; a scrape and Alertmanager's waits must fit in.",
)
@click.option("--end", is_flag=True, help="End what runs (in the zone, or everywhere) instead.")
@act_options
@json_option
def drill(
    config: Path,
    zone: str | None,
    level: str,
    minutes: int,
    end: bool,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    """Send a marked EXERCISE down the whole chain: metrics, Alertmanager, CAP, the pages.

    No layer and no warning is touched, and whatever real warning stands goes on beside it. It ends by itself.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        if end:
            drills = ledger.end_drills(zone, by, reason)
            if not drills:
                raise UsageError(f"no exercise runs{f' in {zone}' if zone else ''}; there is nothing to end")
        else:
            chosen = _zone_of(settings, zone)
            ends_at = ledger.clock() + timedelta(minutes=minutes)
            drills = [ledger.start_drill(chosen, LEVEL_LABELS.index(level), ends_at, by, reason)]
        messages = keep_cap(settings, ledger)
    if as_json:
        print_json(
            {
                "drills": [_row(item) for item in drills],
                "cap": [{"identifier": item.identifier, "kind": item.kind} for item in messages],
            }
        )
        return
    _tell(settings, drills, messages, ended=end)


def _zone_of(settings: Settings, zone: str | None) -> str:
    if settings.zones is None:
        if zone:
            raise UsageError(f"{settings.region.id} has no zones; leave --zone out")
        return _REGION
    known = {item.id: item.name for item in read_zones(settings.zones, make_grid(settings))}
    if zone not in known:
        listed = ", ".join(f"{identity} ({name})" for identity, name in sorted(known.items()))
        raise UsageError(
            f"{f'there is no zone {zone!r}' if zone else 'name a zone with --zone'}; zones: {listed}"
        )
    return zone


def _row(item: Drill) -> dict[str, Any]:
    return {
        "id": item.id,
        "zone": item.zone,
        "level": LEVEL_LABELS[item.level],
        "started_at": item.started_at.isoformat(),
        "ends_at": item.ends_at.isoformat(),
        "by": item.by,
        "reason": item.reason,
    }


def _tell(settings: Settings, drills: list[Drill], messages: list[CapMessage], *, ended: bool) -> None:
    for item in drills:
        where = item.zone or settings.region.id
        if ended:
            click.echo(f"the exercise in {where} is over")
            continue
        click.echo(f"EXERCISE in {where}: {LEVEL_LABELS[item.level]} until {item.ends_at:%Y-%m-%d %H:%M} UTC")
        click.echo("what must happen now:")
        click.echo(
            f'  metrics  colluvium_exercise_level{{zone="{item.zone}"}} {item.level} at the next scrape'
        )
        click.echo("  phones   the receivers of Alertmanager get an alert named Exercise")
        click.echo("  pages    the map page says EXERCISE")
    for message in messages:
        click.echo(f"  CAP      {message.kind} {message.identifier} ({message.status})")
    if not ended and settings.cap is None:
        click.echo("  CAP      nothing: the settings have no [cap] section")
    if not ended:
        click.echo('end it early with: colluvium alerts drill --end --by "NAME" --reason "..."')


COMMANDS: tuple[click.Command, ...] = ()  # `drill` is of the group `alerts`
