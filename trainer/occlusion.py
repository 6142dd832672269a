"""Why one sample has its susceptibility: what changes when a part of its input is taken away.

    mean_reference(data, rows) -> Reference        training mean of each factor, most frequent category
    Reference.of_sample(data, row)                 another sample's ground
    attribute(fitted, patch, window, reference, factors, variables) -> Attribution

Each factor is replaced by the reference; so is each square of the patch, in all factors (Zeiler and Fergus
2014); each block of days is made dry, or its reservoir levels unchanged. A change is the susceptibility as it
is minus as it would be: above 0, what is there raises it. Changes do not add up to the susceptibility.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.dataset import Dataset, FloatArray, Indices, Variable
from trainer.importance import LEVELS, RAIN
from trainer.models.base import Fitted

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """Ground to put in place of a sample's own."""

    patch: FloatArray  # (C, P, P) physical units, complete
    words: str

    @classmethod
    def of_sample(cls, data: Dataset, row: int) -> Reference:
        """Return the ground of a sample of the dataset, cell by cell."""
        if data.patches is None:
            raise InputError("this dataset has no patches to take a reference from")
        sample = data.samples[row]
        return cls(
            np.array(data.patches[row], np.float32),
            f"the ground of the sample at {sample.x:.0f}, {sample.y:.0f}",
        )


@dataclass(frozen=True)
class FactorEffect:
    """What a factor's patch adds to the susceptibility."""

    factor: str
    change: float


@dataclass(frozen=True)
class DayEffect:
    """What some days of the window add; days are counted back from the window's last, which is 0."""

    variable: str  # "rain" or "reservoir levels"
    first_days_back: int  # the older end
    last_days_back: int
    change: float


@dataclass(frozen=True)
class Attribution:
    """One sample's susceptibility, part by part."""

    susceptibility: float
    factors: tuple[FactorEffect, ...]
    days: tuple[DayEffect, ...]  # oldest first
    squares: Floats | None  # change by square of the patch, row by row from the north
    square: int  # side of these squares, cells; the last ones may be cut
    reference: str | None  # in words


def mean_reference(data: Dataset, rows: Indices, batch: int = 256) -> Reference:
    """Return the mean of each factor over the patches of training rows, its most frequent category.

    Raises InputError for a dataset without patches or no row.
    """
    if data.patches is None or not len(rows):
        raise InputError("the mean of factors needs patches and at least one training row")
    total = np.zeros(len(data.factors))
    counts: list[Counter[float]] = [Counter() for _ in data.factors]
    for _, patches, _ in data.batches(rows, batch):
        if patches is None:
            continue
        for number, factor in enumerate(data.factors):
            if factor.categories is None:
                total[number] += patches[:, number].mean(axis=(1, 2), dtype=np.float64).sum()
            else:
                codes, times = np.unique(patches[:, number], return_counts=True)
                counts[number].update(dict(zip(codes.tolist(), times.tolist(), strict=True)))
    values = [
        total[number] / len(rows)
        if factor.categories is None
        # Of equally frequent ones the smallest code, whatever the order of the rows.
        else min(counts[number], key=lambda code: (-counts[number][code], code))
        for number, factor in enumerate(data.factors)
    ]
    constant = np.array(values, np.float32)[:, None, None]
    shape = (len(values), data.patch, data.patch)
    return Reference(np.broadcast_to(constant, shape).copy(), f"the mean of {len(rows)} training samples")


