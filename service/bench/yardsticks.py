"""The same cells in other ways: patch by patch, and convolved anew at each refresh."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.layer import store
from service.bench.meter import Rate, on_threads
from service.layer_windows import windows_of
from service.patches import NO_DATA
from service.sequences import WindowSet
from service.state_build import Members, tiles_to_build
from service.tiles import forcing_cells_along
from service.whole_path import own_windows
from service.workshop import Workshop

FloatArray = npt.NDArray[np.float32]

# Patches in one call of whole.onnx; the fastest of them counts.
_BATCHES = (4, 16, 64, 256)
_TRIAL_SHARE = 0.1  # of the sample, for choosing


@dataclass(frozen=True)
class Yardstick:
    """How fast another way is on `cells` cells of the region, with as many threads."""

    what: str
    cells: int
    seconds: float
    cpu_s: float
    chosen: str = ""  # the fastest of what was tried

    @property
    def cells_per_s(self) -> float:
        """Cells a second."""
        return self.cells / self.seconds

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return {**asdict(self), "cells_per_s": self.cells_per_s}


def busy_cells(shop: Workshop, windows: WindowSet, count: int) -> list[int]:
    """Return up to `count` active forcing cells with windows and valid cells, spread over the region."""
    there = np.flatnonzero(windows.complete & (shop.state.valid_cells > 0))
    if not len(there):
        return []
    return sorted({int(there[int(place)]) for place in np.linspace(0, len(there) - 1, count)})


def busy_tiles(shop: Workshop, windows: WindowSet) -> list[Members]:
    """Return the tiles where something is computed, in the order that reads each square of factors once."""
    there = windows.complete & (shop.state.valid_cells > 0)
    tiles = tiles_to_build(shop.region.forcing, shop.state.patches)
    return [members for members in tiles if there[members].any()]


def measure_naive(shop: Workshop, day: date, sample: int, at_least_s: float) -> Yardstick:
    """Run whole.onnx with a patch and a window of its own for each of about `sample` cells.

    Cutting patches out of factors that are in memory counts, reading these from the disk does not.
    """
    windows = windows_of(shop, day)
    size = shop.bundle.manifest.patch
    pieces = []
    for index in busy_cells(shop, windows, 4 * shop.workers):
        row, column = (shop.region.forcing.active[index].astype(np.int64) * shop.region.forcing.k).tolist()
        k = shop.region.forcing.k
        tile = shop.state.patches.read(row, column, k, k)
        cells = np.flatnonzero(tile.flags.reshape(-1) != NO_DATA)
        squares = np.lib.stride_tricks.sliding_window_view(tile.factors, (size, size), axis=(1, 2))
        pieces.append((index, squares, cells))

    def of_batch(batch: int) -> Callable[[int], None]:
        def one(number: int) -> None:
            index, squares, cells = pieces[number % len(pieces)]
            start = number // len(pieces) * batch % max(1, len(cells) - batch + 1)
            chosen = np.resize(cells[start : start + batch], batch)
            k = shop.region.forcing.k
            patches = np.ascontiguousarray(squares[:, chosen // k, chosen % k].swapaxes(0, 1))
            store(shop.bundle.whole(patches, own_windows(windows, index, k, chosen)))

        return one

    tried = {
        batch: on_threads(of_batch(batch), shop.workers, _TRIAL_SHARE * at_least_s) for batch in _BATCHES
    }
    best = max(tried, key=lambda batch: tried[batch].per_second * batch)
    # As long as it takes for the sample, by the trial; at least as long as was asked for.
    lasts = max(at_least_s, sample / (tried[best].per_second * best))
    rate = on_threads(of_batch(best), shop.workers, lasts)
    return Yardstick(
        "whole.onnx, a patch and a window for each cell",
        rate.times * best,
        rate.seconds,
        rate.cpu_s,
        f"{best} patches in a call",
    )


def measure_dense(shop: Workshop, day: date, at_least_s: float) -> Yardstick:
    """Read factors, convolve and run the float head on tiles: what a refresh does without a stored state."""
    windows = windows_of(shop, day)
    bundle, forcing, manifest = shop.bundle, shop.region.forcing, shop.bundle.manifest
    k = forcing.k
    along = forcing_cells_along(k)
    side = along * k
    embedding = bundle.temporal(windows.windows)
    tiles = busy_tiles(shop, windows)

    def one(number: int) -> None:
        members = tiles[number % len(tiles)]
        row, column = (forcing.active[members].astype(np.int64).min(axis=0) * k).tolist()
        tile = shop.state.patches.read(row, column, side, side)
        state = bundle.spatial(tile.factors[None])[0]
        corners = embedding[windows.corner_rows[members[-1]]][None]
        blocks = state.reshape(manifest.channels, along, k, along, k).transpose(1, 3, 2, 4, 0)
        for block in blocks.reshape(-1, 1, k * k, manifest.channels):
            store(bundle.head(np.ascontiguousarray(block), corners))

    rate: Rate = on_threads(one, shop.workers, at_least_s)
    return Yardstick(
        "factors read, convolved and put through the head at each refresh, no stored state",
        rate.times * side**2,
        rate.seconds,
        rate.cpu_s,
    )
