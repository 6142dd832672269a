"""What /zones and /hotspots answer."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal

from pydantic import Field

from exporters.layer import LayerStatus
from service.api.examples import HOTSPOTS, ZONE, ZONES
from service.api.levels import Level, LevelNumber
from service.api.models import Answer, Geometry, Told, shown_as

_NOT_YET = "null: verification is not part of this version"
_MISSING = "why there are no levels: may_not_warn or not_decided; null where they were decided"


class ClassArea(Answer):
    """The area of one class. Growth is counted on the footprint common to both days; a key may be absent."""

    area_m2: float
    ratio: float | None = Field(description="of the zone's cells with a known class")
    change_m2: dict[str, float] = Field(description='growth since "1" and "7" days before')


class ZoneProperties(Answer):
    """A zone on a layer's day."""

    id: str
    name: str
    areas: dict[str, ClassArea] = Field(description="by class: low, moderate, high, very_high")
    unknown_m2: float
    high_ratio: float | None = Field(description="share of high and very high among the known cells")
    warning_level: LevelNumber
    warning: Level | None = Field(description="the level with what it was decided by; null where none was")
    label_at: tuple[float, float] | None = Field(description="a position inside the zone, for its name")
    day: date
    lead: int = Field(description="days ahead: 0 is a nowcast, 1 and more a forecast")
    layer: str


class ZoneFeature(Answer):
    """A zone as a GeoJSON feature; no geometry where the layer has none."""

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: Geometry | None
    properties: ZoneProperties


class ZoneCollection(Answer):
    """All zones of a layer."""

    model_config = shown_as(ZONES)

    type: Literal["FeatureCollection"] = "FeatureCollection"
    layer: str
    day: date
    lead: int
    status: LayerStatus
    unconfirmed: bool
    simplified_to_m: float
    levels_missing: Told | None = Field(description=_MISSING)
    features: list[ZoneFeature]


class HistoryDay(Answer):
    """One day of a zone; a day without a layer is absent."""

    day: date
    high_ratio: float | None
    status: LayerStatus
    warning_level: LevelNumber


class LeadDay(Answer):
    """A zone in a current forecast."""

    lead: int
    day: date
    layer: str
    issued_at: datetime
    status: LayerStatus
    unconfirmed: bool
    high_ratio: float | None
    warning_level: LevelNumber


class RainSums(Answer):
    """Mean sums of rain over the zone, mm."""

    rain_window_mm: float
    rain_3d_mm: float


class Why(RainSums):
    """The rain behind the layer, against the same sums a week earlier."""

    window_days: int
    week_before: RainSums
    points: int = Field(description="places in the zone that the means are over")


class ZoneLinks(Answer):
    """Where to go from here."""

    self: str
    zones: str
    hotspots: str
    layer: str


class ZoneDetail(ZoneProperties):
    """A zone with its history, what fell on it and what is forecast of it."""

    levels_missing: Told | None = Field(description=_MISSING)
    history: list[HistoryDay] = Field(description="nowcasts, oldest first")
    why: Why | None
    why_missing: Told | None = Field(
        description="withheld, no_bundle, no_geometry, no_rain_in_reach or forecast"
    )
    leads: list[LeadDay] = Field(description="the current forecasts by lead, whatever layer is shown")
    track_record: None = Field(default=None, description=_NOT_YET)
    links: ZoneLinks


class ZoneDetailFeature(Answer):
    """One zone as a GeoJSON feature."""

    model_config = shown_as(ZONE)

    type: Literal["Feature"] = "Feature"
    id: str
    geometry: Geometry | None
    simplified_to_m: float
    properties: ZoneDetail


class HotspotProperties(Answer):
    """A contiguous patch of high and very high cells."""

    id: int
    area_m2: float
    mean: float = Field(description="susceptibility, 0 to 1")
    maximum: float
    growth_m2: float | None = Field(description="null without a layer to compare with")
    first_seen: date | None
    zone: str | None
    day: date


class HotspotFeature(Answer):
    """A hotspot as a GeoJSON feature."""

    type: Literal["Feature"] = "Feature"
    id: int
    geometry: Geometry | None
    properties: HotspotProperties


class HotspotCollection(Answer):
    """Hotspots of a layer, largest first."""

    model_config = shown_as(HOTSPOTS)

    type: Literal["FeatureCollection"] = "FeatureCollection"
    layer: str
    day: date
    lead: int
    status: LayerStatus
    unconfirmed: bool
    simplified_to_m: float
    matched: Annotated[int, Field(description="hotspots that pass the filters; `limit` may cut the list")]
    features: list[HotspotFeature]
