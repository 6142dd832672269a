"""The bundle's manifest: what a trained model says about itself.

A bundle is a folder: manifest.json, the ONNX files that it names, model-card.md, report/, and where it is an
ensemble members/1/, members/2/ ... with the same ONNX files each. It is data: no pickle, no code, no path
outside its folder.
"""

from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from exporters.layer import SCALE, TOP, ClassScheme, Odds

SCHEMA_VERSION = 1
MANIFEST_NAME = "manifest.json"
FACTORED = ("spatial.onnx", "temporal.onnx", "head.onnx", "head_u8.onnx")
WHOLE = "whole.onnx"
MOST_MEMBERS = 50  # each costs a spatial state on disk and its share of every refresh
# Fields that came after the first bundles.
_LATER = ("model", "ignores", "calibration", "members", "odds", "reference")


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FactorSpec(_Value):
    """One input band of the spatial branch, in the order of the graph's channels.

    Scaling, the log and one-hot coding are inside the graph: x -> (f(x) - f(minimum)) / (f(maximum) -
    f(minimum)) with f the identity, or f(x) = sign(x) ln(1 + |x|) where `log` is true. Values outside the
    range are marked by the service, never clipped.
    """

    name: str
    unit: str
    log: bool = False
    minimum: float | None = None  # of the training part; None for a categorical factor
    maximum: float | None = None
    categories: dict[int, str] | None = None  # code -> name, as trained

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.categories is None and (self.minimum is None or self.maximum is None):
            raise ValueError(f"factor {self.name!r} needs 'minimum' and 'maximum', or 'categories'")
        return self


# What a window's variable is made from. level_*: of the linked reservoir, in metres.
VariableName = Literal["rain", "level_below_full", "level_change_1d", "level_change_7d", "level_change_30d"]


class VariableSpec(_Value):
    """One variable of the window, in the order of the last axis. Scaling is inside the graph, as above."""

    name: VariableName
    unit: str  # mm for rain, m for levels
    log: bool = False
    minimum: float
    maximum: float
    unlinked: float = 0.0  # value for forcing cells without a reservoir (levels only)


class Training(_Value):
    """Where, on what and how the model was trained."""

    region: str
    data: str  # in words: which events, which dates
    synthetic: bool
    samples: dict[str, int]  # "train", "validation", "test", and by label
    events: int  # distinct dated landslides among the positives
    sampling_ratio: float  # negatives for each positive
    split: str
    seed: int
    metrics: dict[str, float]  # of the held-out part, in words of the model card
    digests: dict[str, str] = Field(default_factory=dict)  # of the data that went in
    assumed: tuple[str, ...] = ()  # what the source paper does not state


class RainTest(_Value):
    """Heavier rain never lowers the index: the storm scaled from 0 to 3 times the training maximum."""

    passed: bool
    largest_drop: float  # of susceptibility, between neighbouring scales
    scales: tuple[float, ...]
    mean_susceptibility: tuple[float, ...]  # by scale
    samples: int

    @property
    def responds(self) -> bool:
        """Whether rain matters: the mean rises by more than one stored step from no rain to the most."""
        by_scale = dict(zip(self.scales, self.mean_susceptibility, strict=True))
        return by_scale[max(by_scale)] - by_scale[min(by_scale)] > SCALE


class OutputReference(_Value):
    """What the map looked like in the years of training: what drift of the output is measured from.

    Stored susceptibility (0 to 250) of the same `cells` cells on each of `days` days, counted in bins. A calm
    day and a storm are both usual and unlike each other, so a map is held against the kind of day that it
    resembles most (service.drift), not against the years as a whole.
    """

    # The first code of each bin but the lowest.
    edges: Annotated[tuple[Annotated[int, Field(ge=1, le=TOP)], ...], Field(min_length=1)]
    shares: tuple[Annotated[float, Field(ge=0, le=1)], ...]  # of all cells and days, by bin
    kinds: Annotated[tuple[tuple[Annotated[int, Field(ge=0)], ...], ...], Field(min_length=1)]  # cells by bin
    cells: Annotated[int, Field(ge=1)]
    days: Annotated[int, Field(ge=1)]
    first_day: date  # of the years that the days were drawn from
    last_day: date
    seed: int
    radius: Annotated[float, Field(ge=0)]  # PSI: no day that the kinds were picked from is farther from one
    held_out_days: Annotated[int, Field(ge=0)]  # further days, which no kind was picked from
    held_out_beyond: float | None  # share of these that would count as drift; None: no such day

    @model_validator(mode="after")
    def _same_bins(self) -> Self:
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"edges must rise, got {list(self.edges)}")
        bins = len(self.edges) + 1
        if len(self.shares) != bins or any(len(kind) != bins for kind in self.kinds):
            raise ValueError(f"{len(self.edges)} edges make {bins} bins; shares and kinds need as many")
        if not all(sum(kind) for kind in self.kinds):
            raise ValueError("a kind of day without a cell says nothing")
        return self


