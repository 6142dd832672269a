"""A toy region whose maps are made on given mornings, and landslides to hold against them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

from exporters.event import Event
from tests.fix_region import ToyRegion
from tests.fix_verify import cell

DAY = date(2026, 3, 8)
PLACE = (20.5, 30.5)


def at(day: date, hour: int = 6) -> datetime:
    return datetime(day.year, day.month, day.day, hour, tzinfo=UTC)


def event(uid: str = "a", day: date = DAY, **changes: Any) -> Event:
    lon, lat = cell(*changes.pop("place", PLACE))
    values: dict[str, Any] = {
        "uid": uid, "kind": "landslide", "source": "added", "day_from": day, "day": day, "lon": lon,
        "lat": lat, "accuracy_m": 40, "by": "A", "reason": "seen", "recorded_at": at(day, 12),
    }  # fmt: skip
    return Event(**(values | changes))


def refresh(toy: ToyRegion, day: date, moment: datetime | None = None) -> str:
    """Make a day's layer at a moment, by default at 6 o'clock of the day; return its id."""
    toy.clock.now = moment or at(day)
    (result,) = toy.refresh(day)
    assert result.layer is not None, result.reason
    return result.layer.id
