"""A Cloud-Optimised GeoTIFF from strips of cells: packed and halved while the next strips are computed.

A row of tiles is handed to threads once its last row of cells is there. Each tile is packed, and what it
gives to every overview is laid into that overview's tiles, which are packed in turn once nothing is missing
in them. Packed tiles are spooled, one nameless file for each level, because a COG begins with the places of
all tiles and with its overviews; `finish` puts header and spools together. Nothing is read or unpacked again.
"""

from __future__ import annotations

import os
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS

from exporters.cog_header import Notes, TileSizes, framed, header, template
from exporters.cog_tiles import Cells, Packing, Resampling

BLOCK = 512
_CHUNK = 2**20


class StripCog:
    """One COG of a layer from strips, north to south, of any height.

    The same cells give the same bytes, whatever the strips' heights and the number of threads. An overview
    halves the level before it, until one fits into a tile: `cog_tiles` says what is done with 2 x 2 cells.

    Memory is about three rows of tiles. What write(2) and fsync(2) refuse is raised, and a write that ends
    short is continued, so a full disk cannot pass unseen and nothing needs to be read back.
    """

    def __init__(
        self,
        path: Path,
        *,
        crs: CRS,
        transform: Affine,
        shape: tuple[int, int],
        dtype: str,
        nodata: float,
        resampling: Resampling,
        threads: int,
        notes: Notes,
        block: int = BLOCK,
    ) -> None:
        """Begin. `block`, the side of a tile, is a power of two from 16; there is a band for each note."""
        self._path, self._shape, self._bands = path, shape, len(notes.bands)
        self._packing = Packing(block, np.dtype(dtype), nodata, resampling)
        self._tags = template(crs, transform, self._packing, notes)
        self._levels = _levels(path.parent, shape, self._packing)
        self._row = 0
        self._cells: Cells = np.empty((self._bands, 0, shape[1]), self._packing.dtype)
        self._begun: list[Future[None]] = []
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=path.stem)

    def write(self, row: int, strip: npt.NDArray[Any]) -> None:
        """Write (rows, width), or (bands, rows, width), whose first row is `row`; it is copied.

        Raises ValueError for a strip out of order or of another width, OSError for a full disk, which may be
        that of strips before.
        """
        height, width = self._shape
        rows = strip.reshape(self._bands, *strip.shape[-2:])
        if row != self._row or rows.shape[2] != width or row + rows.shape[1] > height:
            raise ValueError(
                f"{self._path.name}: expected a strip from row {self._row} of {height}, {width} wide; "
                f"got {strip.shape} from row {row}"
            )
        while rows.shape[1]:
            rows = self._take(rows)

    def finish(self) -> None:
        """Make the COG. Raises ValueError where rows are missing, OSError where the disk is full."""
        if self._row != self._shape[0]:
            raise ValueError(f"{self._path.name}: only {self._row} of {self._shape[0]} rows were written")
        self._wait()
        self._threads.shutdown()
        sizes = [TileSizes(level.shape, np.array(level.sizes, np.uint64)) for level in self._levels]
        try:
            with self._path.open("wb", buffering=0) as out:
                _write(out, header(self._tags, sizes))
                for level in reversed(self._levels):
                    level.copy_into(out)
                os.fsync(out.fileno())
        except OSError as error:
            self._path.unlink(missing_ok=True)
            raise self._full(error) from error
        finally:
            self.close()

    def close(self) -> None:
        """Give up what is not finished, and leave nothing of it."""
        self._threads.shutdown(cancel_futures=True)
        for level in self._levels:
            level.close()

    def _take(self, rows: Cells) -> Cells:
        """Copy what belongs into the present row of tiles; return the rows that are left."""
        block = self._packing.block
        first = self._row % block
        if first == 0:
            height = min(block, self._shape[0] - self._row)
            self._cells = np.empty((self._bands, height, self._shape[1]), self._packing.dtype)
        count = min(rows.shape[1], self._cells.shape[1] - first)
        self._cells[:, first : first + count] = rows[:, :count]
        self._row += count
        if first + count == self._cells.shape[1]:
            self._hand_over((self._row - 1) // block)
        return rows[:, count:]

    def _hand_over(self, row: int) -> None:
        # One row of tiles at a time: packing is so much quicker than what makes the cells that nobody waits.
        self._wait()
        block = self._packing.block
        for column in range(-(-self._shape[1] // block)):
            cells = self._cells[:, :, column * block : (column + 1) * block]
            self._begun.append(self._threads.submit(self._add, row, column, cells))

    def _wait(self) -> None:
        begun, self._begun = self._begun, []
        try:
            for each in begun:
                each.result()
        except OSError as error:
            raise self._full(error) from error

    def _add(self, row: int, column: int, cells: Cells) -> None:
        for level in self._levels:
            if level.number:
                cells = self._packing.halve(cells)
            level.lay(row, column, cells)

    def _full(self, error: OSError) -> OSError:
        return OSError(error.errno, f"{self._path} could not be written whole: is the disk full? ({error})")


class _Level:
    """The full raster (number 0) or an overview: its tiles in the making, and its spool of packed ones.

    A tile of number n is put together from 2^n x 2^n tiles of the full raster, fewer at the edges.
    """

    def __init__(self, folder: Path, number: int, full: tuple[int, int], packing: Packing) -> None:
        self.number, self._packing = number, packing
        self.shape = -(-full[0] >> number), -(-full[1] >> number)
        self.sizes: list[int] = []  # of the tiles in the spool, bytes
        self._sources = -(-full[0] // packing.block), -(-full[1] // packing.block)
        self._growing: dict[tuple[int, int], tuple[Cells, int]] = {}
        self._packed: dict[int, bytes] = {}
        self._lock = threading.Lock()
        # No name: whatever ends the process, nothing stays behind.
        self._spool = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115, open until `close`

    def lay(self, row: int, column: int, cells: Cells) -> None:
        """Take what the full raster's tile at (row, column) gives to this level."""
        if self.number:
            place = row >> self.number, column >> self.number
            whole = self._joined(place, row, column, cells)
            if whole is None:
                return
            cells, (row, column) = whole, place
        packed = self._packing.pack(cells)
        across = -(-self.shape[1] // self._packing.block)
        with self._lock:
            self._packed[row * across + column] = packed
            while (tile := self._packed.pop(len(self.sizes), None)) is not None:
                _write(self._spool, framed(tile))
                self.sizes.append(len(tile))

    def copy_into(self, out: IO[bytes]) -> None:
        """Append the packed tiles, in their order."""
        self._spool.seek(0)
        while chunk := self._spool.read(_CHUNK):
            _write(out, chunk)

    def close(self) -> None:
        """Drop the spool."""
        with suppress(OSError):  # what it says too late belongs to a file that nobody wants
            self._spool.close()

    def _joined(self, place: tuple[int, int], row: int, column: int, cells: Cells) -> Cells | None:
        """Return the tile at `place` where this was its last part."""
        block = self._packing.block
        top, left = (
            (source * block >> self.number) - tile * block
            for source, tile in zip((row, column), place, strict=True)
        )
        with self._lock:
            if place not in self._growing:
                rows, columns = (
                    min(block, side - tile * block) for side, tile in zip(self.shape, place, strict=True)
                )
                self._growing[place] = np.empty((len(cells), rows, columns), cells.dtype), self._parts(place)
            tile, missing = self._growing.pop(place)
            # Under the lock: whoever lays the last part must see all others.
            tile[:, top : top + cells.shape[1], left : left + cells.shape[2]] = cells
            if missing == 1:
                return tile
            self._growing[place] = tile, missing - 1
        return None

    def _parts(self, place: tuple[int, int]) -> int:
        rows, columns = (
            min(1 << self.number, side - (tile << self.number))
            for side, tile in zip(self._sources, place, strict=True)
        )
        return rows * columns


def _levels(folder: Path, shape: tuple[int, int], packing: Packing) -> list[_Level]:
    """Return the full raster and its overviews, down to one tile, or to one cell for each full tile."""
    levels = [_Level(folder, 0, shape, packing)]
    while max(levels[-1].shape) > packing.block and 2 ** len(levels) <= packing.block:
        levels.append(_Level(folder, len(levels), shape, packing))
    return levels


def _write(out: IO[bytes], data: bytes) -> None:
    """Write all of it: a raw file may take less at a time, as a disk does that fills up."""
    left = memoryview(data)
    while left:
        left = left[out.write(left) :]
