"""The factor stack as the service reads it: one tiled GeoTIFF on the region's grid, a band a factor."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from service.errors import FactorError
from service.region import Grid

# What the tag `format` of every stack says; another number is refused.
FORMAT = "colluvium factor stack 1"
# The codes of the edge sidecar.
UPSTREAM_COMPLETE, UPSTREAM_CUT, UPSTREAM_UNKNOWN = 0, 1, 255
_DERIVE = "derive it again with: colluvium factors -c FILE"


@dataclass(frozen=True)
class FactorBand:
    """One factor of a stack: what its values mean and where they come from."""

    name: str
    unit: str
    log: bool  # skewed: a network takes its signed logarithm
    categories: dict[int, str] | None  # code -> name; None for a continuous factor
    source_date: str | None  # ISO day of what it was derived from
    minimum: float  # over valid cells; NaN where there are none
    maximum: float
    valid_share: float = 1.0  # of the mask's cells

    def tags(self) -> dict[str, str]:
        """Return the band's GeoTIFF tags; `from_tags` reads them back."""
        tags = {
            "unit": self.unit,
            "log": "true" if self.log else "false",
            "minimum": repr(self.minimum),
            "maximum": repr(self.maximum),
            "valid_share": repr(self.valid_share),
        }
        if self.categories is not None:
            tags["categories"] = json.dumps(self.categories, ensure_ascii=False)
        if self.source_date is not None:
            tags["source_date"] = self.source_date
        return tags

    @classmethod
    def from_tags(cls, name: str, tags: dict[str, str]) -> Self:
        """Read a band's tags. Raises KeyError or ValueError where one is missing or malformed."""
        categories = json.loads(tags["categories"]) if "categories" in tags else None
        return cls(
            name=name,
            unit=tags.get("unit", ""),  # GDAL drops an empty tag
            log=tags["log"] == "true",
            categories=None if categories is None else {int(key): str(categories[key]) for key in categories},
            source_date=tags.get("source_date"),
            minimum=float(tags["minimum"]),
            maximum=float(tags["maximum"]),
            valid_share=float(tags["valid_share"]),
        )


