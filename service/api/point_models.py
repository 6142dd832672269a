"""What /point answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import Field

from exporters.layer import ForecastBasis, Layer, LayerStatus, ModelReference
from service.api.examples import POINT
from service.api.models import Answer, Told, shown_as

KindName = Literal["observed", "filled", "carried", "forecast", "missing"]


class NamedPlace(Answer):
    """A zone or a reservoir."""

    id: str
    name: str


class Where(Answer):
    """The cell at the point. Row and column are null outside the grid."""

    row: int | None
    column: int | None
    lon: float | None = Field(description="of the cell's centre, EPSG:4326")
    lat: float | None
    cell_size_m: float
    inside: bool = Field(description="whether the region's mask holds the cell")
    zone: NamedPlace | None
    reservoir: NamedPlace | None = Field(description="the one whose levels reach the place")


class LayerSaid(Answer):
    """The layer that the value is of."""

    id: str
    day: date
    lead: int = Field(description="days ahead: 0 is a nowcast, 1 and more a forecast")
    status: LayerStatus
    unconfirmed: bool = Field(description="rests on readings that nobody confirmed; see `notes`")
    notes: list[str]
    issued_at: datetime
    data_until: date
    coverage: float
    synthetic: bool
    model: ModelReference
    breaks: tuple[float, float, float]
    forecast: ForecastBasis | None = Field(description="what a forecast rests on; null for a nowcast")

    @classmethod
    def of(cls, layer: Layer) -> LayerSaid:
        """Return what an answer says of a layer."""
        return cls(
            id=layer.id,
            day=layer.day,
            lead=layer.lead,
            status=layer.status,
            unconfirmed=layer.unconfirmed,
            notes=list(layer.notes),
            issued_at=layer.issued_at,
            data_until=layer.data_until,
            coverage=layer.coverage,
            synthetic=layer.synthetic,
            model=layer.model,
            breaks=layer.classes.breaks,
            forecast=layer.forecast,
        )


class Value(Answer):
    """What the layer says of the cell: exactly the published value. Unknown is null and says why."""

    susceptibility: float | None
    label: str | None = Field(serialization_alias="class")
    unknown: Told | None = Field(
        description="outside_region, outside_mask, incomplete_patch, no_rain_in_reach, no_level, "
        "forecast_incomplete or not_told"
    )


class UncertaintySaid(Answer):
    """How sure the model is of itself here, and whether it was trained on anything like it."""

    spread: float = Field(description="standard deviation of susceptibility over the ensemble")
    members: int = Field(description="models beside the main one")
    factors_outside: bool = Field(description="a factor of the cell is beyond the training ranges")
    window_outside: bool = Field(description="rain or levels around the cell are beyond them")


class ProbabilitySaid(Answer):
    """The probability of a landslide, as far as the stated event rate holds."""

    value: float
    per: str = Field(description="of what, such as `cell and day`")
    event_rate: float = Field(description="the rate that the probability rests on")


class ForecastSpread(Answer):
    """What the model made of the members of the weather forecast: quantiles of susceptibility."""

    p10: float
    p50: float = Field(description="the published value")
    p90: float
    members: int


class Past(Answer):
    """The same cell in the nowcasts shown for earlier days; null without one, or where it was unknown."""

    days: list[date] = Field(description="every calendar day, oldest first, the layer's own day last")
    susceptibility: list[float | None]
    label: list[str | None] = Field(serialization_alias="class")
    model_changes: list[date] = Field(description="days whose layer another model made than the one before")


class Rank(Answer):
    """Where the value stands among the cell's own past, as far as one model made it."""

    share_below: float = Field(description="share of the days with a lower value")
    share_equal: float
    days: int = Field(description="earlier days with a known value by the same model")
    since: date = Field(description="the first of them")
    other_model_days: int = Field(description="known days left out, because another model made them")


class WindowVariable(Answer):
    """One variable of the window at the cell: bilinear between the four nodes around it."""

    name: str
    unit: str
    values: list[float | None]
    kinds: list[KindName] = Field(description="what stands behind each day")
    nearest_gauge: str | None = Field(description="of rain, on the last day: the reporting gauge nearest by")
    nearest_gauge_km: float | None
    withheld: str | None = Field(description="why the values are not shown, where they are not")


class Window(Answer):
    """The days behind the layer, oldest first. Levels are listed where a reservoir is linked."""

    days: list[date]
    variables: list[WindowVariable]


class Factor(Answer):
    """A static factor of the cell, with the range that the model was trained on."""

    name: str
    unit: str
    value: float | None
    category: str | None
    minimum: float | None
    maximum: float | None
    outside_range: bool | None = Field(
        description="or a category that the model does not know; null: missing"
    )


class PartsSaid(Answer):
    """Shares of the index by what makes them; null where that plays no part here."""

    terrain: float
    rain: float | None
    reservoir: float | None


class ChangeSaid(Answer):
    """What changed since the layer of the day before."""

    since: date
    layer: str
    before: float
    change: float
    parts: PartsSaid | None = Field(
        description="they sum to the change but for rounding; null where they cannot be told"
    )
    says: str | None


class Reasons(Answer):
    """Shapley values of rain and reservoir under the layer's model: shares of an index, not causes."""

    published: float
    explained: float = Field(description="terrain + rain + reservoir; the published value is stored in steps")
    agrees: bool
    says: str | None
    parts: PartsSaid
    reference: str
    change: ChangeSaid | None
    change_missing: Told | None = Field(description="no_layer_before or unknown_before")


class PointAnswer(Answer):
    """One place: what the map says there, since when, and why."""

    model_config = shown_as(POINT)

    lon: float
    lat: float
    where: Where
    layer: LayerSaid
    value: Value
    uncertainty: UncertaintySaid | None = Field(
        description="null where the model has no ensemble, or the value is unknown"
    )
    probability: ProbabilitySaid | None = Field(
        description="null where the model states no event rate, or the value is unknown"
    )
    forecast_spread: ForecastSpread | None = Field(
        description="null for a nowcast, for a forecast of too few members, or where the value is unknown"
    )
    past: Past
    rank: Rank | None
    window: Window | None
    window_missing: Told | None
    factors: list[Factor]
    reasons: Reasons | None
    reasons_missing: Told | None = Field(
        description="unknown_value, no_bundle, other_bundle, inputs_changed, no_state or forecast"
    )
    note: str
