"""Which factors say the same: Pearson correlation and variance inflation of the continuous ones.

    collinearity(data, rows) -> Collinearity      of training rows, at the centre of each patch

The variance inflation factor of a factor is 1 / (1 - R²), R² of its linear regression on all others; above 5
it is a warning, as in Azarafza et al. (2021). Collinear factors need not spoil a prediction, but they share
their importance: a permutation of one alone says little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from service.errors import InputError
from trainer.dataset import Dataset, Indices

WARN_ABOVE = 5.0
# Eigenvalues of the correlation below this are zero: what float32 factors keep of an exact relation.
_ZERO = 1e-8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Collinearity:
    """Correlation and variance inflation of the continuous factors that vary, in physical units."""

    names: tuple[str, ...]
    correlation: Floats  # (k, k) Pearson
    vif: Floats  # (k,), at least 1; infinite where the others determine the factor
    determined: tuple[tuple[str, ...], ...]  # sets of factors with an exact linear relation among them
    categories: tuple[str, ...]  # left out: not numbers
    constant: tuple[str, ...]  # left out: the same everywhere in these rows
    rows: int

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said of them in a report."""
        found = [f"{' and '.join(names)} determine each other exactly" for names in self.determined]
        inflated = [
            f"{name} {value:.1f}"
            for name, value in zip(self.names, self.vif, strict=True)
            if WARN_ABOVE < value < np.inf
        ]
        if inflated:
            found.append(f"variance inflation above {WARN_ABOVE:g}: {', '.join(inflated)}")
        if self.constant:
            found.append(f"the same in all {self.rows} training rows: {', '.join(self.constant)}")
        if self.categories:
            found.append(f"left out, being categories: {', '.join(self.categories)}")
        return tuple(found)


def collinearity(data: Dataset, rows: Indices, batch: int = 256) -> Collinearity:
    """Return how far the continuous factors determine each other in some rows.

    Raises InputError for a dataset without patches, and for fewer than three rows.
    """
    if data.patches is None:
        raise InputError("collinearity is of factors; this dataset has no patches")
    if len(rows) < 3:
        raise InputError(f"collinearity needs at least three rows, got {len(rows)}")
    kept = [number for number, factor in enumerate(data.factors) if factor.categories is None]
    centre = data.patch // 2
    # Centres alone stay in memory: n x C numbers.
    values = np.concatenate(
        [
            np.asarray(data.patches[rows[start : start + batch], :, centre, centre])[:, kept]
            for start in range(0, len(rows), batch)
        ]
    ).astype(np.float64)
    spread = values.std(axis=0)
    # float32 noise about a large mean is no variation.
    varies = spread > 1e-6 * np.maximum(1.0, np.abs(values.mean(axis=0)))
    names = [data.factors[number].name for number in kept]
    standard = (values[:, varies] - values[:, varies].mean(axis=0)) / spread[varies]
    correlation = np.clip(standard.T @ standard / len(rows), -1, 1)
    varying = tuple(name for name, varied in zip(names, varies, strict=True) if varied)
    vif, related = _inflation(correlation)
    return Collinearity(
        names=varying,
        correlation=correlation,
        vif=vif,
        determined=tuple(tuple(varying[number] for number in group) for group in related),
        categories=tuple(factor.name for factor in data.factors if factor.categories is not None),
        constant=tuple(name for name, varied in zip(names, varies, strict=True) if not varied),
        rows=len(rows),
    )


def _inflation(correlation: Floats) -> tuple[Floats, list[list[int]]]:
    """Return the variance inflation (k,), and the sets of factors with an exact relation among them.

    Where the correlation is singular, a factor with no part in its null space keeps a finite inflation: the
    diagonal of the pseudo-inverse.
    """
    count = len(correlation)
    if not count:
        return np.zeros(0), []
    values, vectors = np.linalg.eigh(correlation)
    null = values < _ZERO
    projector = vectors[:, null] @ vectors[:, null].T
    determined = np.diag(projector) > 1e-6
    inverse = (vectors[:, ~null] ** 2 / values[~null]).sum(axis=1)
    vif = np.where(determined, np.inf, np.maximum(inverse, 1.0))
    label = connected_components(np.abs(projector) > 1e-6, directed=False)[1]
    related = [np.flatnonzero((label == group) & determined).tolist() for group in np.unique(label)]
    return vif, [group for group in related if group]
