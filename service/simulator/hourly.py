"""Hourly rain: GSMaP as flat binary files, ERA5-Land as NetCDF of what has fallen since midnight UTC.

A day's rain falls within its UTC hours, more of it in the afternoon; the hours sum up to the day.
"""

from __future__ import annotations

import gzip
import io
import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
from scipy.io import netcdf_file

from service.simulator.documents import Document, Request
from service.simulator.rasters import Rasters, centres, window_of
from service.simulator.truth import Float
from service.simulator.view import View

_HOURS = np.arange(24)
# Of the day's rain: twice as much in the afternoon's heaviest hour as in the mean hour.
SHARES: Float = (1 + np.cos(2 * np.pi * (_HOURS - 16) / 24)) / 24


@dataclass(frozen=True)
class GsmapHourly:
    """GSMaP near real time: mm/h, 3600 x 1200 little-endian float32 from 0 E and 60 N, gzip, -99 missing.

    Format: JAXA, GSMaP data format description, near-real-time version 8.
    """

    folder: str
    prefix: str
    latency: timedelta = timedelta(hours=4)
    error: float = 0.0

    width, height, pixel, north, nodata = 3600, 1200, 0.1, 60.0, -99.0

    def document(self, request: Request, view: View) -> Document | None:
        """Answer the file of a published hour."""
        pattern = rf"gsmap/{self.folder}/(\d{{4}})/(\d\d)/(\d\d)/{self.prefix}\.(\d{{8}})\.(\d\d)00\.dat\.gz"
        found = re.fullmatch(pattern, request.path)
        if found is None or "".join(found.groups()[:3]) != found[4]:
            return None
        try:
            start = datetime.strptime(found[4] + found[5], "%Y%m%d%H").replace(tzinfo=UTC)
        except ValueError:
            return None
        if start.date() < view.truth.first or start + timedelta(hours=1) + view.latency > view.page_at:
            return None
        return Document(self._file(start, view), "application/gzip")

    def example(self, view: View) -> str:
        """Return the newest day's first hour."""
        day = view.newest
        return f"gsmap/{self.folder}/{day:%Y/%m/%d}/{self.prefix}.{day:%Y%m%d}.0000.dat.gz"

    def _file(self, start: datetime, view: View) -> bytes:
        left, top, columns, rows = window_of(
            view.truth.bounds, self.pixel, self.north, self.width, self.height, left_edge=0.0
        )
        lon, lat = centres(left, top, columns, rows, self.pixel, self.north, left_edge=0.0)
        # An hour is published before its day is over, so the view's latency by days does not hold here.
        rain = view.rain_whatever_the_day(start.date(), lon, lat) * SHARES[start.hour]
        values = np.full((self.height, self.width), self.nodata, "<f4")
        values[top : top + rows, left : left + columns] = np.where(np.isfinite(rain), rain, self.nodata)
        return gzip.compress(values.tobytes(), compresslevel=1, mtime=start.timestamp())


@dataclass(frozen=True)
class Era5LandDaily:
    """ERA5-Land as the Climate Data Store delivers an order of a day's 24 hours over an area.

    `tp` in m of water since 00 UTC, each hour named by its end: the last is 00 UTC of the day after.
    """

    latency: timedelta = timedelta(days=5)

    def document(self, request: Request, view: View) -> Document | None:
        """Answer era5_land/YYYYMMDD.nc."""
        found = re.fullmatch(r"era5_land/(\d{8})\.nc", request.path)
        if found is None:
            return None
        try:
            day = date.fromisoformat(found[1])
        except ValueError:
            return None
        if not view.truth.first <= day <= view.newest:
            return None
        return Document(_netcdf(day, view), "application/x-netcdf")

    def example(self, view: View) -> str:
        """Return the newest day's file."""
        return f"era5_land/{view.newest:%Y%m%d}.nc"


def _netcdf(day: date, view: View) -> bytes:
    # The grid's points lie on whole tenths of a degree.
    left, top, columns, rows = window_of(view.truth.bounds, 0.1, 90.05, 3600, 1801, left_edge=-180.05)
    lon, lat = centres(left, top, columns, rows, 0.1, 90.05, left_edge=-180.05)
    total = view.rain(day, lon, lat) / 1000
    fallen = total[None] * np.cumsum(SHARES)[:, None, None]
    begin = datetime.combine(day, time(0), UTC)
    memory = io.BytesIO()
    with netcdf_file(memory, "w") as file:
        for name, size in (("valid_time", 24), ("latitude", rows), ("longitude", columns)):
            file.createDimension(name, size)
        times = file.createVariable("valid_time", "i4", ("valid_time",))
        times.units, times.calendar = "seconds since 1970-01-01", "proleptic_gregorian"
        times.standard_name = "time"
        times[:] = int(begin.timestamp()) + 3600 * (_HOURS + 1)
        for name, values, unit in (
            ("latitude", lat[:, 0], "degrees_north"),
            ("longitude", lon[0], "degrees_east"),
        ):
            axis = file.createVariable(name, "f8", (name,))
            axis.units, axis.standard_name = unit, name
            axis[:] = np.round(values, 6)
        rain = file.createVariable("tp", "f4", ("valid_time", "latitude", "longitude"))
        rain.units, rain.long_name = "m", "Total precipitation"
        rain._FillValue = np.float32(np.nan)
        rain[:] = fallen
        file.flush()
        return memory.getvalue()


HOURLY_FEEDS = (
    Rasters(
        "gsmap",
        (
            GsmapHourly("hourly_G", "gsmap_gauge_nrt", timedelta(hours=5)),
            GsmapHourly("hourly", "gsmap_nrt"),
        ),
        "hourly flat binary files, mm/h, gauge-adjusted and not",
    ),
    Rasters("era5_land", (Era5LandDaily(),), "a NetCDF a day, hourly, m since 00 UTC"),
)
