"""`colluvium audit`: one archive of a day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import click

from service.audit import make_audit
from service.commands.shared import config_option, json_option, print_json
from service.commands.work import DAY
from service.settings import load_settings
from service.stamps import utc_now


@click.command(epilog="Example: colluvium audit 2026-03-27 -c region.toml --out /tmp/audit.zip")
@config_option
@click.argument("day", type=DAY)
@click.option(
    "--out",
    "target",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The archive to write [default: audit-REGION-DAY.zip here].",
)
@click.option("--rasters/--no-rasters", default=True, show_default=True, help="Put the maps themselves in.")
@json_option
def audit(config: Path, day: date, target: Path | None, rasters: bool, as_json: bool) -> None:
    """What was shown, known, decided and sent on a day: one ZIP archive with checksums.

    A day of the region's calendar, as it was then: what was corrected or withdrawn later stays out. Of today,
    what there is until now. Works beside a running daemon.
    """
    settings = load_settings(config)
    target = target or Path(f"audit-{settings.region.id}-{day}.zip")
    made = make_audit(settings, day, target, utc_now(), rasters=rasters)
    if as_json:
        print_json(made.to_json())
        return
    size = target.stat().st_size
    click.echo(f"{target}: {len(made.layers)} layers, {size / 2**20:.1f} MiB")
    for name, rows in made.counts.items():
        click.echo(f"  {rows:>9,} rows  {name}")
    for note in made.notes:
        click.echo(f"  note: {note}")


COMMANDS = (audit,)
