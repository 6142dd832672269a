"""An earlier layer that the one in the making is compared with, read strip by strip beside it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.windows import Window

from exporters.cog import CLASSES, PROVENANCE
from service.errors import StorageError


class EarlierLayer:
    """A finished layer's class.tif, open; a strip is read once, however many ask for it.

    Arrays that are given out are not to be written to. Everything raises
    StorageError for a layer that cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._strip: tuple[tuple[int, int], npt.NDArray[np.uint8]] | None = None
        try:
            self._classes = rasterio.open(folder / CLASSES)
        except rasterio.errors.RasterioIOError as error:
            raise self._unreadable(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def basis(self) -> npt.NDArray[np.float32]:
        """Codes of the sets of series behind the windows (rows, columns) of forcing cells; NaN: none."""
        try:
            with rasterio.open(self._folder / PROVENANCE) as provenance:
                band = provenance.descriptions.index("basis") + 1
                return np.asarray(provenance.read(band), np.float32)
        except rasterio.errors.RasterioIOError as error:
            raise self._unreadable(error) from error

    def lies_on(self, shape: tuple[int, int], transform: Affine) -> bool:
        """Tell whether its cells are those of a grid of this shape and transform."""
        return bool(self._classes.shape == shape and self._classes.transform.almost_equals(transform, 1e-6))

    def classes(self, row: int, rows: int) -> npt.NDArray[np.uint8]:
        """Return classes, 0 unknown: uint8 (rows, width)."""
        if self._strip is None or self._strip[0] != (row, rows):
            try:
                strip = self._classes.read(1, window=Window(0, row, self._classes.width, rows))
            except rasterio.errors.RasterioIOError as error:
                raise self._unreadable(error) from error
            self._strip = (row, rows), strip
        return self._strip[1]

    def close(self) -> None:
        """Close the raster."""
        self._classes.close()

    def _unreadable(self, error: Exception) -> StorageError:
        return StorageError(f"cannot compare with the layer in {self._folder}: {error}")
