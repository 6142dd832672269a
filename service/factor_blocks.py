"""A factor stack's values as one bundle wants them, square by square, each read and prepared once.

Tiles overlap by the halo of their patches, and squares of the stack are compressed: without this, a square
would be decompressed for each tile and thread that touches it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from service.errors import RegionError
from service.factor_stack import FactorStack
from service.region import Region

FloatArray = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SQUARE = 256  # cells along a square: a block of the stack

# What squares may take in memory: two rows of a dozen of them at 16 factors.
_KEPT_BYTES = 128 << 20


class Channel(Protocol):
    """How a bundle takes one factor."""

    def prepare(self, band: FloatArray) -> tuple[Bools, Bools]:
        """Fill or translate a band in place; return where it was observed and where it leaves the range."""
        ...


@dataclass(frozen=True)
class Square:
    """Factors float32 (C, s, s) ready for the graph; of each cell: observed in every band, within all
    ranges, in the mask."""

    factors: FloatArray
    observed: Bools
    outside: Bools
    inside: Bools
    whole: bool  # every cell observed
    strange: bool  # some cell outside a range


@dataclass(frozen=True)
class Piece:
    """A square's part in a window: where it lies in the square, and where in the window."""

    square: Square
    there: tuple[slice, slice]
    here: tuple[slice, slice]


class FactorBlocks:
    """Squares of a stack, the latest kept. Safe to use from several threads; each is read by one."""

    def __init__(
        self, region: Region, stack: FactorStack, names: Sequence[str], channels: Sequence[Channel]
    ) -> None:
        self._grid, self._mask_path = region.grid, region.mask_path
        self._stack, self._names, self._channels = stack, names, channels
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[int, int], Future[Square]] = OrderedDict()
        self._beyond = self._prepared(np.full((len(names), SQUARE, SQUARE), np.nan, np.float32), None)
        self._square_bytes = SQUARE**2 * (4 * len(names) + 3)
        self._at_most = max(4, _KEPT_BYTES // self._square_bytes)

    @property
    def stripe(self) -> int:
        """Cells across which tiles can be read row after row, and nothing twice."""
        return SQUARE * max(1, self._at_most // 2 - 3)

    def keep_rows(self, at_most_bytes: int) -> None:
        """Keep two rows of squares as wide as the grid, where they fit, for tiles that come in bands."""
        rows = 2 * (-(-self._grid.width // SQUARE) + 2)
        self._at_most = max(self._at_most, min(rows, at_most_bytes // self._square_bytes))

    def forget(self) -> None:
        """Let go of what is kept."""
        with self._lock:
            self._kept.clear()

    def pieces(self, row: int, column: int, height: int, width: int) -> Iterator[Piece]:
        """Yield what makes up a window, which may leave the grid."""
        for down in range(row // SQUARE, -(-(row + height) // SQUARE)):
            there_rows, here_rows = _overlap(down * SQUARE, row, height)
            for across in range(column // SQUARE, -(-(column + width) // SQUARE)):
                there_columns, here_columns = _overlap(across * SQUARE, column, width)
                yield Piece(
                    self._square(down, across), (there_rows, there_columns), (here_rows, here_columns)
                )

    def _square(self, down: int, across: int) -> Square:
        if not (0 <= down * SQUARE < self._grid.height and 0 <= across * SQUARE < self._grid.width):
            return self._beyond
        return self._once((down, across), lambda: self._read(down * SQUARE, across * SQUARE))

    def _once(self, key: tuple[int, int], read: Callable[[], Square]) -> Square:
        with self._lock:
            found = self._kept.get(key)
            future = found or Future()
            self._kept[key] = future
            self._kept.move_to_end(key)
            while len(self._kept) > self._at_most:
                self._kept.popitem(last=False)
        if found is None:
            try:
                future.set_result(read())
            except BaseException as error:
                with self._lock:
                    self._kept.pop(key, None)
                future.set_exception(error)
                raise
        return future.result()

    def _read(self, row: int, column: int) -> Square:
        inside = np.zeros((SQUARE, SQUARE), bool)
        rows, columns = min(SQUARE, self._grid.height - row), min(SQUARE, self._grid.width - column)
        try:
            # Opened for each square: a GDAL dataset serves one thread at a time.
            with rasterio.open(self._mask_path, sharing=False) as mask:
                inside[:rows, :columns] = mask.read(1, window=Window(column, row, columns, rows)) == 1
        except rasterio.errors.RasterioIOError as error:
            raise RegionError(f"the mask {self._mask_path} cannot be read: {error}") from error
        return self._prepared(self._stack.read(self._names, Window(column, row, SQUARE, SQUARE)), inside)

    def _prepared(self, factors: FloatArray, inside: Bools | None) -> Square:
        shape = factors.shape[1:]
        observed, outside = np.ones(shape, bool), np.zeros(shape, bool)
        for band, channel in zip(factors, self._channels, strict=True):
            seen, strange = channel.prepare(band)
            observed &= seen
            outside |= strange
        inside = np.zeros(shape, bool) if inside is None else inside
        return Square(factors, observed, outside, inside, bool(observed.all()), bool(outside.any()))


def _overlap(start: int, first: int, length: int) -> tuple[slice, slice]:
    """Return the part of start ... start + SQUARE in first ... first + length, counted from each."""
    low, high = max(start, first), min(start + SQUARE, first + length)
    return slice(low - start, high - start), slice(low - first, high - first)
