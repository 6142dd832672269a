"""Cells per second of a refresh whose spatial state exists, against whole.onnx run patch by patch.

    python tests/benchmarks/bench_refresh.py [--cells 4000000] [--bundle PATH] [--workers 0] [--json]

Factors and windows are synthetic and smooth. Without --bundle the network is the paper's size with random
weights; speed does not depend on the weights. Stages: `state` builds the spatial state (once for a region
and bundle), `temporal` runs the LSTM on the nodes, `head` is everything from windows and state to finished
strips, `temporal` included. `naive` runs whole.onnx on a sample of the same cells, with as many threads.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np
import rasterio
import structlog
from rasterio.crs import CRS
from rasterio.windows import Window

from exporters.layer import NODATA
from service.bundle import Bundle
from service.factor_stack import FactorBand, FactorStack
from service.inference import susceptibility_strips
from service.patches import NO_DATA
from service.proof import random_factors, random_window
from service.region import ForcingGrid, Grid, Region
from service.sequences import WindowSet
from service.state import open_or_build_state
from service.whole_path import susceptibility_of_cells
from tests.fix_bundle import ToyNetwork, write_toy_bundle
from tests.fix_scene import make_windows
from trainer.stack_writer import StackWriter, windows

PAPER = ToyNetwork(
    factors=12, categorical=False, filters=(32, 64, 128), channels=128, hidden=64, lstm=(128, 64), k=32
)
SQUARE = 512  # of factors, repeated over the region


@click.command()
@click.option("--cells", default=4_000_000, show_default=True, help="Cells of the square region.")
@click.option("--bundle", "bundle_path", type=click.Path(path_type=Path), help="A factored bundle.")
@click.option("--workers", default=0, show_default=True, help="Threads; 0: one for each core.")
@click.option("--sample", default=8_192, show_default=True, help="Cells of the naive run.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(cells: int, bundle_path: Path | None, workers: int, sample: int, as_json: bool) -> None:
    """Measure one refresh."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    threads = workers or os.cpu_count() or 1
    with tempfile.TemporaryDirectory(prefix="bench-refresh-") as name:
        folder = Path(name)
        found = measure(folder, cells, bundle_path, threads, sample)
    if as_json:
        click.echo(json.dumps(found))
    else:
        for key, value in found.items():
            shown = f"{value:,.4g}" if isinstance(value, float) and value < 100 else value
            shown = shown if isinstance(shown, str) else f"{shown:,.0f}"
            click.echo(f"{key:>24}  {shown}")


def measure(folder: Path, cells: int, bundle_path: Path | None, threads: int, sample: int) -> dict[str, Any]:
    """Return the figures of one refresh of a square region below `folder`."""
    path = bundle_path or write_toy_bundle(folder / "bundle", PAPER)
    bundle = Bundle.load(path, workers=threads)
    region = make_square(folder, round(cells**0.5), bundle)
    write_factors(folder / "factors.tif", region, bundle)
    with FactorStack.open(folder / "factors.tif", region.grid) as stack:
        seconds_state, state = timed(
            lambda: open_or_build_state(
                region, stack, bundle, folder / "state", min_patch_observed=1.0, workers=threads
            )
        )
        made = make_weather(region.forcing, bundle)
        seconds_temporal, _ = timed(lambda: bundle.temporal(made.windows))

        def all_strips() -> int:
            strips = susceptibility_strips(region, state, bundle, made, workers=threads)
            return sum(int((strip != NODATA).sum()) for _, strip in strips)

        # The first pass warms the page cache and the sessions, as a daemon's yesterday did.
        all_strips()
        seconds_head, known = min(timed(all_strips) for _ in range(3))

        busy = np.argsort(state.valid_cells)[-threads:].tolist()
        each = min(sample // threads, bundle.manifest.forcing_cell**2)

        def naive(index: int) -> int:
            valid = np.flatnonzero(state.flags(index, index + 1)[0] != NO_DATA)[:each]
            susceptibility_of_cells(region.forcing, state.patches, bundle, made, index, valid)
            return len(valid)

        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(naive, busy))
            seconds_naive, counts = timed(lambda: sum(pool.map(naive, busy)))
    valid_cells = state.record.valid_cells
    return {
        "bundle": bundle.manifest.name,
        "threads": threads,
        "valid_cells": valid_cells,
        "forcing_cells": len(region.forcing.active),
        "nodes": len(made.windows),
        "state_cells_per_s": valid_cells / seconds_state,
        "temporal_nodes_per_s": len(made.windows) / seconds_temporal,
        "temporal_s": seconds_temporal,
        "head_cells_per_s": known / (seconds_head - seconds_temporal),
        "cells_per_s": known / seconds_head,
        "naive_cells_per_s": counts / seconds_naive,
        "ratio": (known / seconds_head) / (counts / seconds_naive),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return seconds and result."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def make_square(folder: Path, side: int, bundle: Bundle) -> Region:
    """Return a region of side x side cells, all of them in the mask."""
    k = bundle.manifest.forcing_cell
    grid = Grid(CRS.from_epsg(32632), 500_000.0, 5_000_000.0, 30.0, side, side)
    with rasterio.open(folder / "mask.tif", "w", **grid.profile("uint8", 1, None)) as out:
        out.write(np.ones((side, side), np.uint8), 1)
    along = -(-side // k)
    active = np.argwhere(np.ones((along, along), bool)).astype(np.int32)
    forcing = ForcingGrid(grid, k, active)
    return Region("bench", grid, forcing, folder / "mask.tif", folder / "zones.tif", (), "all", "none")


def write_factors(path: Path, region: Region, bundle: Bundle) -> None:
    """Write a factor stack square by square."""
    grid, specs = region.grid, bundle.manifest.factors
    square = random_factors(specs, SQUARE, np.random.default_rng(0))
    bands = [
        FactorBand(spec.name, spec.unit, spec.log, spec.categories, None, float("nan"), float("nan"))
        for spec in specs
    ]
    with StackWriter(path, grid, region.mask_path, bands) as writer:
        for window in windows(grid, SQUARE):
            part = Window(0, 0, window.width, window.height).toslices()
            for spec, values in zip(specs, square, strict=True):
                writer.write(spec.name, window, values[part])
        writer.finish(grid.height * grid.width, {}, [])


def make_weather(forcing: ForcingGrid, bundle: Bundle) -> WindowSet:
    """Return a window of its own on every node."""
    manifest, random = bundle.manifest, np.random.default_rng(1)
    plain = make_windows(forcing, ToyNetwork(days=manifest.window_days, variables=1))
    values = np.concatenate([random_window(manifest, random) for _ in plain.windows])
    return replace(plain, windows=values, variables=tuple(spec.name for spec in manifest.variables))


if __name__ == "__main__":
    main()
