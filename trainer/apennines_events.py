"""The dated side of the Apennines: which events have rain behind them, their negatives, their places.

An event that is located to its cell takes that cell's spatial embedding; another, and its negatives on other
days at the same place, take the region's mean, so nothing is learned from a place that is not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window
from scipy.spatial import cKDTree

from service.errors import InputError
from service.factor_stack import FactorStack
from service.forcing import project
from service.manifest import VariableSpec
from service.patches import box_sums
from service.points import point_windows
from service.readings import Archive
from service.region import Region, strips
from service.settings import Settings
from trainer.fit import FitSamples
from trainer.inventory import Event
from trainer.networks.cnn_lstm import CnnLstm
from trainer.rain_test import embed
from trainer.samples import Kind, Sample, SampleSet, Sampling, draw_samples
from trainer.splits import group_samples

LOCATED_M = 1_000.0  # an event known to this or better is placed on its cell
RAIN = VariableSpec(name="rain", unit="mm", log=True, minimum=0.0, maximum=1.0)

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cells:
    """A seeded sample of cells with complete patches."""

    row: npt.NDArray[np.int64]  # (n,)
    column: npt.NDArray[np.int64]
    patches: FloatArray  # (n, C, P, P)
    valid: int  # cells with a complete patch, in all

    def xy(self, region: Region) -> npt.NDArray[np.float64]:
        """Return the cells' centres in the region's CRS, metres: (n, 2)."""
        grid = region.grid
        x = grid.left + (self.column + 0.5) * grid.cell_size_m
        return np.stack([x, grid.top - (self.row + 0.5) * grid.cell_size_m], axis=1)


@dataclass(frozen=True)
class Dated:
    """Dated samples with the window of each and its place as an embedding."""

    samples: tuple[Sample, ...]
    windows: FloatArray  # (n, N, 1)
    embeddings: FloatArray  # (n, S)
    groups: npt.NDArray[np.int64]  # (n,)

    def take(self, rows: npt.NDArray[np.int64]) -> Dated:
        """Return some of the samples."""
        chosen = tuple(self.samples[row] for row in rows)
        return Dated(chosen, self.windows[rows], self.embeddings[rows], self.groups[rows])

    @property
    def label(self) -> npt.NDArray[np.int64]:
        """1 for events: (n,)."""
        return np.array([sample.label for sample in self.samples], np.int64)

    def to_fit(self) -> FitSamples:
        """Return them as `trainer.fit` takes them, events weighted to count as much as the negatives.

        At one event to fourteen negatives the index would crowd into the first few stored steps.
        """
        label = self.label
        ratio = (label == 0).sum() / max(1, (label == 1).sum())
        weights = np.where(label == 1, max(ratio, 1.0), 1.0).astype(np.float32)
        return FitSamples(label.astype(np.float32), self.windows, None, self.embeddings, weights)


def draw_dated(
    used: Sequence[Event],
    all_events: Sequence[Event],
    region: Region,
    cells: Cells,
    rain: GaugeRain,
    located: set[str],
    sampling: Sampling,
    last_training_day: date,
) -> SampleSet:
    """Draw negatives for events, those until `last_training_day` from days until then, later ones after.

    A spatial negative beside an event whose place is not known would teach the difference between a known
    place and an unknown one, so only events in `located` (ids) keep theirs.
    """
    there = cells.xy(region)
    there = there[[rain.reaches(x, y) for x, y in there]]

    def elsewhere(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
        return np.asarray(there[random.integers(0, len(there), count)])

    # Elsewhere in Italy a landslide falls on most days; it is no reason to pass a day over here.
    around = [event for event in all_events if rain.reaches(event.x, event.y, event.accuracy_m)]
    samples: list[Sample] = []
    shortfalls: dict[Kind, int] = {}
    for part in (
        [event for event in used if event.day <= last_training_day],
        [event for event in used if event.day > last_training_day],
    ):
        if not part:
            continue
        late = part[0].day > last_training_day
        days = [day for day in rain.days if (day > last_training_day) == late]
        drawn = draw_samples(part, around, days=days, elsewhere=elsewhere, rain=rain, sampling=sampling)
        samples += [s for s in drawn.samples if s.kind != Kind.SPATIAL or s.event in located]
        for kind, count in drawn.shortfalls.items():
            shortfalls[kind] = shortfalls.get(kind, 0) + count
    return SampleSet(tuple(samples), shortfalls)


def date_samples(
    settings: Settings,
    region: Region,
    archive: Archive,
    stack: FactorStack,
    samples: Sequence[Sample],
    spatial: CnnLstm,
    mean: FloatArray,
    patch_of: dict[str, FloatArray],
    *,
    window_days: int,
    lag_days: int,
) -> Dated:
    """Give samples their window and embedding; those without a complete window are left out.

    `patch_of`: event id -> patch (C, P, P) of the events that are located.
    """
    windows = windows_at(
        settings,
        region,
        archive,
        np.array([(s.x, s.y) for s in samples]),
        [s.day for s in samples],
        window_days=window_days,
        lag_days=lag_days,
    )
    kept: list[tuple[Sample, FloatArray]] = []
    patches: list[FloatArray] = []
    rows: list[int] = []
    names = [spec.name for spec in spatial.inputs.factors]
    for sample, window in zip(samples, windows, strict=True):
        if not np.isfinite(window).all():
            continue
        if sample.kind == Kind.SPATIAL:
            patch = patch_at(region, stack, names, sample.x, sample.y, spatial.inputs.patch)
        else:
            patch = patch_of.get(sample.event)
        if patch is not None:
            rows.append(len(kept))
            patches.append(patch)
        kept.append((sample, window))
    embeddings = np.repeat(mean[None], len(kept), axis=0)
    if patches:
        embeddings[rows] = embed(spatial, np.stack(patches))
    chosen = tuple(sample for sample, _ in kept)
    return Dated(chosen, np.stack([window for _, window in kept]), embeddings, group_samples(chosen))


def windows_at(
    settings: Settings,
    region: Region,
    archive: Archive,
    xy: npt.NDArray[np.float64],
    days: Sequence[date],
    *,
    window_days: int,
    lag_days: int,
) -> FloatArray:
    """Return the rain windows of points (n, 2) on days (n,), as layers of those days have them: (n, N, 1)."""
    found = point_windows(
        settings, region, archive, [RAIN], xy, days, window_days=window_days, lag_days=lag_days
    )
    return found.windows


def patch_at(
    region: Region, stack: FactorStack, names: Sequence[str], x: float, y: float, patch: int
) -> FloatArray | None:
    """Return the patch (C, P, P) of the cell at a point, or None where it is not complete."""
    row, column = region.grid.cells_at(np.array([x]), np.array([y]))
    window = Window(int(column[0]) - patch // 2, int(row[0]) - patch // 2, patch, patch)
    values = stack.read(names, window)
    return values if np.isfinite(values).all() else None


def on_terrain(region: Region, stack: FactorStack, event: Event) -> bool:
    """Tell whether the terrain covers an event's point."""
    row, column = region.grid.cells_at(np.array([event.x]), np.array([event.y]))
    value = stack.read(["elevation"], Window(int(column[0]), int(row[0]), 1, 1))
    return bool(np.isfinite(value).all())


