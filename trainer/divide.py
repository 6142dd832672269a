"""Landslides and places divided among training, validation and test, and negatives drawn on each side.

A split by groups alone fails where many landslides lie close together: chains of neighbouring places and of
storms join everything into one group. Here both are cut: the region into bands from west to east, the storms
into sets. A landslide is used where its band and its storm are of the same side; the others are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from service.errors import InputError
from service.forcing import RAIN, gauge_days, surface_of_day
from service.readings import Archive
from service.region import Grid, Region
from service.settings import Settings
from trainer.inventory import Event
from trainer.samples import Elsewhere, Kind, Sample, Sampling, draw_samples, storms_of
from trainer.splits import group_samples

SIDES = ("train", "validation", "test")


class SplitSettings(BaseModel):
    """Shares of the region's width, and of the landslides' storms, for each side."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shares: tuple[float, float, float] = (0.6, 0.2, 0.2)
    # Negatives elsewhere, in the weeks after a landslide, for each of them: without these nothing shows that
    # a storm's effect passes, because no temporal negative lies near a storm.
    both: Annotated[int, Field(ge=0)] = 0
    both_days: tuple[int, int] = (2, 21)  # after the landslide: first and last


@dataclass(frozen=True)
class Divided:
    """Landslides by side, and the columns that each side may draw places from."""

    events: dict[str, tuple[Event, ...]]
    columns: dict[str, tuple[int, int]]  # first, last + 1
    storm_days: dict[str, tuple[date, ...]]  # days of all landslides of the side's storms, used or not
    left_out: int

    @property
    def words(self) -> str:
        """How it was divided, in words of the model card."""
        bands = ", ".join(f"{side} {first}-{last - 1}" for side, (first, last) in self.columns.items())
        return f"by place (bands of columns: {bands}) and by storm (whole storms, 30 days around each)"


@dataclass(frozen=True)
class Drawn:
    """Samples by side, and how many negatives of each kind could not be found."""

    sides: dict[str, tuple[Sample, ...]]
    shortfalls: dict[str, int]


