"""Figures of forecast layers as Prometheus metrics, by lead.

Class areas of forecasts stand beside those of the nowcast, under the same names with their lead
(exporters.metrics); what is here has no counterpart there. A forecast that is no longer current is absent,
but for the moment of its issue, so that an alert can tell how long there was none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client.core import GaugeMetricFamily, Metric

from exporters.layer import Layer, LayerStatus

_PREFIX = "colluvium_"


@dataclass(frozen=True)
class RainScoreFigures:
    """How forecast rain held `ahead` days after its issue's own day; None where too little came to tell."""

    ahead: int
    days: int
    hit_rate: float | None
    false_alarm_ratio: float | None
    bias: float | None  # forecast over measured rain
    factor: float | None  # what rain is multiplied by against that


@dataclass(frozen=True)
class AreaScoreFigures:
    """High and very high area of the forecasts of a lead, over that of the nowcasts of the same days."""

    lead: int
    days: int
    bias: float | None


@dataclass(frozen=True)
class ForecastFigures:
    """Everything that /metrics says of forecasts."""

    layers: Sequence[Layer] = ()  # the current ones, by lead
    issued: Mapping[int, datetime] = field(default_factory=dict)  # by lead: when the last one was made
    rain_scores: Sequence[RainScoreFigures] = ()
    area_scores: Sequence[AreaScoreFigures] = ()


def forecast_metrics(figures: ForecastFigures) -> Iterator[Metric]:
    """Yield what is known of forecasts; a region that makes none yields empty families."""
    issued = _gauge("forecast_issued_timestamp_seconds", "When the newest forecast of a lead was made.")
    for lead, moment in sorted(figures.issued.items()):
        issued.add_metric([str(lead)], moment.timestamp())
    yield issued
    yield from _current(figures.layers)
    yield from _rain_scores(figures.rain_scores)
    yield from _area_scores(figures.area_scores)


def _current(layers: Sequence[Layer]) -> Iterator[Metric]:
    day = _gauge("forecast_day_timestamp_seconds", "Start of the day that the current forecast is for.")
    reference = _gauge(
        "forecast_reference_timestamp_seconds", "When the weather forecast behind the current one was issued."
    )
    coverage = _gauge(
        "forecast_window_observed_ratio", "Coverage of the windows behind the current forecast."
    )
    members = _gauge("forecast_members", "Members of the weather forecast behind the current forecast.")
    unconfirmed = _gauge("forecast_unconfirmed", "1 where the current forecast is unconfirmed, otherwise 0.")
    status = GaugeMetricFamily(
        f"{_PREFIX}forecast_status",
        "1 for the status of the current forecast, 0 for the others.",
        labels=["lead", "status"],
    )
    for layer in layers:
        lead = str(layer.lead)
        day.add_metric([lead], layer.valid_from.timestamp())
        coverage.add_metric([lead], layer.coverage)
        unconfirmed.add_metric([lead], float(layer.unconfirmed))
        for one in LayerStatus:
            status.add_metric([lead, one.value], float(one == layer.status))
        if layer.forecast is not None:
            reference.add_metric([lead], layer.forecast.issued_at.timestamp())
            members.add_metric([lead], layer.forecast.members)
    yield from (day, reference, coverage, members, unconfirmed, status)


def _rain_scores(scores: Sequence[RainScoreFigures]) -> Iterator[Metric]:
    for name, text, values in (
        ("days", "Days on which forecast rain could be held against what came.", [s.days for s in scores]),
        ("hit_rate", "Share of wet places and days that were forecast.", [s.hit_rate for s in scores]),
        (
            "false_alarm_ratio",
            "Share of places and days forecast as wet that stayed dry.",
            [s.false_alarm_ratio for s in scores],
        ),
        ("bias_ratio", "Forecast rain over measured rain.", [s.bias for s in scores]),
        ("factor", "What forecast rain is multiplied by against its bias.", [s.factor for s in scores]),
    ):
        family = _gauge(f"forecast_rain_{name}", text, "ahead")
        for score, value in zip(scores, values, strict=True):
            if value is not None:
                family.add_metric([str(score.ahead)], value)
        yield family


def _area_scores(scores: Sequence[AreaScoreFigures]) -> Iterator[Metric]:
    days = _gauge("forecast_high_area_days", "Days whose forecast could be held against their nowcast.")
    bias = _gauge(
        "forecast_high_area_bias_ratio",
        "High and very high area, forecast over what the nowcasts of the same days showed.",
    )
    for score in scores:
        days.add_metric([str(score.lead)], score.days)
        if score.bias is not None:
            bias.add_metric([str(score.lead)], score.bias)
    yield from (days, bias)


def _gauge(name: str, text: str, label: str = "lead") -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=[label])
