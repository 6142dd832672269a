"""Settings of what wakes people: warning levels of zones, and messages in the Common Alerting Protocol."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from service.settings_base import FilePath, Section

Share = Annotated[float, Field(gt=0, le=1)]
Language = Annotated[
    str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$")
]  # RFC 5646, such as en or it-IT


class LevelRule(Section):
    """When a zone reaches a level: enough of it is high or very high, and that share has grown enough."""

    share: Share  # of high and very high among the zone's known cells
    growth: Share  # of that share, over 1 or 7 days, on the common footprint


class WarningSettings(Section):
    """Levels of zones. `colluvium alerts rehearse` says what thresholds would have done in the past."""

    enabled: bool = True
    yellow: LevelRule = LevelRule(share=0.05, growth=0.03)
    orange: LevelRule = LevelRule(share=0.10, growth=0.07)
    red: LevelRule = LevelRule(share=0.20, growth=0.15)
    # Of a level's growth: while so much of it still stands above the share before the rise, the level stays.
    keep: Annotated[float, Field(gt=0, le=1)] = 0.6
    lower_after_days: Annotated[int, Field(ge=1, le=30)] = 2  # in a row that speak for less
    max_unknown: Annotated[float, Field(ge=0, le=1)] = 0.5  # share of a zone; above it a level is not known
    # Of a zone, unknown since it rose: with more, nothing is lowered.
    max_lost: Annotated[float, Field(ge=0, le=1)] = 0.1

    @model_validator(mode="after")
    def _rising(self) -> Self:
        rules = {"yellow": self.yellow, "orange": self.orange, "red": self.red}
        for (lower, below), (higher, above) in pairwise(rules.items()):
            if above.share < below.share or above.growth < below.growth:
                raise ValueError(f"{higher} must ask for at least the share and growth that {lower} asks for")
        return self


class CapSettings(Section):
    """Messages in the Common Alerting Protocol 1.2. A model alone issues no Actual alert."""

    sender: Annotated[str, Field(pattern=r"^[^\s,<&]+$")]  # who sends, such as landslides@example.org
    sender_name: str = ""  # as people know it; default: the region's name
    status: Literal["Draft", "Test", "Actual"] = "Draft"
    actual_by: str | None = None  # who decided that these are Actual: needed for that status
    languages: Annotated[tuple[Language, ...], Field(min_length=1)] = ("en",)
    texts: FilePath | None = None  # a JSON file with the texts of further languages
    min_level: Annotated[int, Field(ge=1, le=3)] = 1
    contact: str = ""
    web: str | None = None
    polygon_points: Annotated[int, Field(ge=4, le=1_000)] = 100

    @field_validator("web")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s\"'<>\\]+", value):
            raise ValueError("must be an address that begins with http:// or https://")
        return value

    @model_validator(mode="after")
    def _a_person_stands_behind_actual(self) -> Self:
        if self.status == "Actual" and not (self.actual_by or "").strip():
            raise ValueError(
                'status = "Actual" needs actual_by = "NAME": the person who decided that these messages are '
                "for the public; without one, leave status at Draft or Test"
            )
        if len(set(self.languages)) < len(self.languages):
            raise ValueError(f"languages names one twice: {', '.join(self.languages)}")
        return self
