"""Parts of a refresh by themselves, in memory: what each would do if nothing else had to be done."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from exporters.cog import SUSCEPTIBILITY, LayerTags, LayerWriter
from exporters.layer import Layer
from service.bench.graph import flops_of
from service.bench.meter import Meter, on_threads
from service.layer_windows import windows_of
from service.patches import NO_DATA
from service.tiles import forcing_cells_along
from service.workshop import Workshop

_BLOCKS = 64  # of states: more than any cache holds
_TILES = 8
_STRIP_ROWS = 128


@dataclass(frozen=True)
class Part:
    """What one part does alone. `count` cells or windows were done in `seconds`."""

    what: str
    count: int
    seconds: float
    cpu_s: float
    cells: int  # of the region, that `count` stands for
    flops: float = 0.0  # floating-point operations in these seconds; 0: not counted
    bytes: int = 0  # that had to be moved, at the least

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return asdict(self)


def measure_parts(shop: Workshop, layer: Layer, at_least_s: float) -> dict[str, Part]:
    """Return temporal, head, convolution and COG writing by themselves, on all of the shop's workers."""
    return {
        "temporal": _temporal(shop, layer.day, at_least_s),
        "head": _head(shop, at_least_s),
        "convolution": _convolution(shop, at_least_s),
        "cog": _cog(shop, layer),
    }


def _temporal(shop: Workshop, day: date, at_least_s: float) -> Part:
    windows = windows_of(shop, day).windows
    flops = flops_of(shop.bundle.folder / "temporal.onnx", {"window": (1, *windows.shape[1:])})
    shop.bundle.temporal(windows)
    meter, times = Meter(), 0
    seconds = cpu = 0.0
    while seconds < at_least_s:
        shop.bundle.temporal(windows)
        times += 1
        cost = meter.lap()
        seconds, cpu = seconds + cost.seconds, cpu + cost.cpu_s
    count = times * len(windows)
    cells = times * int(shop.state.valid_cells.sum())
    what = "temporal.onnx on every distinct window"
    return Part(what, count, seconds, cpu, cells, float(flops) * count, windows.nbytes * times)


def _head(shop: Workshop, at_least_s: float) -> Part:
    manifest, random = shop.bundle.manifest, np.random.default_rng(0)
    size, channels = manifest.forcing_cell**2, manifest.channels
    codes = random.integers(0, 256, (_BLOCKS, 1, size, channels), dtype=np.uint8)
    corners = random.standard_normal((_BLOCKS, 1, 4, channels)).astype(np.float32)
    scale = np.full(channels, 0.02, np.float32)
    offset = np.full(channels, -2.0, np.float32)
    inputs = {"state": (1, size, channels), "corners": (1, 4, channels)}
    flops = flops_of(
        shop.bundle.folder / "head_u8.onnx", inputs | {"scale": (channels,), "offset": (channels,)}
    )

    own = threading.local()

    def one(number: int) -> None:
        runs: list[Callable[[], None]] | None = getattr(own, "runs", None)
        if runs is None:  # bound as the refresh binds them
            out = np.empty((1, size), np.float32)
            blocks = zip(codes, corners, strict=True)
            runs = own.runs = [
                shop.bundle.bound_head_u8(block, rows, scale, offset, out) for block, rows in blocks
            ]
        runs[number % _BLOCKS]()

    rate = on_threads(one, shop.workers, at_least_s)
    cells = rate.times * size
    what = "head_u8.onnx on states in memory"
    return Part(what, cells, rate.seconds, rate.cpu_s, cells, float(flops) * rate.times, cells * channels)


def _convolution(shop: Workshop, at_least_s: float) -> Part:
    manifest = shop.bundle.manifest
    side = forcing_cells_along(manifest.forcing_cell) * manifest.forcing_cell
    tiles = _busy_tiles(shop, side)
    flops = flops_of(shop.bundle.folder / "spatial.onnx", {"factors": (1, *tiles[0].shape)})

    def one(number: int) -> None:
        shop.bundle.spatial(tiles[number % len(tiles)][None])

    rate = on_threads(one, shop.workers, at_least_s)
    cells = rate.times * side**2
    what = f"spatial.onnx on tiles of {side} x {side} cells with their halo, in memory"
    return Part(
        what, cells, rate.seconds, rate.cpu_s, cells, float(flops) * rate.times, tiles[0].nbytes * rate.times
    )


def _busy_tiles(shop: Workshop, side: int) -> list[npt.NDArray[np.float32]]:
    """Return factors of tiles with their halo, of the forcing cells with the most valid cells."""
    k = shop.region.forcing.k
    busiest = np.argsort(-shop.state.valid_cells, kind="stable")
    step = max(1, len(busiest) // _TILES)
    tiles = []
    for index in busiest[::step][:_TILES].tolist():
        row, column = (shop.region.forcing.active[index].astype(np.int64) * k).tolist()
        tile = shop.state.patches.read(row, column, side, side)
        if (tile.flags != NO_DATA).any():
            tiles.append(tile.factors)
    return tiles


def _cog(shop: Workshop, layer: Layer) -> Part:
    """Write the layer's two COGs once more, from strips that are read beforehand bit by bit."""
    grid = shop.region.grid
    tags = LayerTags(
        region=shop.region.id,
        day=layer.day,
        model="bench",
        synthetic=shop.settings.region.synthetic,
        attribution="",
    )
    cost = None
    with (
        tempfile.TemporaryDirectory(prefix=".bench-cog-", dir=shop.settings.data_dir) as name,
        rasterio.open(layer.folder / SUSCEPTIBILITY) as source,
    ):
        writer = LayerWriter(
            Path(name),
            crs=grid.crs,
            transform=grid.transform,
            shape=(grid.height, grid.width),
            scheme=shop.scheme,
            tags=tags,
            threads=shop.workers,
        )
        meter = Meter()
        for row in range(0, grid.height, _STRIP_ROWS):
            strip = source.read(1, window=Window(0, row, grid.width, min(_STRIP_ROWS, grid.height - row)))
            reading = meter.lap()  # is not counted
            writer.write(row, strip)
            spent = meter.lap()
            cost = spent if cost is None else cost.plus(spent)
            del reading
        writer.finish()
        last = meter.lap()
        writer.close()
        cost = last if cost is None else cost.plus(last)
    cells = layer.cells
    what = "susceptibility.tif and class.tif with overviews, from strips in memory"
    return Part(what, cells, cost.seconds, cost.cpu_s, cells, 0.0, cost.bytes_written)
