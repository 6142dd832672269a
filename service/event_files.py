"""Events in files: a table of others becomes events of the inventory, and the inventory a table for others.

    id          one for each event; the same id is never taken twice
    lon, lat    degrees, WGS 84 (of a CSV; vectors have geometries, in any CRS that they state)
    date        the day, or the last one on which it may have happened; also called day
    day_from    the first of these days; empty: `date`
    accuracy_m  the landslide lies within this distance; empty: 100 m, or the outline's farthest corner
    kind        landslide (also where it is empty) or nothing_seen
    note        in words

A row that cannot be used is told with its number, and then nothing of the file is taken.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, TypeAlias, cast

import numpy as np
import pyogrio
import pyogrio.raw
import rasterio.warp
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from exporters.event import Event, EventKind
from service.errors import InputError, UsageError
from service.event_places import area_m2, farthest_m, shape_of, to_geojson
from service.files import replacing
from service.proposals import ASSUMED_ACCURACY_M

VECTORS = {".geojson": "GeoJSON", ".json": "GeoJSON", ".gpkg": "GPKG"}
COLUMNS = (
    "id", "kind", "source", "day_from", "date", "lon", "lat", "accuracy_m", "area_m2", "confidence",
    "detector", "scene", "note", "by", "reason", "recorded_at",
)  # fmt: skip
_NUMBERS = ("lon", "lat", "accuracy_m", "area_m2", "confidence")
_KINDS = ("landslide", "nothing_seen")
_LONGEST_ID, _LONGEST_NOTE = 200, 4_000
_LAYER = "events"

Geometry: TypeAlias = "shapely.Geometry | ValueError | None"  # or what is wrong with it; None: of a table
Inside = Callable[[float, float], bool]  # lon, lat: whether the region's grid holds it


@dataclass(frozen=True)
class BadRow:
    """A row that cannot be used. Lines count from 1, header included; features as the file counts them."""

    row: int
    reason: str


@dataclass(frozen=True)
class EventFile:
    """A file of events as it was read."""

    events: tuple[Event, ...]
    problems: tuple[BadRow, ...]


def read_events(path: Path, by: str, reason: str, now: datetime, today: date, inside: Inside) -> EventFile:
    """Read events that others kept; `by` and `reason` are of whoever imports them at the moment `now`.

    Raises InputError where the file, its columns or its CRS cannot be used.
    """
    if path.suffix.lower() in VECTORS:
        rows: Iterable[tuple[int, dict[str, str], Geometry]] = _vectors(path)
    elif path.suffix.lower() == ".csv":
        rows = _table(path)
    else:
        raise InputError(f"{path}: events are read from .csv, .geojson and .gpkg; convert it with ogr2ogr")
    events: list[Event] = []
    problems: list[BadRow] = []
    seen: dict[str, int] = {}
    for number, fields, geometry in rows:
        try:
            event = _event(fields, geometry, by, reason, now, today, inside)
            if event.uid in seen:
                raise ValueError(f"id {event.uid!r} stands in row {seen[event.uid]} already")
        except ValueError as error:
            problems.append(BadRow(number, str(error)))
        else:
            seen[event.uid] = number
            events.append(event)
    if not events and not problems:
        raise InputError(f"{path} holds no event")
    return EventFile(tuple(events), tuple(problems))


def read_outline(path: Path) -> shapely.Geometry:
    """Return the one outline of a file, in degrees. Raises InputError where that is not what it holds."""
    if path.suffix.lower() not in VECTORS:
        raise InputError(f"{path}: an outline is read from .geojson or .gpkg")
    shapes = [geometry for _, _, geometry in _vectors(path, needs_columns=False)]
    (shape,) = shapes if len(shapes) == 1 else (None,)
    if shape is None or isinstance(shape, ValueError) or shape.geom_type == "Point":
        why = f": {shape}" if isinstance(shape, ValueError) else ""
        raise InputError(f"{path} does not hold one polygon alone{why}; give the landslide's outline")
    return shape


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write events as a CSV, GeoPackage or GeoJSON, by the suffix; outlines go into the latter two.

    Raises UsageError for another suffix.
    """
    suffix = path.suffix.lower()
    if suffix == ".csv":
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            for event in events:
                values = _values(event)
                writer.writerow(["" if values[name] is None else values[name] for name in COLUMNS])
    elif suffix in VECTORS:
        with replacing(path) as temporary:
            _write_vectors(temporary, VECTORS[suffix], events)
    else:
        raise UsageError(f"{path}: events are written as .csv, .gpkg or .geojson")


