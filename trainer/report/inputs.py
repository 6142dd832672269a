"""What a report is made from. Only the comparison is needed; a part that is absent leaves its section out.

Models are named as in trainer.models ("cnn_lstm", ...); their titles come from the comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.curves import ClassShares, RateCurve
from trainer.models.base import Epoch
from trainer.report.comparison import Comparison

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Predictions:
    """Held-out predictions of one model in one repetition, the test rows of its folds pooled."""

    model: str
    repetition: str
    label: npt.NDArray[np.int64]  # (n,) 0 or 1
    predicted: Values  # (n,) 0 to 1, before calibration
    calibrated: Values | None = None  # (n,) after it; None where none was fitted
    block: npt.NDArray[np.int64] | None = None  # (n,)

    def __post_init__(self) -> None:
        for name in ("predicted", "calibrated", "block"):
            value = getattr(self, name)
            if value is not None and value.shape != self.label.shape:
                raise InputError(
                    f"{self.model}, repetition {self.repetition}: {self.label.shape} labels, but "
                    f"{value.shape} {name}"
                )


@dataclass(frozen=True)
class TrainingRun:
    """The training curve of one fit."""

    model: str
    run: str  # repetition and fold
    history: Sequence[Epoch]
    best_epoch: int | None = None


@dataclass(frozen=True)
class Picture:
    """A picture that is there already. `description` is read out where the picture cannot be seen."""

    title: str
    png: bytes
    description: str
    legend: Literal["none", "classes", "susceptibility"] = "none"

    def __post_init__(self) -> None:
        if not self.png.startswith(b"\x89PNG\r\n\x1a\n"):
            raise InputError(f"the picture {self.title!r} is not a PNG")


@dataclass(frozen=True)
class RateLine:
    """A model's map against landslides of the training part (success) or held-out ones (prediction)."""

    model: str
    kind: Literal["success", "prediction"]
    curve: RateCurve


@dataclass(frozen=True)
class HighShare:
    """Where landslides lie by class of a model's map. `of`: which landslides, in words."""

    model: str
    of: str
    shares: ClassShares
    paper: float | None = None  # share in high and very high that the paper states for the same


@dataclass(frozen=True)
class ImportanceRow:
    """Mean drop of a metric when one input, or one group of inputs, is shuffled; its 95 % interval."""

    name: str
    group: str  # patch, rain, reservoir, ...; of a group its own name
    drop: float
    low: float | None = None
    high: float | None = None
    share: float | None = None  # %, as papers give it (trainer.importance)


@dataclass(frozen=True)
class Importance:
    """Permutation importance of one model in one run."""

    model: str
    factors: Sequence[ImportanceRow]
    groups: Sequence[ImportanceRow] = ()
    metric: str = "auc"
    run: str = ""  # repetition and fold


@dataclass(frozen=True)
class OcclusionExample:
    """What one sample's susceptibility falls by when one input is replaced by its typical value."""

    model: str
    title: str  # the sample in words
    label: int
    susceptibility: float
    effects: Sequence[tuple[str, float]]  # input, fall of susceptibility (negative: a rise)


@dataclass(frozen=True)
class Collinearity:
    """Pearson correlation (k, k) of the continuous factors and variance inflation factors (k,)."""

    names: Sequence[str]
    pearson: Values
    vif: Values  # infinite where a factor is a sum of others
    notes: Sequence[str] = ()  # factors that were left out, or determine each other

    def __post_init__(self) -> None:
        k = len(self.names)
        if self.pearson.shape != (k, k) or self.vif.shape != (k,):
            raise InputError(
                f"{k} factors need a ({k}, {k}) matrix and ({k},) inflation factors, got "
                f"{self.pearson.shape} and {self.vif.shape}"
            )


@dataclass(frozen=True)
class Recipe:
    """How to repeat the run: the command line, and digests of what went in (name -> SHA-256)."""

    command: str
    digests: Sequence[tuple[str, str]] = ()
    version: str = ""  # of Colluvium


@dataclass(frozen=True)
class ReportInputs:
    """All that a report can show."""

    comparison: Comparison
    recipe: Recipe | None = None
    inventory_problems: Sequence[str] = ()  # duplicates, points off the grid, by row
    vintage_warnings: Sequence[str] = ()  # factors that are younger than the events
    limits: Sequence[str] = ()  # added to those that hold for every run
    predictions: Sequence[Predictions] = ()
    training: Sequence[TrainingRun] = ()
    sample_map: Picture | None = None
    fold_map: Picture | None = None
    maps: Sequence[Picture] = ()  # susceptibility, one a model
    rate_curves: Sequence[RateLine] = ()
    high_shares: Sequence[HighShare] = ()
    importance: Sequence[Importance] = ()
    occlusion: Sequence[OcclusionExample] = ()
    collinearity: Collinearity | None = None
