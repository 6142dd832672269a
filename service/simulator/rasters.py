"""Daily rain as rasters, in whole-world files: CHIRPS and IMERG as GeoTIFF.

A file has its service's whole grid, number type and no-data value, and only the tiles around the region hold
anything: a reader that asks for ranges gets its window, and one that fetches the file gets a small one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import Literal, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile
from rasterio.windows import Window

from service.simulator.documents import Document, Request
from service.simulator.truth import Bounds, Float
from service.simulator.view import View

MARGIN_DEG = 0.3  # around the region, in which a raster holds values
TILE = 256


class Product(Protocol):
    """One product of a service: files of days or hours."""

    @property
    def latency(self) -> timedelta:
        """How long after its end a file is published."""

    def document(self, request: Request, view: View) -> Document | None:
        """Answer a request; None: there is no such file."""

    def example(self, view: View) -> str:
        """Return the path of the newest file."""


@dataclass(frozen=True)
class Rasters:
    """A feed of one product, or of several that tell of the same days: preliminary and final."""

    feed: str
    products: tuple[Product, ...]
    teaches: str

    @property
    def latency(self) -> timedelta:
        """That of the quickest product."""
        return min(product.latency for product in self.products)

    def document(self, request: Request, view: View) -> Document | None:
        """Answer from the product whose file it is, if it is published yet."""
        for product in self.products:
            document = product.document(request, self._of(product, view))
            if document is not None:
                return document
        return None

    def example(self, view: View) -> str:
        """Return the newest file of the quickest product."""
        product = min(self.products, key=lambda item: item.latency)
        return product.example(self._of(product, view))

    def _of(self, product: Product, view: View) -> View:
        # A latency that the simulator was told moves all products alike.
        return replace(view, latency=view.latency + product.latency - self.latency)


@dataclass(frozen=True)
class DailyTiff:
    """One file a day."""

    name: str
    pixel_deg: float
    north: float  # the grid's upper edge; it begins at 180 W and ends at -north
    dtype: Literal["float32", "uint16"]
    per_mm: float  # stored value of one mm
    nodata: int  # not in the file's tags
    file: str  # a path with {version}, {year}, {month}, {day}
    version: str  # until a rotation
    latency: timedelta
    error: float = 0.0  # of the logarithm of the day's rain: a preliminary product is less sure

    def document(self, request: Request, view: View) -> Document | None:
        """Answer the file of a published day, in the version that is published now."""
        found = self._pattern.fullmatch(request.path)
        if found is None or found["version"] != (view.version or self.version):
            return None
        try:
            day = date(int(found["year"]), int(found["month"]), int(found["day"]))
        except ValueError:
            return None
        if not view.truth.first <= day <= view.newest:
            return None
        return Document(self._tiff(day, view), "image/tiff")

    def example(self, view: View) -> str:
        """Return the newest day's file."""
        return self.path_of(view.newest, view.version or self.version)

    def path_of(self, day: date, version: str) -> str:
        """Return a day's path below the feed's address."""
        return self.file.format(version=version, year=f"{day:%Y}", month=f"{day:%m}", day=f"{day:%d}")

    def published(self, day: date, view: View, lon: Float, lat: Float) -> Float:
        """Return what the product shows of a day, mm, in the steps of its stored form."""
        rain = view.rain(day, lon, lat)
        if self.error:
            shown = view.day_shown(day, "rain").toordinal()
            random = np.random.default_rng([shown, crc32(self.name.encode())])
            rain = rain * np.exp(self.error * random.standard_normal())
        return np.asarray(np.round(rain * self.per_mm) / self.per_mm if self.dtype == "uint16" else rain)

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        parts = re.split(r"\{(\w+)\}", self.file)
        forms = {"year": r"\d{4}", "month": r"\d{2}", "day": r"\d{2}", "version": r"[^/]+?"}
        pattern = ""
        for number, part in enumerate(parts):
            if number % 2 == 0:
                pattern += re.escape(part)
            else:
                pattern += f"(?P={part})" if f"(?P<{part}>" in pattern else f"(?P<{part}>{forms[part]})"
        return re.compile(pattern)

    def _tiff(self, day: date, view: View) -> bytes:
        width, height = round(360 / self.pixel_deg), round(2 * self.north / self.pixel_deg)
        left, top, columns, rows = window_of(view.truth.bounds, self.pixel_deg, self.north, width, height)
        lon, lat = centres(left, top, columns, rows, self.pixel_deg, self.north)
        rain = self.published(day, view, lon, lat) * self.per_mm
        stored = np.where(np.isfinite(rain), rain, self.nodata).astype(self.dtype)
        profile = {
            "driver": "GTiff", "width": width, "height": height, "count": 1, "dtype": self.dtype,
            "crs": CRS.from_epsg(4326), "tiled": True, "blockxsize": TILE, "blockysize": TILE,
            "transform": Affine(self.pixel_deg, 0, -180, 0, -self.pixel_deg, self.north),
            "compress": "deflate", "sparse_ok": True,
        }  # fmt: skip
        with MemoryFile() as memory:
            with memory.open(**profile) as raster:
                raster.update_tags(TIFFTAG_DATETIME=f"{day:%Y:%m:%d} 00:00:00")
                raster.write(stored, 1, window=Window(left, top, columns, rows))
            return bytes(memory.read())


