"""Tiles: the squares of forcing cells in which the spatial state is built and a layer is computed.

A tile is a square of about 128 x 128 cells, 4 x 4 forcing cells of 32; a band is a row of tiles, and a strip
of a layer is a band. State and layer share them, so that a state which is recomputed is the one that would
have been stored, whatever the convolution's arithmetic does at a tile's edge.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from service.region import ForcingGrid

Indices = npt.NDArray[np.intp]

# Cells along a tile of spatial.onnx: larger ones leave the cache, smaller ones are mostly halo.
_TILE_CELLS = 128


@dataclass(frozen=True)
class Tile:
    """The active forcing cells of one square, row by row; `last` ends its band."""

    band: int
    members: Indices
    last: bool


def forcing_cells_along(k: int) -> int:
    """Return how many forcing cells of k x k cells a tile has along each side."""
    return max(1, _TILE_CELLS // k)


def bands_of(forcing: ForcingGrid) -> int:
    """Return how many bands the grid has."""
    return -(-forcing.rows // forcing_cells_along(forcing.k))


def tiles_of(forcing: ForcingGrid, chosen: npt.NDArray[np.bool_] | None = None) -> Iterator[Tile]:
    """Yield the tiles from north to south and west to east, with their active forcing cells.

    With `chosen`, bool (n,), only those forcing cells. A tile without any is left out, but a band without
    any is one empty tile.
    """
    along = forcing_cells_along(forcing.k)
    members = np.arange(len(forcing.active)) if chosen is None else np.flatnonzero(chosen)
    square = forcing.active[members].astype(np.int64) // along
    across = -(-forcing.columns // along)
    code = square[:, 0] * across + square[:, 1]
    order = np.argsort(code, kind="stable")
    members, code = members[order], code[order]
    bounds = np.searchsorted(code, np.arange(bands_of(forcing) + 1) * across)
    for band in range(bands_of(forcing)):
        first, end = int(bounds[band]), int(bounds[band + 1])
        starts = np.flatnonzero(np.diff(code[first:end])) + 1
        pieces = np.split(members[first:end], starts)
        for number, piece in enumerate(pieces, start=1):
            yield Tile(band, piece, last=number == len(pieces))


def runs_of(members: Indices) -> Iterator[slice]:
    """Yield the parts of `members` whose forcing cells follow one another without a gap."""
    starts = [0, *(np.flatnonzero(np.diff(members) != 1) + 1).tolist(), len(members)]
    yield from (slice(first, last) for first, last in pairwise(starts) if last > first)
