"""Intervals of a score: over the seeds a model was trained with, and over the patches it was judged on.

They answer different questions. Over seeds: how would the score come out had training begun elsewhere? Over
patches: how would it come out on other patches like these? Neither holds what another region would do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from service.errors import InputError

LEVEL = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class SeedInterval:
    """Mean over seeds with Student's interval (two seeds or more), and each seed's value by name."""

    mean: float | None
    low: float | None
    high: float | None
    seeds: dict[str, float | None]  # as they were trained with; None: undefined with that seed


@dataclass(frozen=True)
class PatchInterval:
    """Percentiles over resampled patches, of one seed. None where too few draws define the score."""

    low: float | None
    high: float | None
    patches: int
    resamples: int  # that define the score


def over_seeds(values: Mapping[str, float | None], most: float = 1.0) -> SeedInterval:
    """Return mean ± t(0.975, n - 1) s / sqrt(n) over seeds, cut to 0 to `most`; no interval for one seed.

    A seed whose score is undefined leaves the mean undefined too: an average over the rest would flatter.
    Raises InputError for no seed.
    """
    if not values:
        raise InputError("there is no seed to take a mean over")
    known = [value for value in values.values() if value is not None]
    if len(known) < len(values):
        return SeedInterval(None, None, None, dict(values))
    mean = float(np.mean(known))
    if len(known) < 2:
        return SeedInterval(mean, None, None, dict(values))
    half = float(stats.t.ppf(0.5 + LEVEL / 2, len(known) - 1) * np.std(known, ddof=1) / np.sqrt(len(known)))
    return SeedInterval(mean, max(0.0, mean - half), min(most, mean + half), dict(values))


def over_patches(
    counts: npt.NDArray[np.int64], score: str, *, resamples: int = RESAMPLES, seed: int = 0
) -> PatchInterval:
    """Draw patches with replacement and return the 2.5 and 97.5 % percentiles of the pooled score.

    `counts` is (n, 3 or more): tp, fp, fn first. Patches are drawn whole, because pixels of one patch are
    not independent; patches cut from one scene are not quite either, so the interval is rather too narrow.
    Raises InputError for an unknown score.
    """
    if score not in _PARTS:
        raise InputError(f"no score is called {score!r}; there are {', '.join(_PARTS)}")
    number = len(counts)
    if number < 2:
        return PatchInterval(None, None, number, 0)
    generator = np.random.default_rng(seed)
    above, below = _PARTS[score]
    parts = counts[:, :3] @ np.array([above, below], np.int64).T  # (n, 2)
    sums = np.empty((resamples, 2))
    for row in range(resamples):  # row by row: a table of all draws would be large for thousands of patches
        sums[row] = np.bincount(generator.integers(0, number, number), minlength=number) @ parts
    sums = sums[sums[:, 1] > 0]
    if len(sums) < resamples / 2:
        return PatchInterval(None, None, number, len(sums))
    low, high = np.percentile(sums[:, 0] / sums[:, 1], [50 - 50 * LEVEL, 50 + 50 * LEVEL])
    return PatchInterval(float(low), float(high), number, len(sums))


# Score -> weights of (tp, fp, fn) above and below the line.
_PARTS = {
    "f1": ((2, 0, 0), (2, 1, 1)),
    "precision": ((1, 0, 0), (1, 1, 0)),
    "recall": ((1, 0, 0), (1, 0, 1)),
    "iou": ((1, 0, 0), (1, 1, 1)),
}
