"""A layer cut into tiles for PostGIS raster, with overviews, strip by strip.

Tiles are 256 x 256 cells, numbered row by row from 1; those at the right and lower edge are padded with
unknown cells. Tiles of unknown cells alone are there too: QGIS fills a missing tile with 0, which in band 1
is the lowest susceptibility, so unknown would be drawn as low. An overview cell covers exactly 2 x 2 cells of
the level below, by the rules of the layer's GeoTIFFs: susceptibility is the mean of the known cells, class
that of the upper left cell (a mode would wipe the rare high class out of every overview).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.layer import CLASS_NODATA, NODATA
from exporters.postgis.grid import GridOfRegion

TILE = 256
# Two tile rows: a block of the GeoTIFFs is 512 cells high and is decoded once.
_STRIP_ROWS = 2 * TILE

Bytes = npt.NDArray[np.uint8]

# PostGIS raster WKB, version 0, little-endian: version, bands, scale x y, upper left x y, skew x y, SRID,
# width, height. (raster/doc/RFC2-WellKnownBinaryFormat in PostGIS's sources.)
_HEADER = struct.Struct("<BHHddddddiHH")
# Each band: pixel type (4 is 8BUI) with bit 6 for "has a no-data value", then that value.
_SUSCEPTIBILITY_BAND = bytes([0x44, NODATA])
_CLASS_BAND = bytes([0x44, CLASS_NODATA])
_CELLS = TILE * TILE


class NotOnGrid(ValueError):
    """A layer's rasters are not of the cells that the layer says."""


class Tile(NamedTuple):
    """One tile of the full map (factor 1) or of an overview, as raster WKB."""

    number: int
    wkb: bytes


class TileRow(NamedTuple):
    """The tiles of one row of tiles of one level."""

    factor: int
    tiles: list[Tile]


def overview_factors(grid: GridOfRegion) -> tuple[int, ...]:
    """Return 2, 4, 8 ... until the overview fits one tile; none where the map itself does."""
    factors: list[int] = []
    factor = 1
    while max(grid.width, grid.height) > TILE * factor:
        factor *= 2
        factors.append(factor)
    return tuple(factors)


