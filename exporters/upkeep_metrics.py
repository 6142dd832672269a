"""How the map is kept, as Prometheus metrics: when it is due, how the last run ended, disk, clock, acts.

Timestamps, not ages: an age stands still when its teller does, and is then the age of nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric

_PREFIX = "colluvium_"


@dataclass(frozen=True)
class UpkeepFigures:
    """Times are Unix seconds; None: not known, and then absent."""

    clock: float | None = None  # the service's own
    layer_due: float | None = None  # when the map on display becomes old
    refresh_period: float | None = None  # seconds, the longest gap that the schedule leaves
    last_outcome: Mapping[str, bool] = field(default_factory=dict)  # by outcome: how the last refresh ended
    disk_free: float | None = None  # bytes
    disk_size: float | None = None
    acts: Mapping[str, int] = field(default_factory=dict)  # human acts by kind
    region: Mapping[str, str] = field(default_factory=dict)


def upkeep_metrics(figures: UpkeepFigures) -> Iterator[Metric]:
    """Yield what is known."""
    for name, text, value in (
        ("clock_timestamp_seconds", "The service's clock at the scrape.", figures.clock),
        (
            "layer_due_timestamp_seconds",
            "When the map on display becomes old: a newer one should stand there by then.",
            figures.layer_due,
        ),
        (
            "refresh_period_seconds",
            "The longest gap between two scheduled refreshes.",
            figures.refresh_period,
        ),
        ("disk_free_bytes", "Free space of the data folder's disk.", figures.disk_free),
        ("disk_size_bytes", "Size of the data folder's disk.", figures.disk_size),
    ):
        if value is not None:
            family = GaugeMetricFamily(_PREFIX + name, text)
            family.add_metric([], value)
            yield family
    outcome = GaugeMetricFamily(
        f"{_PREFIX}refresh_last_outcome",
        "1 for how the last refresh of the newest nowcast ended, 0 for the others.",
        labels=["outcome"],
    )
    for name, happened in figures.last_outcome.items():
        outcome.add_metric([name], float(happened))
    acts = CounterMetricFamily(f"{_PREFIX}acts", "Human acts in the journal.", labels=["act"])
    for act, count in figures.acts.items():
        acts.add_metric([act], count)
    yield from (outcome, acts)
    if figures.region:
        yield InfoMetricFamily(f"{_PREFIX}region", "The region under watch.", value=dict(figures.region))
