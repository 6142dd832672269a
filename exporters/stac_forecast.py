"""What sets a forecast apart in STAC: the forecast extension's fields, in items and in the collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import pystac
from pystac.utils import datetime_to_str

from exporters.forecasts import issue_day
from exporters.layer import Layer

# https://github.com/stac-extensions/forecast; PySTAC has no class for it.
SCHEMA = "https://stac-extensions.github.io/forecast/v0.1.0/schema.json"
REFERENCE = "forecast:reference_datetime"
HORIZON = "forecast:horizon"
DURATION = "forecast:duration"


class Entry(Protocol):
    """What the collection's summaries need of an entry."""

    @property
    def reference(self) -> datetime | None: ...
    @property
    def valid_from(self) -> datetime: ...


def reference_of(layer: Layer) -> datetime | None:
    """Return the moment after which a layer's inputs are forecast; None for a nowcast.

    That is the issue of the weather forecast; where the layer does not name one, its own issue day's start.
    """
    if layer.lead == 0:
        return None
    if layer.forecast is not None:
        return layer.forecast.issued_at
    return layer.valid_from - timedelta(days=layer.lead)


def reference_in(properties: Mapping[str, Any]) -> datetime | None:
    """Return the same from an item's properties. Raises ValueError where it is no time."""
    said = properties.get(REFERENCE)
    return None if said is None else datetime.fromisoformat(said)


def describe(item: pystac.Item, layer: Layer) -> None:
    """Add the extension's fields to the item of a forecast; a nowcast's item stays without them.

    `datetime` = reference + horizon. When the layer itself was made, `created` says.
    """
    reference = reference_of(layer)
    if reference is None:
        return
    item.stac_extensions.append(SCHEMA)
    item.properties |= {REFERENCE: _text(reference), DURATION: "P1D"}
    if layer.valid_from >= reference:  # otherwise a hindcast: its day began before its reference
        item.properties[HORIZON] = _duration(layer.valid_from - reference)


def summarise(collection: pystac.Collection, entries: Sequence[Entry]) -> None:
    """Add the range of reference times and the horizons of the forecasts among the entries."""
    found = [(entry.reference, entry.valid_from) for entry in entries if entry.reference is not None]
    if not found:
        return
    collection.stac_extensions.append(SCHEMA)
    references = [reference for reference, _ in found]
    span = pystac.RangeSummary(_text(min(references)), _text(max(references)))
    collection.summaries.add(REFERENCE, span)
    horizons = {begin - reference for reference, begin in found if begin >= reference}
    if horizons:
        collection.summaries.add(HORIZON, [_duration(horizon) for horizon in sorted(horizons)])


def title_of(layer: Layer) -> str:
    """Return what follows the day in a title; nothing for a nowcast."""
    return f", forecast {layer.lead} {'day' if layer.lead == 1 else 'days'} ahead" if layer.lead else ""


def sentences(layer: Layer) -> list[str]:
    """Return what a description says first of a forecast."""
    if layer.lead == 0:
        return []
    return [f"A forecast for {layer.day}, issued on {issue_day(layer)}; it is no map of what was measured."]


def _text(moment: datetime) -> str:
    return datetime_to_str(moment.astimezone(UTC))


def _duration(span: timedelta) -> str:
    """Return an ISO 8601 duration, in whole minutes."""
    hours, seconds = divmod(int(span.total_seconds()), 3600)
    minutes = seconds // 60
    return f"PT{hours}H{minutes}M" if minutes else f"PT{hours}H"
