"""Settings of forecast layers."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Self

from pydantic import Field, model_validator

from service.settings_base import Hours, Positive, Section, Slug


class ForecastSettings(Section):
    """Layers for the days to come."""

    leads: Annotated[int, Field(ge=0, le=7)] = 0  # layers for so many days to come; 0: none
    feed: Slug | None = None  # the feed of rain forecasts; default: the only one there is
    max_age_hours: Hours = timedelta(hours=24)  # an issue older than this makes no layer
    members_at_most: Annotated[int, Field(ge=1)] = 51  # through the model, evenly chosen; each costs a run
    # The bias of the rain is measured, lead by lead, on the issues of so many days back, and corrected once
    # so many of the days that had rain, or a forecast of it, could be compared with what came.
    bias_days: Annotated[int, Field(ge=1, le=366)] = 90
    bias_min_days: Annotated[int, Field(ge=1, le=366)] = 20
    factor_min: Annotated[float, Field(gt=0, le=1)] = 0.5  # of the correction: a few storms prove no more
    factor_max: Annotated[float, Field(ge=1)] = 2.0
    wet_mm: Positive = 10.0  # a day with so much rain counts as wet for the scores

    @model_validator(mode="after")
    def _days_agree(self) -> Self:
        if self.bias_min_days > self.bias_days:
            raise ValueError(
                f"forecast.bias_min_days = {self.bias_min_days} can never be reached in forecast.bias_days = "
                f"{self.bias_days}"
            )
        return self
