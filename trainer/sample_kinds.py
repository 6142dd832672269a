"""What a sample is, where it comes from, and by which rules negatives are drawn."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

Elsewhere = Callable[[np.random.Generator, int], npt.NDArray[np.float64]]
DayRain = Callable[[float, float, Sequence[date]], npt.NDArray[np.float32]]


class Kind(StrEnum):
    """Where a sample comes from."""

    EVENT = "event"
    SPATIAL = "spatial"
    TEMPORAL_RANDOM = "temporal_random"
    TEMPORAL_SEASON = "temporal_season"
    TEMPORAL_WET = "temporal_wet"
    BOTH = "both"  # elsewhere, and on another day
    FLAT = "flat"  # elsewhere, on ground too flat to slide


@dataclass(frozen=True)
class Sample:
    """One place on one day. `storm` is that of the day for samples of an event's day, else None."""

    x: float
    y: float
    place: str
    day: date
    label: int
    kind: Kind
    storm: str | None
    accuracy_m: float
    event: str  # the event this sample is, or was drawn against


class Shares(BaseModel):
    """Of all negatives, the share of each kind; together 1."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    spatial: Annotated[float, Field(ge=0)] = 0.0
    flat: Annotated[float, Field(ge=0)] = 0.0
    both: Annotated[float, Field(ge=0)] = 0.0
    random: Annotated[float, Field(ge=0)] = 0.0
    season: Annotated[float, Field(ge=0)] = 0.0
    wet: Annotated[float, Field(ge=0)] = 0.0

    @model_validator(mode="after")
    def _whole(self) -> Shares:
        total = sum(self.by_kind.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of the kinds of negatives must add up to 1, not to {total:g}")
        return self

    @property
    def by_kind(self) -> dict[Kind, float]:
        """The shares, the kinds that are scarcest first."""
        return {
            Kind.TEMPORAL_WET: self.wet,
            Kind.TEMPORAL_SEASON: self.season,
            Kind.TEMPORAL_RANDOM: self.random,
            Kind.FLAT: self.flat,
            Kind.SPATIAL: self.spatial,
            Kind.BOTH: self.both,
        }


PER_EVENT = ("spatial", "random", "season", "wet", "flat", "both")


class Sampling(BaseModel):
    """How many negatives of each kind, and by which rules.

    Either so many of each kind for each event (`spatial`, `random`, ...), or `ratio` negatives for each event
    on the whole, divided among the kinds by `shares`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    window_days: Annotated[int, Field(ge=1)] = 30
    lag_days: Annotated[int, Field(ge=0)] = 1
    spatial: Annotated[int, Field(ge=0)] = 2
    random: Annotated[int, Field(ge=0)] = 1
    season: Annotated[int, Field(ge=0)] = 1
    wet: Annotated[int, Field(ge=0)] = 1
    flat: Annotated[int, Field(ge=0)] = 0
    both: Annotated[int, Field(ge=0)] = 0
    ratio: Annotated[float, Field(gt=0)] | None = None  # negatives for each positive; 1.0 is 1:1
    shares: Shares | None = None
    minimum_distance_m: Annotated[float, Field(gt=0)] = 2_000.0
    place_distance_m: Annotated[float, Field(ge=0)] = 690.0  # one patch of 23 cells of 30 m
    flat_degrees: Annotated[float, Field(gt=0)] = 2.0  # flat is below this slope (Azarafza et al. 2021)
    season_days: Annotated[int, Field(ge=0)] = 30
    wet_mm: Annotated[float, Field(ge=0)] = 10.0
    storm_gap_days: Annotated[int, Field(ge=0)] = 3  # events at most this far apart are one storm
    storm_days: Annotated[int, Field(ge=0)] = 30
    seed: int = 0

    @model_validator(mode="after")
    def _one_way(self) -> Sampling:
        if (self.ratio is None) != (self.shares is None):
            raise ValueError("ratio and shares go together: so many negatives, and of which kinds")
        given = [name for name in PER_EVENT if name in self.model_fields_set]
        if self.ratio is not None and given:
            raise ValueError(
                f"{', '.join(given)} says how many for each event, ratio how many in all; leave one out"
            )
        return self

    def counts(self, positives: int) -> dict[Kind, int]:
        """Return how many negatives of each kind `positives` events want; with `ratio`, exactly.

        Shares that do not come out whole are settled by largest remainder, so the sum is the ratio's.
        """
        if self.ratio is None or self.shares is None:
            each = {
                Kind.TEMPORAL_WET: self.wet, Kind.TEMPORAL_SEASON: self.season,
                Kind.TEMPORAL_RANDOM: self.random, Kind.FLAT: self.flat, Kind.SPATIAL: self.spatial,
                Kind.BOTH: self.both,
            }  # fmt: skip
            return {kind: count * positives for kind, count in each.items() if count}
        total = int(np.floor(self.ratio * positives + 0.5))
        exact = {kind: share * total for kind, share in self.shares.by_kind.items() if share > 0}
        # A share such as 112/155, rounded as a decimal, must not lose its last sample.
        counts = {kind: int(np.floor(value + 1e-6)) for kind, value in exact.items()}
        rest = sorted(exact, key=lambda kind: counts[kind] - exact[kind])
        for kind in rest[: total - sum(counts.values())]:
            counts[kind] += 1
        return counts


@dataclass(frozen=True)
class SampleSet:
    """The samples, and how many negatives of each kind could not be found."""

    samples: tuple[Sample, ...]
    shortfalls: dict[Kind, int]

    def counts(self) -> dict[Kind, int]:
        """Return the number of samples of each kind."""
        return dict(Counter(sample.kind for sample in self.samples))
