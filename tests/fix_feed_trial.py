"""A place with three simulated feeds (gauges, reservoirs, a satellite), lived through day by day."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rasterio.warp import transform

from service.ingest import IngestReport, ingest
from service.readings import Archive
from service.settings import Settings, parse_settings
from service.settings_feeds import PRESETS
from service.simulator.documents import Publisher
from service.simulator.faults import Fault, FaultScript
from service.simulator.paste import as_toml, section
from service.simulator.rasters import IMERG_LATE, Rasters
from service.simulator.server import Simulator
from service.simulator.stations import ArpaeCsv
from service.simulator.water import Cdec
from service.simulator.weather import SyntheticTruth
from service.workshop import archive_path
from tests.fix_simulator import BOUNDS, Clock

RAIN, LEVEL, RASTER = "arpae", "cdec_elevation", "imerg_late"
FEEDS = (RAIN, LEVEL, RASTER)
HISTORY_DAYS = 24  # that the pages of gauges and reservoirs go back
REGION = """
[region]
id = "trial"
name = "Trial"
timezone = "UTC"
data_dir = "data"
synthetic = true
[grid]
crs = "EPSG:32632"
extent = [666000, 4878000, 696000, 4914000]
[bundle]
path = "bundle"
"""
# A hundredth of a foot, and the text of tenths of a mm, are no difference.
TOLERANCE = {"rain": 0.051, "level": 0.01, "raster": 0.051}


class Standing(NamedTuple):
    """A value that would enter a window, and what it should be."""

    feed: str
    series: str
    day: date
    value: float
    true: float


@dataclass
class Trial:
    """The place, its clock and what became of every ingest."""

    simulator: Simulator
    settings: Settings
    archive: Archive
    clock: Clock
    reports: list[IngestReport] = field(default_factory=list)

    @property
    def today(self) -> date:
        """The clock's day."""
        return self.clock.now.date()

    def ingest(self) -> IngestReport:
        """Read all feeds, now."""
        report = ingest(self.settings, self.archive, self.clock.now)
        self.reports.append(report)
        return report

    def live(self, days: int) -> Iterator[date]:
        """Let days pass, one ingest each; yield the day after each."""
        for _ in range(days):
            self.clock.pass_days()
            self.ingest()
            yield self.today

    def wrong(self, since: date) -> list[Standing]:
        """Return all values of days from `since` on that windows would take and that are not true."""
        days = [since + timedelta(days=number) for number in range((self.today - since).days + 1)]
        truth = self.simulator.truth
        found = []
        gauges = {item.id: item for item in truth.gauges}
        dams = {item.id: item for item in truth.reservoirs}
        for variable in ("rain", "level"):
            read = self.archive.values(variable, days)
            for column, series in enumerate(read.series):
                for row, day in enumerate(days):
                    value = float(read.value[row, column])
                    if variable == "rain":
                        true = truth.gauge_rain(day, gauges[series.id])
                    else:
                        true = truth.level(day, dams[series.id])
                    if np.isfinite(value) and not abs(value - true) <= TOLERANCE[variable]:
                        found.append(Standing(series.feed, series.id, day, value, true))
        return found + self._wrong_rasters(days)

    def _wrong_rasters(self, days: list[date]) -> list[Standing]:
        found = []
        clean = self.simulator.view(RASTER)
        clean = type(clean)(RASTER, clean.truth, FaultScript(), clean.now, clean.latency)
        for day, products in zip(days, self.archive.rasters.days("rain", days), strict=True):
            for product in products:
                rows, columns = np.indices(product.values.shape)
                x, y = product.transform * (columns + 0.5, rows + 0.5)
                lon, lat = transform(product.crs, "EPSG:4326", x.ravel(), y.ravel())
                true = PRODUCT.published(day, clean, np.array(lon), np.array(lat))
                off = np.abs(product.values.ravel() - true)
                if not (off <= TOLERANCE["raster"]).all():
                    worst = int(np.nanargmax(off))
                    value = float(product.values.ravel()[worst])
                    found.append(Standing(product.feed, "", day, value, float(true[worst])))
        return found

    def missing(self, since: date, until: date) -> set[tuple[str, date]]:
        """Return (series, day) of gauges and reservoirs without a value that stands."""
        days = [since + timedelta(days=number) for number in range((until - since).days + 1)]
        found = set()
        for variable in ("rain", "level"):
            read = self.archive.values(variable, days)
            for row, column in zip(*np.nonzero(np.isnan(read.value)), strict=True):
                found.add((read.series[column].id, days[row]))
        return found


PRODUCT = IMERG_LATE


def truth_of(gauges: int, reservoirs: int, seed: int = 4) -> SyntheticTruth:
    """Return a weather with so many series."""
    return SyntheticTruth(BOUNDS, seed, date(2025, 9, 1), gauges, reservoirs)


def publishers() -> tuple[Publisher, ...]:
    """Return the three services; the gauges' page is short, to keep the trial quick."""
    return (
        ArpaeCsv(latency=timedelta(hours=6), history_days=HISTORY_DAYS),
        Cdec(LEVEL, 6, timedelta(hours=6)),
        Rasters(RASTER, (PRODUCT,), "Late"),
    )


@contextmanager
def trial(folder: Path, start: date, faults: tuple[Fault, ...] = (), truth: SyntheticTruth | None = None,
          feeds: tuple[str, ...] = FEEDS, deadline_s: float = 60) -> Iterator[Trial]:  # fmt: skip
    """Yield a place whose archive holds what the feeds had on the evening of `start`."""
    clock = Clock(start)
    weather = truth or truth_of(10, 5)
    with Simulator(weather, publishers(), clock, FaultScript(faults=faults)) as simulator:
        text = REGION + f"[ingest]\ndeadline_minutes = {deadline_s / 60}\n"
        for feed in feeds:
            preset = tomllib.loads((PRESETS / f"{feed}.toml").read_text("utf-8"))
            values = section(simulator, feed, preset, folder)
            values["http"] |= {"retries": 0, "read_timeout_s": 0.6, "breaker_failures": 3}
            if feed == LEVEL:
                values |= {"history_days": HISTORY_DAYS, "revisit_days": 14, "latency_hours": 14}
            if feed == RASTER:
                values |= {"versions": ["V07B"], "lookback_days": 8, "settle_days": 8, "latency_hours": 18}
            text += as_toml(values)
        settings = parse_settings(text, base=folder, origin="trial.toml")
        with Archive(archive_path(settings), clock) as archive:
            yield Trial(simulator, settings, archive, clock)
