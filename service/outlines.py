"""Outlines of patches of cells, from the corners that strips leave behind.

Walking an outline with the patch on the left goes down the left side of its runs and up the right side. Sides
that lie right below each other make one segment, which has a corner at its top and one at its bottom; along a
line between two rows, corners are joined two by two. So a patch needs its corners kept, and never its cells.

Polygons are 4-connected: where cells of a patch meet at a corner alone, two polygons of it touch there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely
from affine import Affine
from scipy.sparse import coo_array
from scipy.sparse.csgraph import depth_first_order

from service.row_runs import Ints, groups_of

_CORNERS = 200_000  # that are made into polygons at once, unless a patch has more

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Corners:
    """Corners of patches, one row each, in any order; two of one patch may lie at the same place."""

    row: npt.NDArray[np.int32]  # (n,) line between rows: 0 is the upper edge of the raster
    column: npt.NDArray[np.int32]  # (n,) line between columns
    right: Flags  # (n,): the side that begins or ends here lies right of its cells
    top: Flags  # (n,): the side begins here
    part: Ints  # (n,): number of the 4-connected part that the side belongs to
    patch: Ints  # (n,): number of the patch that it belongs to

    def __len__(self) -> int:
        return len(self.row)

    @classmethod
    def joined(cls, several: list[Corners]) -> Corners:
        """Put several together."""
        if not several:
            nowhere, no, none = np.zeros(0, np.int32), np.zeros(0, np.bool_), np.zeros(0, np.int64)
            return cls(nowhere, nowhere, no, no, none, none)
        names = ("row", "column", "right", "top", "part", "patch")
        return cls(*(np.concatenate([getattr(one, name) for one in several]) for name in names))

    def take(self, chosen: Flags | npt.NDArray[np.intp]) -> Corners:
        """Keep the chosen ones, said by flags or by numbers."""
        names = ("row", "column", "right", "top", "part", "patch")
        return Corners(*(getattr(self, name)[chosen] for name in names))


@dataclass(frozen=True)
class _Sides:
    """Segments of outlines, one row each; segment i is entered at vertex 2 i and left at 2 i + 1."""

    row: npt.NDArray[np.int32]  # (2 n,) of vertices
    column: npt.NDArray[np.int32]  # (2 n,)
    part: Ints  # (n,)
    patch: Ints  # (n,)
    following: Ints  # (n,): the segment that comes after


def multipolygons(corners: Corners, transform: Affine) -> Iterator[shapely.Geometry]:
    """Yield the outline of each patch in order of their numbers: valid, normalised multipolygons.

    Memory is that of the corners, and of some patches at a time, or the largest one.
    """
    order = np.argsort(corners.patch, kind="stable")
    begins = np.flatnonzero(np.diff(corners.patch[order], prepend=-1))
    first = 0
    for end in [*begins[1:].tolist(), *([len(order)] if len(order) else [])]:
        if end - first >= _CORNERS or end == len(order):
            yield from _multipolygons(corners.take(order[first:end]), transform)
            first = end


def _multipolygons(corners: Corners, transform: Affine) -> list[shapely.Geometry]:
    sides = _sides(corners)
    del corners  # of a ragged patch there are many
    rings, part, patch = _linear_rings(sides, transform)
    del sides
    # Walked with the patch on the left, shells turn left and holes right: a part has one shell, and it comes
    # first.
    order = np.lexsort((~shapely.is_ccw(rings), part, patch))
    part, patch = part[order], patch[order]
    begins = np.diff(part, prepend=-1) != 0
    polygons = shapely.polygons(rings[order], indices=np.cumsum(begins) - 1)
    del rings  # each step copies the coordinates
    together = np.unique(patch[begins], return_inverse=True)[1]
    whole = shapely.multipolygons(polygons, indices=together)
    del polygons
    return list(shapely.normalize(whole))


def _linear_rings(sides: _Sides, transform: Affine) -> tuple[npt.NDArray[Any], Ints, Ints]:
    """Return all rings, with the part and the patch of each."""
    vertices, ring = _rings(sides)
    owner = vertices[np.flatnonzero(np.diff(ring, prepend=-1))] // 2  # a segment of each ring
    places = np.empty((len(vertices), 2))
    places[:, 0] = transform.c + sides.column[vertices] * transform.a
    places[:, 1] = transform.f + sides.row[vertices] * transform.e
    return shapely.linearrings(places, indices=ring), sides.part[owner], sides.patch[owner]


def _sides(corners: Corners) -> _Sides:
    """Join corners down the columns to segments, and along the rows to the way from one to the next."""
    # Down a column, tops and bottoms of left sides take turns, and those of right sides.
    down = np.lexsort((corners.row, corners.right, corners.column))
    upper, lower, count = down[::2], down[1::2], len(down) // 2
    right = corners.right[upper]
    entered, left = np.where(right, lower, upper), np.where(right, upper, lower)
    # Along a row; where two corners lie at one place, the right side's is the western one.
    along = np.lexsort((~corners.right, corners.column, corners.row))
    mate = np.empty(2 * count, np.int64)
    mate[along[::2]], mate[along[1::2]] = along[1::2], along[::2]
    entered_by = np.empty(2 * count, np.int64)
    entered_by[entered] = np.arange(count)
    ends = np.column_stack([entered, left]).ravel()
    return _Sides(
        row=corners.row[ends],
        column=corners.column[ends],
        part=corners.part[upper],
        patch=corners.patch[upper],
        following=entered_by[mate[left]],
    )


def _rings(sides: _Sides) -> tuple[Ints, Ints]:
    """Return the vertices of all rings, one ring after the other, and the number of each one's ring."""
    count = len(sides.following)
    _, ring = groups_of(count, np.arange(count), sides.following)
    firsts = np.unique(ring, return_index=True)[1]
    before = np.empty(count, np.int64)
    before[sides.following] = np.arange(count)
    # Each ring's last segment leads on to the next ring: one walk passes them ring by ring, in order.
    onward = sides.following.copy()
    onward[before[firsts[:-1]]] = firsts[1:]
    leads = np.flatnonzero(np.arange(count) != before[firsts[-1]])  # the last one of all leads nowhere
    graph = coo_array((np.ones(count - 1, np.int8), (leads, onward[leads])), shape=(count, count))
    walk = depth_first_order(graph.tocsr(), firsts[0], return_predecessors=False).astype(np.int64)
    vertices = np.column_stack([2 * walk, 2 * walk + 1]).ravel()
    return _split(sides, vertices, np.repeat(ring[walk], 2))


