"""What every exporter is given: a finished layer, and nothing of how it was made."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

# Susceptibility is stored as uint8: value * SCALE, so 0..250 spans 0..1; 255 means unknown.
SCALE = 0.004
TOP = 250
NODATA = 255
# uncertainty.tif, band 2: bits of what lies outside the training ranges.
BEYOND_FACTORS, BEYOND_WINDOW = 1, 2
# Below so many members of a forecast there is a median, but no spread worth a file.
QUANTILE_MEMBERS = 5
# class.tif: 0 means unknown; 1.. are the classes from low upwards.
CLASS_NODATA = 0

CLASS_LABELS = ("low", "moderate", "high", "very_high")
# Colour-blind-safe (ColorBrewer YlOrRd-like, light to dark), RGB.
CLASS_COLOURS = ((255, 247, 188), (254, 196, 79), (236, 112, 20), (140, 20, 40))

# Levels of warnings, 0 to 3, in the colours that weather services use.
LEVEL_LABELS = ("green", "yellow", "orange", "red")


class LayerStatus(StrEnum):
    """How far a layer can be trusted."""

    COMPLETE = "complete"
    PROVISIONAL = "provisional"
    DEGRADED = "degraded"
    WITHDRAWN = "withdrawn"


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassScheme(_Value):
    """Fixed breaks between low, moderate, high and very high susceptibility.

    A value on a break belongs to the class above. Breaks are multiples of 0.004, so classes cut from
    the stored uint8 equal classes cut from its decoded value.
    """

    breaks: tuple[float, float, float]

    @model_validator(mode="after")
    def _check(self) -> Self:
        codes = self.codes
        if not 0 < codes[0] < codes[1] < codes[2] <= TOP:
            raise ValueError(f"breaks must rise between 0 and 1, got {list(self.breaks)}")
        for value, code in zip(self.breaks, codes, strict=True):
            if abs(value - code * SCALE) > 1e-9:
                near = round(code * SCALE, 3)
                raise ValueError(f"break {value} is not a multiple of {SCALE}; the nearest is {near}")
        return self

    @property
    def codes(self) -> tuple[int, int, int]:
        """The breaks in stored uint8 units."""
        first, second, third = (round(value / SCALE) for value in self.breaks)
        return first, second, third

    def classify(self, stored: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return classes 1..4 of stored susceptibility (uint8, any shape); 255 becomes 0."""
        first, second, third = self.codes
        # Comparisons of bytes run on vectors; looking each cell up in a table does not.
        classes = np.add(stored >= first, 1, dtype=np.uint8)
        classes += stored >= second
        classes += stored >= third
        classes *= stored <= TOP
        return classes


