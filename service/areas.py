"""How much of each zone lies in each class, and how that changed since an earlier layer.

Areas are counts of cells times the cell's area in the projection. A zone's ratio is over its cells with a
known class; unknown cells are counted beside and never as "low".

Change since an earlier layer is counted on the common footprint alone: cells whose class is known in both
layers, in forcing cells whose windows rest on the same set of series in both (equal `basis` codes of
provenance.tif). A gauge that falls silent therefore moves no change, and neither does a cell that becomes
known. It says how the map moved where it can be compared, not the difference of the two days' areas.
The caller compares layers of one model, class scheme, mask and zones only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from affine import Affine

from exporters.layer import CLASS_LABELS, ZoneArea
from service.earlier_layer import EarlierLayer
from service.region import Zone
from service.zone_strips import ZoneStrips, pieces

REGION_NAME = "whole region"
_CLASSES = len(CLASS_LABELS) + 1
_KNOWN = range(1, _CLASSES)
_FEW = 8  # changed cells are counted one by one where fewer than one in so many changed

Stored = npt.NDArray[np.uint8]
Counts = npt.NDArray[np.int64]


class AreaCounter:
    """Counts cells by zone and class while a layer is made.

    `counts` is int64 (zones + 1, 5): zone codes 0 (outside every zone) to the last, classes 0 (unknown)
    to 4. Unknown cells outside the mask, where `zones` has one, are not counted at all.
    """

    def __init__(self, zones: ZoneStrips) -> None:
        self.counts: Counts = np.zeros((zones.zones + 1, _CLASSES), np.int64)
        self._zones = zones

    def add(self, row: int, classes: Stored) -> None:
        """Count classes, uint8 (rows, width), whose first row is `row`.

        Raises ValueError for a zone code that the zones do not have.
        """
        for first, rows in pieces(row, len(classes)):
            self._add(first, classes[first - row : first - row + rows])

    def _add(self, row: int, classes: Stored) -> None:
        inside = None if classes.all() else self._zones.inside(row, len(classes))
        for first, stop, code in self._zones.spans(row, len(classes)):
            part = classes[:, first:stop]
            counted = None if inside is None else inside[:, first:stop]
            if code is None:
                codes = self._zones.codes(row, len(classes))[:, first:stop]
                self.counts += _by_zone(codes, part, counted, len(self.counts))
            else:
                self.counts[code] += _by_class(part, counted)


def _by_class(classes: Stored, inside: npt.NDArray[np.bool_] | None = None) -> Counts:
    """Count cells by class: int64 (5,); unknown ones that are not `inside` (same shape) are left out."""
    counts = [0, *(int(np.count_nonzero(classes == value)) for value in _KNOWN)]
    counts[0] = classes.size - sum(counts)
    if counts[0] and inside is not None:
        counts[0] = int(np.count_nonzero(inside & (classes == 0)))
    return np.array(counts, np.int64)


def _by_zone(
    codes: npt.NDArray[np.integer[Any]], classes: Stored, inside: npt.NDArray[np.bool_] | None, zones: int
) -> Counts:
    """Count cells by zone code and class: int64 (zones, 5); all of one shape, `inside` as in `_by_class`."""
    keys = codes.astype(np.int32) * _CLASSES + classes
    if inside is not None:
        keys = keys[inside | (classes > 0)]
    return np.bincount(keys.ravel(), minlength=zones * _CLASSES).reshape(zones, _CLASSES)


@dataclass(frozen=True)
class Change:
    """Cells that went from one class to another on the footprint that two layers share.

    `transitions` is int64 (zones + 1, 4, 4): zone code, class before, class now, classes from low upwards.
    `known` is the number of cells known in the newer layer.
    """

    transitions: npt.NDArray[np.int64]
    known: int

    @property
    def footprint_share(self) -> float | None:
        """Share of the newer layer's known cells that could be compared; None where none is known."""
        return float(self.transitions.sum() / self.known) if self.known else None

    def growth(self, code: int | None) -> tuple[npt.NDArray[np.int64], int]:
        """Return cells now minus cells before by class (4,), and the footprint's cells.

        `code` is a zone's code, or None for the whole region.
        """
        cells = self.transitions.sum(axis=0) if code is None else self.transitions[code]
        return cells.sum(axis=0) - cells.sum(axis=1), int(cells.sum())