@dataclass(frozen=True)
class NodeRain:
    """Rain of each day on the forcing lattice: what a place had, as a layer would have seen it."""

    region: Region
    first: date
    value: npt.NDArray[np.float32]  # (days, nodes), mm, NaN where unknown

    def at(self, x: float, y: float, days: Sequence[date]) -> npt.NDArray[np.float32]:
        """Return mm of each day at a place, NaN where unknown: float32 (len(days),)."""
        forcing = self.region.forcing
        row, column = (int(index[0]) for index in forcing.grid.cells_at(np.array([x]), np.array([y])))
        index = self._cell_number(row // forcing.k, column // forcing.k)
        rows = np.array([(day - self.first).days for day in days], dtype=np.int64)
        result = np.full(len(rows), np.nan, dtype=np.float32)
        if index is None:
            return result
        known = (rows >= 0) & (rows < len(self.value))
        weights = forcing.corner_weights[(row % forcing.k) * forcing.k + column % forcing.k]
        result[known] = self.value[np.ix_(rows[known], forcing.corners[index])] @ weights
        return result

    def _cell_number(self, row: int, column: int) -> int | None:
        active = self.region.forcing.active
        found = np.flatnonzero((active[:, 0] == row) & (active[:, 1] == column))
        return int(found[0]) if found.size else None


def rain_at_nodes(settings: Settings, region: Region, archive: Archive, first: date, last: date) -> NodeRain:
    """Return the rain of `first` to `last` on the region's nodes, interpolated as for a layer."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    gauges, _ = gauge_days(archive, RAIN, days, region.grid.crs, settings.forcing)
    values = [surface_of_day(day, region.forcing.node_xy, settings.forcing).values for day in gauges]
    return NodeRain(region, first, np.stack(values))


def divide(events: Sequence[Event], grid: Grid, split: SplitSettings, sampling: Sampling) -> Divided:
    """Divide landslides by band and by storm.

    Storms at most `storm_days` apart stay together, so no sample lies within that of storms of two sides.
    Raises InputError for shares that cannot be, and where a side stays without landslides.
    """
    shares = np.array(split.shares)
    if (shares <= 0).any() or abs(shares.sum() - 1) > 1e-9:
        raise InputError(f"training.split.shares must be above 0 and add up to 1, got {split.shares}")
    edges = np.round(np.concatenate([[0], np.cumsum(shares)]) * grid.width).astype(int)
    # Places of two sides stay a patch apart: half of it is left free on each side of an edge.
    free = int(np.ceil(sampling.place_distance_m / 2 / grid.cell_size_m)) + 1
    columns = {}
    for number, side in enumerate(SIDES):
        first = edges[number] + (free if number else 0)
        last = edges[number + 1] - (free if number < 2 else 0)
        columns[side] = int(first), int(last)
    side_of_storm = _storms_by_side(events, shares, sampling)
    column = grid.cells_at(np.array([event.x for event in events]), np.array([event.y for event in events]))[
        1
    ]
    chosen: dict[str, list[Event]] = {side: [] for side in SIDES}
    for event, place in zip(events, column, strict=True):
        side = side_of_storm[event.id]
        if columns[side][0] <= place < columns[side][1]:
            chosen[side].append(event)
    for side, part in chosen.items():
        if not part:
            raise InputError(f"the {side} part of the split has no landslide; change training.split.shares")
    kept = sum(len(part) for part in chosen.values())
    used = {side: tuple(part) for side, part in chosen.items()}
    of_storms = {
        side: tuple(sorted({event.day for event in events if side_of_storm[event.id] == side}))
        for side in SIDES
    }
    return Divided(used, columns, of_storms, len(events) - kept)


def _storms_by_side(
    events: Sequence[Event], shares: npt.NDArray[np.float64], sampling: Sampling
) -> dict[str, str]:
    """Return the side of each event's storm; storms within `storm_days` of each other stay together."""
    sets = storms_of(events, max(sampling.storm_days, sampling.storm_gap_days))
    sizes: dict[str, int] = {}
    for name in sets.values():
        sizes[name] = sizes.get(name, 0) + 1
    have = np.zeros(3)
    side_of: dict[str, str] = {}
    for name in sorted(sizes, key=lambda name: (-sizes[name], name)):
        number = int(np.argmax(shares - have / len(events)))
        side_of[name] = SIDES[number]
        have[number] += sizes[name]
    return {identity: side_of[name] for identity, name in sets.items()}


def draw(
    divided: Divided,
    events: Sequence[Event],
    days: Sequence[date],
    region: Region,
    rain: NodeRain,
    sampling: Sampling,
    split: SplitSettings,
    patch: int,
) -> Drawn:
    """Draw dated negatives on each side by itself, and hold the result against the rule of the split.

    Raises InputError where a place or a storm would stand on two sides.
    """
    grid = region.grid
    sides: dict[str, tuple[Sample, ...]] = {}
    shortfalls: dict[str, int] = {}
    for number, side in enumerate(SIDES):
        first, last = divided.columns[side]
        first, last = max(first, patch // 2), min(last, grid.width - patch // 2)

        def elsewhere(
            random: np.random.Generator, count: int, first: int = first, last: int = last
        ) -> npt.NDArray[np.float64]:
            row = random.integers(patch // 2, grid.height - patch // 2, count) + 0.5
            column = random.integers(first, last, count) + 0.5
            x, y = grid.left + column * grid.cell_size_m, grid.top - row * grid.cell_size_m
            return np.stack([x, y], axis=1)

        drawn = draw_samples(
            divided.events[side], events, days=days, elsewhere=elsewhere, rain=rain.at,
            sampling=sampling.model_copy(update={"seed": sampling.seed + number}),
        )  # fmt: skip
        later = _later_elsewhere(divided, side, events, elsewhere, rain, sampling, split)
        sides[side] = drawn.samples + later
        wanted = split.both * len(divided.events[side])
        if len(later) < wanted:
            shortfalls[Kind.BOTH.value] = shortfalls.get(Kind.BOTH.value, 0) + wanted - len(later)
        for kind, count in drawn.shortfalls.items():
            shortfalls[kind.value] = shortfalls.get(kind.value, 0) + count
    _check(sides, sampling)
    return Drawn(sides, shortfalls)


def _later_elsewhere(
    divided: Divided,
    side: str,
    events: Sequence[Event],
    elsewhere: Elsewhere,
    rain: NodeRain,
    sampling: Sampling,
    split: SplitSettings,
) -> tuple[Sample, ...]:
    """Draw places without a landslide in the weeks after each landslide of a side.

    The day lies farther than `storm_days` from storms of other sides, the place `minimum_distance_m` from
    every landslide whose window would overlap.
    """
    generator = np.random.default_rng([sampling.seed, SIDES.index(side), 1])
    others = np.array([day.toordinal() for name, days in divided.storm_days.items() if name != side
                       for day in days])  # fmt: skip
    where = np.array([(event.x, event.y) for event in events])
    when = np.array([event.day.toordinal() for event in events])
    samples: list[Sample] = []
    for event in divided.events[side]:
        for number in range(split.both):
            for x, y in elsewhere(generator, 20):
                day = event.day + timedelta(days=int(generator.integers(*split.both_days, endpoint=True)))
                overlap = np.abs(when - day.toordinal()) < sampling.window_days
                near = np.hypot(*(where[overlap] - (x, y)).T) < sampling.minimum_distance_m
                if near.any() or (np.abs(others - day.toordinal()) <= sampling.storm_days).any():
                    continue
                last = day - timedelta(days=sampling.lag_days)
                window = [last - timedelta(days=back) for back in range(sampling.window_days)]
                if np.isfinite(rain.at(float(x), float(y), window)).all():
                    place = f"both-{event.id}-{number}"
                    samples.append(Sample(float(x), float(y), place, day, 0, Kind.BOTH, None, 0.0, event.id))
                    break
    return tuple(samples)


def _check(sides: dict[str, tuple[Sample, ...]], sampling: Sampling) -> None:
    """Refuse samples of one group on two sides."""
    everyone = [sample for part in sides.values() for sample in part]
    groups = group_samples(
        everyone, storm_days=sampling.storm_days, place_distance_m=sampling.place_distance_m
    )
    side = np.repeat(np.arange(len(sides)), [len(part) for part in sides.values()])
    for group in np.unique(groups):
        if len(np.unique(side[groups == group])) > 1:
            raise InputError(
                "a place or a storm would stand on two sides of the split; raise training.sampling."
                "storm_days or give landslides of more storms"
            )
