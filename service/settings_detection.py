"""Settings of detection: scenes that a folder receives, and the detector that looks at them."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from service.settings_base import FilePath, Section


class DetectionSettings(Section):
    """Landslides seen from space. `colluvium detect` looks at one scene; the daemon at each that arrives."""

    detector: FilePath  # folder with detector.json
    scenes: FilePath | None = None  # folder that is watched: SAFE folders, or folders of band GeoTIFFs
    schedule: str = "45 * * * *"  # cron, in the region's time zone; when that folder is looked at
    dem: FilePath | None = None  # default: the region's
    settle_minutes: Annotated[float, Field(ge=0)] = 5.0  # a scene that still grows is left for the next round
    # Band -> what stands for it where a scene has none: "mean" (of the training part) or another band's name.
    missing: dict[str, str] = Field(default_factory=dict)
    threshold: Annotated[float | None, Field(gt=0, lt=1)] = None  # default: the detector's
    min_area_m2: Annotated[float, Field(ge=0)] = 500.0  # smaller outlines are not listed
    max_unseen: Annotated[float, Field(gt=0, le=1)] = 0.9  # a scene with more cloud than this is not used
    max_window_days: Annotated[int, Field(ge=0, le=60)] = (
        3  # of an event: a wider span is not held against maps
    )

    @model_validator(mode="after")
    def _not_itself(self) -> Self:
        for band, rule in self.missing.items():
            if band == rule:
                raise ValueError(f'missing.{band} names the band itself; write "mean" or another band')
        return self
