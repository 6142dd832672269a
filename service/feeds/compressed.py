"""Files as they come, compressed or not, with a bound on what they unpack to."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from service.feeds.base import FeedFault

SUFFIXES = (".gz", ".bz2", ".xz", ".zip")
_LONGEST_MAGIC = 6


@contextmanager
def open_unpacked(path: Path, most_bytes: int, label: str, feed: str) -> Iterator[BinaryIO]:
    """Open a file for reading, unpacked where its first bytes say that it is compressed.

    gzip, bzip2, xz, and zip archives of one member. Reading past `most_bytes` raises FeedFault: a few bytes
    can unpack to more than a disk holds. So does a file that ends too early or is damaged.
    """
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(path.open("rb"))
            magic = raw.read(_LONGEST_MAGIC)
            raw.seek(0)
            unpacked = _unpacked(raw, magic, stack, label, feed)
        except FileNotFoundError as error:
            raise FeedFault("missing", f"feed {feed}: no such file: {label}") from error
        except _DAMAGED as error:
            raise _damaged(error, label, feed) from error
        except OSError as error:
            raise FeedFault("unreadable", f"feed {feed}: {label} cannot be read: {error.strerror}") from error
        yield io.BufferedReader(_Bounded(unpacked, most_bytes, label, feed), 1 << 16)


def plain_suffix(path: Path) -> str:
    """Return a file's suffix in small letters, that of compression aside: `.csv` of `rain.CSV.gz`."""
    suffix = path.suffix.lower()
    return Path(path.stem).suffix.lower() if suffix in SUFFIXES else suffix


# NotImplementedError: what zipfile says of a compression that it does not know.
_DAMAGED = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _unpacked(raw: BinaryIO, magic: bytes, stack: ExitStack, label: str, feed: str) -> _Readable:
    if magic.startswith(b"\x1f\x8b"):
        return stack.enter_context(gzip.GzipFile(fileobj=raw))
    if magic.startswith(b"BZh"):
        return stack.enter_context(bz2.BZ2File(raw))
    if magic.startswith(b"\xfd7zXZ\x00"):
        return stack.enter_context(lzma.LZMAFile(raw))
    if magic.startswith(b"PK\x03\x04"):
        archive = stack.enter_context(zipfile.ZipFile(raw))
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise FeedFault(
                "archive",
                f"feed {feed}: {label} is a zip archive of {len(members)} members, and one is expected; "
                "if it came from a spreadsheet program, save it as CSV",
            )
        if members[0].flag_bits & 1:
            raise FeedFault("archive", f"feed {feed}: {label} is an encrypted zip archive; unpack it first")
        return stack.enter_context(archive.open(members[0]))
    return raw


def _damaged(error: BaseException, label: str, feed: str) -> FeedFault:
    if isinstance(error, EOFError):
        return FeedFault(
            "truncated", f"feed {feed}: {label} ends before what is compressed in it; fetch it again"
        )
    return FeedFault(
        "archive",
        f"feed {feed}: {label} is binary, and what is compressed in it cannot be unpacked: {error}; "
        "fetch it again",
    )


class _Bounded(io.RawIOBase):
    """A stream that counts, and speaks of a feed where something is wrong."""

    def __init__(self, inner: _Readable, most_bytes: int, label: str, feed: str) -> None:
        self._inner = inner
        self._left = most_bytes
        self._most = most_bytes
        self._label = label
        self._feed = feed

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        try:
            data = self._inner.read(len(view))
        except _DAMAGED as error:
            raise _damaged(error, self._label, self._feed) from error
        except OSError as error:
            # bz2 tells of damage in a plain OSError, without a number.
            if error.errno is None:
                raise _damaged(error, self._label, self._feed) from error
            raise
        self._left -= len(data)
        if self._left < 0:
            raise FeedFault(
                "too_large",
                f"feed {self._feed}: {self._label} holds more than {self._most} bytes, unpacked; "
                "if that is right, raise the feed's http.max_bytes",
            )
        view[: len(data)] = data
        return len(data)
