"""Addresses and queries with what is asked for filled in: places, days, the region's bounds."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from string import Formatter
from urllib.parse import quote

PLACE_NAMES = ("series", "lat", "lon")
NAMES = (
    *PLACE_NAMES,
    "since",  # days; a format may follow, as in {since:%d.%m.%Y}
    "until",
    "today",
    "past_days",  # whole days from `since` to today
    "forecast_days",
    "timezone",  # the feed's, as Europe/Rome
    "west",  # the region's bounds, degrees of EPSG:4326
    "south",
    "east",
    "north",
)

Value = str | int | float | date


def check_template(template: str) -> None:
    """Raise ValueError where a template cannot be filled, naming what is wrong and what there is."""
    for name, form in _fields(template):
        if name not in NAMES:
            raise ValueError(f"there is nothing to fill {{{name}}} with; there are {', '.join(NAMES)}")
        if form and name not in ("since", "until", "today"):
            raise ValueError(f"a format may follow a day, and {{{name}}} is none")


def names_in(*templates: str) -> frozenset[str]:
    """Return the names that templates ask for."""
    return frozenset(name for template in templates for name, _ in _fields(template))


def fill(template: str, values: Mapping[str, Value]) -> str:
    """Return a template with its names filled."""
    return template.format_map({name: values[name] for name in names_in(template)})


def fill_url(template: str, values: Mapping[str, Value]) -> str:
    """Return an address with its names filled, each safe as a part of a path."""
    texts = {name: _Quoted(values[name]) for name in names_in(template)}
    return template.format_map(texts)


class _Quoted:
    def __init__(self, value: Value) -> None:
        self._value = value

    def __format__(self, form: str) -> str:
        return quote(format(self._value, form), safe=",")


def _fields(template: str) -> list[tuple[str, str]]:
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"{template!r} is no template: {error}; write {{{{ for a brace") from error
    found = []
    for _, name, form, conversion in parts:
        if name is None:
            continue
        if conversion or "{" in (form or ""):
            raise ValueError(f"{{{name}}} takes a name and a format for days, and nothing more")
        found.append((name, form or ""))
    return found
