"""The directories in front of a COG's tiles: what GDAL would write, with our tiles' places.

GDAL writes an empty template with the same georeferencing, no-data, names, tags and colours; its tags are
taken over byte for byte, so that nothing here knows how a CRS or a band's unit is spelled in a TIFF.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from affine import Affine
from rasterio.crs import CRS
from rasterio.io import MemoryFile

from exporters.cog_tiles import Packing

# Says to GDAL that tiles lie in the order of their directory, each between its size and its last four bytes
# again, so that it reads a tile without asking for its size: gdal.org, "COG: Header ghost area".
_PROMISES = (
    b"LAYOUT=IFDS_BEFORE_DATA\n"
    b"BLOCK_ORDER=ROW_MAJOR\n"
    b"BLOCK_LEADER=SIZE_AS_UINT4\n"
    b"BLOCK_TRAILER=LAST_4_BYTES_REPEATED\n"
    b"KNOWN_INCOMPATIBLE_EDITION=NO\n "
)
_GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE=%06d bytes\n" % len(_PROMISES) + _PROMISES
_LEADER = _TRAILER = 4

_SUBFILE, _WIDTH, _HEIGHT, _OFFSETS, _COUNTS = 254, 256, 257, 324, 325
_SHORT, _LONG, _LONG8 = 3, 4, 16
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
# What an overview needs to be read by itself: how its cells are stored (258..259, 262, 277, 284, 317, 320,
# 322..323, 338..339) and its no-data.
_OF_OVERVIEWS = {258, 259, 262, 277, 284, 317, 320, 322, 323, 338, 339, 42113}


@dataclass(frozen=True)
class Band:
    """What one band says about itself."""

    name: str
    unit: str = ""
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Notes:
    """What a raster says about itself. `colours` are RGBA by value."""

    bands: tuple[Band, ...]
    tags: Mapping[str, str]
    colours: Mapping[int, tuple[int, int, int, int]] | None = None


class _Field(NamedTuple):
    kind: int
    number: int  # of values
    data: bytes


Directory = Mapping[int, _Field]


class TileSizes(NamedTuple):
    """The shape of the full raster or of an overview, and the bytes of its tiles, row by row."""

    shape: tuple[int, int]
    tiles: npt.NDArray[np.uint64]


def template(crs: CRS, transform: Affine, packing: Packing, notes: Notes) -> Directory:
    """Return the tags that the raster shall have, but for its size and its tiles' places."""
    options: dict[str, Any] = {"predictor": packing.predictor} if packing.predictor > 1 else {}
    with MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            crs=crs,
            transform=transform,
            width=packing.block,
            height=packing.block,
            count=len(notes.bands),
            dtype=packing.dtype.name,
            nodata=packing.nodata,
            tiled=True,
            blockxsize=packing.block,
            blockysize=packing.block,
            interleave="pixel",
            compress="deflate",
            sparse_ok=True,
            bigtiff="no",
            endianness="little",
            **options,
        ) as out:
            out.descriptions = tuple(band.name for band in notes.bands)
            if any(band.unit for band in notes.bands):
                out.units = tuple(band.unit for band in notes.bands)
            if notes.colours is not None:
                out.write_colormap(1, dict(notes.colours))
            out.update_tags(**notes.tags)
            for number, band in enumerate(notes.bands, start=1):
                out.update_tags(number, **band.tags)
        return _read(memory.read())


def header(tags: Directory, levels: Sequence[TileSizes]) -> bytes:
    """Return what stands before the tiles of a COG.

    `levels` are the full raster, then its overviews from large to small. Behind the header follow the tiles
    of the smallest overview first, those of the full raster last, each as `framed`. A BigTIFF where offsets
    need it.
    """
    tiles = sum(_length(level) for level in levels)
    big = tiles + _size(tags, levels, big=False) >= 2**32
    start = _size(tags, levels, big=big)
    at = _first(big=big)
    directories = []
    for number, level in enumerate(levels):
        # Every smaller one lies before it.
        before = start + sum(_length(other) for other in levels[number + 1 :])
        found = _directory(tags, level, before, overview=number > 0, big=big)
        directories.append(_encode(found, at, big=big, last=number == len(levels) - 1))
        at += len(directories[-1])
    begin = struct.pack("<2sHHHQ", b"II", 43, 8, 0, _first(big=True))
    if not big:
        begin = struct.pack("<2sHI", b"II", 42, _first(big=False))
    return begin + _ghost(big=big) + b"".join(directories)


