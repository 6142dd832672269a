"""How a layer that was made again differs from the one that was shown: values, classes, areas, levels."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.windows import Window

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.layer import CLASS_LABELS, LEVEL_LABELS, NODATA, SCALE, Layer

_STRIP_ROWS = 512


@dataclass(frozen=True)
class CellDifferences:
    """Two layers cell by cell; areas are of whole cells."""

    compared: int  # cells known to both
    changed: int  # of those, whose stored susceptibility differs at all
    class_changed: int  # of those, whose class differs
    appeared: int  # known now, unknown before
    vanished: int  # unknown now, known before
    largest: float  # difference of susceptibility, 0 to 1
    moves: dict[str, int]  # "moderate -> high": cells

    @property
    def same(self) -> bool:
        """Whether every cell says what it said."""
        return not (self.changed or self.class_changed or self.appeared or self.vanished)


@dataclass(frozen=True)
class LevelDifference:
    """A zone whose warning level is another one; None is not known, or not decided."""

    zone: str
    name: str
    before: str | None
    after: str | None


@dataclass(frozen=True)
class LayerDifference:
    """One day: the layer that was shown, and what this program makes of the same readings."""

    day: date
    layer: str
    problem: str | None = None  # why there is nothing to compare
    cells: CellDifferences | None = None
    areas_m2: dict[str, tuple[float, float]] = field(default_factory=dict)  # by class: before, after
    status: tuple[str, str] = ("", "")
    levels: tuple[LevelDifference, ...] = ()
    seconds: float | None = None
    seconds_before: float | None = None

    @property
    def same(self) -> bool:
        """Whether nothing that anybody sees is different."""
        whole = self.problem is None and self.cells is not None and self.cells.same
        return whole and not self.levels and self.status[0] == self.status[1]

    def to_json(self) -> dict[str, Any]:
        """Return what `shadow --json` prints of it."""
        areas = {label: {"before": one, "after": other} for label, (one, other) in self.areas_m2.items()}
        return asdict(self) | {"day": self.day.isoformat(), "same": self.same, "areas_m2": areas}


def compare_layers(
    before: Layer, after: Layer, seconds: float, seconds_before: float | None
) -> LayerDifference:
    """Compare the files and figures of two layers of one day."""
    cells = compare_cells(before.folder, after.folder)
    problem = None
    if cells is None:
        problem = "the grid differs, so cells cannot be compared; only areas can"
    return LayerDifference(
        day=before.day,
        layer=before.id,
        problem=problem,
        cells=cells,
        areas_m2={label: (_area(before, label), _area(after, label)) for label in CLASS_LABELS},
        status=(before.status.value, after.status.value),
        levels=_levels(before, after),
        seconds=seconds,
        seconds_before=seconds_before,
    )


def compare_cells(before: Path, after: Path) -> CellDifferences | None:
    """Compare the rasters in two layers' folders, strip by strip; None where they are of different grids."""
    compared = changed = class_changed = appeared = vanished = largest = 0
    moves: Counter[str] = Counter()
    with (
        rasterio.open(before / SUSCEPTIBILITY) as value_a,
        rasterio.open(after / SUSCEPTIBILITY) as value_b,
        rasterio.open(before / CLASSES) as class_a,
        rasterio.open(after / CLASSES) as class_b,
    ):
        if not (
            value_a.crs == value_b.crs
            and value_a.shape == value_b.shape
            and value_a.transform.almost_equals(value_b.transform, 1e-6)
        ):
            return None
        for row in range(0, value_a.height, _STRIP_ROWS):
            window = Window(0, row, value_a.width, min(_STRIP_ROWS, value_a.height - row))
            one, other = (file.read(1, window=window) for file in (value_a, value_b))
            known_a, known_b = one != NODATA, other != NODATA
            both = known_a & known_b
            appeared += int((known_b & ~known_a).sum())
            vanished += int((known_a & ~known_b).sum())
            apart = np.abs(one.astype(np.int16) - other.astype(np.int16))[both]
            compared += apart.size
            changed += int(np.count_nonzero(apart))
            largest = max(largest, int(apart.max(initial=0)))
            kinds, others = (file.read(1, window=window)[both] for file in (class_a, class_b))
            moved = kinds != others
            class_changed += int(moved.sum())
            pairs, counts = np.unique(np.stack([kinds[moved], others[moved]]), axis=1, return_counts=True)
            for (a, b), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
                moves[f"{CLASS_LABELS[a - 1]} -> {CLASS_LABELS[b - 1]}"] += count
    return CellDifferences(
        compared,
        changed,
        class_changed,
        appeared,
        vanished,
        round(largest * SCALE, 3),
        dict(sorted(moves.items())),
    )


def _levels(before: Layer, after: Layer) -> tuple[LevelDifference, ...]:
    said = {item.zone: item for item in before.warnings}
    says = {item.zone: item for item in after.warnings}
    found = []
    for zone in sorted(said.keys() | says.keys()):
        one, other = said.get(zone), says.get(zone)
        levels = [
            LEVEL_LABELS[item.level] if item and item.level is not None else None for item in (one, other)
        ]
        if levels[0] != levels[1]:
            name = (other or one).name  # type: ignore[union-attr]  # one of them is there
            found.append(LevelDifference(zone, name, levels[0], levels[1]))
    return tuple(found)


def _area(layer: Layer, label: str) -> float:
    return sum(area.area_m2 for area in layer.areas if area.zone == "" and area.label == label)