def _split(sides: _Sides, vertices: Ints, ring: Ints) -> tuple[Ints, Ints]:
    """Cut rings that touch themselves into rings that do not: polygons are made of such alone."""
    place = sides.row[vertices] * (np.int64(sides.column.max()) + 1) + sides.column[vertices]
    order = np.lexsort((place, ring))
    again = np.flatnonzero((np.diff(place[order]) == 0) & (np.diff(ring[order]) == 0))
    if not len(again):
        return vertices, _numbered(ring)
    point = np.full(len(vertices), -1)
    point[order[again]] = point[order[again + 1]] = np.arange(len(again))
    touches = np.unique(ring[point >= 0])
    cut = np.isin(ring, touches)
    done = [vertices[~cut]]
    numbers = [_numbered(ring[~cut])]
    begins = np.flatnonzero(np.diff(ring, prepend=-1))
    ends = np.append(begins[1:], len(ring))
    free = len(begins)
    for which in np.flatnonzero(cut[begins]).tolist():
        first, stop = int(begins[which]), int(ends[which])
        visits = first + np.flatnonzero(point[first:stop] >= 0)
        for spans in _loops(visits.tolist(), point[visits].tolist(), first, stop):
            loop = np.concatenate([vertices[start:end] for start, end in spans])
            done.append(loop)
            numbers.append(np.full(len(loop), free))
            free += 1
    return np.concatenate(done), _numbered(np.concatenate(numbers))


def _loops(visits: list[int], points: list[int], first: int, stop: int) -> list[list[tuple[int, int]]]:
    """Cut the ring first..stop where it comes back to a point: the spans of each ring that it is made of.

    Of each point there are two visits; `points` names them in the order of `visits`.
    """
    rings: list[list[tuple[int, int]]] = []
    spans: list[tuple[int, int]] = []  # of the ring that is being walked
    since: dict[int, int] = {}  # how many spans there were at a point's first visit
    last = first
    for at, point in zip(visits, points, strict=True):
        spans.append((last, at))
        last = at
        if point in since:
            begin = since.pop(point)
            rings.append([span for span in spans[begin:] if span[0] < span[1]])
            del spans[begin:]
        else:
            since[point] = len(spans)
    rings.append([span for span in (*spans, (last, stop)) if span[0] < span[1]])
    return rings


def _numbered(ring: Ints) -> Ints:
    """Number the rings 0.. in order, of numbers that are the same within each."""
    return np.asarray(np.cumsum(np.diff(ring, prepend=-1) != 0) - 1, np.int64)
