"""From the physical model to 719 landslides and 719 non-landslides, as Teng et al. 2026 have them.

Landslides: cells fail on their days at random, each with its true probability. A body that came down is not
there to fail again: a failure whose middle lies on an earlier body is the same landslide. Of all failures 719
are recorded, each at a point up to 30 m off (the paper's accuracy of places).

Non-landslides: the paper draws them at random from areas with no recorded landslides, with sufficient
distance, each with a window of 30 days; it does not say which days. Here:
  - places uniform over ground of 8 degrees and more, for flat ground is trivially stable and only flatters a
    score (Steger and Glade 2017); at least CLEARANCE_M from every recorded landslide: off its body, with the
    error of its place. Farther, and the slopes that fail would have no non-landslides at all: there are
    more landslides on each km² here than in Kerman;
  - days: one half those of recorded landslides drawn at random, the other half any days of the record. With
    the landslides' days alone, rain would tell nothing but where a storm passed; with days at random alone,
    any heavy rain would give a landslide away and slopes would matter little. What the paper's hybrid claims
    is that both together tell more than either.

Samples thus come from two known densities over (place, day), and Bayes' rule gives the true probability that
a sample is a landslide. It leaves aside that a body fails once only, and takes the number of landslides near
a place as Poisson.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import cKDTree

from service.files import replacing
from trainer.samples import Kind, Sample
from trainer.synthetic.kerman_slopes import (
    BODY_M,
    BodySlopes,
    at_cells,
    stored_water,
    undrained_fall,
)
from trainer.synthetic.kerman_weather import RECORD_FIRST, RECORD_LAST, Trigger, trigger_of
from trainer.synthetic.region import CELL_M, to_degrees
from trainer.synthetic.slopes import on_grid
from trainer.synthetic.terrain import Terrain
from trainer.synthetic.weather import Weather

Float = npt.NDArray[np.float64]
Float32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

EVENTS = 719  # landslides, and as many non-landslides (Teng et al. 2026)
ACCURACY_M = 30.0  # of recorded places (Teng et al. 2026)
CLEARANCE_M = 150.0  # of non-landslides from recorded landslides: a body and the error of its place
APART_M = 150.0  # non-landslides from each other
MARGIN_CELLS = 24  # at the edge of the region no sample is taken: its patch would be cut
FAILURES = 2.5  # failures drawn for each that is recorded, before those of one body are joined
_STEP = 4  # every 4th row and column is surveyed
# The survey passes over cells whose probability is below _FAINT, and drawdowns too small or too far to count.
_FAINT, _RIM, _FALL_M = 1e-4, 0.03, 1.0
# Weights of true cells around a recorded one, along an axis: a place uniform in its cell, an error uniform
# within a cell's length.
_AROUND = ((-1, 0.25), (0, 0.5), (1, 0.25))


@dataclass(frozen=True)
class Hazard:
    """Where and when the ground fails, and the densities of samples; days count from the weather's first."""

    slopes: BodySlopes
    water: Float32  # (days, m, m, 4)
    excess: Float  # (days, 2, 4)
    inside: npt.NDArray[np.bool_]  # (n, n) ground that is surveyed: no lake, no edge
    record: range  # days of the record
    total: float  # failures expected over the record, all cells
    by_day: Float  # (days,) share of failures on each day
    clear: Float  # (n, n) chance that no recorded landslide is within CLEARANCE_M

    @property
    def size(self) -> int:
        """Cells along one side."""
        return int(self.inside.shape[0])

    def failure(self, rows: Indices, columns: Indices, days: Indices) -> Float:
        """Return the probability that the body around each cell fails on its day: (k,)."""
        water = at_cells(self.water, days, rows, columns, self.size)
        chance = self.slopes.at(rows, columns).probability(water, self.excess[days])
        return np.asarray(np.where(self.inside[rows, columns], chance, 0.0))

    def probability(self, rows: Indices, columns: Indices, days: Indices) -> Float:
        """Return the probability of failure at recorded cells: the mean over where the landslide may be."""
        result = np.zeros(len(rows))
        for south, a in _AROUND:
            for east, b in _AROUND:
                true = np.clip(rows + south, 0, self.size - 1), np.clip(columns + east, 0, self.size - 1)
                result += a * b * self.failure(*true, days)
        return result

    def posterior(self, rows: Indices, columns: Indices, days: Indices) -> Float:
        """Return the probability that a sample at a recorded cell on a day is a landslide."""
        landslide = self.probability(rows, columns, days) / self.total
        free = self.clear * (self.inside & self.slopes.able)
        place = free[rows, columns] / free.sum()
        day = 0.5 * self.by_day[days] + 0.5 / len(self.record)
        # A recorded landslide may be up to 30 m off ground that can fail; no non-landslide is there.
        return np.asarray(landslide / np.maximum(landslide + place * day, 1e-300))


