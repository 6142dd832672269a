"""The rows that belong to a layer (areas, hotspots, warning levels), and those of gauges and reservoirs.

Every function works in the caller's transaction, with the region's schema first in search_path.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psycopg
import pyogrio.raw
import shapely

from exporters.gauges import Bulletin
from exporters.geopackage import AREAS, HOTSPOT_TABLE, ZONE_TABLE
from exporters.layer import Layer

_Connection = psycopg.Connection[tuple[Any, ...]]


class _Table(NamedTuple):
    """A table of areas.gpkg: geometries as WKB (or None), and columns by name."""

    geometries: Any
    columns: dict[str, Any]


def add_layer(connection: _Connection, layer: Layer) -> None:
    """Record a layer; it is neither the newest map nor in the history yet."""
    connection.execute(
        "INSERT INTO layer (id, region, day, lead, revision, digest, status, unconfirmed, data_until,"
        " issued_at, valid_from, valid_to, coverage, cells, model_name, model_version, model_digest,"
        " may_warn, breaks, notes, synthetic, attribution, zones)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s,"
        " %s)",
        [
            layer.id, layer.region, layer.day, layer.lead, layer.revision, layer.digest, layer.status.value,
            layer.unconfirmed, layer.data_until, layer.issued_at, layer.valid_from, layer.valid_to,
            layer.coverage, layer.cells, layer.model.name, layer.model.version, layer.model.digest,
            layer.model.may_warn, list(layer.classes.breaks), list(layer.notes), layer.synthetic,
            layer.attribution, _zone_version(layer.folder),
        ],
    )  # fmt: skip


def add_areas_and_hotspots(connection: _Connection, layer: Layer, srid: int) -> None:
    """Add a layer's zones where they are new, its class areas and its hotspots."""
    _add_zones(connection, layer.folder, srid)
    _copy(
        connection,
        "COPY zone_class_area (layer_id, day, lead, zone, name, class, area_m2, ratio, unknown_m2,"
        " change_1d_m2, change_7d_m2, change_1d_ratio, change_7d_ratio) FROM STDIN",
        (
            (
                layer.id, layer.day, layer.lead, area.zone, area.name, area.label, area.area_m2, area.ratio,
                area.unknown_m2, area.change_m2.get(1), area.change_m2.get(7), area.change_ratio.get(1),
                area.change_ratio.get(7),
            )
            for area in layer.areas
        ),
    )  # fmt: skip
    # The ledger keeps no hotspots, so they come from the file, whoever delivers.
    table = _read(layer.folder, HOTSPOT_TABLE)
    names = ("hotspot", "zone", "area_m2", "mean_susceptibility", "maximum_susceptibility", "growth_m2")
    columns = [table.columns[name] for name in names]
    first_seen = table.columns.get("first_seen", [None] * len(columns[0]))  # files of 0.1.0 have none
    _copy(
        connection,
        "COPY hotspot (layer_id, day, lead, hotspot, zone, area_m2, mean_susceptibility,"
        " maximum_susceptibility, growth_m2, first_seen, geom) FROM STDIN",
        (
            (layer.id, layer.day, layer.lead, *map(_plain, values), _day(seen), _ewkb(geometry, srid))
            for *values, seen, geometry in zip(*columns, first_seen, table.geometries, strict=True)
        ),
    )


def add_warnings(connection: _Connection, layer: Layer) -> None:
    """Add the levels that were decided with a layer; an unknown one is null, never green."""
    _copy(
        connection,
        "COPY warning (layer_id, day, lead, zone, name, level, previous, rule, numbers, reference_share,"
        " calm_days, unconfirmed, decided_at) FROM STDIN",
        (
            (
                layer.id, layer.day, layer.lead, one.zone, one.name, one.level, one.previous, one.rule,
                json.dumps(one.numbers, allow_nan=False), one.reference_share, one.calm_days,
                one.unconfirmed, one.decided_at,
            )
            for one in layer.warnings
        ),
    )  # fmt: skip


def forget_rows(connection: _Connection, layer_ids: list[str]) -> None:
    """Remove areas, hotspots and warning levels of layers that no longer stand."""
    connection.execute("DELETE FROM zone_class_area WHERE layer_id = ANY(%s)", [layer_ids])
    connection.execute("DELETE FROM hotspot WHERE layer_id = ANY(%s)", [layer_ids])
    connection.execute("DELETE FROM warning WHERE layer_id = ANY(%s)", [layer_ids])


