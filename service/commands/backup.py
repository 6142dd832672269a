"""Commands that keep a region safe: backup, restore, schema."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from service.backup import STDOUT, make_backup
from service.commands.shared import config_option, json_option, print_json
from service.errors import EXIT_CODES, Outcome, UsageError
from service.progress import progress_bar
from service.restore import check_backup, restore_backup
from service.settings import load_settings
from service.snapshot import read_schemas
from service.stamps import utc_now


@click.command(epilog="Example: colluvium backup /backups/valley-2026-03-31.tar -c region.toml --json")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@config_option
@click.option(
    "--layer-days",
    type=click.IntRange(min=8),
    metavar="N",
    help="Leave out the rasters of layers older than N days, unless an exporter or a person needs them.",
)
@json_option
def backup(file: Path, config: Path, layer_days: int | None, as_json: bool) -> None:
    """Write everything that cannot be made again into one tar file, while the daemon runs.

    Readings, ledger with its journal, layers, factor stack, and the settings, zones and bundles that were in
    force; never a password. "-" writes to standard output, a name that ends in .gz is compressed. An existing
    file is not overwritten. Spatial states and daily surfaces are left out: the next run makes them.
    """
    settings = load_settings(config)
    with progress_bar("layers") as progress:
        report = make_backup(settings, file, utc_now, layer_days=layer_days, progress=progress)
    if file == STDOUT:
        say = f"backup of {report.header.region}: {report.files} files, {report.size_bytes / 2**20:.1f} MiB"
        click.echo(say, err=True)
    elif as_json:
        print_json(report.to_json())
    else:
        click.echo(
            f"{file}: {report.header.region}, latest {report.header.latest or 'no layer'}, "
            f"{report.layers} layers ({report.left_out} more without their rasters), "
            f"{report.files} files, {report.size_bytes / 2**20:.1f} MiB"
        )


@click.command(
    epilog="Example: colluvium restore valley.tar --data-dir /srv/valley/data --replace"
    ' --by "A. Rossi" --reason "disk replaced"'
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True))
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="The data folder to make.")
@click.option("--replace", is_flag=True, help="Move what is there aside, into before-restore-<moment>/.")
@click.option("--check", is_flag=True, help="Only read the backup and compare every checksum; write nothing.")
@click.option("--by", help="Who decides; kept in the restored journal.")
@click.option("--reason", help="Why; kept in the restored journal.")
@json_option
def restore(
    file: Path,
    data_dir: Path | None,
    replace: bool,
    check: bool,
    by: str | None,
    reason: str | None,
    as_json: bool,
) -> None:
    """Bring a backup back as a region's data folder.

    All of it is read and checked before anything is changed; a daemon must not run meanwhile. What was
    measured, decided and sent after the backup is not in it: feeds that still have the readings bring them
    again, and the next run makes the days that are missing. "-" reads from standard input.
    """
    if check:
        report = check_backup(file)
    else:
        if data_dir is None or not by or not reason:
            raise UsageError(
                "restore needs --data-dir, --by and --reason (or --check, to only read the backup)"
            )
        report = restore_backup(file, data_dir, by, reason, utc_now, replace=replace)
    if as_json:
        print_json(report.to_json())
        return
    header = report.header
    click.echo(
        f"backup of {header.region}, made {header.made_at:%Y-%m-%d %H:%M} UTC by Colluvium {header.program}: "
        f"{report.layers} layers, latest {header.latest or 'none'}, {report.files} files, "
        f"{report.size_bytes / 2**20:.1f} MiB; every checksum is right"
    )
    if report.data_dir is not None:
        click.echo(f"restored as {report.data_dir}")
    if report.set_aside is not None:
        click.echo(f"what was there is now in {report.set_aside}; remove it when the map is right again")
    if report.lost_acts:
        click.echo("decided since the backup, and NO LONGER IN FORCE; decide again what still holds:")
        for act in report.lost_acts:
            click.echo(f"  {act}")
    if report.lost_messages:
        click.echo(
            "CAP messages since the backup, NEVER UPDATED OR CANCELLED now; cancel what went out by hand:"
        )
        for message in report.lost_messages:
            click.echo(f"  {message}")


@click.command(epilog="Example: colluvium schema -c region.toml --json")
@config_option
@json_option
def schema(config: Path, as_json: bool) -> None:
    """Say which schemas the databases on disk have, and whether this program can use them.

    Nothing is migrated. Exit status 1 where a newer program wrote one: this one then needs a backup
    from before.
    """
    schemas = read_schemas(load_settings(config).data_dir)
    newer = [item for item in schemas if item.is_newer]
    if as_json:
        print_json({"usable": not newer, "schemas": [item.to_json() for item in schemas]})
    else:
        for item in schemas:
            on_disk = "not there yet" if item.on_disk is None else f"version {item.on_disk}"
            verdict = "NEWER than this program: restore a backup from before" if item.is_newer else "usable"
            click.echo(f"{item.name:<16} {on_disk:<14} this program knows {item.known:<3} {verdict}")
    if newer:
        sys.exit(EXIT_CODES[Outcome.FAILED])


COMMANDS = (backup, restore, schema)
