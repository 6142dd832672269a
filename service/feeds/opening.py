"""Opens the feeds that a region's settings name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import date, datetime
from functools import cache, partial

from rasterio.crs import CRS
from rasterio.warp import transform_bounds

from service.feeds.base import Feed, FeedContext
from service.feeds.csv_feed import CsvFeedReader
from service.feeds.http_breaker import folder_of
from service.feeds.json_feed import JsonFeedReader
from service.feeds.raster_feed import RasterFeedReader
from service.region import make_grid
from service.settings import CsvFeed, JsonFeed, RasterFeed, Settings
from service.settings_feeds import FeedSettings


def open_feeds(
    settings: Settings,
    clock: Callable[[], datetime],
    known_days: Callable[[str], Mapping[date, str]] = lambda _: {},
    seconds_left: Callable[[], float] = lambda: math.inf,
    known_series: Callable[[str], Mapping[str, date]] = lambda _: {},
) -> tuple[Feed, ...]:
    """Return the feeds of a region, in the order of its settings. Nothing is fetched yet.

    `known_days` and `known_series` give what the archive has of a feed (see FeedContext) and are called in
    the feed's thread.
    """
    return tuple(
        _open(
            feed,
            replace(
                _context(feed, settings, clock),
                known_days=partial(known_days, feed.name),
                known_series=partial(known_series, feed.name),
                seconds_left=seconds_left,
            ),
        )
        for feed in settings.feeds
    )


def _open(feed: FeedSettings, context: FeedContext) -> Feed:
    match feed:
        case CsvFeed():
            return CsvFeedReader(feed, context)
        case JsonFeed():
            return JsonFeedReader(feed, context)
        case RasterFeed():
            return RasterFeedReader(feed, context)


def _context(feed: FeedSettings, settings: Settings, clock: Callable[[], datetime]) -> FeedContext:
    @cache
    def bounds() -> tuple[float, float, float, float]:
        grid = make_grid(settings)
        west, south, east, north = transform_bounds(grid.crs, CRS.from_epsg(4326), *grid.bounds)
        return west, south, east, north

    return FeedContext(
        region_timezone=settings.timezone,
        bounds=bounds,
        clock=clock,
        folder=folder_of(settings.data_dir, feed.name),
    )
