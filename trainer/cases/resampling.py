"""Any statistic of several scores on the same samples, with intervals by block and paired differences.

trainer.judge does this for susceptibility against labels of 0 and 1; here the statistic is given (a rank
correlation, the skill of a yes or no), and scores may have any scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.evaluate import draw_blocks

Floats = npt.NDArray[np.float64]
Statistic = Callable[[Floats, Floats], float]  # (wanted (n,), score (n,)) -> value; NaN where not defined


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """The statistic of each score, and first minus second of each pair, on the same draws of blocks."""

    values: dict[str, Estimate]
    differences: dict[tuple[str, str], Estimate]
    samples: int
    blocks: int
    resamples: int  # draws in which every score has a value

    def difference(self, first: str, second: str) -> Estimate:
        """Return first minus second, whichever way round it is kept."""
        if (first, second) in self.differences:
            return self.differences[(first, second)]
        kept = self.differences[(second, first)]
        return Estimate(-kept.value, -kept.high, -kept.low)


def resample(
    statistic: Statistic,
    wanted: npt.ArrayLike,
    scores: Mapping[str, npt.ArrayLike],
    block: npt.NDArray[np.int64],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> Resampled:
    """Return a statistic of scores (n,) against `wanted` (n,); blocks (n,) are drawn with replacement.

    Draws in which a score has no value (one class only) are left out for all. Raises InputError for lengths
    that differ, no score, or no draw with a value.
    """
    truth = np.asarray(wanted, np.float64)
    given = {name: np.asarray(score, np.float64) for name, score in scores.items()}
    for name, score in given.items():
        if score.shape != truth.shape or truth.shape != block.shape or not truth.size:
            raise InputError(
                f"{name}: {score.shape} scores of {truth.shape} samples in {block.shape} blocks; "
                "they must be equally many, and some"
            )
    if not given:
        raise InputError("no score to judge")
    number_of = np.unique(block, return_inverse=True)[1].reshape(-1)
    members = [np.flatnonzero(number_of == number) for number in range(int(number_of.max()) + 1)]
    once = {name: statistic(truth, score) for name, score in given.items()}
    times = draw_blocks(np.random.default_rng(seed), len(members), resamples)
    drawn = np.full((resamples, len(given)), np.nan)
    for row, counts in enumerate(times):
        rows = np.concatenate(
            [np.repeat(members[number], counts[number]) for number in np.flatnonzero(counts)]
        )
        drawn[row] = [statistic(truth[rows], score[rows]) for score in given.values()]
    drawn = drawn[np.isfinite(drawn).all(axis=1)]
    if not len(drawn):
        raise InputError(f"none of {resamples} draws of {len(members)} blocks gives every score a value")
    column = {name: drawn[:, number] for number, name in enumerate(given)}
    return Resampled(
        {name: _estimate(once[name], column[name]) for name in given},
        {
            (first, second): _estimate(once[first] - once[second], column[first] - column[second])
            for first, second in combinations(given, 2)
        },
        samples=int(truth.size),
        blocks=len(members),
        resamples=len(drawn),
    )


def _estimate(value: float, drawn: Floats) -> Estimate:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return Estimate(float(value), float(low), float(high))
