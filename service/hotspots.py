"""Hotspots: contiguous patches of high and very high cells, found strip by strip.

Cells touch by their sides or corners (8-connected). Each strip is labelled alone, and labels that meet at a
seam become one component. What is kept of a component is its sums; one that a strip leaves behind, too
small, is forgotten there. Polygons are cut in a second pass over the strips that hold a hotspot.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from rasterio.features import shapes
from rasterio.windows import Window
from scipy.ndimage import label
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.geopackage import AREAS
from exporters.layer import CLASS_LABELS, SCALE, Hotspot, Layer
from service.areas_file import read_hotspots
from service.region import Zone

_HIGH = CLASS_LABELS.index("high") + 1
_EIGHT = np.ones((3, 3), bool)
_CODES = 65_536  # zone codes are uint16
_STRIP_CELLS, _LEAST_ROWS = 2**24, 512  # about 0.3 GiB of labels and sums at the most

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Hotspots:
    """The largest hotspots, and what was left out beside them."""

    found: tuple[Hotspot, ...]  # largest first; equal areas from north to south, west to east
    left_out: int
    left_out_area_m2: float


def find_hotspots(
    folder: Path,
    zones_path: Path,
    zones: Sequence[Zone],
    *,
    min_area_m2: float,
    at_most: int,
    previous: Path | None = None,
    strip_rows: int | None = None,
) -> Hotspots:
    """Find the hotspots of the layer whose rasters lie in `folder`.

    `previous` is the folder of an earlier layer on the same grid. A hotspot's growth is the area of its
    cells that were known then and neither high nor very high; None without an earlier layer, or where
    that layer knew none of its cells. Its zone is the one that holds most of its cells, None where no zone
    holds any. Mean and maximum are of susceptibility (0..1) over its cells.
    """
    earlier = previous / CLASSES if previous is not None else None
    with rasterio.open(folder / CLASSES) as classes:
        cell_area_m2 = abs(classes.transform.a * classes.transform.e)
        # As tall as memory allows: outlines need no joining inside a strip.
        strip_rows = strip_rows or max(_LEAST_ROWS, _STRIP_CELLS // classes.width)
        keep = _Largest(min_cells=min_area_m2 / cell_area_m2 - 1e-9, at_most=at_most)
        _trace(classes, folder / SUSCEPTIBILITY, zones_path, earlier, strip_rows, keep)
        kept = keep.result()
        geometries = _polygons(classes, kept, strip_rows)
    names = {zone.code: zone.id for zone in zones}
    found = tuple(
        Hotspot(
            id=number,
            area_m2=component.cells * cell_area_m2,
            mean=component.total * SCALE / component.cells,
            maximum=component.maximum * SCALE,
            zone=names.get(component.zone),
            growth_m2=component.grown * cell_area_m2 if component.known_before else None,
            geometry_wkb=shapely.to_wkb(geometry, byte_order=1),
        )
        for number, (component, geometry) in enumerate(zip(kept, geometries, strict=True), start=1)
    )
    return Hotspots(found, keep.left_out, keep.left_out_cells * cell_area_m2)


def date_hotspots(hotspots: Hotspots, day: date, previous: Layer | None) -> Hotspots:
    """Say since which day a hotspot stands where each one of `day` stands.

    It inherits the oldest such day of those that it shares ground with in the comparable layer before;
    touching is not enough. Without such a layer, or ground in common, it is new.
    """
    if previous is None or not hotspots.found:
        since = [day] * len(hotspots.found)
    else:
        since = _first_seen([shapely.from_wkb(spot.geometry_wkb) for spot in hotspots.found], day, previous)
    found = tuple(
        spot.model_copy(update={"first_seen": seen}) for spot, seen in zip(hotspots.found, since, strict=True)
    )
    return replace(hotspots, found=found)


def _first_seen(geometries: list[shapely.Geometry], day: date, previous: Layer) -> list[date]:
    before = read_hotspots(previous.folder / AREAS)
    then = np.array([shapely.from_wkb(spot.geometry_wkb) for spot in before], object)
    since = [day] * len(geometries)
    here, there = shapely.STRtree(then).query(geometries, predicate="intersects")
    shared = shapely.relate_pattern(np.array(geometries, object)[here], then[there], "T********")
    for index, other in zip(here[shared], there[shared], strict=True):
        # Files that do not say since when say at least that it was there on their day.
        since[index] = min(since[index], before[other].first_seen or previous.day)
    return since


@dataclass(frozen=True)
class _Component:
    """A finished component; counts are of cells."""

    cells: int
    total: int  # of stored susceptibility
    maximum: int
    known_before: int
    grown: int
    first: int  # row-major index of its first cell
    zone: int  # code that most of its cells lie in; 0: none
    pieces: tuple[tuple[int, int], ...]  # (first row of the strip, label within it)


@dataclass
class _Largest:
    """Keeps the largest components, and counts the others that are large enough."""

    min_cells: float
    at_most: int
    left_out: int = 0
    left_out_cells: int = 0
    _kept: list[_Component] = field(default_factory=list)

    def add(self, component: _Component) -> None:
        self._kept.append(component)
        if len(self._kept) > 2 * self.at_most + 64:
            self._cut()

    def result(self) -> list[_Component]:
        self._cut()
        return self._kept

    def _cut(self) -> None:
        self._kept.sort(key=lambda component: (-component.cells, component.first))
        self.left_out += len(self._kept[self.at_most :])
        self.left_out_cells += sum(component.cells for component in self._kept[self.at_most :])
        del self._kept[self.at_most :]


@dataclass
class _Table:
    """Components side by side, one row each; `zones` and `pieces` point at rows by their first column."""

    sums: Ints  # (n, 4): cells, stored susceptibility, cells known before, cells grown
    maximum: Ints  # (n,): of stored susceptibility
    first: Ints  # (n,): row-major index of the first cell
    zones: Ints  # (z, 3): row, zone code, cells; sorted
    pieces: Ints  # (p, 3): row, first row of the strip, label within it

    def __len__(self) -> int:
        return len(self.sums)

    @classmethod
    def empty(cls) -> _Table:
        none = np.zeros(0, np.int64)
        return cls(none.reshape(0, 4), none, none, none.reshape(0, 3), none.reshape(0, 3))

    def below(self, other: _Table) -> _Table:
        """Put the rows of `other` under these."""
        shift = np.array([len(self), 0, 0])
        return _Table(
            np.concatenate([self.sums, other.sums]),
            np.concatenate([self.maximum, other.maximum]),
            np.concatenate([self.first, other.first]),
            np.concatenate([self.zones, np.add(other.zones, shift)]),
            np.concatenate([self.pieces, np.add(other.pieces, shift)]),
        )

    def merge(self, group: Ints, count: int) -> _Table:
        """Join the rows with the same group, 0..count-1."""
        sums = np.zeros((count, 4), np.int64)
        np.add.at(sums, group, self.sums)
        maximum = np.zeros(count, np.int64)
        np.maximum.at(maximum, group, self.maximum)
        first = np.full(count, np.iinfo(np.int64).max)
        np.minimum.at(first, group, self.first)
        keys, inverse = np.unique(group[self.zones[:, 0]] * _CODES + self.zones[:, 1], return_inverse=True)
        cells = np.zeros(len(keys), np.int64)
        np.add.at(cells, inverse, self.zones[:, 2])
        zones = np.column_stack([keys // _CODES, keys % _CODES, cells])
        pieces = np.column_stack([group[self.pieces[:, 0]], self.pieces[:, 1:]])
        return _Table(sums, maximum, first, zones, pieces)

    def take(self, chosen: npt.NDArray[np.bool_]) -> _Table:
        """Keep the chosen rows, in order."""
        place = np.cumsum(chosen) - 1

        def of(table: Ints) -> Ints:
            rows = table[chosen[table[:, 0]]]
            return np.column_stack([place[rows[:, 0]], rows[:, 1:]])

        return _Table(
            self.sums[chosen], self.maximum[chosen], self.first[chosen], of(self.zones), of(self.pieces)
        )

    def components(self) -> Iterator[_Component]:
        """Give each row as a component."""
        zones: dict[int, tuple[int, int]] = {}
        for row, code, cells in self.zones.tolist():
            if code and cells > zones.get(row, (0, 0))[1]:  # rows are sorted: ties go to the lower code
                zones[row] = (code, cells)
        pieces = defaultdict(list)
        for row, strip, number in self.pieces.tolist():
            pieces[row].append((strip, number))
        for row, (cells, total, known_before, grown) in enumerate(self.sums.tolist()):
            yield _Component(
                cells=cells,
                total=total,
                maximum=int(self.maximum[row]),
                known_before=known_before,
                grown=grown,
                first=int(self.first[row]),
                zone=zones.get(row, (0, 0))[0],
                pieces=tuple(pieces[row]),
            )


def _trace(
    classes: Any,
    susceptibility_path: Path,
    zones_path: Path,
    earlier: Path | None,
    strip_rows: int,
    keep: _Largest,
) -> None:
    """Run over the strips and hand every finished component that is large enough to `keep`."""
    before = rasterio.open(earlier) if earlier is not None else None
    with rasterio.open(susceptibility_path) as susceptibility, rasterio.open(zones_path) as codes:
        reaching = _Table.empty()  # components that touch the row above the strip
        seam = np.zeros(classes.width, np.int64)  # their row in `reaching` + 1 for each cell; 0: none
        for window in _strips(classes, strip_rows):
            labels, count = _label(classes, window)
            if count:
                then = before.read(1, window=window) if before is not None else None
                stored, zone = susceptibility.read(1, window=window), codes.read(1, window=window)
                here = _measure(labels, count, stored, zone, then, int(window.row_off))
            else:
                here = _Table.empty()
            group, groups = _join(seam, labels, len(reaching), count)
            merged = reaching.below(here).merge(group, groups)
            goes_on = np.zeros(groups, bool)
            edge = labels[-1]
            if window.row_off + window.height < classes.height:
                goes_on[group[len(reaching) + edge[edge > 0] - 1]] = True
            for component in merged.take(~goes_on & (merged.sums[:, 0] >= keep.min_cells)).components():
                keep.add(component)
            place = np.cumsum(goes_on)
            seam = np.zeros(classes.width, np.int64)
            if goes_on.any():
                seam[edge > 0] = place[group[len(reaching) + edge[edge > 0] - 1]]
            reaching = merged.take(goes_on)
    if before is not None:
        before.close()


def _strips(dataset: Any, rows: int) -> Iterator[Window]:
    for row in range(0, dataset.height, rows):
        yield Window(0, row, dataset.width, min(rows, dataset.height - row))


def _label(classes: Any, window: Window) -> tuple[npt.NDArray[np.int32], int]:
    """Label the high and very high cells of one strip, 1.. in row-major order of their first cells."""
    labels, count = label(classes.read(1, window=window) >= _HIGH, structure=_EIGHT)
    return np.asarray(labels, np.int32), int(count)


def _measure(
    labels: npt.NDArray[np.int32],
    count: int,
    stored: npt.NDArray[np.uint8],
    zone: npt.NDArray[np.integer[Any]],
    then: npt.NDArray[np.uint8] | None,
    row: int,
) -> _Table:
    """Sum up each label of one strip."""
    flat = np.flatnonzero(labels)
    owner = labels.ravel()[flat].astype(np.int64) - 1
    order = np.argsort(owner, kind="stable")
    flat, owner = flat[order], owner[order]
    starts = np.searchsorted(owner, np.arange(count))
    value = stored.ravel()[flat].astype(np.int64)
    known = np.zeros(len(flat), np.int64)
    grown = np.zeros(len(flat), np.int64)
    if then is not None:
        old = then.ravel()[flat]
        known, grown = (old > 0).astype(np.int64), ((old > 0) & (old < _HIGH)).astype(np.int64)
    keys, cells = np.unique(owner * _CODES + zone.ravel()[flat], return_counts=True)
    numbers = np.arange(count)
    ends = np.append(starts[1:], len(flat))
    return _Table(
        np.column_stack(
            [ends - starts, *(np.add.reduceat(column, starts) for column in (value, known, grown))]
        ),
        np.maximum.reduceat(value, starts),
        flat[starts] + row * labels.shape[1],
        np.column_stack([keys // _CODES, keys % _CODES, cells]),
        np.column_stack([numbers, np.full(count, row), numbers + 1]),
    )


def _join(seam: Ints, labels: npt.NDArray[np.int32], above: int, count: int) -> tuple[Ints, int]:
    """Say which components above the seam and labels below it are one: a group for each, and how many."""
    top = labels[0].astype(np.int64)
    pairs = []
    for upper, lower in ((seam, top), (seam[:-1], top[1:]), (seam[1:], top[:-1])):
        touching = (upper > 0) & (lower > 0)
        pairs.append(np.stack([upper[touching] - 1, above + lower[touching] - 1]))
    edges = np.unique(np.concatenate(pairs, axis=1), axis=1)
    size = above + count
    if size == 0:
        return np.zeros(0, np.int64), 0
    graph = coo_array((np.ones(edges.shape[1], np.int8), (edges[0], edges[1])), shape=(size, size))
    groups, group = connected_components(graph, directed=False)
    return group.astype(np.int64), int(groups)


def _polygons(classes: Any, kept: Sequence[_Component], strip_rows: int) -> list[shapely.Geometry]:
    """Cut the kept components' outlines: valid polygons and multipolygons in the raster's CRS."""
    strips: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for index, component in enumerate(kept, start=1):
        for row, number in component.pieces:
            strips[row].append((number, index))
    outlines: list[tuple[int, list[list[tuple[float, float]]]]] = []
    for window in _strips(classes, strip_rows):
        pieces = strips.get(int(window.row_off))
        if not pieces:
            continue
        labels, count = _label(classes, window)
        table = np.zeros(count + 1, np.int32)
        numbers, indices = zip(*pieces, strict=True)
        table[list(numbers)] = indices
        owners = table[labels]
        columns = np.flatnonzero(owners.any(axis=0))
        west, east = int(columns[0]), int(columns[-1]) + 1
        part = np.ascontiguousarray(owners[:, west:east])
        whole = classes.transform
        left, top = whole.c + west * whole.a, whole.f + window.row_off * whole.e
        transform = Affine(whole.a, 0, left, 0, whole.e, top)
        # Rings of 8-connected shapes cross themselves at corners; 4-connected ones are valid as they come.
        for shape, value in shapes(part, mask=part > 0, connectivity=4, transform=transform):
            outlines.append((int(value), shape["coordinates"]))
    # Pieces of one strip meet at corners only, and make a valid multipolygon; across a seam they share sides.
    return [
        shapely.normalize(
            geometry if len({row for row, _ in component.pieces}) == 1 else shapely.unary_union(geometry)
        )
        for geometry, component in zip(_multipolygons(outlines), kept, strict=True)
    ]


def _multipolygons(outlines: list[tuple[int, list[list[tuple[float, float]]]]]) -> list[shapely.Geometry]:
    """Make one multipolygon of all outlines (shell, then holes) with the same number, in its order."""
    if not outlines:
        return []
    outlines = sorted(outlines, key=lambda outline: outline[0])
    rings = [np.asarray(ring) for _, polygon in outlines for ring in polygon]
    ring_of = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    polygon_of = np.repeat(np.arange(len(outlines)), [len(polygon) for _, polygon in outlines])
    polygons = shapely.polygons(
        shapely.linearrings(np.concatenate(rings), indices=ring_of), indices=polygon_of
    )
    owners = np.unique([number for number, _ in outlines], return_inverse=True)[1]
    return list(shapely.multipolygons(polygons, indices=owners))
