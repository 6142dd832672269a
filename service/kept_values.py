"""What a forcing cell's values depend on, and the values of an earlier layer where all of that is the same.

A forcing cell's susceptibility is made from its four corner windows, the cells that a gauge reaches, and what
is the same for the whole layer: the model, the state, the arithmetic. Where none of it has changed since an
earlier layer, that layer's stored values are what would come out again, and they are read instead.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.errors import RasterioIOError
from rasterio.windows import Window

from exporters.cog import SUSCEPTIBILITY
from exporters.companions import PROBABILITY, UNCERTAINTY
from service.ensemble import count_outside, windows_outside
from service.errors import StorageError
from service.manifest import Manifest
from service.patches import NO_DATA
from service.region import ForcingGrid
from service.sequences import WindowSet
from service.state import SpatialState
from service.tiles import bands_of, forcing_cells_along

# Where the values of a layer lie, by what a tile's result calls them: file and band.
PLACES = {
    "stored": (SUSCEPTIBILITY, 1),
    "spread": (UNCERTAINTY, 1),
    "marks": (UNCERTAINTY, 2),
    "probability": (PROBABILITY, 1),
}

Digests = npt.NDArray[np.uint64]  # (..., 2): 128 bits each
Cells = npt.NDArray[np.bool_]

_BITS = 16  # bytes of a digest


@dataclass(frozen=True)
class Fingerprints:
    """Digests of what the values of each of n forcing cells depend on; m distinct windows."""

    windows: Digests  # (m, 2)
    corner_rows: npt.NDArray[np.int32]  # (n, 4) rows of `windows`, NW NE SW SE; -1: no window there
    reach: Digests  # (n, 2) of the cells in range where not all are; zeros where all are

    @classmethod
    def of(cls, windows: WindowSet, *, without_windows: bool = False) -> Fingerprints:
        """Return those of a layer's windows; `without_windows` for a model that is given none."""
        rows = windows.corner_rows
        if without_windows:
            digests = np.zeros((len(windows.windows), 2), np.uint64)
        else:
            flat = np.ascontiguousarray(windows.windows).reshape(len(windows.windows), -1)
            found = b"".join(blake2b(window.data, digest_size=_BITS).digest() for window in flat)
            digests = np.frombuffer(found, np.uint64).reshape(-1, 2)
        reach = np.zeros((len(rows), 2), np.uint64)
        for index, inside in windows.partial.items():
            packed = np.packbits(inside).tobytes()
            reach[index] = np.frombuffer(blake2b(packed, digest_size=_BITS).digest(), np.uint64)
        return cls(digests, rows, reach)

    def check(self) -> None:
        """Raise ValueError where the arrays do not belong together: a file may hold anything."""
        shapes = self.windows.shape[1:], self.corner_rows.shape[1:], self.reach.shape
        kinds = self.windows.dtype.name, self.corner_rows.dtype.name, self.reach.dtype.name
        expected = (2,), (4,), (len(self.corner_rows), 2)
        if shapes != expected or kinds != ("uint64", "int32", "uint64"):
            raise ValueError(f"arrays of shapes {shapes} and types {kinds} are no fingerprints")
        rows = self.corner_rows
        if rows.size and (rows.min() < -1 or rows.max() >= len(self.windows)):
            raise ValueError("a forcing cell names a window that is not there")

    def same(self, earlier: Fingerprints) -> Cells:
        """Return which forcing cells depend on the same as in `earlier`, of the same grid: (n,)."""
        ours, theirs = self._corners(), earlier._corners()
        same = (ours == theirs).all(axis=(1, 2)) & (self.reach == earlier.reach).all(axis=1)
        here, there = self.corner_rows >= 0, earlier.corner_rows >= 0
        # Without all four windows a forcing cell is unknown, whichever of them is missing.
        without = ~here.all(axis=1) & ~there.all(axis=1)
        return np.asarray(same & (here == there).all(axis=1) | without)

    def _corners(self) -> Digests:
        nothing = np.zeros((1, 2), np.uint64)  # what row -1 finds
        return np.asarray(np.concatenate([self.windows, nothing])[self.corner_rows])


