"""A small region with a factor stack and windows, for tests of what is computed on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.crs import CRS
from rasterio.windows import Window

from service.bundle import Bundle
from service.factor_stack import FactorBand, FactorStack
from service.region import ForcingGrid, Grid, Region
from service.sequences import WindowSet, window_days
from service.stack_writer import StackWriter
from service.state import SpatialState, open_or_build_state
from tests.fix_bundle import COVER, FloatArray, ToyNetwork, write_toy_bundle

DAY = date(2026, 3, 1)


@dataclass(frozen=True)
class Scene:
    """A region, its factors as written (C, height, width), a bundle and windows on every node."""

    network: ToyNetwork
    region: Region
    factors: FloatArray
    mask: npt.NDArray[np.bool_]
    stack: FactorStack
    bundle: Bundle
    windows: WindowSet
    folder: Path

    def state(self, min_patch_observed: float = 1.0, workers: int = 2) -> SpatialState:
        """Return the spatial state under the scene's folder, built where it is not there."""
        return open_or_build_state(
            self.region, self.stack, self.bundle, self.folder / "state",
            min_patch_observed=min_patch_observed, workers=workers,
        )  # fmt: skip


def make_scene(
    folder: Path,
    network: ToyNetwork | None = None,
    *,
    shape: tuple[int, int] = (70, 90),
    kind: str = "factored",
    mask: npt.NDArray[np.bool_] | None = None,
    change: Callable[[FloatArray], None] | None = None,
    categories: dict[int, str] = COVER,
) -> Scene:
    """Make a scene below `folder`. `change` edits the factors before they are written."""
    net = network or ToyNetwork()
    grid = Grid(CRS.from_epsg(32632), 500_000.0, 5_000_000.0, 30.0, *shape)
    inside = np.ones(shape, bool) if mask is None else mask
    region = make_region(folder, grid, net.k, inside)
    factors = smooth_factors(net, shape)
    if change is not None:
        change(factors)
    factors[:, ~inside] = np.nan
    write_stack(folder / "factors.tif", region, net, factors, categories)
    stack = FactorStack.open(folder / "factors.tif", grid)
    path = folder / f"bundle-{kind}"
    if not path.exists():
        write_toy_bundle(path, net, kind="whole" if kind == "whole" else "factored")
    bundle = Bundle.load(path)
    windows = make_windows(region.forcing, net)
    return Scene(net, region, factors, inside, stack, bundle, windows, folder)


def make_region(folder: Path, grid: Grid, k: int, mask: npt.NDArray[np.bool_]) -> Region:
    """Return a region without zones; its mask is a raster below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    with rasterio.open(folder / "mask.tif", "w", **grid.profile("uint8", 1, None)) as out:
        out.write(mask.astype(np.uint8), 1)
    rows, columns = -(-grid.height // k), -(-grid.width // k)
    padded = np.zeros((rows * k, columns * k), bool)
    padded[: grid.height, : grid.width] = mask
    active = np.argwhere(padded.reshape(rows, k, columns, k).any(axis=(1, 3))).astype(np.int32)
    forcing = ForcingGrid(grid, k, active)
    mask_path, zones_path = folder / "mask.tif", folder / "zones.tif"
    return Region("toy", grid, forcing, mask_path, zones_path, (), f"{mask.sum()}", "none")


def smooth_factors(net: ToyNetwork, shape: tuple[int, int]) -> FloatArray:
    """Return continuous bands within 5 to 95 and, last, codes 1 to 3 where the network has categories."""
    random = np.random.default_rng(net.seed + 1)
    y, x = np.mgrid[: shape[0], : shape[1]] / 30
    bands = []
    for _ in net.factor_specs:
        a, b, c, d = random.uniform(0.5, 3, 4)
        noise = random.uniform(-5, 5, shape)
        bands.append(50 + 25 * np.sin(a * y + b * x) + 15 * np.cos(c * y - d * x) + noise)
    if net.categorical:
        bands[-1] = 1 + (bands[-1] > 40).astype(int) + (bands[-1] > 60)
    return np.stack(bands).astype(np.float32)


def write_stack(
    path: Path, region: Region, net: ToyNetwork, factors: FloatArray, categories: dict[int, str]
) -> str:
    """Write a factor stack with the trainer's own writer; return its digest."""
    specs, nan = net.factor_specs, math.nan
    bands = [
        FactorBand(spec.name, spec.unit, False, categories if spec.categories else None, None, nan, nan)
        for spec in specs
    ]
    grid = region.grid
    with StackWriter(path, grid, region.mask_path, bands) as writer:
        for spec, values in zip(specs, factors, strict=True):
            writer.write(spec.name, Window(0, 0, grid.width, grid.height), values)
        return writer.finish(grid.height * grid.width, {}, [])[0]


def make_windows(forcing: ForcingGrid, net: ToyNetwork, *, uniform: bool = False) -> WindowSet:
    """Return a window on every node: random daily rain (and levels); `uniform`: the same on all nodes."""
    random = np.random.default_rng(net.seed + 2)
    nodes = len(forcing.nodes)
    windows = random.uniform(0, 60, (nodes, net.days, net.variables)).astype(np.float32)
    windows[..., 1:] *= -1
    if uniform:
        windows[:] = windows[0]
    count = len(forcing.active)
    nothing = np.zeros(count, np.float32)
    return WindowSet(
        day=DAY,
        days=window_days(DAY, net.days, 1),
        variables=tuple(spec.name for spec in net.variable_specs),
        windows=windows,
        corner_rows=forcing.corners.copy(),
        partial={},
        observed=nothing + 1,
        filled=nothing,
        carried=nothing,
        forecast=nothing,
        distance_km=nothing,
        basis=np.zeros(count, np.uint32),
        coverage=1.0,
        newest_known_at=None,
        digest="toy",
    )


def without_window(windows: WindowSet, forcing_cell: int) -> WindowSet:
    """Return the windows less one corner of a forcing cell."""
    rows = windows.corner_rows.copy()
    rows[forcing_cell, 2] = -1
    return replace(windows, corner_rows=rows)
