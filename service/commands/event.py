"""Commands about the inventory: landslides that people stand behind, and visits on which nothing was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

import click

from exporters.event import Event, EventKind, EventSource
from service.commands.shared import act_options, config_option, json_option, print_json, say_error
from service.commands.work import DAY, MOMENT
from service.detection_events import alike
from service.errors import InputError, UsageError
from service.event_files import (
    check_days,
    check_place,
    read_events,
    read_outline,
    same_event,
    write_events,
)
from service.event_places import area_m2, farthest_m, to_geojson
from service.ledger import Ledger
from service.rehearse_events import on_grid
from service.settings import Settings, load_settings
from service.stamps import utc_now
from service.terminal import plain
from service.workshop import ledger_path

_SOURCES = ("detected", "reported", "added", "imported")
_KINDS = ("landslide", "nothing_seen")


def _which_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what tells which events are meant."""
    for option in (
        click.option("--as-of", type=MOMENT, help="What the inventory held at this moment."),
        click.option("--until", type=DAY, help="Only those that may have happened on this day or earlier."),
        click.option("--since", type=DAY, help="Only those that may have happened on this day or later."),
        click.option("--source", type=click.Choice(_SOURCES), help="Only from there (default: all)."),
        click.option("--kind", type=click.Choice(_KINDS), help="Only those (default: both)."),
    ):
        command = option(command)
    return command


@click.group()
def event() -> None:
    """The inventory: dated landslides from scenes, reports, files and by hand."""


@event.command(
    epilog="Example: colluvium event add -c region.toml --lon 11.42 --lat 44.18 --day 2023-05-16 "
    '--accuracy-m 50 --by "A. Rossi" --reason "seen on the road"'
)
@config_option
@click.option("--lon", type=float, help="Longitude in degrees (default: a point on the outline).")
@click.option("--lat", type=float, help="Latitude in degrees.")
@click.option(
    "--day", type=DAY, required=True, help="When it happened, or the last day on which it may have."
)
@click.option("--day-from", type=DAY, help="The first day on which it may have happened (default: --day).")
@click.option(
    "--accuracy-m",
    type=click.FloatRange(min=0),
    help="It lies within so many metres (of an outline: not needed).",
)
@click.option(
    "--kind", type=click.Choice(_KINDS), default="landslide", show_default=True, help="What it was."
)
@click.option("--note", default="", help="In words.")
@click.option(
    "--outline",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A .geojson or .gpkg with its outline, one polygon.",
)
@act_options
@json_option
def add(
    config: Path,
    lon: float | None,
    lat: float | None,
    day: date,
    day_from: date | None,
    accuracy_m: float | None,
    kind: str,
    note: str,
    outline: Path | None,
    by: str,
    reason: str,
    as_json: bool,
) -> None:
    """Add a landslide, or a visit on which nothing was seen, to the inventory."""
    settings = load_settings(config)
    if (lon is None) != (lat is None):
        raise UsageError("give --lon and --lat together")
    shape = read_outline(outline) if outline is not None else None
    if shape is not None and lon is None:
        point = shape.representative_point()
        lon, lat = float(point.x), float(point.y)
    if lon is None or lat is None:
        raise UsageError("give the place with --lon and --lat, or an outline with --outline")
    if shape is None and accuracy_m is None:
        raise UsageError("say with --accuracy-m how good the place is")
    now = utc_now()
    try:
        check_place(lon, lat, on_grid(settings))
        check_days(day_from or day, day, now.astimezone(settings.timezone).date())
    except ValueError as error:
        raise UsageError(str(error)) from error
    reach = farthest_m(shape, lon, lat) if shape is not None else 0.0
    new = Event(
        uid=str(uuid4()),
        kind=cast(EventKind, kind),
        source="added",
        day_from=day_from or day,
        day=day,
        lon=lon,
        lat=lat,
        accuracy_m=max(accuracy_m or 0.0, reach),
        area_m2=area_m2(shape) if shape is not None else None,
        outline=to_geojson(shape) if shape is not None else None,
        note=note,
        by=by,
        reason=reason,
        recorded_at=now,
    )
    with Ledger(ledger_path(settings), utc_now) as ledger:
        known = alike(new, ledger.events.all("landslide", new.day_from, new.day))
        ledger.events.add(new)
    if as_json:
        print_json({**new.model_dump(mode="json"), "already": [other.uid for other in known]})
        return
    click.echo(f"{new.kind} {new.uid} of {_days(new)} is in the inventory")
    for other in known:
        click.echo(
            f"  it may be the {other.source} landslide {plain(other.uid)} of {_days(other)}; if so, retract "
            "this one, or it counts twice"
        )


