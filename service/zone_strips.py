"""Zones and mask strip by strip, and which columns of a strip lie in one zone alone.

Most columns of a strip of a hundred rows do. Cells of such a span are counted without looking at the zones.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

MAX_ROWS = 128  # of a strip that is looked at in one piece: taller ones lie in one zone less often
_LEAST_COLUMNS = 32  # of a span: a look at a narrower one costs more than its cells' zones

Codes = npt.NDArray[np.uint16]


class Span(NamedTuple):
    """Columns of a strip, [first, stop); `code` is the zone of all cells, None where there are several."""

    first: int
    stop: int
    code: int | None


class ZoneStrips:
    """The zones raster and the mask of a region, open; a strip is read once, however many ask for it.

    Arrays that are given out are not to be written to.
    """

    def __init__(self, zones_path: Path, zones: int, mask_path: Path | None = None) -> None:
        self.zones = zones
        self._raster = rasterio.open(zones_path)
        self._mask = rasterio.open(mask_path) if mask_path is not None else None
        self._codes: tuple[tuple[int, int], Codes] | None = None
        self._spans: tuple[tuple[int, int], tuple[Span, ...]] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def codes(self, row: int, rows: int) -> Codes:
        """Return zone codes, 0 outside every zone: uint16 (rows, width).

        Raises ValueError for a code that the zones do not have.
        """
        if self._codes is None or self._codes[0] != (row, rows):
            codes = self._raster.read(1, window=Window(0, row, self._raster.width, rows))
            if codes.size and int(codes.max()) > self.zones:
                raise ValueError(
                    f"the zones raster holds code {int(codes.max())}, but there are {self.zones} zones"
                )
            self._codes = (row, rows), codes
        return self._codes[1]

    def spans(self, row: int, rows: int) -> tuple[Span, ...]:
        """Return the strip's columns from west to east, by zone."""
        if self._spans is None or self._spans[0] != (row, rows):
            self._spans = (row, rows), tuple(spans_of(self.codes(row, rows)))
        return self._spans[1]

    def inside(self, row: int, rows: int) -> npt.NDArray[np.bool_] | None:
        """Return which cells lie in the mask, bool (rows, width); None without a mask: all do."""
        if self._mask is None:
            return None
        return np.asarray(self._mask.read(1, window=Window(0, row, self._mask.width, rows)) > 0)

    def close(self) -> None:
        """Close the rasters."""
        self._raster.close()
        if self._mask is not None:
            self._mask.close()


def pieces(row: int, rows: int) -> Iterator[tuple[int, int]]:
    """Cut a strip into pieces of at most MAX_ROWS: yield (first row, rows)."""
    for first in range(row, row + rows, MAX_ROWS):
        yield first, min(MAX_ROWS, row + rows - first)


def spans_of(codes: npt.NDArray[np.integer]) -> Iterator[Span]:
    """Yield the columns of codes (rows, width), from west to east, by what zone they lie in."""
    width = codes.shape[1]
    alone = (codes == codes[0]).all(axis=0)
    code = np.where(alone, codes[0].astype(np.int64), -1)
    cuts = np.concatenate([[0], np.flatnonzero(np.diff(code)) + 1, [width]])
    mixed = None  # first column of a span of several zones that is still growing
    for first, stop in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
        if code[first] < 0 or stop - first < _LEAST_COLUMNS:
            mixed = first if mixed is None else mixed
            continue
        if mixed is not None:
            yield Span(mixed, first, None)
            mixed = None
        yield Span(first, stop, int(code[first]))
    if mixed is not None:
        yield Span(mixed, width, None)