def bring_gauges_in_line(connection: _Connection, bulletin: Bulletin) -> None:
    """Make series and readings those of a bulletin: what is not in it goes, what is the same stays."""
    series = [
        (one.feed, one.variable, one.id, one.unit, one.elevation_m, one.lon, one.lat)
        for one in bulletin.series
    ]
    connection.execute(
        "DELETE FROM series WHERE NOT EXISTS (SELECT FROM unnest(%s::text[], %s::text[], %s::text[])"
        " AS given (feed, variable, series) WHERE given.feed = series.feed"
        " AND given.variable = series.variable AND given.series = series.series)",
        _columns(series, 7)[:3],
    )
    connection.execute(
        "INSERT INTO series (feed, variable, series, unit, elevation_m, geom)"
        " SELECT feed, variable, series, unit, elevation_m,"
        " CASE WHEN lon IS NOT NULL AND lat IS NOT NULL THEN ST_SetSRID(ST_MakePoint(lon, lat), 4326) END"
        " FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[],"
        " %s::float8[], %s::float8[], %s::float8[])"
        " AS given (feed, variable, series, unit, elevation_m, lon, lat)"
        " ON CONFLICT (feed, variable, series) DO UPDATE"
        " SET unit = excluded.unit, elevation_m = excluded.elevation_m, geom = excluded.geom"
        " WHERE (series.unit, series.elevation_m, ST_AsBinary(series.geom))"
        " IS DISTINCT FROM (excluded.unit, excluded.elevation_m, ST_AsBinary(excluded.geom))",
        _columns(series, 7),
    )
    readings = [
        (one.feed, one.variable, one.series, one.day, one.value, one.quality, one.reason, one.known_at)
        for one in bulletin.readings
    ]
    connection.execute(
        "DELETE FROM reading WHERE NOT EXISTS (SELECT FROM"
        " unnest(%s::text[], %s::text[], %s::text[], %s::date[]) AS given (feed, variable, series, day)"
        " WHERE given.feed = reading.feed AND given.variable = reading.variable"
        " AND given.series = reading.series AND given.day = reading.day)",
        _columns(readings, 8)[:4],
    )
    connection.execute(
        "INSERT INTO reading (feed, variable, series, day, value, quality, reason, known_at)"
        " SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::date[], %s::float8[], %s::text[],"
        " %s::text[], %s::timestamptz[])"
        " ON CONFLICT (feed, variable, series, day) DO UPDATE SET value = excluded.value,"
        " quality = excluded.quality, reason = excluded.reason, known_at = excluded.known_at"
        " WHERE (reading.value, reading.quality, reading.reason, reading.known_at)"
        " IS DISTINCT FROM (excluded.value, excluded.quality, excluded.reason, excluded.known_at)",
        _columns(readings, 8),
    )


def _add_zones(connection: _Connection, folder: Path, srid: int) -> None:
    version = _zone_version(folder)
    if (
        version is None
        or connection.execute("SELECT 1 FROM zone WHERE version = %s LIMIT 1", [version]).fetchone()
    ):
        return
    _copy(
        connection,
        "COPY zone (version, zone, name, geom) FROM STDIN",
        ((version, zone, name, _ewkb(wkb, srid)) for zone, name, wkb in _zones(folder)),
    )


def _zones(folder: Path) -> list[tuple[str, str, bytes]]:
    """Return id, name and outline of each zone once; the file repeats them for every class."""
    table = _read(folder, ZONE_TABLE)
    found = {
        str(zone): (str(name), bytes(wkb))
        for zone, name, wkb in zip(
            table.columns["zone"], table.columns["name"], table.geometries, strict=True
        )
        if wkb is not None
    }
    return [(zone, name, wkb) for zone, (name, wkb) in sorted(found.items())]


def _zone_version(folder: Path) -> str | None:
    """Return a digest of the zones as a layer knew them; None where it knew none."""
    zones = _zones(folder)
    digest = hashlib.sha256()
    for zone, name, wkb in zones:
        for part in (zone.encode(), name.encode(), wkb):
            digest.update(len(part).to_bytes(8, "little") + part)
    return digest.hexdigest()[:16] if zones else None


def _read(folder: Path, table: str) -> _Table:
    meta, _, geometries, columns = pyogrio.raw.read(folder / AREAS, layer=table)
    return _Table(geometries, dict(zip(meta["fields"], columns, strict=True)))


def _copy(connection: _Connection, statement: str, rows: Iterable[tuple[object, ...]]) -> None:
    with connection.cursor().copy(statement.encode()) as copy:
        for row in rows:
            copy.write_row(row)


def _columns(rows: list[tuple[Any, ...]], count: int) -> list[list[Any]]:
    return [list(column) for column in zip(*rows, strict=True)] if rows else [[] for _ in range(count)]


def _plain(value: Any) -> object:
    """Return a GeoPackage's value as Python's own; an unknown number or text is None."""
    if value is None or (isinstance(value, float | np.floating) and np.isnan(value)):
        return None
    return value.item() if isinstance(value, np.generic) else value


def _day(value: Any) -> date | None:
    if value is None or (isinstance(value, np.datetime64) and np.isnat(value)) or value == "":
        return None
    if isinstance(value, np.datetime64):
        return date.fromisoformat(str(value.astype("datetime64[D]")))
    return value if isinstance(value, date) else date.fromisoformat(str(value)[:10])


def _ewkb(wkb: bytes, srid: int) -> str:
    geometry = shapely.set_srid(shapely.force_2d(shapely.from_wkb(bytes(wkb))), srid)
    return str(shapely.to_wkb(geometry, hex=True, include_srid=True))