class ChangeCounter:
    """Counts how cells changed class since earlier layers, while the newer one is made.

    `earlier` says how many days earlier each layer is. The newer one lies on a grid of `shape` and
    `transform`, with `basis` float32 (rows, columns) for its forcing cells of k x k cells, the codes of
    provenance.tif; NaN where a forcing cell has no window, and so no known cell.
    """

    def __init__(
        self,
        earlier: Mapping[int, EarlierLayer],
        zones: ZoneStrips,
        *,
        basis: npt.NDArray[np.float32],
        k: int,
        shape: tuple[int, int],
        transform: Affine,
    ) -> None:
        self._zones, self._k, self._known = zones, k, 0
        self._counts: dict[int, Counts] = {}
        self._earlier: dict[int, tuple[EarlierLayer, npt.NDArray[np.bool_]]] = {}
        for days, layer in earlier.items():
            if layer.lies_on(shape, transform) and layer.basis.shape == basis.shape:
                self._earlier[days] = layer, np.isnan(basis) | (layer.basis == basis)
                self._counts[days] = np.zeros((zones.zones + 1, _CLASSES, _CLASSES), np.int64)

    def add(self, row: int, classes: Stored) -> None:
        """Count classes, uint8 (rows, width), whose first row is `row`.

        Raises StorageError for an earlier layer that cannot be read.
        """
        for first, rows in pieces(row, len(classes)):
            here = classes[first - row : first - row + rows]
            known = int(np.count_nonzero(here))
            self._known += known
            if not known:
                continue
            for days, (layer, same) in self._earlier.items():
                self._add(first, _where_same(here, same, first, self._k), layer, self._counts[days])

    def changes(self) -> dict[int, Change]:
        """Return what changed, by how many days earlier.

        A layer on another grid, or without a cell in common, has no entry.
        """
        found = {days: Change(counts[:, 1:, 1:], self._known) for days, counts in self._counts.items()}
        return {days: change for days, change in found.items() if change.transitions.any()}

    def _add(self, row: int, here: Stored, layer: EarlierLayer, counts: Counts) -> None:
        then = layer.classes(row, len(here))
        for first, stop, code in self._zones.spans(row, len(here)):
            before, now = then[:, first:stop], here[:, first:stop]
            if code is None:
                codes = self._zones.codes(row, len(here))[:, first:stop]
                keys = (codes.astype(np.int32) * _CLASSES + before) * _CLASSES + now
                counts += np.bincount(keys.ravel(), minlength=counts.size).reshape(counts.shape)
            else:
                counts[code] += _pairs(before, now)


def _pairs(before: Stored, now: Stored) -> Counts:
    """Count cells by class before and now, both known: int64 (5, 5), nothing in row or column 0."""
    differs = before != now
    changed = int(np.count_nonzero(differs))
    if changed * _FEW > now.size:
        pairs = _bincount_pairs(before, now)
    else:
        pairs = _bincount_pairs(before[differs], now[differs])
        # Whoever is not among the changed is what it was.
        pairs += np.diag([0, *(int(np.count_nonzero(now == value)) for value in _KNOWN)] - pairs.sum(axis=0))
    pairs[0], pairs[:, 0] = 0, 0
    return pairs


def _bincount_pairs(before: Stored, now: Stored) -> Counts:
    keys = before * np.uint8(_CLASSES) + now
    return np.bincount(keys.ravel(), minlength=_CLASSES**2).reshape(_CLASSES, _CLASSES)


def _where_same(classes: Stored, same: npt.NDArray[np.bool_], row: int, k: int) -> Stored:
    """Return classes, unknown in the forcing cells that are not the `same`."""
    of_row = np.arange(row, row + len(classes)) // k
    if same[of_row[0] : of_row[-1] + 1].all():
        return classes
    return classes * np.repeat(same[of_row], k, axis=1)[:, : classes.shape[1]]


def zone_areas(
    counts: npt.NDArray[np.int64],
    zones: Sequence[Zone],
    cell_area_m2: float,
    changes: Mapping[int, Change] | None = None,
) -> tuple[ZoneArea, ...]:
    """Turn counts (zones + 1, 5) into areas: the whole region first (zone ""), then the zones in order.

    Change in m2 is the area now minus the area before on the common footprint; its ratio is that over
    the footprint's area in the zone, so it is the growth of the class's share and stays within -1..1.
    A zone without footprint has no entry for those days.
    """
    changes = changes or {}
    rows = _areas_of("", REGION_NAME, counts.sum(axis=0), None, cell_area_m2, changes)
    for zone in zones:
        rows += _areas_of(zone.id, zone.name, counts[zone.code], zone.code, cell_area_m2, changes)
    return tuple(rows)


def _areas_of(
    identity: str,
    name: str,
    counts: npt.NDArray[np.int64],
    code: int | None,
    cell_area_m2: float,
    changes: Mapping[int, Change],
) -> list[ZoneArea]:
    known = int(counts[1:].sum())
    change_m2: list[dict[int, float]] = [{} for _ in CLASS_LABELS]
    change_ratio: list[dict[int, float]] = [{} for _ in CLASS_LABELS]
    footprint_m2: dict[int, float] = {}
    for days, change in sorted(changes.items()):
        growth, footprint = change.growth(code)
        if footprint == 0:
            continue
        footprint_m2[days] = float(footprint * cell_area_m2)
        for index, cells in enumerate(growth):
            change_m2[index][days] = float(cells * cell_area_m2)
            change_ratio[index][days] = float(cells / footprint)
    return [
        ZoneArea(
            zone=identity,
            name=name,
            label=label,
            area_m2=float(counts[index + 1] * cell_area_m2),
            ratio=float(counts[index + 1] / known) if known else None,
            unknown_m2=float(counts[0] * cell_area_m2),
            change_m2=change_m2[index],
            change_ratio=change_ratio[index],
            footprint_m2=footprint_m2,
        )
        for index, label in enumerate(CLASS_LABELS)
    ]
