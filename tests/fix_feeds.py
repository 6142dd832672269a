"""Small tables of readings, and the settings that describe them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from service.feed_log import Problem
from service.feeds.base import FeedContext
from service.feeds.csv_feed import CsvFeedReader
from service.ingest import FeedReport, ingest
from service.quality import Observation, Rejection
from service.readings import Archive
from service.settings import CsvFeed, Settings, parse_settings

NOW = datetime(2026, 3, 10, 9, 30, tzinfo=UTC)
ROME = ZoneInfo("Europe/Rome")
GAUGES = "id,lon,lat,elev\nA,11.5,44.2,180\nB,11.6,44.3,210\n"


def region_settings(folder: Path, timezone: str = "Europe/Rome") -> Settings:
    """Settings of a region without feeds."""
    return parse_settings(
        f"""
        [region]
        id = "toy"
        name = "Toy"
        timezone = "{timezone}"
        data_dir = "data"
        [grid]
        crs = "EPSG:32632"
        extent = [0, 0, 960, 960]
        [bundle]
        path = "bundle"
        """,
        base=folder,
        origin="toy.toml",
    )


def csv_feed(folder: Path, text: str | bytes | None = None, **changes: Any) -> CsvFeed:
    """A rain feed of gauges A and B over `folder`/rain.csv, which gets `text`."""
    if text is not None:
        (folder / "rain.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    if not (folder / "gauges.csv").exists():
        (folder / "gauges.csv").write_text(GAUGES)
    values: dict[str, Any] = {
        "name": "rain",
        "variable": "rain",
        "path": str(folder / "rain.csv"),
        "unit": "mm",
        "series_file": folder / "gauges.csv",
        "elevation_column": "elev",
    }
    return CsvFeed(**(values | changes))


def context_for(
    region: ZoneInfo = ROME, folder: Path = Path("nowhere"), clock: Callable[[], datetime] = lambda: NOW
) -> FeedContext:
    """What a feed knows of a region between Imola and Forlì."""
    return FeedContext(region, lambda: (11.5, 44.0, 12.0, 44.5), clock, folder)


def rows_of(feed: CsvFeed, region: ZoneInfo = ROME) -> list[Observation | Rejection | Problem]:
    """Everything that one fetch streams."""
    return list(CsvFeedReader(feed, context_for(region)).fetch(None, None).rows)


def observations(rows: Iterable[Observation | Rejection | Problem]) -> dict[tuple[str, str], float]:
    """The values among the rows, by series and ISO day."""
    return {(row.series, row.day.isoformat()): row.value for row in rows if isinstance(row, Observation)}


def rejections(rows: Iterable[Observation | Rejection | Problem]) -> list[Rejection]:
    """The rejections among the rows."""
    return [row for row in rows if isinstance(row, Rejection)]


def take_in(folder: Path, feed: CsvFeed, archive: Archive, now: datetime = NOW) -> FeedReport:
    """Ingest one feed and return its report."""
    settings = region_settings(folder)
    (report,) = ingest(
        settings, archive, now, feeds=[CsvFeedReader(feed, context_for(settings.timezone))]
    ).feeds
    return report
