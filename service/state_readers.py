"""Reading the spatial state tile by tile: from the disk, or computed anew for each layer.

Both give the same bits: tiles are the same squares, computed from the same extent and quantised alike.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from service.bundle import Bundle
from service.patches import VALID, Flags, PatchReader
from service.region import ForcingGrid
from service.state_build import MadeTile, Members, TileMaker, TilesOfCells
from service.state_records import Block, Quantiser, cut_short
from service.tiles import forcing_cells_along, runs_of

if TYPE_CHECKING:
    from service.state import SpatialState

# Of factors that are kept in memory so that a band of tiles does not read the squares of the last one again.
_FACTOR_BYTES = 512 << 20


@dataclass(frozen=True)
class TileState:
    """What the state says of a tile: flags uint8 (m, k*k) of its forcing cells, to be read only; records."""

    flags: Flags
    blocks: Iterator[Block]  # one for each forcing cell, in order; each is good until the next is asked for


class StateReader(Protocol):
    """Gives the state tile by tile, from the disk or computed anew; safe to call from several threads."""

    def expect(self, members: Members) -> None:
        """Be told of a tile that will soon be asked for. Does not wait for anything."""
        ...

    def tile(self, members: Members) -> TileState:
        """Return the state of a tile's active forcing cells (m,), some at least.

        A state without records (kind `whole`) gives no blocks. Raises StorageError for a file cut short.
        """
        ...


class StoredReader:
    """The StateReader of a state on disk; a context manager that owns the files."""

    def __init__(self, state: SpatialState) -> None:
        self._size, self._own = state.record.k**2, threading.local()
        self._plain = (state.valid_cells == self._size) & (state.outside_cells == 0)
        self._valid = np.full((forcing_cells_along(state.record.k) ** 2, self._size), VALID, np.uint8)
        self._valid.setflags(write=False)
        with ExitStack() as stack:
            self._flags = os.open(state.folder / "flags.bin", os.O_RDONLY)
            stack.callback(os.close, self._flags)
            factored = state.record.kind == "factored"
            self._file = stack.enter_context(state.file()) if factored else None
            self._stack = stack.pop_all()

    def __enter__(self) -> StoredReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def expect(self, members: Members) -> None:
        """Have the system read a tile's records ahead, where they are not in memory."""
        # Asking for what is there already would cost a hundredth of computing it.
        if self._file is not None and not self._file.is_near(int(members[-1])):
            for run in runs_of(members):
                self._file.expect(int(members[run.start]), run.stop - run.start)

    def tile(self, members: Members) -> TileState:
        """Return the state of a tile's forcing cells."""
        if self._plain[members].all() and len(members) <= len(self._valid):
            return TileState(self._valid[: len(members)], self._blocks(members))
        flags = np.empty((len(members), self._size), np.uint8)
        for run in runs_of(members):
            part, first = flags[run], int(members[run.start])
            if os.preadv(self._flags, [part.data], first * self._size) != part.nbytes:
                raise cut_short(first)
        return TileState(flags, self._blocks(members))

    def _blocks(self, members: Members) -> Iterator[Block]:
        if self._file is None:
            return
        # One block for each thread: it stays in the cache, into which the system then copies, and a head may
        # stay bound to it.
        block: Block | None = getattr(self._own, "block", None)
        if block is None:
            block = self._own.block = self._file.block()
        for index in members.tolist():
            self._file.read(index, block)
            yield block


class RecomputedReader:
    """Computes the state of each tile that is asked for; a context manager that lets go of the factors."""

    def __init__(self, forcing: ForcingGrid, patches: PatchReader, bundle: Bundle) -> None:
        """`bundle` has spatial.onnx. `patches` reads factors as long as this is used."""
        self._tiles = TilesOfCells(forcing)
        self._maker = TileMaker(forcing, patches, bundle)
        self._quantiser = Quantiser(forcing.k, bundle.manifest.channels)
        self._patches, self._own = patches, threading.local()
        patches.blocks.keep_rows(_FACTOR_BYTES)

    def __enter__(self) -> RecomputedReader:
        return self

    def __exit__(self, *_: object) -> None:
        self._patches.blocks.forget()

    def expect(self, members: Members) -> None:
        """Do nothing: there is nothing to fetch."""

    def tile(self, members: Members) -> TileState:
        """Return the state of a tile's forcing cells, or of some of them."""
        every = self._tiles.all_of(int(members[0]))
        made = self._maker.make(every)
        chosen = np.searchsorted(every, members)
        return TileState(made.flags[chosen], self._blocks(made, chosen.tolist()))

    def block(self) -> Block:
        """Return room for one record."""
        return self._quantiser.block()

    def read(self, index: int, into: Block) -> None:
        """Compute the record of active forcing cell `index`, and its tile for it."""
        every = self._tiles.all_of(index)
        self._fill(into, self._maker.make(every), int(np.searchsorted(every, index)))

    def _blocks(self, made: MadeTile, chosen: list[int]) -> Iterator[Block]:
        block: Block | None = getattr(self._own, "block", None)
        if block is None:
            block = self._own.block = self.block()
        for number in chosen:
            self._fill(block, made, number)
            yield block

    def _fill(self, block: Block, made: MadeTile, number: int) -> None:
        if made.values is None or not made.flags[number].any():
            # What a hole in state.bin reads as.
            block.scaling[:], block.codes[:] = 0, 0
            return
        self._quantiser.fill(block, made.values[number], made.flags[number])
