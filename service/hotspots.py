"""Hotspots: contiguous patches of high and very high cells, found while a layer is made, strip by strip.

Cells touch by their sides or corners (8-connected). The high cells of a strip become runs along its rows, and
runs that touch, those of the strip above included, one component. What is kept of a component is its sums and
the corners of its outline; one that a strip leaves behind, too small, is forgotten there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine

from exporters.geopackage import AREAS
from exporters.layer import CLASS_LABELS, SCALE, Hotspot, Layer
from service.areas_file import read_hotspots
from service.earlier_layer import EarlierLayer
from service.hotspot_table import Component, Largest, Table, zone_cells
from service.outlines import Corners, multipolygons
from service.region import Zone
from service.row_runs import Ints, Touching, ends_of_sides, groups_of, runs_of, touching
from service.zone_strips import ZoneStrips, pieces

_HIGH = CLASS_LABELS.index("high") + 1
_FEW = 8  # cells are counted one by one where fewer than one in so many count
_COMPACT_LEAST = 1_000_000  # corners that are kept without asking whose they are: 26 MB


@dataclass(frozen=True)
class Hotspots:
    """The largest hotspots, and what was left out beside them."""

    found: tuple[Hotspot, ...]  # largest first; equal areas from north to south, west to east
    left_out: int
    left_out_area_m2: float


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
    now = np.array(geometries, object)
    here, there = shapely.STRtree(then).query(now)
    shared = _share_ground(now, then, here, there)
    for index, other in zip(here[shared], there[shared], strict=True):
        # Files that do not say since when say at least that it was there on their day.
        since[index] = min(since[index], before[other].first_seen or previous.day)
    return since


def _share_ground(
    now: npt.NDArray[np.object_], then: npt.NDArray[np.object_], here: Ints, there: Ints
) -> npt.NDArray[np.bool_]:
    """Return whether the insides of now[here] and then[there] meet: bool, for each pair."""
    # One patch may be most of a map: it is looked through once, not once for each that lies in its box.
    shapely.prepare(now)
    shapely.prepare(then)
    # A point inside one that the other holds settles nearly every pair, at a twentieth of the cost.
    shared = np.asarray(shapely.intersects(then[there], shapely.point_on_surface(now)[here]))
    rest = np.flatnonzero(~shared)
    shared[rest] = shapely.intersects(now[here[rest]], shapely.point_on_surface(then)[there[rest]])
    rest = np.flatnonzero(~shared)
    one, other = now[here[rest]], then[there[rest]]
    swap = shapely.get_num_coordinates(one) < shapely.get_num_coordinates(other)
    large, small = np.where(swap, other, one), np.where(swap, one, other)
    rest = rest[shapely.intersects(large, small)]
    shared[rest] = shapely.relate_pattern(now[here[rest]], then[there[rest]], "T********")
    return shared


@dataclass(frozen=True)
class _Reach:
    """The runs of the last row that was looked at; all arrays are (n,)."""

    starts: Ints  # columns
    ends: Ints
    row: Ints  # of the component, in the table of those that reach this row
    part: Ints  # number of the 4-connected part


class HotspotFinder:
    """Finds the hotspots of a layer while it is made, from its strips, north to south, of any height.

    The layer lies on a grid of `shape` and `transform`. A hotspot's growth is the area of its cells that
    were known in the layer `previous`, on the same grid, and neither high nor very high there; None without
    such a layer, or where it knew none of the hotspot's cells. Its zone is the one that holds most of its
    cells, None where no zone holds any. Mean and maximum are of susceptibility (0..1) over its cells.
    """

    def __init__(
        self,
        strips: ZoneStrips,
        zones: Sequence[Zone],
        *,
        shape: tuple[int, int],
        transform: Affine,
        min_area_m2: float,
        at_most: int,
        previous: EarlierLayer | None = None,
    ) -> None:
        self._strips, self._names = strips, {zone.code: zone.id for zone in zones}
        self._transform, self._previous = transform, previous
        self._height, self._width = shape
        self._cell_area_m2 = abs(transform.a * transform.e)
        self._keep = Largest(min_cells=min_area_m2 / self._cell_area_m2 - 1e-9, at_most=at_most)
        self._table = Table.empty()  # components that touch the last row
        none = np.zeros(0, np.int64)
        self._reach = _Reach(none, none, none, none)
        self._corners: list[Corners] = []  # of components that are large, or not finished
        self._same: list[Ints] = []  # (2, n) each: parts that are one
        self._parts = self._pieces = 0  # so many have a number
        self._compact_at = _COMPACT_LEAST

    def add(self, row: int, stored: npt.NDArray[np.uint8], classes: npt.NDArray[np.uint8]) -> None:
        """Take the stored susceptibility and classes, uint8 (rows, width), whose first row is `row`.

        Raises StorageError for a previous layer that cannot be read.
        """
        for first, rows in pieces(row, len(classes)):
            part = slice(first - row, first - row + rows)
            high = classes[part] >= _HIGH
            if len(self._reach.starts) or high.any():
                starts, ends = runs_of(high)
                self._advance(_Strip(first, starts, ends, high, stored[part]), rows)

    def finish(self) -> Hotspots:
        """Return the hotspots; once, after the last strip."""
        none, no = np.zeros(0, np.int64), np.zeros((0, self._width), np.uint8)
        self._advance(_Strip(self._height, none, none, no > 0, no), 0)
        kept = self._keep.result()
        geometries = multipolygons(self._kept_corners(kept), self._transform)
        found = tuple(
            Hotspot(
                id=number,
                area_m2=component.cells * self._cell_area_m2,
                mean=component.total * SCALE / component.cells,
                maximum=component.maximum * SCALE,
                zone=self._names.get(component.zone),
                growth_m2=component.grown * self._cell_area_m2 if component.known_before else None,
                geometry_wkb=shapely.to_wkb(geometry, byte_order=1),
            )
            for number, (component, geometry) in enumerate(zip(kept, geometries, strict=True), start=1)
        )
        return Hotspots(found, self._keep.left_out, self._keep.left_out_cells * self._cell_area_m2)

    def _advance(self, strip: _Strip, rows: int) -> None:
        """Take the runs of a strip: join them to what reaches it, and hand on what does not leave it."""
        stride, above = self._width + 1, self._reach
        # Row 0 of the keys is the last row above, whose runs come first.
        starts = np.concatenate([above.starts, strip.starts + stride])
        ends = np.concatenate([above.ends, strip.ends + stride])
        carried, reaching = len(above.starts), len(self._table)
        pairs = touching(starts, ends, stride)
        node = np.concatenate([above.row, reaching + np.arange(len(strip.starts))])
        groups, group = groups_of(reaching + len(strip.starts), node[pairs.upper], node[pairs.lower])
        of_run = group[node]

        cells = np.bincount(of_run[carried:], strip.ends - strip.starts, minlength=groups).astype(np.int64)
        np.add.at(cells, group[:reaching], self._table.sums[:, 0])
        last = starts >= rows * stride if rows else np.zeros(len(starts), np.bool_)
        goes_on = np.zeros(groups, np.bool_)
        goes_on[of_run[last]] = True
        matters = goes_on | (cells >= self._keep.min_cells)

        merged = self._table.below(self._measure(strip, of_run[carried:], groups, matters))
        merged = merged.merge(np.concatenate([group[:reaching], np.arange(groups)]), groups)
        parts = self._keep_outline(starts, ends, pairs, last, of_run, matters, strip.row - 1, rows)
        for component in merged.take(matters & ~goes_on).components():
            self._keep.add(component)
        self._table = merged.take(goes_on)
        place = np.cumsum(goes_on) - 1
        self._reach = _Reach(
            starts[last] - rows * stride, ends[last] - rows * stride, place[of_run[last]], parts[last]
        )
        self._pieces += groups
        if sum(map(len, self._corners)) > self._compact_at:
            self._compact()

    def _measure(self, strip: _Strip, group: Ints, groups: int, matters: npt.NDArray[np.bool_]) -> Table:
        """Sum up a strip's runs by their group, where it matters: a row for each group."""
        chosen = matters[group]
        group = group[chosen]
        begin, end = strip.flat(chosen, self._width)
        sums = np.zeros((groups, 4), np.int64)
        maximum, first = np.zeros(groups, np.int64), np.full(groups, np.iinfo(np.int64).max)
        zones = np.zeros((0, 3), np.int64)
        if len(begin):
            stored = np.ascontiguousarray(strip.stored).ravel()
            columns = [end - begin, _sum_of(stored, begin, end)]
            if self._previous is not None:
                then = self._previous.classes(strip.row, len(strip.stored))
                unknown = _count_of(strip.high & (then == 0), begin, end)
                lower = _count_of(strip.high & (then < _HIGH), begin, end)
                columns += [end - begin - unknown, lower - unknown]
            for number, column in enumerate(columns):
                np.add.at(sums[:, number], group, column)
            np.maximum.at(maximum, group, _reduced(np.maximum, stored, begin, end).astype(np.int64))
            np.minimum.at(first, group, begin + strip.row * self._width)
            zones = self._zones(strip, group, begin, end)
        numbers = np.flatnonzero(matters)
        return Table(sums, maximum, first, zones, np.column_stack([numbers, self._pieces + numbers]))

    def _zones(self, strip: _Strip, group: Ints, begin: Ints, end: Ints) -> Ints:
        """Count the cells of runs by group and zone: (n, 3), sorted."""
        codes = self._strips.codes(strip.row, len(strip.stored)).ravel()
        changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        run = np.searchsorted(begin, changes, side="right") - 1
        within = (run >= 0) & (changes > begin[run]) & (changes < end[run])
        # Runs are cut where the zone changes.
        order = np.argsort(np.concatenate([begin, changes[within]]), kind="stable")
        starts = np.concatenate([begin, changes[within]])[order]
        owner = np.concatenate([np.arange(len(begin)), run[within]])[order]
        stops = np.minimum(np.append(starts[1:], end[-1]), end[owner])
        return zone_cells(group, np.column_stack([owner, codes[starts], stops - starts]).astype(np.int64))

    def _keep_outline(
        self,
        starts: Ints,
        ends: Ints,
        pairs: Touching,
        last: npt.NDArray[np.bool_],
        group: Ints,
        matters: npt.NDArray[np.bool_],
        line: int,
        rows: int,
    ) -> Ints:
        """Keep the corners of what matters; return the number of each run's part.

        The keys' row 0 is the row `line` of the raster; `rows` come below it.
        """
        stride, carried = self._width + 1, len(self._reach.starts)
        count, part = groups_of(len(starts), pairs.upper[pairs.by_side], pairs.lower[pairs.by_side])
        part += self._parts
        self._parts += count
        chosen = matters[group]
        same = np.stack([self._reach.part, part[:carried]])[:, chosen[:carried]]
        self._same.append(np.unique(same, axis=1))
        for keys, right in ((starts, False), (ends, True)):
            begins, stops = ends_of_sides(keys, rows + 1, stride)
            begins[:carried] = False  # of the row above: it is known where they begin
            stops[last] = False  # of the last row: it is not known yet whether they go on
            for which, top in ((begins & chosen, True), (stops & chosen, False)):
                row, column = np.divmod(keys[which], stride)
                at, column = (row + line + (0 if top else 1)).astype(np.int32), column.astype(np.int32)
                right_of, begins_at = np.full(len(row), right), np.full(len(row), top)
                piece = group[which] + self._pieces
                self._corners.append(Corners(at, column, right_of, begins_at, part[which], piece))
        return part

    def _compact(self) -> None:
        """Forget the corners of components that others have pushed out of the largest."""
        wanted = [number for component in self._keep.result() for number in component.pieces]
        wanted += self._table.pieces[:, 1].tolist()
        held = Corners.joined(self._corners)
        self._corners = [held.take(np.isin(held.patch, np.array(wanted, np.int64)))]
        self._compact_at = max(_COMPACT_LEAST, 2 * len(self._corners[0]))

    def _kept_corners(self, kept: Sequence[Component]) -> Corners:
        """The corners of the kept components, patches numbered as these; parts cut by strips are made one."""
        held = Corners.joined(self._corners)
        self._corners.clear()  # a ragged map has one for each of its cells, or nearly
        pieces_of = np.array([number for one in kept for number in one.pieces], np.int64)
        owners = np.repeat(np.arange(len(kept)), [len(one.pieces) for one in kept])
        order = np.argsort(pieces_of)
        place = np.searchsorted(pieces_of, held.patch, sorter=order)
        place[place == len(order)] = 0
        found = pieces_of[order[place]] == held.patch if len(order) else np.zeros(len(held), np.bool_)
        corners = held.take(found)
        del held
        return replace(corners, part=self._whole(corners.part), patch=owners[order[place[found]]])

    def _whole(self, part: Ints) -> Ints:
        """Give one number to the parts that are one."""
        same = np.concatenate([np.zeros((2, 0), np.int64), *self._same], axis=1)
        if not same.size:
            return part
        numbers, place = np.unique(same, return_inverse=True)
        upper, lower = place.reshape(2, -1)
        _, group = groups_of(len(numbers), upper, lower)
        one_of = numbers[np.unique(group, return_index=True)[1]]
        place = np.minimum(np.searchsorted(numbers, part), len(numbers) - 1)
        return np.where(numbers[place] == part, one_of[group[place]], part)


