"""Cells of a strip as runs along its rows, and which runs of neighbouring rows touch.

A cell has the key row * (width + 1) + column, so that keys of one row never meet those of the next; a run is
[start, end) of keys. A map has far fewer runs than cells, and its runs say everything about its patches.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Ints = npt.NDArray[np.int64]


class Touching(NamedTuple):
    """Pairs of runs, the upper one in the row above the lower one's, that touch by sides or corners."""

    upper: Ints  # (n,) numbers of runs
    lower: Ints  # (n,)
    by_side: npt.NDArray[np.bool_]  # (n,): not by corners alone


def runs_of(cells: npt.NDArray[np.bool_]) -> tuple[Ints, Ints]:
    """Return starts and ends of the runs of True in cells (rows, width), in order of their keys."""
    rows, width = cells.shape
    edges = np.zeros((rows, width + 1), np.bool_)
    np.not_equal(cells[:, 1:], cells[:, :-1], out=edges[:, 1:-1])
    edges[:, 0], edges[:, -1] = cells[:, 0], cells[:, -1]
    keys = np.flatnonzero(edges)  # every row begins and ends outside: starts and ends take turns
    return keys[::2], keys[1::2]


def touching(starts: Ints, ends: Ints, stride: int) -> Touching:
    """Return which runs touch a run of the next row; `stride` is the width + 1."""
    first = np.searchsorted(ends, starts + stride, side="left")
    stop = np.searchsorted(starts, ends + stride, side="right")
    counts = stop - first
    upper = np.repeat(np.arange(len(starts)), counts)
    lower = np.arange(len(upper)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    by_side = (starts[lower] < ends[upper] + stride) & (ends[lower] > starts[upper] + stride)
    return Touching(upper, lower, by_side)


def ends_of_sides(keys: Ints, rows: int, stride: int) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Say of keys of edges in `rows` rows which have none right above, and which none right below."""
    marked = np.zeros((rows + 2) * stride, np.bool_)  # one row more above and below
    marked[keys + stride] = True
    return ~marked[keys], ~marked[keys + 2 * stride]


def groups_of(size: int, one: Ints, other: Ints) -> tuple[int, Ints]:
    """Join things 0..size-1 along pairs: how many groups there are, and the group of each, int64 (size,)."""
    if len(one) == 0:
        return size, np.arange(size)
    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(size, size))
    count, group = connected_components(graph, directed=False)
    return int(count), group.astype(np.int64)
