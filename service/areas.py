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
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from exporters.cog import CLASSES, PROVENANCE
from exporters.layer import CLASS_LABELS, ZoneArea
from service.errors import StorageError
from service.region import Zone

REGION_NAME = "whole region"
_CLASSES = len(CLASS_LABELS) + 1
_STRIP_ROWS = 512


class AreaCounter:
    """Counts cells by zone and class while a layer is written.

    `counts` is int64 (zones + 1, 5): zone codes 0 (outside every zone) to the last, classes 0 (unknown)
    to 4. With `mask_path`, unknown cells outside the mask are not counted at all.
    """

    def __init__(self, zones_path: Path, zones: int, mask_path: Path | None = None) -> None:
        self.counts = np.zeros((zones + 1, _CLASSES), np.int64)
        self._zones = rasterio.open(zones_path)
        self._mask = rasterio.open(mask_path) if mask_path is not None else None

    def add(self, row: int, classes: npt.NDArray[np.uint8]) -> None:
        """Count classes, uint8 (rows, width), whose first row is `row`.

        Raises ValueError for a zone code that the zones do not have.
        """
        window = Window(0, row, classes.shape[1], classes.shape[0])
        codes = self._zones.read(1, window=window)
        inside = None if self._mask is None else self._mask.read(1, window=window) > 0
        self.counts += count_classes(codes, classes, len(self.counts) - 1, inside)

    def close(self) -> None:
        """Close the rasters."""
        self._zones.close()
        if self._mask is not None:
            self._mask.close()


def count_classes(
    codes: npt.NDArray[np.integer[Any]],
    classes: npt.NDArray[np.uint8],
    zones: int,
    inside: npt.NDArray[np.bool_] | None = None,
) -> npt.NDArray[np.int64]:
    """Count cells by zone code 0..zones and class 0..4: int64 (zones + 1, 5).

    `codes` and `classes` share a shape; unknown cells that are not `inside` (same shape) are left out.
    """
    keys = codes.astype(np.int32) * _CLASSES + classes
    if inside is not None:
        keys = keys[inside | (classes > 0)]
    counts = np.bincount(keys.ravel(), minlength=(zones + 1) * _CLASSES)
    if len(counts) > (zones + 1) * _CLASSES:
        raise ValueError(f"the zones raster holds code {int(codes.max())}, but there are {zones} zones")
    return counts.reshape(zones + 1, _CLASSES)


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


def class_area_changes(
    folder: Path, earlier: Mapping[int, Path], zones_path: Path, zones: int, *, k: int
) -> dict[int, Change]:
    """Compare the layer in `folder` with earlier layers' folders, by how many days earlier they are.

    Streams class.tif of both by strips, with `basis` of provenance.tif (forcing cells of k x k cells) and
    the zones raster. A layer on another grid, or without a cell in common, gets no entry.
    Raises StorageError for a layer that cannot be read.
    """
    found = {}
    for days, before in earlier.items():
        try:
            change = _change(folder, before, zones_path, zones, k)
        except rasterio.errors.RasterioIOError as error:
            raise StorageError(f"cannot compare {folder} with {before}: {error}") from error
        if change is not None:
            found[days] = change
    return found


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


def _change(folder: Path, before: Path, zones_path: Path, zones: int, k: int) -> Change | None:
    same = _same_basis(folder / PROVENANCE, before / PROVENANCE)
    size = _CLASSES * _CLASSES
    counts = np.zeros((zones + 1) * size, np.int64)
    known = 0
    with (
        rasterio.open(folder / CLASSES) as now,
        rasterio.open(before / CLASSES) as then,
        rasterio.open(zones_path) as codes,
    ):
        if same is None or now.shape != then.shape or not now.transform.almost_equals(then.transform, 1e-6):
            return None
        step = max(1, _STRIP_ROWS // k) * k
        for row in range(0, now.height, step):
            window = Window(0, row, now.width, min(step, now.height - row))
            here, there = now.read(1, window=window), then.read(1, window=window)
            known += int(np.count_nonzero(here))
            comparable = same[row // k : (row + step) // k]
            here *= np.repeat(np.repeat(comparable, k, axis=0), k, axis=1)[: len(here), : now.width]
            keys = (codes.read(1, window=window).astype(np.int32) * _CLASSES + there) * _CLASSES + here
            counts += np.bincount(keys.ravel(), minlength=len(counts))
    transitions = counts.reshape(zones + 1, _CLASSES, _CLASSES)[:, 1:, 1:]
    return Change(transitions, known) if transitions.any() else None


def _same_basis(now: Path, before: Path) -> npt.NDArray[np.bool_] | None:
    """Forcing cells with the same series behind both layers: bool (rows, columns)."""
    bands = []
    for path in (now, before):
        with rasterio.open(path) as provenance:
            bands.append(provenance.read(provenance.descriptions.index("basis") + 1))
    if bands[0].shape != bands[1].shape:
        return None
    return np.asarray(bands[0] == bands[1])  # NaN, no statement, equals nothing
