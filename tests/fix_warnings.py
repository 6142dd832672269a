"""Warning levels put into a region's ledger as if they had been decided with its layers, and drills.

What decides real ones is tested where it lives; these are for tests of what shows them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

from exporters.layer import Layer, ZoneWarning
from service.workshop import ledger_path
from tests.fix_region import ToyRegion

DECIDED = datetime(2026, 3, 1, 6, 0, tzinfo=UTC)
RULE = "orange: share at least 10 % and growth at least 7 points over 1 or 7 days"
NUMBERS = {"share": 0.42, "growth_1d": 0.031, "growth_7d": None}


def warning(zone: str, level: int | None, **changes: Any) -> ZoneWarning:
    """Return a level of a zone."""
    values: dict[str, Any] = {
        "zone": zone,
        "name": zone.title(),
        "level": level,
        "previous": 0,
        "rule": RULE,
        "numbers": NUMBERS,
        "reference_share": 0.31 if level else None,
        "decided_at": DECIDED,
        **changes,
    }
    return ZoneWarning(**values)


def decide(toy: ToyRegion, layer: Layer, levels: Mapping[str, int | None], **changes: Any) -> Layer:
    """Record levels by zone with a layer that is there, by a model that may warn; return the layer."""
    warnings = tuple(warning(zone, level, **changes) for zone, level in levels.items())
    model = layer.model.model_copy(update={"may_warn": True})
    decided = layer.model_copy(update={"warnings": warnings, "model": model})
    said = decided.model_dump_json(include={"warnings", "model"})
    with closing(sqlite3.connect(ledger_path(toy.settings))) as database, database:
        kept = database.execute(
            "UPDATE layer SET record = json_patch(record, ?) WHERE id = ?", (said, layer.id)
        ).rowcount
    assert kept == 1
    return decided


def decide_newest(toy: ToyRegion, levels: Mapping[str, int | None], **changes: Any) -> Layer:
    """Record levels with the newest nowcast."""
    with toy.ledger() as ledger:
        latest = ledger.latest()
    assert latest is not None
    return decide(toy, latest, levels, **changes)


def start_drill(
    toy: ToyRegion, zone: str, level: int, hours: float = 1, reason: str = "monthly drill"
) -> None:
    """Let a drill begin now."""
    with toy.ledger() as ledger, ledger.transaction():
        ledger.drills.start(zone, level, toy.clock.now + timedelta(hours=hours), "A. Rossi", reason)