@dataclass(frozen=True)
class Inventory:
    """Recorded samples: landslides first. Places are (column, row) in cells, as a fraction."""

    place: Float  # (2 * events, 2)
    day: tuple[date, ...]
    trigger: tuple[str | None, ...]
    events: int
    same_day: int  # non-landslides on days of landslides; they follow the landslides

    def samples(self, left: float, top: float, cell_m: float) -> Iterator[Sample]:
        """Yield the samples in metres."""
        for number, ((x, y), day, trigger) in enumerate(
            zip(self.place.tolist(), self.day, self.trigger, strict=True)
        ):
            label = int(number < self.events)
            kind = (
                Kind.EVENT if label else Kind.SPATIAL if number < self.events + self.same_day else Kind.BOTH
            )
            name = f"SYN-L{number + 1:04}" if label else f"SYN-N{number + 1 - self.events:04}"
            metres = round(left + x * cell_m, 2), round(top - y * cell_m, 2)
            yield Sample(*metres, name, day, label, kind, trigger, ACCURACY_M if label else 0.0, name)

    def write(self, samples: Sequence[Sample], folder: Path) -> None:
        """Write inventory.csv and non_landslides.csv."""
        degrees = to_degrees(np.array([(sample.x, sample.y) for sample in samples]))
        for file, label in (("inventory.csv", 1), ("non_landslides.csv", 0)):
            text = io.StringIO()
            writer = csv.writer(text, lineterminator="\n")
            writer.writerow(["id", "lon", "lat", "date", "accuracy_m", "kind", "storm"])
            writer.writerows(
                [s.event, f"{lon:.7f}", f"{lat:.7f}", s.day.isoformat(), f"{s.accuracy_m:.0f}", s.kind.value,
                 s.storm or ""]
                for s, (lon, lat) in zip(samples, degrees, strict=True) if s.label == label
            )  # fmt: skip
            with replacing(folder / file) as temporary:
                temporary.write_text(text.getvalue(), "utf-8")


def survey(slopes: BodySlopes, terrain: Terrain, weather: Weather, events: int) -> Hazard:
    """Work out when and where failures are to be expected, on every 4th row and column."""
    size = slopes.dry.shape[0]
    inside = ~terrain.lakes[0].mask & ~terrain.lakes[1].mask
    inside[:MARGIN_CELLS] = inside[-MARGIN_CELLS:] = False
    inside[:, :MARGIN_CELLS] = inside[:, -MARGIN_CELLS:] = False
    record = range(weather.index(RECORD_FIRST), weather.index(RECORD_LAST) + 1)
    water, excess = stored_water(weather), undrained_fall(weather)
    start = _STEP // 2
    rows, columns = (axis.ravel() for axis in np.mgrid[start:size:_STEP, start:size:_STEP])
    part = slopes.at(rows, columns)
    needed = part.water_needed(_FAINT)
    needed[~inside[rows, columns]] = np.inf
    by_day, by_cell = np.zeros(weather.days), np.zeros(len(rows))
    most = water.max(axis=(1, 2, 3))
    beside = inside[rows, columns] & (part.rim.max(axis=-1) > _RIM)
    for day in record:
        prone = np.flatnonzero((needed < most[day]) | (beside & bool(excess[day].max() > _FALL_M)))
        if not prone.size:
            continue
        stored = np.stack(
            [on_grid(water[day, ..., g], size, _STEP).ravel()[prone] for g in range(4)], axis=-1
        )
        chance = slopes.at(rows[prone], columns[prone]).probability(stored, excess[day])
        by_day[day] = chance.sum()
        by_cell[prone] += chance
    total = by_day.sum()
    density = by_cell.reshape(-1, len(np.arange(start, size, _STEP))) / total * events
    reach = CLEARANCE_M / CELL_M / _STEP
    south, east = np.mgrid[-int(reach) : int(reach) + 1, -int(reach) : int(reach) + 1]
    disc = (np.hypot(south, east) <= reach).astype(np.float64)
    disc *= np.pi * reach**2 / disc.sum()
    near = np.kron(ndimage.convolve(density, disc, mode="constant"), np.ones((_STEP, _STEP)))
    return Hazard(slopes, water, excess, inside, record, total * _STEP**2, by_day / total, np.exp(-near))


