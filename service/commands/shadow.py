"""The command that tries a new program, model or setting on the last layers: shadow."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from service.commands.shared import config_option, json_option, print_json
from service.errors import EXIT_CODES, Outcome
from service.priority import NICENESS
from service.progress import progress_bar
from service.settings import load_settings
from service.shadow import SHADOWED, ShadowReport, default_work, make_shadow
from service.shadow_compare import LayerDifference
from service.stamps import utc_now

_LEVELS_TOLD = 5


@click.command(epilog="Example: colluvium shadow -c region.toml --json")
@config_option
@click.option(
    "--layers",
    type=click.IntRange(min=1, max=366),
    default=SHADOWED,
    show_default=True,
    help="How many of the newest layers on display.",
)
@click.option(
    "--work",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where to make them: a new or an empty folder (default: shadow/ in the data folder).",
)
@click.option("--keep", is_flag=True, help="Leave the layers there, to be looked at.")
@json_option
def shadow(config: Path, layers: int, work: Path | None, keep: bool, as_json: bool) -> None:
    """Make the last layers again with this program, bundle and settings, and say what differs.

    To be run with the new version before an upgrade, or before a change of the settings. Each layer is made
    from the readings that were known when it was made; nothing on display changes and the daemon goes on.
    Exit status 0 where everything is the same, 1 where something differs or could not be made.
    """
    settings = load_settings(config)
    os.nice(NICENESS)  # beside the daemon, which goes first
    with progress_bar("layers") as on_day, progress_bar("spatial state") as on_state:
        report = make_shadow(
            settings,
            config,
            utc_now,
            work=work or default_work(settings),
            days=layers,
            keep=keep,
            on_state=on_state,
            on_day=on_day,
        )
    if as_json:
        print_json(report.to_json())
    else:
        _print(report)
    if not report.same:
        sys.exit(EXIT_CODES[Outcome.FAILED])


def _print(report: ShadowReport) -> None:
    model, before = report.model, report.model_before
    click.echo(
        f"{report.region}: {len(report.days)} layers made again by Colluvium {report.program}, "
        f"model {model.name} {model.version} ({model.digest[:8]})"
    )
    if model.digest != before.digest:
        click.echo(f"  the model was {before.name} {before.version} ({before.digest[:8]})")
    if report.changed:
        click.echo(
            f"  changed: {', '.join(report.changed)}. After the switch, growth over 1 and over 7 days is not "
            "known until so many days are made with it, and no level falls for want of it"
        )
    click.echo(
        f"{'day':<10} {'values':>9} {'classes':>9} {'unknown':>9} {'largest':>8} "
        f"{'high + very high, km2':>24} {'levels':>6} {'seconds':>14}"
    )
    for day in report.days:
        _print_day(day)
    differing = [day for day in report.days if not day.same]
    if not differing:
        click.echo("the same: every cell, area, status and level is what it was")
        return
    moves: dict[str, int] = {}
    for day in differing:
        for move, count in (day.cells.moves if day.cells else {}).items():
            moves[move] = moves.get(move, 0) + count
    for move, count in sorted(moves.items(), key=lambda item: -item[1]):
        click.echo(f"  {count:,} cells {move}")
    click.echo(
        f"DIFFERS on {len(differing)} of {len(report.days)} days; look at these figures before you switch"
    )


def _print_day(day: LayerDifference) -> None:
    if day.cells is None:
        click.echo(f"{day.day} {day.problem}")
        return
    cells = day.cells
    high = [sum(day.areas_m2[label][which] for label in ("high", "very_high")) / 1e6 for which in (0, 1)]
    was = f" (was {day.seconds_before:.1f})" if day.seconds_before is not None else ""
    click.echo(
        f"{day.day} {cells.changed:>9,} {cells.class_changed:>9,} {cells.appeared + cells.vanished:>9,} "
        f"{cells.largest:>8.3f} {f'{high[0]:.2f} -> {high[1]:.2f}':>24} {len(day.levels):>6} "
        f"{f'{day.seconds:.1f}{was}':>14}"
    )
    if day.status[0] != day.status[1]:
        click.echo(f"  status: {day.status[0]} -> {day.status[1]}")
    for level in day.levels[:_LEVELS_TOLD]:
        click.echo(f"  {level.name}: level {level.before or 'not known'} -> {level.after or 'not known'}")
    if len(day.levels) > _LEVELS_TOLD:
        click.echo(f"  and {len(day.levels) - _LEVELS_TOLD} more zones; --json names all")


COMMANDS = (shadow,)
