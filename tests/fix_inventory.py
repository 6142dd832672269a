"""Scenes and what a detector found in them, made on demand: squares in degrees, no pixels."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import shapely

from exporters.event import Event
from service.detection.findings import Detection, DetectorReference, SceneFindings

DETECTOR = DetectorReference("unet", "1", "d" * 64, synthetic=False)
SENSED = date(2023, 5, 23)
DETECTED = datetime(2023, 5, 24, 6, tzinfo=UTC)
STEP = 0.001  # degrees: an outline's side


def square(x: float, y: float, side: float = STEP) -> dict[str, Any]:
    """Return a square whose lower left corner is (x, y), in degrees."""
    return dict(json.loads(shapely.to_geojson(shapely.box(x, y, x + side, y + side))))


def outline(
    number: int, scene: str = "a", x: float | None = None, y: float = 44.0, **changes: Any
) -> Detection:
    """Return an outline: number 1 lies a step east of number 0."""
    left = 11.0 + number * 2 * STEP if x is None else x
    given: dict[str, Any] = {
        "uid": f"{scene}-{number}",
        "outline": square(left, y),
        "lon": left + STEP / 2,
        "lat": y + STEP / 2,
        "area_m2": 8_900.0,
        "confidence": 0.5 + number / 100,
        "highest": 0.9,
        "touches_unseen": False,
    }
    return Detection(**(given | changes))


def findings(
    scene: str = "a",
    outlines: Sequence[Detection] | int = 2,
    *,
    sensed_on: date = SENSED,
    after: date | None = SENSED - timedelta(days=5),
    seen: dict[str, Any] | None = None,
    detector: DetectorReference = DETECTOR,
    folder: Path = Path("/data/detections"),
    **changes: Any,
) -> SceneFindings:
    """Return what a detector found in a scene that saw a tenth of a degree around the outlines."""
    found = (
        tuple(outline(n, scene) for n in range(outlines)) if isinstance(outlines, int) else tuple(outlines)
    )
    given: dict[str, Any] = {
        "scene": scene,
        "path": Path("/scenes") / f"{scene}.SAFE",
        "sensed_on": sensed_on,
        "after": after,
        "detector": detector,
        "threshold": 0.5,
        "detected_at": DETECTED,
        "seen": seen or {"type": "MultiPolygon", "coordinates": [square(10.95, 43.95, 0.2)["coordinates"]]},
        "seen_share": 0.8,
        "substituted": {},
        "detections": found,
        "folder": folder / scene,
    }
    return SceneFindings(**(given | changes))


def event(uid: str = "e", **changes: Any) -> Event:
    """Return a landslide that somebody added."""
    given: dict[str, Any] = {
        "uid": uid,
        "kind": "landslide",
        "source": "added",
        "day_from": date(2023, 5, 16),
        "day": date(2023, 5, 16),
        "lon": 11.0005,
        "lat": 44.0005,
        "accuracy_m": 50.0,
        "by": "A. Rossi",
        "reason": "seen on the road",
        "recorded_at": DETECTED,
    }
    return Event(**(given | changes))