class Manifest(_Value):
    """manifest.json"""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")]
    version: str
    created: datetime
    kind: Literal["factored", "whole"]
    model: Annotated[str, Field(min_length=1)] = "CNN-LSTM"  # what it is called in tables and pages
    factors: tuple[FactorSpec, ...]
    variables: tuple[VariableSpec, ...]
    window_days: Annotated[int, Field(ge=1, le=366)] = 30
    lag_days: Annotated[int, Field(ge=0, le=7)] = 1
    patch: Annotated[int, Field(ge=1)] = 23  # P
    forcing_cell: int = 32  # k
    channels: int = 128  # D
    ignores: tuple[Literal["patches", "window"], ...] = ()  # inputs that the graphs take and do not use
    calibration: str | None = None  # in words; it is inside the graphs
    members: Annotated[int, Field(ge=0, le=MOST_MEMBERS)] = 0  # of the ensemble, beside the main model
    odds: Odds | None = None  # the stated event rate that turns the index into a probability
    reference: OutputReference | None = None  # None: drift of the output is not measured
    classes: ClassScheme
    training: Training
    rain_test: RainTest | None = None
    may_warn: bool
    may_warn_reason: str
    files: dict[str, str]  # file name -> SHA-256 of every file but the manifest

    @model_validator(mode="after")
    def _plain_names(self) -> Self:
        for name in self.files:
            if name.startswith(("/", ".")) or ".." in name.split("/") or "\\" in name:
                raise ValueError(f"file {name!r} lies outside the bundle")
        missing = [name for name in self.graphs if name not in self.files]
        if missing:
            raise ValueError(f"a {self.kind} bundle needs {', '.join(missing)}")
        members = [member_file(number, name) for number in self.member_numbers for name in self.graphs]
        missing = [name for name in members if name not in self.files]
        if missing:
            raise ValueError(f"a {self.kind} bundle with {self.members} members needs {', '.join(missing)}")
        if self.kind == "factored" and self.patch < 22:
            raise ValueError(f"patch must be at least 22 for three unpadded blocks, got {self.patch}")
        if self.may_warn and not (self.rain_test and self.rain_test.passed):
            raise ValueError("may_warn = true needs a rain test that passed")
        if self.may_warn and "window" in self.ignores:
            raise ValueError("may_warn = true for a model that ignores the window: it cannot see the rain")
        return self

    @model_serializer(mode="wrap")
    def _as_first_written(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # A bundle that uses none of the later fields keeps its bytes, and with them its digest.
        said: dict[str, Any] = handler(self)
        for name in _LATER:
            if getattr(self, name) == type(self).model_fields[name].default:
                said.pop(name, None)
        return said

    @property
    def graphs(self) -> tuple[str, ...]:
        """The ONNX files that the service runs, of the main model and of each member."""
        return (*FACTORED, WHOLE) if self.kind == "factored" else (WHOLE,)

    @property
    def member_numbers(self) -> range:
        """1 to the number of members."""
        return range(1, self.members + 1)

    def of_member(self, number: int) -> Manifest:
        """Return the manifest of a member alone: the same inputs, its own files, no members."""
        files = {name: self.files[member_file(number, name)] for name in self.graphs}
        return self.model_copy(update={"files": files, "members": 0})


def member_file(number: int, name: str) -> str:
    """Return where in the bundle an ONNX file of member `number`, counted from 1, lies."""
    return f"members/{number}/{name}"
