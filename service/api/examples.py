"""What answers about places look like, for the readers of the OpenAPI description."""

from __future__ import annotations

from typing import Any

_AREAS = {
    "low": {"area_m2": 9143100.0, "ratio": 0.27382, "change_m2": {"1": 618300.0, "7": -23585400.0}},
    "moderate": {"area_m2": 10149300.0, "ratio": 0.303954, "change_m2": {"1": -131400.0, "7": 9486900.0}},
    "high": {"area_m2": 6726600.0, "ratio": 0.20145, "change_m2": {"1": 358200.0, "7": 6726600.0}},
    "very_high": {"area_m2": 7371900.0, "ratio": 0.220776, "change_m2": {"1": -845100.0, "7": 7371900.0}},
}
_LEVEL = {
    "zone": "W1",
    "name": "West",
    "level": 2,
    "label": "orange",
    "previous": 1,
    "rule": "orange: share at least 10 % and growth at least 7 points over 1 or 7 days",
    "numbers": {"share": 0.422226, "growth_1d": 0.0031, "growth_7d": 0.0912, "unknown": 0.1096},
    "reference_share": 0.331,
    "calm_days": 0,
    "unconfirmed": False,
    "decided_at": "2026-03-31T06:02:11Z",
}
_ZONE = {
    "id": "W1",
    "name": "West",
    "areas": _AREAS,
    "unknown_m2": 4110300.0,
    "high_ratio": 0.422226,
    "warning_level": 2,
    "warning": _LEVEL,
    "label_at": [11.26, 44.13],
    "day": "2026-03-31",
    "lead": 0,
    "layer": "toy-2026-03-31-l0-r1",
}
_OUTLINE = {"type": "Polygon", "coordinates": [[[11.2, 44.1], [11.3, 44.1], [11.3, 44.2], [11.2, 44.1]]]}

