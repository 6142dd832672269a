"""Landslides and looks on the toy region, by row and column of its grid."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import rasterio.warp
import shapely

from exporters.event import Event, Look
from tests.fix_region import LEFT, TOP

CRS = "EPSG:32632"
CELL = 30.0
D1, D2, D3 = (date(2026, 3, day) for day in (1, 2, 3))


def degrees(x: float, y: float) -> tuple[float, float]:
    (lon,), (lat,) = rasterio.warp.transform(CRS, "EPSG:4326", [x], [y])
    return lon, lat


def cell(row: float, column: float) -> tuple[float, float]:
    """Longitude and latitude of a place by row and column, (0.5, 0.5) the centre of the first cell."""
    return degrees(LEFT + column * CELL, TOP - row * CELL)


def event(row: float, column: float, accuracy_m: float = 1, **changes: Any) -> Event:
    lon, lat = cell(row, column)
    values: dict[str, Any] = {
        "uid": "a", "kind": "landslide", "source": "added", "day_from": D1, "day": D1, "lon": lon, "lat": lat,
        "accuracy_m": accuracy_m, "by": "A", "reason": "seen",
        "recorded_at": datetime(2026, 6, 1, tzinfo=UTC),
    }  # fmt: skip
    return Event(**(values | changes))


def outline(rows: tuple[float, float], columns: tuple[float, float]) -> dict[str, Any]:
    corners = [(rows[0], columns[0]), (rows[0], columns[1]), (rows[1], columns[1]), (rows[1], columns[0])]
    shape = shapely.Polygon([cell(*corner) for corner in corners])
    return dict(shapely.geometry.mapping(shape))


def look(
    uid: str,
    day_from: date,
    day: date,
    rows: tuple[float, float],
    columns: tuple[float, float],
    **changes: Any,
) -> Look:
    values: dict[str, Any] = {"uid": uid, "source": "detected", "day_from": day_from, "day": day, "by": "A"}
    return Look(**(values | {"area": outline(rows, columns)} | changes))
