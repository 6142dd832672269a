"""What a detector says of itself: detector.json beside its ONNX graph.

    detector.json    this manifest
    model.onnx       patches float32 (n, C, P, P), bands in the manifest's order and units, NaN where unknown
                     -> probability float32 (n, 1, P, P), 0 to 1; scaling to the training statistics is inside
    card.md          for people

A detector is data, as a bundle is: no pickle, no code, no external data, no path outside its folder.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from service.detection.bands import BY_NAME, Radiometry

MANIFEST, MODEL, CARD = "detector.json", "model.onnx", "card.md"
SCHEMA_VERSION = 1


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class BandStatistics(_Part):
    """A band as the model was given it: mean and standard deviation over the training part, in its unit."""

    name: str
    mean: float
    std: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.name not in BY_NAME:
            raise ValueError(f"{self.name!r} is no band; known are {', '.join(BY_NAME)}")
        return self


class DetectorScores(_Part):
    """Pixel scores on data that neither training nor threshold saw."""

    data: str  # in words: which dataset, which split
    patches: int
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


class DetectorManifest(_Part):
    """detector.json."""

    schema_version: Literal[1] = 1
    name: str
    version: str
    created: datetime
    architecture: str  # such as "unet resnet34"
    radiometry: Radiometry
    bands: Annotated[tuple[BandStatistics, ...], Field(min_length=1)]  # in the order of the graph's input
    pixel_size_m: Annotated[float, Field(gt=0)] = 10.0
    patch: Annotated[int, Field(ge=32)] = 128  # P: cells along one side
    threshold: Annotated[float, Field(gt=0, lt=1)]  # of the probability
    threshold_chosen_on: str  # such as "validation part of ..., F1"
    trained_on: str  # in words
    synthetic: bool = False  # trained on made-up landslides: never to be taken for more
    pretrained: str  # "from scratch", or which weights the encoder began with
    data_digest: str
    scores: DetectorScores | None = None
    test_time_augmentation: bool = False  # mean over the four turns and their mirrors, at inference
    files: dict[str, str]  # name -> SHA-256

    @model_validator(mode="after")
    def _once(self) -> Self:
        names = [band.name for band in self.bands]
        if len(set(names)) < len(names):
            raise ValueError("bands names one twice")
        return self
