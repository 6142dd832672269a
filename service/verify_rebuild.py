"""Maps that were not kept, or never made, made again as of their day: the replay path of `refresh --as-of`.

A removed layer is rebuilt as of the moment it was issued, a missing one as of the end of its day. What is
made lies under replays/ and is never shown. Readings, decisions and inputs are those that were known then;
where inputs of that time were not on record, the map is marked as one of hindsight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path

from service.ledger import Ledger
from service.ledger_displays import Display
from service.refreshed import Refreshed
from service.runs import run_days
from service.settings import Settings


def rebuild_days(
    settings: Settings,
    settings_path: Path,
    ledger: Ledger,
    clock: Callable[[], datetime],
    displays: Sequence[Display],
) -> dict[date, Display]:
    """Return the days that had no readable map, with the map that was made again, or why none could be.

    A day whose map was withdrawn stays as it is: somebody decided that it was not to be shown.
    """
    found = {}
    for display in displays:
        if display.folder is not None or (display.layer_id is None and display.why):
            continue
        found[display.day] = _rebuilt(settings, settings_path, ledger, clock, display)
    return found


def _rebuilt(
    settings: Settings,
    settings_path: Path,
    ledger: Ledger,
    clock: Callable[[], datetime],
    display: Display,
) -> Display:
    end = datetime.combine(display.day + timedelta(days=1), time_of_day(), settings.timezone)
    moment = display.issued_at or end - timedelta(seconds=1)
    if moment > clock():
        return replace(display, why=f"{display.day} has not ended, and has no map")
    result = run_days(
        settings,
        settings_path,
        lambda _: [display.day],
        purpose="colluvium verify --rebuild",
        clock=clock,
        as_of=moment,
    )[-1]
    return _display_of(display, result, moment, ledger)


def _display_of(display: Display, result: Refreshed, moment: datetime, ledger: Ledger) -> Display:
    layer = result.layer
    if layer is None:
        return replace(display, why=f"it could not be rebuilt: {result.reason}")
    recorded = all(
        version is None or version.recorded
        for version in (ledger.inputs.at(kind, moment) for kind in ("settings", "bundle", "stack"))
    )
    return replace(
        display,
        layer_id=layer.id,
        digest=layer.digest,
        issued_at=moment,
        hindsight=display.hindsight or not recorded,
        folder=layer.folder,
        scheme=layer.classes,
        model=f"{layer.model.name} {layer.model.version} {layer.model.digest}",
        may_warn=layer.model.may_warn,
        levels=display.levels or {item.zone: item.level for item in layer.warnings if item.level is not None},
        why="",
    )
