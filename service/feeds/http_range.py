"""A file on a server, of which only what is read is fetched."""

from __future__ import annotations

import io
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from service.feeds.base import FeedFault

_BLOCK = 1 << 17  # a COG's header and overviews' index fit into one or two
_BLOCKS_KEPT = 256  # 32 MiB
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class Piece(NamedTuple):
    """A part of a file, from one reply."""

    data: bytes
    total: int  # bytes of the whole file
    version: str  # its ETag or Last-Modified: the same for all pieces of one file


class RangeFile(io.RawIOBase):
    """Seekable and read-only. Neighbouring blocks that are missing are fetched with one request."""

    def __init__(
        self, fetch: Callable[[int, int], Piece], first: Piece, fault: Callable[[str, str], FeedFault]
    ) -> None:
        """`fetch` gives bytes `first` to `last`, both included; `first` is the piece at the file's start."""
        super().__init__()
        self._fetch = fetch
        self._fault_of = fault
        self._total = first.total
        self._version = first.version
        self._at = 0
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._keep(0, first.data)
        self.fetched_bytes = len(first.data)

    def readable(self) -> bool:
        """It can be read."""
        return True

    def seekable(self) -> bool:
        """It can be sought in."""
        return True

    def tell(self) -> int:
        """Return the position."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move the position, also past the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._total}[whence]
        if start + offset < 0:
            raise ValueError(f"there is no position {start + offset}")
        self._at = start + offset
        return self._at

    def readall(self) -> bytes:
        """Return all from the position on. Raises FeedFault."""
        return self.read(max(0, self._total - self._at)) or b""

    def readinto(self, buffer: object) -> int:
        """Fill a buffer as far as the file goes. Raises FeedFault."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        count = max(0, min(len(view), self._total - self._at))
        if count == 0:
            return 0
        view[:count] = self._bytes(self._at, count)
        self._at += count
        return count

    def _bytes(self, start: int, count: int) -> bytes:
        numbers = range(start // _BLOCK, (start + count - 1) // _BLOCK + 1)
        found = {}
        missing: list[int] = []
        for number in numbers:
            block = self._blocks.get(number)
            if block is None:
                missing.append(number)
            else:
                self._blocks.move_to_end(number)
                found[number] = block
        for run in _runs(missing):
            first, end = run.start * _BLOCK, min(run.stop * _BLOCK, self._total)
            piece = self._fetch(first, end - 1)
            if (piece.total, piece.version) != (self._total, self._version):
                raise self._fault_of("truncated", "changed while it was read; it is read anew next time")
            self.fetched_bytes += len(piece.data)
            found.update(self._keep(run.start, piece.data))
        whole = b"".join(found[number] for number in numbers)
        offset = start - numbers.start * _BLOCK
        return whole[offset : offset + count]

    def _keep(self, first: int, data: bytes) -> dict[int, bytes]:
        blocks = {first + at // _BLOCK: data[at : at + _BLOCK] for at in range(0, len(data), _BLOCK)}
        self._blocks.update(blocks)
        while len(self._blocks) > _BLOCKS_KEPT:
            self._blocks.popitem(last=False)
        return blocks


FIRST_RANGE = (0, _BLOCK - 1)


def read_content_range(text: str) -> tuple[int, int, int] | None:
    """Return first and last byte and the whole length of a Content-Range header, or None."""
    found = _CONTENT_RANGE.fullmatch(text.strip())
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def _runs(numbers: list[int]) -> list[range]:
    runs: list[range] = []
    for number in numbers:
        if runs and runs[-1].stop == number:
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs
