"""One forcing cell's record of the spatial state: its layout on disk, and how it is quantised.

A record is scale float32 (D,), offset float32 (D,), codes uint8 (k*k, D); state = codes * scale + offset.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.errors import BundleError, StorageError
from service.patches import NO_DATA, Flags

FloatArray = npt.NDArray[np.float32]

_STEPS = np.float32(255)
_HALF = np.float32(0.5)
# A floor keeps a constant channel's scale above zero.
_LEAST_SCALE = np.float32(1e-6)
# Channels whose codes are turned at a time: a cell's share of them fills half a cache line.
_TURNED = 32
_BLOCKS_AT_ONCE = 512  # of two buffers each: the system takes 1024 in one call


class Block:
    """Room for one forcing cell's record, used again and again."""

    def __init__(self, k: int, channels: int) -> None:
        self.scaling: FloatArray = np.empty((2, channels), np.float32)
        self.codes = np.empty((1, k * k, channels), np.uint8)

    @property
    def scale(self) -> FloatArray:
        """(D,)"""
        return np.asarray(self.scaling[0])

    @property
    def offset(self) -> FloatArray:
        """(D,)"""
        return np.asarray(self.scaling[1])

    @property
    def nbytes(self) -> int:
        """Size of a record on disk."""
        return self.scaling.nbytes + self.codes.nbytes


class Records(Protocol):
    """Gives single records, from the disk or computed."""

    def block(self) -> Block:
        """Return room for one record."""
        ...

    def read(self, index: int, into: Block) -> None:
        """Put the record of active forcing cell `index` there. Raises StorageError where it is lost."""
        ...


class BlockFile:
    """An open state.bin."""

    def __init__(self, descriptor: int, k: int, channels: int) -> None:
        self._descriptor = descriptor
        self.k, self.channels = k, channels
        self._nbytes = Block(k, channels).nbytes

    def block(self) -> Block:
        """Return room for one record."""
        return Block(self.k, self.channels)

    def read(self, index: int, into: Block) -> None:
        """Read the record of active forcing cell `index`. Raises StorageError when the file is cut short."""
        buffers = [into.scaling.data, into.codes.data]
        if os.preadv(self._descriptor, buffers, index * into.nbytes) != into.nbytes:
            raise cut_short(index)

    def expect(self, index: int, count: int) -> None:
        """Have the system read the records of `count` forcing cells from `index` on; do not wait for it."""
        first, length = index * self._nbytes, count * self._nbytes
        os.posix_fadvise(self._descriptor, first, length, os.POSIX_FADV_WILLNEED)

    def is_near(self, index: int) -> bool:
        """Return whether the end of a record is in memory; False where the file system does not say."""
        try:
            last = (index + 1) * self._nbytes - 1
            return os.preadv(self._descriptor, [bytearray(1)], last, os.RWF_NOWAIT) == 1
        except OSError:
            return False

    def write(self, index: int, blocks: Sequence[Block]) -> None:
        """Write the records of active forcing cells `index`, `index` + 1, ..., one at least."""
        size = blocks[0].nbytes
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            part = blocks[start : start + _BLOCKS_AT_ONCE]
            buffers = [half for block in part for half in (block.scaling.data, block.codes.data)]
            first = index + start
            if os.pwritev(self._descriptor, buffers, first * size) != size * len(part):
                raise StorageError(
                    f"could not write the whole spatial state of forcing cell {first}: disk full?"
                )


def cut_short(index: int) -> StorageError:
    """Return the error of a state whose files end at active forcing cell `index`."""
    return StorageError(
        f"the spatial state is cut short at forcing cell {index}; remove its folder under state/ "
        "and the next refresh builds it again"
    )


class Quantiser:
    """Makes records. Safe to use from several threads: each has buffers of its own."""

    def __init__(self, k: int, channels: int) -> None:
        self.k, self.channels = k, channels
        self._own = threading.local()

    def block(self) -> Block:
        """Return room for one record."""
        return Block(self.k, self.channels)

    def fill(self, into: Block, state: FloatArray, flags: Flags) -> None:
        """Quantise a forcing cell: state float32 (D, k, k), any strides, flags uint8 (k*k,), some valid.

        Each channel's range over the valid cells is cut into 255 steps, so decoding is off by at most half
        of one. Cells without data get code 0. Raises BundleError for a state that is not finite.
        """
        values, codes = self._buffers()
        np.copyto(values.reshape(state.shape), state)
        valid = flags != NO_DATA
        whole = bool(valid.all())
        if not whole:
            # Whatever the graph made of no-data must not widen the range.
            anywhere = values[:, int(np.argmax(valid))].copy()
            np.copyto(values, anywhere[:, None], where=~valid)
        scale, low = into.scaling
        values.min(axis=1, out=low)
        values.max(axis=1, out=scale)
        if not np.isfinite(into.scaling).all():
            raise BundleError("spatial.onnx gave a value that is not finite for cells with complete patches")
        scale -= low
        scale /= _STEPS
        np.maximum(scale, _LEAST_SCALE, out=scale)
        values -= low[:, None]
        values *= (1 / scale)[:, None]
        # At most 255.5 and some rounding, so that cutting off gives 255.
        np.add(values, _HALF, out=codes, casting="unsafe", dtype=np.float32)
        if not whole:
            codes[:, ~valid] = 0
        turned = into.codes[0]
        for first in range(0, self.channels, _TURNED):
            turned[:, first : first + _TURNED] = codes[first : first + _TURNED].T

    def _buffers(self) -> tuple[FloatArray, npt.NDArray[np.uint8]]:
        if not hasattr(self._own, "buffers"):
            shape = self.channels, self.k * self.k
            self._own.buffers = np.empty(shape, np.float32), np.empty(shape, np.uint8)
        buffers: tuple[FloatArray, npt.NDArray[np.uint8]] = self._own.buffers
        return buffers


def quantise(state: FloatArray, flags: Flags) -> Block:
    """Return the record of one forcing cell: state float32 (D, k, k), flags uint8 (k, k), some valid."""
    channels, k, _ = state.shape
    block = Block(k, channels)
    Quantiser(k, channels).fill(block, state, flags.reshape(-1))
    return block