@event.command("list", epilog="Example: colluvium event list -c region.toml --since 2023-05-01")
@config_option
@_which_options
@json_option
def list_events(
    config: Path,
    kind: EventKind | None,
    source: EventSource | None,
    since: date | None,
    until: date | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """List the inventory by day. What was retracted is not in it."""
    found = _read(load_settings(config), kind, source, since, until, as_of)
    if as_json:
        print_json({"events": [item.model_dump(mode="json") for item in found]})
        return
    for item in found:
        size = f"  {item.area_m2 / 10_000:.2f} ha" if item.area_m2 is not None else ""
        click.echo(
            f"{plain(item.uid)}  {_days(item)}  {item.kind:<12}  {item.lat:.5f} {item.lon:.5f} +- "
            f"{item.accuracy_m:.0f} m{size}  {item.source} by {plain(item.by)}: "
            f"{plain(item.note or item.reason)}"
        )
    if not found:
        click.echo("no events")


@event.command(
    "import",
    epilog='Example: colluvium event import old.csv -c region.toml --by "A. Rossi" --reason "survey of 2019"',
)
@config_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--skip-bad", is_flag=True, help="Take the rows that can be used, and name the others.")
@click.option("--again", is_flag=True, help="Also those that were retracted before.")
@act_options
@json_option
def import_events(
    config: Path, file: Path, skip_bad: bool, again: bool, by: str, reason: str, as_json: bool
) -> None:
    """Take in a CSV, GeoJSON or GeoPackage of events: all of it, or nothing where a row cannot be used.

    Columns: id, date (of a CSV: lon, lat too) and, where there are, day_from, accuracy_m, kind, note. An id
    that is known is not taken twice, so the same file may be given again.
    """
    settings = load_settings(config)
    now = utc_now()
    today = now.astimezone(settings.timezone).date()
    read = read_events(file, by, reason, now, today, on_grid(settings))
    with Ledger(ledger_path(settings), utc_now) as ledger:
        new: list[Event] = []
        known = retracted = 0
        problems = [(problem.row, problem.reason) for problem in read.problems]
        for item in read.events:
            before = ledger.events.get(item.uid)
            if before is not None and not same_event(before, item):
                problems.append(
                    (0, f"id {item.uid!r} is known with other days or another place; retract it first")
                )
            elif before is not None:
                known += 1
            elif ledger.events.was_retracted(item.uid) and not again:
                retracted += 1
            else:
                new.append(item)
        if problems and not skip_bad:
            raise InputError(
                f"nothing was imported: {len(problems)} rows of {file} cannot be used "
                f"(--skip-bad leaves them out)\n"
                + "\n".join(f"  {_row(*problem)}" for problem in problems[:20])
            )
        if new:
            ledger.events.add_all(new, by, reason, file.name)
    if as_json:
        print_json(
            {
                "new": len(new),
                "known": known,
                "retracted": retracted,
                "problems": [{"row": row or None, "reason": words} for row, words in problems],
            }
        )
        return
    for row, words in problems:
        say_error(_row(row, words))
    click.echo(
        f"{len(new)} events imported, {known} known already"
        + (f", {retracted} left out because they were retracted (--again takes them)" if retracted else "")
    )


@event.command(
    epilog='Example: colluvium event retract 4f6c... -c region.toml --by "A. Rossi" --reason "an old scar"'
)
@config_option
@click.argument("uid")
@act_options
@json_option
def retract(config: Path, uid: str, by: str, reason: str, as_json: bool) -> None:
    """Take an event out of the inventory. Its row stays, and `list --as-of` still knows it.

    One that rests on a report or a detection is retracted by rejecting that.
    """
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now) as ledger:
        gone = ledger.events.retract(uid, by, reason)
    if as_json:
        print_json(gone.model_dump(mode="json"))
    else:
        click.echo(f"{gone.kind} {plain(gone.uid)} of {_days(gone)} is retracted")


@event.command(epilog="Example: colluvium event export events.gpkg -c region.toml --kind landslide")
@config_option
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@_which_options
@json_option
def export(
    config: Path,
    file: Path,
    kind: EventKind | None,
    source: EventSource | None,
    since: date | None,
    until: date | None,
    as_of: datetime | None,
    as_json: bool,
) -> None:
    """Write the inventory to a .csv, .gpkg or .geojson, which `event import` reads elsewhere.

    It names the persons who decided: for those who may know them.
    """
    found = _read(load_settings(config), kind, source, since, until, as_of)
    write_events(file, found)
    if as_json:
        print_json({"file": str(file), "events": len(found)})
    else:
        click.echo(f"{len(found)} events in {file}")


def _read(
    settings: Settings,
    kind: EventKind | None,
    source: EventSource | None,
    since: date | None,
    until: date | None,
    as_of: datetime | None,
) -> Sequence[Event]:
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        return ledger.events.all(kind, since, until, as_of, source)


def _days(item: Event) -> str:
    return f"{item.day}" if item.is_dated else f"{item.day_from} to {item.day}"


def _row(row: int, words: str) -> str:
    return plain(f"row {row}: {words}" if row else words, 300)


COMMANDS = (event,)
