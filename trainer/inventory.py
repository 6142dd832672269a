"""The inventory: dated landslides, each with the accuracy of its place and of its time.

    read_inventory(source, crs, timezone) -> Inventory     what `[training.inventory]` of a region names
    InventorySource(...)                                   path, form ("csv" or "italica"), columns
    Inventory.events: tuple[Event, ...]                    usable rows, in the order of the file
    Inventory.problems: tuple[RowProblem, ...]             unusable rows, each with its line and reason
    Event(id, x, y, day, accuracy_m, time_accuracy)        x, y in the region's CRS, metres

A row that cannot be used is reported, never repaired; a file that cannot be used raises InputError.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from service.errors import InputError
from service.files import sha256_file

# ITALICA gives the place to P0 (the exact point), P1, P10 ... kilometres; a point on a map is good to 100 m.
_ITALICA_EXACT_M = 100.0
_ITALICA_ZONE = "Europe/Rome"
_ITALICA_COLUMNS = (
    "id", "lon", "lat", "geographic_accuracy", "day", "month", "year", "local_date", "temporal_accuracy",
)  # fmt: skip

TimeAccuracy = Literal["hour", "part of day", "day"]
_ITALICA_TIME: dict[str, TimeAccuracy] = {"T1": "hour", "T2": "part of day", "T3": "day"}


@dataclass(frozen=True)
class Event:
    """One landslide: where (region's CRS, metres) and on which day of the region's time zone."""

    id: str
    x: float
    y: float
    day: date
    accuracy_m: float  # the landslide lies within this distance of (x, y)
    time_accuracy: TimeAccuracy = "day"


@dataclass(frozen=True)
class RowProblem:
    """A row that was not used. Lines count from 1, the header included, as an editor shows them."""

    line: int
    reason: str


@dataclass(frozen=True)
class Inventory:
    """The events of one file, and what is wrong with its other rows."""

    path: Path
    digest: str  # SHA-256 of the file
    events: tuple[Event, ...]
    problems: tuple[RowProblem, ...]


class InventorySource(BaseModel):
    """Where an inventory lies and how its columns are called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path
    form: Literal["csv", "italica"] = "csv"
    # The rest describes a "csv"; ITALICA's columns are known.
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","
    encoding: str = "utf-8-sig"
    crs: str = "EPSG:4326"  # of the two columns below
    x_column: str = "lon"
    y_column: str = "lat"
    id_column: str = "id"
    day_column: str = "date"
    day_format: str = "%Y-%m-%d"  # with %H, the time is taken to be local to `timezone`
    timezone: str | None = None  # of the dates; default: the region's
    accuracy_column: str | None = None  # metres
    accuracy_m: Annotated[float, Field(ge=0)] = 100.0  # where there is no such column


# One row: id, x, y (in the file's CRS), day, accuracy in metres, time accuracy. Raises ValueError.
_Row = tuple[str, float, float, date, float, TimeAccuracy]


def read_inventory(source: InventorySource, crs: CRS, timezone: ZoneInfo) -> Inventory:
    """Read an inventory into the region's CRS and calendar.

    Raises InputError where the file, its header or its CRS cannot be used.
    """
    if source.form == "italica":
        zone = ZoneInfo(_ITALICA_ZONE)
        return _read(
            source.path,
            ";",
            source.encoding,
            _ITALICA_COLUMNS,
            CRS.from_epsg(4326),
            crs,
            lambda row: _italica_row(row, zone, timezone),
        )
    try:
        file_crs = CRS.from_user_input(source.crs)
    except CRSError as error:
        raise InputError(f"inventory {source.path}: {source.crs!r} is not a CRS") from error
    columns = [source.id_column, source.x_column, source.y_column, source.day_column]
    if source.accuracy_column:
        columns.append(source.accuracy_column)
    zone = ZoneInfo(source.timezone) if source.timezone else timezone
    return _read(
        source.path,
        source.separator,
        source.encoding,
        tuple(columns),
        file_crs,
        crs,
        lambda row: _csv_row(row, source, zone, timezone),
    )


def _read(
    path: Path,
    separator: str,
    encoding: str,
    columns: tuple[str, ...],
    file_crs: CRS,
    crs: CRS,
    parse: Callable[[dict[str, str]], _Row],
) -> Inventory:
    good: list[_Row] = []
    problems: list[RowProblem] = []
    seen: set[str] = set()
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.DictReader(file, delimiter=separator, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"inventory {path} has no column {', '.join(missing)}; it has: "
                    f"{', '.join(reader.fieldnames or ()) or 'none'}"
                )
            for fields in reader:
                try:
                    row = parse(_whole(fields, columns))
                    if row[0] in seen:
                        raise ValueError(f"id {row[0]!r} appears a second time")
                except ValueError as error:
                    problems.append(RowProblem(reader.line_num, str(error)))
                else:
                    seen.add(row[0])
                    good.append(row)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"inventory {path} cannot be read: {error}") from error
    if not good:
        why = f"; line {problems[0].line}: {problems[0].reason}" if problems else ""
        raise InputError(f"inventory {path} holds no usable event{why}")
    xs, ys = transform(file_crs, crs, [row[1] for row in good], [row[2] for row in good])
    events = tuple(
        Event(row[0], float(x), float(y), row[3], row[4], row[5])
        for row, x, y in zip(good, xs, ys, strict=True)
    )
    return Inventory(path, sha256_file(path), events, tuple(problems))


