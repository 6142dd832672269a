"""The dashboard of the model: which one serves, does it drift, is it asked what it never saw, how fast?"""

from __future__ import annotations

from panels import BLUE, GREEN, ORANGE, RED, YELLOW, Panel, Query, Row, dashboard

R = '{region="$region"}'
_NO_MAP = "no map was ever made"
_NO_SCORE = "too few days have passed to hold a forecast against what came"

_WHICH = Row("Which model", [
    Panel(
        "Model behind the newest map", "name, version and digest of the bundle, where it runs, and whether "
        "it may warn.",
        [Query(f"colluvium_model_info{R}")], "short", "table", base=BLUE, empty=_NO_MAP, width=16, height=6,
    ),
    Panel(
        "Runs on", "cpu where gpu was meant: see `colluvium doctor`.",
        [Query(f"colluvium_model_info{R}", "{{device}}: {{provider}}")], "short", "stat", base=BLUE,
        empty=_NO_MAP, width=8, height=6, field_shown="name",
    ),
    Panel(
        "Models over time", "Each bar is a model. Figures on either side of a change do not compare, and "
        "growth is not counted across it.",
        [Query(f"colluvium_model_info{R}", "{{name}} {{version}} {{digest}}")], "short", "state-timeline",
        [(1, BLUE)], words={1: ("serves", BLUE)}, empty=_NO_MAP, width=24, height=6,
    ),
])  # fmt: skip

_DRIFT = Row("Drift", [
    Panel(
        "Unlike the training years", "Population stability index of the map against the kind of day of the "
        "model card that it resembles most: 0 is the same, above 0.1 worth a look, above 0.25 no day of the "
        "training years looked like this. First suspect the feeds, then the factors, last the "
        "weather itself.",
        [
            Query(f"colluvium_output_stability_index{R}", "index"),
            Query('max(colluvium:threshold{name="output_stability"})', "alert above"),
        ],
        "short", steps=[(0.1, YELLOW), (0.25, RED)], limits=(0, None), colours={"alert above": RED},
        empty="the bundle has no reference of its output, or too little of the map is known to compare",
        width=12,
    ),
    Panel(
        "Share of the map outside the training ranges", "Known cells with a factor, or a window with a "
        "value, that the model never saw in training. There its figures are guesses; after a record rain "
        "that is to be expected for a window's length.",
        [
            Query(f"colluvium_outside_training_ratio{R}", "outside"),
            Query('max(colluvium:threshold{name="outside_training"})', "alert above"),
        ],
        "percentunit", steps=[(0.1, YELLOW), (0.2, RED)], limits=(0, 1), colours={"alert above": RED},
        empty=_NO_MAP, width=12,
    ),
])  # fmt: skip

_SPEED = Row("Speed", [
    Panel(
        "Ground mapped in a second", "Known ground of the newest map by the seconds of its head stage, which "
        "is the model's own. Compare with the days before, not with another machine.",
        [Query(
            'sum(colluvium_class_area_square_meters{region="$region", lead="0"}) / 1e6'
            ' / sum(colluvium_refresh_stage_duration_seconds{region="$region", stage="head"})',
            "km2 in a second",
        )],
        "short", steps=[(1, GREEN)], base=YELLOW, limits=(0, None), empty=_NO_MAP,
    ),
    Panel(
        "Seconds of a refresh", "Of the newest successful one, all stages.",
        [Query(f"colluvium_refresh_duration_seconds{R}", "refresh")], "s",
        steps=[(600, YELLOW), (1800, RED)], limits=(0, None), empty="no refresh has succeeded yet",
    ),
    Panel(
        "Cells mapped in a day", "Of all layers published: forecasts and backfills too.",
        [Query(f"increase(colluvium_refresh_cells_total{R}[1d])", "cells")], "short", bars=True, base=BLUE,
        limits=(0, None),
    ),
])  # fmt: skip

_FORECASTS = Row("How past forecasts held", [
    Panel(
        "Rain: hits and false alarms", "Hits: share of wet places and days that were forecast. False alarms: "
        "share of those forecast as wet that stayed dry.",
        [
            Query(f"colluvium_forecast_rain_hit_rate{R}", "hits, {{ahead}} days ahead"),
            Query(f"colluvium_forecast_rain_false_alarm_ratio{R}", "false alarms, {{ahead}} days ahead"),
        ],
        "percentunit", base=BLUE, limits=(0, 1), empty=_NO_SCORE, width=12,
    ),
    Panel(
        "Bias", "Rain and high ground, forecast over what came; 1 is right. The factor is what forecast rain "
        "is multiplied by against its bias.",
        [
            Query(f"colluvium_forecast_rain_bias_ratio{R}", "rain, {{ahead}} days ahead"),
            Query(f"colluvium_forecast_rain_factor{R}", "factor, {{ahead}} days ahead"),
            Query(f"colluvium_forecast_high_area_bias_ratio{R}", "high ground, {{lead}} days ahead"),
        ],
        "short", steps=[(0.5, GREEN), (2, ORANGE)], base=ORANGE, limits=(0, None), empty=_NO_SCORE, width=12,
    ),
    Panel(
        "Members of the forecast", "One member knows no spread.",
        [Query(f"colluvium_forecast_members{R}", "{{lead}} days ahead")], "short", steps=[(5, GREEN)],
        base=YELLOW, limits=(0, None), empty="no forecast is current", width=12,
    ),
    Panel(
        "Days behind these scores", "Few days say little.",
        [
            Query(f"colluvium_forecast_rain_days{R}", "rain, {{ahead}} days ahead"),
            Query(f"colluvium_forecast_high_area_days{R}", "high ground, {{lead}} days ahead"),
        ],
        "short", steps=[(30, GREEN)], base=YELLOW, limits=(0, None), empty=_NO_SCORE, width=12,
    ),
])  # fmt: skip

DASHBOARD = dashboard(
    "colluvium-model",
    "Colluvium: the model",
    "Which model serves, whether its maps drift from the model card, and how fast it is.",
    [_WHICH, _DRIFT, _SPEED, _FORECASTS],
)
