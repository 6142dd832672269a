"""Warning levels as answers give them: decided by the service with a layer, only shown here.

A level that is not known is null, and so is one of a model that may not warn: neither is green.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import Field

from exporters.layer import LEVEL_LABELS, Layer, LayerStatus, ZoneWarning
from service.api.models import Answer, Told
from service.api.site import Site
from service.areas import REGION_NAME

LevelNumber = Annotated[
    int | None,
    Field(ge=0, le=3, description="0 green, 1 yellow, 2 orange, 3 red; null: not known, which is not green"),
]


class Level(Answer):
    """The level of a zone, and what it was decided by."""

    zone: str = Field(description="the zone's id; empty for the whole region")
    name: str
    level: LevelNumber
    label: str | None = Field(description="green, yellow, orange, red; null where not known")
    previous: LevelNumber = Field(description="the level before, of the nowcast that it was decided after")
    rule: str = Field(description="in words, with the thresholds")
    numbers: dict[str, float | None] = Field(description="what the rule went by; null where unknown")
    reference_share: float | None = Field(description="share of high and very high before the rise")
    calm_days: int = Field(description="days in a row that spoke for less")
    unconfirmed: bool = Field(description="it rests on readings that a check doubts")
    decided_at: datetime


class LevelsOfLayer(Answer):
    """The levels that were decided with one layer, the highest first; unknown ones before green ones."""

    layer: str
    day: date
    lead: int = Field(description="days ahead: 0 is a nowcast, 1 and more a forecast")
    issued_at: datetime
    status: LayerStatus
    unconfirmed: bool
    synthetic: bool
    may_warn: bool = Field(description="whether the model passed the tests that let it raise warnings")
    levels: list[Level]
    levels_missing: Told | None = Field(description="may_not_warn or not_decided; null where levels were")


class Exercise(Answer):
    """A drill that runs now: no warning."""

    zone: str
    name: str
    level: int
    label: str
    started_at: datetime
    ends_at: datetime
    reason: str


def level_of(warning: ZoneWarning) -> Level:
    """Return a zone's level as answers give it."""
    return Level(**warning.model_dump(), label=warning.label)


def levels_of_layer(layer: Layer) -> LevelsOfLayer:
    """Return the levels of a layer."""
    return LevelsOfLayer(
        **layer.model_dump(include={"day", "lead", "issued_at", "status", "unconfirmed", "synthetic"}),
        layer=layer.id,
        may_warn=layer.model.may_warn,
        levels=[level_of(warning) for warning in by_gravity(layer)],
        levels_missing=levels_missing(layer),
    )


def warning_of(layer: Layer, zone: str) -> ZoneWarning | None:
    """Return what was decided for a zone with a layer; None where nothing was."""
    return next((warning for warning in layer.warnings if warning.zone == zone), None)


def by_gravity(layer: Layer) -> list[ZoneWarning]:
    """Return a layer's levels, the highest first; unknown stands before green, which it may be hiding."""
    return sorted(layer.warnings, key=lambda one: (-(0.5 if one.level is None else one.level), one.name))


def levels_missing(layer: Layer) -> Told | None:
    """Return why no level was decided with a layer; None where levels were."""
    if layer.warnings:
        return None
    if not layer.model.may_warn:
        says = "The model has not passed the tests that let it raise warnings. No level is not green."
        return Told(code="may_not_warn", says=says)
    says = (
        "No levels were decided with this layer: warnings are switched off, the region has no zones, or the "
        "layer is older than they are. No level is not green."
    )
    return Told(code="not_decided", says=says)


def exercises(site: Site) -> list[Exercise]:
    """Return the drills that run now, oldest first."""
    with site.ledger() as ledger:
        running = ledger.drills.running(site.clock())
        latest = ledger.latest() if running else None
    names = {area.zone: area.name for area in latest.areas} if latest is not None else {}
    return [
        Exercise(
            zone=drill.zone,
            name=names.get(drill.zone, drill.zone or REGION_NAME),
            level=drill.level,
            label=LEVEL_LABELS[drill.level],
            started_at=drill.started_at,
            ends_at=drill.ends_at,
            reason=drill.reason,
        )
        for drill in running
    ]