def tile_columns(grid: GridOfRegion, factor: int = 1) -> int:
    """Return how many tiles lie side by side."""
    return -(-grid.width // (TILE * factor))


def tile_rows(grid: GridOfRegion, factor: int = 1) -> int:
    """Return how many tiles lie one below the other."""
    return -(-grid.height // (TILE * factor))


def corner_tiles(grid: GridOfRegion, factor: int) -> list[bytes]:
    """Return the first and the last tile, unknown throughout: what PostGIS learns a table's shape from."""
    nothing = np.stack(
        [np.full((TILE, TILE), NODATA, np.uint8), np.full((TILE, TILE), CLASS_NODATA, np.uint8)]
    )
    last = tile_rows(grid, factor) - 1, tile_columns(grid, factor) - 1
    return [_wkb(grid, factor, row, column, nothing) for row, column in ((0, 0), last)]


def read_strips(folder: Path, grid: GridOfRegion) -> Iterator[Bytes]:
    """Read a layer's GeoTIFFs from north to south: uint8 (2, rows, width), susceptibility and class.

    Raises NotOnGrid where they do not lie on `grid`, RasterioIOError where they cannot be read.
    """
    with (
        rasterio.open(folder / SUSCEPTIBILITY, NUM_THREADS="2") as susceptibility,
        rasterio.open(folder / CLASSES, NUM_THREADS="2") as classes,
    ):
        for raster in (susceptibility, classes):
            if raster.shape != (grid.height, grid.width) or raster.dtypes[0] != "uint8":
                raise NotOnGrid(f"{raster.name} is {raster.shape} of {raster.dtypes[0]}, not cells of {grid}")
        for row in range(0, grid.height, _STRIP_ROWS):
            window = Window(0, row, grid.width, min(_STRIP_ROWS, grid.height - row))
            strip = np.empty((2, int(window.height), grid.width), np.uint8)
            susceptibility.read(1, window=window, out=strip[0])
            classes.read(1, window=window, out=strip[1])
            yield strip


def cut(strips: Iterable[Bytes], grid: GridOfRegion, factors: Sequence[int]) -> Iterator[TileRow]:
    """Cut strips (2, rows, width) into rows of tiles, of the map and of its overviews as they fill up.

    `factors` begin with 1 and double. Memory is a row of tiles for each.
    """
    levels = [_Level(grid, factor) for factor in factors]
    for strip in strips:
        yield from _fill(levels, strip)
    for index, level in enumerate(levels):
        if level.filled:
            yield from _emit(levels[index:])


def unpack(wkb: bytes) -> Bytes:
    """Return the cells of one of our tiles, uint8 (2, 256, 256), from the WKB that PostGIS gives back."""
    start = _HEADER.size + 2
    bands = [
        np.frombuffer(wkb, np.uint8, _CELLS, start + band * (_CELLS + 2)).reshape(TILE, TILE)
        for band in range(2)
    ]
    return np.stack(bands)


class _Level:
    """A row of tiles of one level while it fills up."""

    def __init__(self, grid: GridOfRegion, factor: int) -> None:
        self.grid, self.factor = grid, factor
        self.row = 0
        self.filled = 0
        self.cells = np.empty((2, TILE, tile_columns(grid, factor) * TILE), np.uint8)
        self.clear()

    def clear(self) -> None:
        self.filled = 0
        self.cells[0], self.cells[1] = NODATA, CLASS_NODATA

    def tiles(self) -> list[Tile]:
        columns = tile_columns(self.grid, self.factor)
        found = []
        for column in range(columns):
            cells = self.cells[:, :, column * TILE : (column + 1) * TILE]
            wkb = _wkb(self.grid, self.factor, self.row, column, cells)
            found.append(Tile(self.row * columns + column + 1, wkb))
        return found


def _fill(levels: list[_Level], strip: Bytes) -> Iterator[TileRow]:
    level = levels[0]
    done = 0
    while done < strip.shape[1]:
        count = min(TILE - level.filled, strip.shape[1] - done)
        level.cells[:, level.filled : level.filled + count, : strip.shape[2]] = strip[:, done : done + count]
        level.filled += count
        done += count
        if level.filled == TILE:
            yield from _emit(levels)


def _emit(levels: list[_Level]) -> Iterator[TileRow]:
    """Give out the row of tiles of the first level and pass it on, halved, to the next."""
    level = levels[0]
    yield TileRow(level.factor, level.tiles())
    if len(levels) > 1:
        yield from _fill(levels[1:], _halved(level.cells))
    level.clear()
    level.row += 1


def _halved(cells: Bytes) -> Bytes:
    """Return (2, rows / 2, columns / 2): mean susceptibility of known cells, class of the upper left cell."""
    stored = cells[0]
    known = stored != NODATA
    values = np.where(known, stored, 0).astype(np.uint16)
    total, count = _sum_of_four(values), _sum_of_four(known.astype(np.uint16))
    mean = (total + count // 2) // np.maximum(count, 1)
    halved = np.empty((2, *mean.shape), np.uint8)
    halved[0] = np.where(count > 0, mean, NODATA)
    halved[1] = cells[1, ::2, ::2]
    return halved


def _sum_of_four(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    rows = values[::2] + values[1::2]
    return np.asarray(rows[:, ::2] + rows[:, 1::2])


def _wkb(grid: GridOfRegion, factor: int, row: int, column: int, cells: Bytes) -> bytes:
    size = grid.cell_size_m * factor
    x, y = grid.left + column * TILE * size, grid.top - row * TILE * size
    header = _HEADER.pack(1, 0, 2, size, -size, x, y, 0.0, 0.0, grid.srid, TILE, TILE)
    return b"".join((header, _SUSCEPTIBILITY_BAND, cells[0].tobytes(), _CLASS_BAND, cells[1].tobytes()))
