"""Inventories of vectors: points or outlines in a GeoJSON, GeoPackage or Shapefile."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from service.errors import InputError
from trainer.inventory_crs import to_crs
from trainer.inventory_rows import (
    FEATURE_ID,
    POINT_ACCURACY_M,
    FileRows,
    InventorySource,
    NoDayError,
    ReadRow,
    Row,
    TimeAccuracy,
    day_of,
    time_accuracy_of,
)

DRIVERS = {"geojson": "GeoJSON", "geopackage": "GPKG", "shapefile": "ESRI Shapefile"}


def read_vectors(source: InventorySource, form: str, region: ZoneInfo) -> FileRows:
    """Read a file of points or polygons whose columns `source` names.

    Raises InputError for the file, its layer, its columns or its CRS.
    """
    path = source.file
    if not path.exists():
        raise InputError(f"inventory {path} cannot be read: no such file")
    try:
        layer = _layer(source)
        driver = pyogrio.read_info(path, layer=layer)["driver"]
        if driver != DRIVERS[form]:
            raise InputError(f"inventory {path} is a {driver}, not a {form}; set form to what it is")
        meta, features, geometries, columns = pyogrio.raw.read(
            path, layer=layer, encoding=source.encoding, force_2d=True, return_fids=True,
            datetime_as_string=True,
        )  # fmt: skip
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError, UnicodeDecodeError) as error:
        raise InputError(f"inventory {path} cannot be read: {error}") from error
    if geometries is None:
        raise InputError(f"inventory {path}, layer {layer}, holds no geometries; name another by layer")
    names = list(meta["fields"])
    kinds = dict(zip(names, meta["ogr_types"], strict=True))
    wanted = [source.id_column, source.day_column, source.accuracy_column, source.time_accuracy_column]
    missing = [name for name in wanted if name and name not in names and name != FEATURE_ID]
    if missing:
        raise InputError(
            f"inventory {path} has no column {', '.join(missing)}; it has: {', '.join(names) or 'none'} "
            f'(id_column = "{FEATURE_ID}" takes the number of the feature)'
        )
    zone = ZoneInfo(source.timezone) if source.timezone else region
    rows: list[ReadRow] = []
    for index, feature in enumerate(features):
        fields = {name: _text(column[index]) for name, column in zip(names, columns, strict=True)}
        fields.setdefault(FEATURE_ID, str(feature))
        try:
            row = _row(fields, geometries[index], kinds.get(source.day_column, ""), source, zone, region)
        except ValueError as error:
            rows.append((int(feature), error))
        else:
            rows.append((int(feature), row))
    return FileRows(_crs(source, meta["crs"]), rows, "feature")


def place_on(outline: shapely.Geometry, source: CRS, target: CRS) -> tuple[float, float, float, float] | None:
    """Return x, y, radius and area of an outline in a projected CRS; None where it has no place there.

    The place is the centroid of the largest part (Teng et al. 2026 take the centroid), or, where that lies
    beside a bent landslide, a point on its surface: a model must be shown ground that slid. The initiation
    may be anywhere in the outline, so the radius reaches its farthest corner, of every part.
    """
    moved = shapely.transform(outline, lambda xy: to_crs(source, target, xy))
    if not np.isfinite(shapely.get_coordinates(moved)).all():
        return None
    largest = max(getattr(moved, "geoms", [moved]), key=lambda part: part.area)
    point = largest.centroid if largest.contains(largest.centroid) else largest.point_on_surface()
    corners = shapely.get_coordinates(moved) - (point.x, point.y)
    return float(point.x), float(point.y), float(np.hypot(*corners.T).max()), float(moved.area)


def _layer(source: InventorySource) -> str:
    layers = [str(name) for name in pyogrio.list_layers(source.file)[:, 0]]
    if source.layer is not None:
        if source.layer not in layers:
            raise InputError(
                f"inventory {source.file} has no layer {source.layer!r}; it has: {', '.join(layers)}"
            )
        return source.layer
    if len(layers) != 1:
        raise InputError(
            f"inventory {source.file} has {len(layers)} layers ({', '.join(layers)}); name one by layer"
        )
    return layers[0]


def _crs(source: InventorySource, found: str | None) -> CRS:
    try:
        stated = CRS.from_user_input(source.crs) if source.crs else None
    except CRSError as error:
        raise InputError(f"inventory {source.file}: {source.crs!r} is not a CRS") from error
    if found is None:
        if stated is None:
            raise InputError(
                f"inventory {source.file} does not say its CRS; set crs, or give the file one (a shapefile "
                "keeps it in its .prj)"
            )
        return stated
    own = CRS.from_user_input(found)
    if stated is not None and stated != own:
        raise InputError(
            f"inventory {source.file} says that it is in {own.to_string()}, the settings say {source.crs}; "
            "either leave crs out or write the file with the right one, such as ogr2ogr -a_srs "
            f"{source.crs} (a GeoJSON without a crs is in longitude and latitude, RFC 7946)"
        )
    return own


def _row(
    fields: dict[str, str],
    wkb: bytes | None,
    kind: str,
    source: InventorySource,
    zone: ZoneInfo,
    region: ZoneInfo,
) -> Row:
    identity = fields[source.id_column]
    if not identity:
        raise ValueError(f"{source.id_column} is empty")
    geometry = _geometry(wkb)
    day, known = _day(fields[source.day_column], kind, source, zone, region)
    if source.time_accuracy_column:
        known = time_accuracy_of(fields[source.time_accuracy_column], source.time_accuracy_column)
    point = geometry.geom_type == "Point"
    accuracy = source.accuracy_m
    if source.accuracy_column:
        accuracy = _metres(fields[source.accuracy_column], source.accuracy_column)
    if accuracy is None:
        accuracy = POINT_ACCURACY_M if point else 0.0
    at = geometry if point else geometry.centroid
    return Row(identity, float(at.x), float(at.y), day, accuracy, known, None if point else geometry)


def _geometry(wkb: bytes | None) -> shapely.Geometry:
    """Return a point, or a polygon of one or several parts. Raises ValueError for anything else."""
    try:
        geometry = shapely.from_wkb(wkb)
    except shapely.errors.GEOSException as error:
        raise ValueError(f"the geometry cannot be read: {error}") from error
    if geometry is None or geometry.is_empty:
        raise ValueError("the geometry is missing")
    if not np.isfinite(shapely.get_coordinates(geometry)).all():
        raise ValueError("the geometry has a coordinate that is not a finite number")
    if geometry.geom_type == "MultiPoint" and len(geometry.geoms) == 1:
        return geometry.geoms[0]
    if geometry.geom_type == "Point":
        return geometry
    if geometry.geom_type not in ("Polygon", "MultiPolygon"):
        raise ValueError(f"a {geometry.geom_type} is neither one point nor a polygon")
    if not geometry.is_valid:
        raise ValueError(f"the outline is not a polygon: {shapely.is_valid_reason(geometry)}")
    return geometry


def _day(
    text: str, kind: str, source: InventorySource, zone: ZoneInfo, region: ZoneInfo
) -> tuple[Any, TimeAccuracy]:
    """Return the day of a date column; columns of the types Date and DateTime need no format."""
    if kind not in ("OFTDate", "OFTDateTime"):
        return day_of(text, source, zone, region)
    if not text:
        raise NoDayError(f"{source.day_column} is empty: a landslide without a day has no window")
    moment = datetime.fromisoformat(text)
    if kind == "OFTDate":
        return moment.date(), "day"
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(region).date(), "hour"


def _metres(text: str, column: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ValueError(f"{column} {text!r} is not a number") from error
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"{column} {text!r} is not a finite number of 0 or more")
    return value


def _text(value: Any) -> str:
    """Return a field as a table would hold it; empty where it has no value."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    # Whole numbers become float64 where one of them is missing.
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value).strip()


__all__ = ["DRIVERS", "place_on", "read_vectors"]
