"""The index on a seeded sample of cells and days, over years: what class breaks are cut from.

    sample_index(opened, predict, factors, rule, first, last, cells, seed) -> IndexSample

Each sampled cell has one day, drawn evenly between `first` and `last`, so that wet and dry seasons weigh as
they occur. Two years is the least: fewer and the breaks belong to their weather.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from exporters.layer import store
from service.errors import InputError
from service.factor_stack import FactorStack
from service.patches import box_sums
from service.points import point_windows
from service.readings import Archive
from service.region import Region, strips
from trainer.dataset import FloatArray, Variable
from trainer.patches import read_patches
from trainer.region_dataset import Opened, WindowRule, variable_specs

TWO_YEARS = 730  # days
_ROWS = 128  # of one strip
_FEWEST = 20  # samples below which a quantile means nothing
_BATCH = 256

Predict = Callable[[FloatArray, FloatArray], npt.NDArray[np.float64]]


@dataclass(frozen=True)
class IndexSample:
    """Susceptibility of sampled cells on sampled days, all known."""

    susceptibility: npt.NDArray[np.float64]  # (n,)
    xy: npt.NDArray[np.float64]  # (n, 2) cell centres
    day: tuple[date, ...]  # (n,)
    first: date  # of the days that were drawn from
    last: date
    without_window: int  # sampled, but left out
    seed: int

    @property
    def codes(self) -> npt.NDArray[np.uint8]:
        """The susceptibility as a layer stores it: (n,)."""
        return store(self.susceptibility)

    @property
    def words(self) -> str:
        """What the sample is, for a manifest or a report."""
        return (
            f"{len(self.day)} cells, each on one day between {self.first} and {self.last}, seed {self.seed}; "
            f"{self.without_window} more had no complete window"
        )


def sample_index(
    opened: Opened,
    predict: Predict,
    factors: Sequence[str],
    rule: WindowRule,
    first: date,
    last: date,
    *,
    cells: int = 2_000,
    seed: int = 0,
    least_days: int = TWO_YEARS,
) -> IndexSample:
    """Return what `predict` gives for a seeded sample of cells, each on a day between `first` and `last`.

    `predict` takes patches (n, C, P, P) and windows (n, N, V) in physical units, any calibration included.
    Days are those for which the archive can hold a whole window. Raises InputError where these are fewer than
    `least_days`, no cell has a complete patch, or fewer than 20 samples have a complete window.
    """
    first, last = days_with_windows(opened.archive, rule, first, last, least_days, "class breaks")
    random = np.random.default_rng(seed)
    xy = draw_cells(opened.region, opened.stack, factors, rule.patch, cells, random)
    offsets = random.integers(0, (last - first).days + 1, len(xy))
    days = [first + timedelta(days=int(offset)) for offset in offsets]
    windows = point_windows(
        opened.settings, opened.region, opened.archive, variable_specs(rule.variables), xy, days,
        window_days=rule.window_days, lag_days=rule.lag_days, reservoirs=opened.reservoirs,
    ).windows  # fmt: skip
    known = np.flatnonzero(np.isfinite(windows).all(axis=(1, 2)))
    if known.size < _FEWEST:
        raise InputError(
            f"only {known.size} of {len(xy)} sampled cells have a complete window between {first} and "
            f"{last}; are there readings of those years within reach?"
        )
    # From north to south, so that a batch of patches comes from few strips.
    known = known[np.argsort(-xy[known, 1], kind="stable")]
    parts = []
    for start in range(0, known.size, _BATCH):
        rows = known[start : start + _BATCH]
        parts.append(predict(read_patches(opened.stack, factors, xy[rows], rule.patch), windows[rows]))
    return IndexSample(
        susceptibility=np.concatenate(parts),
        xy=xy[known],
        day=tuple(days[row] for row in known),
        first=first,
        last=last,
        without_window=len(xy) - known.size,
        seed=seed,
    )


def draw_cells(
    region: Region,
    stack: FactorStack,
    factors: Sequence[str],
    patch: int,
    count: int,
    random: np.random.Generator,
) -> npt.NDArray[np.float64]:
    """Return the centres (n, 2) of at most `count` cells whose patches are complete, read strip by strip.

    The stack has no data outside the mask, so a cell whose patch leaves the region is not drawn. Raises
    InputError where no cell has a complete patch.
    """
    keys, places = np.zeros(0), np.zeros((0, 2), np.int64)
    before = patch // 2
    for strip in strips(region.grid, _ROWS):
        top, rows, width = int(strip.row_off), int(strip.height), region.grid.width
        window = Window(-before, top - before, width + patch - 1, rows + patch - 1)
        observed = np.isfinite(stack.read(factors, window)).all(axis=0)
        there = np.argwhere(box_sums(np.asarray(observed), patch) == patch**2)
        # The `count` smallest keys of all strips are an even sample of all cells.
        keys = np.concatenate([keys, random.random(len(there))])
        places = np.concatenate([places, there + np.array([top, 0])])
        keep = np.argsort(keys, kind="stable")[:count]
        keys, places = keys[keep], places[keep]
    if not len(keys):
        raise InputError(f"no cell of {stack.path} has a complete {patch} x {patch} patch of {list(factors)}")
    grid = region.grid
    x = grid.left + (places[:, 1] + 0.5) * grid.cell_size_m
    return np.stack([x, grid.top - (places[:, 0] + 0.5) * grid.cell_size_m], axis=1)


def days_with_windows(
    archive: Archive, rule: WindowRule, first: date, last: date, least_days: int, purpose: str
) -> tuple[date, date]:
    """Return the first and last of the days from `first` to `last` whose windows the archive spans.

    Raises InputError where they are fewer than `least_days`; `purpose` says what needs them.
    """
    spans = [(archive.first_day(name), archive.newest_day(name)) for name in _archived(rule.variables)]
    begin, end = first, last
    for oldest, newest in spans:
        if oldest is None or newest is None:
            raise InputError("the archive lacks readings of a variable of the window; run the ingest first")
        begin = max(begin, oldest + timedelta(days=rule.lag_days + rule.window_days - 1))
        end = min(end, newest + timedelta(days=rule.lag_days))
    days = (end - begin).days + 1
    if days < least_days:
        raise InputError(
            f"{purpose} need {least_days} days to sample from, but between {first} and {last} the archive "
            f"holds whole windows for {max(0, days)}: either bring in older readings or state fewer days"
        )
    return begin, end


def _archived(variables: Sequence[Variable]) -> list[str]:
    """Return the variables of the archive that a window is made from."""
    return sorted({"rain" if variable.name == "rain" else "level" for variable in variables})