def _whole(fields: dict[str, str], columns: tuple[str, ...]) -> dict[str, str]:
    """Return the wanted columns, stripped; a short row leaves None behind, which is a fault of the row."""
    short = [name for name in columns if fields.get(name) is None]
    if short:
        raise ValueError(f"the row ends before {', '.join(short)}")
    return {name: fields[name].strip() for name in columns}


def _csv_row(row: dict[str, str], source: InventorySource, zone: ZoneInfo, region: ZoneInfo) -> _Row:
    identity = row[source.id_column]
    if not identity:
        raise ValueError(f"{source.id_column} is empty")
    x, y = _number(row, source.x_column), _number(row, source.y_column)
    if CRS.from_user_input(source.crs).is_geographic:
        _check_degrees(x, y)
    text = row[source.day_column]
    try:
        moment = datetime.strptime(text, source.day_format)  # noqa: DTZ007 - the zone is joined below
    except ValueError as error:
        raise ValueError(f"{source.day_column} {text!r} is not of the form {source.day_format}") from error
    # A bare date has no midnight to move across; one with a time does.
    timed = "%H" in source.day_format or "%I" in source.day_format
    day = moment.replace(tzinfo=zone).astimezone(region).date() if timed else moment.date()
    accuracy = _number(row, source.accuracy_column) if source.accuracy_column else source.accuracy_m
    if accuracy < 0:
        raise ValueError(f"{source.accuracy_column} {accuracy} is negative")
    return identity, x, y, day, accuracy, "hour" if timed else "day"


def _italica_row(row: dict[str, str], zone: ZoneInfo, region: ZoneInfo) -> _Row:
    if not row["id"]:
        raise ValueError("id is empty")
    x, y = _number(row, "lon"), _number(row, "lat")
    _check_degrees(x, y)
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
    return row["id"], x, y, day, metres, _ITALICA_TIME[row["temporal_accuracy"]]


def _number(row: dict[str, str], name: str) -> float:
    try:
        value = float(row[name])
    except ValueError as error:
        raise ValueError(f"{name} {row[name]!r} is not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"{name} {row[name]!r} is not a finite number")
    return value


def _check_degrees(lon: float, lat: float) -> None:
    if abs(lon) > 180 or abs(lat) > 90:
        raise ValueError(f"({lon}, {lat}) is not longitude and latitude in degrees")