def store(susceptibility: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Return susceptibility (0..1, any shape) as stored uint8; NaN becomes 255."""
    if susceptibility.size and susceptibility.min() >= 0 and susceptibility.max() <= 1:  # so none is NaN
        return np.asarray(np.rint(susceptibility * (1 / SCALE)), np.uint8)
    known = np.isfinite(susceptibility)
    scaled = np.rint(np.where(known, susceptibility, 0) * (1 / SCALE))
    return np.where(known, np.clip(scaled, 0, TOP), NODATA).astype(np.uint8)


class Odds(_Value):
    """What turns an index into a probability: the prior correction of King and Zeng 2001.

    logit p' = logit p - ln[((1 - tau) / tau) (ybar / (1 - ybar))], tau the event rate that is stated for one
    `per`, ybar the share of positives that the model was trained, or calibrated, at.
    """

    event_rate: Annotated[float, Field(gt=0, lt=1)]  # tau
    per: Annotated[str, Field(min_length=1)]  # such as "cell and day"
    positives_share: Annotated[float, Field(gt=0, lt=1)]  # ybar

    def correct(self, susceptibility: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.float32]:
        """Return the probability, float32, of susceptibility (0..1, any shape); NaN stays NaN."""
        index = np.asarray(susceptibility, np.float64)
        # The same as the logit's shift, and finite at 0 and 1.
        events = index * (self.event_rate / self.positives_share)
        others = (1 - index) * ((1 - self.event_rate) / (1 - self.positives_share))
        return np.asarray(events / (events + others), np.float32)


class ModelReference(_Value):
    """Which bundle made a layer."""

    name: str
    version: str
    digest: str
    may_warn: bool


class ForecastBasis(_Value):
    """What a layer of lead 1 and more rests on where there are no readings yet.

    Each member of the forecast went through the model; what is published is the median of what came out, cell
    by cell. `rain_factors` are what its rain was multiplied by, by day, against its bias; empty: nothing.
    """

    feed: str
    issued_at: datetime  # of the forecast: the reference time
    first_day: date  # the first day of the window that it stands for
    members: Annotated[int, Field(ge=1)]  # 1: one deterministic run, which knows no spread
    rain_factors: dict[date, float] = Field(default_factory=dict)

    @property
    def has_quantiles(self) -> bool:
        """Whether the layer's folder holds quantiles.tif."""
        return self.members >= QUANTILE_MEMBERS


class ZoneArea(_Value):
    """Area of one class in one zone on a layer's day. `zone` is "" for the whole region.

    `change_m2` maps days back (1, 7) to the growth since then, on the footprint common to both layers;
    a key is absent where no comparable layer exists. `footprint_m2` is the area that it was counted on.
    """

    zone: str
    name: str
    label: str
    area_m2: float
    ratio: float | None  # of the zone's cells with a known class; None where there are none
    unknown_m2: float
    change_m2: dict[int, float] = Field(default_factory=dict)
    change_ratio: dict[int, float] = Field(default_factory=dict)
    footprint_m2: dict[int, float] = Field(default_factory=dict)  # none in records of earlier versions


class Hotspot(_Value):
    """A contiguous patch of high and very high cells. Geometry is WKB in the region's CRS."""

    id: int
    area_m2: float
    mean: float
    maximum: float
    zone: str | None
    growth_m2: float | None  # on the footprint known to the previous layer; None without one
    first_seen: date | None = None  # the day since which a hotspot stands there without a break
    geometry_wkb: bytes = Field(repr=False)


class ZoneWarning(_Value):
    """The level of a zone for a layer's day and lead: decided once, by the service, with the layer.

    `numbers` are what the rule went by; shares are of the zone's known cells, growth in share of the common
    footprint. `reference_share` is the share of high and very high ground before the rise that raised the
    level: what "back to normal" is measured from. `calm_days` counts the days in a row that spoke for less.
    """

    zone: str
    name: str
    level: Annotated[int, Field(ge=0, le=3)] | None  # None: not known, which is not green
    previous: Annotated[int, Field(ge=0, le=3)] | None  # of the nowcast that it was decided after
    rule: str  # in words, with the thresholds
    numbers: dict[str, float | None]
    reference_share: float | None = None
    calm_days: Annotated[int, Field(ge=0)] = 0
    unconfirmed: bool = False  # it rests on readings that a check doubts
    decided_at: datetime

    @property
    def label(self) -> str | None:
        """The level's colour in words; None where it is not known."""
        return None if self.level is None else LEVEL_LABELS[self.level]


class Layer(_Value):
    """A finished layer. `folder` holds its rasters, areas.gpkg and item.json."""

    id: str  # region-day-lLEAD-rREVISION
    region: str
    day: date
    lead: Annotated[int, Field(ge=0)]
    revision: Annotated[int, Field(ge=1)]
    digest: str
    status: LayerStatus
    unconfirmed: bool  # some windows hold levels carried past their last reading
    data_until: date
    issued_at: datetime
    valid_from: datetime
    valid_to: datetime
    model: ModelReference
    classes: ClassScheme
    coverage: float
    cells: int  # cells with a known class
    crs: str
    bounds: tuple[float, float, float, float]  # left, bottom, right, top in `crs`
    shape: tuple[int, int]
    cell_size_m: float
    synthetic: bool  # made from synthetic inputs: said wherever the layer is shown
    attribution: str
    notes: tuple[str, ...] = ()
    areas: tuple[ZoneArea, ...] = ()
    hotspots: tuple[Hotspot, ...] = Field(default=(), repr=False)
    warnings: tuple[ZoneWarning, ...] = ()  # none where the model may not warn
    members: int = 0  # of the model's ensemble; with any, the folder holds uncertainty.tif
    odds: Odds | None = None  # where the model states them, the folder holds probability.tif
    # PSI against the bundle's reference (service.drift): how unlike the training years this map is.
    output_stability: float | None = None
    # Share of the known cells whose factors or window lie outside the training ranges.
    outside_ratio: float | None = None
    # Of lead 1 and more only; None there, too, where the model's lag lets readings fill the window.
    forecast: ForecastBasis | None = None
    folder: Path
