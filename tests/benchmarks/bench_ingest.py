"""A full day of ingest: thousands of series by CSV or JSON, and a country's window of a global raster.

    python tests/benchmarks/bench_ingest.py [--series 10000] [--days 10] [--kind csv|json] [--json]

The simulator runs in a process of its own on this machine and serves gauges as one table (the `arpae`
preset) or points by the 50 as JSON (`open_meteo`), and CHIRPS (0.05 degrees, global,
float32, tiled) by range requests. The archive already holds the days before. `day` is one ingest of the new
day with all that the services show again: fetching, checks on the rows, archive, judging. `naive` is what a
script does for the same: each series by a request of its own and one INSERT and commit a row (on a sample,
scaled up), and the whole raster file fetched and read. Memory is the most that was resident in this process.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
import tempfile
import time
import tomllib
from datetime import UTC, date, datetime, timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.request import urlopen

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import structlog
from rasterio.io import MemoryFile

from service.commands.work import peak_rss_bytes
from service.ingest import IngestReport, ingest
from service.readings import Archive
from service.settings import parse_settings
from service.settings_feeds import PRESETS
from service.simulator.documents import Publisher
from service.simulator.open_meteo import OpenMeteo
from service.simulator.paste import as_toml, section
from service.simulator.rasters import CHIRPS_PRELIM, Rasters
from service.simulator.server import Simulator
from service.simulator.stations import ArpaeCsv
from service.simulator.weather import SyntheticTruth
from service.workshop import archive_path

COUNTRY = (44.0, 25.0, 59.0, 40.0)  # 15 x 15 degrees: 300 x 300 pixels
TODAY = date(2026, 3, 10)
RASTER = "chirps_v3_prelim"
SAMPLE = 200  # series of the naive run
REGION = """
[region]
id = "country"
name = "Country"
timezone = "UTC"
data_dir = "data"
synthetic = true
[grid]
crs = "EPSG:32639"
extent = [0, 2800000, 1380000, 4320000]
cell_size_m = 1000
[bundle]
path = "bundle"
"""


def publishers(days: int) -> dict[str, Publisher]:
    """Return the services by feed."""
    return {
        "arpae": ArpaeCsv(latency=timedelta(hours=2), history_days=days),
        "open_meteo": OpenMeteo("open_meteo"),
        RASTER: Rasters(RASTER, (CHIRPS_PRELIM,), "global 0.05 degree GeoTIFF"),
    }


def truth_of(series: int) -> SyntheticTruth:
    """Return a weather over the country with so many gauges and reservoirs."""
    return SyntheticTruth(COUNTRY, first=TODAY - timedelta(days=120), gauge_count=series, reservoir_count=1)


def serve(pipe: Connection, series: int, days: int, folder: str, feeds: tuple[str, ...]) -> None:
    """Run the simulator; send the settings that read it, then move the clock as told until None comes."""
    now = [datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)]
    services = publishers(days)
    with Simulator(truth_of(series), [services[feed] for feed in feeds], lambda: now[0]) as simulator:
        text = REGION
        for feed in feeds:
            preset = tomllib.loads((PRESETS / f"{feed}.toml").read_text("utf-8"))
            values = section(simulator, feed, preset, Path(folder))
            if feed != RASTER:
                # All series in one request, as a service with a table of its own gives them.
                values |= {"places_at_most": 1_000_000}
            if feed == "open_meteo":
                values |= {"history_days": days, "revisit_days": days}
            if feed == RASTER:
                values |= {"lookback_days": days, "settle_days": days, "recheck_days": 1}
            text += as_toml(values)
        pipe.send((text, simulator.base))
        while (moment := pipe.recv()) is not None:
            now[0] = moment
            # What is shown is made once for all who ask: the time to make it is not the ingest's.
            for feed in feeds:
                if feed == "arpae":
                    with urlopen(f"{simulator.address(feed)}/rain_daily.csv") as reply:  # noqa: S310
                        reply.read()
                if feed == RASTER:
                    path = simulator.publishers[feed].example(simulator.view(feed))
                    with urlopen(f"{simulator.address(feed)}/{path}") as reply:  # noqa: S310
                        reply.read()
            pipe.send("ready")


@click.command()
@click.option("--series", default=10_000, show_default=True, help="Gauges or points.")
@click.option("--days", default=10, show_default=True, help="Days that a reply goes back.")
@click.option("--kind", type=click.Choice(["csv", "json"]), default="csv", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(series: int, days: int, kind: str, as_json: bool) -> None:
    """Measure one day's ingest."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    feeds = ("arpae" if kind == "csv" else "open_meteo", RASTER)
    with tempfile.TemporaryDirectory(prefix="bench-ingest-") as name:
        ours, theirs = get_context("spawn").Pipe()
        server = get_context("spawn").Process(
            target=serve, args=(theirs, series, days, name, feeds), daemon=True
        )
        server.start()
        try:
            text, base = ours.recv()
            found = measure(ours, Path(name), text, base, feeds[0], series)
        finally:
            ours.send(None)
            server.join(10)
            server.kill()
    if as_json:
        click.echo(json.dumps(found))
    else:
        for key, value in found.items():
            shown = f"{value:,.4g}" if isinstance(value, float) and value < 100 else f"{value:,.0f}"
            click.echo(f"{key:>24}  {shown}")


