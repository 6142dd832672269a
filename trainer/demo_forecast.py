"""Forecast layers of the demo: a SYNTHETIC ensemble, issued each morning of the demo's last days.

The forecast is that of `colluvium simulate-feeds` over the demo's own rain, too wet by a little and less sure
with every day, in the format of Open-Meteo's ensembles. Each morning it is taken in through the `json` feed
and run through the model, with the clock of that morning, as the daemon would have done.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from urllib.parse import urlencode

from service.errors import InputError, Outcome
from service.feeds.opening import open_feeds
from service.ingest import ingest
from service.lock import exclusive
from service.readings import Archive
from service.refreshed import Refreshed
from service.runs import run_days
from service.settings import Settings
from service.simulator.documents import Request
from service.simulator.faults import NO_FAULTS
from service.simulator.open_meteo import OpenMeteo
from service.simulator.recorded import RecordedTruth
from service.simulator.truth import Bounds, Float, Gauge, Reservoir
from service.simulator.view import View
from service.simulator.weather import SyntheticTruth
from service.stamps import utc_now
from service.workshop import archive_path, lock_path

FEED = "forecast"
ISSUES = 7  # mornings; the storm's three days lie among them
MEMBERS = 6  # beside the control run
_HOUR = time(6, 30)
_POINTS = 3  # along each side of the region
_SEED = 51  # of the weather after the demo's last day: dry, then two days of rain


@dataclass(frozen=True)
class _DemoWeather:
    """The demo's rain to its last day, and a made-up one after it."""

    told: RecordedTruth
    after: SyntheticTruth

    @property
    def bounds(self) -> Bounds:
        return self.told.bounds

    @property
    def first(self) -> date:
        return self.told.first

    @property
    def last(self) -> date:
        return self.told.last

    @property
    def gauges(self) -> tuple[Gauge, ...]:
        return self.told.gauges

    @property
    def reservoirs(self) -> tuple[Reservoir, ...]:
        return self.told.reservoirs

    def rain(self, day: date, lon: Float, lat: Float) -> Float:
        return (self.told if day <= self.told.last else self.after).rain(day, lon, lat)

    def gauge_rain(self, day: date, gauge: Gauge) -> float:
        return self.told.gauge_rain(day, gauge)

    def level(self, day: date, reservoir: Reservoir) -> float:
        return self.told.level(day, reservoir)


def make_forecasts(
    settings: Settings, config: Path, file: Path, last_day: date, say: Callable[[str], None]
) -> list[Refreshed]:
    """Issue a forecast on each of the last mornings, and make the layers of the days ahead from it.

    `file` is what the forecast feed reads. Raises InputError where a morning's layers cannot be made.
    """
    truth = RecordedTruth.of_region(settings, datetime.combine(last_day, _HOUR, UTC))
    weather = _DemoWeather(truth, SyntheticTruth(truth.bounds, _SEED, last_day + timedelta(days=1)))
    made: list[Refreshed] = []
    for back in range(ISSUES - 1, -1, -1):
        morning = datetime.combine(last_day - timedelta(days=back), _HOUR, settings.timezone)
        file.write_bytes(_reply(weather, morning, settings.region.timezone, settings.forecast.leads))
        _take_in(settings, morning)
        results = run_days(
            settings,
            config,
            lambda _: (),
            leads=range(1, settings.forecast.leads + 1),
            purpose="colluvium demo",
            clock=_ticking(morning),
        )
        failed = [item for item in results if item.outcome not in (Outcome.PUBLISHED, Outcome.UNCHANGED)]
        if failed:
            raise InputError(f"the demo's forecast of {morning:%Y-%m-%d} failed: {failed[0].reason}")
        made += results
        say(f"  issued {morning:%Y-%m-%d}: {', '.join(str(item.day) for item in results)}")
    return made


def demo_clock(settings: Settings, last_day: str) -> Callable[[], datetime]:
    """Return a clock that starts half an hour after the demo's last forecast was issued, and then runs."""
    started = utc_now()
    morning = datetime.combine(date.fromisoformat(last_day), _HOUR, settings.timezone).astimezone(UTC)
    return lambda: morning + timedelta(minutes=30) + (utc_now() - started)


def _reply(weather: _DemoWeather, morning: datetime, timezone: str, leads: int) -> bytes:
    """Return what the ensemble's service would have said that morning, for points over the region."""
    west, south, east, north = weather.bounds
    steps = [number / (_POINTS - 1) for number in range(_POINTS)]
    points = [(west + (east - west) * x, south + (north - south) * y) for y in steps for x in steps]
    query = {
        "latitude": ",".join(f"{lat:.4f}" for _, lat in points),
        "longitude": ",".join(f"{lon:.4f}" for lon, _ in points),
        "daily": "precipitation_sum",
        "timezone": timezone,
        "forecast_days": str(leads + 1),
    }
    service = OpenMeteo("open_meteo_ensemble", members=MEMBERS)
    view = View(service.feed, weather, NO_FAULTS, morning.astimezone(UTC), service.latency)
    document = service.document(Request("v1/ensemble", query, ""), view)
    if document is None:
        raise InputError(f"the simulator has no answer to v1/ensemble?{urlencode(query)}")
    return document.body


def _take_in(settings: Settings, morning: datetime) -> None:
    feeds = [feed for feed in open_feeds(settings, lambda: morning) if feed.name == FEED]
    with (
        exclusive(lock_path(settings), "colluvium demo"),
        Archive(archive_path(settings), lambda: morning) as archive,
    ):
        report = ingest(settings, archive, morning, feeds=feeds)
    if report.failed:
        raise InputError(f"the demo's forecast of {morning:%Y-%m-%d} cannot be read: {report.feeds[0].error}")


def _ticking(start: datetime) -> Callable[[], datetime]:
    """Return a clock that begins at a moment and lets a microsecond pass whenever it is asked."""
    now = start.astimezone(UTC)

    def clock() -> datetime:
        nonlocal now
        now += timedelta(microseconds=1)
        return now

    return clock
