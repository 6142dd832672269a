"""Tiny rasters made on demand, and a server on this machine that gives them out, in ranges too."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.io import MemoryFile
from scipy.io import netcdf_file

from service.feeds.base import Batch, FeedContext, Grid
from service.feeds.raster_feed import RasterFeedReader
from service.settings_raster import RasterFeed

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
UTC_ZONE = ZoneInfo("UTC")
BOUNDS = (11.0, 44.0, 12.0, 45.0)  # of the region: west, south, east, north


MARCH = [date(2026, 3, day) for day in range(1, 11)]
DAILY = "/{day:%Y}/rain.{day:%Y%m%d}.tif"
SHAPE = (16, 20)  # of the rasters of `rain`: 47 to 43 N, 9 to 14 E


def day_path(day: int) -> str:
    """DAILY of a day of March."""
    return f"/2026/rain.202603{day:02d}.tif"


def rain(seed: int) -> npt.NDArray[np.float32]:
    """Some rain, mm."""
    return np.random.default_rng(seed).gamma(0.5, 10, SHAPE).astype(np.float32)


def of_region(values: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The region's pixels of `rain` with two more around: 45.5 to 43.5 N, 10.5 to 12.5 E."""
    return values[..., 6:14, 6:14]


def tiff(
    values: npt.NDArray[Any], west: float = 9.0, north: float = 47.0, pixel: float = 0.25, **profile: Any
) -> bytes:
    """A GeoTIFF of one band, (height, width), or several, (bands, height, width)."""
    bands = values if values.ndim == 3 else values[None]
    made = {
        "driver": "GTiff",
        "count": len(bands),
        "height": bands.shape[1],
        "width": bands.shape[2],
        "dtype": bands.dtype.name,
        "crs": "EPSG:4326",
        "transform": Affine(pixel, 0, west, 0, -pixel, north),
    }
    with MemoryFile() as memory:
        with memory.open(**(made | profile)) as raster:
            raster.write(bands)
        return bytes(memory.read())


def netcdf(
    path: Path,
    values: npt.NDArray[Any],
    times: Sequence[float] | None,
    units: str,
    west: float = 9.0,
    north: float = 47.0,
    pixel: float = 0.25,
    dimension: str = "time",
    row: float | None = None,
    **attributes: Any,
) -> Path:
    """A NetCDF file of the variable tp (time, latitude, longitude), centres of pixels on its axes.

    `north` is the edge at which the rows begin, and `row` the step from one to the next.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    file = netcdf_file(path, "w")
    _, height, width = values.shape
    axes = {
        "latitude": north + (row or -pixel) * (np.arange(height) + 0.5),
        "longitude": west + pixel * (np.arange(width) + 0.5),
    }
    file.createDimension(dimension, len(values))
    for name, axis in axes.items():
        file.createDimension(name, len(axis))
        variable = file.createVariable(name, "f8", (name,))
        variable[:] = axis
        variable.units = "degrees_north" if name == "latitude" else "degrees_east"
    if times is not None:
        variable = file.createVariable(dimension, "f8", (dimension,))
        variable[:] = times
        variable.units, variable.calendar = units, "proleptic_gregorian"
    variable = file.createVariable("tp", values.dtype, (dimension, *axes))
    variable[:] = values
    for name, value in attributes.items():
        setattr(variable, name, value)
    file.close()
    return path


def context(folder: Path, now: datetime = NOW, **changes: Any) -> FeedContext:
    """What a feed of the region of BOUNDS is told."""
    values: dict[str, Any] = {
        "region_timezone": UTC_ZONE,
        "bounds": lambda: BOUNDS,
        "clock": lambda: now,
        "folder": folder / "feed",
        "sleep": lambda _: None,
    }
    return FeedContext(**(values | changes))


def raster_feed(**changes: Any) -> RasterFeed:
    """A daily rain feed in mm, UTC; `url` or `path` is for the caller to say."""
    values: dict[str, Any] = {
        "kind": "raster",
        "name": "sat",
        "variable": "rain",
        "timezone": "UTC",
        "unit": "mm",
        "lookback_days": 4,
        "settle_days": 4,
        "recheck_days": 0,
    }
    return RasterFeed.model_validate(values | changes)


def fetch(
    settings: RasterFeed, told: FeedContext, since: date | None = None, until: date | None = None
) -> tuple[dict[date, Grid], Batch]:
    """What one fetch brings, by day, and all else."""
    batch = RasterFeedReader(settings, told).fetch(since, until)
    grids = list(batch.grids)
    assert all(isinstance(grid, Grid) for grid in grids)
    found = {grid.day: grid for grid in grids if isinstance(grid, Grid)}
    assert list(found) == sorted(found)
    assert len(found) == len(grids)
    return found, batch


@dataclass
class Server:
    """Files by path, each bytes or a status, and what was asked for."""

    files: dict[str, bytes | int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # path, Range header
    sent_bytes: int = 0
    ranges: bool = True
    authorization: str | None = None
    url: str = ""

    def paths(self) -> list[str]:
        """The paths asked for, each once, in order."""
        return list(dict.fromkeys(path for path, _ in self.asked))


@contextmanager
def serving(files: Mapping[str, bytes | int] | None = None) -> Iterator[Server]:
    """Serve files on a free port of this machine."""
    server = Server(dict(files or {}))
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    server.url = f"http://127.0.0.1:{http.server_port}"
    thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


def _handler(server: Server) -> Callable[..., BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            wanted = self.headers.get("Range", "")
            server.asked.append((self.path, wanted))
            body = server.files.get(self.path, 404)
            if server.authorization and self.headers.get("Authorization") != server.authorization:
                body = 401
            if isinstance(body, int):
                self._send(body, b"")
                return
            tag = {"ETag": f'"{hashlib.sha256(body).hexdigest()[:12]}"'}
            found = re.fullmatch(r"bytes=(\d+)-(\d+)", wanted) if server.ranges else None
            if found is None:
                self._send(200, body, tag)
                return
            first, last = int(found[1]), min(int(found[2]), len(body) - 1)
            span = {"Content-Range": f"bytes {first}-{last}/{len(body)}"}
            self._send(206, body[first : last + 1], tag | span)

        def _send(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            server.sent_bytes += len(body)
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    return Handler
