"""Small datasets whose labels follow a known rule, and a recipe that is quick."""

from __future__ import annotations

from datetime import date, timedelta
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from trainer.dataset import Dataset, Factor, Indices, Variable
from trainer.models.base import Fitted, Input, Job, Recipe, WholeGraph
from trainer.samples import Kind, Sample

FIRST = date(2015, 1, 1)


def made_up(
    count: int = 200,
    *,
    seed: int = 0,
    extent_m: float = 20_000.0,
    places: int | None = None,
    days: int = 3000,
) -> Dataset:
    """Return samples on a square of ground, half of them landslides: steep places after wet days."""
    random = np.random.default_rng(seed)
    spots = np.array([500_000, 3_200_000]) + random.uniform(0, extent_m, (places or count, 2))
    at = random.integers(0, len(spots), count) if places else np.arange(count)
    slope = random.uniform(0, 60, count)
    rain = random.exponential(8, (count, 10)).astype(np.float32)
    score = slope / 60 + rain.sum(axis=1) / 120
    label = (score > np.median(score)).astype(int)
    patches = np.empty((count, 2, 5, 5), np.float32)
    patches[:, 0] = (slope[:, None, None] + random.normal(0, 1, (count, 5, 5))).astype(np.float32)
    patches[:, 1] = random.integers(1, 4, (count, 1, 1))
    when = [FIRST + timedelta(days=int(day)) for day in random.integers(0, days, count)]
    samples = tuple(
        Sample(
            float(spots[at[n], 0]), float(spots[at[n], 1]), f"place-{at[n]}", when[n], int(label[n]),
            Kind.EVENT if label[n] else Kind.SPATIAL, f"storm-{when[n]:%Y-%m}", 30.0, f"e{n}",
        )
        for n in range(count)
    )  # fmt: skip
    return Dataset(
        samples=samples,
        factors=(Factor("slope", "deg"), Factor("rock", categories={1: "hard", 2: "soft", 3: "loose"})),
        variables=(Variable("rain", "mm"),),
        patches=patches,
        windows=rain[:, :, None],
        crs="EPSG:32640",
        cell_size_m=30.0,
        lag_days=1,
        synthetic=True,
        digest="made-up",
        zone=tuple("east" if spots[at[n], 0] > 500_000 + extent_m / 2 else "west" for n in range(count)),
        truth=np.clip(score / score.max(), 0, 1),
    )


class _Mean(Fitted):
    """Susceptibility from the mean slope, scaled as fitted."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def predict(
        self, patches: npt.NDArray[np.float32] | None, windows: npt.NDArray[np.float32] | None
    ) -> npt.NDArray[np.float64]:
        assert patches is not None
        mean = patches[:, 0].mean(axis=(1, 2), dtype=np.float64)
        return np.asarray(np.clip((mean - self.low) / (self.high - self.low), 0, 1))

    def whole(self) -> WholeGraph:
        raise AssertionError("these tests make no bundle")


class SlopeRecipe(Recipe):
    """Scales the slope by the range of the training rows."""

    name: ClassVar[str] = "slope"
    title: ClassVar[str] = "Slope"
    source: ClassVar[str] = "made up for tests"
    sees: ClassVar[tuple[Input, ...]] = ("patches",)

    def fit(self, data: Dataset, train: Indices, validation: Indices, job: Job) -> Fitted:
        assert data.patches is not None
        slope = data.patches[self.rows(data, train), 0]
        return _Mean(float(slope.min()), float(slope.max()))

    def rows(self, data: Dataset, train: Indices) -> Indices:
        return train


class LeakingRecipe(SlopeRecipe):
    """Scales by the range of all rows: the planted leak."""

    def rows(self, data: Dataset, train: Indices) -> Indices:
        return np.arange(len(data))
