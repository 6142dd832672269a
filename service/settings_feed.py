"""What the settings of every feed have in common."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Annotated, Literal

from pydantic import Field

from service.settings_base import Hours, Section, Slug
from service.settings_http import FeedHttp


class FeedCommon(Section):
    """One feed: where readings of one variable come from."""

    name: Slug
    variable: Literal["rain", "level"]
    preset: str | None = None  # what the section was completed from
    source: str = ""  # who publishes it, for people
    licence: str = ""
    redistribute: bool = True
    timezone: str | None = None  # of the day's boundary; default: the region's
    day_boundary: time = time(0)  # the local time at which the feed's day begins
    minimum: float | None = None  # in the stored unit; default by variable
    maximum: float | None = None
    latency_hours: Hours = timedelta(hours=6)  # after the day's end, a day may be expected
    # Readings older than this at their first import are taken to have been known at day + latency.
    assume_history: bool = True
    # A feed of forecasts never makes readings: what it says of days to come is kept by issue (and member).
    forecast: bool = False
    issue_hours: Annotated[int, Field(ge=1, le=24)] = 6  # fetches within so many hours are one issue
    http: FeedHttp = FeedHttp()
