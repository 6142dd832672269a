"""Commands about warning levels: what they are, how they came about, and what thresholds would have done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import click
from pydantic import ValidationError

from exporters.layer import LEVEL_LABELS, Layer, ZoneWarning
from service.commands.shared import config_option, json_option, print_json
from service.commands.work import DAY
from service.display import forecasts_shown
from service.errors import UsageError
from service.ledger import Ledger
from service.rehearse import Rehearsal, judge, replay
from service.rehearse_events import gather
from service.settings import Settings, load_settings
from service.settings_warnings import WarningSettings
from service.stamps import utc_now
from service.workshop import ledger_path

_UNKNOWN = "not known"


class Thresholds(click.ParamType[tuple[float, float]]):
    """A level's share and growth, such as 0.05,0.03."""

    name = "SHARE,GROWTH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """Parse two numbers."""
        if isinstance(value, tuple):
            return value
        try:
            share, growth = (float(part) for part in value.split(","))
        except ValueError:
            self.fail(f"{value!r} is not SHARE,GROWTH such as 0.05,0.03", param, ctx)
        return share, growth


@click.group()
def alerts() -> None:
    """Warning levels of zones: those that stand, those of the past, and a rehearsal of their thresholds."""


@alerts.command(epilog="Example: colluvium alerts levels -c region.toml")
@config_option
@json_option
def levels(config: Path, as_json: bool) -> None:
    """Say the level of each zone today and for each forecast, with the rule and the numbers behind it."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        latest = ledger.latest()
        shown = [latest, *forecasts_shown(ledger)] if latest else []
    if as_json:
        print_json({"layers": [_layer_said(layer) for layer in shown]})
        return
    for layer in shown:
        ahead = f", {layer.lead} days ahead" if layer.lead else ""
        click.echo(f"{layer.day}{ahead} ({layer.id}, {layer.status.value})")
        for warning in sorted(layer.warnings, key=lambda item: -(item.level or 0)):
            doubt = "  UNCONFIRMED: rests on readings that a check doubts" if warning.unconfirmed else ""
            click.echo(f"  {_label(warning.level):<9}  {_zone(warning)}: {warning.rule}{doubt}")
        if not layer.warnings:
            click.echo(f"  no levels: {_why_none(layer, settings.warnings)}")
    if not shown:
        click.echo("there is no map, and so no level; see 'colluvium status'")


