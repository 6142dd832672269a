"""What a run keeps so that a report can explain its model: importance, and four samples by occlusion."""

from __future__ import annotations

import numpy as np
from pydantic import BaseModel, ConfigDict

from trainer.dataset import Dataset, Indices
from trainer.folds import Fold
from trainer.importance import Importance, permutation_importance
from trainer.models.base import Fitted, predict_rows
from trainer.occlusion import attribute, mean_reference

EXPLAINED = "explained.json"
_REPEATS = 5


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Example(_Value):
    """One held-out sample: what its susceptibility falls by when a part of its input is taken away."""

    row: int
    words: str
    label: int
    susceptibility: float
    effects: tuple[tuple[str, float], ...]


class Explained(_Value):
    """explained.json"""

    importance: Importance
    examples: tuple[Example, ...]


def explain(fitted: Fitted, data: Dataset, fold: Fold, block: Indices, seed: int) -> Explained:
    """Work out importance on the test rows of a fold, and occlude its clearest hits and misses.

    `block` (n,) is the unit of every sample of the dataset for intervals.
    """
    importance = permutation_importance(
        fitted, data, fold.test, block[fold.test], repeats=_REPEATS, seed=seed
    )
    predicted = predict_rows(fitted, data, fold.test)
    return Explained(
        importance=importance,
        examples=tuple(
            _example(fitted, data, fold, words, row) for words, row in _telling(data, fold, predicted)
        ),
    )


def _telling(data: Dataset, fold: Fold, predicted: np.ndarray) -> list[tuple[str, int]]:
    """Return the best hit, the worst miss, the worst false alarm and the calmest negative."""
    label = data.label[fold.test]
    slid, calm = np.flatnonzero(label == 1), np.flatnonzero(label == 0)
    return [
        ("a landslide that the model saw", int(fold.test[slid[predicted[slid].argmax()]])),
        ("a landslide that it missed", int(fold.test[slid[predicted[slid].argmin()]])),
        ("a false alarm", int(fold.test[calm[predicted[calm].argmax()]])),
        ("calm ground that it called calm", int(fold.test[calm[predicted[calm].argmin()]])),
    ]


def _example(fitted: Fitted, data: Dataset, fold: Fold, words: str, row: int) -> Example:
    sample = data.samples[row]
    reference = None if data.patches is None else mean_reference(data, fold.train)
    found = attribute(
        fitted,
        None if data.patches is None else np.array(data.patches[row], np.float32),
        None if data.windows is None else np.array(data.windows[row], np.float32),
        reference,
        [factor.name for factor in data.factors],
        data.variables,
    )
    effects = [(effect.factor, effect.change) for effect in found.factors]
    effects += [
        (f"{effect.variable}, {effect.first_days_back} to {effect.last_days_back} days back", effect.change)
        for effect in found.days
    ]
    return Example(
        row=row,
        words=f"{words}: {sample.x:.0f}, {sample.y:.0f} on {sample.day}",
        label=sample.label,
        susceptibility=found.susceptibility,
        effects=tuple(effects),
    )
