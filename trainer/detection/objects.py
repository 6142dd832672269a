"""Landslides as objects: each mapped outline is hit or missed, and each outline too many is counted.

An object is a group of pixels that touch, corners included. A patch's edge cuts objects: each piece counts as
an object of the piece's size, so sizes are lower bounds near edges.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from service.errors import InputError

# Share of a mapped landslide's pixels that must be predicted for a hit. Half, so that a hit is mostly seen.
HIT_SHARE = 0.5
# Smaller false objects are not counted: `colluvium detect` lists no smaller outline by default.
LEAST_FALSE_M2 = 500.0
SIZE_CLASSES_M2 = (0.0, 1_000.0, 10_000.0, 100_000.0)  # lower ends

Booleans = npt.NDArray[np.bool_]
Integers = npt.NDArray[np.int64]
_TOUCHING = np.ones((3, 3), int)


@dataclass(frozen=True)
class FoundObjects:
    """Objects of one patch."""

    true: tuple[tuple[int, int], ...]  # (known pixels, predicted ones of them) of each mapped landslide
    false: tuple[int, ...]  # pixels of each predicted object that touches no mapped landslide
    unseen: int  # mapped landslides without a known pixel


@dataclass(frozen=True)
class SizeClass:
    """Mapped landslides from `low_m2` up to, but not with, `high_m2` (None: no upper end)."""

    low_m2: float
    high_m2: float | None
    objects: int
    hits: int
    recall: float | None

    @property
    def words(self) -> str:
        """Return the class as a table heads it."""
        if self.high_m2 is None:
            return f"{self.low_m2:,.0f} m² and more"
        if self.low_m2 == 0:
            return f"under {self.high_m2:,.0f} m²"
        return f"{self.low_m2:,.0f} to {self.high_m2:,.0f} m²"


@dataclass(frozen=True)
class ObjectScores:
    """Hits and misses of mapped landslides, and false objects on the ground that was judged."""

    hit_share: float
    least_false_m2: float
    objects: int
    hits: int
    recall: float | None
    by_size: tuple[SizeClass, ...]
    unseen: int
    false_objects: int
    judged_km2: float
    false_per_km2: float | None


def find_objects(predicted: Booleans, truth: Booleans, known: Booleans) -> FoundObjects:
    """Find the mapped landslides and the false objects of a patch; all (h, w), `predicted` within `known`."""
    labels, count = ndimage.label(truth, _TOUCHING)
    if count:
        sizes = np.bincount(labels[known], minlength=count + 1)[1:]
        hits = np.bincount(labels[known & predicted], minlength=count + 1)[1:]
        true = tuple((int(size), int(hit)) for size, hit in zip(sizes, hits, strict=True) if size)
        unseen = int((sizes == 0).sum())
    else:
        true, unseen = (), 0
    labels, count = ndimage.label(predicted, _TOUCHING)
    if not count:
        return FoundObjects(true, (), unseen)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    touched = np.bincount(labels[truth], minlength=count + 1)[1:] > 0
    return FoundObjects(true, tuple(int(size) for size in sizes[~touched]), unseen)


def score_objects(
    true_pixels: Integers,
    true_found: Integers,
    false_pixels: Integers,
    *,
    unseen: int,
    pixel_m2: float,
    known_pixels: int,
    hit_share: float,
    least_false_m2: float,
) -> ObjectScores:
    """Score objects: a hit where at least `hit_share` of a landslide's known pixels were predicted.

    Raises InputError for a share outside 0 to 1.
    """
    if not 0 < hit_share <= 1:
        raise InputError(
            f"the share of a landslide that makes a hit must be above 0 and at most 1, not {hit_share}"
        )
    # In whole pixels: 0.3 of 10 is 3 pixels, though 0.3 * 10 rounds up above 3 in floating point.
    hit = true_found >= np.round(hit_share * true_pixels, 9)
    area = true_pixels * pixel_m2
    classes = []
    for low, high in zip(SIZE_CLASSES_M2, (*SIZE_CLASSES_M2[1:], None), strict=True):
        inside = (area >= low) & (area < (np.inf if high is None else high))
        objects, hits = int(inside.sum()), int((inside & hit).sum())
        classes.append(SizeClass(low, high, objects, hits, hits / objects if objects else None))
    false = int((false_pixels * pixel_m2 >= least_false_m2).sum())
    square_km = known_pixels * pixel_m2 / 1e6
    return ObjectScores(
        hit_share,
        least_false_m2,
        int(hit.size),
        int(hit.sum()),
        float(hit.mean()) if hit.size else None,
        tuple(classes),
        unseen,
        false,
        square_km,
        false / square_km if square_km else None,
    )
