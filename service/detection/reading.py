"""Reading a scene window by window: numbers by band, on the scene's grid, NaN where unknown."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import rasterio
from affine import Affine
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT
from rasterio.windows import Window

from service.detection.scene import FloatArray, Scene, Source, driver_of
from service.detection.terrain import HALO, slope_degrees
from service.errors import InputError

Flags = npt.NDArray[np.bool_]
Places = npt.NDArray[np.int64]

# Of the scene classification of Level 2A (ESA, Sentinel-2 L2A Algorithm Theoretical Basis Document, 2021):
# on these a landslide would be seen. The others are no data 0, saturated or defective 1, dark or in the
# terrain's shadow 2, cloud shadow 3, water 6, cloud 8 and 9, cirrus 10, snow 11.
SEEN_CLASSES = (4, 5, 7)  # vegetation, bare ground, unclassified
_UNKNOWN = -1e30  # what a warped raster holds where it knows nothing
_RATIOS = (1, 2, 6)  # of the cells of Sentinel-2's bands to those of 10 m


class _Raster(Protocol):
    def read(self, window: Window) -> FloatArray:
        """Return stored numbers float32 (h, w) on the scene's grid, NaN where unknown."""
        ...


class SceneReader:
    """An open scene. One thread at a time."""

    def __init__(self, scene: Scene, stack: ExitStack) -> None:
        self._scene, self._stack = scene, stack
        self._open: dict[tuple[str, Resampling], _Raster] = {}

    def band(self, name: str, window: Window) -> FloatArray:
        """Return a band's values float32 (h, w), NaN where unknown. Raises InputError where it is damaged."""
        given = self._scene.bands.get(name)
        if given is not None:
            return self._read(given, window, Resampling.bilinear)
        if self._scene.dem is None or name not in ("slope", "elevation"):
            raise InputError(f"{self._scene.path} has no {name}; it has {', '.join(self._scene.available)}")
        if name == "elevation":
            return self._read(self._scene.dem, window, Resampling.cubic)
        wider = Window(
            window.col_off - HALO, window.row_off - HALO, window.width + 2 * HALO, window.height + 2 * HALO
        )
        return slope_degrees(self._read(self._scene.dem, wider, Resampling.cubic), self._scene.pixel_size_m)

    def seen(self, window: Window) -> Flags:
        """Return where the ground is seen, (h, w), by the scene's classification; all of it without one."""
        classes = self._scene.classes
        if classes is None:
            return np.ones((int(window.height), int(window.width)), np.bool_)
        return np.isin(self._read(classes, window, Resampling.nearest), SEEN_CLASSES)

    def _read(self, source: Source, window: Window, resampling: Resampling) -> FloatArray:
        key = source.name, resampling
        try:
            if key not in self._open:
                self._open[key] = self._opened(source, resampling)
            stored = self._open[key].read(window)
        except rasterio.errors.RasterioError as error:
            raise InputError(f"{source.name} cannot be read: {error}; copy or fetch it again") from error
        if source.offset:
            stored += np.float32(source.offset)
        if source.scale != 1:
            stored *= np.float32(source.scale)
        return stored

    def _opened(self, source: Source, resampling: Resampling) -> _Raster:
        scene = self._scene
        if source.values is not None:
            return _InMemory(source.values)
        dataset = self._stack.enter_context(rasterio.open(source.name, driver=driver_of(source.name)))
        unknown = tuple({float(one) for one in (*source.unknown, dataset.nodata) if one is not None})
        # Elevation is asked for beyond the scene's edges too.
        ratio = None if resampling == Resampling.cubic else _ratio(dataset, scene)
        if ratio is not None:
            return _OnGrid(dataset, source.index, unknown, ratio, resampling == Resampling.nearest)
        missing = dataset.nodata if dataset.nodata is not None else next(iter(source.unknown), None)
        warped = WarpedVRT(
            dataset,
            crs=scene.crs,
            transform=scene.transform * Affine.translation(-HALO, -HALO),
            width=scene.shape[1] + 2 * HALO,
            height=scene.shape[0] + 2 * HALO,
            resampling=resampling,
            src_nodata=missing,
            nodata=_UNKNOWN,
            dtype="float32",
        )
        return _Warped(self._stack.enter_context(warped), source.index, (*unknown, _UNKNOWN))


@contextmanager
def open_reader(scene: Scene) -> Iterator[SceneReader]:
    """Open a scene's rasters for reading."""
    with ExitStack() as stack:
        yield SceneReader(scene, stack)


