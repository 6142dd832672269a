"""Sen12Landslides (Höhn et al. 2025): one square at several dates in a NetCDF file, of which one is a scene.

Bands are stored as (time, x, y): transposed against what GDAL takes for granted, (time, y, x), so a picture
comes out mirrored at its diagonal unless it is turned back. The file's own numbers of its dimensions, which
netCDF-4 keeps beside the arrays, say how it lies.

Stored numbers are reflectance times 10,000, the offset of processing baseline 04.00 taken off; a date that
still carries it is refused. The published files do not declare their no-data: it is known by its numbers, and
by all bands being 0 at once.
"""

from __future__ import annotations

import warnings
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import NotGeoreferencedWarning

from service.detection.bands import SEN12LANDSLIDES
from service.detection.scene import FloatArray, Scene, Source, check_grid
from service.errors import InputError

_SCALE = 1e-4
_MOST_CELLS = 4096  # along one side; the published squares have 128
_DAYS_SINCE = "days since "
_NO_DATA = (-9999, -32767, -32768)
_OFFSET, _OFFSET_SINCE = 1000, date(2022, 1, 25)  # ESA, processing baseline 04.00
_UNSEEN_CLASSES = (0, 1, 3, 8, 9, 10)  # of the SCL: no data, defective, cloud shadow, cloud, cirrus


def open_series(path: Path, *, day: date | None, after: date | None) -> Scene:
    """Return one date of a file as a scene. Raises InputError where it cannot be used."""
    driver = _Numbers(path)
    days = driver.days
    if day is None and len(days) > 1:
        raise InputError(f"{path} holds {len(days)} dates; choose one with --date: {_listed(days)}")
    chosen = day or days[0]
    if chosen not in days:
        raise InputError(f"{path} has no date {chosen}; it has {_listed(days)}")
    number = days.index(chosen)
    stored = {name: driver.read(name, number) for name in SEN12LANDSLIDES if name in driver.names}
    optional = {
        name: Source(name, values=driver.read(name, number))
        for name in ("SCL", "DEM")
        if name in driver.names
    }
    nothing = np.all(
        [values == 0 for values in stored.values()], axis=0
    )  # one band alone may be clipped to 0
    for values in stored.values():
        values[nothing] = np.nan
    _check_offset(path, chosen, stored, optional.get("SCL"))
    bands = {name: Source(name, scale=_SCALE, values=values) for name, values in stored.items()}
    return Scene(
        id=f"{path.stem}-{chosen}",
        path=path,
        product="Sen12Landslides",
        sensed_on=chosen,
        after=after,
        crs=driver.crs,
        transform=driver.transform,
        shape=nothing.shape,
        bands=bands,
        classes=optional.get("SCL"),
        dem=optional.get("DEM"),
        files=(path,),
    )


def _check_offset(path: Path, day: date, stored: dict[str, FloatArray], classes: Source | None) -> None:
    """Raise InputError where the offset is still in: nowhere is all ground above 0.1 in all bands."""
    if day < _OFFSET_SINCE:
        return
    clear: Any = True
    if classes is not None and classes.values is not None:
        clear = ~np.isin(classes.values, _UNSEEN_CLASSES)
    known = [values[clear & np.isfinite(values)] for values in stored.values()]
    if all(values.size and values.min() >= _OFFSET for values in known):
        raise InputError(
            f"{path}: all numbers of {day} are {_OFFSET} or more, as if the offset of processing baseline "
            "04.00 were still in them; give harmonised values"
        )


