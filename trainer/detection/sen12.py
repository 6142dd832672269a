"""One Sen12Landslides file (Höhn et al. 2025): a Sentinel-2 time series of one patch, with its landslides.

NetCDF-4, which is HDF5. What its files hold, read from the published ones:

    B02 ... B12, SCL, DEM, MASK   (time, x, y): x before y; the dimension scales say so, and they are obeyed
    x, y                          left and upper edges of the pixels: GeoTransform starts at the first of each
    time                          "days since ..."
    MASK                          the landslides of the event, the same on every date, those before it too
    attributes                    event_date, pre_post_dates (the dates around it, by number), ann_bbox

Values are surface reflectance times 10,000 with the offset of processing baseline 04.00 (1,000, since 25
January 2022) taken off and clipped at 0: dark pixels of dates after it lie far below 1,000, a single band is
0 where its neighbours are not, and clouds end at 9,000. A file that still carries the offset is refused.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
from affine import Affine

from service.detection.bands import SEN12LANDSLIDES
from service.errors import InputError
from trainer.detection.data import Image, Mask
from trainer.terrain import terrain_bands

Array = npt.NDArray[Any]
Box = tuple[float, float, float, float]  # west, south, east, north, in the file's CRS

SEN12_BANDS = (*SEN12LANDSLIDES, "slope", "elevation")
# Scene classification (ESA, Level-2A algorithm): no data, defective, cloud shadow, clouds of medium and of
# high probability, thin cirrus.
UNSEEN_CLASSES = (0, 1, 3, 8, 9, 10)
_PER_REFLECTANCE = 10_000.0
_OFFSET_DN, _OFFSET_SINCE = 1_000, date(2022, 1, 25)
_NO_DATA = (-9999, -32767, -32768)


@dataclass(frozen=True)
class Sen12Dates:
    """What one file says of its dates and its place."""

    path: Path
    dates: tuple[date, ...]  # rising
    clear: tuple[float, ...]  # share of each date that is neither cloud, shadow nor no-data
    event: date | None
    before: int | None  # number of the last date before the event
    after: int | None  # number of the first date on which the landslides are there
    transform: Affine  # of the upper left corner; row 0 north
    crs: str
    shape: tuple[int, int]
    boxes: tuple[Box, ...]  # of the annotations

    def number_of(self, day: date) -> int:
        """Return the number of a day. Raises InputError, naming the days there are."""
        if day not in self.dates:
            days = ", ".join(item.isoformat() for item in self.dates)
            raise InputError(f"{self.path.name} has no {day}; it has {days}")
        return self.dates.index(day)

    def first_clear(self, least: float) -> int | None:
        """Return the number of the first date from the event on of which this share is clear.

        Of a file without event: of all its dates.
        """
        start = self.after or 0
        return next((n for n in range(start, len(self.dates)) if self.clear[n] >= least), None)

    def last_clear_before(self, least: float) -> int | None:
        """Return the number of the last date before the event of which this share is clear."""
        if self.before is None:
            return None
        return next((n for n in range(self.before, -1, -1) if self.clear[n] >= least), None)


def read_dates(path: Path) -> Sen12Dates:
    """Return what a file says of dates and place. Raises InputError, by file, where that is not clear."""
    with _opened(path) as file:
        dates = _dates(file, path)
        x, y = _coordinates(file, path)
        scene = _turned(file, path, "SCL", slice(None))
        clear = tuple(float(1 - np.isin(one, UNSEEN_CLASSES).mean()) for one in scene)
        before, after = _around(file, path, len(dates))
        text = _text(file, "event_date")
        return Sen12Dates(
            path=path,
            dates=dates,
            clear=clear,
            event=date.fromisoformat(text) if re.fullmatch(r"\d{4}-\d\d-\d\d", text) else None,
            before=before,
            after=after,
            transform=_transform(file, path, x, y),
            crs=_text(file, "crs"),
            shape=(len(y), len(x)),
            boxes=_boxes(file, path),
        )


def read_image(path: Path, number: int, bands: Sequence[str]) -> Image:
    """Return the named bands on date `number`: float32 (C, H, W), row 0 north, column 0 west.

    Optical bands are reflectance, NaN under cloud and shadow and where there is no data; slope in degrees
    (Horn 1981, NaN at the edge of the DEM) and elevation in metres. Raises InputError by file.
    """
    with _opened(path) as file:
        days = _dates(file, path)
        x = _coordinates(file, path)[0]
        cell_size_m = abs(float(x[1] - x[0]))
        unseen = np.isin(_turned(file, path, "SCL", number), UNSEEN_CLASSES)
        stored = {name: _turned(file, path, name, number) for name in bands if name in SEN12LANDSLIDES}
        _check_offset(path, days[number], stored, unseen)
        # A single band may be clipped to 0; a pixel that is 0 in all of them was not seen.
        if stored:
            unseen |= np.all([values == 0 for values in stored.values()], axis=0)
        planes = {name: _reflectance(values, unseen) for name, values in stored.items()}
        if {"slope", "elevation"} & set(bands):
            dem = _turned(file, path, "DEM", number).astype(np.float32)
            dem[np.isin(dem, _NO_DATA)] = np.nan
            planes |= terrain_bands(dem, cell_size_m, [n for n in ("slope", "elevation") if n in bands])
    return np.stack([planes[name] for name in bands]).astype(np.float32)


def read_mask(path: Path, number: int) -> Mask:
    """Return the landslides, uint8 (H, W), 1 on them. Raises InputError for other values."""
    with _opened(path) as file:
        mask = _turned(file, path, "MASK", number)
    if not np.isin(mask, (0, 1)).all():
        raise InputError(f"{path}: MASK holds {np.unique(mask)[:4].tolist()}; only 0 and 1 can be judged")
    return mask.astype(np.uint8)


def _reflectance(values: Array, unseen: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    known = ~unseen & ~np.isin(values, _NO_DATA) & np.isfinite(values)
    return np.where(known, values / _PER_REFLECTANCE, np.nan).astype(np.float32)


def _check_offset(path: Path, day: date, stored: dict[str, Array], unseen: npt.NDArray[np.bool_]) -> None:
    """Refuse values that still carry the offset: no ground is brighter than 10 % in all bands everywhere."""
    values = [one[~unseen & ~np.isin(one, _NO_DATA)] for one in stored.values()]
    if day >= _OFFSET_SINCE and values and all(len(one) and one.min() >= _OFFSET_DN for one in values):
        raise InputError(
            f"{path}: all values of {day} are {_OFFSET_DN} or more, as if the offset of processing baseline "
            "04.00 were still in them; give harmonised values"
        )


def _turned(file: h5py.File, path: Path, name: str, number: int | slice) -> Array:
    """Return a variable as (..., y, x), row 0 north and column 0 west, whichever way it is stored."""
    if name not in file:
        raise InputError(f"{path} has no {name}; it has {', '.join(file)}")
    stored = file[name]
    order = _axes(stored, path, name)
    values = stored[...] if order[0] != "time" else stored[number]
    if order[0] != "time":
        values = np.moveaxis(values, order.index("time"), 0)[number]
    rest = [axis for axis in order if axis != "time"]
    if rest == ["x", "y"]:
        values = np.swapaxes(values, -1, -2)
    x, y = _coordinates(file, path)
    if y[1] > y[0]:
        values = values[..., ::-1, :]
    if x[1] < x[0]:
        values = values[..., ::-1]
    return np.ascontiguousarray(values)


def _axes(stored: h5py.Dataset, path: Path, name: str) -> list[str]:
    """Return the names of a variable's dimensions, as its dimension scales say."""
    order = [next(iter(axis.keys()), "") for axis in stored.dims]
    if sorted(order) != ["time", "x", "y"]:
        raise InputError(f"{path}: {name} has dimensions {order}; time, x and y are wanted")
    return order


