"""The ledger's inventory beside a file's: landslides that were detected, reported, added or imported.

One that the file holds too, by its id, is left out here; one that lies where the file has a landslide of the
same day is left out by `trainer.inventory_screen`, as any that is said twice. One whose days are not known
well enough is left out and told: its window of rain would be a guess.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import shapely
from rasterio.crs import CRS

from exporters.event import Event as KeptEvent
from service.errors import InputError
from service.event_places import shape_of
from service.files import digest_of
from service.ledger import Ledger
from service.settings import Settings
from service.workshop import ledger_path
from trainer.inventory import place_rows, read_inventory
from trainer.inventory_crs import to_crs
from trainer.inventory_rows import Event, FilePlace, FileRows, Inventory, InventorySource, ReadRow, Row

_DEGREES = "EPSG:4326"


def read_region_inventory(source: InventorySource, settings: Settings, crs: CRS) -> Inventory:
    """Read what `[training.inventory]` of a region names: its file, its ledger's events, or both.

    Raises InputError where neither holds a landslide that can be used.
    """
    file = read_inventory(source, crs, settings.timezone) if source.path is not None else None
    if not source.with_events:
        if file is None:
            raise InputError("training.inventory names neither a file nor the ledger")
        return file
    found = read_ledger(source, settings)
    rows = _rows(found, {event.id for event in file.events} if file else set(), source.event_span_days)
    events, places, problems = place_rows(FileRows(CRS.from_user_input(_DEGREES), rows, "event"), crs)
    sources = {event.uid: _source(event) for event in found}
    events = [replace(event, source=sources[event.id]) for event in events]
    records = [source.event_span_days, *map(_record, found)]
    if file is None:
        if not events:
            raise InputError(
                f"the inventory of {ledger_path(settings)} holds no landslide that can be used"
                + (f"; {problems[0].words}" if problems else "; see 'colluvium event list'")
            )
        return Inventory(
            ledger_path(settings),
            digest_of(records),
            tuple(events),
            tuple(problems),
            CRS.from_user_input(_DEGREES),
            tuple(places),
            "event",
        )
    return Inventory(
        file.path,
        digest_of(file.digest, records),
        (*file.events, *events),
        (*file.problems, *problems),
        file.crs,
        (*file.places, *_moved(places, file.crs)),
        file.unit,
    )


def read_ledger(source: InventorySource, settings: Settings) -> list[KeptEvent]:
    """Return the ledger's landslides, those that are not dated well enough included."""
    with Ledger(ledger_path(settings), lambda: datetime.now(UTC), make=False) as ledger:
        return ledger.events.all("landslide", as_of=source.events_as_of)


def count_sources(events: Iterable[Event]) -> dict[str, int]:
    """Count landslides by where they are from: file first, then the ledger's sources."""
    counts = Counter(event.source for event in events)
    return dict(sorted(counts.items(), key=lambda item: (item[0] != "file", item[0])))


def _source(event: KeptEvent) -> str:
    return f"{event.source} by {event.detector}" if event.detector else event.source


def _rows(events: Sequence[KeptEvent], in_file: set[str], most_days: int) -> list[ReadRow]:
    rows: list[ReadRow] = []
    for number, event in enumerate(events, start=1):
        span = (event.day - event.day_from).days + 1
        if event.uid in in_file:
            rows.append((number, ValueError(f"{event.uid} of the ledger stands in the file too")))
        elif span > most_days:
            days = f"one of {span} days, {event.day_from} to {event.day}"
            why = f"{event.uid} ({event.source}) happened on {days}"
            rows.append((number, ValueError(f"{why}; training.inventory.event_span_days = {most_days}")))
        else:
            rows.append((number, _row(event)))
    return rows


def _row(event: KeptEvent) -> Row:
    outline: shapely.Geometry | None = None
    if event.outline is not None:
        outline = shape_of(event.outline)
        if outline.geom_type not in ("Polygon", "MultiPolygon"):
            outline = None
    accuracy = event.accuracy_m if outline is None else 0.0
    return Row(event.uid, event.lon, event.lat, event.day, accuracy, "day", outline)


def _record(event: KeptEvent) -> tuple[object, ...]:
    """What of an event decides what is learned from it."""
    days = event.day_from.isoformat(), event.day.isoformat()
    return event.uid, event.source, *days, event.lon, event.lat, event.accuracy_m, event.outline


def _moved(places: Sequence[FilePlace], crs: CRS) -> list[FilePlace]:
    """Places of the ledger in the CRS of the file."""
    xy = np.array([(place.x, place.y) for place in places], np.float64).reshape(-1, 2)
    moved = to_crs(CRS.from_user_input(_DEGREES), crs, xy)
    return [
        FilePlace(place.row, float(x), float(y), place.unit)
        for place, (x, y) in zip(places, moved, strict=True)
    ]
