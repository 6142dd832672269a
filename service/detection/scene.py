"""A scene: one look of a satellite at one place, as bands by name on one grid, whatever it came as.

    SAFE folder          a Sentinel-2 product, Level 2A or 1C                       service.detection.safe
    folder of rasters    B02.tif ..., *_B02_10m.jp2, SCL, DEM, slope, scene.json    service.detection.folder
    NetCDF file          Sen12Landslides: a time series of one square               service.detection.series

The grid is that of the finest band; bands of 20 and 60 m are resampled to it bilinearly, classes by the
nearest cell, elevation by cubic convolution. Numbers leave here as reflectance (0 to 1), degrees and metres.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import rasterio
import rasterio.warp
from affine import Affine
from rasterio.crs import CRS

from service.errors import InputError

FloatArray = npt.NDArray[np.float32]

_DRIVERS = {".tif": "GTiff", ".tiff": "GTiff", ".jp2": "JP2OpenJPEG"}


@dataclass(frozen=True)
class Source:
    """Where the numbers of one band lie: value = (stored + offset) * scale."""

    name: str  # GDAL's name of the dataset: a file's path
    index: int = 1  # of the dataset's band, from 1
    scale: float = 1.0
    offset: float = 0.0
    unknown: tuple[float, ...] = ()  # stored numbers that are none: no data, saturated
    # Stored numbers (h, w) that were read before.
    values: FloatArray | None = field(default=None, repr=False, compare=False)


@dataclass(frozen=True)
class Scene:
    """One scene. Bands by their names in `service.detection.bands`."""

    id: str
    path: Path
    product: str  # in words: "Sentinel-2 Level-2A", "band rasters", "Sen12Landslides"
    sensed_on: date
    after: date | None  # landslides found happened after this day, where somebody said
    crs: CRS
    transform: Affine
    shape: tuple[int, int]  # height, width
    bands: Mapping[str, Source]
    classes: Source | None = None  # the scene classification (SCL)
    dem: Source | None = None  # elevation in metres
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()  # besides those of the bands, what it was made out of

    @property
    def pixel_size_m(self) -> float:
        """Side of a cell in metres."""
        return float(self.transform.a)

    @property
    def available(self) -> tuple[str, ...]:
        """Names of what it has, terrain included."""
        terrain = ("slope", "elevation") if self.dem is not None else ()
        return tuple(dict.fromkeys((*self.bands, *terrain)))

    def files_of(self, names: tuple[str, ...]) -> tuple[Path, ...]:
        """Return the files that the bands named come from, and what says how they are to be read."""
        sources = [self.bands[name] for name in names if name in self.bands]
        sources += [one for one in (self.classes, self.dem) if one is not None]
        own = [Path(source.name) for source in sources if source.values is None]
        return tuple(sorted({*own, *self.files}))


def open_scene(
    path: Path,
    *,
    day: date | None = None,
    after: date | None = None,
    dem: Path | None = None,
    zone: ZoneInfo | None = None,
) -> Scene:
    """Return what lies at `path` as a scene, whatever kind it is.

    `day` says (or, of a series, chooses) the day it was sensed on; `after` the day of the clear scene before.
    `dem` is elevation in metres on any grid that covers it, and goes before a DEM of the scene's own. `zone`
    is the time zone whose calendar days count; UTC where it is not given.

    Raises InputError where it cannot be used, and says what to do.
    """
    from service.detection import folder, safe, series  # they build scenes out of this module's parts

    path = path.absolute()  # findings are read from elsewhere, later
    if path.is_file() and path.name.startswith("MTD_MSI") and path.suffix == ".xml":
        path = path.parent
    if safe.is_safe(path):
        found = safe.open_safe(path, day=day, after=after, zone=zone)
    elif path.is_dir():
        found = folder.open_folder(path, day=day, after=after, zone=zone)
    elif path.is_file() and path.suffix.lower() in (".nc", ".nc4"):
        found = series.open_series(path, day=day, after=after)
    elif path.suffix.lower() == ".zip":
        raise InputError(f"{path} is packed; unpack it and name the .SAFE folder inside")
    elif not path.exists():
        raise InputError(f"there is no scene at {path}")
    else:
        raise InputError(
            f"{path} is no scene: a Sentinel-2 .SAFE folder, a folder of band rasters (B02.tif ...), or a "
            "Sen12Landslides file (.nc) is expected"
        )
    if found.after is not None and found.after >= found.sensed_on:
        raise InputError(
            f"{path} was sensed on {found.sensed_on}; landslides in it cannot all have happened after "
            f"{found.after}. --after is the day of a scene before this one"
        )
    return found if dem is None else _with_dem(found, dem)


def driver_of(name: Path | str) -> str | None:
    """Return which of GDAL's drivers may open a file; None: any.

    GDAL goes by content: a list of other files, or of addresses, would be followed though it is called .tif.
    """
    return _DRIVERS.get(Path(name).suffix.lower())


def grid_of(path: Path | str, words: str) -> tuple[CRS, Affine, tuple[int, int]]:
    """Return CRS, transform and shape of a raster whose grid is to be the scene's; `words` name the scene.

    Raises InputError for a grid in degrees, turned, of oblong cells, or without a CRS.
    """
    try:
        with rasterio.open(path, driver=driver_of(path)) as dataset:
            crs, transform, shape = dataset.crs, dataset.transform, dataset.shape
    except rasterio.errors.RasterioError as error:
        raise InputError(f"{path} cannot be read: {error}; copy or fetch it again") from error
    check_grid(crs, transform, words)
    return crs, transform, shape


def check_grid(crs: CRS | None, transform: Affine, words: str) -> None:
    """Raise InputError for a grid that is not made of squares in metres with north above."""
    if crs is None:
        raise InputError(f"{words} does not say its CRS; write it into the files with gdal_edit.py -a_srs")
    if not crs.is_projected or abs(crs.linear_units_factor[1] - 1) > 1e-9:
        raise InputError(
            f"{words} is in {crs.to_string()}, which does not count in metres; bring it onto the UTM zone of "
            "the place first: gdalwarp -t_srs EPSG:326xx -tr 10 10 -r bilinear"
        )
    if transform.b or transform.d or transform.a <= 0 or abs(transform.a + transform.e) > 1e-6 * transform.a:
        raise InputError(
            f"{words} has no upright square cells ({transform.a:g} x {-transform.e:g}); resample it with "
            "gdalwarp -tr 10 10 -r bilinear"
        )


def _with_dem(scene: Scene, dem: Path) -> Scene:
    try:
        with rasterio.open(dem, driver=driver_of(dem)) as dataset:
            crs, bounds = dataset.crs, dataset.bounds
            scale, offset = dataset.scales[0] or 1.0, dataset.offsets[0]
    except rasterio.errors.RasterioError as error:
        raise InputError(f"the DEM {dem} cannot be read: {error}") from error
    if crs is None:
        raise InputError(
            f"the DEM {dem} does not say its CRS; write it into the file with gdal_edit.py -a_srs"
        )
    height, width = scene.shape
    try:
        around = rasterio.warp.transform_bounds(
            scene.crs, crs, *rasterio.transform.array_bounds(height, width, scene.transform)
        )
    except rasterio.errors.CRSError as error:
        raise InputError(f"the DEM {dem} has a CRS that cannot be used: {error}") from error
    if (
        around[0] >= bounds.right
        or around[2] <= bounds.left
        or around[1] >= bounds.top
        or around[3] <= bounds.bottom
    ):
        raise InputError(f"the DEM {dem} lies elsewhere than the scene {scene.path}; give one that covers it")
    kept = {name: source for name, source in scene.bands.items() if name not in ("slope", "elevation")}
    return replace(scene, bands=kept, dem=Source(str(dem), 1, scale, offset / scale))
