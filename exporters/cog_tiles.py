"""Cells of a raster's tiles: how they are packed, and how those of the next overview come from them."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Resampling = Literal["AVERAGE", "NEAREST"]
Cells = npt.NDArray[Any]  # (bands, rows, columns)

# Where repetition is farther away than one byte; level 6 takes three times as long.
_LEVEL = 4
_NO_PREDICTOR, _DIFFERENCES, _FLOAT_DIFFERENCES = 1, 2, 3


@dataclass(frozen=True)
class Packing:
    """How the tiles of one raster are packed: pixel by pixel, as squares of `block` cells, in zlib's format.

    Values that change little from cell to cell pack better as differences along the row (TIFF's predictors:
    2 for integers, 3 for floats, whose bytes are split into planes first); codes and marks do not.
    """

    block: int
    dtype: np.dtype[Any]
    nodata: float
    resampling: Resampling

    @property
    def predictor(self) -> int:
        """TIFF's number of what is done before packing."""
        if self.resampling == "NEAREST":
            return _NO_PREDICTOR
        return _FLOAT_DIFFERENCES if self.dtype.kind == "f" else _DIFFERENCES

    def pack(self, cells: Cells) -> bytes:
        """Return a tile's bytes; cells beyond the raster's edge are filled with no-data."""
        bands, rows, columns = cells.shape
        if not _known(cells, self.nodata).any():
            return _packed_unknown(self, bands)
        pixels = np.empty((self.block, self.block, bands), self.dtype.newbyteorder("<"))
        if rows < self.block or columns < self.block:
            pixels.fill(self.nodata)
        pixels[:rows, :columns] = np.moveaxis(cells, 0, 2)
        return self._compressed(pixels)

    def halve(self, cells: Cells) -> Cells:
        """Return the cells of the next overview, (bands, rows / 2, columns / 2), sizes rounded up."""
        return average_known(cells, self.nodata) if self.resampling == "AVERAGE" else north_west(cells)

    def _compressed(self, pixels: npt.NDArray[Any]) -> bytes:
        packer = zlib.compressobj(_LEVEL, strategy=self._strategy(pixels.shape[2]))
        return packer.compress(self._prepared(pixels).data) + packer.flush()

    def _strategy(self, bands: int) -> int:
        """Return zlib's: of differences and of classes, looking for runs alone makes files as small.

        It takes half the time of a search for repetitions.
        """
        one_byte = bands * self.dtype.itemsize == 1
        return zlib.Z_RLE if one_byte or self.predictor != _NO_PREDICTOR else zlib.Z_DEFAULT_STRATEGY

    def _prepared(self, pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if self.predictor == _DIFFERENCES:
            return _differences(pixels)
        if self.predictor == _FLOAT_DIFFERENCES:
            row = pixels.astype(self.dtype.newbyteorder(">")).reshape(self.block, -1)
            planes = row.view(np.uint8).reshape(*row.shape, self.dtype.itemsize)
            bands = pixels.shape[2]
            return _differences(np.moveaxis(planes, 2, 1).reshape(self.block, -1, bands))
        return pixels


@lru_cache(maxsize=16)
def _packed_unknown(packing: Packing, bands: int) -> bytes:
    """Return the tile that most of a raster is made of where its region is no rectangle."""
    pixels = np.full((packing.block, packing.block, bands), packing.nodata, packing.dtype.newbyteorder("<"))
    return packing._compressed(pixels)


def _known(cells: Cells, nodata: float) -> npt.NDArray[np.bool_]:
    return np.asarray(~np.isnan(cells) if cells.dtype.kind == "f" else cells != nodata)


def north_west(cells: Cells) -> Cells:
    """Return the north-western of each 2 x 2 cells."""
    return cells[:, ::2, ::2]


def average_known(cells: Cells, nodata: float) -> Cells:
    """Return the mean of the known among each 2 x 2 cells, no-data where none is known.

    At an odd edge there are fewer than four. Of uint8, whose no-data is 0 or 255 so that no mean can be taken
    for it, a half is rounded up; of float32, whose no-data is NaN, the mean is taken in float64.
    """
    even = _even(cells, nodata)
    return _mean_floats(even) if cells.dtype == np.float32 else _mean_bytes(even, int(nodata))


def _mean_floats(even: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    known = _known(even, np.nan)
    total = _sums_of_four(np.where(known, even, 0).astype(np.float64))
    count = _sums_of_four(known.astype(np.float64))
    return np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0).astype(np.float32)


def _mean_bytes(even: npt.NDArray[np.uint8], nodata: int) -> npt.NDArray[np.uint8]:
    known = _known(even, nodata)
    if known.all():
        total = _sums_of_pairs(even)
        total += 2
        total >>= 2
        return total.astype(np.uint8)
    total = _sums_of_pairs(even * known)
    # How many are known in the upper bits: one table then holds every mean.
    total += _sums_of_pairs(known.view(np.uint8)) << 10
    return _means(nodata).take(total)


def _even(cells: Cells, nodata: float) -> Cells:
    """Return the cells as one contiguous block of even sides."""
    bands, rows, columns = cells.shape
    if rows % 2 == 0 and columns % 2 == 0:
        return np.ascontiguousarray(cells)
    even = np.full((bands, rows + rows % 2, columns + columns % 2), nodata, cells.dtype)
    even[:, :rows, :columns] = cells
    return even


def _sums_of_four(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    above, below = values[:, 0::2], values[:, 1::2]
    return np.asarray((above[..., 0::2] + above[..., 1::2]) + (below[..., 0::2] + below[..., 1::2]))


def _sums_of_pairs(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint16]:
    """Sum each 2 x 2 of uint8. Neighbours are read as one uint16: steps of two would be slower."""
    pairs = values.view(np.uint16)
    across = pairs & 0xFF
    across += pairs >> 8
    return np.asarray(across[:, 0::2] + across[:, 1::2])


@cache
def _means(nodata: int) -> npt.NDArray[np.uint8]:
    """Return the mean by how many of four are known (times 1024) and their sum."""
    known = np.arange(5)[:, np.newaxis]
    total = np.arange(1024)[np.newaxis]
    means = np.where(known > 0, (total + known // 2) // np.maximum(known, 1), nodata)
    return means.astype(np.uint8).ravel()


def _differences(pixels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return what each value of a row (rows, columns, bands) has more than the one before it, wrapping."""
    changed = np.empty_like(pixels)
    changed[:, 0] = pixels[:, 0]
    np.subtract(pixels[:, 1:], pixels[:, :-1], out=changed[:, 1:])
    return changed
