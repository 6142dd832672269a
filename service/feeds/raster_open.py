"""Raster files as they come: GeoTIFF in ranges or whole, NetCDF, flat binary; packed or not."""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.errors import CRSError, RasterioError
from rasterio.windows import Window

from service.feeds.base import FeedFault
from service.feeds.compressed import SUFFIXES, open_unpacked
from service.settings_raster import RasterFeed

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_DRIVERS = {"geotiff": "GTiff", "netcdf": "netCDF"}
_NEAR = 1 << 16  # bytes that may lie between two reads that follow one another
_AHEAD_AT_MOST = 1 << 22
_CALENDARS = ("", "standard", "gregorian", "proleptic_gregorian")
_UNITS = {"seconds": 1, "second": 1, "minutes": 60, "hours": 3600, "hour": 3600, "days": 86400, "day": 86400}


class Pixels(Protocol):
    """Reads one band's pixels: rows [top, bottom), columns [left, right)."""

    def __call__(
        self, band: int, top: int, bottom: int, left: int, right: int
    ) -> np.ma.MaskedArray[Any, Any]:
        """Return the pixels as they are stored, masked where the file says that there are none."""


@dataclass(frozen=True)
class Opened:
    """A raster file that is open."""

    label: str  # its address or path, for people
    height: int
    width: int
    transform: Affine
    crs: CRS
    bands: int
    times: dict[datetime, int] | None  # UTC -> band; None: the file says no times
    scales: tuple[float, ...]
    offsets: tuple[float, ...]
    pixels: Pixels


class Ranges:
    """A file that is read in ranges, and what went wrong on the way: GDAL tells of none of it.

    Strips of a file that is no COG are read one after another: the more of them in a row, the more is read
    ahead, so that a window of a hundred strips costs a few requests.
    """

    def __init__(self, file: io.RawIOBase) -> None:
        self._file = file
        self._start = 0
        self._ahead = b""
        self.fault: Exception | None = None

    def open(self, path: str, mode: str = "rb") -> io.RawIOBase:  # noqa: ARG002 - what rasterio calls
        """Return a view with a position of its own; GDAL opens and closes several."""
        return _View(self)

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._file.seek(0, io.SEEK_END)

    def read(self, at: int, count: int) -> bytes:
        """Return up to `count` bytes from a place on; none after a fault, which is kept in `fault`."""
        # An error cannot cross GDAL, so the file seems to end where it happened.
        if self.fault is not None:
            return b""
        offset = at - self._start
        if not 0 <= offset <= offset + count <= len(self._ahead):
            goes_on = 0 <= at - self._start <= len(self._ahead) + _NEAR and self._ahead
            wanted = max(count, min(2 * len(self._ahead), _AHEAD_AT_MOST)) if goes_on else count
            try:
                self._file.seek(at)
                self._start, self._ahead = at, _read_fully(self._file, wanted)
            except (FeedFault, OSError) as error:
                self.fault = error
                return b""
            offset = 0
        return self._ahead[offset : offset + count]


def _read_fully(file: io.RawIOBase, count: int) -> bytes:
    pieces = []
    while count > 0 and (piece := file.read(count)):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


class _View(io.RawIOBase):
    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at}.get(whence)
        self._at = (self._ranges.size if start is None else start) + offset
        return self._at

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        data = self._ranges.read(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)


@contextmanager
def open_file(path: Path, label: str, settings: RasterFeed, folder: Path) -> Iterator[Opened]:
    """Open a file on the local disk; what is packed is unpacked into `folder` for as long as it is open.

    Raises FeedFault where it cannot be read as what the settings say, or says too little of itself.
    """
    with ExitStack() as stack:
        if _is_packed(path):
            path = stack.enter_context(_unpacked(path, label, settings, folder))
        yield stack.enter_context(_open(str(path), label, settings, None))


@contextmanager
def open_ranges(ranges: Ranges, label: str, settings: RasterFeed) -> Iterator[Opened]:
    """Open a GeoTIFF of which only the parts that are read are fetched. Raises FeedFault, as `open_file`."""
    with _open("remote.tif", label, settings, ranges) as opened:
        yield opened


@contextmanager
def _open(path: str, label: str, settings: RasterFeed, ranges: Ranges | None) -> Iterator[Opened]:
    if settings.format == "raw":
        yield _open_raw(Path(path), label, settings)
        return
    name = path
    if settings.format == "netcdf" and settings.field is not None:
        name = f"netcdf:{path}:{settings.field}"
    more: dict[str, Any] = {} if ranges is None else {"opener": ranges.open}
    with ExitStack() as stack:
        try:
            # Files beside the file (.ovr, .aux.xml, .msk) are nobody's promise, and cost a request each.
            with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR"):
                dataset = rasterio.open(name, driver=_DRIVERS[settings.format], **more)
            opened = _described(stack.enter_context(dataset), label, settings, ranges)
        except (RasterioError, OSError) as error:
            raise _unreadable(error, label, settings, ranges) from error
        yield opened


