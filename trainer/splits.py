"""Splits that do not leak: by place and storm, and by spatial block.

    group_samples(samples, storm_days=30, place_distance_m=690) -> int64 (n,)
    split_samples(samples, shares=(0.7, 0.15, 0.15), seed=0, ...) -> Split(train, validation, test)
    spatial_blocks(xy, block_km) -> int64 (n,)
    spatial_folds(xy, block_km, folds=5, seed=0) -> list[(train indices, test indices)]

Samples of one place (or nearer than one patch), and samples whose days lie within `storm_days` of one storm,
form one group; a group stays on one side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree
from sklearn.model_selection import GroupKFold

from service.errors import InputError
from trainer.samples import Sample

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Split:
    """Indices into the samples, each rising; together they hold every sample once."""

    train: Indices
    validation: Indices
    test: Indices
    groups: Indices  # (n,) the group of every sample


def group_samples(
    samples: Sequence[Sample],
    *,
    storm_days: int = 30,
    place_distance_m: float = 690.0,
    by: Sequence[str] = ("place", "storm"),
) -> Indices:
    """Return the group of each sample: int64 (n,), numbered from 0.

    Groups are the connected components of: the same place, places nearer than `place_distance_m`, the same
    storm, and a day within `storm_days` of a storm (of the days of its events). `by` leaves out one of both.
    """
    count = len(samples)
    if count == 0:
        return np.zeros(0, np.int64)
    edges = [_chain(samples, attribute) for attribute in by]
    if "place" in by and place_distance_m > 0:
        xy = np.array([(sample.x, sample.y) for sample in samples])
        edges.append(cKDTree(xy).query_pairs(place_distance_m, output_type="ndarray").astype(np.int64))
    days = np.array([sample.day.toordinal() for sample in samples], np.int64)
    for first, last, member in _storm_spans(samples) if "storm" in by else ():
        near = np.flatnonzero((days >= first - storm_days) & (days <= last + storm_days))
        edges.append(np.stack([np.full(near.size, member), near], axis=1))
    pairs = np.concatenate(edges)
    graph = coo_array((np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    return np.asarray(connected_components(graph, directed=False)[1], np.int64)


def split_samples(
    samples: Sequence[Sample],
    *,
    shares: tuple[float, float, float] = (0.7, 0.15, 0.15),
    seed: int = 0,
    storm_days: int = 30,
    place_distance_m: float = 690.0,
) -> Split:
    """Divide samples into train, validation and test, whole groups at a time.

    Groups with the most positives are placed first, each on the side that lacks the most of its share of
    positives (then of samples), so that the shares of both labels come near the wanted ones.

    Raises InputError where a wanted side stays empty (too few groups).
    """
    wanted = np.array(shares, np.float64)
    if (wanted < 0).any() or abs(wanted.sum() - 1) > 1e-9:
        raise InputError(f"the shares of a split must be 0 or more and add up to 1, got {shares}")
    groups = group_samples(samples, storm_days=storm_days, place_distance_m=place_distance_m)
    label = np.array([sample.label for sample in samples], np.int64)
    sizes = np.bincount(groups)
    positives = np.bincount(groups, weights=label)
    # A seeded order decides among equals.
    order = np.random.default_rng(seed).permutation(len(sizes))
    order = order[np.lexsort((-sizes[order], -positives[order]))]
    side_of = np.zeros(len(sizes), np.int64)
    have = np.zeros((3, 2))
    totals = np.array([max(1.0, positives.sum()), max(1.0, float(sizes.sum()))])
    target = wanted[:, None] * totals
    for group in order:
        mass = np.array([positives[group], sizes[group]])
        lack = (target - have) / totals
        # By positives where the group has any; negatives alone follow the sample count.
        key = lack[:, 0] if positives[group] else lack[:, 1]
        side = int(np.argmax(np.where(wanted > 0, key, -np.inf)))
        side_of[group] = side
        have[side] += mass
    sides = side_of[groups]
    train, validation, test = (np.flatnonzero(sides == number).astype(np.int64) for number in range(3))
    for name, part, share in zip(
        ("train", "validation", "test"), (train, validation, test), shares, strict=True
    ):
        if share > 0 and part.size == 0:
            raise InputError(
                f"the {name} part of the split stays empty: {len(samples)} samples form only {len(sizes)} "
                "groups of place and storm; either give more events or a smaller storm_days"
            )
    return Split(train, validation, test, groups)


def spatial_blocks(xy: npt.NDArray[np.float64], block_km: float) -> Indices:
    """Return the square block that each point (n, 2), metres, lies in: int64 (n,), numbered from 0."""
    if block_km <= 0:
        raise InputError(f"blocks must be larger than 0 km, got {block_km}")
    corner = np.floor(xy / (block_km * 1000)).astype(np.int64)
    return np.asarray(np.unique(corner, axis=0, return_inverse=True)[1].reshape(-1), np.int64)


def spatial_folds(
    xy: npt.NDArray[np.float64], block_km: float, *, folds: int = 5, seed: int = 0
) -> list[tuple[Indices, Indices]]:
    """Return (train, test) indices of each fold; a block of `block_km` is never on both sides.

    Raises InputError where there are fewer blocks than folds.
    """
    blocks = spatial_blocks(xy, block_km)
    if blocks.max(initial=-1) + 1 < folds:
        raise InputError(
            f"{blocks.max(initial=-1) + 1} blocks of {block_km} km are too few for {folds} folds; "
            "either make the blocks smaller or the folds fewer"
        )
    splitter = GroupKFold(n_splits=folds, shuffle=True, random_state=seed)
    return [
        (np.asarray(train, np.int64), np.asarray(test, np.int64))
        for train, test in splitter.split(np.zeros(len(xy)), groups=blocks)
    ]


def _chain(samples: Sequence[Sample], attribute: str) -> Indices:
    """Return pairs that chain samples with the same place, or the same storm: int64 (m, 2)."""
    last: dict[str, int] = {}
    pairs: list[tuple[int, int]] = []
    for index, sample in enumerate(samples):
        key = getattr(sample, attribute)
        if key is None:
            continue
        if key in last:
            pairs.append((last[key], index))
        last[key] = index
    return np.array(pairs, np.int64).reshape(-1, 2)


def _storm_spans(samples: Sequence[Sample]) -> list[tuple[int, int, int]]:
    """Return (first ordinal, last ordinal, index of one member) of each storm, from its samples."""
    spans: dict[str, tuple[int, int, int]] = {}
    for index, sample in enumerate(samples):
        if sample.storm is None:
            continue
        day = sample.day.toordinal()
        first, last, member = spans.get(sample.storm, (day, day, index))
        spans[sample.storm] = (min(first, day), max(last, day), member)
    return list(spans.values())
