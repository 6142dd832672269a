"""What happened where and when, by zone and day: what a rehearsal of warning levels is judged by.

Events come from a CSV (`--events`) or else from the inventory that `[training.inventory]` names, if that is a
CSV; those of the ledger (accepted reports and detections, imported and added ones) are always among them,
each once: one whose id stands in the file too is not counted again. A visit on which nothing was seen is one
too: only where somebody looked can an alarm be called false.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any

import rasterio.warp
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from exporters.event import Event
from service.errors import InputError
from service.region import Grid, make_grid, read_zones
from service.settings import Settings

LANDSLIDE, NOTHING_SEEN = "landslide", "nothing_seen"
_KINDS = (LANDSLIDE, NOTHING_SEEN)
_DEFAULT_CRS = "EPSG:4326"

ZoneAt = Callable[[float, float], str | None]


@dataclass(frozen=True)
class ZoneDay:
    """A zone on a day: the unit that is judged."""

    zone: str
    day: date


@dataclass(frozen=True)
class Happened:
    """What is known to have happened, and what could not be used."""

    landslides: dict[ZoneDay, int]  # how many
    quiet: frozenset[ZoneDay]  # somebody looked, and nobody saw a landslide
    outside: int  # of landslides and visits: in no zone
    notes: tuple[str, ...]

    def within(self, since: date, until: date) -> Happened:
        """Return what happened on the days `since` to `until`."""
        return Happened(
            {item: count for item, count in self.landslides.items() if since <= item.day <= until},
            frozenset(item for item in self.quiet if since <= item.day <= until),
            self.outside,
            self.notes,
        )


@dataclass(frozen=True)
class _Seen:
    day: date
    kind: str
    zone: str | None  # None: in none
    id: str = ""  # "": it has none


def gather(settings: Settings, events: Path | None, kept: Iterable[Event]) -> Happened:
    """Return what happened, by zone and day; `kept` are the events of the ledger.

    Of those only what has a day of its own counts: within a span nobody can say which alarm was in time.
    Raises InputError for a file that cannot be used.
    """
    notes: list[str] = []
    seen: list[_Seen] = []
    zone_at = _zone_finder(settings)
    if events is not None:
        known = {zone.id for zone in _zones(settings)} or {""}
        seen += _from_csv(events, zone_at, known)
    else:
        seen += _from_inventory(settings, zone_at, notes)
    in_file = {item.id for item in seen if item.id}
    undated = 0
    for event in kept:
        if event.uid in in_file:
            continue
        if not event.is_dated:
            undated += 1
            continue
        seen.append(_Seen(event.day, event.kind, zone_at(event.lon, event.lat)))
    if undated:
        notes.append(f"{undated} events of the ledger are known to a span of days only and were left out")
    landslides: dict[ZoneDay, int] = {}
    visited: set[ZoneDay] = set()
    for item in seen:
        if item.zone is None:
            continue
        at = ZoneDay(item.zone, item.day)
        if item.kind == LANDSLIDE:
            landslides[at] = landslides.get(at, 0) + 1
        else:
            visited.add(at)
    outside = sum(item.zone is None for item in seen)
    return Happened(landslides, frozenset(visited - landslides.keys()), outside, tuple(notes))


def _from_csv(path: Path, zone_at: ZoneAt, zones: set[str]) -> Iterator[_Seen]:
    """Read day (or date), and zone or lon and lat; kind is landslide unless it says nothing_seen."""
    with _table(path, ",", "utf-8-sig") as (columns, rows):
        day_column = "day" if "day" in columns else "date"
        by_zone = "zone" in columns
        wanted = {day_column, *(("zone",) if by_zone else ("lon", "lat"))}
        if missing := sorted(wanted - set(columns)):
            raise InputError(
                f"{path} has no column {', '.join(missing)}; events need day (or date), and zone or lon and "
                "lat"
            )
        for number, row in rows:
            try:
                day = date.fromisoformat(row[day_column])
                zone = row["zone"] if by_zone else zone_at(float(row["lon"]), float(row["lat"]))
                kind = row.get("kind") or LANDSLIDE
            except (ValueError, TypeError) as error:
                raise InputError(f"{path}, line {number}: {error}") from error
            if kind not in _KINDS:
                raise InputError(f"{path}, line {number}: kind is {kind!r}, not {' or '.join(_KINDS)}")
            if by_zone and zone not in zones:
                raise InputError(f"{path}, line {number}: the region has no zone {zone!r}")
            yield _Seen(day, kind, zone, row.get("id") or "")


def _from_inventory(settings: Settings, zone_at: ZoneAt, notes: list[str]) -> Iterator[_Seen]:
    """Read the training's inventory where it is a CSV; a row that cannot be used is counted in a note."""
    source = settings.training.get("inventory")
    if not isinstance(source, dict) or "path" not in source:
        notes.append("no file of events: the settings name none in [training.inventory], and --events none")
        return
    path = Path(source["path"])
    if source.get("form", path.suffix.lower().lstrip(".")) != "csv":
        notes.append(f"the inventory {path} is no plain CSV and was not read; give its events with --events")
        return
    x, y = source.get("x_column", "lon"), source.get("y_column", "lat")
    day_column, form = source.get("day_column", "date"), source.get("day_format", "%Y-%m-%d")
    to_degrees = _to_degrees(path, source.get("crs", _DEFAULT_CRS))
    unusable = 0
    encoding = source.get("encoding") or "utf-8-sig"
    with _table(path, source.get("separator", ","), encoding) as (columns, rows):
        if missing := [name for name in (x, y, day_column) if name not in columns]:
            raise InputError(f"inventory {path} has no column {', '.join(missing)}")
        for _, row in rows:
            try:
                day = datetime.strptime(row[day_column], form).date()  # noqa: DTZ007 - a calendar day
                place = to_degrees(float(row[x]), float(row[y]))
            except (ValueError, TypeError):
                unusable += 1
                continue
            yield _Seen(day, LANDSLIDE, zone_at(*place), row.get(source.get("id_column", "id")) or "")
    if unusable:
        notes.append(f"{unusable} rows of the inventory {path} have no day or no place and were left out")


