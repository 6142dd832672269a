"""Commands about readings: what stands, what is doubted and why, what a person decides."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import click

from service.commands.readings_shown import (
    NUMBER,
    PLACE,
    RASTER,
    VARIABLES,
    Numbered,
    amount,
    line_of_suspect,
    moment_text,
    named,
    raster_json,
    reading_json,
    suspect_json,
)
from service.commands.shared import act_options, config_option, json_option, print_json
from service.commands.work import DAY
from service.errors import UsageError
from service.ledger import Ledger
from service.reading_values import SeriesDay
from service.readings import Archive
from service.settings import CONFIG_VARIABLE, Settings, load_settings
from service.stamps import utc_now
from service.workshop import archive_path, ledger_path

_DEFAULT_DAYS = 7

Decision = Literal["accept", "reject"]


_variable_option = click.option(
    "--variable", type=click.Choice(list(VARIABLES)), help="Where a feed has both under one name."
)


@click.group(
    invoke_without_command=True,
    epilog="Example: colluvium readings -c region.toml --suspect",
)
@click.option(
    "-c",
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar=CONFIG_VARIABLE,
    help=f"The region's settings (TOML), or set {CONFIG_VARIABLE}.",
)
@click.option("--suspect", is_flag=True, help="The doubted readings on which nobody has decided yet.")
@click.option("--decided", is_flag=True, help="With --suspect: also those accepted, rejected or replaced.")
@click.option("--checks", is_flag=True, help="What each check looks for, why, and what it cannot see.")
@click.option("--variable", type=click.Choice(list(VARIABLES)), help="Only this one.")
@click.option("--feed", help="Only this feed.")
@click.option("--series", help="Only this series.")
@click.option("--since", type=DAY, help=f"First day (default: {_DEFAULT_DAYS} days; suspects: all).")
@click.option("--until", type=DAY, help="Last day.")
@json_option
@click.pass_context
def readings(
    context: click.Context,
    config: Path | None,
    suspect: bool,
    decided: bool,
    checks: bool,
    variable: str | None,
    feed: str | None,
    series: str | None,
    since: date | None,
    until: date | None,
    as_json: bool,
) -> None:
    """Look at readings, and decide on those that a check doubts.

    Each line says day, feed/series, value, and whether it stands (good), is doubted (suspect) or was
    rejected. A suspect reading stays out of the windows until a person accepts it. Where only an extreme
    would explain the suspects and they would raise the map, the higher map is published, marked unconfirmed:
    then somebody should decide soon.

    \b
      colluvium readings -c region.toml --suspect              what is doubted, and why
      colluvium readings history gauges/A7 2026-03-05 -c ...   all that was ever said of that day
      colluvium readings accept 17 -c ... --by ... --reason ...
      colluvium readings reject 17 -c ... --by ... --reason ...

    Nothing is edited or deleted: a decision is a new row, and the journal names who made it.
    """
    if context.invoked_subcommand is not None:
        # The options before a subcommand count for it too.
        context.default_map = dict.fromkeys(COMMANDS_BELOW, {"config": config} if config else {})
        return
    if checks:
        _print_checks(as_json=as_json)
        return
    if config is None:
        raise UsageError(f"which region? give -c region.toml, or set {CONFIG_VARIABLE}")
    settings = load_settings(config)
    with Archive(archive_path(settings), utc_now, make=False) as archive:
        chosen = (variable, feed, series, since, until)
        if suspect or decided:
            _print_suspects(archive, chosen, as_json=as_json, open_only=not decided)
        else:
            _print_readings(settings, archive, chosen, as_json=as_json)


_Chosen = tuple[str | None, str | None, str | None, date | None, date | None]


def _print_suspects(archive: Archive, chosen: _Chosen, *, as_json: bool, open_only: bool) -> None:
    variable, feed, series, since, until = chosen
    found = [
        item
        for item in archive.suspects(variable, since, until, feed, open_only=open_only)
        if series in (None, item.at.series)
    ]
    rasters = [
        row
        for row in archive.rasters.suspects(feed, open_only=open_only)
        if series is None
        and variable in (None, row.variable)
        and (since is None or row.day >= since)
        and (until is None or row.day <= until)
    ]
    if as_json:
        print_json(
            {
                "suspects": [suspect_json(item) for item in found],
                "rasters": [raster_json(row) for row in rasters],
            }
        )
        return
    for item in found:
        click.echo(f"{item.number:>9}  {line_of_suspect(item)}")
        for finding in item.findings:
            click.echo(f"{'':>13}{finding.check}: {finding.detail}")
    for row in rasters:
        click.echo(f"{RASTER + str(row.number):>9}  {row.day}  {row.feed} ({row.variable}): {row.reason}")
    if found or rasters:
        click.echo("decide with 'colluvium readings accept NUMBER' or 'reject NUMBER', --by and --reason")
    else:
        click.echo("no reading is suspect" if open_only else "no reading was ever suspect")


def _print_readings(settings: Settings, archive: Archive, chosen: _Chosen, *, as_json: bool) -> None:
    variable, feed, series, since, until = chosen
    today = utc_now().astimezone(settings.timezone).date()
    first = since or (until or today) - timedelta(days=_DEFAULT_DAYS - 1)
    found = [
        item
        for name in ([variable] if variable else VARIABLES)
        for item in archive.newest_by_day(name, first)
        if feed in (None, item.feed)
        and series in (None, item.series)
        and (until is None or item.day <= until)
    ]
    if as_json:
        print_json({"readings": [reading_json(item) for item in found]})
        return
    for item in found:
        reason = f"  {item.reason}" if item.reason else ""
        click.echo(f"{item.day}  {named(item)}  {amount(item)}  {item.quality.value}{reason}")
    if not found:
        click.echo(
            f"no readings from {first} on; choose other days with --since, or take some in: colluvium ingest"
        )


def _print_checks(*, as_json: bool) -> None:
    from service.checks.registry import CHECKS

    if as_json:
        print_json(
            {
                "checks": [
                    {
                        "name": check.name.value,
                        "variables": list(check.variables),
                        "extreme": check.extreme,
                        "what": check.what,
                        "why": check.why,
                        "source": check.source,
                        "cannot": check.cannot,
                    }
                    for check in CHECKS
                ]
            }
        )
        return
    for check in CHECKS:
        kind = "a true extreme may look like this" if check.extreme else "no weather looks like this"
        click.echo(f"{check.name.value} ({', '.join(check.variables)}; {kind})")
        for name, text in (
            ("looks for", check.what),
            ("because", check.why),
            ("cannot see", check.cannot),
            ("source", check.source),
        ):
            click.echo(f"  {name:<11}{text}")


@readings.command(epilog="Example: colluvium readings history gauges/A7 2026-03-05 -c region.toml")
@config_option
@click.argument("place", type=PLACE, metavar="FEED/SERIES")
@click.argument("day", type=DAY)
@_variable_option
@json_option
def history(config: Path, place: tuple[str, str], day: date, variable: str | None, as_json: bool) -> None:
    """Show all that was ever said of a series and day, oldest knowledge first: readings, doubts, decisions.

    A raster product is named by its feed alone.
    """
    feed, series = place
    with Archive(archive_path(load_settings(config)), utc_now, make=False) as archive:
        if not series and (rows := archive.rasters.history(feed, day)):
            if as_json:
                print_json({"rasters": [raster_json(row) for row in rows]})
            for row in rows if not as_json else ():
                click.echo(
                    f"{RASTER + str(row.number):>9}  {moment_text(row.known_at)}  {row.quality.value:<8}  "
                    f"{row.digest[:12]}  {row.version}  {row.reason}"
                )
            return
        found = archive.history(feed, _variable_of(archive, feed, series, variable), series, day)
    if as_json:
        print_json({"history": [reading_json(item) for item in found]})
        return
    for item in found:
        notes = [
            f"issued {moment_text(item.issued_at)}" if item.issued_at else "",
            f"member {item.member}" if item.member is not None else "",
            item.product_version,
            "time assumed" if item.known_at_assumed else "",
            item.reason,
        ]
        click.echo(
            f"{item.row:>9}  {moment_text(item.known_at)}  {item.quality.value:<8}  {amount(item)}  "
            f"{', '.join(note for note in notes if note)}".rstrip()
        )
    if not found:
        click.echo(f"nothing was ever said of {feed}/{series} on {day}")


@readings.command(
    epilog='Example: colluvium readings accept 17 -c region.toml --by "A. Rossi" --reason "the radar agrees"'
)
@config_option
@click.argument("numbers", type=NUMBER, nargs=-1, required=True)
@act_options
@json_option
def accept(config: Path, numbers: Sequence[Numbered], by: str, reason: str, as_json: bool) -> None:
    """Take suspect readings as true, by their numbers. No check doubts them again.

    Layers made from now on use them; layers that were made before are replaced by the next refresh of their
    day. A rejection is taken back in the same way, by the number that `history` shows for it.
    """
    _decide(config, "accept", numbers, by, reason, as_json=as_json)


@readings.command(
    epilog='Example: colluvium readings reject 17 -c region.toml --by "A. Rossi" --reason "a stuck gauge"'
)
@config_option
@click.argument("numbers", type=NUMBER, nargs=-1)
@click.option("--series", type=PLACE, metavar="FEED/SERIES", help="A good reading has no number: its series,")
@click.option("--day", type=DAY, help="and its day.")
@_variable_option
@act_options
@json_option
def reject(
    config: Path,
    numbers: Sequence[Numbered],
    series: tuple[str, str] | None,
    day: date | None,
    variable: str | None,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    """Take readings as wrong: suspect ones by their numbers, a good one by --series and --day.

    The value stays rejected when its feed delivers it again; what was known before it stands, if anything.
    """
    if numbers and not (series or day or variable):
        _decide(config, "reject", numbers, by, reason, as_json=as_json)
        return
    if numbers or series is None or day is None:
        raise UsageError(
            "name what is wrong: either numbers ('colluvium readings --suspect' shows them), or --series "
            "FEED/SERIES and --day of a good reading"
        )
    settings = load_settings(config)
    feed, identity = series
    with (
        Archive(archive_path(settings), utc_now) as archive,
        Ledger(ledger_path(settings), utc_now) as ledger,
    ):
        at = SeriesDay(feed, _variable_of(archive, feed, identity, variable), identity, day)
        number = archive.reject_reading(at, by, reason, utc_now())
        (row,) = (item for item in archive.history(*at) if item.row == number)
        subject = f"reading {number}: {named(row)} {row.day} {amount(row)}"
        ledger.write_act("reject", subject, by, reason)
    if as_json:
        print_json({"decided": "rejected", "readings": [reading_json(row)]})
    else:
        click.echo(f"rejected {subject}; to take that back: colluvium readings accept {number}")


COMMANDS_BELOW = ("history", "accept", "reject")


def _decide(
    config: Path, decision: Decision, numbers: Sequence[Numbered], by: str, reason: str, *, as_json: bool
) -> None:
    settings = load_settings(config)
    told: list[dict[str, Any]] = []
    subjects: list[str] = []
    with (
        Archive(archive_path(settings), utc_now) as archive,
        Ledger(ledger_path(settings), utc_now) as ledger,
    ):
        with archive.transaction():
            for number, is_raster in numbers:
                if is_raster:
                    act = archive.rasters.accept if decision == "accept" else archive.rasters.reject
                    row = act(number, by, reason, utc_now())
                    subjects.append(f"raster {RASTER}{number}: {row.feed} ({row.variable}) {row.day}")
                    told.append(raster_json(row))
                else:
                    item = (archive.accept if decision == "accept" else archive.reject)(
                        number, by, reason, utc_now()
                    )
                    subjects.append(f"reading {number}: {line_of_suspect(item)}")
                    told.append(suspect_json(item))
        # The archive names who decided, too: a stop between the two databases loses nothing.
        for subject in subjects:
            ledger.write_act(decision, subject, by, reason)
    if as_json:
        print_json({"decided": f"{decision}ed", "readings": told})
        return
    for subject in subjects:
        click.echo(f"{decision}ed {subject}")
    click.echo("the next refresh counts it" if len(subjects) == 1 else "the next refresh counts them")


def _variable_of(archive: Archive, feed: str, series: str, variable: str | None) -> str:
    """Return the variable that a series measures. Raises UsageError where that is not clear."""
    found = [
        name
        for name in ([variable] if variable else VARIABLES)
        if any((item.feed, item.id) == (feed, series) for item in archive.series(name))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{feed}/{series} measures {' and '.join(found)}; say which one with --variable")
    known = sorted({f"{item.feed}/{item.id}" for name in VARIABLES for item in archive.series(name)})
    shown = ", ".join(known[:5]) + (f" and {len(known) - 5} more" if len(known) > 5 else "")
    raise UsageError(
        f"the archive knows no series {feed}/{series}{f' of {variable}' if variable else ''}; "
        + (f"it has {shown}" if known else "it is empty: run 'colluvium ingest'")
    )


COMMANDS = (readings,)