ZONES: dict[str, Any] = {
    "type": "FeatureCollection",
    "layer": "toy-2026-03-31-l0-r1",
    "day": "2026-03-31",
    "lead": 0,
    "status": "complete",
    "unconfirmed": False,
    "simplified_to_m": 30.0,
    "levels_missing": None,
    "features": [{"type": "Feature", "id": "W1", "geometry": _OUTLINE, "properties": _ZONE}],
}
ZONE: dict[str, Any] = {
    "type": "Feature",
    "id": "W1",
    "geometry": _OUTLINE,
    "simplified_to_m": 30.0,
    "properties": _ZONE
    | {
        "levels_missing": None,
        "history": [{"day": "2026-03-31", "high_ratio": 0.422226, "status": "complete", "warning_level": 2}],
        "why": {
            "rain_window_mm": 131.05,
            "rain_3d_mm": 0.0,
            "window_days": 30,
            "week_before": {"rain_window_mm": 35.53, "rain_3d_mm": 2.39},
            "points": 40,
        },
        "why_missing": None,
        "leads": [
            {
                "lead": 1,
                "day": "2026-04-01",
                "layer": "toy-2026-04-01-l1-r1",
                "issued_at": "2026-03-31T06:05:40Z",
                "status": "provisional",
                "unconfirmed": False,
                "high_ratio": 0.451038,
                "warning_level": 2,
            }
        ],
        "track_record": None,
        "links": {
            "self": "https://map.example.org/zones/W1?day=2026-03-31",
            "zones": "https://map.example.org/zones?day=2026-03-31",
            "hotspots": "https://map.example.org/hotspots?day=2026-03-31&zone=W1",
            "layer": "https://map.example.org/layers/toy-2026-03-31-l0-r1",
        },
    },
}
WARNINGS: dict[str, Any] = {
    "today": "2026-03-31",
    "behind_days": 0,
    "exercises": [
        {
            "zone": "E1",
            "name": "East",
            "level": 3,
            "label": "red",
            "started_at": "2026-03-31T09:00:00Z",
            "ends_at": "2026-03-31T09:30:00Z",
            "reason": "monthly drill",
        }
    ],
    "layers": [
        {
            "layer": "toy-2026-03-31-l0-r1",
            "day": "2026-03-31",
            "lead": 0,
            "issued_at": "2026-03-31T06:02:11Z",
            "status": "complete",
            "unconfirmed": False,
            "synthetic": False,
            "may_warn": True,
            "levels": [_LEVEL],
            "levels_missing": None,
        }
    ],
    "layers_missing": None,
}
WARNINGS_HISTORY: dict[str, Any] = {
    "since": "2026-03-31",
    "until": "2026-03-31",
    "lead": 0,
    "levels": [
        {
            "day": "2026-03-31",
            "layer": "toy-2026-03-31-l0-r1",
            **{name: _LEVEL[name] for name in ("zone", "name", "level", "unconfirmed", "rule")},
        }
    ],
}
HOTSPOTS: dict[str, Any] = {
    "type": "FeatureCollection",
    "layer": "toy-2026-03-31-l0-r1",
    "day": "2026-03-31",
    "lead": 0,
    "status": "complete",
    "unconfirmed": False,
    "simplified_to_m": 15.0,
    "matched": 1,
    "features": [
        {
            "type": "Feature",
            "id": 1,
            "geometry": _OUTLINE,
            "properties": {
                "id": 1,
                "area_m2": 61200.0,
                "mean": 0.64,
                "maximum": 0.92,
                "growth_m2": 5400.0,
                "first_seen": "2026-03-26",
                "zone": "W1",
                "day": "2026-03-31",
            },
        }
    ],
}
SERIES: dict[str, Any] = {
    "type": "FeatureCollection",
    "withheld": ["dams"],
    "features": [
        {
            "type": "Feature",
            "id": "gauges/rain/north",
            "geometry": {"type": "Point", "coordinates": [11.25, 44.15]},
            "properties": {
                "feed": "gauges",
                "variable": "rain",
                "series": "north",
                "unit": "mm",
                "elevation_m": 812.0,
                "latest": {"day": "2026-03-31", "value": 3.2, "quality": "good", "reason": ""},
                "days": [{"day": "2026-03-30", "value": 0.0}, {"day": "2026-03-31", "value": 3.2}],
            },
        }
    ],
}
STATISTICS: dict[str, Any] = {
    "layer": "toy-2026-03-31-l0-r1",
    "day": "2026-03-31",
    "lead": 0,
    "cells": 14259,
    "known_cells": 14200,
    "area_m2": 12833100.0,
    "unknown_m2": 53100.0,
    "areas": {
        "low": {"area_m2": 11134800.0, "ratio": 0.871268},
        "moderate": {"area_m2": 1223100.0, "ratio": 0.095704},
        "high": {"area_m2": 268200.0, "ratio": 0.020986},
        "very_high": {"area_m2": 153900.0, "ratio": 0.012042},
    },
    "susceptibility": {"mean": 0.025773, "median": 0.004, "max": 0.64},
    "repaired": False,
}
FORECAST_SCORES: dict[str, Any] = {
    "scores": {
        "feed": "open_meteo_forecast",
        "made_at": "2026-03-31T06:05:40Z",
        "since": "2025-12-31",
        "until": "2026-03-30",
        "wet_mm": 10.0,
        "rain": [
            {
                "ahead": 1,
                "days": 58,
                "pairs": 232,
                "hits": 34,
                "misses": 8,
                "false_alarms": 12,
                "forecast_mm": 4.61,
                "observed_mm": 4.12,
                "hit_rate": 0.809524,
                "false_alarm_ratio": 0.26087,
                "bias": 1.118932,
                "factor": 0.8937,
            }
        ],
        "areas": [
            {"lead": 1, "days": 58, "forecast_ratio": 0.4391, "nowcast_ratio": 0.4222, "bias": 1.040028}
        ],
    }
}
POINT: dict[str, Any] = {
    "lon": 11.25,
    "lat": 44.15,
    "where": {
        "row": 256,
        "column": 301,
        "lon": 11.2500841,
        "lat": 44.1499127,
        "cell_size_m": 30.0,
        "inside": True,
        "zone": {"id": "W1", "name": "West"},
        "reservoir": None,
    },
    "layer": {
        "id": "toy-2026-03-31-l0-r1",
        "day": "2026-03-31",
        "lead": 0,
        "status": "complete",
        "unconfirmed": False,
        "notes": [],
        "issued_at": "2026-03-31T06:02:11Z",
        "data_until": "2026-03-30",
        "coverage": 1.0,
        "synthetic": False,
        "model": {"name": "toy", "version": "1", "digest": "69f972a1", "may_warn": False},
        "breaks": [0.2, 0.4, 0.6],
        "forecast": None,
    },
    "value": {"susceptibility": 0.412, "class": "high", "unknown": None},
    "uncertainty": {"spread": 0.048, "members": 4, "factors_outside": False, "window_outside": False},
    "probability": None,
    "forecast_spread": None,
    "past": {
        "days": ["2026-03-29", "2026-03-30", "2026-03-31"],
        "susceptibility": [None, 0.38, 0.412],
        "class": [None, "moderate", "high"],
        "model_changes": [],
    },
    "rank": {"share_below": 1.0, "share_equal": 0.0, "days": 1, "since": "2026-03-30", "other_model_days": 0},
    "window": {
        "days": ["2026-03-28", "2026-03-29", "2026-03-30"],
        "variables": [
            {
                "name": "rain",
                "unit": "mm",
                "values": [0.0, 12.4, 31.7],
                "kinds": ["observed", "filled", "observed"],
                "nearest_gauge": "gauges/north",
                "nearest_gauge_km": 3.1,
                "withheld": None,
            }
        ],
    },
    "window_missing": None,
    "factors": [
        {
            "name": "slope",
            "unit": "degrees",
            "value": 23.1,
            "category": None,
            "minimum": 0.0,
            "maximum": 61.0,
            "outside_range": False,
        },
        {
            "name": "land_use",
            "unit": "",
            "value": None,
            "category": "woodland",
            "minimum": None,
            "maximum": None,
            "outside_range": False,
        },
    ],
    "reasons": {
        "published": 0.412,
        "explained": 0.41183,
        "agrees": True,
        "says": None,
        "parts": {"terrain": 0.21, "rain": 0.20183, "reservoir": None},
        "reference": "Compared with 3 days in which nothing happened: no rain.",
        "change": {
            "since": "2026-03-30",
            "layer": "toy-2026-03-30-l0-r1",
            "before": 0.38,
            "change": 0.032,
            "parts": {"terrain": 0.0, "rain": 0.032, "reservoir": None},
            "says": None,
        },
        "change_missing": None,
    },
    "reasons_missing": None,
    "note": "Susceptibility is an index relative to the model's sampling ratio, not a probability.",
}
