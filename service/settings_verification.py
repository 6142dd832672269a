"""Settings of verification: when a zone's day of landslides counts as small, intermediate or large."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator

from service.settings_base import Section

_Count = Annotated[int, Field(ge=1)]


class VerificationSettings(Section):
    """`colluvium verify`. Which span of days is held against maps: detection.max_window_days."""

    # Landslides of a zone and day from which it counts as small, intermediate, large.
    event_limits: tuple[_Count, _Count, _Count] = (1, 3, 10)

    @field_validator("event_limits")
    @classmethod
    def _rising(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if not value[0] == 1 < value[1] < value[2]:
            raise ValueError(f"event_limits must begin with 1 and rise, got {list(value)}")
        return value