@dataclass(frozen=True)
class _Strip:
    """Runs of high cells in rows from `row` on."""

    row: int
    starts: Ints  # keys
    ends: Ints
    high: npt.NDArray[np.bool_]  # (rows, width)
    stored: npt.NDArray[np.uint8]  # (rows, width) susceptibility of all cells

    def flat(self, chosen: npt.NDArray[np.bool_], width: int) -> tuple[Ints, Ints]:
        """Return where the chosen runs begin and end, as row-major indices of the strip's cells."""
        rows = self.starts[chosen] // (width + 1)
        return self.starts[chosen] - rows, self.ends[chosen] - rows


def _count_of(cells: npt.NDArray[np.bool_], begin: Ints, end: Ints) -> Ints:
    """Count the cells of each run, [begin, end) in order and apart: int64 (n,)."""
    found = np.flatnonzero(cells)
    if len(found) * _FEW > cells.size:
        return _sum_of(cells.ravel(), begin, end)
    run = np.searchsorted(begin, found, side="right") - 1
    within = (run >= 0) & (found < end[run])
    return np.bincount(run[within], minlength=len(begin))


def _sum_of(values: npt.NDArray[Any], begin: Ints, end: Ints) -> Ints:
    return np.asarray(_reduced(np.add, values, begin, end, np.int64), np.int64)


def _reduced(
    how: np.ufunc, values: npt.NDArray[Any], begin: Ints, end: Ints, dtype: Any = None
) -> npt.NDArray[Any]:
    """Reduce each run of values, [begin, end) in order and apart."""
    cuts = np.column_stack([begin, end]).ravel()
    if cuts[-1] == len(values):
        cuts = cuts[:-1]
    return np.asarray(how.reduceat(values, cuts, dtype=dtype)[::2])
