"""What answers about events and verification look like, for the readers of the OpenAPI description."""

from __future__ import annotations

from typing import Any

_RATE = {"value": 0.6667, "low": 0.2077, "high": 0.9385}
_NO_RATE = {"value": None, "low": None, "high": None}
_OUTLINE = {"type": "Polygon", "coordinates": [[[11.2, 44.1], [11.21, 44.1], [11.21, 44.11], [11.2, 44.1]]]}
_BEFORE = {
    "layer": "toy-2026-03-31-l0-r1",
    "issued_at": "2026-03-31T06:02:11Z",
    "hindsight": False,
    "withdrawn": False,
    "susceptibility": 0.712,
    "class": "very_high",
    "rank": 0.961,
    "zone": "W1",
    "level": "orange",
    "why": "",
}

EVENTS: dict[str, Any] = {
    "type": "FeatureCollection",
    "matched": 1,
    "verified_at": "2026-04-02T07:00:00Z",
    "synthetic": False,
    "features": [
        {
            "type": "Feature",
            "id": "b6c0a9d4",
            "geometry": {"type": "Point", "coordinates": [11.204, 44.105]},
            "properties": {
                "uid": "b6c0a9d4",
                "kind": "landslide",
                "source": "detected",
                "day_from": "2026-03-31",
                "day": "2026-03-31",
                "accuracy_m": 85.0,
                "area_m2": 12600.0,
                "outline": _OUTLINE,
                "confidence": 0.87,
                "detector": "unet-resnet34 1 (3f2a91c0)",
                "scene": "S2B_MSIL2A_20260401T100559_N0511_R022_T32TQQ_20260401T140012",
                "recorded_at": "2026-04-01T15:10:00Z",
                "outcome": "hit",
                "before": _BEFORE,
                "missing": None,
            },
        }
    ],
}

_LEVELS = [
    {
        "level": "yellow",
        "hits": 2,
        "misses": 1,
        "false_alarms": 1,
        "rightly_quiet": 6,
        "not_known": 0,
        "not_looked": 3,
        "detection_rate": _RATE,
        "false_alarm_ratio": {"value": 0.3333, "low": 0.0615, "high": 0.7923},
    }
]

VERIFICATION: dict[str, Any] = {
    "verification": {
        "region": "toy",
        "made_at": "2026-04-02T07:00:00Z",
        "since": None,
        "until": None,
        "model": "toy, version 1 (69f972a1)",
        "of": "display",
        "synthetic": False,
        "events": [
            {
                "uid": "b6c0a9d4",
                "source": "detected",
                "day_from": "2026-03-31",
                "day": "2026-03-31",
                "lon": 11.204,
                "lat": 44.105,
                "zone": "W1",
                "outcome": "hit",
                "layer_id": "toy-2026-03-31-l0-r1",
                "issued_at": "2026-03-31T06:02:11Z",
                "hindsight": False,
                "susceptibility": 0.712,
                "class_label": "very_high",
                "rank": 0.961,
                "level": "orange",
                "why": "",
                "withdrawn": False,
            }
        ],
        "hits": 2,
        "misses": 1,
        "undecided": 1,
        "unknown": 0,
        "hit_rate": _RATE,
        "hindsight": 0,
        "looks": 2,
        "classes": [
            {
                "label": "very_high",
                "landslides": 2,
                "landslide_share": 0.62,
                "ground_share": 0.11,
                "frequency_ratio": 5.64,
                "looked_km2_days": 8.4,
                "landslides_looked": 1,
            }
        ],
        "levels": _LEVELS,
        "zones": [
            {
                "zone": "W1",
                "name": "West",
                "landslides": 4,
                "hits": 2,
                "misses": 1,
                "unknown": 1,
                "levels": [_LEVELS[0] | {"false_alarms": 0, "false_alarm_ratio": _NO_RATE}],
            }
        ],
        "duration": {
            "event_classes": ["none", "small", "intermediate", "large"],
            "limits": [0, 1, 2, 5],
            "levels": ["green", "yellow", "orange", "red"],
            "days": [[6, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]],
            "criteria": [
                ["TN", "TN", "FA", "FA"],
                ["CA", "CA", "CA", "FA"],
                ["MA", "CA", "CA", "CA"],
                ["MA", "MA", "CA", "CA"],
            ],
            "indices": {"efficiency": 0.9, "hit_rate": None},
            "not_looked_days": 3.0,
        },
        "curves": [
            {
                "period": "all",
                "landslides": 3,
                "area_share": [0.0, 0.1, 0.5, 1.0],
                "landslide_share": [0.0, 0.6667, 1.0, 1.0],
                "auc": 0.85,
                "auc_low": None,
                "auc_high": None,
            }
        ],
        "reliability": [],
        "notes": ["3 landslides were decided: too few for more than a first look."],
    },
    "missing": None,
}