def attribute(
    fitted: Fitted,
    patch: FloatArray | None,
    window: FloatArray | None,
    reference: Reference | None,
    factors: Sequence[str],
    variables: Sequence[Variable],
    *,
    days: int = 5,
    square: int = 5,
    batch: int = 256,
) -> Attribution:
    """Return what the parts of one sample, patch (C, P, P) and window (N, V), do to its susceptibility.

    `days` and `square` are the sides of what is hidden at once. Raises InputError for a patch without a
    reference of its shape, and for neither patch nor window.
    """
    if patch is None and window is None:
        raise InputError("nothing to take away: the sample has neither patch nor window")
    grounds: list[FloatArray] = []
    corners = []
    if patch is not None:
        if reference is None or reference.patch.shape != patch.shape:
            shape = None if reference is None else reference.patch.shape
            raise InputError(f"the reference has shape {shape}, but the sample's patch has {patch.shape}")
        grounds += [_with_factor(patch, reference.patch, number) for number in range(len(factors))]
        starts = range(0, patch.shape[-1], square)
        corners = [(row, column) for row in starts for column in starts]
        grounds += [_with_square(patch, reference.patch, row, column, square) for row, column in corners]
    weather: list[FloatArray] = []
    hidden = []
    if window is not None:
        spans = [(first, min(first + days, len(window))) for first in range(0, len(window), days)]
        hidden = [(name, first, last) for name in _sorts(variables) for first, last in spans]
        weather = [_without(window, variables, *what) for what in hidden]
    values = _predict(fitted, patch, window, grounds, weather, batch)
    base, changes = float(values[0]), values[0] - values[1:]
    count = len(factors) if patch is not None else 0
    side = round(len(corners) ** 0.5)
    length = 0 if window is None else len(window)
    return Attribution(
        susceptibility=base,
        factors=tuple(
            FactorEffect(name, float(change))
            for name, change in zip(factors[:count], changes[:count], strict=True)
        ),
        days=tuple(
            DayEffect(name, length - 1 - first, length - last, float(change))
            for (name, first, last), change in zip(hidden, changes[len(grounds) :], strict=True)
        ),
        squares=changes[count : count + len(corners)].reshape(side, side) if corners else None,
        square=square,
        reference=None if reference is None else reference.words,
    )


def _with_factor(patch: FloatArray, reference: FloatArray, number: int) -> FloatArray:
    changed = patch.copy()
    changed[number] = reference[number]
    return changed


def _with_square(patch: FloatArray, reference: FloatArray, row: int, column: int, square: int) -> FloatArray:
    changed = patch.copy()
    here = (slice(None), slice(row, row + square), slice(column, column + square))
    changed[here] = reference[here]
    return changed


def _sorts(variables: Sequence[Variable]) -> list[str]:
    sorts = [RAIN if variable.name == RAIN else LEVELS for variable in variables]
    return list(dict.fromkeys(sorts))


def _without(
    window: FloatArray, variables: Sequence[Variable], name: str, first: int, last: int
) -> FloatArray:
    """Return the window with days first to last - 1 dry, or their levels as on the day before.

    At the window's start the level is that of its first day. A cell without a reservoir keeps its constants.
    """
    changed = window.copy()
    for number, variable in enumerate(variables):
        if (variable.name == RAIN) != (name == RAIN):
            continue
        if variable.name != RAIN and (window[:, number] == np.float32(variable.unlinked)).all():
            continue  # no reservoir here: a constant that stands for none
        if variable.name == "level_below_full":
            changed[first:last, number] = window[max(first - 1, 0), number]
        else:  # rain, and a change of level
            changed[first:last, number] = 0.0
    return changed


def _predict(
    fitted: Fitted,
    patch: FloatArray | None,
    window: FloatArray | None,
    grounds: Sequence[FloatArray],
    weather: Sequence[FloatArray],
    batch: int,
) -> Floats:
    """Return the susceptibility of the sample as it is, then of each ground, then of each weather."""
    count = 1 + len(grounds) + len(weather)
    parts = []
    for start in range(0, count, batch):
        numbers = range(start, min(start + batch, count))
        patches, windows = None, None
        if patch is not None:
            patches = np.stack([grounds[n - 1] if 0 < n <= len(grounds) else patch for n in numbers])
        if window is not None:
            windows = np.stack(
                [weather[n - 1 - len(grounds)] if n > len(grounds) else window for n in numbers]
            )
        parts.append(fitted.predict(patches, windows))
    return np.concatenate(parts)