@contextmanager
def _table(
    path: Path, separator: str, encoding: str
) -> Iterator[tuple[tuple[str, ...], Iterator[tuple[int, dict[str, str]]]]]:
    """A CSV as column names and numbered rows."""
    try:
        with path.open(encoding=encoding, newline="") as file:
            reader = csv.DictReader(file, delimiter=separator)
            yield tuple(reader.fieldnames or ()), ((reader.line_num, row) for row in reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {error}") from error


def _to_degrees(path: Path, named: str) -> Callable[[float, float], tuple[float, float]]:
    try:
        crs = CRS.from_user_input(named)
    except CRSError as error:
        raise InputError(f"inventory {path}: {named!r} is not a CRS") from error
    return lambda x, y: _moved(crs, CRS.from_user_input(_DEFAULT_CRS), x, y)


def _zone_finder(settings: Settings) -> ZoneAt:
    """Return what tells the zone of a place in degrees; of a region without zones, "" on its grid."""
    grid, zones = make_grid(settings), _zones(settings)
    tree = shapely.STRtree([zone.geometry for zone in zones])
    degrees = CRS.from_user_input(_DEFAULT_CRS)

    def zone_at(lon: float, lat: float) -> str | None:
        if not (abs(lon) <= 180 and abs(lat) <= 90):
            raise ValueError(f"({lon}, {lat}) is not longitude and latitude in degrees")
        x, y = _moved(degrees, grid.crs, lon, lat)
        if not zones:
            return "" if _holds(grid, x, y) else None
        found = tree.query(shapely.Point(x, y), predicate="intersects")
        return zones[min(found)].id if len(found) else None

    return zone_at


def on_grid(settings: Settings) -> Callable[[float, float], bool]:
    """Return what tells whether a place in degrees lies on the region's grid."""
    grid, degrees = make_grid(settings), CRS.from_user_input(_DEFAULT_CRS)
    return lambda lon, lat: _holds(grid, *_moved(degrees, grid.crs, lon, lat))


def _zones(settings: Settings) -> tuple[Any, ...]:
    return read_zones(settings.zones, make_grid(settings)) if settings.zones else ()


def _holds(grid: Grid, x: float, y: float) -> bool:
    left, bottom, right, top = grid.bounds
    return left <= x < right and bottom < y <= top


def _moved(source: CRS, target: CRS, x: float, y: float) -> tuple[float, float]:
    (moved_x,), (moved_y,) = rasterio.warp.transform(source, target, [x], [y])
    return moved_x, moved_y
