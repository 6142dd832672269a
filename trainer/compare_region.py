"""The datasets of a comparison, made from a region's settings: samples, windows, and cells for the maps."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np

from service.errors import InputError
from service.settings import Settings
from trainer.compare import Case
from trainer.dataset import Variable, load_dataset
from trainer.index_sample import draw_cells
from trainer.prepare import open_inputs
from trainer.protocol import Protocol
from trainer.region_dataset import NothingCompleteError, Opened, WindowRule, gather
from trainer.region_samples import draw_region
from trainer.samples import Kind, Sample, Sampling
from trainer.training_settings import TrainingSettings, read_training

DATA = "data"
_ALONG = 64  # cells of a map along the region's longer side
_CELLS = 1_000  # behind the area curves and the class breaks of a report


@dataclass(frozen=True)
class Prepared:
    """Cases, and what is to be said of the inventory and the factors behind them."""

    cases: tuple[Case, ...]
    sampling: str  # how the samples were drawn, in words
    dem: Path | None = None  # relief of the first case, for the map of its samples
    problems: tuple[str, ...] = ()
    vintage: tuple[str, ...] = ()


def prepare_region(settings: Settings, protocol: Protocol, out: Path) -> Prepared:
    """Draw a region's samples as the protocol says and read what stands behind them into out/data.

    What is there from before is kept where it is the same. Raises whatever the region's inputs raise.
    """
    wanted = read_training(settings)
    with open_inputs(settings, wanted, "colluvium compare") as opened:
        sampling = protocol.sampling_of(wanted.sampling)
        drawn = draw_region(opened, wanted, sampling)
        rule = window_rule(wanted)
        factors = wanted.factors or tuple(band.name for band in opened.stack.bands)
        name = settings.region.id
        folder = out / DATA / name
        fresh = out / DATA / f".{name}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        gathered = gather(opened, drawn.samples, factors, rule, fresh)
        settle(fresh, folder)
        ground = ground_of(opened, drawn.samples, factors, rule, out / DATA / f"{name}-ground")
        span = wanted.first_day, wanted.last_day
        years = years_of(opened, span, factors, rule, out / DATA / f"{name}-years")
    warnings = list(drawn.vintage)
    for count, what in ((gathered.without_patch, "patch"), (gathered.without_window, "window")):
        if count:
            warnings.append(
                f"{count} of {len(drawn.samples)} samples had no complete {what} and are left out"
            )
    for there, what in ((ground, "maps"), (years, "curves of the map's area")):
        if there is None:
            warnings.append(f"no cell of the lattice has a complete patch and window: no {what}")
    case = Case(name, folder, drawn.shortfalls, tuple(warnings), ground, years)
    dem = settings.factors.dem or settings.grid.dem
    return Prepared((case,), words_of(sampling), dem, drawn.problems, drawn.vintage)


def words_of(sampling: Sampling) -> str:
    """Say how negatives are drawn."""
    far = f"at least {sampling.minimum_distance_m:g} m from every landslide"
    if sampling.ratio is None or sampling.shares is None:
        each = ", ".join(f"{count} {kind.value}" for kind, count in sampling.counts(1).items())
        return f"negatives for each landslide: {each}; {far}"
    kinds = ", ".join(f"{share:.0%} {kind.value}" for kind, share in sampling.shares.by_kind.items() if share)
    return f"{sampling.ratio:g} negatives for each landslide: {kinds}; {far}"


def window_rule(wanted: TrainingSettings) -> WindowRule:
    """Return what stands behind a sample, as `[training]` says."""
    return WindowRule(
        tuple(Variable(v.name, v.unit, v.log, v.unlinked) for v in wanted.variables),
        wanted.sampling.window_days,
        wanted.sampling.lag_days,
        wanted.patch,
    )


def settle(fresh: Path, folder: Path) -> None:
    """Put a dataset in its place, unless the one there is the same: runs that used it stay valid."""
    if folder.exists():
        try:
            same = load_dataset(folder).digest == load_dataset(fresh).digest
        except InputError:
            same = False
        if same:
            shutil.rmtree(fresh)
            return
        shutil.rmtree(folder)
    fresh.rename(folder)


def ground_of(
    opened: Opened, samples: tuple[Sample, ...], factors: tuple[str, ...], rule: WindowRule, folder: Path
) -> Path | None:
    """Read a lattice of cells on the day with the most landslides, for maps; None where none is complete."""
    day = busiest_day(samples)
    if day is None:
        return None
    grid = opened.region.grid
    step = max(1, max(grid.height, grid.width) // _ALONG)
    rows, columns = np.mgrid[step // 2 : grid.height : step, step // 2 : grid.width : step]
    cells = tuple(
        Sample(
            grid.left + (column + 0.5) * grid.cell_size_m, grid.top - (row + 0.5) * grid.cell_size_m,
            f"cell-{row}-{column}", day, 0, Kind.SPATIAL, None, 0.0, f"cell-{row}-{column}",
        )
        for row, column in zip(rows.ravel().tolist(), columns.ravel().tolist(), strict=True)
    )  # fmt: skip
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        gather(opened, cells, factors, rule, fresh)
    except NothingCompleteError:
        return None
    settle(fresh, folder)
    return folder


def years_of(
    opened: Opened, span: tuple[date, date], factors: tuple[str, ...], rule: WindowRule, folder: Path
) -> Path | None:
    """Read cells drawn evenly, each on a day drawn from the span: what a map looks like over the years."""
    random = np.random.default_rng(0)
    xy = draw_cells(opened.region, opened.stack, factors, rule.patch, _CELLS, random)
    offsets = random.integers(0, (span[1] - span[0]).days + 1, len(xy)).tolist()
    cells = tuple(
        Sample(x, y, f"cell-{n}", span[0] + timedelta(days=offset), 0, Kind.BOTH, None, 0.0, f"cell-{n}")
        for n, ((x, y), offset) in enumerate(zip(xy.tolist(), offsets, strict=True))
    )
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    try:
        gather(opened, cells, factors, rule, fresh)
    except NothingCompleteError:
        return None
    settle(fresh, folder)
    return folder


def busiest_day(samples: tuple[Sample, ...]) -> date | None:
    """Return the day with the most landslides, the first of equals."""
    days = Counter(sample.day for sample in samples if sample.label == 1)
    return min(days, key=lambda day: (-days[day], day)) if days else None