def sample_cells(
    region: Region, stack: FactorStack, names: Sequence[str], patch: int, count: int, seed: int
) -> Cells:
    """Return a seeded sample of at most `count` cells whose patches are complete, read strip by strip."""
    random = np.random.default_rng(seed)
    keys = np.zeros(0)
    places = np.zeros((0, 2), np.int64)
    patches = np.zeros((0, len(names), patch, patch), np.float32)
    valid = 0
    before = patch // 2
    for strip in strips(region.grid, 128):
        top, rows, width = int(strip.row_off), int(strip.height), region.grid.width
        window = Window(-before, top - before, width + patch - 1, rows + patch - 1)
        factors = stack.read(names, window)
        complete = box_sums(np.asarray(np.isfinite(factors).all(axis=0)), patch) == patch**2
        there = np.argwhere(complete)
        valid += len(there)
        drawn = random.random(len(there))
        # The `count` smallest keys of all strips are an even sample of all cells.
        best = np.argsort(drawn)[:count]
        if len(keys) == count:
            best = best[drawn[best] < keys.max()]
        squares = np.lib.stride_tricks.sliding_window_view(factors, (patch, patch), axis=(1, 2))
        chosen = squares[:, there[best, 0], there[best, 1]].swapaxes(0, 1)
        keys = np.concatenate([keys, drawn[best]])
        places = np.concatenate([places, there[best] + [top, 0]])
        patches = np.concatenate([patches, chosen])
        keep = np.argsort(keys)[:count]
        keys, places, patches = keys[keep], places[keep], patches[keep]
    if not len(keys):
        raise InputError(f"no cell of {stack.path} has a complete {patch} x {patch} patch")
    return Cells(places[:, 0], places[:, 1], patches, valid)


class GaugeRain:
    """Rain of the nearest gauge that reported, within range: for choosing days, never a model's input."""

    def __init__(self, settings: Settings, region: Region, archive: Archive) -> None:
        first, last = archive.first_day("rain"), archive.newest_day("rain")
        if first is None or last is None:
            raise InputError("the archive holds no rain; run the ingest first")
        self._first = first
        self.days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        readings = archive.values("rain", self.days)
        self._value = np.asarray(readings.value, np.float32)
        self._xy = project(readings.series, region.grid.crs)
        self._range_m = settings.forcing.max_distance_km * 1000
        self._tree = cKDTree(self._xy)
        self._known: dict[tuple[float, float], FloatArray] = {}

    def reaches(self, x: float, y: float, accuracy_m: float = 0.0) -> bool:
        """Tell whether a gauge, reporting or not, is within range of a point, or may be of one so vague."""
        return bool(self._tree.query([x, y])[0] <= self._range_m + accuracy_m)

    def mean(self, days: Sequence[date]) -> FloatArray:
        """Return the mean over the gauges that reported on each day, mm: (n,); NaN where none did."""
        rows = np.array([(day - self._first).days for day in days], np.int64)
        value = self._value[rows]
        known = np.isfinite(value)
        total, count = np.where(known, value, 0).sum(axis=1), known.sum(axis=1)
        return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)

    def __call__(self, x: float, y: float, days: Sequence[date]) -> FloatArray:
        """Return mm of each day (n,), NaN where no gauge in range reported; as trainer.samples wants it."""
        series = self._at(x, y)
        offset = np.array([(day - self._first).days for day in days], np.int64)
        inside = (offset >= 0) & (offset < len(series))
        return np.where(inside, series[np.clip(offset, 0, len(series) - 1)], np.nan).astype(np.float32)

    def _at(self, x: float, y: float) -> FloatArray:
        if (x, y) not in self._known:
            distance = np.hypot(self._xy[:, 0] - x, self._xy[:, 1] - y)
            series = np.full(len(self.days), np.nan, np.float32)
            for gauge in np.argsort(distance):
                if distance[gauge] <= self._range_m:
                    series = np.where(np.isfinite(series), series, self._value[:, gauge])
            self._known[(x, y)] = series
        return self._known[(x, y)]
