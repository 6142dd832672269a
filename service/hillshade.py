"""The hillshade of the region's own DEM: the base map of a page that needs no internet.

    region/hillshade-<digest>.tif   uint8 COG on the region's grid: 0 unknown, 1..255 dark to light

Made once for a DEM by the refresh, strip by strip; the API only reads it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.shutil
import structlog
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from exporters.picture import hillshade
from service.errors import FactorError, RegionError, StorageError
from service.factor_stack import FactorStack
from service.files import digest_of, replacing, sha256_file
from service.region import Grid, make_grid
from service.settings import Settings

_PATTERN = "hillshade-*.tif"
# Part of the digest: another way of shading makes another file.
_SHADING = "sun 315/45, uint8, 1"
# The arithmetic takes about 150 bytes a cell.
_STRIP_CELLS = 1_000_000

log = structlog.get_logger()


def ensure_hillshade(settings: Settings) -> Path | None:
    """Return the hillshade of the region's DEM, made where it is missing; None where no elevation is known.

    The DEM is `grid.dem`, else `factors.dem`, else the factor stack's band `elevation`. Hillshades of other
    DEMs are removed. Only the holder of the region's lock may call this. Raises RegionError or FactorError
    where the source cannot be read, StorageError or OSError where the disk is full.
    """
    grid = make_grid(settings)
    found = _source(settings, grid)
    if found is None:
        return None
    source, band, digest = found
    folder = settings.data_dir / "region"
    path = folder / f"hillshade-{digest_of(_SHADING, grid.digest, digest)[:16]}.tif"
    if not path.exists():
        _make(path, source, band, grid)
        log.info("hillshade made", path=str(path), source=str(source))
    for other in folder.glob(_PATTERN):
        if other != path:
            other.unlink()
    return path


def find_hillshade(settings: Settings) -> Path | None:
    """Return the hillshade that is there, if any. Makes and checks nothing: for those who only look."""
    found = sorted((settings.data_dir / "region").glob(_PATTERN))
    return found[-1] if found else None


def _source(settings: Settings, grid: Grid) -> tuple[Path, int, str] | None:
    """Return file, band and digest of the elevation to shade."""
    for dem in (settings.grid.dem, settings.factors.dem):
        if dem is not None and dem.exists():
            return dem, 1, sha256_file(dem)
    if not settings.stack_path.exists():
        return None
    with FactorStack.open(settings.stack_path, grid) as stack:
        names = [band.name for band in stack.bands]
        if "elevation" not in names:
            return None
        return settings.stack_path, names.index("elevation") + 1, stack.digest


def _make(path: Path, source: Path, band: int, grid: Grid) -> None:
    with replacing(path) as temporary:
        plain = temporary.with_name(f".plain-{temporary.name.removeprefix('.')}")
        try:
            with _on_grid(source, grid) as elevation:
                _shade(plain, elevation, band, grid)
            rasterio.shutil.copy(
                plain,
                temporary,
                driver="COG",
                COMPRESS="DEFLATE",
                LEVEL="6",
                PREDICTOR="YES",
                BLOCKSIZE="512",
                OVERVIEW_RESAMPLING="AVERAGE",
                BIGTIFF="IF_SAFER",
            )
            _read_back(temporary)
        except rasterio.errors.RasterioIOError as error:
            raise StorageError(
                f"{path} could not be made from {source}: {error}. Is the disk full, or the DEM damaged?"
            ) from error
        finally:
            plain.unlink(missing_ok=True)


def _shade(path: Path, elevation: Any, band: int, grid: Grid) -> None:
    """Write a plain GeoTIFF of the light on each cell. Each strip reads one row more on both sides."""
    rows = max(1, _STRIP_CELLS // grid.width)
    profile = {**grid.profile("uint8", 1, 0), "tiled": False, "compress": "none"}
    for key in ("blockxsize", "blockysize"):
        del profile[key]
    with rasterio.open(path, "w", **profile) as out:
        for first in range(0, grid.height, rows):
            count = min(rows, grid.height - first)
            above, below = min(1, first), min(1, grid.height - first - count)
            window = Window(0, first - above, grid.width, above + count + below)
            metres = elevation.read(band, window=window, masked=True).astype(np.float64).filled(np.nan)
            light = _stored(metres, grid.cell_size_m)[above : above + count]
            out.write(light, 1, window=Window(0, first, grid.width, count))


def _stored(metres: npt.NDArray[np.float64], cell_size_m: float) -> npt.NDArray[np.uint8]:
    """Return light as 1..255, 0 where elevation is unknown; metres are (rows, columns), NaN unknown."""
    if min(metres.shape) < 2:  # a grid of one row or column has no slope
        return np.where(np.isfinite(metres), 180, 0).astype(np.uint8)
    light = hillshade(metres, cell_size_m)
    return np.where(np.isfinite(light), 1 + np.rint(np.nan_to_num(light) * 254), 0).astype(np.uint8)


@contextmanager
def _on_grid(source: Path, grid: Grid) -> Iterator[Any]:
    """Open elevation on the region's cells, warped where it lies on others."""
    try:
        with rasterio.open(source) as dataset:
            if grid.matches(dataset):
                yield dataset
                return
            if dataset.crs is None:
                raise RegionError(f"{source} does not say its CRS; write it into the file with gdal_edit.py")
            with WarpedVRT(
                dataset,
                crs=grid.crs,
                transform=grid.transform,
                width=grid.width,
                height=grid.height,
                resampling=Resampling.bilinear,
                dtype="float64",
                nodata=-1e30,
            ) as warped:
                yield warped
    except rasterio.errors.CRSError as error:
        raise FactorError(f"{source} has a CRS that cannot be used: {error}") from error


def _read_back(path: Path) -> None:
    """Read all of it: GDAL ends well on a disk that filled up meanwhile."""
    with rasterio.open(path) as found:
        levels = len(found.overviews(1))
        for _, window in found.block_windows(1):
            found.read(1, window=window)
    for level in range(levels):
        with rasterio.open(path, overview_level=level) as overview:
            for _, window in overview.block_windows(1):
                overview.read(1, window=window)
