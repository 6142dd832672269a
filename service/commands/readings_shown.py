"""How the commands about readings name, print and parse them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import click

from service.raster_rows import RasterRow
from service.reading_values import Reading, SeriesDay, Suspect

VARIABLES = {"rain": "mm", "level": "m"}
RASTER = "r"  # before the number of a raster's day
_LARGEST = 2**63 - 1  # row of a database


class Numbered(NamedTuple):
    """A number as --suspect shows it: 17 of a reading, r17 of a raster's day."""

    number: int
    is_raster: bool


class Number(click.ParamType[Numbered]):
    """A number of the first column of `colluvium readings --suspect`."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Numbered:
        """Parse a number or fail with what was expected."""
        if isinstance(value, Numbered):
            return value
        digits = str(value).removeprefix(RASTER)
        if not digits.isdecimal() or int(digits) > _LARGEST:
            self.fail(f"{value!r} is not a number such as 17, or r17 of a raster's day", param, ctx)
        return Numbered(int(digits), str(value).startswith(RASTER))


class Place(click.ParamType[tuple[str, str]]):
    """A series as FEED/SERIES; a raster product by its feed alone."""

    name = "series"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        """Split at the first slash: names of feeds have none."""
        if isinstance(value, tuple):
            return value
        feed, _, series = str(value).partition("/")
        if not feed:
            self.fail(f"{value!r} is not FEED/SERIES such as gauges/A7", param, ctx)
        return feed, series


NUMBER, PLACE = Number(), Place()


def named(item: Reading | SeriesDay) -> str:
    """Return feed/series (variable)."""
    return f"{item.feed}/{item.series} ({item.variable})"


def amount(item: Reading) -> str:
    """Return the value with its unit."""
    return f"{item.value:g} {VARIABLES.get(item.variable, '')}".rstrip()


def line_of_suspect(item: Suspect) -> str:
    """Return a doubted value in one line, with what was decided."""
    unit = VARIABLES.get(item.at.variable, "")
    said = f" [{item.decided} by {item.by}: {item.why}]" if item.decided else ""
    kind = "  may be a true extreme" if item.extreme else ""
    return f"{item.at.day}  {named(item.at)}  {item.value:g} {unit}{kind}{said}"


def moment_text(moment: datetime | None) -> str:
    """Return a moment to the minute, in UTC."""
    return f"{moment:%Y-%m-%dT%H:%MZ}" if moment else "?"


def reading_json(item: Reading) -> dict[str, Any]:
    """Return a reading as JSON values."""
    return {
        "number": item.row,
        "feed": item.feed,
        "variable": item.variable,
        "series": item.series,
        "day": item.day.isoformat(),
        "value": item.value,
        "unit": VARIABLES.get(item.variable, ""),
        "quality": item.quality.value,
        "reason": item.reason,
        "known_at": item.known_at.isoformat() if item.known_at else None,
        "known_at_assumed": item.known_at_assumed,
        "issued_at": item.issued_at.isoformat() if item.issued_at else None,
        "member": item.member,
        "product_version": item.product_version,
    }


def suspect_json(item: Suspect) -> dict[str, Any]:
    """Return a doubted value as JSON values."""
    return {
        "number": item.number,
        "feed": item.at.feed,
        "variable": item.at.variable,
        "series": item.at.series,
        "day": item.at.day.isoformat(),
        "value": item.value,
        "unit": VARIABLES.get(item.at.variable, ""),
        "known_at": item.known_at.isoformat(),
        "extreme": item.extreme,
        "findings": [
            {"check": finding.check, "detail": finding.detail, "extreme": finding.extreme}
            for finding in item.findings
        ],
        "decided": item.decided,
        "by": item.by,
        "why": item.why,
    }


def raster_json(row: RasterRow) -> dict[str, Any]:
    """Return a row of a raster product as JSON values."""
    return {
        "number": f"{RASTER}{row.number}",
        "feed": row.feed,
        "variable": row.variable,
        "day": row.day.isoformat(),
        "quality": row.quality.value,
        "reason": row.reason,
        "known_at": row.known_at.isoformat(),
        "product_version": row.version,
        "digest": row.digest,
        "source": row.source,
    }
