"""The layers of champion and challenger side by side: the same days, cell by cell."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Any

from exporters.layer import CLASS_LABELS, Layer
from service.errors import Outcome
from service.ledger import Ledger
from service.progress import ProgressCallback
from service.shadow_compare import LayerDifference, compare_layers

DANGEROUS = CLASS_LABELS[-2:]  # high, very high
_RUNS_READ = 10_000


@dataclass(frozen=True)
class DayBeside:
    """One day: `before` is the layer on display, `after` the challenger's."""

    difference: LayerDifference
    layer: str  # the challenger's
    same_readings: bool  # whether both windows came of the same readings and variables

    @property
    def high_km2(self) -> tuple[float, float]:
        """Area of high and very high, km2: on display, of the challenger."""
        areas = [self.difference.areas_m2.get(label, (0.0, 0.0)) for label in DANGEROUS]
        return sum(one for one, _ in areas) / 1e6, sum(other for _, other in areas) / 1e6

    def to_json(self) -> dict[str, Any]:
        """Return what `challenger list --json` prints of it."""
        return {
            **self.difference.to_json(),
            "challenger_layer": self.layer,
            "same_readings": self.same_readings,
            "high_and_very_high_km2": {"display": self.high_km2[0], "challenger": self.high_km2[1]},
        }


@dataclass(frozen=True)
class Agreement:
    """How far two models agree over the days of which both have a layer; sums over days."""

    days: int
    first: date | None
    last: date | None
    cells: int  # known to both
    class_changed: int
    raised: int  # to high or very high, from a lower class
    lowered: int  # from high or very high
    high_km2: tuple[float, float] | None  # mean of a day: on display, of the challenger
    other_readings: int  # days whose windows differ: of other readings, or of other variables

    def to_json(self) -> dict[str, Any]:
        """Return it for the record of a promotion."""
        return {
            "days": self.days,
            "first": self.first.isoformat() if self.first else None,
            "last": self.last.isoformat() if self.last else None,
            "cells": self.cells,
            "class_changed": self.class_changed,
            "class_changed_ratio": self.class_changed / self.cells if self.cells else None,
            "raised_to_high": self.raised,
            "lowered_from_high": self.lowered,
            "high_and_very_high_km2": list(self.high_km2) if self.high_km2 else None,
            "days_of_other_windows": self.other_readings,
        }


def compare_days(
    shown: Ledger, own: Ledger, days: int | None = None, progress: ProgressCallback | None = None
) -> list[DayBeside]:
    """Compare the newest `days` (default: all) that both have a layer of, oldest first."""
    pairs = _pairs(shown, own)
    pairs = pairs[-days:] if days is not None else pairs
    seconds = [
        {run.layer_id: sum(run.seconds.values()) for run in ledger.runs(_RUNS_READ, "refresh")
         if run.outcome == Outcome.PUBLISHED}
        for ledger in (shown, own)
    ]  # fmt: skip
    found = []
    for number, (one, other) in enumerate(pairs):
        try:
            difference = compare_layers(one, other, seconds[1].get(other.id, 0.0), seconds[0].get(one.id))
        except OSError as error:  # rasterio's are OSErrors too
            difference = LayerDifference(one.day, one.id, problem=f"its files cannot be read: {error}")
        windows = [ledger.basis(layer.id).get("windows") for ledger, layer in ((shown, one), (own, other))]
        found.append(DayBeside(difference, other.id, windows[0] == windows[1]))
        if progress is not None:
            progress(number + 1, len(pairs))
    return found


def agreement_of(days: list[DayBeside]) -> Agreement:
    """Sum up the days whose cells could be compared."""
    compared = [day for day in days if day.difference.cells is not None]
    raised = lowered = cells = changed = 0
    for day in compared:
        assert day.difference.cells is not None  # noqa: S101 - for the type checker
        cells += day.difference.cells.compared
        changed += day.difference.cells.class_changed
        for move, count in day.difference.cells.moves.items():
            before, after = move.split(" -> ")
            raised += count * (after in DANGEROUS and before not in DANGEROUS)
            lowered += count * (before in DANGEROUS and after not in DANGEROUS)
    high = None
    if compared:
        each = [day.high_km2 for day in compared]
        high = (sum(one for one, _ in each) / len(each), sum(other for _, other in each) / len(each))
    return Agreement(
        days=len(compared),
        first=compared[0].difference.day if compared else None,
        last=compared[-1].difference.day if compared else None,
        cells=cells,
        class_changed=changed,
        raised=raised,
        lowered=lowered,
        high_km2=high,
        other_readings=sum(not day.same_readings for day in compared),
    )


def _pairs(shown: Ledger, own: Ledger) -> list[tuple[Layer, Layer]]:
    """Return the layers of the days that both show and whose files are kept, oldest first."""
    displayed, made = (
        {
            item.day: item.id
            for item in ledger.standings()
            if item.lead == 0 and item.shown and not item.removed_at
        }
        for ledger in (shown, own)
    )
    pairs = []
    for day in sorted(displayed.keys() & made.keys()):
        one, other = shown.layer(displayed[day]), own.layer(made[day])
        if one is not None and other is not None:
            pairs.append((one, other))
    return pairs