def check_place(lon: float, lat: float, inside: Inside) -> None:
    """Raise ValueError for a place that is none in degrees, or that the region does not hold."""
    if not (math.isfinite(lon) and math.isfinite(lat) and abs(lon) <= 180 and abs(lat) <= 90):
        raise ValueError(f"({lon}, {lat}) is not longitude and latitude in degrees")
    if not inside(lon, lat):
        swapped = abs(lon) <= 90 and inside(lat, lon)
        words = "; longitude and latitude look exchanged" if swapped else ""
        raise ValueError(f"({lon:g}, {lat:g}) lies outside the region's grid{words}")


def check_days(first: date, last: date, today: date) -> None:
    """Raise ValueError for days that cannot be."""
    if first > last:
        raise ValueError(f"day_from {first} is after the day, {last}")
    if last > today:
        raise ValueError(f"{last} has not come yet")


def _event(
    fields: dict[str, str],
    geometry: Geometry,
    by: str,
    reason: str,
    now: datetime,
    today: date,
    inside: Inside,
) -> Event:
    if isinstance(geometry, ValueError):
        raise geometry
    uid = fields.get("id", "")
    if not uid or len(uid) > _LONGEST_ID or not uid.isprintable():
        raise ValueError(f"id {uid[:40]!r} is not 1 to {_LONGEST_ID} printable letters")
    kind = fields.get("kind") or "landslide"
    if kind not in _KINDS:
        raise ValueError(f"kind is {kind!r}, not {' or '.join(_KINDS)}")
    last = _day(fields.get("date") or fields.get("day", ""), "date")
    first = _day(fields["day_from"], "day_from") if fields.get("day_from") else last
    check_days(first, last, today)
    outline = geometry if geometry is not None and geometry.geom_type != "Point" else None
    if geometry is None:
        lon, lat = _number(fields, "lon"), _number(fields, "lat")
    else:
        place = geometry if outline is None else geometry.representative_point()
        lon, lat = float(place.x), float(place.y)
    check_place(lon, lat, inside)
    stated = _number(fields, "accuracy_m") if fields.get("accuracy_m") else None
    if stated is not None and stated < 0:
        raise ValueError(f"accuracy_m is {stated:g}, less than 0")
    if outline is None:
        accuracy = ASSUMED_ACCURACY_M if stated is None else stated
    else:
        accuracy = max(stated or 0.0, farthest_m(outline, lon, lat))
    return Event(
        uid=uid,
        kind=cast(EventKind, kind),
        source="imported",
        day_from=first,
        day=last,
        lon=lon,
        lat=lat,
        accuracy_m=accuracy,
        area_m2=area_m2(outline) if outline is not None else None,
        outline=to_geojson(outline) if outline is not None else None,
        note=fields.get("note", "")[:_LONGEST_NOTE],
        by=by,
        reason=reason,
        recorded_at=now,
    )


def _day(text: str, name: str) -> date:
    if not text:
        raise ValueError(f"{name} is empty")
    try:
        return date.fromisoformat(text[:10])  # GDAL gives moments for days
    except ValueError as error:
        raise ValueError(f"{name} {text[:40]!r} is not a day such as 2026-03-31") from error


def _number(fields: dict[str, str], name: str) -> float:
    text = fields.get(name, "")
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{name} {text[:40]!r} is not a number") from error
    if not math.isfinite(value):
        raise ValueError(f"{name} {text[:40]!r} is not a finite number")
    return value


