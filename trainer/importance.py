"""What a model rests on: how much worse it ranks held-out samples when an input is shuffled among them.

    permutation_importance(fitted, data, rows, block, groups={...}) -> Importance

An input is a factor (its whole patch moves to another sample), a variable (its whole window), one of the
branches (patch: all factors; rain; reservoir levels) or a group of one's own; the members of a group move
together, from the same sample. What is reported is the loss of AUC and the gain of log loss (Breiman 2001),
the mean over repeats. The interval is of resampled blocks and resampled repeats together. An input whose twin
stays in place may lose little.

`share` is a percentage. Teng et al. (2026) give one without saying how it is reckoned; here it is the loss of
AUC, a gain counting 0, over the sum of those of all factors, the rain, and the reservoir levels as one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from service.errors import InputError
from trainer.dataset import Dataset, FloatArray, Indices
from trainer.evaluate import Floats, Scored, draw_blocks, percentiles
from trainer.judge import Interval
from trainer.models.base import Fitted, predict_rows

PATCH, RAIN, LEVELS = "patch", "rain", "reservoir levels"
Kind = Literal["factor", "variable", "branch", "group"]
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Drop:
    """How much a model loses when one input is shuffled; both are above 0 where it helps."""

    name: str
    kind: Kind
    members: tuple[str, ...]  # factors and variables that move together
    auc: Interval  # AUC before minus after
    log_loss: Interval  # log loss after minus before
    share: float | None  # %, of factors, the rain and the reservoir levels; None for other groups


@dataclass(frozen=True)
class Importance:
    """Permutation importance on held-out rows."""

    drops: tuple[Drop, ...]
    auc: float  # with everything in place
    log_loss: float
    rows: int
    blocks: int
    repeats: int
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return it as plain numbers and words."""
        return asdict(self)


@dataclass(frozen=True)
class _Input:
    name: str
    kind: Kind
    factors: tuple[int, ...]
    variables: tuple[int, ...]
    shared: bool  # one of those that shares are of


def permutation_importance(
    fitted: Fitted,
    data: Dataset,
    rows: Indices,
    block: Indices,
    *,
    groups: Mapping[str, Sequence[str]] | None = None,
    repeats: int = 10,
    resamples: int = 200,
    seed: int = 0,
    batch: int = 256,
    progress: Progress | None = None,
) -> Importance:
    """Return what a fitted model loses on held-out `rows` when inputs are shuffled among them.

    `block` (len(rows),) is the block of each row. `groups` maps a name to factors and variables. Samples are
    read batch by batch. Raises InputError for rows of one class only, fewer than two rows, and a group that
    names what the dataset does not have.
    """
    inputs = _inputs(data, groups or {})
    label = data.label[rows]
    if len(rows) < 2 or label.min() == label.max():
        raise InputError(
            f"importance needs held-out samples of both classes; {len(rows)} rows hold {int(label.sum())} "
            "landslides"
        )
    numbered = np.unique(block, return_inverse=True)[1]
    random = np.random.default_rng(seed)
    times = draw_blocks(random, int(numbered.max()) + 1, resamples)
    picked = random.integers(0, repeats, (resamples, repeats))
    # Every input is shuffled the same way: differences between inputs are not those of the shuffles.
    orders = [random.permutation(len(rows)) for _ in range(repeats)]
    before = Scored(label, predict_rows(fitted, data, rows, batch), numbered)
    at_first, at_first_drawn = before.once(), before.metrics(times)
    moved: dict[tuple[tuple[int, ...], tuple[int, ...]], tuple[Interval, Interval]] = {}
    distinct = len({(item.factors, item.variables) for item in inputs})
    for item in inputs:
        members = (item.factors, item.variables)
        if members in moved:
            continue
        losses = []
        for order in orders:
            predicted = np.concatenate(
                [fitted.predict(*part) for part in _shuffled(data, rows, order, item, batch)]
            )
            after = Scored(label, predicted, numbered)
            once, drawn = after.once(), after.metrics(times)
            losses.append(
                (
                    at_first["auc"] - once["auc"],
                    once["log_loss"] - at_first["log_loss"],
                    at_first_drawn["auc"] - drawn["auc"],
                    drawn["log_loss"] - at_first_drawn["log_loss"],
                )
            )
        auc, log_loss, auc_drawn, log_loss_drawn = (np.array(part) for part in zip(*losses, strict=True))
        moved[members] = (_interval(auc, auc_drawn, picked), _interval(log_loss, log_loss_drawn, picked))
        if progress is not None:
            progress(len(moved), distinct)
    whole = sum(max(0.0, moved[item.factors, item.variables][0].mean) for item in inputs if item.shared)
    names = [factor.name for factor in data.factors], [variable.name for variable in data.variables]
    drops = []
    for item in inputs:
        lost, gained = moved[item.factors, item.variables]
        drops.append(
            Drop(
                name=item.name,
                kind=item.kind,
                members=tuple(names[0][number] for number in item.factors)
                + tuple(names[1][number] for number in item.variables),
                auc=lost,
                log_loss=gained,
                share=100 * (max(0.0, lost.mean) / whole) if item.shared and whole else None,
            )
        )
    return Importance(
        tuple(drops), at_first["auc"], at_first["log_loss"], len(rows), before.blocks, repeats, seed
    )


