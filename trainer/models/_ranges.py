"""Ranges and categories of a dataset's factors and variables in its training rows, read batch by batch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from service.errors import InputError
from service.manifest import FactorSpec, VariableSpec
from trainer.dataset import Dataset, Factor, FloatArray, Indices, Variable

View = Literal["cell", "patch"]


@dataclass
class _Seen:
    """What was seen of one factor or variable so far."""

    low: float = np.inf
    high: float = -np.inf
    codes: set[float] = field(default_factory=set)
    without: list[int] = field(default_factory=list)  # samples with NaN or infinity
    empty: int = 0  # samples without one number

    def add(self, rows: Indices, values: FloatArray, *, codes: bool) -> None:
        """Take in one batch: values (b, ...) of the samples `rows`."""
        flat = values.reshape(len(rows), -1)
        finite = np.isfinite(flat)
        self.without += rows[~finite.all(axis=1)].tolist()
        self.empty += int((~finite.any(axis=1)).sum())
        if finite.any():
            numbers = flat[finite]
            self.low, self.high = min(self.low, float(numbers.min())), max(self.high, float(numbers.max()))
            if codes:
                self.codes |= set(np.unique(numbers).tolist())


def ranges_of(
    data: Dataset, rows: Indices, view: View
) -> tuple[tuple[FactorSpec, ...], tuple[VariableSpec, ...]]:
    """Return factors and variables with the ranges and categories that a model of this view was shown.

    View "cell": of the patches' centres, though a factor counts as constant only where it is so over whole
    patches. Raises InputError that names the factor or variable for NaN or infinity, for no data at all, for
    a continuous factor or a variable that is constant, for a code without a name.
    """
    if not len(rows):
        raise InputError("there are no training samples; ranges need at least one")
    around = [_Seen() for _ in data.factors]
    own = [_Seen() for _ in data.factors]
    times = [_Seen() for _ in data.variables]
    middle = data.patch // 2
    for chosen, patches, windows in data.batches(rows):
        if patches is not None:
            for index, factor in enumerate(data.factors):
                codes = factor.categories is not None
                around[index].add(chosen, patches[:, index], codes=codes and view == "patch")
                own[index].add(chosen, patches[:, index, middle, middle], codes=codes)
        if windows is not None:
            for index, seen in enumerate(times):
                seen.add(chosen, windows[:, :, index], codes=False)
    factors: tuple[FactorSpec, ...] = ()
    variables: tuple[VariableSpec, ...] = ()
    if data.patches is not None:
        shown = own if view == "cell" else around
        factors = tuple(_factor(*item, len(rows)) for item in zip(data.factors, around, shown, strict=True))
    if data.windows is not None:
        variables = tuple(_variable(*item, len(rows)) for item in zip(data.variables, times, strict=True))
    return factors, variables


def _factor(factor: Factor, around: _Seen, shown: _Seen, count: int) -> FactorSpec:
    where = f"factor {factor.name!r} of the training patches"
    _refuse_gaps(around, where, count)
    if factor.categories is not None:
        broken = sorted(code for code in shown.codes if code != np.rint(code))
        if broken:
            raise InputError(f"{where} holds values that are not whole codes: {broken[:5]}")
        unnamed = sorted(int(code) for code in shown.codes if int(code) not in factor.categories)
        if unnamed:
            raise InputError(f"{where} has codes without a name: {', '.join(map(str, unnamed))}")
        named = {int(code): factor.categories[int(code)] for code in sorted(shown.codes)}
        return FactorSpec(name=factor.name, unit=factor.unit, categories=named)
    _refuse_constant(around, where)
    # Constant at every centre alone: the feature is left out, and nothing is outside a range of its own.
    low, high = (shown.low, shown.high) if shown.low < shown.high else (around.low, around.high)
    return FactorSpec(name=factor.name, unit=factor.unit, log=factor.log, minimum=low, maximum=high)


def _variable(variable: Variable, seen: _Seen, count: int) -> VariableSpec:
    where = f"variable {variable.name!r} of the training windows"
    _refuse_gaps(seen, where, count)
    _refuse_constant(seen, where)
    return VariableSpec(
        name=variable.name,
        unit=variable.unit,
        log=variable.log,
        minimum=seen.low,
        maximum=seen.high,
        unlinked=variable.unlinked,
    )


def _refuse_gaps(seen: _Seen, where: str, count: int) -> None:
    if seen.empty == count:
        raise InputError(f"{where} has no data in any of the {count} samples; leave it out")
    if seen.without:
        raise InputError(
            f"{where} holds NaN or infinity in {len(seen.without)} of {count} samples (the first is sample "
            f"{seen.without[0]}); leave those samples out, or the factor"
        )


def _refuse_constant(seen: _Seen, where: str) -> None:
    if seen.low == seen.high:
        raise InputError(f"{where} is {seen.low:g} everywhere; leave it out")
