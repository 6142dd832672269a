"""Levels of zones, drills and messages sent as Prometheus metrics.

A level that is not known is absent: no figure stands for it, least of all 0. Where the model may warn,
`zone_warning_unknown` then says so, so that silence can be told from calm.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from exporters.layer import Layer

_PREFIX = "colluvium_"


@dataclass(frozen=True)
class ExerciseFigures:
    """A drill that runs: the level that its zone plays."""

    zone: str
    level: int


@dataclass(frozen=True)
class SentFigures:
    """CAP messages of one kind (Alert, Update, Cancel) and status (Draft, Test, Exercise, Actual)."""

    kind: str
    status: str
    messages: int


@dataclass(frozen=True)
class WarningFigures:
    """What /metrics says of warnings beside the levels, which the layers carry."""

    decided: bool = True  # False: the settings ask for no levels, and none is missed
    exercises: Sequence[ExerciseFigures] = ()
    sent: Sequence[SentFigures] = ()


@dataclass(frozen=True)
class ShownZones:
    """The zones that get series of their own, by id, with their names."""

    names: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, layers: Sequence[Layer], at_most: int) -> ShownZones:
        """Take the first zones of the layers; all families then bound the same ones."""
        names = {item.zone: item.name for layer in layers for item in layer.areas if item.zone}
        return cls(dict(list(names.items())[:at_most]))


def warning_metrics(figures: WarningFigures, layers: Sequence[Layer], shown: ShownZones) -> Iterator[Metric]:
    """Yield the levels of the layers on display, the drills that run, and what was sent."""
    level = _gauge(
        "zone_warning_level",
        "Warning level of a zone: 0 green, 1 yellow, 2 orange, 3 red.",
        ["zone", "lead"],
    )
    unknown = _gauge(
        "zone_warning_unknown", "1 for a zone without a level although the model may warn.", ["zone", "lead"]
    )
    names = _gauge("zone_info", "The name of a zone.", ["zone", "name"])
    for zone, name in shown.names.items():
        names.add_metric([zone, name], 1.0)
    for layer in layers:
        lead = str(layer.lead)
        known = {item.zone: item.level for item in layer.warnings if item.level is not None}
        # Neither a level nor its lack is left out for its zone's place in the list.
        for zone, value in known.items():
            level.add_metric([zone, lead], float(value))
        if layer.model.may_warn and figures.decided:
            # A region without zones is judged as one, of no name.
            asked = (shown.names.keys() or {""}) | {item.zone for item in layer.warnings}
            for zone in sorted(asked - known.keys()):
                unknown.add_metric([zone, lead], 1.0)
    exercise = _gauge("exercise_level", "Level that a zone plays in a drill that runs now.", ["zone"])
    played: dict[str, int] = {}
    for drill in figures.exercises:
        played[drill.zone] = max(drill.level, played.get(drill.zone, 0))
    for zone, height in played.items():
        exercise.add_metric([zone], float(height))
    sent = CounterMetricFamily(f"{_PREFIX}cap_messages", "CAP messages made.", labels=["kind", "status"])
    for entry in figures.sent:
        sent.add_metric([entry.kind, entry.status], entry.messages)
    yield from (level, unknown, names, exercise, sent)


def _gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)
