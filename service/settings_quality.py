"""Settings of the checks on readings (service.checks)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from service.checks.names import CheckName
from service.settings_base import Positive, Section, Slug

ByMonth = Annotated[tuple[float, ...], Field(min_length=12, max_length=12)]  # January first
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class RainRules(Section):
    """Thresholds of the checks on daily rain; each check's documentation has the reasons."""

    maximum_mm: ByMonth | None = None  # physical_range; default: by latitude and half-year
    flat_days: Annotated[int, Field(ge=3, le=20)] = 5  # flat_line: so many equal wet days
    flat_minimum_mm: Positive = 1.0  # smaller equal values are dew, fog or the gauge's resolution
    flat_heavy_days: Annotated[int, Field(ge=3, le=20)] = 3  # of at least so much:
    flat_heavy_mm: Positive = 10.0
    page_series: Annotated[int, Field(ge=3)] = 5  # stale_page: so many wet series at least,
    page_share: Share = 0.6  # of which this share says what it said before
    block_wet_days: Annotated[int, Field(ge=3, le=10)] = 4  # repeated_block
    duplicate_wet_days: Annotated[int, Field(ge=3, le=15)] = 5  # duplicate_series
    neighbour_km: Positive = 40.0  # who is a neighbour
    zero_neighbour_mm: Positive = 10.0  # false_zero: every neighbour has at least this
    zero_neighbours: Annotated[int, Field(ge=2)] = 3
    outlier_mm: Positive = 50.0  # spatial_outlier
    outlier_factor: Positive = 4.0  # times the greatest neighbour, plus half of `outlier_mm`
    accumulation_mm: Positive = 20.0
    unit_tolerance: Annotated[float, Field(gt=0, lt=1)] = 0.5  # rain_unit: of the median ratio


class LevelRules(Section):
    """Thresholds of the checks on water levels; each check's documentation has the reasons."""

    minimum_m: ByMonth | None = None  # physical_range
    maximum_m: ByMonth | None = None
    margin_m: Annotated[float, Field(ge=0)] = 2.0  # operating_range: a surcharge that is believed
    step_m: Positive = 8.0  # step: in one day
    flat_days: Annotated[int, Field(ge=5, le=60)] = 30  # flat_line, whatever the habit
    flat_chance: Annotated[float, Field(gt=0, lt=1)] = 1e-6  # of the run, by the series' own habit
    page_series: Annotated[int, Field(ge=3)] = 4  # stale_page: so many series that usually move
    page_share: Share = 0.7
    block_days: Annotated[int, Field(ge=4, le=14)] = 6  # repeated_block
    duplicate_days: Annotated[int, Field(ge=3, le=30)] = 5  # duplicate_series
    unit_tolerance: Annotated[float, Field(gt=0, lt=0.2)] = 0.04  # level_unit, decimal_point


class FeedQuality(Section):
    """What is different for one feed: thresholds by name, and checks that are switched off for it."""

    off: tuple[CheckName, ...] = ()
    rain: dict[str, Any] = Field(default_factory=dict)
    level: dict[str, Any] = Field(default_factory=dict)


class QualitySettings(Section):
    """When a reading is doubted, and what becomes of doubtful extremes."""

    # Where suspect readings, taken as true, would raise a zone's high and very high area by more than this
    # share of the zone, the higher map is published, marked `unconfirmed`.
    unconfirmed_share: Share = 0.01
    off: tuple[CheckName, ...] = ()
    rain: RainRules = RainRules()
    level: LevelRules = LevelRules()
    feeds: dict[Slug, FeedQuality] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _feeds_usable(self) -> Self:
        for feed in self.feeds:
            for variable in ("rain", "level"):
                try:
                    self.rules(variable, feed)
                except ValidationError as error:
                    first = error.errors()[0]
                    key = ".".join(str(part) for part in first["loc"])
                    raise ValueError(f"feeds.{feed}.{variable}.{key}: {first['msg']}") from error
        return self

    def rules(self, variable: Literal["rain", "level"] | str, feed: str) -> RainRules | LevelRules:
        """Return the thresholds that hold for a feed."""
        own = self.feeds.get(feed, FeedQuality())
        if variable == "rain":
            return RainRules.model_validate(self.rain.model_dump() | own.rain)
        return LevelRules.model_validate(self.level.model_dump() | own.level)

    def is_off(self, check: CheckName, feed: str) -> bool:
        """Whether a check is switched off for a feed."""
        return check in self.off or check in self.feeds.get(feed, FeedQuality()).off
