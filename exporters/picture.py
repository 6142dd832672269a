"""A layer as a PNG picture, read from the overviews of its COG. The legend is the page's job.

Unknown cells are transparent, so that a picture never paints them as low.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.enums import Resampling

from exporters.palette import CLASS_TABLE, SUSCEPTIBILITY_TABLE, Table

_SUN_AZIMUTH = np.deg2rad(315.0)
_SUN_ALTITUDE = np.deg2rad(45.0)


def class_picture(path: Path, width: int, *, elevation: npt.NDArray[np.floating[Any]] | None = None) -> bytes:
    """Return class.tif as a PNG of at most `width` pixels across, in the colours of the classes.

    With `elevation` (metres, (rows, columns) of any size over the same ground, NaN where unknown), a
    shaded relief shows through and lies grey where the class is unknown. Nearest cells are shown: no
    class is mixed from others. Raises rasterio's RasterioIOError where the file cannot be read.
    """
    classes, cell = _read(path, width, Resampling.nearest)
    return encode_png(_shaded(CLASS_TABLE[classes], elevation, cell))


def susceptibility_picture(
    path: Path, width: int, *, elevation: npt.NDArray[np.floating[Any]] | None = None
) -> bytes:
    """Return susceptibility.tif as a PNG of at most `width` pixels across, light to dark.

    The ramp runs through the four class colours from 0 to 1, whatever the breaks are. Otherwise as
    `class_picture`.
    """
    stored, cell = _read(path, width, Resampling.average)
    return encode_png(_shaded(SUSCEPTIBILITY_TABLE[stored], elevation, cell))


def hillshade(elevation: npt.NDArray[np.floating[Any]], cell_size_m: float) -> npt.NDArray[np.float64]:
    """Return light on a surface, 0..1, NaN where elevation is: sun in the north-west at 45 degrees.

    The light is the cosine between the sun and the surface's normal (Horn, 1981, Lambertian shading).
    """
    south, east = np.gradient(np.asarray(elevation, np.float64), cell_size_m)
    # x east, y north, z up; rows run south.
    normal = np.stack([-east, south, np.ones_like(east)])
    sun = np.array(
        [
            np.sin(_SUN_AZIMUTH) * np.cos(_SUN_ALTITUDE),
            np.cos(_SUN_AZIMUTH) * np.cos(_SUN_ALTITUDE),
            np.sin(_SUN_ALTITUDE),
        ]
    )
    light = np.tensordot(sun, normal, axes=1) / np.sqrt((normal**2).sum(axis=0))
    return np.asarray(np.clip(light, 0, 1))


def encode_png(rgba: npt.NDArray[np.uint8]) -> bytes:
    """Encode uint8 (rows, columns, 4) as PNG (ISO/IEC 15948), the same bytes each time.

    GDAL's driver would warn about the missing georeference and leave a side file.
    """
    rows, columns, _ = rgba.shape
    return _png(rgba.reshape(rows, -1), columns, colour_type=6)


def encode_indexed_png(values: npt.NDArray[np.uint8], table: Table) -> bytes:
    """Encode values (rows, columns) as a PNG whose palette is their table's colours, (256, 4) RGBA.

    A quarter of the bytes of `encode_png` and the same picture: what a tile wants.
    """
    used = int(values.max(initial=0)) + 1
    palette, opacity = table[:used, :3], table[:used, 3]
    return _png(values, values.shape[1], 3, (b"PLTE", palette.tobytes()), (b"tRNS", opacity.tobytes()))


def _png(
    rows_of_bytes: npt.NDArray[np.uint8], columns: int, colour_type: int, *before: tuple[bytes, bytes]
) -> bytes:
    """Put a PNG together from its rows (rows, bytes of a row), with chunks `before` the picture's data."""
    rows, length = rows_of_bytes.shape
    lines = np.zeros((rows, 1 + length), np.uint8)  # each line opens with its filter: 0, none
    lines[:, 1:] = rows_of_bytes
    header = struct.pack(">IIBBBBB", columns, rows, 8, colour_type, 0, 0, 0)
    data = zlib.compress(lines.tobytes(), 6)
    chunks = ((b"IHDR", header), *before, (b"IDAT", data), (b"IEND", b""))
    body = b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


def _read(path: Path, width: int, resampling: Resampling) -> tuple[npt.NDArray[np.uint8], float]:
    """Read band 1 at the picture's size, and the size of its pixels in metres."""
    if width < 1:
        raise ValueError(f"a picture is at least one pixel wide, got {width}")
    with rasterio.open(path) as raster:
        columns = min(width, raster.width)
        rows = max(1, round(raster.height * columns / raster.width))
        values = raster.read(1, out_shape=(rows, columns), resampling=resampling)
        return values, abs(raster.transform.a) * raster.width / columns


def _shaded(
    rgba: npt.NDArray[np.uint8], elevation: npt.NDArray[np.floating[Any]] | None, cell_size_m: float
) -> npt.NDArray[np.uint8]:
    if elevation is None:
        return rgba
    rows, columns = rgba.shape[:2]
    down = np.minimum((np.arange(rows) + 0.5) * elevation.shape[0] / rows, elevation.shape[0] - 1).astype(int)
    across = np.minimum((np.arange(columns) + 0.5) * elevation.shape[1] / columns, elevation.shape[1] - 1)
    light = hillshade(elevation[np.ix_(down, across.astype(int))], cell_size_m)
    lit = np.isfinite(light)
    shade = np.where(lit, 0.45 + 0.55 * np.nan_to_num(light) / np.sin(_SUN_ALTITUDE), 1.0)
    known = rgba[..., 3] > 0
    colour = np.where(known[..., None], rgba[..., :3], 225)
    out = np.empty_like(rgba)
    out[..., :3] = np.clip(np.rint(colour * shade[..., None]), 0, 255)
    out[..., 3] = np.where(known | lit, 255, 0)
    return out
