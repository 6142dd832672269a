"""Open-Meteo: past days, forecast and ensemble of daily rain at points (api.open-meteo.com/v1/docs)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np

from service.simulator.documents import BadRequestError, Document, Request, json_document
from service.simulator.view import View

PERTURBED = 30  # members beside the control run, as of GEFS
FORECAST_DAYS_AT_MOST, PAST_DAYS_AT_MOST = 16, 92


@dataclass(frozen=True)
class OpenMeteo:
    """One of its endpoints; `members`: perturbed runs beside the control run."""

    feed: str
    members: int = 0
    latency: timedelta = timedelta(0)
    teaches: str = "daily precipitation_sum at points: past days and forecast"

    def document(self, request: Request, view: View) -> Document | None:
        """Answer /v1/forecast, /v1/archive and /v1/ensemble."""
        if request.path not in ("v1/forecast", "v1/archive", "v1/ensemble"):
            return None
        latitudes, longitudes = _numbers(request, "latitude"), _numbers(request, "longitude")
        if not latitudes or len(latitudes) != len(longitudes):
            raise BadRequestError(
                "Parameter 'latitude' and 'longitude' must have the same number of elements"
            )
        if "precipitation_sum" not in request.list_of("daily"):
            raise BadRequestError("the simulator knows daily=precipitation_sum only")
        zone = _zone(request.query.get("timezone", "GMT"), view)
        days = _days(request, view, zone)
        if not request.list_of("timezone") and days:
            raise BadRequestError("Timezone is required")
        rain = self._rain(view, days, np.array(longitudes), np.array(latitudes))
        offset = view.now.astimezone(zone).utcoffset() or timedelta(0)
        places: list[dict[str, Any]] = []
        for number, (lat, lon) in enumerate(zip(latitudes, longitudes, strict=True)):
            daily: dict[str, Any] = {"time": [day.isoformat() for day in days]}
            units = {"time": "iso8601"}
            for member in range(self.members + 1):
                name = f"precipitation_sum_member{member:02d}" if member else "precipitation_sum"
                daily[name] = [_number(value) for value in rain[member, :, number]]
                units[name] = "mm"
            place: dict[str, Any] = {
                "latitude": round(lat, 4),
                "longitude": round(lon, 4),
                "generationtime_ms": 0.05,
                "utc_offset_seconds": int(offset.total_seconds()),
                "timezone": zone.key,
                "timezone_abbreviation": view.now.astimezone(zone).tzname(),
                "elevation": 500.0,
            }
            if number:
                place["location_id"] = number
            places.append(place | {"daily_units": units, "daily": daily})
        return json_document(places[0] if len(places) == 1 else places)

    def example(self, view: View) -> str:
        """Return the forecast at the first gauge."""
        gauge = view.truth.gauges[0]
        kind = "ensemble" if self.members else "forecast"
        return (
            f"v1/{kind}?latitude={gauge.lat}&longitude={gauge.lon}&daily=precipitation_sum"
            "&timezone=UTC&past_days=7&forecast_days=3"
        )

    def _rain(
        self,
        view: View,
        days: list[date],
        lon: np.typing.NDArray[np.float64],
        lat: np.typing.NDArray[np.float64],
    ) -> np.typing.NDArray[np.float64]:
        """Return what is shown: (members, days, places). A day that is not over is forecast."""
        rain = np.full((self.members + 1, len(days), len(lon)), np.nan)
        for row, day in enumerate(days):
            if day <= view.newest:
                rain[:, row] = view.rain(day, lon, lat)
            else:
                for member in range(self.members + 1):
                    rain[member, row] = view.forecast(day, lon, lat, member)
        return rain


def _days(request: Request, view: View, zone: ZoneInfo) -> list[date]:
    first, last = request.day_of("start_date"), request.day_of("end_date")
    if (first is None) != (last is None):
        raise BadRequestError("Parameter 'start_date' and 'end_date' belong together")
    if first is None or last is None:
        today = view.page_at.astimezone(zone).date()
        past = _count(request, "past_days", 0, PAST_DAYS_AT_MOST)
        ahead = _count(request, "forecast_days", 7, FORECAST_DAYS_AT_MOST)
        first, last = today - timedelta(days=past), today + timedelta(days=ahead - 1)
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def _count(request: Request, name: str, default: int, at_most: int) -> int:
    text = request.query.get(name, str(default))
    if not text.isdecimal() or int(text) > at_most:
        raise BadRequestError(f"Parameter '{name}' is out of allowed range from 0 to {at_most}")
    return int(text)


def _numbers(request: Request, name: str) -> list[float]:
    try:
        return [float(text) for text in request.list_of(name)]
    except ValueError as error:
        raise BadRequestError(f"Parameter '{name}' must be numbers") from error


def _zone(name: str, view: View) -> ZoneInfo:
    if name == "auto":
        return view.zone
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as error:
        raise BadRequestError(f"Invalid timezone '{name}'") from error


def _number(value: float) -> float | None:
    return None if math.isnan(value) else round(float(value), 2)
