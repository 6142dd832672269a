"""How answers name a layer in words: a forecast is never named as a map of its day."""

from __future__ import annotations

from exporters.forecasts import issue_day
from exporters.layer import Layer


def day_in_words(layer: Layer) -> str:
    """Return a layer's day; of a forecast, that it is one, and of which issue."""
    if layer.lead == 0:
        return layer.day.isoformat()
    ahead = f"{layer.lead} day{'s' if layer.lead > 1 else ''} ahead"
    return f"{layer.day}, FORECAST {ahead} of {issue_day(layer)}"


def trust_in_words(layer: Layer) -> str:
    """Return how far to trust a layer: its status, and whether it is unconfirmed."""
    return f"{layer.status.value}, unconfirmed" if layer.unconfirmed else layer.status.value
