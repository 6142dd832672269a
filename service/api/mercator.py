"""The square grid of web maps: EPSG:3857, 256 pixels a tile, zoom levels 0 to 18."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, NamedTuple

from fastapi import Path
from rasterio.warp import transform_bounds
from starlette.exceptions import HTTPException

from exporters.layer import Layer

TILE_SIZE = 256
MOST_ZOOM = 18
HALF_WORLD_M = math.pi * 6_378_137.0
# Beyond this latitude the projection runs away; the world is square up to it.
MOST_LATITUDE = math.degrees(math.atan(math.sinh(math.pi)))
# Ground covered by a pixel of zoom 0 at the equator.
PIXEL_M = 2 * HALF_WORLD_M / TILE_SIZE
# At the closest zoom that is offered, a cell is at least so many pixels wide: nothing is left to see beyond.
_PIXELS_A_CELL = 4

Bounds = tuple[float, float, float, float]

Zoom = Annotated[int, Path(ge=0, le=MOST_ZOOM, description="zoom level", examples=[11])]
Column = Annotated[int, Path(ge=0, lt=2**MOST_ZOOM, description="column from the west", examples=[1347])]
Row = Annotated[int, Path(ge=0, lt=2**MOST_ZOOM, description="row from the north", examples=[848])]


class TileRange(NamedTuple):
    """Tiles of one zoom level, first and last included."""

    first_column: int
    last_column: int
    first_row: int
    last_row: int


def check_tile(z: int, x: int, y: int) -> None:
    """Raise HTTPException (404) for a tile that the zoom level does not have."""
    if max(x, y) >= 1 << z:
        last = (1 << z) - 1
        raise HTTPException(404, f"zoom {z} has columns and rows 0 to {last}; there is no tile {x}/{y}")


def to_metres(lon: float, lat: float) -> tuple[float, float]:
    """Return x and y in EPSG:3857 of a place in EPSG:4326; latitudes past the square end at its edge."""
    lat = max(-MOST_LATITUDE, min(MOST_LATITUDE, lat))
    return lon / 180 * HALF_WORLD_M, math.asinh(math.tan(math.radians(lat))) / math.pi * HALF_WORLD_M


@lru_cache(maxsize=16)
def geographic(crs: str, bounds: Bounds) -> Bounds:
    """Return west, south, east, north in EPSG:4326 of bounds in a projected CRS."""
    west, south, east, north = transform_bounds(crs, "EPSG:4326", *bounds, densify_pts=21)
    return west, south, east, north


def bounds_of(layer: Layer) -> Bounds:
    """Return a layer's west, south, east, north in EPSG:4326."""
    return geographic(layer.crs, layer.bounds)


def closest_zoom(bounds: Bounds, cell_size_m: float) -> int:
    """Return the zoom level past which cells only grow, at most MOST_ZOOM; bounds are in EPSG:4326."""
    ground_m = PIXEL_M * math.cos(math.radians((bounds[1] + bounds[3]) / 2))
    zoom = math.ceil(math.log2(ground_m * _PIXELS_A_CELL / cell_size_m))
    return max(0, min(MOST_ZOOM, zoom))


def tile_range(bounds: Bounds, z: int) -> TileRange:
    """Return the tiles of a zoom level that touch bounds in EPSG:4326."""
    left, bottom = to_metres(bounds[0], bounds[1])
    right, top = to_metres(bounds[2], bounds[3])
    tile_m = 2 * HALF_WORLD_M / (1 << z)

    def place(metres: float) -> int:
        return max(0, min((1 << z) - 1, math.floor(metres / tile_m)))

    return TileRange(
        place(left + HALF_WORLD_M),
        place(right + HALF_WORLD_M),
        place(HALF_WORLD_M - top),
        place(HALF_WORLD_M - bottom),
    )