def draw_inventory(
    hazard: Hazard, weather: Weather, triggers: tuple[Trigger, ...], seed: int, events: int = EVENTS
) -> Inventory:
    """Draw landslides and non-landslides. Raises ValueError where the ground has no room for so many."""
    random = np.random.default_rng([seed, 14])
    rows, columns, days = _failures(hazard, random, FAILURES * events)
    chosen = _one_each(rows, columns, days, BODY_M / CELL_M)
    if len(chosen) < events:
        raise ValueError(f"{len(chosen)} landslides have room on this ground, {events} are wanted")
    chosen = np.sort(random.choice(chosen, events, replace=False))
    true = np.stack([columns[chosen], rows[chosen]], axis=1) + random.random((events, 2))
    slid = true + random.uniform(-1, 1, (events, 2)) * ACCURACY_M / CELL_M
    same_day = (events + 1) // 2
    free = _elsewhere(hazard, random, slid, events)
    other_days = np.concatenate([
        random.choice(days[chosen], same_day),
        random.integers(hazard.record.start, hazard.record.stop, events - same_day),
    ])  # fmt: skip
    every = [weather.first + timedelta(days=int(day)) for day in np.concatenate([days[chosen], other_days])]
    return Inventory(
        np.concatenate([slid, free]),
        tuple(every),
        tuple(trigger_of(day, triggers) for day in every),
        events,
        same_day,
    )


def _failures(hazard: Hazard, random: np.random.Generator, wanted: float) -> tuple[Indices, Indices, Indices]:
    """Draw failures of the record in the order of days; `wanted` is their expected number."""
    rate = wanted / hazard.total
    if rate > 1:
        raise ValueError(f"{hazard.total:.0f} failures are expected in all, {wanted:.0f} are wanted")
    cells = np.argwhere(hazard.inside & hazard.slopes.able)
    needed = hazard.slopes.at(*cells.T).water_needed(_FAINT)
    order = np.argsort(needed, kind="stable")
    cells, needed = cells[order], needed[order]
    beside = np.flatnonzero(hazard.slopes.rim[*cells.T].max(axis=-1) > _RIM)
    most = hazard.water.max(axis=(1, 2, 3))
    found = []
    for day in hazard.record:
        ready = int(np.searchsorted(needed, most[day]))
        near = beside[beside >= ready] if hazard.excess[day].max() > _FALL_M else beside[:0]
        # Each cell is looked at with chance `rate`, and fails with its own: the product is what is wanted.
        count = random.binomial(ready + len(near), rate)
        picked = random.choice(ready + len(near), count, replace=False)
        picked = np.where(picked < ready, picked, np.append(near, 0)[np.maximum(picked - ready, 0)])
        rows, columns = cells[picked].T
        when = np.full(count, day, np.int64)
        fails = random.random(count) < hazard.failure(rows, columns, when)
        found.append(np.stack([rows[fails], columns[fails], when[fails]]))
    rows, columns, days = np.concatenate(found, axis=1)
    return rows, columns, days


def _one_each(rows: Indices, columns: Indices, days: Indices, apart: float) -> Indices:
    """Return failures that are not within `apart` cells of an earlier one."""
    places = np.stack([rows, columns], axis=1).astype(np.float64)
    near = cKDTree(places).query_ball_point(places, apart)
    kept = np.zeros(len(rows), bool)
    for number in np.argsort(days, kind="stable"):
        kept[number] = not kept[near[number]].any()
    return np.flatnonzero(kept)


def _elsewhere(hazard: Hazard, random: np.random.Generator, slid: Float, count: int) -> Float:
    """Draw places clear of all landslides and apart from each other: (count, 2) column, row."""
    candidates = np.argwhere(hazard.inside & hazard.slopes.able)
    places = candidates[random.permutation(len(candidates))][:, ::-1] + random.random((len(candidates), 2))
    clear = cKDTree(slid).query(places)[0] >= CLEARANCE_M / CELL_M
    found: list[Float] = []
    for place in places[clear]:
        if all(np.hypot(*(place - other)) >= APART_M / CELL_M for other in found):
            found.append(place)
        if len(found) == count:
            return np.array(found)
    raise ValueError(f"{len(found)} non-landslides have room on this ground, {count} are wanted")
