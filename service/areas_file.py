"""Reads back areas.gpkg of a layer: the zones as they were drawn then, and the hotspots.

exporters.geopackage writes it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import pyogrio
import pyogrio.raw
import shapely

from exporters.geopackage import HOTSPOT_TABLE, ZONE_TABLE
from exporters.layer import CLASS_LABELS, Hotspot
from service.errors import StorageError


@dataclass(frozen=True)
class ZonePolygon:
    """A zone as a layer knew it, in the layer's CRS; `geometry` is None for the whole region."""

    id: str
    name: str
    geometry: shapely.Geometry | None


def read_zone_polygons(path: Path) -> tuple[ZonePolygon, ...]:
    """Return each zone of a layer once, in the order of its areas. Raises StorageError."""
    rows, geometries = _read(path, ZONE_TABLE, ("zone", "name"), f"class = '{CLASS_LABELS[0]}'")
    return tuple(
        ZonePolygon(row["zone"], row["name"], shapely.from_wkb(wkb) if wkb is not None else None)
        for row, wkb in zip(rows, geometries, strict=True)
    )


def read_hotspots(path: Path) -> tuple[Hotspot, ...]:
    """Return a layer's hotspots, largest first; geometries are in the layer's CRS. Raises StorageError."""
    rows, geometries = _read(path, HOTSPOT_TABLE)
    return tuple(
        Hotspot(
            id=int(row["hotspot"]),
            area_m2=float(row["area_m2"]),
            mean=float(row["mean_susceptibility"]),
            maximum=float(row["maximum_susceptibility"]),
            zone=row["zone"] or None,
            growth_m2=_known(row["growth_m2"]),
            # Layers made before hotspots were followed over the days have no such column.
            first_seen=date.fromisoformat(str(row["first_seen"])[:10]) if row.get("first_seen") else None,
            geometry_wkb=bytes(wkb or b""),
        )
        for row, wkb in zip(rows, geometries, strict=True)
    )


def _read(
    path: Path, table: str, columns: Sequence[str] | None = None, where: str | None = None
) -> tuple[list[dict[str, Any]], list[bytes | None]]:
    try:
        meta, _, geometries, fields = pyogrio.raw.read(path, layer=table, columns=columns, where=where)
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise StorageError(f"cannot read {table} of {path}: {error}; restore it from a backup") from error
    names = list(meta["fields"])
    rows = [dict(zip(names, values, strict=True)) for values in zip(*fields, strict=True)]
    return rows, list(geometries)


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