class _Numbers:
    """The arrays of a file, right side up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._opened(f"netcdf:{path}") as whole:
            self.names = tuple(name.rpartition(":")[2] for name in whole.subdatasets)
        first = next((name for name in SEN12LANDSLIDES if name in self.names), None)
        if first is None:
            raise InputError(f"{path} holds no band; B02, B03 ... are expected, as Sen12Landslides has them")
        with self._opened(f"netcdf:{path}:{first}") as band:
            tags = band.tags()
            self.crs, self.transform, self._shape = band.crs, band.transform, band.shape
        if max(self._shape) > _MOST_CELLS:
            raise InputError(f"{path} has {self._shape} cells; squares of at most {_MOST_CELLS} are read")
        check_grid(self.crs, self.transform, str(path))
        self.days = _days(tags, path)
        self._turned = self._is_turned(first)
        if self._turned and "spatial_ref#GeoTransform" not in tags:
            raise InputError(
                f"{path} is stored with x before y and has no spatial_ref.GeoTransform: GDAL cannot place "
                "it. Give its bands as a folder of GeoTIFFs"
            )

        for axis, start, step in (
            ("x", self.transform.c, self.transform.a),
            ("y", self.transform.f, self.transform.e),
        ):
            self._check_axis(axis, start, step)

    def _check_axis(self, name: str, start: float, step: float) -> None:
        """Raise InputError where coordinates, edges or middles, do not run as the transform says.

        GDAL goes by GeoTransform alone: a file that was sorted anew would come out upside down.
        """
        with self._opened(f"netcdf:{self._path}:{name}") as variable:
            values = variable.read(1).ravel()
        wanted = start + step * np.arange(values.size)
        if not any(np.allclose(values - wanted, shift, atol=abs(step) / 100) for shift in (0, step / 2)):
            raise InputError(
                f"{self._path}: {name} runs from {values[0]:.10g} to {values[-1]:.10g}, and GeoTransform "
                f"says {wanted[0]:.10g} to {wanted[-1]:.10g}; write it with north above and west at the left"
            )

    def read(self, name: str, number: int) -> FloatArray:
        """Return a variable at a date, float32 (y, x), north above, NaN where unknown."""
        with self._opened(f"netcdf:{self._path}:{name}") as variable:
            # What does not change, a DEM, may be stored once.
            if variable.count not in (1, len(self.days)):
                raise InputError(
                    f"{self._path} has {len(self.days)} dates and {variable.count} of {name}; copy it again"
                )
            stored = variable.read(number + 1 if variable.count > 1 else 1)
            values = stored.astype(np.float32)
            values[np.isin(stored, _NO_DATA)] = np.nan
            if variable.nodata is not None:
                values[stored == variable.nodata] = np.nan
        return np.ascontiguousarray(values.T if self._turned else values)

    def _is_turned(self, name: str) -> bool:
        """Tell whether x comes before y. Raises InputError where the file does not say."""
        with self._opened(str(self._path), driver="HDF5") as whole:
            tags = whole.tags()
        order = tags.get(f"{name}__Netcdf4Coordinates", "").split()
        numbers = [tags.get(f"{axis}__Netcdf4Dimid", "").strip() for axis in ("x", "y")]
        if len(order) < 2 or not set(numbers) <= set(order[-2:]) or numbers[0] == numbers[1]:
            raise InputError(
                f"{self._path} does not say in which order x and y are stored; write it again with the "
                "netCDF4 library, or give its bands as a folder of GeoTIFFs"
            )
        return bool(order[-2] == numbers[0])

    def _opened(self, name: str, driver: str | None = None) -> Any:
        try:
            with warnings.catch_warnings():
                # The file as a whole lies nowhere; its variables do, and theirs is looked at.
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                return rasterio.open(name, driver=driver)
        except rasterio.errors.RasterioError as error:
            raise InputError(
                f"{self._path} cannot be read as netCDF-4: {error}; copy it again, or give its bands as a "
                "folder of GeoTIFFs"
            ) from error


def _days(tags: dict[str, str], path: Path) -> list[date]:
    units = tags.get("time#units", "")
    numbers = tags.get("NETCDF_DIM_time_VALUES", "").strip("{}").split(",")
    try:
        if not units.startswith(_DAYS_SINCE):
            raise ValueError(f"units {units!r}")
        start = date.fromisoformat(units.removeprefix(_DAYS_SINCE)[:10])
        return [start + timedelta(days=int(float(number))) for number in numbers]
    except (ValueError, OverflowError) as error:
        raise InputError(
            f"{path} has no dates that can be read ('days since 2022-10-05'): {error}"
        ) from error


def _listed(days: list[date]) -> str:
    return ", ".join(str(day) for day in days)
