"""Where somebody looked, and when: the ground on which an alarm without a landslide is a false one.

A scene counts once a person has closed its review. What was clear in an earlier scene too tells of all days
since that one; other clear ground of the scene's own day alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Any

import shapely

from exporters.event import Event, Look
from service.event_places import circle, shape_of, to_geojson
from service.sqlite import Database
from service.stamps import moment_of

_SEEN = 0.95  # of an outline: so much must have been clear for its ground to count as seen


class Looks:
    """Clear ground of the scenes in ledger.sqlite."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def of_scenes(self, as_of: datetime | None = None) -> list[Look]:
        """Return the clear ground of closed scenes, each part with the days of which it tells."""
        rows = self._db.execute(
            "SELECT * FROM scene WHERE reviewed_at <= ? ORDER BY sensed_on, id", (moment_of(as_of),)
        ).fetchall()
        return [look for row in rows for look in self._of_scene(row)]

    def clear_before(
        self, outline: shapely.Geometry, sensed_on: date, stated: date | None = None
    ) -> date | None:
        """Return the newest day before `sensed_on` on which nearly all of an outline was clear and seen.

        `stated` is the day of the scene before, where somebody named one: it is believed for all ground where
        no scene of that day is known.
        """
        days = (
            day
            for day, seen in self._earlier(sensed_on, stated, outline)
            if outline.intersection(seen).area >= _SEEN * outline.area
        )
        return next(days, None)

    def scene_before(self, sensed_on: date, seen: dict[str, Any]) -> date | None:
        """Return the day of the newest earlier scene that saw some of this ground clear."""
        ground = shape_of(seen)
        earlier = self._earlier(sensed_on, None, ground)
        return next((day for day, other in earlier if not _areal(other.intersection(ground)).is_empty), None)

    def _of_scene(self, row: Any) -> Iterator[Look]:
        sensed_on = date.fromisoformat(row["sensed_on"])
        stated = date.fromisoformat(row["after"]) if row["after"] else None
        left = _areal(_ground(row["seen"]))
        parts: list[tuple[date, shapely.Geometry]] = []
        for day, seen in self._earlier(sensed_on, stated, left):
            if left.is_empty:
                break
            both = _areal(left.intersection(seen))
            if not both.is_empty:
                parts.append((day + timedelta(days=1), both))
                left = _areal(left.difference(seen))
        if not left.is_empty:
            parts.append((sensed_on, left))
        for number, (first, ground) in enumerate(parts, start=1):
            yield Look(
                uid=f"scene {row['scene']} {row['detector_digest'][:8]} {number}",
                source="detected",
                day_from=first,
                day=sensed_on,
                area=to_geojson(ground),
                by=row["by_whom"],
            )

    def _earlier(
        self, day: date, stated: date | None, everywhere: shapely.Geometry
    ) -> Iterator[tuple[date, shapely.Geometry]]:
        """Yield days before a day with the ground that was clear on them, newest first."""
        rows = self._db.execute(
            "SELECT id, sensed_on FROM scene WHERE sensed_on < ? ORDER BY sensed_on DESC, id",
            (day.isoformat(),),
        ).fetchall()
        scenes = [(date.fromisoformat(row["sensed_on"]), row["id"]) for row in rows]
        if stated is not None and all(sensed_on != stated for sensed_on, _ in scenes):
            scenes = [(sensed_on, number) for sensed_on, number in scenes if sensed_on > stated]
        else:
            stated = None
        # One by one: whoever asks has mostly seen enough after a few.
        for sensed_on, number in scenes:
            yield sensed_on, self._clear_of(number)
        if stated is not None:
            yield stated, everywhere

    def _clear_of(self, number: int) -> shapely.Geometry:
        row = self._db.execute("SELECT seen FROM scene WHERE id = ?", (number,)).fetchone()
        return _ground(row["seen"])


def look_of(visit: Event) -> Look:
    """Return what a visit on which nothing was seen looked at: its outline, or all within its accuracy."""
    area = visit.outline or to_geojson(circle(visit.lon, visit.lat, visit.accuracy_m))
    return Look(
        uid=visit.uid,
        source=visit.source,
        day_from=visit.day_from,
        day=visit.day,
        area=area,
        by=visit.by,
    )


@lru_cache(maxsize=64)
def _ground(text: str) -> shapely.Geometry:
    """Return clear ground; the same scenes are asked for outline after outline."""
    shape = shape_of(json.loads(text))
    shapely.prepare(shape)
    return shape


def _areal(shape: shapely.Geometry) -> shapely.Geometry:
    """Return what of a geometry has an area: where two outlines only touch there is none."""
    parts = shapely.get_parts(shape)
    return shapely.MultiPolygon([part for part in parts if isinstance(part, shapely.Polygon)])