def _ratio(dataset: Any, scene: Scene) -> int | None:
    """Return how many of the scene's cells make one of a raster's, along a side; None: not in line."""
    for ratio in _RATIOS:
        same_origin = dataset.transform.almost_equals(scene.transform * Affine.scale(ratio), 1e-6)
        shape = tuple(-(-size // ratio) for size in scene.shape)
        if dataset.crs == scene.crs and same_origin and dataset.shape == shape:
            return ratio
    return None


def _known(stored: npt.NDArray[Any], unknown: tuple[float, ...]) -> FloatArray:
    values = stored.astype(np.float32)
    for number in unknown:
        values[stored == number] = np.nan
    return values


@dataclass(frozen=True)
class _InMemory:
    """A band that was read before; beyond its edges nothing is known."""

    values: FloatArray

    def read(self, window: Window) -> FloatArray:
        first, left = int(window.row_off), int(window.col_off)
        out = np.full((int(window.height), int(window.width)), np.nan, np.float32)
        top, west = max(first, 0), max(left, 0)
        inside = self.values[top : first + out.shape[0], west : left + out.shape[1]]
        out[top - first :, west - left :][: inside.shape[0], : inside.shape[1]] = inside
        return out


@dataclass(frozen=True)
class _Warped:
    """A raster on any grid, brought onto the scene's by GDAL; it reaches HALO cells beyond the scene."""

    dataset: Any
    index: int
    unknown: tuple[float, ...]

    def read(self, window: Window) -> FloatArray:
        shifted = Window(window.col_off + HALO, window.row_off + HALO, window.width, window.height)
        stored = self.dataset.read(self.index, window=shifted)
        values = np.asarray(stored, np.float32)
        bad = ~np.isfinite(values)
        for number in self.unknown:
            bad |= values == np.float32(number)
        values[bad] = np.nan
        return values


@dataclass(frozen=True)
class _OnGrid:
    """A raster whose cells are each made of `ratio` x `ratio` of the scene's, the first at its corner.

    Between the centres of its cells numbers are interpolated bilinearly: in a tenth of the time that warping
    them takes. What is unknown stays so, cell by cell, and gives nothing to its neighbours.
    """

    dataset: Any
    index: int
    unknown: tuple[float, ...]
    ratio: int
    nearest: bool

    def read(self, window: Window) -> FloatArray:
        first, left = int(window.row_off), int(window.col_off)
        if self.ratio == 1:
            return _known(self.dataset.read(self.index, window=window), self.unknown)
        rows = np.arange(first, first + int(window.height))
        columns = np.arange(left, left + int(window.width))
        own = rows // self.ratio, columns // self.ratio
        top, bottom = max(own[0][0] - 1, 0), min(own[0][-1] + 2, self.dataset.height)
        west, east = max(own[1][0] - 1, 0), min(own[1][-1] + 2, self.dataset.width)
        part = Window(west, top, east - west, bottom - top)
        values = _known(self.dataset.read(self.index, window=part), self.unknown)
        near = values[np.ix_(own[0] - top, own[1] - west)]
        if self.nearest:
            return near
        missing = np.isnan(values)
        down, across = self._between(rows, top, bottom), self._between(columns, west, east)
        if not missing.any():
            return _interpolated(values, down, across)
        sums = _interpolated(np.where(missing, np.float32(0), values), down, across)
        weights = _interpolated((~missing).astype(np.float32), down, across)
        out = np.full_like(near, np.nan)
        np.divide(sums, weights, out=out, where=~np.isnan(near))
        return out

    def _between(self, places: Places, first: int, stop: int) -> tuple[Places, Places, FloatArray]:
        """Return the cells before and behind each place, and the share of the one behind."""
        centre = (places + 0.5) / self.ratio - 0.5
        before = np.floor(centre).astype(np.int64)
        share = (centre - before).astype(np.float32)
        # Beyond the outermost centres the outermost cell goes on.
        return np.clip(before, first, stop - 1) - first, np.clip(before + 1, first, stop - 1) - first, share


def _interpolated(
    values: FloatArray, down: tuple[Places, Places, FloatArray], across: tuple[Places, Places, FloatArray]
) -> FloatArray:
    upper, lower, south = down
    west, east, right = across
    wide = values[:, west] * (1 - right) + values[:, east] * right
    return np.asarray(wide[upper] * (1 - south)[:, None] + wide[lower] * south[:, None], np.float32)
