"""Scenes, detections and events in figures: what waits for a person, what cannot be used, what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from exporters.event import EventKind, EventSource
from exporters.verification_metrics import DetectionFigures
from service.ledger import Ledger
from service.ledger_detection_rows import DetectionState
from service.settings import Settings
from service.terminal import plain

_NAMED = 5


@dataclass(frozen=True)
class DetectionSummary:
    """How the watching of scenes stands."""

    reviewed: int  # scenes whose review a person closed
    waiting: int  # scenes that wait for a person
    unusable: int  # that could not be looked at
    detections: dict[DetectionState, int]
    newest_scene: date | None
    waiting_since: datetime | None
    problems: tuple[str, ...]  # path and reason of those that could not be looked at
    events: dict[tuple[EventSource, EventKind], int]  # in force

    def to_lines(self) -> list[str]:
        """Return it for a person; nothing where no scene was ever looked at."""
        lines = []
        if self.waiting:
            since = f" since {self.waiting_since:%Y-%m-%d}" if self.waiting_since else ""
            lines.append(
                f"  {_count(self.waiting, 'scene waits', 'scenes wait')} for review{since}, "
                f"{self.detections['proposed']} detections undecided; see 'colluvium detections scenes'"
            )
        elif self.reviewed:
            lines.append(f"  scenes: all {self.reviewed} reviewed, newest of {self.newest_scene}")
        if self.unusable:
            lines.append(f"  {_count(self.unusable, 'scene', 'scenes')} could not be used:")
            lines += [f"    {problem}" for problem in self.problems[:_NAMED]]
            if len(self.problems) > _NAMED:
                lines.append(f"    and {len(self.problems) - _NAMED} more")
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "reviewed": self.reviewed,
            "waiting": self.waiting,
            "waiting_since": self.waiting_since.isoformat() if self.waiting_since else None,
            "unusable": list(self.problems),
            "newest": self.newest_scene.isoformat() if self.newest_scene else None,
            "detections": dict(self.detections),
            "events": [
                {"source": source, "kind": kind, "count": count}
                for (source, kind), count in self.events.items()
            ],
        }


def read_detection_summary(ledger: Ledger) -> DetectionSummary:
    """Read how the watching of scenes stands."""
    reviews = ledger.detections.reviews()
    attempts = ledger.detections.attempts()
    return DetectionSummary(
        reviewed=reviews.reviewed,
        waiting=reviews.waiting,
        unusable=len(attempts),
        detections=ledger.detections.counts(),
        newest_scene=reviews.newest,
        waiting_since=reviews.waiting_since,
        problems=tuple(plain(f"{attempt.path.name}: {attempt.reason}", 300) for attempt in attempts),
        events=ledger.events.counts(),
    )


def read_detection_figures(settings: Settings, ledger: Ledger) -> DetectionFigures | None:
    """Return it for the metrics; None where scenes are not watched and none was ever looked at."""
    summary = read_detection_summary(ledger)
    if settings.detection is None and not (summary.reviewed or summary.waiting or summary.unusable):
        return None
    return DetectionFigures(
        scenes={"reviewed": summary.reviewed, "waiting": summary.waiting, "unusable": summary.unusable},
        detections={str(state): count for state, count in summary.detections.items()},
        newest_scene=_start_of(summary.newest_scene, settings.timezone),
        waiting_since=summary.waiting_since.timestamp() if summary.waiting_since else None,
    )


def _start_of(day: date | None, zone: ZoneInfo) -> float | None:
    return datetime.combine(day, datetime.min.time(), zone).timestamp() if day is not None else None


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"
