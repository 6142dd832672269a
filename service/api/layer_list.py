"""What the list of layers says of each, and the table of class areas."""

from __future__ import annotations

import csv
import io
from datetime import date, datetime
from typing import Annotated

from pydantic import BaseModel, Field

from exporters.forecasts import issue_day
from exporters.geopackage import CHANGE_DAYS
from exporters.layer import ForecastBasis, Layer, LayerStatus, ModelReference


class AreaOfClass(BaseModel):
    """One class in the whole region."""

    area_m2: float
    ratio: Annotated[float | None, Field(description="of the cells with a known class")]
    change_m2: Annotated[
        dict[str, float],
        Field(description="growth by days back, on cells known on both days", examples=[{"1": 900.0}]),
    ]


class LayerSummary(BaseModel):
    """A layer in short. Areas are of the whole region, in square metres."""

    id: Annotated[str, Field(examples=["toy-2026-03-05-l0-r1"])]
    day: date
    lead: Annotated[int, Field(description="days ahead: 0 is a nowcast, 1 and more a forecast")]
    issue_day: Annotated[date, Field(description="`day` less `lead`")]
    revision: int
    status: LayerStatus
    unconfirmed: Annotated[bool, Field(description="rests on readings that nobody confirmed; see `notes`")]
    issued_at: datetime
    data_until: date
    valid_from: datetime
    valid_to: datetime
    coverage: float
    cells: int
    model: ModelReference
    notes: list[str]
    synthetic: bool
    forecast: Annotated[ForecastBasis | None, Field(description="what a forecast rests on")]
    areas: Annotated[dict[str, AreaOfClass], Field(description="by class; empty for a withdrawn layer")]
    unknown_m2: float | None
    links: dict[str, str]


class LayerList(BaseModel):
    """A page of layers."""

    layers: list[LayerSummary]
    next: Annotated[str | None, Field(description="the next page, if there is one")]


def summary(layer: Layer, links: dict[str, str]) -> LayerSummary:
    """Return a layer in short; values of a withdrawn layer stay out."""
    withdrawn = layer.status == LayerStatus.WITHDRAWN
    areas = [] if withdrawn else [area for area in layer.areas if area.zone == ""]
    said = layer.model_dump(
        include=set(LayerSummary.model_fields) - {"areas", "links", "unknown_m2", "issue_day"}
    )
    return LayerSummary(
        **said,
        issue_day=issue_day(layer),
        areas={
            area.label: AreaOfClass(
                area_m2=area.area_m2,
                ratio=area.ratio,
                change_m2={str(days): change for days, change in area.change_m2.items()},
            )
            for area in areas
        },
        unknown_m2=areas[0].unknown_m2 if areas else None,
        links=links,
    )


def areas_csv(layer: Layer) -> str:
    """Return class areas by zone as CSV (RFC 4180); an unknown number is an empty field, never zero."""
    columns = [
        "layer",
        "day",
        "status",
        "synthetic",
        "zone",
        "name",
        "class",
        "area_m2",
        "ratio",
        "unknown_m2",
    ]
    for days in CHANGE_DAYS:
        columns += [f"change_{days}d_m2", f"change_{days}d_ratio"]
    columns += ["lead", "unconfirmed"]
    text = io.StringIO()
    table = csv.writer(text)
    table.writerow(columns)
    same = [layer.id, layer.day.isoformat(), layer.status.value, "yes" if layer.synthetic else "no"]
    for area in layer.areas:
        row = [area.zone, area.name, area.label, area.area_m2, area.ratio, area.unknown_m2]
        for days in CHANGE_DAYS:
            row += [area.change_m2.get(days), area.change_ratio.get(days)]
        row += [layer.lead, "yes" if layer.unconfirmed else "no"]
        table.writerow(same + ["" if value is None else value for value in row])
    return text.getvalue()