@alerts.command("list", epilog="Example: colluvium alerts list --since 2026-03-01 -c region.toml")
@config_option
@click.option("--since", type=DAY, help="First day (default: the oldest).")
@click.option("--until", type=DAY, help="Last day (default: the newest).")
@json_option
def list_levels(config: Path, since: date | None, until: date | None, as_json: bool) -> None:
    """List each change of a zone's level, with the rule that changed it, oldest first."""
    settings = load_settings(config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        decided = ledger.levels.changes(since or date.min, until or date.max)
    changes = []
    for layer in decided:
        for item in layer.warnings:
            if (item.level or item.previous) and item.level != item.previous:
                changes.append((layer, item))
    if as_json:
        said = [{"day": layer.day, "layer": layer.layer_id, **_said(item)} for layer, item in changes]
        print_json({"changes": said})
        return
    for layer, item in changes:
        arrow = f"{_label(item.previous)} -> {_label(item.level)}"
        click.echo(f"{layer.day}  {arrow:<20}  {_zone(item)}: {item.rule}")
    if not changes:
        click.echo("no level changed")


@alerts.command(epilog="Example: colluvium alerts rehearse --since 2025-10-01 --red 0.25,0.2 -c region.toml")
@config_option
@click.option("--since", type=DAY, required=True, help="First day of the archive's layers to replay.")
@click.option("--until", type=DAY, help="Last day (default: the newest).")
@click.option("--yellow", type=Thresholds(), help="Other thresholds than the settings', in shares of 1.")
@click.option("--orange", type=Thresholds(), help="The same of orange.")
@click.option("--red", type=Thresholds(), help="The same of red.")
@click.option("--keep", type=float, help="Share of a level's growth that keeps it.")
@click.option("--lower-after-days", type=int, help="Calm days in a row before a level goes down.")
@click.option("--max-unknown", type=float, help="Unknown share of a zone above which nothing is said.")
@click.option(
    "--events",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="CSV of landslides: day, and zone or lon and lat; kind = nothing_seen for visits. Default: the "
    "inventory of [training]. Accepted reports from the field always count.",
)
@json_option
def rehearse(
    config: Path,
    since: date,
    until: date | None,
    events: Path | None,
    as_json: bool,
    **changes: Any,
) -> None:
    """Replay the archive's layers with given thresholds: how often they would have called, and for what.

    Counts calls a year, landslides caught in time, on the day after only, or missed, by level and zone. An
    alarm is called false only where somebody looked that day and saw nothing. Changes nothing.
    """
    settings = load_settings(config)
    rules = _changed(settings.warnings, changes)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        records = ledger.levels.days(since, until or date.max)
        kept = ledger.events.all()
    if not records:
        raise UsageError(
            f"the archive holds no layer from {since} on; see 'colluvium layers', or make some with "
            f"'colluvium backfill --since {since}'"
        )
    notes = []
    if silent := sum(not record.may_warn for record in records):
        notes.append(
            f"on {silent} of {len(records)} days the model may not warn: there it would have said nothing"
        )
    found = judge(replay(records, rules), gather(settings, events, kept), notes)
    if as_json:
        print_json({"thresholds": rules.model_dump(mode="json"), **asdict(found)})
    else:
        _print_rehearsal(settings, rules, found)


def _changed(rules: WarningSettings, changes: dict[str, Any]) -> WarningSettings:
    """Return the settings' rules with what the command line says otherwise."""
    said = rules.model_dump()
    for name, value in changes.items():
        if value is not None:
            said[name] = {"share": value[0], "growth": value[1]} if isinstance(value, tuple) else value
    try:
        return WarningSettings.model_validate(said)
    except ValidationError as error:
        what = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise UsageError(f"these thresholds cannot be: {what.removeprefix(': ')}") from error


def _print_rehearsal(settings: Settings, rules: WarningSettings, found: Rehearsal) -> None:
    label = " (SYNTHETIC)" if settings.region.synthetic else ""
    click.echo(
        f"rehearsal of {settings.region.id}{label}: {found.days} days with a map, {found.since} to "
        f"{found.until}, {len(found.zones)} zones"
    )
    for name in LEVEL_LABELS[1:]:
        rule = getattr(rules, name)
        click.echo(
            f"  {name:<7} from {rule.share:.1%} high or very high and {rule.growth * 100:.1f} points of "
            f"growth; kept by {rules.keep * rule.growth * 100:.1f} points above the share before the rise"
        )
    click.echo(
        f"  down after {rules.lower_after_days} calm days; not known above {rules.max_unknown:.0%} unknown\n"
    )
    heads: tuple[str, ...] = ("level", "calls", "a year", "days of calls", "a year", "zone-days", *_JUDGED)
    rows: list[Sequence[object]] = [
        (
            item.level, item.calls, f"{item.calls_a_year:.1f}", item.days_with_a_call,
            f"{item.days_with_a_call_a_year:.1f}", item.zone_days, item.in_time, item.late, item.missed,
            item.not_known, item.false_alarms if found.visits else "-",
        )
        for item in found.levels
    ]  # fmt: skip
    _print_table(heads, rows)
    click.echo("")
    heads = ("zone", *(f"days {name}" for name in ("unknown", *LEVEL_LABELS)), "calls", "events", *_JUDGED)
    rows = []
    for zone in found.zones:
        yellow = zone.judged["yellow"]
        rows.append(
            (
                zone.name or zone.zone, *zone.days.values(), zone.calls["yellow"], zone.events,
                yellow.in_time, yellow.late, yellow.missed, yellow.not_known,
                yellow.false_alarms if found.visits else "-",
            )
        )  # fmt: skip
    _print_table(heads, rows)
    click.echo("\nby zone, calls and what they met are of yellow and above")
    click.echo(
        f"events: {found.landslides} landslides on {found.events} days of zones; of all landslides and "
        f"visits, of any day, {found.outside} lie in no zone"
    )
    if found.visits:
        click.echo(f"visits: {found.visits} days of zones on which somebody looked and saw nothing")
    else:
        click.echo("no visit where nothing was seen is known: false alarms cannot be counted")
    if found.decided_otherwise:
        click.echo(f"the levels decided at the time differ on {found.decided_otherwise} days of zones")
    for note in found.notes:
        click.echo(f"note: {note}")


_JUDGED = ("in time", "day after", "missed", "not known", "false")


def _print_table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    texts = [[str(item) for item in row] for row in rows]
    widths = [max(len(item) for item in column) for column in zip(heads, *texts, strict=True)]
    for row in ([*heads], *texts):
        first, *others = (
            item.ljust(width) if number == 0 else item.rjust(width)
            for number, (item, width) in enumerate(zip(row, widths, strict=True))
        )
        click.echo("  ".join([first, *others]).rstrip())


def _layer_said(layer: Layer) -> dict[str, Any]:
    return {
        "layer": layer.id,
        "day": layer.day,
        "lead": layer.lead,
        "status": layer.status.value,
        "may_warn": layer.model.may_warn,
        "zones": [_said(item) for item in layer.warnings],
    }


def _said(warning: ZoneWarning) -> dict[str, Any]:
    return {"label": warning.label, **warning.model_dump(mode="json")}


def _why_none(layer: Layer, rules: WarningSettings) -> str:
    if not layer.model.may_warn:
        return f"the model {layer.model.name} may not warn here"
    return "they are decided with the next map" if rules.enabled else "warnings.enabled is false"


def _label(level: int | None) -> str:
    return _UNKNOWN if level is None else LEVEL_LABELS[level]


def _zone(warning: ZoneWarning) -> str:
    return warning.name or warning.zone or "whole region"


COMMANDS = (alerts,)
