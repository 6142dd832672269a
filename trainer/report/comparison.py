"""comparison.json: what `colluvium compare` found, read back with its types.

Metrics are those of trainer.judge. A value that is not defined (one class only, nothing predicted) is absent,
null or NaN in the file and None here; so is an interval that could not be drawn.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from service.errors import InputError


def _defined(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


_Number = Annotated[float | None, BeforeValidator(_defined)]


class _Value(BaseModel):
    # Fields of a later writer are left unread; a missing or wrong one is an error.
    model_config = ConfigDict(extra="ignore", frozen=True)


class Estimate(_Value):
    """A mean over repetitions and its 95 % interval."""

    mean: _Number
    low: _Number = None
    high: _Number = None

    @property
    def bounded(self) -> bool:
        return self.low is not None and self.high is not None


class Confusion(_Value):
    """Counts of held-out samples at the threshold 0.5, over all repetitions."""

    tp: int
    fp: int
    tn: int
    fn: int


class ModelResult(_Value):
    """One model under the protocol. `chosen`: what a grid search chose; `assumed`: setting -> why.

    `calibration` says in words what was fitted on validation samples; metrics are of calibrated values.
    """

    title: str
    source: str = ""
    metrics: dict[str, Estimate]
    seconds: float | None = None
    chosen: dict[str, Any] = Field(default_factory=dict)
    assumed: dict[str, Any] = Field(default_factory=dict)
    calibration: str = ""
    hyperparameters: dict[str, Any] = Field(default_factory=dict)
    confusion: Confusion | None = None


class Pair(_Value):
    """`first` minus `second` in one metric, on the same resampled blocks."""

    first: str
    second: str
    metric: str
    difference: _Number
    low: _Number = None
    high: _Number = None

    def turned(self) -> Pair:
        """The same pair the other way round."""
        return Pair(
            first=self.second,
            second=self.first,
            metric=self.metric,
            difference=None if self.difference is None else -self.difference,
            low=None if self.high is None else -self.high,
            high=None if self.low is None else -self.low,
        )


class Judging(_Value):
    """What is drawn with replacement for the intervals."""

    by: str
    block_km: float | None = None
    resamples: int | None = None


class Protocol(_Value):
    name: str
    source: str = ""
    split: str
    sampling: str = ""
    calibration: str = ""
    assumed: tuple[str, ...] = ()
    judging: Judging | None = None


class Data(_Value):
    """What the models were trained and judged on, of all datasets together.

    `counts`: kind of sample -> how many; `shortfalls`: dataset -> kind -> how many too few could be drawn.
    """

    digests: dict[str, str] = Field(default_factory=dict)
    samples: int
    positives: int
    counts: dict[str, int] = Field(default_factory=dict)
    crs: str = ""
    shortfalls: dict[str, dict[str, int]] = Field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class RepetitionInfo(_Value):
    """One dataset divided with one seed; counts are sums over its folds."""

    name: str
    data: str
    train: int
    validation: int
    test: int
    seed: int
    folds: int = 1
    left_out: int = 0


class Paper(_Value):
    """The numbers that the paper prints: model -> metric -> value."""

    source: str
    models: dict[str, dict[str, float]]
    high_share: dict[str, float] = Field(default_factory=dict)  # model -> landslides in high and very high


class Gap(_Value):
    """A model's AUC minus the best reachable one, on the same resampled blocks; below 0: behind."""

    difference: _Number
    low: _Number = None
    high: _Number = None


class BestReachable(_Value):
    """The AUC of the true probability on the same samples, where landslides were made up."""

    auc: Estimate
    gaps: dict[str, Gap] = Field(default_factory=dict)


class Resampling(_Value):
    """What the intervals rest on. `notes`: what a reader must know of them."""

    resamples: int
    blocks: int
    redrawn: int = 0
    notes: tuple[str, ...] = ()


class Leak(_Value):
    check: str
    finding: str
    severity: Literal["note", "warning", "error"]


class Footprint(_Value):
    """The model that sees where a sample lies and nothing of what is there."""

    auc: Estimate
    says: str = ""


class Environment(_Value):
    python: str
    packages: dict[str, str] = Field(default_factory=dict)
    threads: int = 1


class Comparison(_Value):
    """comparison.json"""

    schema_version: Literal[1] = Field(alias="schema")
    name: str
    title: str
    synthetic: bool
    protocol: Protocol
    data: Data
    repetitions: tuple[RepetitionInfo, ...] = ()
    models: dict[str, ModelResult]
    pairs: tuple[Pair, ...] = ()
    best_reachable: BestReachable | None = None
    resampling: Resampling | None = None
    paper: Paper | None = None
    leaks: tuple[Leak, ...] = ()
    footprint: Footprint | None = None
    environment: Environment

    @model_validator(mode="after")
    def _pairs_are_of_models(self) -> Comparison:
        if not self.models:
            raise ValueError("a comparison needs at least one model")
        strange = {name for pair in self.pairs for name in (pair.first, pair.second)} - set(self.models)
        if strange:
            raise ValueError(f"pairs name models that are not there: {', '.join(sorted(strange))}")
        return self

    def difference(self, first: str, second: str, metric: str) -> Pair | None:
        """Return `first` minus `second`, whichever way round it was written; None where it was not."""
        for pair in self.pairs:
            if pair.metric == metric and {pair.first, pair.second} == {first, second}:
                return pair if pair.first == first else pair.turned()
        return None

    def ranked(self, metric: str = "auc") -> tuple[str, ...]:
        """Return the models' names from the largest mean of a metric to the least; undefined ones last."""

        def place(name: str) -> tuple[bool, float, str]:
            estimate = self.models[name].metrics.get(metric)
            mean = estimate.mean if estimate else None
            return mean is None, -(mean or 0.0), name

        return tuple(sorted(self.models, key=place))


def read_comparison(path: Path) -> Comparison:
    """Read comparison.json. Raises InputError that names the file and each field that is wrong."""
    try:
        return Comparison.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error}); run `colluvium compare` first, or give its output folder"
        ) from error
    except ValidationError as error:
        lines = [f"  {'.'.join(map(str, item['loc'])) or 'file'}: {item['msg']}" for item in error.errors()]
        raise InputError(
            f"{path} is no comparison that this version can read:\n" + "\n".join(lines)
        ) from error
