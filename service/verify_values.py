"""What one layer says of the ground that matters: read once, in strips, into counts by stored value.

Counts are int64 (251,) by stored susceptibility 0..250; unknown cells are in none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from exporters.cog import SUSCEPTIBILITY
from exporters.layer import NODATA, TOP
from service.errors import StorageError
from service.region import Grid
from service.verify_ground import STRIP_ROWS, Footprint, LookedGround, LookedSpan, Mask

_PLACES = 64  # random places for each event and map
_AT_ONCE = 1 << 20  # cells that are counted at once: counting takes eight times their bytes

Counts = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DayValues:
    """One layer in counts."""

    ground: Counts  # of the whole map; all zero where no event asked for it
    events: Mapping[str, Counts]  # by uid: of each footprint
    looked: Counts  # where somebody looked
    # By uid: at how many random places of the map the footprint was put, and how often its highest cell was
    # high or very high there.
    chance: Mapping[str, tuple[int, int]]


def read_values(
    folder: Path,
    grid: Grid,
    high: int,
    footprints: Mapping[str, Footprint],
    looked: LookedGround | None = None,
    spans: Sequence[LookedSpan] = (),
    *,
    with_ground: bool = True,
    strip_rows: int = STRIP_ROWS,
) -> DayValues:
    """Read a layer's folder; `high` is the stored value from which the class is high.

    Without `with_ground` only the rows of footprints and spans are read, and nothing is put to chance.
    Raises StorageError for a layer that cannot be read or lies on other cells.
    """
    found = {uid: np.zeros(TOP + 1, np.int64) for uid in footprints}
    ground, seen = np.zeros(TOP + 1, np.int64), np.zeros(TOP + 1, np.int64)
    throws = {uid: _Throws(uid, item, grid) for uid, item in footprints.items()} if with_ground else {}
    try:
        with rasterio.open(folder / SUSCEPTIBILITY, sharing=False) as layer:
            if not grid.matches(layer):
                raise StorageError(f"the layer in {folder} lies on other cells than the region's grid")
            for row in range(0, grid.height, strip_rows):
                rows = min(strip_rows, grid.height - row)
                touched = [item for item in footprints.items() if _touches(item[1], row, rows)]
                mask = looked.strip(spans, row, rows, grid.width) if looked is not None else None
                if not (with_ground or touched or mask is not None):
                    continue
                strip = layer.read(1, window=Window(0, row, grid.width, rows))
                if with_ground:
                    ground += count(strip)
                if mask is not None:
                    seen += count(strip[mask])
                for uid, item in touched:
                    found[uid] += count(_part(strip, row, item.row, item.column, item.mask))
                for throw in throws.values():
                    throw.add(strip, row)
    except rasterio.errors.RasterioIOError as error:
        raise StorageError(f"the layer in {folder} cannot be read: {error}") from error
    return DayValues(ground, found, seen, {uid: throw.result(high) for uid, throw in throws.items()})


def count(stored: npt.NDArray[np.uint8]) -> Counts:
    """Count stored values of any shape: int64 (251,), unknown ones left out."""
    flat = stored.reshape(-1)
    counts = np.zeros(NODATA + 1, np.int64)
    for first in range(0, len(flat), _AT_ONCE):
        counts += np.bincount(flat[first : first + _AT_ONCE], minlength=NODATA + 1)
    return counts[: TOP + 1]


class _Throws:
    """A footprint put at random places of a map: always the same places for the same event."""

    def __init__(self, uid: str, footprint: Footprint, grid: Grid) -> None:
        seed = int.from_bytes(hashlib.sha256(uid.encode()).digest()[:8], "big")
        places = np.random.default_rng(seed).integers(0, (grid.height, grid.width), (_PLACES, 2))
        self._mask = footprint.mask
        self._centres = places
        shift = footprint.row - footprint.centre[0], footprint.column - footprint.centre[1]
        self._corners = places + np.array(shift)
        self._highest = np.full(_PLACES, -1)
        self._known = np.zeros(_PLACES, bool)

    def add(self, strip: npt.NDArray[np.uint8], row: int) -> None:
        """Look at the rows of a strip."""
        height = len(self._mask)
        for index in np.flatnonzero(
            (self._corners[:, 0] < row + len(strip)) & (self._corners[:, 0] + height > row)
        ):
            corner_row, corner_column = (int(value) for value in self._corners[index])
            values = _part(strip, row, corner_row, corner_column, self._mask)
            values = values[values <= TOP]
            if values.size:
                self._highest[index] = max(self._highest[index], int(values.max()))
        for index in np.flatnonzero((self._centres[:, 0] >= row) & (self._centres[:, 0] < row + len(strip))):
            self._known[index] = strip[self._centres[index, 0] - row, self._centres[index, 1]] <= TOP

    def result(self, high: int) -> tuple[int, int]:
        """Return how many places lie on known ground, and at how many of them a high cell was touched."""
        return int(self._known.sum()), int((self._known & (self._highest >= high)).sum())


def _touches(item: Footprint, row: int, rows: int) -> bool:
    return item.row < row + rows and item.row + len(item.mask) > row


def _part(
    strip: npt.NDArray[np.uint8], row: int, corner_row: int, corner_column: int, mask: Mask
) -> npt.NDArray[np.uint8]:
    """Return the strip's values under a mask whose corner is at a cell of the grid: uint8 (n,)."""
    height, width = mask.shape
    first, stop = max(row, corner_row), min(row + len(strip), corner_row + height)
    left, right = max(0, corner_column), min(strip.shape[1], corner_column + width)
    if first >= stop or left >= right:
        return np.zeros(0, np.uint8)
    inside = mask[first - corner_row : stop - corner_row, left - corner_column : right - corner_column]
    return strip[first - row : stop - row, left:right][inside]
