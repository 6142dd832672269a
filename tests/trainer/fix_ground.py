"""A dataset with two branches, and models of it whose formula is known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from trainer.dataset import Dataset, Factor, FloatArray, Variable
from trainer.models.base import Fitted, WholeGraph
from trainer.samples import Kind, Sample

PATCH, DAYS = 5, 10
FACTORS = (
    Factor("slope", "deg"),
    Factor("elevation", "m"),
    Factor("rock", categories={1: "marl", 2: "lime"}),
)
VARIABLES = (
    Variable("rain", "mm"),
    Variable("level_below_full", "m", unlinked=-99.0),
    Variable("level_change_1d", "m"),
)


class Formula(Fitted):
    """A model that is a function of patches and windows; counts the samples of its largest call."""

    def __init__(self, formula: Callable[[FloatArray, FloatArray], npt.NDArray[np.floating]]) -> None:
        self.formula = formula
        self.largest = 0

    def predict(self, patches: FloatArray | None, windows: FloatArray | None) -> npt.NDArray[np.float64]:
        assert patches is not None
        assert windows is not None
        self.largest = max(self.largest, len(patches))
        score = np.asarray(self.formula(patches, windows), np.float64)
        return np.asarray(1 / (1 + np.exp(-score)))

    def whole(self) -> WholeGraph:
        raise AssertionError("these tests make no bundle")


def slope_and_rain(patches: FloatArray, windows: FloatArray) -> npt.NDArray[np.floating]:
    """Score of a model that looks at the slope of the cell and the rain of all days, and at nothing else."""
    return (patches[:, 0, 2, 2] - 30) / 8 + (windows[:, :, 0].sum(axis=1) - 50) / 10


def ground(count: int = 400, seed: int = 0) -> Dataset:
    """Return samples whose label is `slope_and_rain` above 0, but for one in ten."""
    random = np.random.default_rng(seed)
    patches = np.empty((count, 3, PATCH, PATCH), np.float32)
    patches[:, 0] = random.uniform(0, 60, (count, 1, 1)) + random.normal(0, 1, (count, PATCH, PATCH))
    patches[:, 1] = random.uniform(1000, 2000, (count, 1, 1))
    patches[:, 2] = random.choice([1, 2], (count, 1, 1), p=[0.3, 0.7])
    windows = np.empty((count, DAYS, 3), np.float32)
    windows[:, :, 0] = random.exponential(5, (count, DAYS))
    windows[:, :, 1] = -20 + np.cumsum(random.normal(0, 1, (count, DAYS)), axis=1)
    windows[:, :, 2] = np.diff(windows[:, :, 1], axis=1, prepend=-20)
    label = (slope_and_rain(patches, windows) > 0) ^ (random.random(count) < 0.1)
    samples = tuple(
        Sample(
            500_000.0 + 40 * n, 3_200_000.0, f"p{n}", date(2020, 1, 1) + timedelta(days=n), int(label[n]),
            Kind.EVENT if label[n] else Kind.SPATIAL, None, 30.0, f"e{n}",
        )
        for n in range(count)
    )  # fmt: skip
    return Dataset(samples, FACTORS, VARIABLES, patches, windows, "EPSG:32640", 30.0, 1, True, "ground")
