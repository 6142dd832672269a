"""How one refresh ended, and the stages that it went through."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from exporters.layer import Layer
from service.errors import Outcome

# A caller is told each stage as it begins; the order is the order of the work.
STAGES = ("windows", "head", "files", "areas", "layer", "ledger", "latest")
OnStage = Callable[[str], None]


@dataclass(frozen=True)
class Refreshed:
    """How one refresh ended."""

    outcome: Outcome
    day: date | None
    layer: Layer | None = None
    reason: str | None = None
    lead: int = 0
    replay: bool = False
    seconds: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return what `refresh --json` prints."""
        layer = self.layer
        return {
            "outcome": self.outcome.value,
            "day": self.day.isoformat() if self.day else None,
            "lead": self.lead,
            "reason": self.reason,
            "replay": self.replay,
            "seconds": {stage: round(value, 4) for stage, value in self.seconds.items()},
            "layer": layer.id if layer else None,
            "path": str(layer.folder) if layer else None,
            "digest": layer.digest if layer else None,
            "data_until": layer.data_until.isoformat() if layer else None,
            "status": layer.status.value if layer else None,
            "unconfirmed": layer.unconfirmed if layer else None,
            "cells": layer.cells if layer else None,
            "coverage": round(layer.coverage, 4) if layer else None,
            "class_area_m2": _region_areas(layer, "area_m2"),
            "class_area_ratio": _region_areas(layer, "ratio"),
            "model": {"name": layer.model.name, "digest": layer.model.digest} if layer else None,
            "forecast": layer.forecast.model_dump(mode="json") if layer and layer.forecast else None,
            "notes": list(layer.notes) if layer else [],
        }


class Stages:
    """Times each stage and tells the caller when it begins."""

    def __init__(self, on_stage: OnStage) -> None:
        self.seconds: dict[str, float] = {}
        self._on_stage = on_stage

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        self._on_stage(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = time.perf_counter() - started


def _region_areas(layer: Layer | None, field_name: str) -> dict[str, float | None] | None:
    if layer is None:
        return None
    return {area.label: getattr(area, field_name) for area in layer.areas if area.zone == ""}
