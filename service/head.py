"""The head: a tile's state and windows -> susceptibility. Its port, and the one for the processor."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.bundle import Bundle
from service.state import Block

FloatArray = npt.NDArray[np.float32]


class Head(Protocol):
    """Runs the head of a bundle; safe to call from several threads."""

    def run(self, blocks: Iterable[Block], corners: Sequence[FloatArray]) -> list[FloatArray]:
        """Return susceptibility float32 (m, k*k), one array for each element of `corners`.

        `blocks` are the records of m forcing cells, each good until the next is asked for; each element of
        `corners` holds what temporal.onnx made of their corner windows, (m, 4, D), NW NE SW SE.
        """
        ...


class CpuHead:
    """head_u8.onnx, one forcing cell at a time: all that it touches stays in the cache."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle, self._own = bundle, threading.local()

    def run(self, blocks: Iterable[Block], corners: Sequence[FloatArray]) -> list[FloatArray]:
        """Return susceptibility, one array for each element of `corners`."""
        out = [np.empty((len(each), self._bundle.manifest.forcing_cell**2), np.float32) for each in corners]
        pairs = list(zip(out, corners, strict=True))
        for number, block in enumerate(blocks):
            desk = self._desk(block)
            for values, each in pairs:
                desk.corners[0] = each[number]
                desk.run()
                values[number] = desk.out[0]
        return out

    def _desk(self, block: Block) -> _Desk:
        """Return the thread's desk for a block: the one in use while a reader fills the same block again."""
        desk: _Desk | None = getattr(self._own, "desk", None)
        if desk is None or desk.block is not block:
            desk = self._own.desk = _Desk(self._bundle, block)
        return desk


class _Desk:
    """A head bound to a block, a room for corner rows and one for what comes out."""

    def __init__(self, bundle: Bundle, block: Block) -> None:
        self.block = block
        _, cells, channels = block.codes.shape
        self.corners: FloatArray = np.empty((1, 4, channels), np.float32)
        self.out: FloatArray = np.empty((1, cells), np.float32)
        self.run = bundle.bound_head_u8(block.codes, self.corners, block.scale, block.offset, self.out)