def window_of(
    bounds: Bounds, pixel: float, top_edge: float, width: int, height: int, left_edge: float = -180.0
) -> tuple[int, int, int, int]:
    """Return column, row, columns and rows of a grid's pixels over the region and its margin."""
    west, south, east, north = bounds
    left = max(0, int((west - MARGIN_DEG - left_edge) / pixel))
    top = max(0, int((top_edge - north - MARGIN_DEG) / pixel))
    right = min(width, int((east + MARGIN_DEG - left_edge) / pixel) + 1)
    bottom = min(height, int((top_edge - south + MARGIN_DEG) / pixel) + 1)
    return left, top, right - left, bottom - top


def centres(
    left: int, top: int, columns: int, rows: int, pixel: float, top_edge: float, left_edge: float = -180.0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return longitude and latitude of pixel centres: (rows, columns) each."""
    lon = left_edge + (left + np.arange(columns) + 0.5) * pixel
    lat = top_edge - (top + np.arange(rows) + 0.5) * pixel
    x, y = np.meshgrid(lon, lat)
    return x, y


CHIRPS_PRELIM = DailyTiff(
    "prelim", 0.05, 60, "float32", 1, -9999,
    "products/CHIRPS/v{version}/daily/prelim/sat/{year}/chirps-v{version}.prelim.{year}.{month}.{day}.tif",
    "3.0", timedelta(days=2), error=0.1,
)  # fmt: skip
CHIRPS_FINAL = DailyTiff(
    "final", 0.05, 60, "float32", 1, -9999,
    "products/CHIRPS/v{version}/daily/final/sat/{year}/chirps-v{version}.sat.{year}.{month}.{day}.tif",
    "3.0", timedelta(days=30),
)  # fmt: skip
IMERG_EARLY = DailyTiff(
    "early", 0.1, 90, "uint16", 10, 29999,
    "imerg/gis/early/{year}/{month}/"
    "3B-HHR-E.MS.MRG.3IMERG.{year}{month}{day}-S233000-E235959.1410.{version}.1day.tif",
    "V07B", timedelta(hours=5), error=0.2,
)  # fmt: skip
IMERG_LATE = DailyTiff(
    "late", 0.1, 90, "uint16", 10, 29999,
    "imerg/gis/{year}/{month}/3B-HHR-L.MS.MRG.3IMERG.{year}{month}{day}-S233000-E235959.1410.{version}.1day.tif",
    "V07B", timedelta(hours=15), error=0.08,
)  # fmt: skip
_CHIRPS = "global 0.05 degree GeoTIFF a day, mm, -9999 untagged"
_IMERG = "global 0.1 degree GeoTIFF a day, tenths of a mm, 29999 untagged"
TIFF_FEEDS = (
    Rasters("chirps_v3", (CHIRPS_FINAL, CHIRPS_PRELIM), f"final and preliminary: {_CHIRPS}"),
    Rasters("chirps_v3_prelim", (CHIRPS_PRELIM,), f"preliminary: {_CHIRPS}"),
    Rasters("chirps_v3_final", (CHIRPS_FINAL,), f"final: {_CHIRPS}"),
    Rasters("gpm_imerg", (IMERG_LATE, IMERG_EARLY), f"Late and Early: {_IMERG}"),
    Rasters("imerg_early", (IMERG_EARLY,), f"Early: {_IMERG}"),
    Rasters("imerg_late", (IMERG_LATE,), f"Late: {_IMERG}"),
)
