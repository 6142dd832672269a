"""How the challenger is kept, as Prometheus metrics: of its maps themselves nothing is shown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_PREFIX = "colluvium_challenger_"


@dataclass(frozen=True)
class ChallengerFigures:
    """Times are Unix seconds; None: there is none yet."""

    name: str
    version: str
    digest: str
    serves: bool  # it was promoted
    newest_day: float | None  # start of the day of its newest layer
    last_success: float | None
    outcomes: Mapping[str, int]


def challenger_metrics(figures: ChallengerFigures | None) -> Iterator[Metric]:
    """Yield them; nothing where the settings name no challenger."""
    if figures is None:
        return
    info = GaugeMetricFamily(
        f"{_PREFIX}info",
        "The bundle whose layers are made and not shown.",
        labels=["name", "version", "digest", "serves"],
    )
    info.add_metric([figures.name, figures.version, figures.digest, str(figures.serves).lower()], 1)
    yield info
    for name, text, value in (
        ("layer_day_timestamp_seconds", "Start of the day of its newest layer.", figures.newest_day),
        ("last_success_timestamp_seconds", "When its newest layer was made.", figures.last_success),
    ):
        if value is not None:
            gauge = GaugeMetricFamily(f"{_PREFIX}{name}", text)
            gauge.add_metric([], value)
            yield gauge
    runs = CounterMetricFamily(f"{_PREFIX}runs", "Its layers by how they ended.", labels=["outcome"])
    for outcome, count in figures.outcomes.items():
        runs.add_metric([outcome], count)
    yield runs
