"""A detection as an event of the inventory, and which events it may be."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, datetime

import shapely

from exporters.event import Event
from service.event_places import circle, distance_m, farthest_m, same_ground, shape_of
from service.ledger_detection_rows import KeptDetection

_SAME = 0.5  # of either outline: what covers more is taken for the same landslide
_LEAST_DEGREE_M = 110_000.0  # of latitude, anywhere on Earth


def event_of_detection(
    item: KeptDetection, first: date, last: date, by: str, reason: str, recorded_at: datetime
) -> Event:
    """Return the event of an accepted detection, which happened on one of the days `first` to `last`."""
    return Event(
        uid=item.uid,
        kind="landslide",
        source="detected",
        day_from=first,
        day=last,
        lon=item.lon,
        lat=item.lat,
        accuracy_m=farthest_m(shape_of(item.outline), item.lon, item.lat),
        area_m2=item.area_m2,
        outline=item.outline,
        confidence=item.confidence,
        detector=item.detector.words + (", SYNTHETIC" if item.synthetic else ""),
        scene=item.scene,
        by=by,
        reason=reason,
        recorded_at=recorded_at,
    )


def is_same(one: shapely.Geometry, other: shapely.Geometry) -> bool:
    """Tell whether two outlines may be of one landslide."""
    return same_ground(one, other) > _SAME


def _is_near(event: Event, outline: shapely.Geometry) -> bool:
    """Tell by latitude alone whether an event can lie there: it lies within its accuracy of its place."""
    _, south, _, north = outline.bounds
    return bool(max(south - event.lat, event.lat - north) * _LEAST_DEGREE_M <= event.accuracy_m)


def may_be(event: Event, outline: shapely.Geometry, first: date) -> bool:
    """Tell whether an outline may show a landslide of the inventory again; `first`: of the outline's days."""
    if not _is_near(event, outline):
        return False
    if event.outline is not None:
        return is_same(shape_of(event.outline), outline)
    return event.day >= first and distance_m(outline, event.lon, event.lat) <= event.accuracy_m


def alike(event: Event, among: Iterable[Event]) -> list[Event]:
    """Return the landslides that may be this one: in its days, and at its place as far as both are known."""
    if event.kind != "landslide":
        return []
    ground = _ground_of(event)
    return [
        other
        for other in among
        if other.uid != event.uid
        and other.kind == "landslide"
        and other.day_from <= event.day
        and event.day_from <= other.day
        and abs(other.lat - event.lat) * _LEAST_DEGREE_M <= other.accuracy_m + event.accuracy_m
        and _ground_of(other).intersects(ground)
    ]


def _ground_of(event: Event) -> shapely.Geometry:
    if event.outline is not None:
        return shape_of(event.outline)
    return circle(event.lon, event.lat, event.accuracy_m)
