"""Settings of feeds whose replies are JSON."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

import jmespath
from jmespath.exceptions import JMESPathError
from pydantic import AfterValidator, Field, field_validator, model_validator

from service.settings_base import FilePath, Section, resolve
from service.settings_series import Count, FeedWithSeries


def _compiles(value: str) -> str:
    try:
        jmespath.compile(value)
    except JMESPathError as error:
        raise ValueError(f"{value!r} is no JMESPath expression: {error}") from error
    return value


Expression = Annotated[str, AfterValidator(_compiles)]


class Paging(Section):
    """How a reply goes on: by an address in it, or by a number in the query. Neither: it does not."""

    next: Expression | None = None  # of the next page's address in a reply; nothing there: that was the last
    parameter: str | None = None  # of the query: the page's number, or the first item's
    first: int = 1  # its value for the first page
    step: Count = 1  # from page to page
    page_size: Count | None = None  # a page with fewer groups is the last; default: an empty one
    at_most: Count = 200  # pages of one request; more is an error, nothing is cut in silence

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if self.next is not None and self.parameter is not None:
            raise ValueError("give either 'next' or 'parameter'")
        return self


class JsonFeed(FeedWithSeries):
    """An HTTP API, or files, of JSON; JMESPath picks what is in them.

    A reply holds groups, each of one series: what is said of a series (its id, unit, position) is looked for
    in a group. A group holds records, one a day; or, in the form `columns`, arrays of days and of values.
    Where every record names its series, let `groups` find the records: a record's group is itself then.
    """

    kind: Literal["json"]
    path: str | None = None  # file, folder or glob instead of a URL; relative to the settings file
    form: Literal["records", "columns"] = "records"
    paging: Paging = Paging()
    groups: Expression = "[@]"  # in the reply; default: the reply is one group
    records: Expression = "[@]"  # in a group, form `records`
    # In a group. Default: the place that was asked for; a reply for several has its groups in their order.
    series: Expression | None = None
    day: Expression  # in a record; form `columns`: the array, in a group
    day_format: str = "%Y-%m-%d"  # or "epoch": seconds since 1970, UTC
    value: Expression | None = None  # in a record; form `columns`: the array, in a group
    # Ensembles. Form `records`: the member's number, in a record. Form `columns`: in a group, the object
    # whose keys match `member_pattern`; its group is the number, and without one the key is member 0.
    member: Expression | None = None
    members: Expression | None = None
    member_pattern: str | None = None
    unit: Literal["mm", "cm", "m", "in", "ft", "acre-ft", "hm3"]  # volumes need a rating_file
    unit_stated: Expression | None = None  # in a group: it must be `unit` or one of unit_names
    unit_names: tuple[str, ...] = ()  # how the reply may write it
    decimal: Literal[".", ","] = "."
    nodata: tuple[str, ...] = ("", "NA", "NaN", "nan", "-9999", "-999")
    quality: Expression | None = None  # in a record: a flag or a list of flags; blank is none
    quality_refused: tuple[str, ...] = ()  # flags by which the source itself doubts the value
    quality_accepted: tuple[str, ...] | None = None  # where given, any other flag is refused
    version: Expression | None = None  # in a group: the product's version
    issued_at: Expression | None = None  # in a group: when a forecast was made; default: the time of fetching
    only_ended_days: bool = False  # leave out days that have not ended: what is said of them is a guess
    # In a group; of the position, EPSG:4326, and the operating range in `unit`.
    lon: Expression | None = None
    lat: Expression | None = None
    elevation: Expression | None = None  # m
    lowest: Expression | None = None
    highest: Expression | None = None
    place_tolerance_degrees: Annotated[float, Field(ge=0)] = (
        0.5  # a reply may stand this far from the place that was asked for
    )
    # Volumes into levels: a table of series, volume (in `unit`) and level (m above sea level).
    rating_file: FilePath | None = None

    @field_validator("path")
    @classmethod
    def _from_settings_file(cls, value: str | None) -> str | None:
        return None if value is None else str(resolve(Path(value)))

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if (self.path is None) == (self.url is None):
            raise ValueError("give either 'url' or 'path' (file, folder or glob)")
        if (self.lon is None) != (self.lat is None):
            raise ValueError("'lon' and 'lat' belong together")
        if self.members is not None:
            if self.form != "columns" or self.member_pattern is None or self.value is not None:
                raise ValueError(
                    "'members' needs form = \"columns\" and 'member_pattern', and replaces 'value'"
                )
            if re.compile(self.member_pattern).groups != 1:
                raise ValueError("'member_pattern' needs one group, in parentheses: the member's number")
        elif self.value is None:
            raise ValueError("'value' is missing: the expression of the value")
        if self.member is not None and self.form != "records":
            raise ValueError("'member' is for form = \"records\"; for \"columns\" use 'members'")
        if (self.member or self.members or self.issued_at) and not self.forecast:
            raise ValueError("members and issue times belong to forecasts: set forecast = true")
        if (self.unit in ("acre-ft", "hm3")) != (self.rating_file is not None):
            raise ValueError(
                "volumes and 'rating_file' belong together: a volume is not a level, and a table of "
                "series, volume and level makes it one"
            )
        return self

    @field_validator("member_pattern")
    @classmethod
    def _is_pattern(cls, value: str | None) -> str | None:
        try:
            re.compile(value or "")
        except re.error as error:
            raise ValueError(f"{value!r} is no regular expression: {error}") from error
        return value