def _coordinates(file: h5py.File, path: Path) -> tuple[Array, Array]:
    found = []
    for name in ("x", "y"):
        if name not in file:
            raise InputError(f"{path} has no {name}; it has {', '.join(file)}")
        values = np.asarray(file[name][...], np.float64)
        steps = np.diff(values)
        if len(values) < 3 or steps[0] == 0 or not np.allclose(steps, steps[0]):
            raise InputError(f"{path}: {name} does not run in even steps")
        found.append(values)
    return found[0], found[1]


def _transform(file: h5py.File, path: Path, x: Array, y: Array) -> Affine:
    """Return the transform from the coordinates, which are edges if GeoTransform starts at the first."""
    size = abs(float(x[1] - x[0]))
    if not np.isclose(size, abs(y[1] - y[0])):
        raise InputError(f"{path}: pixels are {size} by {abs(y[1] - y[0])}; square ones are wanted")
    west, north = float(x.min()), float(y.max())
    said = file["spatial_ref"].attrs.get("GeoTransform") if "spatial_ref" in file else None
    if said is None:
        raise InputError(f"{path} has no GeoTransform, so nobody knows whether x and y are edges or middles")
    origin = [float(item) for item in (said.decode() if isinstance(said, bytes) else str(said)).split()]
    apart = (west - origin[0], origin[3] - north)
    if np.allclose(apart, 0):
        return Affine(size, 0, west, 0, -size, north)
    if np.allclose(apart, size / 2):
        return Affine(size, 0, west - size / 2, 0, -size, north + size / 2)
    raise InputError(f"{path}: GeoTransform starts at {origin[0]}, {origin[3]}, x and y at {west}, {north}")


