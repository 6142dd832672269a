"""Computing the spatial state: tile by tile into files, or into memory and gone.

A build is three steps, so that the middle one can be done by any number of workers: `begin` makes the files
at their full size, `build_tiles` fills in the records of some tiles, and the caller completes and renames.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.bundle import Bundle
from service.errors import StorageError
from service.patches import NO_DATA, OUTSIDE, Flags, PatchReader
from service.region import ForcingGrid
from service.state_records import Block, BlockFile, FloatArray, Quantiser
from service.threads import in_order
from service.tiles import forcing_cells_along, runs_of, tiles_of

Members = npt.NDArray[np.intp]

STATE, FLAGS, CELLS = "state.bin", "flags.bin", "cells.bin"
CELLS_BYTES = 8  # of a forcing cell in cells.bin

_AT_ONCE = 64 << 20  # bytes of state.bin that are brought to the disk together


class BuildTiles(Protocol):
    """Fills in the records of all tiles of a folder that was begun; yields forcing cells done, each time."""

    def __call__(self, folder: Path, tiles: Sequence[Members]) -> Generator[int, None, None]:
        """Return when every tile is in the files."""
        ...


@dataclass(frozen=True)
class MadeTile:
    """The state of a tile: flags uint8 (m, k*k) and, where some cell is valid, the graph's values.

    `values` has strides of its own: (m, D, k, k). None for kind `whole`, and where no cell is valid.
    """

    flags: Flags
    values: list[FloatArray] | None


class TileMaker:
    """Computes tiles' states. Safe to use from several threads."""

    def __init__(self, forcing: ForcingGrid, patches: PatchReader, bundle: Bundle | None) -> None:
        """`bundle` None: flags alone."""
        self._forcing, self._patches = forcing, patches
        self._bundle = bundle if bundle is not None and bundle.manifest.kind == "factored" else None

    def make(self, members: Members) -> MadeTile:
        """Return the state of a tile; `members` are all its active forcing cells.

        The tile's extent is theirs, and the last bits of what the graph makes of a cell depend on it.
        """
        k, places = self._forcing.k, self._forcing.active[members].astype(np.int64)
        corner = places.min(axis=0)
        height, width = ((places.max(axis=0) - corner + 1) * k).tolist()
        row, column = (corner * k).tolist()
        tile = self._patches.read(row, column, height, width)
        places -= corner
        blocks = tile.flags.reshape(height // k, k, width // k, k).swapaxes(1, 2)
        flags = blocks[places[:, 0], places[:, 1]].reshape(len(members), k * k)
        if self._bundle is None or not flags.any():
            return MadeTile(flags, None)
        state = self._bundle.spatial(tile.factors[None])[0]
        starts = (places * k).tolist()
        return MadeTile(flags, [state[:, down : down + k, across : across + k] for down, across in starts])


class TilesOfCells:
    """Finds the tile that a forcing cell belongs to."""

    def __init__(self, forcing: ForcingGrid) -> None:
        self._members: list[Members] = [tile.members for tile in tiles_of(forcing) if len(tile.members)]
        self._tile = np.empty(len(forcing.active), np.intp)
        for number, members in enumerate(self._members):
            self._tile[members] = number

    def all_of(self, index: int) -> Members:
        """Return all active forcing cells of the tile of forcing cell `index`."""
        return self._members[int(self._tile[index])]


def tiles_to_build(forcing: ForcingGrid, patches: PatchReader) -> list[Members]:
    """Return the active forcing cells of each tile, in an order that reads each square of factors once.

    That is stripe after stripe from west to east, each from north to south.
    """
    tiles = [tile.members for tile in tiles_of(forcing) if len(tile.members)]
    stripe = max(1, patches.blocks.stripe // (forcing_cells_along(forcing.k) * forcing.k))
    along = forcing_cells_along(forcing.k) * stripe
    return sorted(tiles, key=lambda members: int(forcing.active[members[0], 1]) // along)


def begin(folder: Path, forcing_cells: int, k: int, channels: int | None) -> None:
    """Make the files at their full size; without `channels` no state.bin. Raises StorageError: disk full."""
    _sized(folder / FLAGS, forcing_cells * k**2)
    _sized(folder / CELLS, forcing_cells * CELLS_BYTES)
    if channels is not None:
        size = forcing_cells * Block(k, channels).nbytes
        _refuse_full_disk(folder, size)
        _sized(folder / STATE, size)


def build_tiles(
    forcing: ForcingGrid,
    patches: PatchReader,
    bundle: Bundle,
    folder: Path,
    tiles: Sequence[Members],
    workers: int = 1,
) -> Generator[int, None, None]:
    """Compute tiles on threads and write their records into the files of `begin`; yield forcing cells done.

    Records lie where their forcing cell says and are written once, so any number of processes may build
    different tiles of one folder. Without state.bin there, flags and cell counts alone are computed.
    """
    with ExitStack() as stack:
        flags_file = stack.enter_context(_open(folder / FLAGS))
        cells_file = stack.enter_context(_open(folder / CELLS))
        records, descriptor = None, None
        if (folder / STATE).exists():
            descriptor = stack.enter_context(_open(folder / STATE))
            records = BlockFile(descriptor, forcing.k, bundle.manifest.channels)
        maker = TileMaker(forcing, patches, bundle if records is not None else None)
        writer = _Writer(flags_file, cells_file, records, forcing.k)

        def one_tile(members: Members) -> int:
            writer.write(members, maker.make(members))
            return len(members)

        written = _WriteBack(descriptor) if descriptor is not None else None
        size = Block(forcing.k, bundle.manifest.channels).nbytes
        counts = stack.enter_context(closing(in_order(one_tile, tiles, workers, ahead=2 * workers)))
        with written or nullcontext():
            for count in counts:
                if written is not None:
                    written.add(count * size)
                yield count


class _WriteBack:
    """Brings a growing file to the disk while it is computed, so that nobody waits for it at the end."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._bytes = 0
        self._pool = ThreadPoolExecutor(1, "colluvium-disk")
        self._running: Future[None] | None = None

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
        if self._running is not None:
            self._running.result()

    def add(self, size: int) -> None:
        """Count what was written. Raises OSError where what was written before did not get to the disk."""
        self._bytes += size
        if self._bytes < _AT_ONCE or not (self._running is None or self._running.done()):
            return
        if self._running is not None:
            self._running.result()
        self._bytes = 0
        self._running = self._pool.submit(os.fdatasync, self._descriptor)


class _Writer:
    """Writes tiles. Safe to use from several threads."""

    def __init__(self, flags_file: int, cells_file: int, records: BlockFile | None, k: int) -> None:
        self._flags, self._cells, self._records, self._k = flags_file, cells_file, records, k
        self._quantiser = Quantiser(k, records.channels) if records is not None else None
        self._own = threading.local()

    def write(self, members: Members, made: MadeTile) -> None:
        counts = np.empty((len(members), 2), np.int32)
        counts[:, 0] = (made.flags != NO_DATA).sum(axis=1)
        counts[:, 1] = (made.flags == OUTSIDE).sum(axis=1)
        for part in runs_of(members):
            first = int(members[part.start])
            _write(self._flags, made.flags[part], first * self._k**2)
            _write(self._cells, counts[part], first * CELLS_BYTES)
        if made.values is not None:
            self._write_records(members, made.flags, counts[:, 0], made.values)

    def _write_records(
        self, members: Members, flags: Flags, valid: npt.NDArray[np.int32], values: list[FloatArray]
    ) -> None:
        if self._records is None or self._quantiser is None:
            return
        # Forcing cells without data stay holes in the file.
        filled = np.flatnonzero(valid)
        blocks = self._blocks(len(filled))
        for part in runs_of(members[filled]):
            for number in range(part.start, part.stop):
                place = int(filled[number])
                self._quantiser.fill(blocks[number], values[place], flags[place])
            self._records.write(int(members[filled[part.start]]), blocks[part])

    def _blocks(self, count: int) -> list[Block]:
        own: list[Block] = getattr(self._own, "blocks", [])
        if self._quantiser is not None:
            own += [self._quantiser.block() for _ in range(count - len(own))]
        self._own.blocks = own
        return own


def _write(descriptor: int, values: npt.NDArray[np.uint8] | npt.NDArray[np.int32], offset: int) -> None:
    if os.pwrite(descriptor, np.ascontiguousarray(values).data, offset) != values.nbytes:
        raise StorageError("could not write the flags of the spatial state: disk full?")


def _sized(path: Path, size: int) -> None:
    """Make a file of a given size that takes no space yet."""
    with path.open("xb") as file:
        file.truncate(size)


@contextmanager
def _open(path: Path) -> Iterator[int]:
    # For writing alone: of a file that it may read too, NFS brings back whole pages, with the neighbours of
    # what was written, and workers on other machines write those.
    descriptor = os.open(path, os.O_WRONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _refuse_full_disk(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < size:
        raise StorageError(
            f"the spatial state needs {size / 1e9:.2f} GB and the disk of {folder.parent} has "
            f"{free / 1e9:.2f} GB free: no space left; free some, point region.data_dir at another disk, or "
            'set inference.state = "recomputed", which needs no state on the disk and more time a layer'
        )
