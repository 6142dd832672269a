"""Forecast rain for the toy region: a feed of forecasts whose places are those of the gauges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

import rasterio.warp

from service.reading_values import Reading, SeriesPosition
from service.readings import Archive
from service.refreshed import Refreshed
from service.runs import run_days
from service.workshop import archive_path
from tests.fix_region import GAUGES, ToyRegion

FEED = "ahead"
# Millimetres by day, of all places or of each.
Rain = Mapping[date, float | Mapping[str, float]]

_SETTINGS = f"""
[[feeds]]
name = "{FEED}"
variable = "rain"
kind = "json"
path = "ahead.json"
day = "day"
value = "rain"
series = "place"
unit = "mm"
series_file = "gauges.csv"
forecast = true

[forecast]
leads = 3
"""


def add_forecast_feed(toy: ToyRegion, more: str = "") -> None:
    """Give the region's settings a forecast feed; `more` goes into their section [forecast]."""
    toy.config.write_text(toy.config.read_text() + _SETTINGS + more + "\n", "utf-8")


def issue(
    toy: ToyRegion,
    members: Sequence[Rain] | Rain,
    *,
    on: date | None = None,
    at: time = time(0),
    feed: str = FEED,
) -> datetime:
    """Put one issue into the archive, of an ensemble or (a mapping) deterministic; return its moment.

    It is of `on` (default: today) and becomes known an hour after `at`.
    """
    moment = datetime.combine(on or toy.clock().date(), at, UTC)
    one = isinstance(members, Mapping)
    listed = [members] if isinstance(members, Mapping) else list(members)
    known_at = moment + timedelta(hours=1)
    with Archive(archive_path(toy.settings), toy.clock) as archive:
        archive.add_series(feed, "rain", _places(), known_at)
        archive.add(
            Reading(
                feed=feed,
                variable="rain",
                series=place,
                day=day,
                value=amount if isinstance(amount, float | int) else amount[place],
                known_at=known_at,
                issued_at=moment,
                member=None if one else number,
            )
            for number, rain in enumerate(listed)
            for day, amount in rain.items()
            for place in GAUGES
        )
    return moment


def refresh_leads(toy: ToyRegion, *leads: int, as_of: datetime | None = None) -> list[Refreshed]:
    """Make the forecasts of today as the command line does."""
    return run_days(
        toy.settings,
        toy.config,
        lambda _: [],
        purpose="test",
        clock=toy.clock,
        leads=leads,
        as_of=as_of,
    )


def days_from(first: date, count: int) -> list[date]:
    """Return `count` days from the first on."""
    return [first + timedelta(days=number) for number in range(count)]


def _places() -> list[SeriesPosition]:
    found = []
    for name, (x, y) in GAUGES.items():
        (lon,), (lat,) = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [x], [y])
        found.append(SeriesPosition(name, round(lon, 7), round(lat, 7)))
    return found