def _described(dataset: Any, label: str, settings: RasterFeed, ranges: Ranges | None) -> Opened:
    feed = settings.name
    if dataset.count == 0:
        fields = [str(name).rsplit(":", 1)[-1] for name in dataset.subdatasets]
        raise FeedFault(
            "format",
            f"feed {feed}: {label} holds {', '.join(fields) or 'no raster'}; name one as the feed's 'field'",
        )
    crs = dataset.crs or _crs(settings)
    if crs is None:
        raise FeedFault("crs", f"feed {feed}: {label} does not say its CRS; set the feed's 'crs'")

    def pixels(band: int, top: int, bottom: int, left: int, right: int) -> np.ma.MaskedArray[Any, Any]:
        window = Window(left, top, right - left, bottom - top)
        try:
            read: np.ma.MaskedArray[Any, Any] = dataset.read(band, window=window, masked=True)
        except (RasterioError, OSError) as error:
            raise _unreadable(error, label, settings, ranges) from error
        if ranges is not None and ranges.fault is not None:
            raise _unreadable(ranges.fault, label, settings, ranges)
        return read

    return Opened(
        label=label,
        height=dataset.height,
        width=dataset.width,
        transform=dataset.transform,
        crs=crs,
        bands=dataset.count,
        times=_times(dataset, label, feed) if settings.format == "netcdf" else None,
        scales=tuple(dataset.scales),
        offsets=tuple(dataset.offsets),
        pixels=pixels,
    )


def _open_raw(path: Path, label: str, settings: RasterFeed) -> Opened:
    layout, crs = settings.raw, _crs(settings)
    if layout is None or crs is None:
        raise FeedFault("settings", f"feed {settings.name}: format = \"raw\" needs 'raw' and 'crs'")
    dtype = np.dtype(layout.dtype).newbyteorder("<" if layout.byte_order == "little" else ">")
    expected = layout.width * layout.height * dtype.itemsize
    try:
        size = path.stat().st_size
        if size != expected:
            raise FeedFault(
                "truncated" if size < expected else "format",
                f"feed {settings.name}: {label} holds {size} bytes, and {layout.width} x {layout.height} of "
                f"{layout.dtype} are {expected}; either it was cut short or 'raw' describes another layout",
            )
        values = np.memmap(path, dtype=dtype, mode="r", shape=(layout.height, layout.width))
    except OSError as error:
        raise _unreadable(error, label, settings, None) from error

    def pixels(
        band: int,  # noqa: ARG001 - there is one
        top: int,
        bottom: int,
        left: int,
        right: int,
    ) -> np.ma.MaskedArray[Any, Any]:
        return np.ma.masked_array(np.array(values[top:bottom, left:right]).astype(dtype.newbyteorder("=")))

    return Opened(
        label=label,
        height=layout.height,
        width=layout.width,
        transform=Affine(layout.pixel, 0.0, layout.west, 0.0, -layout.pixel, layout.north),
        crs=crs,
        bands=1,
        times=None,
        scales=(1.0,),
        offsets=(0.0,),
        pixels=pixels,
    )


def _times(dataset: Any, label: str, feed: str) -> dict[datetime, int] | None:
    """Return the band of each time of a NetCDF file (CF conventions, section 4.4); None where it has none."""
    tags = dataset.tags()
    names = [name for name in _braced(tags.get("NETCDF_DIM_EXTRA", "")) if f"{name}#units" in tags]
    names = [name for name in names if " since " in tags[f"{name}#units"]]
    if not names:
        return None
    units, calendar = tags[f"{names[0]}#units"], tags.get(f"{names[0]}#calendar", "")
    word, _, since = units.partition(" since ")
    try:
        if calendar.lower() not in _CALENDARS:
            raise ValueError(f"the calendar {calendar!r} is not that of the feeds")
        origin = datetime.fromisoformat(since.strip().removesuffix(" UTC"))
        origin = origin.replace(tzinfo=UTC) if origin.tzinfo is None else origin.astimezone(UTC)
        second = _UNITS[word.strip().lower()]
        times: dict[datetime, int] = {}
        for band in range(1, dataset.count + 1):
            number = float(dataset.tags(band)[f"NETCDF_DIM_{names[0]}"])
            moment = origin + timedelta(seconds=round(number * second))
            if moment in times:
                raise ValueError(f"it has more than one layer for {moment:%Y-%m-%d %H:%M}; keep one of them")
            times[moment] = band
    except (KeyError, ValueError, OverflowError) as error:
        raise FeedFault("format", f"feed {feed}: the times of {label} ({units!r}): {error}") from error
    return times


def _braced(text: str) -> list[str]:
    return [name.strip() for name in text.strip("{}").split(",") if name.strip()]


def _crs(settings: RasterFeed) -> CRS | None:
    try:
        return None if settings.crs is None else CRS.from_user_input(settings.crs)
    except CRSError as error:
        raise FeedFault(
            "settings", f"feed {settings.name}: 'crs' {settings.crs!r} is none that PROJ knows: {error}"
        ) from error


def _is_packed(path: Path) -> bool:
    with path.open("rb") as file:
        magic = file.read(6)
    return magic.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"PK\x03\x04"))


@contextmanager
def _unpacked(path: Path, label: str, settings: RasterFeed, folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    most = settings.http.max_bytes
    with (
        open_unpacked(path, most, label, settings.name) as packed,
        NamedTemporaryFile(dir=folder, prefix=".", suffix=".part") as file,
    ):
        shutil.copyfileobj(packed, file, 1 << 20)
        file.flush()
        yield Path(file.name)


def _unreadable(error: BaseException, label: str, settings: RasterFeed, ranges: Ranges | None) -> FeedFault:
    if ranges is not None and isinstance(ranges.fault, FeedFault):
        return ranges.fault
    why = ranges.fault if ranges is not None and ranges.fault is not None else error
    return FeedFault(
        "format",
        f"feed {settings.name}: {label} cannot be read as {settings.format}: {why.__cause__ or why}; "
        "either it was cut short or it is something else",
    )


def is_packed_name(name: str) -> bool:
    """Tell whether a file's name says that it is packed, so that it must be fetched whole."""
    return name.lower().endswith(SUFFIXES)
