"""Station files and pages: Kerala's dams (JSON), GHCN-Daily (fixed width and csv.gz), ARPAE-like CSV."""

from __future__ import annotations

import gzip
import math
import zlib
from calendar import monthrange
from collections import defaultdict
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from service.simulator.documents import Document, Request, json_document
from service.simulator.truth import Gauge, Reservoir
from service.simulator.view import View

HISTORY_DAYS = 400  # that a page or file goes back, unless told otherwise


@dataclass(frozen=True)
class KeralaDams:
    """The dams of Kerala: one page a dam, and one with the newest day of all; newest first, all text.

    github.com/amith-vp/Kerala-Dam-Water-Levels, made from the pages of KSEB and Kerala's SDMA.
    """

    feed: str
    latency: timedelta = timedelta(hours=6)
    history_days: int = HISTORY_DAYS
    teaches: str = "dam pages in JSON: waterLevel (m) and rainfall (mm) as text, DD.MM.YYYY, newest first"

    def document(self, request: Request, view: View) -> Document | None:
        """Answer .../live.json and .../historic_data/NAME.json."""
        name = request.path.rsplit("/", 1)[-1]
        dams = {f"{item.id}.json".lower(): item for item in view.truth.reservoirs}
        if name.lower() in dams:
            return json_document(self._dam(dams[name.lower()], view, self.history_days))
        if name == "live.json":
            pages = [self._dam(item, view, 1) for item in view.truth.reservoirs]
            return json_document({"lastUpdate": f"{view.newest:%d.%m.%Y}", "dams": pages})
        return None

    def example(self, view: View) -> str:
        """Return the first dam's page."""
        return f"historic_data/{view.truth.reservoirs[0].id}.json"

    def _dam(self, dam: Reservoir, view: View, at_most: int) -> dict[str, Any]:
        rows: list[dict[str, str]] = []
        gauges = [Gauge(item.id, item.lon, item.lat) for item in view.truth.reservoirs]
        gauge = next(item for item in gauges if item.id == dam.id)
        for day in reversed(view.days(None, None, at_most)):
            level, rain = view.level(day, dam), view.gauge(day, gauge, gauges)
            if math.isnan(level) and math.isnan(rain):
                continue
            row = {
                "date": f"{day:%d.%m.%Y}",
                "waterLevel": _text(level, 2),
                "liveStorage": "",
                "storagePercentage": "",
                "inflow": "0",
                "powerHouseDischarge": "0",
                "spillwayRelease": "0",
                "totalOutflow": "0",
                "rainfall": _text(rain, 2),
            }
            rows += [row, row] if view.rows_twice else [row]
        full = f"{dam.full_level_m:.2f}"
        return {
            "id": dam.id,
            "name": dam.id,
            "officialName": dam.id.upper(),
            "MWL": full,
            "FRL": full,
            "ruleLevel": full,
            "redLevel": full,
            "latitude": dam.lat,
            "longitude": dam.lon,
            "data": rows,
        }


@dataclass(frozen=True)
class GhcnDaily:
    """NOAA's GHCN-Daily: a .dly file a station (fixed width, tenths of a mm), and by_station/*.csv.gz.

    www.ncei.noaa.gov/pub/data/ghcn/daily/readme.txt, sections III and IV.
    """

    feed: str = "ghcn_daily"
    latency: timedelta = timedelta(days=2)
    history_days: int = HISTORY_DAYS
    teaches: str = (
        "station files all/ID.dly and by_station/ID.csv.gz, PRCP in tenths of a mm; ghcnd-stations.txt"
    )

    def document(self, request: Request, view: View) -> Document | None:
        """Answer the files by their names, whatever folder they are asked in."""
        name = request.path.rsplit("/", 1)[-1]
        if name == "ghcnd-stations.txt":
            lines = [
                f"{station_id(gauge):11s} {gauge.lat:8.4f} {gauge.lon:9.4f} {gauge.elevation_m:6.1f}"
                f"    {'SIMULATED ' + gauge.id:30.30s}             "
                for gauge in view.truth.gauges
            ]
            return Document("".join(f"{line}\n" for line in lines).encode(), "text/plain")
        stations = {station_id(gauge): gauge for gauge in view.truth.gauges}
        station, _, form = name.partition(".")
        if station not in stations:
            return None
        values = _values(stations[station], view, self.history_days)
        if form == "dly":
            return Document(_dly(station, values, view).encode("ascii"), "text/plain")
        if form in ("csv", "csv.gz"):
            lines = [
                f"{station},{day:%Y%m%d},PRCP,{round(value * 10)},,,S,"
                for day, value in values
                for _ in range(2 if view.rows_twice else 1)
            ]
            text = "".join(f"{line}\n" for line in lines).encode("ascii")
            if form == "csv":
                return Document(text, "text/csv")
            return Document(gzip.compress(text, mtime=0), "application/gzip")
        return None

    def example(self, view: View) -> str:
        """Return the first gauge's file."""
        return f"pub/data/ghcn/daily/all/{station_id(view.truth.gauges[0])}.dly"