def measure(
    pipe: Connection, folder: Path, text: str, base: str, feed: str, series: int
) -> dict[str, float | int]:
    """Return the figures of the day after the archive was filled."""
    settings = parse_settings(text, base=folder, origin="bench.toml")
    now = datetime(TODAY.year, TODAY.month, TODAY.day, 12, tzinfo=UTC)
    with Archive(archive_path(settings)) as archive:
        first_s, _ = _ingested(pipe, settings, archive, now)
        day_s, report = _ingested(pipe, settings, archive, now + timedelta(days=1))
        rows = sum(item.new + item.corrected + item.unchanged for item in report.feeds)
        for item in report.feeds:
            if item.error or not item.new:
                raise SystemExit(f"{item.name}: {item.error or 'nothing new'}")
    found = {
        "series": series,
        "rows_of_the_day": rows,
        "first_s": first_s,
        "day_s": day_s,
        "peak_rss_mib": peak_rss_bytes() / 2**20,
    }
    naive = naive_series_s(folder, base, feed, series) + naive_raster_s(base, now.date())
    return found | {"naive_s": naive, "ratio": naive / day_s}


def _ingested(pipe: Connection, settings: Any, archive: Archive, now: datetime) -> tuple[float, IngestReport]:
    pipe.send(now)
    pipe.recv()
    started = time.perf_counter()
    report = ingest(settings, archive, now)
    return time.perf_counter() - started, report


def naive_series_s(folder: Path, base: str, feed: str, series: int) -> float:
    """Return the seconds of a request for each series and a commit for each row, from a sample of both."""
    table = f"{base}/arpae/rain_daily.csv?since={TODAY}&until={TODAY}"
    point = f"{base}/open_meteo/v1/forecast?latitude=30&longitude=50&daily=precipitation_sum&timezone=UTC"
    database = sqlite3.connect(folder / "naive.sqlite")
    database.execute("CREATE TABLE reading (series TEXT, day TEXT, value REAL, PRIMARY KEY (series, day))")
    url = table if feed == "arpae" else point
    requests = 3 if feed == "arpae" else SAMPLE  # the table is all series at once for a script, too
    started = time.perf_counter()
    for _ in range(requests):
        with urlopen(url) as reply:  # noqa: S310 - our own server
            reply.read()
    fetched = (time.perf_counter() - started) / requests * (1 if feed == "arpae" else series)
    started = time.perf_counter()
    for number in range(SAMPLE):
        database.execute("INSERT INTO reading VALUES (?, ?, ?)", (f"S{number}", str(TODAY), 1.0))
        database.commit()
    stored = (time.perf_counter() - started) / SAMPLE * series
    database.close()
    return fetched + stored


def naive_raster_s(base: str, today: date) -> float:
    """Return the seconds in which the whole file is fetched and read."""
    day = today - timedelta(days=4)
    started = time.perf_counter()
    with urlopen(f"{base}/{RASTER}/{CHIRPS_PRELIM.path_of(day, '3.0')}") as reply:  # noqa: S310 - our own server
        body = reply.read()
    with MemoryFile(body) as memory, memory.open() as raster:
        raster.read(1)
    return time.perf_counter() - started


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
