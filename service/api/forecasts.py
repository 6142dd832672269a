"""The current forecasts, and how those of the past held."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import Field

from service.api.answers import json_answer
from service.api.examples import FORECAST_SCORES
from service.api.layer_list import LayerSummary, summary
from service.api.layers import links_of
from service.api.models import Answer, problems, shown_as
from service.api.numbers import rounded
from service.api.site import Site
from service.forecast_scores import ForecastScores, read_scores

_PROBLEMS = problems([(503, "The ledger or the archive of readings cannot be used.")])


class ForecastList(Answer):
    """The forecasts that stand now; none where the region makes none, or a nowcast caught up with them."""

    today: Annotated[date, Field(description="in the region's time zone")]
    nowcast: Annotated[str | None, Field(description="the newest nowcast, which is none of them")]
    leads: Annotated[int, Field(description="for how many days ahead the settings ask; 0: none are made")]
    forecasts: Annotated[list[LayerSummary], Field(description="by lead, at most one a lead and a day")]


class RainSaid(Answer):
    """Forecast rain, uncorrected, against what came, on wet days of `wet_mm` and more (Wilks 2011, 8.2)."""

    ahead: int = Field(description="days after the issue's own day")
    days: int = Field(description="days on which there was something to compare")
    pairs: int = Field(description="places and days")
    hits: int
    misses: int
    false_alarms: int
    forecast_mm: float = Field(description="mean over pairs")
    observed_mm: float
    hit_rate: float | None = Field(description="hits of hits and misses; null where nothing was wet")
    false_alarm_ratio: float | None = Field(description="false alarms of all that was forecast as wet")
    bias: float | None = Field(description="forecast over measured rain; 1 is without bias")
    factor: float | None = Field(description="what rain is multiplied by now; null: too few days to tell")


class AreaSaid(Answer):
    """High and very high area of forecasts against the nowcasts of the same days, by the same model."""

    lead: int
    days: int
    forecast_ratio: float = Field(description="mean share of the known cells")
    nowcast_ratio: float
    bias: float | None = Field(description="forecast over nowcast; null where nowcasts had none")


class Scores(Answer):
    """How forecasts of one feed, and the layers made from them, held from `since` to `until`."""

    feed: str
    made_at: datetime
    since: date
    until: date
    wet_mm: float
    rain: list[RainSaid]
    areas: list[AreaSaid]


class ScoresAnswer(Answer):
    """The scores that the last run of forecasts measured."""

    model_config = shown_as(FORECAST_SCORES)

    scores: Scores | None = Field(description="null before the first run of forecasts")


def routes(site: Site) -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["forecasts"])

    @router.api_route(
        "/forecasts",
        methods=["GET", "HEAD"],
        response_model=ForecastList,
        responses=_PROBLEMS,
        summary="The current forecasts by lead",
    )
    def forecasts(request: Request) -> Response:
        """Of each lead the newest, as long as its day has not passed and no nowcast of a later day stands.

        Past forecasts are kept: /layers?lead=1 lists them.
        """
        found = site.forecasts()
        with site.ledger() as ledger:
            latest = ledger.latest()
        address = site.address(request)
        answer = ForecastList(
            today=site.today,
            nowcast=latest.id if latest is not None else None,
            leads=site.settings.forecast.leads,
            forecasts=[summary(layer, links_of(site, layer, address)) for layer in found],
        )
        return json_answer(request, answer)

    @router.api_route(
        "/forecasts/scores",
        methods=["GET", "HEAD"],
        response_model=ScoresAnswer,
        responses=_PROBLEMS,
        summary="How past forecasts held, by lead",
    )
    def scores(request: Request) -> Response:
        """Rain against what gauges and satellites brought later, and area against the nowcast of the day."""
        with site.ledger() as ledger:
            found = read_scores(ledger)
        return json_answer(request, ScoresAnswer(scores=_said(found) if found is not None else None))

    return router


def _said(found: ForecastScores) -> Scores:
    return Scores(
        feed=found.feed,
        made_at=found.made_at,
        since=found.since,
        until=found.until,
        wet_mm=found.wet_mm,
        rain=[
            RainSaid(
                **score.model_dump(),
                hit_rate=rounded(score.hit_rate),
                false_alarm_ratio=rounded(score.false_alarm_ratio),
                bias=rounded(score.bias),
            )
            for score in found.rain
        ],
        areas=[AreaSaid(**score.model_dump(), bias=rounded(score.bias)) for score in found.areas],
    )
