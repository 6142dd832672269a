"""Tiles and pictures from the region's own COGs: drawn on a few threads, kept in memory up to a bound.

Drawing has its own threads, so that a crowd of maps never takes those that answer /metrics. How many may
wait is bounded too: a client that is told to come back is better off than one that waits for a minute.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import numpy.typing as npt
import rasterio
from rio_tiler.errors import TileOutsideBounds
from rio_tiler.io import Reader
from starlette.exceptions import HTTPException

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.layer import CLASS_NODATA, NODATA
from exporters.palette import CLASS_TABLE, DIFFERENCE_TABLE, SHADE_TABLE, SUSCEPTIBILITY_TABLE, Table
from exporters.picture import encode_indexed_png
from service.api.mercator import TILE_SIZE, Bounds
from service.files import digest_of

Shows = Literal["class", "susceptibility"]
Values = npt.NDArray[np.uint8]
T = TypeVar("T")

CACHE_BYTES = 64 * 2**20  # some ten thousand tiles
MOST_WAITING = 400
# What keeping a picture takes beside its bytes; an empty tile is smaller than that.
_ENTRY_BYTES = 600
_THREADS = max(2, os.cpu_count() or 2)


@dataclass(frozen=True)
class Look:
    """How one raster becomes a picture."""

    file: str
    table: Table
    unknown: int  # the stored value of a cell that is not known
    # Nearest keeps each pixel the value of a cell; bilinear is for what is only looked at.
    resampling: Literal["nearest", "bilinear"] = "nearest"


LOOKS: dict[Shows, Look] = {
    "class": Look(CLASSES, CLASS_TABLE, CLASS_NODATA),
    "susceptibility": Look(SUSCEPTIBILITY, SUSCEPTIBILITY_TABLE, NODATA),
}
SHADE = Look("", SHADE_TABLE, 0, "bilinear")
# Says which colours this release draws with: part of the ETag of every picture, so that no browser goes on
# showing old colours beside a new key.
COLOURS = digest_of(
    *(t.tobytes() for t in (CLASS_TABLE, SUSCEPTIBILITY_TABLE, DIFFERENCE_TABLE, SHADE_TABLE))
)[:8]
# What a tile beyond the region is: maps ask for them, and take an error for a fault of the server.
EMPTY_TILE = encode_indexed_png(np.zeros((TILE_SIZE, TILE_SIZE), np.uint8), CLASS_TABLE)


class Drawing:
    """Threads and memory for pictures, shared by all routes that draw."""

    def __init__(self, cache_bytes: int = CACHE_BYTES, threads: int = _THREADS) -> None:
        self._pool = ThreadPoolExecutor(threads, "drawing")
        self._waiting = 0
        self._kept: OrderedDict[tuple[object, ...], bytes] = OrderedDict()
        self._lock = threading.Lock()
        self._room = cache_bytes

    async def do(self, work: Callable[[], T]) -> T:
        """Run `work` on a thread for drawing. Raises HTTPException (503) where too many wait already."""
        if self._waiting >= MOST_WAITING:
            raise HTTPException(
                503, f"{MOST_WAITING} pictures are being waited for; try again", {"Retry-After": "1"}
            )
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work)
        finally:
            self._waiting -= 1

    def once(self, key: tuple[object, ...], make: Callable[[], bytes]) -> bytes:
        """Return the picture that is kept under `key`, or make and keep it. Any thread may call it."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
                return found
        made = make()
        with self._lock:
            replaced = self._kept.pop(key, b"")
            self._kept[key] = made
            self._room += (_weight(replaced) if replaced else 0) - _weight(made)
            while self._room < 0 and self._kept:
                _, dropped = self._kept.popitem(last=False)
                self._room += _weight(dropped)
        return made


def _weight(picture: bytes) -> int:
    return len(picture) + _ENTRY_BYTES


def tile_values(path: Path, look: Look, z: int, x: int, y: int) -> Values | None:
    """Return a tile's stored values, uint8 (256, 256), north up; None where it lies beyond the raster.

    Raises HTTPException (503) where the raster cannot be read.
    """

    def read(reader: Reader) -> Any:
        return reader.tile(
            x,
            y,
            z,
            tilesize=TILE_SIZE,
            indexes=1,
            resampling_method=look.resampling,
            reproject_method=look.resampling,
        )

    try:
        return _values(path, look, read)
    except TileOutsideBounds:
        return None


def view_values(path: Path, look: Look, bounds_m: Bounds, shape: tuple[int, int]) -> Values:
    """Return stored values, uint8 of `shape` (rows, columns), of bounds in EPSG:3857.

    What lies beyond the raster is unknown. Raises as `tile_values`.
    """

    def read(reader: Reader) -> Any:
        return reader.part(
            bounds_m,
            dst_crs=reader.tms.rasterio_crs,
            bounds_crs=reader.tms.rasterio_crs,
            height=shape[0],
            width=shape[1],
            indexes=1,
            resampling_method=look.resampling,
            reproject_method=look.resampling,
        )

    return _values(path, look, read)


def draw_tile(path: Path, look: Look, z: int, x: int, y: int) -> bytes:
    """Return a tile as PNG. Raises as `tile_values`."""
    values = tile_values(path, look, z, x, y)
    return EMPTY_TILE if values is None else encode_indexed_png(values, look.table)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a raster for one thread. Raises HTTPException (503) where it cannot be read."""
    try:
        # sharing=False: GDAL would otherwise hand two threads the same handle.
        with rasterio.open(path, sharing=False) as dataset:
            yield dataset
    except rasterio.errors.RasterioIOError as error:
        raise HTTPException(503, f"{path.name} cannot be read: {error}") from error


def _values(path: Path, look: Look, read: Callable[[Reader], Any]) -> Values:
    with opened(path) as dataset, Reader(None, dataset=dataset) as reader:
        return np.asarray(read(reader).array.filled(look.unknown)[0], np.uint8)