def _dates(file: h5py.File, path: Path) -> tuple[date, ...]:
    if "time" not in file:
        raise InputError(f"{path} has no time; it has {', '.join(file)}")
    units = file["time"].attrs.get("units", b"")
    words = units.decode() if isinstance(units, bytes) else str(units)
    match = re.fullmatch(r"days since (\d{4}-\d\d-\d\d)(?:[ T]00:00:00.*)?", words)
    if match is None:
        raise InputError(f"{path}: time is in {words!r}; days since a date are wanted")
    start = date.fromisoformat(match[1])
    days = tuple(start + timedelta(days=int(item)) for item in file["time"][...])
    if not days or any(later <= earlier for earlier, later in pairwise(days)):
        raise InputError(f"{path}: its dates do not rise")
    return days


def _around(file: h5py.File, path: Path, count: int) -> tuple[int | None, int | None]:
    """Return the numbers in pre_post_dates, a Python dictionary in writing."""
    text = _text(file, "pre_post_dates")
    if not text or text in ("None", "nan"):
        return None, None
    try:
        said = ast.literal_eval(text)
        before, after = int(said["pre"]), int(said["post"])
    except (ValueError, SyntaxError, KeyError, TypeError) as error:
        raise InputError(f"{path}: pre_post_dates is {text!r}; {{'pre': 7, 'post': 8}} is wanted") from error
    if not 0 <= before < after < count:
        raise InputError(f"{path}: pre_post_dates is {text!r} of {count} dates")
    return before, after


def _boxes(file: h5py.File, path: Path) -> tuple[Box, ...]:
    text = _text(file, "ann_bbox")
    numbers = [float(item) for item in re.findall(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?", text)]
    if len(numbers) % 4:
        raise InputError(f"{path}: ann_bbox holds {len(numbers)} numbers; four a box are wanted")
    return tuple((a, b, c, d) for a, b, c, d in zip(*[iter(numbers)] * 4, strict=True))


def _text(file: h5py.File, name: str) -> str:
    value = file.attrs.get(name, b"")
    return value.decode() if isinstance(value, bytes) else str(value)


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as NetCDF-4: {error}") from error
    with file:
        yield file
