"""A small labelled dataset of known truth: landslides where it is steep and has rained."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import numpy.typing as npt

from trainer.dataset import Dataset, Factor, Indices, Variable
from trainer.samples import Kind, Sample

PATCH, DAYS = 23, 30
FACTORS = (
    Factor("elevation", "m"),
    Factor("slope", "deg"),
    Factor("spi", "", log=True),
    Factor("cover", "", categories={1: "forest", 3: "rock", 7: "field", 9: "water"}),
    Factor("twi", ""),
)
VARIABLES = (Variable("rain", "mm", log=True), Variable("level_below_full", "m", unlinked=-5.0))


def made_up(count: int = 300, seed: int = 0) -> Dataset:
    """Return `count` samples, about half of them landslides; `truth` is the probability they were drawn from.

    patches (count, 5, 23, 23), windows (count, 30, 2). The logit is linear in the slope of the centre cell,
    the rain of the last 7 days and rock; elevation, SPI, TWI and the level say nothing.
    """
    random = np.random.default_rng(seed)
    patches = _patches(count, random)
    windows = np.stack(
        [
            random.exponential(9, (count, DAYS)) * (random.random((count, DAYS)) < 0.4),
            np.cumsum(random.normal(0, 0.3, (count, DAYS)), axis=1) - 20,
        ],
        axis=-1,
    ).astype(np.float32)
    centre = patches[:, :, PATCH // 2, PATCH // 2].astype(np.float64)
    logit = 0.35 * (centre[:, 1] - 25) + 0.12 * (windows[:, -7:, 0].sum(axis=1) - 25) + (centre[:, 3] == 3)
    truth = 1 / (1 + np.exp(-logit))
    return Dataset(
        samples=_samples(random.random(count) < truth, random),
        factors=FACTORS,
        variables=VARIABLES,
        patches=patches,
        windows=windows,
        crs="EPSG:32640",
        cell_size_m=30.0,
        lag_days=1,
        synthetic=True,
        digest=f"made-up-{count}-{seed}",
        truth=truth,
    )


def parts(data: Dataset) -> tuple[Indices, Indices, Indices]:
    """Return training, validation and test rows: 60, 20 and 20 of a hundred, in order."""
    rows = np.arange(len(data))
    return rows[rows % 5 < 3], rows[rows % 5 == 3], rows[rows % 5 == 4]


def without_windows(data: Dataset) -> Dataset:
    """Return the dataset of places alone."""
    return replace(data, windows=None, variables=())


def without_patches(data: Dataset) -> Dataset:
    """Return the dataset of times alone."""
    return replace(data, patches=None, factors=())


def _patches(count: int, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return patches (count, 5, 23, 23): planes with some roughness; cover has a border through it."""
    down, right = np.mgrid[:PATCH, :PATCH] - PATCH // 2
    spread = np.array([600.0, 8.0, 40.0, 0.0, 2.0])
    level = random.normal(size=(count, 5)) * spread + [1500, 25, 0, 0, 8]
    tilt = random.normal(size=(2, count, 5)) * spread * 0.01
    rough = random.normal(size=(count, 5, PATCH, PATCH)) * (spread * 0.05)[:, None, None]
    out = (
        level[..., None, None] + tilt[0][..., None, None] * down + tilt[1][..., None, None] * right + rough
    ).astype(np.float32)
    out[:, 1] = np.abs(out[:, 1])
    codes = random.choice([1, 3, 7], size=(2, count)).astype(np.float32)
    out[:, 3] = np.where(down > random.integers(-8, 8, count)[:, None, None], *codes[..., None, None])
    return out


def _samples(labels: npt.NDArray[np.bool_], random: np.random.Generator) -> tuple[Sample, ...]:
    places = random.uniform(0, 60_000, (len(labels), 2)) + np.array([400_000, 3_300_000])
    days = random.integers(0, 1500, len(labels))
    return tuple(
        Sample(
            x=float(x),
            y=float(y),
            place=f"place-{number}",
            day=date(2015, 1, 1) + timedelta(days=int(day)),
            label=int(label),
            kind=Kind.EVENT if label else Kind.SPATIAL,
            storm=f"storm-{day}",
            accuracy_m=50.0,
            event=f"event-{number}",
        )
        for number, ((x, y), day, label) in enumerate(zip(places, days, labels, strict=True))
    )
