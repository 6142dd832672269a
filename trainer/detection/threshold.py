"""The threshold of a detector: that of the best F1 on validation data, of which training saw nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from service.errors import InputError

STEPS = 200  # candidates are 1/200 to 199/200


class Chosen(NamedTuple):
    """A threshold and the pixel scores at it: a probability of the threshold or more is a landslide."""

    threshold: float
    precision: float
    recall: float
    f1: float


def _none() -> npt.NDArray[np.int64]:
    return np.zeros(STEPS, np.int64)


@dataclass
class Histogram:
    """Known pixels by probability, landslides and others apart: all that F1 at every threshold needs."""

    landslide: npt.NDArray[np.int64] = field(default_factory=_none)
    other: npt.NDArray[np.int64] = field(default_factory=_none)

    def add(
        self, probability: npt.NDArray[Any], mask: npt.NDArray[Any], known: npt.NDArray[np.bool_]
    ) -> None:
        """Count pixels: probability 0 to 1, mask 0 or 1, known; all of one shape."""
        level = np.clip((probability[known].astype(np.float64) * STEPS).astype(np.int64), 0, STEPS - 1)
        positive = mask[known] == 1
        self.landslide += np.bincount(level[positive], minlength=STEPS)
        self.other += np.bincount(level[~positive], minlength=STEPS)

    def best(self) -> Chosen:
        """Return the threshold with the highest F1; among equals that nearest to 0.5.

        Raises InputError where no landslide pixel was counted: every threshold would be as good.
        """
        total = int(self.landslide.sum())
        if not total:
            raise InputError(
                "the validation part holds no labelled landslide pixel, so no threshold can be chosen on it; "
                "give it patches with landslides"
            )
        # At threshold k / STEPS: levels k and above, k = 1 ... STEPS - 1.
        hit = np.cumsum(self.landslide[::-1])[::-1][1:]
        false = np.cumsum(self.other[::-1])[::-1][1:]
        f1 = 2 * hit / (hit + false + total)
        candidates = np.arange(1, STEPS) / STEPS
        equal = np.flatnonzero(f1 == f1.max())
        k = int(equal[np.argmin(np.abs(candidates[equal] - 0.5))])
        predicted = int(hit[k] + false[k])
        precision = float(hit[k] / predicted) if predicted else 0.0
        return Chosen(float(candidates[k]), precision, float(hit[k] / total), float(f1[k]))


def all_or_nothing_f1(mask: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> float:
    """Return the F1 of calling every known pixel a landslide: the best answer that looks at nothing."""
    share = float((mask[known] == 1).mean())
    return 2 * share / (1 + share)
