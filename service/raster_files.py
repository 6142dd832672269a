"""Rasters of days as files: content-addressed, never rewritten, the same bytes on every machine."""

from __future__ import annotations

import hashlib
import math
import zipfile
import zlib
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS

from service.errors import StorageError
from service.feeds.base import Grid
from service.files import replacing

_FOLDER = "rasters"
_DECIMALS = 9  # of a transform: 0.1 mm in degrees; a digit of another GDAL build must not make a correction


@dataclass(frozen=True)
class Place:
    """Where the pixels of a raster lie."""

    shape: tuple[int, int]  # height, width
    transform: Affine
    crs: CRS

    def __str__(self) -> str:
        size = math.hypot(self.transform.a, self.transform.d)
        return (
            f"{self.shape[0]} x {self.shape[1]} pixels of {size:g} from ({self.transform.c:g}, "
            f"{self.transform.f:g}) in {crs_text(self.crs)[:40]}"
        )


@dataclass(frozen=True)
class RasterDay:
    """The raster that stands for one feed's day of the region. Its file is read when first asked for."""

    feed: str
    day: date
    digest: str  # of values and place, 64 hex digits
    version: str  # of the product
    known_at: datetime
    path: Path
    issued_at: datetime | None = None  # of a forecast
    member: int | None = None

    @property
    def values(self) -> npt.NDArray[np.float32]:
        """Values in the stored unit, NaN where there are none: (height, width). Raises StorageError."""
        return self._content[0]

    @property
    def transform(self) -> Affine:
        """Of the pixels, in `crs`. Raises StorageError."""
        return self._content[1].transform

    @property
    def crs(self) -> CRS:
        """What the transform is in. Raises StorageError."""
        return self._content[1].crs

    def read(self) -> tuple[npt.NDArray[np.float32], Affine, CRS]:
        """Return values, transform and CRS without keeping them: years of days do not add up in memory."""
        values, place = read_raster(self.path, self.digest)
        return values, place.transform, place.crs

    @cached_property
    def _content(self) -> tuple[npt.NDArray[np.float32], Place]:
        return read_raster(self.path, self.digest)


def place_of(grid: Grid) -> Place:
    """Return where the pixels of a grid lie, as it is stored."""
    height, width = grid.values.shape
    return Place((height, width), Affine(*_rounded(grid.transform)), grid.crs)


def digest_of_grid(grid: Grid) -> str:
    """Return the SHA-256 of a grid's values and place: 64 hex digits, the same on every machine."""
    digest = hashlib.sha256()
    digest.update(repr((grid.values.shape, _rounded(grid.transform), crs_text(grid.crs))).encode())
    digest.update(canonical(grid.values).tobytes())
    return digest.hexdigest()


def canonical(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return values as they are stored: little-endian, one NaN for what is not finite, no negative zero."""
    plain = np.where(np.isfinite(values), values, np.float32(np.nan)).astype("<f4") + np.float32(0)
    return np.ascontiguousarray(plain)


def crs_text(crs: CRS) -> str:
    """Return a CRS by its EPSG code where it has one: WKT changes with the version of PROJ."""
    code = crs.to_epsg()
    return f"EPSG:{code}" if code is not None else str(crs.to_wkt())


def keep_raster(folder: Path, feed: str, grid: Grid, digest: str) -> str:
    """Write the file of a grid, where it is not there yet; return its path below `folder`."""
    relative = f"{_FOLDER}/{feed}/{grid.day.isoformat()}-{digest[:16]}.npz"
    path = folder / relative
    try:
        read_raster(path, digest)
    except StorageError:  # not there, or damaged: then what was given again makes it whole
        with replacing(path) as temporary:
            np.savez_compressed(
                temporary,
                values=canonical(grid.values),
                transform=np.array(_rounded(grid.transform), dtype=np.float64),
                crs=np.array(crs_text(grid.crs)),
                digest=np.array(digest),
            )
    return relative


def read_raster(path: Path, digest: str) -> tuple[npt.NDArray[np.float32], Place]:
    """Return the values of a stored raster and where they lie.

    Raises StorageError where the file is missing, damaged or another one than the archive says.
    """
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            if str(file["digest"]) != digest:
                raise ValueError("it holds another raster than the archive says")
            values, numbers, crs = file["values"], file["transform"], str(file["crs"])
        if values.dtype != np.float32 or values.ndim != 2 or numbers.shape != (6,):
            raise ValueError(f"its values are {values.dtype} {values.shape}")
        transform = Affine(*(float(number) for number in numbers))
        return values, Place(values.shape, transform, CRS.from_user_input(crs))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise StorageError(
            f"the raster {path} cannot be read ({error}); restore it from a backup, or let its feed deliver "
            "that day again"
        ) from error


def _rounded(transform: Affine) -> tuple[float, ...]:
    return tuple(round(number, _DECIMALS) + 0.0 for number in tuple(transform)[:6])
