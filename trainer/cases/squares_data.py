"""The squares of May 2023 as a dataset, and how its ground is divided.

    open_squares(shared, config, build) -> SquareCase
    square_folds(xy, label, block_km, seed) -> tuple[Fold, ...]

What a model sees of a square is P x P cells of factors derived from the DEM inside it. Coordinates,
neighbours and no-data travel beside it, for splits and for the footprint-only model alone.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from service.errors import InputError
from service.files import digest_of, sha256_file
from service.region import make_grid
from service.settings import load_settings
from trainer.apennines import localise
from trainer.dataset import Dataset, Factor, FloatArray, Indices, load_dataset, save_dataset
from trainer.folds import Fold
from trainer.sample_kinds import Kind, Sample
from trainer.splits import spatial_blocks, spatial_folds
from trainer.squares import (
    SQUARE_M,
    Square,
    complete_patches,
    neighbour_counts,
    nodata_around,
    read_squares,
    square_patches,
)

FACTORS = (
    Factor("elevation", "m"),
    Factor("slope", "degrees"),
    Factor("northness"),
    Factor("eastness"),
    Factor("plan_curvature", "1/m"),
    Factor("profile_curvature", "1/m"),
)
NAMES = tuple(factor.name for factor in FACTORS)
PATCH = 39  # the largest that every square holds once what is derived from neighbours has lost its edge
STORM = date(2023, 5, 16)
VALIDATION = 0.15  # of the training side
_VERSION = 1  # of what is written; part of the digest


@dataclass(frozen=True)
class SquareCase:
    """Datasets of the labelled squares, and the squares to be ranked."""

    all: Path  # folder of the dataset with every factor
    without_elevation: Path
    ranked: Ranked
    between: int  # squares with a few landslide pixels, left out of both labels
    incomplete: int


@dataclass(frozen=True)
class Ranked:
    """Squares with all eight neighbours: which of them failed most? Where they were cut says nothing here."""

    patches: FloatArray  # (n, C, P, P)
    pixels: npt.NDArray[np.int64]  # (n,) of 10 m, mapped as landslide
    xy: npt.NDArray[np.float64]  # (n, 2) centres, metres: for blocks


def open_squares(
    shared: Path, config: Path, build: Path, *, patch: int = PATCH, every: int = 1
) -> SquareCase:
    """Read squares and DEM and write both datasets under `build`, unless they are there from the same files.

    `every` keeps one square in so many, for a quick look. Raises InputError for missing data.
    """
    build.mkdir(parents=True, exist_ok=True)
    settings = load_settings(localise(config, shared, build))
    grid = make_grid(settings)
    listed, dem = Path(settings.training["squares"]), settings.factors.dem or settings.grid.dem
    if dem is None:
        raise InputError("the squares need a DEM: give grid.dem or factors.dem")
    every_square = read_squares(listed)
    neighbours = neighbour_counts(every_square)
    squares = every_square[::every]
    found = square_patches(squares, dem, grid, NAMES, patch)
    kept = [square for square in squares if square.id in set(found.ids)]
    samples = tuple(_sample(square) for square in kept)
    whole = Dataset(
        samples=samples,
        factors=FACTORS,
        variables=(),
        patches=found.patches,
        windows=None,
        crs=grid.crs.to_string(),
        cell_size_m=grid.cell_size_m,
        lag_days=0,
        synthetic=False,
        digest="",
        nodata_share=nodata_around(kept, dem, grid),
    )
    bare = replace(whole, factors=FACTORS[1:], patches=found.patches[:, 1:])
    tag = digest_of(_VERSION, sha256_file(listed), sha256_file(dem), patch, every)[:12]
    crowded = [square for square, count in zip(squares, neighbours[::every], strict=True) if count == 8]
    ranked = complete_patches(crowded, dem, grid, NAMES, patch)
    return SquareCase(
        all=_kept(whole, build / f"squares-{tag}"),
        without_elevation=_kept(bare, build / f"squares-without-elevation-{tag}"),
        ranked=Ranked(
            ranked.patches, np.array([crowded[row].pixels for row in ranked.rows], np.int64), ranked.xy
        ),
        between=found.between,
        incomplete=found.incomplete,
    )


def square_folds(
    xy: npt.NDArray[np.float64],
    label: npt.NDArray[np.int64],
    block_km: float,
    seed: int,
    *,
    folds: int = 5,
    buffer_m: float = SQUARE_M,
) -> tuple[Fold, ...]:
    """Divide squares (n, 2) by blocks of ground; the same arguments give the same folds.

    At least `buffer_m` of ground lies between a held-out square and any square of the training side.
    Validation squares are whole blocks of the training side too, so that no epoch is chosen on neighbours.
    A block of one square (SQUARE_M and no buffer) is a random split. Raises InputError for too few blocks.
    """
    divided = []
    for number, (rest, test) in enumerate(spatial_folds(xy, block_km, folds=folds, seed=seed), start=1):
        near, _ = cKDTree(xy[test]).query(xy[rest], p=np.inf)
        # Centimetres of slack: squares of one lattice lie exactly so far apart.
        kept = rest[near >= SQUARE_M + buffer_m - 0.01] if buffer_m else rest
        validation = _validation(xy[kept], label[kept], block_km, seed)
        divided.append(
            Fold(
                name=f"fold {number}",
                train=kept[~validation],
                validation=kept[validation],
                test=test,
                left_out=np.setdiff1d(rest, kept),
            )
        )
    return tuple(divided)


def gap_m(xy: npt.NDArray[np.float64], one: Indices, other: Indices) -> float:
    """Return the least ground between squares of two sides, metres, along an axis."""
    nearest, _ = cKDTree(xy[one]).query(xy[other], p=np.inf)
    return float(nearest.min() - SQUARE_M)


def statistics_of(patches: FloatArray, names: Sequence[str]) -> FloatArray:
    """Return nine statistics of patches (n, C, P, P): mean, deviation, maximum of three surfaces; (n, 9).

    Elevation, slope, and the curvature of the surface as the difference of the two that are kept.
    """
    at = [list(names).index(name) for name in ("elevation", "slope", "profile_curvature", "plan_curvature")]
    flat = patches.reshape(len(patches), patches.shape[1], -1)
    surfaces = (flat[:, at[0]], flat[:, at[1]], flat[:, at[2]] - flat[:, at[3]])
    columns = [part for one in surfaces for part in (one.mean(axis=1), one.std(axis=1), one.max(axis=1))]
    return np.stack(columns, axis=1).astype(np.float32)


def _validation(
    xy: npt.NDArray[np.float64], label: npt.NDArray[np.int64], block_km: float, seed: int
) -> npt.NDArray[np.bool_]:
    """Return which of a training side's squares are validation: blocks near their share of both labels."""
    parts = min(round(1 / VALIDATION), int(spatial_blocks(xy, block_km).max(initial=0)) + 1)
    candidates = [held for _, held in spatial_folds(xy, block_km, folds=parts, seed=seed)]

    def miss(held: Indices) -> float:
        shares = [(label[held] == value).sum() / max(1, (label == value).sum()) for value in (0, 1)]
        return max(abs(float(share) - VALIDATION) for share in shares)

    chosen = np.zeros(len(xy), bool)
    chosen[min(candidates, key=miss)] = True
    if len(set(label[chosen].tolist())) < 2 or len(set(label[~chosen].tolist())) < 2:
        raise InputError(
            f"no part of the blocks of {block_km:g} km holds both labels for validation; make them smaller"
        )
    return chosen


def _sample(square: Square) -> Sample:
    x, y = square.centre
    label = int(square.label or 0)
    kind = Kind.EVENT if label else Kind.SPATIAL
    storm = f"storm-{STORM.isoformat()}"
    return Sample(x, y, f"square-{square.id}", STORM, label, kind, storm, 0.0, square.id)


def _kept(data: Dataset, folder: Path) -> Path:
    """Write a dataset to a folder named after what it is made from; return the folder."""
    if folder.exists():
        try:
            load_dataset(folder)
            return folder
        except InputError:
            shutil.rmtree(folder)
    save_dataset(data, folder)
    return folder
