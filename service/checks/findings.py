"""From a panel to what all checks find in it."""

from __future__ import annotations

from dataclasses import dataclass

from service.checks.base import Check, Hit
from service.checks.panel import Panel
from service.checks.registry import CHECKS
from service.settings_quality import QualitySettings

Found = dict[tuple[int, int], list[tuple[Check, Hit]]]  # by row and column


@dataclass(frozen=True)
class Findings:
    """What the checks say about the cells of a panel whose evidence is of its judged days."""

    panel: Panel
    found: Found


def find(panel: Panel, settings: QualitySettings) -> Findings:
    """Run the checks; of each check and cell the hit with the earliest evidence counts."""
    found: Found = {}
    original = panel
    for check in CHECKS:
        if panel.variable not in check.variables or check.name in settings.off:
            continue
        off = [settings.is_off(check.name, feed) for feed in panel.feeds]
        first: dict[tuple[int, int], Hit] = {}
        for hit in check.find(panel):
            if off[panel.feed[hit.column]]:
                continue
            known = first.get(hit.cell)
            if known is None or hit.seen < known.seen:
                first[hit.cell] = hit
        if not check.extreme:
            # Only what was doubted on its own day: a later evidence must not change what that day was told.
            panel = panel.strike([cell for cell, hit in first.items() if hit.seen == hit.row])
        for cell, hit in first.items():
            if hit.seen >= panel.first:
                found.setdefault(cell, []).append((check, hit))
    return Findings(original, found)
