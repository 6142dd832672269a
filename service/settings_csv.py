"""Settings of feeds in delimited or fixed-width text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from service.settings_base import Section, resolve
from service.settings_series import FeedWithSeries

# First and last column of a field, counted from 1, both included.
Columns = tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]


class FixedWidth(Section):
    """Text in columns of fixed width: a day a line, or a month a line with its days side by side."""

    series: Columns
    day: Columns | None = None  # in the feed's day_format
    month: Columns | None = None  # or this, in month_format, and 31 values from the first day's on
    month_format: str = "%Y%m"
    value: Columns  # of the line's day, or of the month's first
    quality: Columns | None = None  # of the same day; anything but blank is the source's own doubt
    quality_accepted: tuple[str, ...] = ()  # flags that are none
    step: Annotated[int, Field(ge=1)] = 8  # columns from one day of the month to the next
    select: Columns | None = None  # lines are left out unless these columns hold `selected`
    selected: str = ""

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.day is None) == (self.month is None):
            raise ValueError("give either 'day' (a day a line) or 'month' (a month a line)")
        for name in ("series", "day", "month", "value", "quality", "select"):
            columns = getattr(self, name)
            if columns is not None and columns[0] > columns[1]:
                raise ValueError(f"{name} = [{columns[0]}, {columns[1]}] ends before it begins")
        return self


class CsvFeed(FeedWithSeries):
    """A CSV file, or a folder or glob of them, or one by URL; in long or wide form, or in fixed width.

    Files may be compressed: gzip, bzip2, xz, or a zip archive of one member.
    """

    kind: Literal["csv"] = "csv"
    path: str | None = None  # file, folder or glob; relative to the settings file
    form: Literal["long", "wide"] = "long"
    # long: column names of series, day, value. wide: the day column; every other column is a series.
    series_column: str = "series"
    day_column: str = "day"
    value_column: str = "value"
    fixed: FixedWidth | None = None  # instead of separated columns
    day_format: str = "%Y-%m-%d"
    separator: str = ","
    decimal: Literal[".", ","] = "."
    encoding: str = "utf-8"
    unit: Literal["mm", "cm", "m", "in", "ft"]
    nodata: tuple[str, ...] = ("", "NA", "NaN", "nan", "-9999", "-999")

    @field_validator("path")
    @classmethod
    def _from_settings_file(cls, value: str | None) -> str | None:
        return None if value is None else str(resolve(Path(value)))

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either 'path' (file, folder or glob) or 'url'")
        if self.forecast:
            # Its rows say nothing of an issue, and would count as measured.
            raise ValueError("a csv feed brings no forecasts; leave 'forecast' out, or use kind = \"json\"")
        return self