class FactorStack:
    """A factor stack open for reading, from any number of threads; close it, or use it as a context."""

    def __init__(self, path: Path, grid: Grid, bands: tuple[FactorBand, ...], tags: dict[str, str]) -> None:
        self.path = path
        self.grid = grid
        self.bands = bands
        self._tags = tags
        self._numbers = {band.name: number for number, band in enumerate(bands, start=1)}
        # A GDAL dataset belongs to one thread at a time, and a lock would make tiles wait for each other.
        self._own = threading.local()
        self._opened: list[Any] = []
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path, grid: Grid) -> FactorStack:
        """Open a stack. Raises FactorError if it is missing, unreadable, not a stack, or not on this grid."""
        if not path.exists():
            raise FactorError(f"no factor stack at {path}; {_DERIVE}")
        try:
            with rasterio.open(path) as dataset:
                tags = dataset.tags()
                if tags.get("format") != FORMAT or "digest" not in tags:
                    raise FactorError(
                        f"{path} is not a factor stack of this version ({FORMAT!r} expected, "
                        f"{tags.get('format')!r} found); {_DERIVE}"
                    )
                if not grid.matches(dataset):
                    raise FactorError(
                        f"{path} is not on the region's grid: it has {dataset.height} x {dataset.width} "
                        f"cells of {dataset.transform.a:g} m in {dataset.crs} from {dataset.transform.c:g}, "
                        f"{dataset.transform.f:g}; the grid {grid.height} x {grid.width} cells of "
                        f"{grid.cell_size_m:g} m in {grid.crs} from {grid.left:g}, {grid.top:g}; {_DERIVE}"
                    )
                bands = tuple(
                    FactorBand.from_tags(str(dataset.descriptions[number - 1]), dataset.tags(number))
                    for number in dataset.indexes
                )
        except rasterio.errors.RasterioIOError as error:
            raise FactorError(f"the factor stack {path} cannot be read: {error}; {_DERIVE}") from error
        except (KeyError, ValueError) as error:
            raise FactorError(f"a band of {path} lacks its description ({error!r}); {_DERIVE}") from error
        return cls(path, grid, bands, tags)

    @property
    def digest(self) -> str:
        """SHA-256 over the values of every band with its name, unit, log flag, categories, and the grid."""
        return self._tags["digest"]

    @property
    def inputs_digest(self) -> str | None:
        """SHA-256 of what the stack was derived from: sources, settings, grid, mask, versions."""
        return self._tags.get("inputs_digest")

    @property
    def cells_cut_by_edge(self) -> int | None:
        """Cells whose upstream area reaches the DEM's edge; None without a factor of flow."""
        return _integer(self._tags.get("cells_cut_by_edge"))

    @property
    def catchments_cut_by_edge(self) -> int | None:
        """Catchments that hold an edge cell above their outlet; None without a factor of flow."""
        return _integer(self._tags.get("catchments_cut_by_edge"))

    @property
    def notes(self) -> tuple[str, ...]:
        """What the derivation found worth saying."""
        return tuple(json.loads(self._tags.get("notes", "[]")))

    def index(self, names: Sequence[str]) -> list[int]:
        """Return the band numbers (from 1) of factors. Raises FactorError that names what is missing."""
        missing = [name for name in names if name not in self._numbers]
        if missing:
            raise FactorError(
                f"the factor stack {self.path} has no {', '.join(missing)}; it has: "
                f"{', '.join(self._numbers)}. Either add them to [factors] and run colluvium factors, "
                "or use a bundle trained on these"
            )
        return [self._numbers[name] for name in names]

    def read(self, names: Sequence[str], window: Window) -> npt.NDArray[np.float32]:
        """Return factors in a window: float32 (C, h, w), in the order of `names`.

        NaN where missing, outside the mask, and outside the grid, which a window may leave. Categories come
        as their codes. Raises FactorError for an unknown name or an unreadable file.
        """
        numbers = self.index(names)
        out = np.empty((len(numbers), int(window.height), int(window.width)), np.float32)
        inside = _inside(window, self.grid)
        if inside != window:
            out[:] = np.nan
        if numbers and inside is not None:
            row, column = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
            target = out[:, row : row + int(inside.height), column : column + int(inside.width)]
            try:
                if target.flags.c_contiguous:
                    self._dataset().read(numbers, window=inside, out=target)
                else:
                    target[:] = self._dataset().read(numbers, window=inside)
            except rasterio.errors.RasterioIOError as error:
                raise FactorError(
                    f"the factor stack {self.path} cannot be read: {error}; {_DERIVE}"
                ) from error
        return out

    def read_edge(self, window: Window) -> npt.NDArray[np.uint8] | None:
        """Return where the DEM's edge cuts the upstream area: uint8 (h, w), or None without flow factors.

        1: cut, so twi and spi may be too low and distance_to_streams too far; 0: complete; 255: outside the
        mask, the DEM or the grid.
        """
        if self.cells_cut_by_edge is None:
            return None
        path = edge_path(self.path)
        out = np.full((int(window.height), int(window.width)), UPSTREAM_UNKNOWN, np.uint8)
        inside = _inside(window, self.grid)
        try:
            with rasterio.open(path) as dataset:
                if dataset.tags().get("digest") != self.digest:
                    raise FactorError(f"{path} belongs to another factor stack than {self.path}; {_DERIVE}")
                if inside is not None:
                    row, column = int(inside.row_off - window.row_off), int(inside.col_off - window.col_off)
                    out[row : row + int(inside.height), column : column + int(inside.width)] = dataset.read(
                        1, window=inside
                    )
        except rasterio.errors.RasterioIOError as error:
            raise FactorError(f"{path} cannot be read: {error}; {_DERIVE}") from error
        return out

    def close(self) -> None:
        """Close the file in every thread that read it."""
        with self._lock:
            for dataset in self._opened:
                dataset.close()
            self._opened.clear()
            self._own = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _dataset(self) -> Any:
        dataset = getattr(self._own, "dataset", None)
        if dataset is None:
            # sharing=False: GDAL would otherwise hand two threads the same handle.
            dataset = self._own.dataset = rasterio.open(self.path, sharing=False)
            with self._lock:
                self._opened.append(dataset)
        return dataset


def edge_path(stack: Path) -> Path:
    """Return the sidecar that tells where upstream areas are cut: `factors.edge.tif` by `factors.tif`."""
    return stack.with_name(f"{stack.stem}.edge.tif")


def _inside(window: Window, grid: Grid) -> Window | None:
    top, left = max(int(window.row_off), 0), max(int(window.col_off), 0)
    bottom = min(int(window.row_off) + int(window.height), grid.height)
    right = min(int(window.col_off) + int(window.width), grid.width)
    return Window(left, top, right - left, bottom - top) if bottom > top and right > left else None


def _integer(text: str | None) -> int | None:
    return None if text is None else math.trunc(float(text))
