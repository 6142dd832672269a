"""Ranges and categories of the training part, which scale a model's inputs and mark what lies beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from service.manifest import FactorSpec, VariableName, VariableSpec

FloatArray = npt.NDArray[np.float32]


class FactorLike(Protocol):
    """What `fit_ranges` needs to know of a factor; `service.factor_stack.FactorBand` is one."""

    @property
    def name(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def log(self) -> bool: ...
    @property
    def categories(self) -> dict[int, str] | None: ...


class VariableLike(Protocol):
    """What `fit_ranges` needs to know of a variable; a VariableSpec is one."""

    @property
    def name(self) -> VariableName: ...
    @property
    def unit(self) -> str: ...
    @property
    def log(self) -> bool: ...
    @property
    def unlinked(self) -> float: ...


def fit_ranges(
    factors: Sequence[FactorLike],
    variables: Sequence[VariableLike],
    patches: FloatArray,
    windows: FloatArray,
) -> tuple[tuple[FactorSpec, ...], tuple[VariableSpec, ...]]:
    """Return factors and variables with the ranges of the training part, in the order given.

    patches (n, C, P, P), windows (n, N, V): of the training part alone, or the test part would leak into
    the scaling. Categories are those seen in training. Raises InputError for NaN, a constant factor or
    variable, a code without a name.
    """
    if not len(patches) or not len(windows):
        raise InputError("ranges need at least one training patch and one training window")
    specs = []
    for index, factor in enumerate(factors):
        where = f"factor {factor.name!r} of the training patches"
        if factor.categories is not None:
            codes = _codes(patches[:, index], where)
            unnamed = sorted(set(codes) - set(factor.categories))
            if unnamed:
                raise InputError(f"{where} has codes without a name: {', '.join(map(str, unnamed))}")
            named = {code: factor.categories[code] for code in codes}
            specs.append(FactorSpec(name=factor.name, unit=factor.unit, categories=named))
        else:
            low, high = _range(patches[:, index], where)
            specs.append(
                FactorSpec(name=factor.name, unit=factor.unit, log=factor.log, minimum=low, maximum=high)
            )
    ranged = []
    for index, variable in enumerate(variables):
        low, high = _range(windows[:, :, index], f"variable {variable.name!r} of the training windows")
        ranged.append(
            VariableSpec(
                name=variable.name,
                unit=variable.unit,
                log=variable.log,
                minimum=low,
                maximum=high,
                unlinked=variable.unlinked,
            )
        )
    return tuple(specs), tuple(ranged)


def _range(values: FloatArray, where: str) -> tuple[float, float]:
    low, high = float(np.min(values)), float(np.max(values))
    if not (np.isfinite(low) and np.isfinite(high)):
        raise InputError(f"{where} holds NaN or infinity; leave those samples out")
    if low == high:
        raise InputError(f"{where} is {low} everywhere; leave it out")
    return low, high


def _codes(values: FloatArray, where: str) -> list[int]:
    found = np.unique(values)
    if not np.isfinite(found).all() or (found != np.rint(found)).any():
        raise InputError(f"{where} holds values that are not whole codes: {found[:5].tolist()}")
    return [int(code) for code in found]
