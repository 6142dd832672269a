"""Rasters that factors come from: opened, checked, and warped to the region's grid window by window."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio._err import CPLE_BaseError  # GDAL's own words, where rasterio has no error for them
from rasterio.enums import ColorInterp, Resampling
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform
from rasterio.windows import Window

from service.errors import FactorError
from service.files import sha256_file
from service.region import Grid

Float32 = npt.NDArray[np.float32]

# Windows may reach this many cells beyond the grid: the neighbourhood of an edge cell.
HALO = 2
_METRES = ("", "m", "metre", "metres", "meter", "meters", "unknown")


class RasterSource:
    """A single-band raster on the region's grid; a context manager.

    Continuous sources are resampled bilinearly (averaged where more than twice as fine as the grid),
    categorical ones by the nearest cell, and a source that lies on the grid's cells is taken as it is. Raises
    FactorError for a missing or corrupt file, one without CRS, with several bands, or with bounds in degrees
    under a CRS in metres.
    """

    def __init__(self, what: str, path: Path, grid: Grid, kind: Literal["continuous", "categorical"]) -> None:
        self.what, self.path = what, path
        if not path.exists():
            raise FactorError(f"{what}: no such file: {path}")
        with self._explained(), warnings.catch_warnings():
            # Said below, as an error, in our words.
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            self._source = rasterio.open(path)
        try:
            self._check()
            self._scale, self._offset = self._scaling() if kind == "continuous" else (1.0, 0.0)
            with self._explained():
                self._warped = self._warp(grid, kind)
        except BaseException:
            self._source.close()
            raise

    def read(self, window: Window) -> Float32:
        """Return the source in a window of the grid, at most HALO cells beyond it: float32 (h, w), or NaN."""
        shifted = Window(window.col_off + HALO, window.row_off + HALO, window.width, window.height)
        with self._explained():
            values = self._warped.read(1, window=shifted)
        if (self._scale, self._offset) != (1.0, 0.0):
            values = values * self._scale + self._offset
        values = np.asarray(values, np.float32)
        values[~np.isfinite(values)] = np.nan
        return values

    def require_metres(self) -> None:
        """Raise FactorError where the band says that its elevations are in another unit."""
        unit = self._source.units[0] or ""
        if unit.lower() not in _METRES:
            raise FactorError(f"{self.what} {self.path} is in {unit!r}; convert its elevations to metres")

    def digest(self) -> list[str]:
        """Return the SHA-256 of every file behind the source (a VRT names its parts), in order."""
        with self._explained():
            return [sha256_file(Path(name)) for name in sorted(self._source.files) if Path(name).is_file()]

    def close(self) -> None:
        """Close the files."""
        self._warped.close()
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self) -> None:
        source = self._source
        if source.crs is None:
            raise FactorError(
                f"{self.what}: {self.path} does not say its CRS; set it with: gdal_edit -a_srs EPSG:CODE FILE"
            )
        if source.transform.is_identity:
            raise FactorError(f"{self.what}: {self.path} does not say where it lies; give it a geotransform")
        count = sum(interpretation != ColorInterp.alpha for interpretation in source.colorinterp)
        if count != 1:
            raise FactorError(
                f"{self.what}: {self.path} has {count} bands, and a factor comes from one; "
                "extract it with: gdal_translate -b NUMBER"
            )
        left, bottom, right, top = source.bounds
        in_degrees = max(abs(left), abs(right)) <= 360 and max(abs(bottom), abs(top)) <= 90
        if source.crs.is_projected and in_degrees:
            raise FactorError(
                f"{self.what}: {self.path} claims {source.crs}, in metres, but its bounds ({left:g}, "
                f"{bottom:g}, {right:g}, {top:g}) are degrees; correct its CRS, perhaps to EPSG:4326"
            )

    def _scaling(self) -> tuple[float, float]:
        return float(self._source.scales[0]), float(self._source.offsets[0])

    def _warp(self, grid: Grid, kind: Literal["continuous", "categorical"]) -> Any:
        size = grid.cell_size_m
        onto = Affine(size, 0, grid.left - HALO * size, 0, -size, grid.top + HALO * size)
        nearest = kind == "categorical" or _on_cells(self._source, grid)
        return WarpedVRT(
            self._source,
            crs=grid.crs,
            transform=onto,
            width=grid.width + 2 * HALO,
            height=grid.height + 2 * HALO,
            resampling=Resampling.nearest if nearest else Resampling.bilinear,
            src_nodata=self._source.nodata,
            nodata=float("nan"),
            dtype="float32",
            # As good as exact (0 itself fails in rasterio 1.4): an approximated transformation would make
            # values depend on how the grid is cut.
            tolerance=1e-6,
            warp_mem_limit=64,
            **self._kernel(grid),
        )

    def _kernel(self, grid: Grid) -> dict[str, str]:
        """Keep GDAL from widening its kernel for a source only a little finer than the grid.

        It would do so by a fraction of a cell, now more, now less, and ripple a DEM in degrees: 0.1 m on a
        slope of 6 degrees, which is much for a curvature. Much finer sources are averaged, as they should be.
        """
        x, y = self._source.xy(self._source.height // 2, self._source.width // 2)
        right, down = self._source.res
        eastings, northings = transform(self._source.crs, grid.crs, [x, x + right, x], [y, y, y - down])
        sides = [math.hypot(eastings[i] - eastings[0], northings[i] - northings[0]) for i in (1, 2)]
        return {"XSCALE": "1", "YSCALE": "1"} if min(sides) > grid.cell_size_m / 2 else {}

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Name the file in what GDAL has to say."""
        try:
            yield
        except (rasterio.errors.RasterioError, CPLE_BaseError) as error:
            raise FactorError(
                f"{self.what}: {self.path} cannot be read as a raster: {error}; fetch or make it again"
            ) from error


def _on_cells(source: Any, grid: Grid) -> bool:
    """Tell whether the source's cells are the grid's, apart from where they begin and end."""
    if source.crs != grid.crs:
        return False
    size, here = grid.cell_size_m, source.transform
    if not Affine(here.a, here.b, 0, here.d, here.e, 0).almost_equals(Affine(size, 0, 0, 0, -size, 0), 1e-6):
        return False
    columns, rows = (here.c - grid.left) / size, (grid.top - here.f) / size
    return bool(abs(columns - round(columns)) < 1e-4 and abs(rows - round(rows)) < 1e-4)
