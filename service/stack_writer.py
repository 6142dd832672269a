"""Writing a factor stack window by window: masked, counted and digested on the way."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from service.errors import StorageError
from service.factor_stack import FORMAT, UPSTREAM_UNKNOWN, FactorBand
from service.files import digest_of
from service.region import Grid

Float32 = npt.NDArray[np.float32]

BLOCK = 256


def windows(grid: Grid, size: int) -> list[Window]:
    """Return windows of `size` x `size` cells, fewer at the south and east edges, row-major."""
    if size % BLOCK:
        raise ValueError(f"windows must hold whole blocks of {BLOCK} cells, got {size}")
    return [
        Window(column, row, min(size, grid.width - column), min(size, grid.height - row))
        for row in range(0, grid.height, size)
        for column in range(0, grid.width, size)
    ]


@dataclass
class _Tally:
    minimum: float = math.inf
    maximum: float = -math.inf
    valid: int = 0
    digest: Any = field(default_factory=hashlib.sha256)
    windows: list[Window] = field(default_factory=list)


class StackWriter:
    """A factor stack being written at `path`; every band must be given every window once, in one order.

    The values' digest follows that order, which belongs to FORMAT.
    """

    def __init__(self, path: Path, grid: Grid, mask_path: Path, bands: Sequence[FactorBand]) -> None:
        self._path, self._grid = path, grid
        self._bands = tuple(bands)
        self._tallies = {band.name: _Tally() for band in bands}
        self._numbers = {band.name: number for number, band in enumerate(bands, start=1)}
        self._mask = rasterio.open(mask_path)
        # Of the window asked for last: every band is written window by window.
        self._masked: tuple[Window, npt.NDArray[np.bool_]] | None = None
        profile = grid.profile("float32", len(bands), math.nan) | {
            "blockxsize": BLOCK,
            "blockysize": BLOCK,
            "interleave": "band",  # a reader takes some bands of a window, not all of a pixel
            "predictor": 3,
            "zlevel": 1,
            "num_threads": 2,
            "bigtiff": "yes",
            "sparse_ok": True,  # blocks outside the mask take no space
        }
        self._out = rasterio.open(path, "w", **profile)

    def mask(self, window: Window) -> npt.NDArray[np.bool_]:
        """Return the mask in a window: bool (h, w)."""
        if self._masked is None or self._masked[0] != window:
            self._masked = window, np.asarray(self._mask.read(1, window=window) > 0)
        return self._masked[1]

    def write(self, name: str, window: Window, values: Float32) -> None:
        """Write a window of one factor, float32 (h, w); cells outside the mask become NaN."""
        valid = self.mask(window) & ~np.isnan(values)
        # + 0: no minus zero, which would change the digest.
        values = np.where(valid, values + np.float32(0), np.float32(np.nan)).astype(np.float32)
        tally = self._tallies[name]
        tally.digest.update(_bytes(values))
        tally.windows.append(window)
        if valid.any():
            tally.minimum = min(tally.minimum, float(np.nanmin(values)))
            tally.maximum = max(tally.maximum, float(np.nanmax(values)))
            tally.valid += int(valid.sum())
            self._out.write(values, self._numbers[name], window=window)

    def band(self, name: str, cells: int) -> FactorBand:
        """Return a band with what was counted so far; `cells` is the number of cells in the mask."""
        tally = self._tallies[name]
        return replace(
            self._bands[self._numbers[name] - 1],
            minimum=tally.minimum if tally.valid else math.nan,
            maximum=tally.maximum if tally.valid else math.nan,
            valid_share=tally.valid / cells if cells else 0.0,
        )

    def finish(self, cells: int, tags: dict[str, str], notes: Sequence[str]) -> str:
        """Write descriptions and tags; return the stack's digest."""
        bands = tuple(self.band(band.name, cells) for band in self._bands)
        meaning = [(band.name, band.unit, band.log, band.categories) for band in bands]
        values = [self._tallies[band.name].digest.hexdigest() for band in bands]
        digest = digest_of(FORMAT, self._grid.digest, meaning, values)
        for number, band in enumerate(bands, start=1):
            self._out.set_band_description(number, band.name)
            self._out.set_band_unit(number, band.unit)
            self._out.update_tags(number, **band.tags())
        self._out.update_tags(format=FORMAT, digest=digest, notes=json.dumps(list(notes)), **tags)
        return digest

    def prove(self) -> None:
        """Close the file and read it back. Raises StorageError where it is not what was written.

        GDAL flushes on closing, and says nothing when the disk is full by then.
        """
        self._out.close()
        _prove(self._path, {self._numbers[name]: tally for name, tally in self._tallies.items()})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._mask.close()
        self._out.close()


def _bytes(values: npt.NDArray[Any]) -> bytes:
    # One NaN for all: its bits would otherwise tell how it came about.
    return values.tobytes() if values.dtype == np.uint8 else _one_nan(values).astype("<f4").tobytes()


def _one_nan(values: Float32) -> Float32:
    return np.where(np.isnan(values), np.float32(np.nan), values)


def _prove(path: Path, tallies: dict[int, _Tally]) -> None:
    try:
        with rasterio.open(path) as written:
            for number, tally in tallies.items():
                digest = hashlib.sha256()
                for window in tally.windows:
                    digest.update(_bytes(written.read(number, window=window)))
                if digest.digest() != tally.digest.digest():
                    raise StorageError(f"a file in {path.parent} reads back differently; is its disk sound?")
    except rasterio.errors.RasterioIOError as error:
        raise StorageError(
            f"a factor file in {path.parent} does not read back: {error}; is the disk full?"
        ) from error


class EdgeWriter:
    """The sidecar of a stack that tells where the DEM's edge cuts the upstream area; a context manager."""

    def __init__(self, path: Path, grid: Grid) -> None:
        self._path = path
        self._tally = _Tally()
        profile = grid.profile("uint8", 1, UPSTREAM_UNKNOWN) | {"blockxsize": BLOCK, "blockysize": BLOCK}
        self._out = rasterio.open(path, "w", **profile)

    def write(self, window: Window, codes: npt.NDArray[np.uint8]) -> None:
        """Write a window of codes, uint8 (h, w)."""
        self._tally.digest.update(codes.tobytes())
        self._tally.windows.append(window)
        self._out.write(codes, 1, window=window)

    def finish(self, digest: str) -> None:
        """Tie the sidecar to the stack of this digest."""
        self._out.update_tags(digest=digest)

    def prove(self) -> None:
        """As `StackWriter.prove`."""
        self._out.close()
        _prove(self._path, {1: self._tally})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._out.close()