def framed(tile: bytes) -> bytes:
    """Return a tile between its size and its last four bytes again."""
    return struct.pack("<I", len(tile)) + tile + tile[-_TRAILER:]


def _ghost(*, big: bool) -> bytes:
    # A directory begins at an even offset.
    return _GHOST + b"\0" * (((16 if big else 8) + len(_GHOST)) % 2)


def _first(*, big: bool) -> int:
    return (16 if big else 8) + len(_ghost(big=big))


def _length(level: TileSizes) -> int:
    return int(level.tiles.sum()) + len(level.tiles) * (_LEADER + _TRAILER)


def _size(tags: Directory, levels: Sequence[TileSizes], *, big: bool) -> int:
    found = (_directory(tags, level, 0, overview=number > 0, big=big) for number, level in enumerate(levels))
    return _first(big=big) + sum(len(_encode(one, 0, big=big, last=True)) for one in found)


def _directory(tags: Directory, level: TileSizes, start: int, *, overview: bool, big: bool) -> Directory:
    """Return an image's tags; the first of its tiles' frames begins at `start`."""
    height, width = level.shape
    frames = level.tiles + np.uint64(_LEADER + _TRAILER)
    offsets = np.cumsum(frames) - frames + np.uint64(start + _LEADER)
    fields = {tag: value for tag, value in tags.items() if not overview or tag in _OF_OVERVIEWS}
    if overview:
        fields[_SUBFILE] = _Field(_LONG, 1, struct.pack("<I", 1))
    fields[_WIDTH] = _Field(_LONG, 1, struct.pack("<I", width))
    fields[_HEIGHT] = _Field(_LONG, 1, struct.pack("<I", height))
    fields[_OFFSETS] = _Field(
        _LONG8 if big else _LONG, len(offsets), offsets.astype("<u8" if big else "<u4").tobytes()
    )
    fields[_COUNTS] = _Field(_LONG, len(offsets), level.tiles.astype("<u4").tobytes())
    return fields


def _encode(fields: Directory, at: int, *, big: bool, last: bool) -> bytes:
    """Return a directory that begins at `at`, with its values behind it; another follows unless `last`."""
    count, entry, room, offset = ("<Q", "<HHQ", 8, "<Q") if big else ("<H", "<HHI", 4, "<I")
    inside = struct.calcsize(count) + len(fields) * (struct.calcsize(entry) + room) + room
    entries, values = [struct.pack(count, len(fields))], bytearray()
    for tag, one in sorted(fields.items()):
        said = one.data.ljust(room, b"\0")
        if len(one.data) > room:
            values += b"\0" * (-(at + inside + len(values)) % 2)
            said = struct.pack(offset, at + inside + len(values))
            values += one.data
        entries.append(struct.pack(entry, tag, one.kind, one.number) + said)
    values += b"\0" * (-(at + inside + len(values)) % 2)
    after = 0 if last else at + inside + len(values)
    return b"".join([*entries, struct.pack(offset, after)]) + values


def _read(data: bytes) -> Directory:
    """Return the first directory of a little-endian classic TIFF, without its size and its tiles' places."""
    (at,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, at)
    fields = {}
    for entry in range(at + 2, at + 2 + 12 * count, 12):
        tag, kind, number = struct.unpack_from("<HHI", data, entry)
        size, where = number * _SIZES[kind], entry + 8
        if size > 4:
            (where,) = struct.unpack_from("<I", data, where)
        fields[tag] = _Field(kind, number, data[where : where + size])
    return {tag: value for tag, value in fields.items() if tag not in {_WIDTH, _HEIGHT, _OFFSETS, _COUNTS}}
