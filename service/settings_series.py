"""Settings of feeds that report series: where these stand, which are asked for, and how far back."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from service.feeds.templates import check_template
from service.settings_base import FilePath, Positive
from service.settings_feed import FeedCommon

Count = Annotated[int, Field(ge=1)]


class FeedWithSeries(FeedCommon):
    """A feed of gauges, reservoirs or points, from files or from a service that is asked for them."""

    url: str | None = (
        None  # a template: {series}, {lat}, {lon}, {since}, {until:%d.%m.%Y}, ... (feeds.templates)
    )
    params: dict[str, str] = Field(default_factory=dict)  # of the query, templates too
    # Where the series are measured; at most one of the three. A service is asked for each of them where
    # its URL or query names {series}, {lat} or {lon}.
    series_file: FilePath | None = None  # id, lon, lat (EPSG:4326) of each series
    series_ids: tuple[str, ...] = ()  # ids alone: positions are not needed, or stand in the replies
    grid_degrees: Positive | None = None  # points this far apart over the region
    series_id_column: str = "id"  # of the series file
    lon_column: str = "lon"
    lat_column: str = "lat"
    elevation_column: str | None = None  # m
    lowest_column: str | None = None  # the operating range, in the stored unit
    highest_column: str | None = None
    places_at_most: Count = 2_000  # a grid of more points is a mistake, or needs a raster feed
    places_per_request: Count = 1  # more: {series}, {lat} and {lon} are lists, separated by commas
    history_days: Count = 92  # a first fetch asks for so many days before today; {past_days} is never more
    revisit_days: Count = 35  # later ones ask again for so many days before the newest, for corrections
    forecast_days: Annotated[int, Field(ge=1, le=16)] = 4  # of a forecast feed, today included
    # The date that stands for a day's interval: the one on which it starts, or on which it ends (totals
    # "of the 24 hours to this morning").
    day_names: Literal["start", "end"] = "start"
    scale: Positive = 1.0  # the values are multiplied by it before the unit counts: 0.1 for tenths

    @field_validator("url")
    @classmethod
    def _none_if_blank(cls, value: str | None) -> str | None:
        # TOML has no null, and a preset's address may be given up for files.
        return value or None

    @property
    def interval_shift(self) -> timedelta:
        """From the date that is given to the one on which its interval starts."""
        return timedelta(days=-1 if self.day_names == "end" else 0)

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = [
            name
            for name, value in (
                ("series_file", self.series_file),
                ("series_ids", self.series_ids),
                ("grid_degrees", self.grid_degrees),
            )
            if value
        ]
        if len(given) > 1:
            raise ValueError(f"give one of {' and '.join(given)}: each says which series there are")
        for name, text in (
            ("url", self.url or ""),
            *(("params." + key, t) for key, t in self.params.items()),
        ):
            try:
                check_template(text)
            except ValueError as error:
                raise ValueError(f"{name}: {error}") from error
        return self
