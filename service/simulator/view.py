"""What a feed shows of the truth at a moment: latency, and the faults of its numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

import numpy as np

from service.simulator.faults import (
    Duplicate,
    DyingGauges,
    Fault,
    FaultScript,
    LateCorrection,
    Shifted,
    Stale,
    UnitChange,
    VersionRotation,
)
from service.simulator.truth import Float, Gauge, Reservoir, Truth

UTC_ZONE = ZoneInfo("UTC")
_Place = TypeVar("_Place", Gauge, Reservoir)

FEET, INCHES = 1 / 0.3048, 1 / 25.4
FORECAST_DAYS = 16
# Of the logarithm of a forecast's rain, by day of lead: too wet, and less sure each day.
FORECAST_BIAS, FORECAST_SPREAD = 0.06, 0.18


@dataclass(frozen=True)
class View:
    """One feed at one moment. `now` is the simulated clock's, UTC; days are of `zone`."""

    feed: str
    truth: Truth
    script: FaultScript
    now: datetime
    latency: timedelta
    zone: ZoneInfo = UTC_ZONE

    @cached_property
    def faults(self) -> tuple[Fault, ...]:
        """The faults that stand."""
        return self.script.standing(self.feed, self.today)

    @property
    def today(self) -> date:
        """The clock's day, UTC, by which the fault script goes."""
        return self.now.astimezone(UTC).date()

    @cached_property
    def page_at(self) -> datetime:
        """As of when the feed shows its page: now, or before a stale page began."""
        stale = [fault.since for fault in self.faults if isinstance(fault, Stale)]
        frozen = [datetime.combine(day, time(0), UTC) - timedelta(seconds=1) for day in stale]
        return min([self.now, *frozen])

    @cached_property
    def newest(self) -> date:
        """The newest day that is published."""
        ended = (self.page_at - self.latency).astimezone(self.zone)
        return min(ended.date() - timedelta(days=1), self.truth.last)

    @cached_property
    def published_at(self) -> datetime:
        """When the newest day appeared, UTC: what Last-Modified says."""
        ended = datetime.combine(self.newest + timedelta(days=1), time(0), self.zone)
        return (ended + self.latency).astimezone(UTC)

    @property
    def version(self) -> str:
        """The product version that a rotation has brought; empty: the usual one."""
        rotated = [fault.version for fault in self.faults if isinstance(fault, VersionRotation)]
        return rotated[-1] if rotated else ""

    @property
    def rows_twice(self) -> bool:
        """Tell whether every row comes twice."""
        return any(isinstance(fault, Duplicate) and not fault.of for fault in self.faults)

    def days(self, since: date | None, until: date | None, at_most: int = 92) -> list[date]:
        """Return the published days from `since` (default: `at_most` days back) to `until`, oldest first."""
        last = min(until or self.newest, self.newest)
        first = max(since or last - timedelta(days=at_most - 1), self.truth.first)
        return [first + timedelta(days=number) for number in range((last - first).days + 1)]

    def gauge(self, day: date, gauge: Gauge, among: Sequence[Gauge] = ()) -> float:
        """Return a gauge's rain as published, mm; NaN: nothing. `among`: all gauges of the feed."""
        if day > self.newest:
            return math.nan
        source = self._delivered(day, gauge, among or self.truth.gauges)
        if self._dead(day, gauge):
            return math.nan
        value = self.truth.gauge_rain(self.day_shown(day, gauge.id), source)
        return float(self._altered(day, gauge.id, np.array(value), "rain"))

    def level(self, day: date, reservoir: Reservoir) -> float:
        """Return a level as published, m; NaN: nothing."""
        if day > self.newest:
            return math.nan
        source = self._delivered(day, reservoir, self.truth.reservoirs)
        value = self.truth.level(self.day_shown(day, reservoir.id), source)
        return float(self._altered(day, reservoir.id, np.array(value), "level"))

    def rain(self, day: date, lon: Float, lat: Float) -> Float:
        """Return a field of rain as published, mm, at places of any shape; NaN where there is none.

        A field is one series, named `rain`: faults of named gauges do not touch it.
        """
        if day > self.newest:
            return np.full(np.shape(lon), np.nan)
        return self.rain_whatever_the_day(day, lon, lat)

    def rain_whatever_the_day(self, day: date, lon: Float, lat: Float) -> Float:
        """Return a field of rain as it is published of a day, be it over or not; of hours already fallen."""
        return self._altered(day, "rain", self.truth.rain(self.day_shown(day, "rain"), lon, lat), "rain")

    def forecast(self, day: date, lon: Float, lat: Float, member: int) -> Float:
        """Return the rain that a member forecasts at the page's moment; its error grows with the lead.

        Member 0 is the control run. Days too far ahead: NaN.
        """
        issue = self.page_at.replace(hour=self.page_at.hour // 6 * 6, minute=0, second=0, microsecond=0)
        lead = (day - issue.date()).days + 1
        if not 0 < lead <= FORECAST_DAYS:
            return np.full(np.shape(lon), np.nan)
        random = np.random.default_rng([issue.toordinal(), issue.hour, member, day.toordinal()])
        spread = FORECAST_SPREAD * lead * (0.5 if member == 0 else 1.0)
        error = math.exp(FORECAST_BIAS * lead + spread * float(random.standard_normal()))
        return np.asarray(np.round(self.truth.rain(day, lon, lat) * error, 1))

    def _delivered(self, day: date, place: _Place, places: Sequence[_Place]) -> _Place:
        for fault in self.faults:
            if isinstance(fault, Duplicate) and place.id in fault.series and day >= fault.since:
                return next((other for other in places if other.id == fault.of), place)
        return place

    def day_shown(self, day: date, series: str) -> date:
        """Return the day whose numbers stand under a day's date."""
        shifts = [
            fault.days
            for fault in self.faults
            if isinstance(fault, Shifted) and fault.touches(series) and day >= fault.since
        ]
        return day - timedelta(days=sum(shifts))

    def _altered(self, day: date, series: str, value: Float, variable: Literal["rain", "level"]) -> Float:
        for fault in self.faults:
            if not fault.touches(series) or day < fault.since:
                continue
            if isinstance(fault, UnitChange):
                value = value * (fault.factor or (INCHES if variable == "rain" else FEET))
            elif isinstance(fault, LateCorrection):
                value = value * fault.factor if variable == "rain" else value + fault.offset_m
        return np.asarray(value)

    def _dead(self, day: date, gauge: Gauge) -> bool:
        for fault in self.faults:
            if not isinstance(fault, DyingGauges) or not fault.touches(gauge.id):
                continue
            for number in range((day - fault.since).days + 1):
                if self.truth.gauge_rain(fault.since + timedelta(days=number), gauge) >= fault.mm:
                    return True
        return False
