"""Samples of a region -> a dataset on disk, read with the service's own code: what a layer would see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt
import rasterio

from service.errors import InputError
from service.factor_stack import FactorStack
from service.manifest import VariableSpec
from service.points import point_windows
from service.readings import Archive
from service.region import Region
from service.reservoirs import Reservoirs
from service.settings import Settings
from trainer.dataset import Dataset, Factor, Variable, save_dataset
from trainer.patches import read_patches
from trainer.samples import Sample


class NothingCompleteError(InputError):
    """No sample has a complete patch and a complete window."""


@dataclass(frozen=True)
class WindowRule:
    """Which days and cells stand behind a sample, as in the layer of its day."""

    variables: tuple[Variable, ...]
    window_days: int = 30
    lag_days: int = 1
    patch: int = 23


@dataclass(frozen=True)
class Opened:
    """A region's inputs, open."""

    settings: Settings
    region: Region
    archive: Archive
    stack: FactorStack
    reservoirs: Reservoirs | None


@dataclass(frozen=True)
class Gathered:
    """The dataset, and what became of samples that are not in it."""

    data: Dataset
    without_patch: int  # no complete patch
    without_window: int  # a complete patch, but no complete window


def gather(
    opened: Opened,
    samples: Sequence[Sample],
    factors: Sequence[str],
    rule: WindowRule,
    folder: Path,
    *,
    truth: npt.NDArray[np.float64] | None = None,
) -> Gathered:
    """Read patches and windows of samples into a dataset at `folder`, which must not exist.

    Samples without a complete patch or window are left out and counted. `factors` names bands of the stack;
    `truth` is the true probability of each sample (n,), where landslides were made up.

    Raises NothingCompleteError where no sample is complete, FactorError for a factor that there is not.
    """
    stack, region = opened.stack, opened.region
    bands = [stack.bands[number - 1] for number in stack.index(factors)]
    xy = np.array([(sample.x, sample.y) for sample in samples], np.float64).reshape(-1, 2)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".", suffix=".part", dir=folder.parent) as scratch:
        shape = (len(samples), len(bands), rule.patch, rule.patch)
        patches = np.lib.format.open_memmap(Path(scratch) / "patches.npy", "w+", np.float32, shape)
        read_patches(stack, factors, xy, rule.patch, patches)
        specs = variable_specs(rule.variables)
        windows = point_windows(
            opened.settings, region, opened.archive, specs, xy, [sample.day for sample in samples],
            window_days=rule.window_days, lag_days=rule.lag_days, reservoirs=opened.reservoirs,
        ).windows  # fmt: skip
        known = np.array([bool(np.isfinite(patch).all()) for patch in patches], bool)
        timed = np.isfinite(windows).all(axis=(1, 2))
        rows = np.flatnonzero(known & timed)
        if not rows.size:
            raise NothingCompleteError(
                f"none of {len(samples)} samples has a complete {rule.patch} x {rule.patch} patch "
                f"({int(known.sum())} have) and a complete window ({int(timed.sum())} have); "
                "do the samples lie on the factor stack, and are the readings of their days there?"
            )
        everything = Dataset(
            samples=tuple(samples),
            factors=tuple(Factor(band.name, band.unit, band.log, band.categories) for band in bands),
            variables=rule.variables,
            patches=patches,
            windows=windows,
            crs=str(region.grid.crs.to_string()),
            cell_size_m=region.grid.cell_size_m,
            lag_days=rule.lag_days,
            synthetic=opened.settings.region.synthetic,
            digest="",
            zone=_zones(region, xy),
            truth=truth,
        )
        data = save_dataset(everything, folder, rows)
    return Gathered(data, int((~known).sum()), int((known & ~timed).sum()))


def variable_specs(variables: Sequence[Variable]) -> list[VariableSpec]:
    """Return what windows of the variables are read by, before their ranges are known."""
    return [
        VariableSpec(name=v.name, unit=v.unit, log=v.log, minimum=0, maximum=1, unlinked=v.unlinked)
        for v in variables
    ]


def _zones(region: Region, xy: npt.NDArray[np.float64]) -> tuple[str, ...]:
    """Return the id of each point's zone, "" outside all; empty for a region without zones."""
    if not region.zones:
        return ()
    grid = region.grid
    rows, columns = grid.cells_at(xy[:, 0], xy[:, 1])
    with rasterio.open(region.zones_path) as source:
        numbers = source.read(1)
    inside = (rows >= 0) & (rows < grid.height) & (columns >= 0) & (columns < grid.width)
    found = np.zeros(len(xy), np.int64)
    found[inside] = numbers[rows[inside], columns[inside]]
    names = {zone.code: zone.id for zone in region.zones}
    return tuple(names.get(int(code), "") for code in found)
