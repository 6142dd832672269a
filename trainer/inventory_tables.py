"""Inventories that are tables: any CSV with its columns named, and ITALICA's."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from datetime import date, datetime
from zoneinfo import ZoneInfo

from rasterio.crs import CRS
from rasterio.errors import CRSError

from service.errors import InputError
from trainer.inventory_rows import (
    POINT_ACCURACY_M,
    FileRows,
    InventorySource,
    ReadRow,
    Row,
    TimeAccuracy,
    day_of,
    time_accuracy_of,
)

# ITALICA gives the place to P0 (the exact point), P1, P10 ... kilometres; a point on a map is good to 100 m.
_ITALICA_EXACT_M = 100.0
_ITALICA_ZONE = "Europe/Rome"
_ITALICA_COLUMNS = (
    "id", "lon", "lat", "geographic_accuracy", "day", "month", "year", "local_date", "temporal_accuracy",
)  # fmt: skip
_ITALICA_TIME: dict[str, TimeAccuracy] = {"T1": "hour", "T2": "part of day", "T3": "day"}
_DEFAULT_CRS = "EPSG:4326"


def read_csv(source: InventorySource, region: ZoneInfo) -> FileRows:
    """Read a CSV whose columns `source` names. Raises InputError for the file, its header or its CRS."""
    named = source.crs or _DEFAULT_CRS
    try:
        crs = CRS.from_user_input(named)
    except CRSError as error:
        raise InputError(f"inventory {source.file}: {named!r} is not a CRS") from error
    columns = [source.id_column, source.x_column, source.y_column, source.day_column]
    columns += [name for name in (source.accuracy_column, source.time_accuracy_column) if name]
    zone = ZoneInfo(source.timezone) if source.timezone else region
    rows = _read(source, source.separator, tuple(columns), lambda row: _csv_row(row, source, zone, region))
    return FileRows(crs, rows)


def read_italica(source: InventorySource, region: ZoneInfo) -> FileRows:
    """Read a file of the ITALICA catalogue. Raises InputError for the file or its header."""
    zone = ZoneInfo(_ITALICA_ZONE)
    rows = _read(source, ";", _ITALICA_COLUMNS, lambda row: _italica_row(row, zone, region))
    return FileRows(CRS.from_epsg(4326), rows)


def _read(
    source: InventorySource,
    separator: str,
    columns: tuple[str, ...],
    parse: Callable[[dict[str, str]], Row],
) -> list[ReadRow]:
    rows: list[ReadRow] = []
    try:
        with source.file.open(encoding=source.encoding or "utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"inventory {source.file} has no column {', '.join(missing)}; it has: "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}"
                )
            for fields in reader:
                try:
                    rows.append((reader.line_num, parse(_whole(fields, columns))))
                except ValueError as error:
                    rows.append((reader.line_num, error))
    except (OSError, LookupError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"inventory {source.file} cannot be read: {error}") from error
    return rows


def _whole(fields: dict[str, str], columns: tuple[str, ...]) -> dict[str, str]:
    """Return the wanted columns, stripped; a short row leaves None behind, which is a fault of the row."""
    short = [name for name in columns if fields.get(name) is None]
    if short:
        raise ValueError(f"the row ends before {', '.join(short)}")
    return {name: fields[name].strip() for name in columns}


def _csv_row(row: dict[str, str], source: InventorySource, zone: ZoneInfo, region: ZoneInfo) -> Row:
    identity = row[source.id_column]
    if not identity:
        raise ValueError(f"{source.id_column} is empty")
    x, y = _number(row, source.x_column), _number(row, source.y_column)
    day, known = day_of(row[source.day_column], source, zone, region)
    if source.time_accuracy_column:
        known = time_accuracy_of(row[source.time_accuracy_column], source.time_accuracy_column)
    accuracy = POINT_ACCURACY_M if source.accuracy_m is None else source.accuracy_m
    if source.accuracy_column:
        accuracy = _number(row, source.accuracy_column)
    if accuracy < 0:
        raise ValueError(f"{source.accuracy_column} {accuracy} is negative")
    return Row(identity, x, y, day, accuracy, known)


def _italica_row(row: dict[str, str], zone: ZoneInfo, region: ZoneInfo) -> Row:
    if not row["id"]:
        raise ValueError("id is empty")
    x, y = _number(row, "lon"), _number(row, "lat")
    text = row["local_date"]
    try:
        local = datetime.strptime(text, "%d/%m/%Y %H:%M")  # noqa: DTZ007 - the zone is joined below
    except ValueError as error:
        raise ValueError(f"local_date {text!r} is not of the form DD/MM/YYYY HH:MM") from error
    try:
        stated = date(int(row["year"]), int(row["month"]), int(row["day"]))
    except ValueError as error:
        raise ValueError(f"{row['day']}/{row['month']}/{row['year']} is not a date") from error
    if stated != local.date():
        raise ValueError(f"local_date says {local.date()}, day, month and year say {stated}")
    accuracy = row["geographic_accuracy"]
    if not (accuracy.startswith("P") and accuracy[1:].isdigit()):
        raise ValueError(f"geographic_accuracy {accuracy!r} is not of the form P10")
    metres = float(accuracy[1:]) * 1000 or _ITALICA_EXACT_M
    if row["temporal_accuracy"] not in _ITALICA_TIME:
        raise ValueError(f"temporal_accuracy {row['temporal_accuracy']!r} is not one of T1, T2, T3")
    day = local.replace(tzinfo=zone).astimezone(region).date()
    return Row(row["id"], x, y, day, metres, _ITALICA_TIME[row["temporal_accuracy"]])


def _number(row: dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError as error:
        raise ValueError(f"{name} {row[name]!r} is not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"{name} {row[name]!r} is not a finite number")
    return value