def _table(path: Path) -> Iterator[tuple[int, dict[str, str], None]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            _refuse_columns(path, tuple(reader.fieldnames or ()), ("lon", "lat"))
            for row in reader:
                if None in row or None in row.values():
                    yield (
                        reader.line_num,
                        {},
                        None,
                    )  # too many fields, or too few: its id is not to be trusted
                else:
                    yield reader.line_num, {name: value.strip() for name, value in row.items()}, None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _vectors(path: Path, *, needs_columns: bool = True) -> Iterator[tuple[int, dict[str, str], Geometry]]:
    if not path.exists():
        raise InputError(f"cannot read {path}: no such file")
    try:
        layers = [str(name) for name in pyogrio.list_layers(path)[:, 0]]
        layer = _LAYER if _LAYER in layers else layers[0]
        if len(layers) > 1 and layer != _LAYER:
            raise InputError(f"{path} has {len(layers)} layers, and none is called {_LAYER}; give one alone")
        meta, numbers, geometries, columns = pyogrio.raw.read(
            path, layer=layer, force_2d=True, return_fids=True, datetime_as_string=True
        )
        crs = CRS.from_user_input(meta["crs"]) if meta["crs"] else None
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    except CRSError as error:
        raise InputError(f"{path}: its CRS cannot be used: {error}") from error
    if crs is None:
        raise InputError(f"{path} does not say its CRS; write it into the file with ogr2ogr -a_srs")
    if geometries is None:
        raise InputError(f"{path} holds no geometries; give it as .csv")
    names = list(meta["fields"])
    if needs_columns:
        _refuse_columns(path, names, ())
    for index, number in enumerate(numbers):
        fields = {name: _text(column[index]) for name, column in zip(names, columns, strict=True)}
        yield int(number), fields, _geometry(geometries[index], crs)


def _geometry(wkb: bytes | None, crs: CRS) -> shapely.Geometry | ValueError:
    """Return a point or a valid outline in degrees, or what is wrong with it."""
    shape = shapely.from_wkb(wkb, on_invalid="ignore") if wkb is not None else None
    if shape is None or shape.is_empty:
        return ValueError("the geometry is missing, or cannot be read")
    if shape.geom_type not in ("Point", "Polygon", "MultiPolygon"):
        return ValueError(f"a {shape.geom_type} is neither one point nor a polygon")
    if not shape.is_valid:
        return ValueError(f"the outline is not a polygon: {shapely.is_valid_reason(shape)}")
    degrees = CRS.from_epsg(4326)
    if crs == degrees:
        return shape

    def moved(xy: Any) -> Any:
        return np.column_stack(rasterio.warp.transform(crs, degrees, xy[:, 0], xy[:, 1]))

    return shapely.transform(shape, moved)


def _text(value: Any) -> str:
    """Return a field as a table would hold it; empty where it has no value."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))  # whole numbers become float64 where one of them is missing
    return str(value).strip()


def _refuse_columns(path: Path, columns: Sequence[str], more: Sequence[str]) -> None:
    missing = [name for name in ("id", *more) if name not in columns]
    if "date" not in columns and "day" not in columns:
        missing.append("date")
    if missing:
        raise InputError(f"{path} has no column {', '.join(missing)}; it has: {', '.join(columns) or 'none'}")


def _values(event: Event) -> dict[str, Any]:
    values = event.model_dump(mode="json")
    values["id"], values["date"] = event.uid, event.day.isoformat()
    return values


def _write_vectors(path: Path, driver: str, events: Sequence[Event]) -> None:
    rows = [_values(event) for event in events]
    fields = [
        np.array([math.nan if row[name] is None else row[name] for row in rows], np.float64)
        if name in _NUMBERS
        else np.array([row[name] for row in rows], dtype=object)
        for name in COLUMNS
    ]
    shapes = [
        shape_of(event.outline) if event.outline is not None else shapely.Point(event.lon, event.lat)
        for event in events
    ]
    pyogrio.raw.write(
        path,
        geometry=np.array(shapely.to_wkb(shapes), dtype=object),
        field_data=fields,
        fields=list(COLUMNS),
        driver=driver,
        layer=_LAYER,
        geometry_type="Unknown",
        crs="EPSG:4326",
    )


def same_event(one: Event, other: Event) -> bool:
    """Tell whether two entries of one id say the same: kind, days and place."""
    return (one.kind, one.day_from, one.day) == (other.kind, other.day_from, other.day) and (
        abs(one.lon - other.lon) < 1e-5 and abs(one.lat - other.lat) < 1e-5
    )


def event_json(event: Event) -> dict[str, Any]:
    """Return an event as scripts read it."""
    return dict(json.loads(event.model_dump_json()))
