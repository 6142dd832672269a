"""Forecast rain against what came, at the forecast's own places: its bias by distance, and the correction.

The first issue of each day counts, since the morning's layers rest on it. What came is rain as a layer would
have it there: readings brought onto the place by the rules of service.forcing. Of an ensemble the mean over
its members is compared; they are exchangeable, and so a few of many tell its bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import numpy.typing as npt
from rasterio.crs import CRS

from service.errors import SettingsError
from service.forcing import RAIN, GaugeDay, gauge_days, project, surface_of_day
from service.reading_values import ForecastIssue, Issue
from service.readings import Archive
from service.settings import ForcingSettings, Settings
from service.settings_forecast import ForecastSettings

# A day that all places together had less of, and were given less of, says nothing about a bias
# (1 mm makes a wet day; WMO, 2017).
_RAIN_DAY_MM = 1.0
_MEMBERS_AT_MOST = 5  # of an ensemble; each costs a look into the archive for each issue
_LEAST_AHEAD = 3

Rain = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Compared:
    """What one issue gave for one day, and what came: mm at the s places where both are known."""

    day: date
    ahead: int  # days from the issue's own day, which is 0
    forecast: Rain  # (s,)
    observed: Rain  # (s,)

    @property
    def is_rain_day(self) -> bool:
        """Whether there was rain, or a forecast of it, worth comparing."""
        return bool(max(self.forecast.mean(), self.observed.mean()) >= _RAIN_DAY_MM)


def compare_rain(
    settings: Settings,
    archive: Archive,
    crs: CRS,
    today: date,
    *,
    days: int | None = None,
    as_of: datetime | None = None,
) -> list[Compared]:
    """Compare what was forecast for the days before `today` with readings, oldest issue first.

    Of issues of `days` days back (default: forecast.bias_days), the days up to the farthest that a layer
    needs. Raises SettingsError where it is not clear which feed forecasts.
    """
    feed = forecast_feed(settings)
    # An issue may be of a day or more before the layers that still rest on it.
    farthest = max(
        settings.forecast.leads - (-settings.forecast.max_age_hours // timedelta(days=1)), _LEAST_AHEAD
    )
    since = today - timedelta(days=days or settings.forecast.bias_days)
    # A day of the region may begin up to a day before that of UTC.
    began = datetime.combine(since - timedelta(days=1), time(), UTC)
    issues = _first_of_each_day(archive.issues(RAIN, as_of, began), feed, settings, since, today)
    if not issues:
        return []
    span = [since + timedelta(days=number) for number in range((today - since).days)]
    measured, _ = gauge_days(archive, RAIN, span, crs, settings.forcing, as_of)
    came = _WhatCame({gauges.day: gauges for gauges in measured}, settings.forcing)
    compared = []
    for issued_on, issue in issues.items():
        ahead = [issued_on + timedelta(days=number) for number in range(farthest + 1)]
        ahead = [day for day in ahead if day < today and issue.first <= day <= issue.last]
        if not ahead:
            continue
        xy, forecast = _forecast(archive, issue, ahead, crs, as_of)
        for day, rain in zip(ahead, forecast, strict=True):
            observed = came.at(day, xy)
            known = np.isfinite(rain) & np.isfinite(observed)
            if known.any():
                compared.append(Compared(day, (day - issued_on).days, rain[known], observed[known]))
    return compared


def forecast_feed(settings: Settings) -> str:
    """Return the name of the feed that forecasts rain. Raises SettingsError where that is not clear."""
    names = [feed.name for feed in settings.feeds if feed.forecast and feed.variable == RAIN]
    named = settings.forecast.feed
    if named is not None and named not in names:
        raise SettingsError(
            f"forecast.feed = {named!r} is no feed of rain with forecast = true; "
            f"those are: {', '.join(names) or 'none'}"
        )
    if named is None and len(names) != 1:
        raise SettingsError(
            "forecast layers need one feed of rain with forecast = true; either add one, "
            f"or name the one to use as forecast.feed: there are {', '.join(names) or 'none'}"
        )
    return named or names[0]


def rain_factors(compared: Iterable[Compared], settings: ForecastSettings) -> dict[int, float]:
    """Return what came over what was forecast, by days ahead, within the settings' bounds.

    The ratio of sums over all days and places; only where enough days had rain or a forecast of it.
    """
    factors = {}
    for ahead, pairs in by_ahead(compared).items():
        forecast = sum(float(pair.forecast.mean()) for pair in pairs)
        observed = sum(float(pair.observed.mean()) for pair in pairs)
        if sum(pair.is_rain_day for pair in pairs) >= settings.bias_min_days and forecast > 0:
            factors[ahead] = round(min(max(observed / forecast, settings.factor_min), settings.factor_max), 3)
    return factors


def by_ahead(compared: Iterable[Compared]) -> dict[int, list[Compared]]:
    """Group by days ahead, ascending."""
    found: dict[int, list[Compared]] = {}
    for pair in compared:
        found.setdefault(pair.ahead, []).append(pair)
    return dict(sorted(found.items()))


class _WhatCame:
    """Rain as it was read, at places; kept by day as long as the places stay the same."""

    def __init__(self, measured: Mapping[date, GaugeDay], settings: ForcingSettings) -> None:
        self._measured, self._settings = measured, settings
        self._xy = np.zeros((0, 2))
        self._known: dict[date, Rain] = {}

    def at(self, day: date, xy: Rain) -> Rain:
        """Return rain of a day at places (s, 2): float64 (s,), mm; NaN where no reading is in range."""
        if not np.array_equal(xy, self._xy):
            self._xy, self._known = xy, {}
        if day not in self._known:
            if day not in self._measured:
                return np.full(len(xy), np.nan)
            surface = surface_of_day(self._measured[day], xy, self._settings)
            self._known[day] = surface.values.astype(np.float64)
        return self._known[day]


def _first_of_each_day(
    issues: Sequence[Issue], feed: str, settings: Settings, since: date, today: date
) -> dict[date, Issue]:
    found: dict[date, Issue] = {}
    for issue in sorted(issues, key=lambda item: item.issued_at):
        issued_on = issue.issued_at.astimezone(settings.timezone).date()
        if issue.feed == feed and since <= issued_on < today:
            found.setdefault(issued_on, issue)
    return found


def _forecast(
    archive: Archive, issue: Issue, days: Sequence[date], crs: CRS, as_of: datetime | None
) -> tuple[Rain, Rain]:
    """Return places (s, 2) and the mean over members at them (days, s), NaN where one has no value."""
    step = -(-len(issue.members) // _MEMBERS_AT_MOST)
    total: Rain = np.zeros((len(days), 0))
    chosen = issue.members[::step]
    for number, member in enumerate(chosen):
        readings = archive.forecast_values(
            RAIN, days, ForecastIssue(issue.feed, issue.issued_at, days[0], member), as_of
        )
        if number == 0:
            placed = np.array([np.isfinite(item.lon + item.lat) for item in readings.series], dtype=bool)
            xy = project([item for item, here in zip(readings.series, placed, strict=True) if here], crs)
            total = np.zeros((len(days), int(placed.sum())))
        total += readings.value[:, placed]
    return xy, total / len(chosen)
