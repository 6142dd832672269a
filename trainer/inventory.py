"""The inventory: dated landslides, each with the accuracy of its place and of its time.

    read_inventory(source, crs, timezone) -> Inventory     what `[training.inventory]` of a region names
    InventorySource(...)                                   path, form (CSV, ITALICA, vectors), columns
    Inventory.events: tuple[Event, ...]                    usable rows, in the order of the file
    Inventory.problems: tuple[RowProblem, ...]             unusable rows, each with its number and reason
    Event(id, x, y, day, accuracy_m, time_accuracy, area_m2)   x, y in the region's CRS, metres

`trainer.inventory_events` adds the ledger's landslides where the settings ask for them.

A row that cannot be used is reported, never repaired; a file that cannot be used raises InputError. What the
grid and the other rows say of a row, `trainer.inventory_screen` finds.

An outline becomes a point on it. Its accuracy is the distance to the outline's farthest corner, or the stated
one where that is larger: the initiation lies within it.
"""

from __future__ import annotations

from zoneinfo import ZoneInfo

import numpy as np
from rasterio.crs import CRS

from service.errors import InputError
from service.files import sha256_file
from trainer.inventory_crs import are_degrees, to_crs, wrong_unit
from trainer.inventory_rows import (
    Event,
    FilePlace,
    FileRows,
    Form,
    Inventory,
    InventorySource,
    NoDayError,
    Row,
    RowProblem,
    TimeAccuracy,
)
from trainer.inventory_tables import read_csv, read_italica
from trainer.inventory_vectors import place_on, read_vectors

_SUFFIXES: dict[str, Form] = {
    ".csv": "csv",
    ".geojson": "geojson",
    ".json": "geojson",
    ".gpkg": "geopackage",
    ".shp": "shapefile",
}


def read_inventory(source: InventorySource, crs: CRS, timezone: ZoneInfo) -> Inventory:
    """Read an inventory into the region's CRS and calendar.

    Raises InputError where the file, its header or its CRS cannot be used, or no row can.
    """
    form = source.form or _SUFFIXES.get(source.file.suffix.lower())
    if form is None:
        raise InputError(
            f"inventory {source.file}: its suffix does not tell its form; set form to one of csv, italica, "
            "geojson, geopackage, shapefile"
        )
    if form == "italica":
        file = read_italica(source, timezone)
    elif form == "csv":
        file = read_csv(source, timezone)
    else:
        file = read_vectors(source, form, timezone)
    _refuse_wrong_unit(source, file)
    return _place(source, file, crs)


def _refuse_wrong_unit(source: InventorySource, file: FileRows) -> None:
    """Raise InputError where no place of the file can be one of its CRS."""
    xy = np.array([(row.x, row.y) for _, row in file.rows if isinstance(row, Row)]).reshape(-1, 2)
    # One row may be a slip of the pen; several are a wrong CRS.
    if len(xy) > 1 or not file.crs.is_geographic:
        words = wrong_unit(file.crs, xy) if len(xy) else None
        if words:
            raise InputError(f"inventory {source.file}, {len(xy)} places: {words}")


def _place(source: InventorySource, file: FileRows, crs: CRS) -> Inventory:
    """Bring the usable rows into the region's CRS; raise InputError where none is left."""
    events, places, problems = place_rows(file, crs)
    if not events:
        undated = sum(isinstance(row, NoDayError) for _, row in file.rows)
        if undated and undated == len(file.rows):
            raise InputError(
                f"inventory {source.file} holds no usable event: none of its {undated} rows has a date in "
                f"{source.day_column}; name the column of the dates by day_column"
            )
        why = f"; {problems[0].words}" if problems else ""
        raise InputError(f"inventory {source.file} holds no usable event{why}")
    return Inventory(
        source.file,
        sha256_file(source.file),
        tuple(events),
        tuple(problems),
        file.crs,
        tuple(places),
        file.unit,
    )


def place_rows(file: FileRows, crs: CRS) -> tuple[list[Event], list[FilePlace], list[RowProblem]]:
    """Bring rows into the region's CRS: events with their places in the file, and the rows that are none."""
    problems: list[RowProblem] = []
    good: list[tuple[int, Row]] = []
    seen: set[str] = set()
    for number, row in file.rows:
        if isinstance(row, ValueError):
            problems.append(RowProblem(number, str(row), file.unit))
        elif file.crs.is_geographic and not are_degrees(np.array([[row.x, row.y]]))[0]:
            reason = f"({row.x}, {row.y}) is not longitude and latitude in degrees"
            problems.append(RowProblem(number, reason, file.unit))
        elif row.id in seen:
            problems.append(RowProblem(number, f"id {row.id!r} appears a second time", file.unit))
        else:
            seen.add(row.id)
            good.append((number, row))
    events: list[Event] = []
    places: list[FilePlace] = []
    xy = to_crs(file.crs, crs, np.array([(row.x, row.y) for _, row in good], np.float64).reshape(-1, 2))
    for (number, row), (x, y) in zip(good, xy, strict=True):
        try:
            event = _event(row, float(x), float(y), file.crs, crs)
        except ValueError as error:
            problems.append(RowProblem(number, str(error), file.unit))
        else:
            events.append(event)
            places.append(FilePlace(number, row.x, row.y, file.unit))
    problems.sort(key=lambda problem: problem.row)
    return events, places, problems


def _event(row: Row, x: float, y: float, file_crs: CRS, crs: CRS) -> Event:
    nowhere = ValueError(f"({row.x}, {row.y}) has no place in the region's CRS, {crs.to_string()}")
    if row.outline is None:
        if not np.isfinite([x, y]).all():
            raise nowhere
        return Event(row.id, x, y, row.day, row.accuracy_m, row.time_accuracy)
    if not crs.is_projected:
        raise InputError(f"outlines need a region in a projected CRS, not {crs.to_string()}")
    placed = place_on(row.outline, file_crs, crs)
    if placed is None:
        raise nowhere
    x, y, radius, area = placed
    return Event(row.id, x, y, row.day, max(row.accuracy_m, radius), row.time_accuracy, area)


__all__ = [
    "Event",
    "FilePlace",
    "Form",
    "Inventory",
    "InventorySource",
    "RowProblem",
    "TimeAccuracy",
    "place_rows",
    "read_inventory",
]