class KeptValues:
    """Values of an earlier layer for a new one; a context manager that owns the open files.

    `cells` (n,) says which active forcing cells keep theirs.
    """

    def __init__(self, forcing: ForcingGrid, cells: Cells, folder: Path, *, threads: int = 1) -> None:
        self.cells = cells
        self._forcing, self._folder, self._threads = forcing, folder, threads
        self._stack = ExitStack()
        self._files: dict[str, _Rows] = {}
        self._band = forcing.active[:, 0] // forcing_cells_along(forcing.k)
        self._some = np.bincount(self._band[cells], minlength=bands_of(forcing)) > 0

    def __enter__(self) -> KeptValues:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def fill(self, band: int, rasters: Mapping[str, npt.NDArray[Any]]) -> None:
        """Put what is kept into a band's rasters, (rows, columns * k), by the names of PLACES.

        The rest of them stays as it is. Raises StorageError where the earlier layer cannot be read.
        """
        if not self._some[band]:
            return
        k, along = self._forcing.k, forcing_cells_along(self._forcing.k)
        others = self._forcing.active[(self._band == band) & ~self.cells] - (band * along, 0)
        for name, raster in rasters.items():
            blocks = raster.reshape(-1, k, self._forcing.columns, k).swapaxes(1, 2)
            before = blocks[others[:, 0], others[:, 1]]
            found = self._read(name, band * along * k, along * k)
            raster[: len(found), : found.shape[1]] = found
            blocks[others[:, 0], others[:, 1]] = before

    def outside(self, manifest: Manifest, state: SpatialState, windows: WindowSet) -> npt.NDArray[np.int64]:
        """Count, by band, the kept cells that are known and lie outside the training ranges.

        They are counted anew: it takes no more than how many of each forcing cell there are.
        """
        kept = self.cells & windows.complete & (state.valid_cells > 0)
        strange = windows_outside(manifest, windows)
        counts = np.zeros(len(kept), np.int64)
        if "patches" not in manifest.ignores:
            counts += state.outside_cells
        if "window" not in manifest.ignores:
            counts = np.where(strange, state.valid_cells, counts)
        for index, in_range in windows.partial.items():
            if kept[index]:
                flags = state.flags(index, index + 1)
                known = (flags != NO_DATA) & in_range
                counts[index] = count_outside(manifest, flags, known, strange[index : index + 1])
        by_band = np.bincount(self._band[kept], weights=counts[kept], minlength=bands_of(self._forcing))
        return np.asarray(np.rint(by_band), np.int64)

    def _read(self, name: str, first: int, count: int) -> npt.NDArray[Any]:
        file, band = PLACES[name]
        rows = self._files.get(name)
        if rows is None:
            rows = self._files[name] = _Rows(self._folder / file, band, self._threads)
            self._stack.callback(rows.close)
        return rows.read(first, count)


class _Rows:
    """One band of a raster, read in whole rows of blocks: each is decoded once, ahead of who asks for it."""

    def __init__(self, path: Path, band: int, threads: int) -> None:
        self._path, self._band = path, band
        try:
            self._file: Any = rasterio.open(path, NUM_THREADS=str(max(1, threads)))
        except RasterioIOError as error:
            raise _unreadable(path, error) from error
        self._height = int(self._file.height)
        self._block = int(self._file.block_shapes[band - 1][0])
        self._start, self._rows = 0, np.zeros((0, 0))
        # The file belongs to this thread.
        self._reader = ThreadPoolExecutor(1, "colluvium-kept")
        self._ahead: tuple[int, int, Future[npt.NDArray[Any]]] | None = None

    def read(self, first: int, count: int) -> npt.NDArray[Any]:
        """Return `count` rows from the first one on, or as many as there are."""
        count = min(count, self._height - first)
        if not self._start <= first <= first + count <= self._start + len(self._rows):
            start = first // self._block * self._block
            end = min(-(-(first + count) // self._block) * self._block, self._height)
            if self._ahead is None or self._ahead[:2] != (start, end):
                self._ahead = self._begin(start, end)
            try:
                self._rows = self._ahead[2].result()
            except RasterioIOError as error:
                raise _unreadable(self._path, error) from error
            self._start = start
            after = min(end + (end - start), self._height)
            self._ahead = self._begin(end, after) if end < after else None
        return np.asarray(self._rows[first - self._start :][:count])

    def close(self) -> None:
        self._reader.shutdown(cancel_futures=True)
        self._file.close()

    def _begin(self, start: int, end: int) -> tuple[int, int, Future[npt.NDArray[Any]]]:
        window = Window(0, start, self._file.width, end - start)
        return start, end, self._reader.submit(self._file.read, self._band, window=window)


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(
        f"{path} could be read a moment ago, and cannot be read any more ({error.__cause__ or error}); "
        "look at the disk. With inference.keep_unchanged = false nothing of it is needed"
    )