@dataclass(frozen=True)
class ArpaeCsv:
    """A network's table as CSV (station, date, rain_mm), and its stations beside it."""

    feed: str = "arpae"
    latency: timedelta = timedelta(hours=6)
    history_days: int = HISTORY_DAYS
    teaches: str = "rain_daily.csv (station,date,rain_mm; plain or .gz) and rain_gauges.csv"

    def document(self, request: Request, view: View) -> Document | None:
        """Answer the two files, whatever folder they are asked in."""
        name = request.path.rsplit("/", 1)[-1]
        if name in ("rain_gauges.csv", "rain_gauges.csv.gz"):
            lines = ["station,elev_m,lon,lat"]
            lines += [f"{item.id},{item.elevation_m:g},{item.lon},{item.lat}" for item in view.truth.gauges]
        elif name in ("rain_daily.csv", "rain_daily.csv.gz"):
            lines = ["station,date,rain_mm"]
            since, until = request.day_of("since"), request.day_of("until")
            for gauge in view.truth.gauges:
                for day, value in _values(gauge, view, self.history_days, since, until):
                    lines += [f"{gauge.id},{day},{value:.1f}"] * (2 if view.rows_twice else 1)
        else:
            return None
        text = "".join(f"{line}\n" for line in lines).encode()
        if name.endswith(".gz"):
            return Document(gzip.compress(text, mtime=0), "application/gzip")
        return Document(text, "text/csv; charset=utf-8")

    def example(self, view: View) -> str:  # noqa: ARG002 - the protocol's signature
        """Return the table of all gauges."""
        return "rain_daily.csv"


def station_id(gauge: Gauge) -> str:
    """Return eleven characters for GHCN-Daily: the gauge's own, or made from them."""
    own = gauge.id.isalnum() and len(gauge.id) == 11
    return gauge.id if own else f"SIM{zlib.crc32(gauge.id.encode()) % 10**8:08d}"


def _values(
    gauge: Gauge, view: View, history_days: int, since: date | None = None, until: date | None = None
) -> list[tuple[date, float]]:
    shown = ((day, view.gauge(day, gauge)) for day in view.days(since, until, history_days))
    return [(day, value) for day, value in shown if not math.isnan(value)]


def _dly(station: str, values: list[tuple[date, float]], view: View) -> str:
    months: dict[tuple[int, int], dict[int, float]] = defaultdict(dict)
    for day, value in values:
        months[day.year, day.month][day.day] = value
    lines = []
    for (year, month), by_day in sorted(months.items()):
        last = monthrange(year, month)[1]
        cells = [
            f"{round(by_day[day] * 10):5d}  S" if day <= last and day in by_day else "-9999   "
            for day in range(1, 32)
        ]
        lines += [f"{station}{year:04d}{month:02d}PRCP{''.join(cells)}"] * (2 if view.rows_twice else 1)
    return "".join(f"{line}\n" for line in lines)


def _text(value: float, digits: int) -> str:
    return "" if math.isnan(value) else f"{value:.{digits}f}"