def _inputs(data: Dataset, groups: Mapping[str, Sequence[str]]) -> list[_Input]:
    factors = {factor.name: number for number, factor in enumerate(data.factors)}
    variables: dict[str, int] = {variable.name: number for number, variable in enumerate(data.variables)}
    if data.patches is None:
        factors = {}
    if data.windows is None:
        variables = {}
    found = [_Input(name, "factor", (number,), (), True) for name, number in factors.items()]
    found += [_Input(name, "variable", (), (number,), False) for name, number in variables.items()]
    levels = tuple(number for name, number in variables.items() if name != RAIN)
    if factors:
        found.append(_Input(PATCH, "branch", tuple(factors.values()), (), False))
    if RAIN in variables:
        found.append(_Input(RAIN, "branch", (), (variables[RAIN],), True))
    if levels:
        found.append(_Input(LEVELS, "branch", (), levels, True))
    for name, members in groups.items():
        unknown = [member for member in members if member not in factors and member not in variables]
        if unknown or not members:
            raise InputError(
                f"the group {name!r} of the importance names {', '.join(unknown) or 'nothing'}; the dataset "
                f"has: {', '.join([*factors, *variables])}"
            )
        found.append(
            _Input(
                name,
                "group",
                tuple(sorted({factors[member] for member in members if member in factors})),
                tuple(sorted({variables[member] for member in members if member in variables})),
                False,
            )
        )
    return found


def _shuffled(
    data: Dataset, rows: Indices, order: Indices, item: _Input, batch: int
) -> Iterator[tuple[FloatArray | None, FloatArray | None]]:
    """Yield patches and windows of `rows` with an input taken from rows[order] instead, batch by batch."""
    start = 0
    for own, patches, windows in data.batches(rows, batch):
        other = rows[order[start : start + len(own)]]
        start += len(own)
        if item.factors and patches is not None and data.patches is not None:
            for factor in item.factors:
                patches[:, factor] = data.patches[other, factor]
        if item.variables and windows is not None and data.windows is not None:
            for variable in item.variables:
                windows[:, :, variable] = data.windows[other, :, variable]
        yield patches, windows


def _interval(losses: Floats, drawn: Floats, picked: Indices) -> Interval:
    """Return the mean of `losses` (repeats,) and the interval of `drawn` (repeats, resamples).

    `picked` (resamples, repeats) resamples the repeats of each draw.
    """
    means = drawn[picked, np.arange(drawn.shape[1])[:, None]].mean(axis=1)
    return Interval(float(losses.mean()), *percentiles({"": means})[""])
