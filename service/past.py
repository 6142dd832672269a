"""What layers of many days say of one cell, read from their COGs a small square at a time.

Opening a COG costs more than reading from it, so the square around the cell is kept: whoever looks at the
place next door a moment later waits for nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import rasterio
import structlog
from rasterio.windows import Window

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import NODATA
from service.ledger_rows import ShownLayer

_SIDE = 256  # cells along a kept square: 64 KiB
_KEPT = 1536  # squares: 96 MiB, four places of a year each
_THREADS = 2  # a place must not take the whole machine
_log = structlog.get_logger()

Square = npt.NDArray[np.uint8]


class PastReader:
    """Reads stored susceptibility of single cells; safe to call from several threads."""

    def __init__(self, kept: int = _KEPT) -> None:
        self._kept = kept
        self._squares: OrderedDict[tuple[str, int, int], Square] = OrderedDict()
        self._lock = threading.Lock()

    def stored(self, layers: Sequence[ShownLayer], row: int, column: int) -> npt.NDArray[np.uint8]:
        """Return stored susceptibility of a cell by layer: uint8 (n,), 255 where it is unknown.

        A layer whose file cannot be read says nothing, and the log names it. Layers lie on one grid.
        """
        corner = row // _SIDE, column // _SIDE
        inside = row % _SIDE, column % _SIDE
        squares = {layer.id: self._find(layer, corner) for layer in layers}
        lacking = [layer for layer in layers if squares[layer.id] is None]
        if lacking:
            with ThreadPoolExecutor(_THREADS, "past") as pool:
                for layer, square in zip(
                    lacking, pool.map(lambda layer: _read(layer, corner), lacking), strict=True
                ):
                    squares[layer.id] = square
                    if square is not None:
                        self._keep(layer, corner, square)
        found = [squares[layer.id] for layer in layers]
        return np.array([NODATA if square is None else square[inside] for square in found], np.uint8)

    def _find(self, layer: ShownLayer, corner: tuple[int, int]) -> Square | None:
        key = (layer.digest, *corner)
        with self._lock:
            square = self._squares.get(key)
            if square is not None:
                self._squares.move_to_end(key)
        return square

    def _keep(self, layer: ShownLayer, corner: tuple[int, int], square: Square) -> None:
        with self._lock:
            self._squares[layer.digest, *corner] = square
            while len(self._squares) > self._kept:
                self._squares.popitem(last=False)


def _read(layer: ShownLayer, corner: tuple[int, int]) -> Square | None:
    try:
        with rasterio.open(layer.folder / SUSCEPTIBILITY, sharing=False) as dataset:
            row, column = corner[0] * _SIDE, corner[1] * _SIDE
            height, width = min(_SIDE, dataset.height - row), min(_SIDE, dataset.width - column)
            return np.asarray(dataset.read(1, window=Window(column, row, width, height)))
    except rasterio.errors.RasterioIOError as error:
        _log.warning("a layer of the past cannot be read", layer=layer.id, error=str(error))
        return None
