"""How the map did, and what detection waits for, as Prometheus metrics.

Absent until known: before the first verification there are no misses, and that is not the same as none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from prometheus_client.core import GaugeMetricFamily, Metric

from exporters.verification import RateCurve, Verification

_PREFIX = "colluvium_"
_CASES: Final = ("hits", "misses", "false_alarms", "rightly_quiet", "not_known", "not_looked")


@dataclass(frozen=True)
class DetectionFigures:
    """Scenes and detections. Times are Unix seconds; None: there is none."""

    scenes: Mapping[str, int] = field(default_factory=dict)  # by outcome: reviewed, waiting, unusable
    detections: Mapping[str, int] = field(default_factory=dict)  # by state: proposed, accepted, rejected
    newest_scene: float | None = None  # start of the day on which it was sensed
    waiting_since: float | None = None  # when the scene that waits longest for a person was looked at


def verification_metrics(verification: Verification | None) -> Iterator[Metric]:
    """Yield the newest record of what was on display; nothing before the first."""
    if verification is None:
        return
    made = _gauge("verification_last_timestamp_seconds", "When events were last held against the maps.")
    made.add_metric([], verification.made_at.timestamp())
    events = _gauge("verification_events", "Landslides by what the map before them showed.", ["outcome"])
    for outcome, count in (
        ("hit", verification.hits),
        ("miss", verification.misses),
        ("undecided", verification.undecided),
        ("unknown", verification.unknown),
    ):
        events.add_metric([outcome], count)
    hindsight = _gauge(
        "verification_hindsight_events", "Landslides that only a map made later could be held against."
    )
    hindsight.add_metric([], verification.hindsight)
    looks = _gauge("verification_looks", "Scenes and visits in which somebody looked for landslides.")
    looks.add_metric([], verification.looks)
    cases = _gauge(
        "verification_level_cases",
        "Zones' spans of days by a warning level (or a higher one) and how it did.",
        ["level", "case"],
    )
    for tally in verification.levels:
        for case in _CASES:
            cases.add_metric([tally.level, case], getattr(tally, case))
    yield from (made, events, hindsight, looks, cases)
    ratio = verification.hit_rate
    for name, text, value in (
        ("verification_hit_ratio", "Share of decided landslides on high or very high ground.", ratio.value),
        ("verification_hit_ratio_low", "Lower end of its 95 % interval.", ratio.low),
        ("verification_hit_ratio_high", "Upper end of its 95 % interval.", ratio.high),
        (
            "verification_curve_auc",
            "Area under the success rate curve of all days.",
            _auc(verification.curves),
        ),
    ):
        if value is not None:
            family = _gauge(name, text)
            family.add_metric([], value)
            yield family


def detection_metrics(figures: DetectionFigures | None) -> Iterator[Metric]:
    """Yield what is known of scenes and detections; None: no scene was ever looked at."""
    if figures is None:
        return
    scenes = _gauge("detection_scenes", "Satellite scenes by what became of them.", ["outcome"])
    for outcome, count in figures.scenes.items():
        scenes.add_metric([outcome], count)
    detections = _gauge(
        "detection_outlines", "Outlines that detectors drew, by what a person said.", ["state"]
    )
    for state, count in figures.detections.items():
        detections.add_metric([state], count)
    yield from (scenes, detections)
    for name, text, value in (
        (
            "detection_newest_scene_timestamp_seconds",
            "Start of the day of the newest scene that was looked at.",
            figures.newest_scene,
        ),
        (
            "detection_waiting_since_timestamp_seconds",
            "Since when the scene that waits longest for a person has waited.",
            figures.waiting_since,
        ),
    ):
        if value is not None:
            family = _gauge(name, text)
            family.add_metric([], value)
            yield family


def _auc(curves: Sequence[RateCurve]) -> float | None:
    return next((curve.auc for curve in curves if curve.period == "all"), None)


def _gauge(name: str, text: str, labels: Sequence[str] = ()) -> GaugeMetricFamily:
    return GaugeMetricFamily(_PREFIX + name, text, labels=labels)
