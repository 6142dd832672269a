"""results.json: what a comparison of detectors found, with its types; tables and report are made from it."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from service.errors import InputError
from service.files import write_json

RESULTS = "results.json"
NOT_COMPARABLE = (
    "The paper's figures are of its own split (959 patches to train, 2,840 to test, all from the 3,799 of "
    "TrainData; its readme does not state which); ours are of the split named above. The official split is "
    "3,799 to train, 245 to validate and 800 to test. Figures of different splits stand beside each other; "
    "they are not comparable across."
)
NOT_STATED = (
    "which patches are the 959 and which the 2,840",
    "the number of epochs, the batch size, the learning rate and the loss",
    "the augmentation, if any",
    "the seeds and how many times each model was trained; no interval is given",
    "on which patches checkpoint and threshold were chosen: the public code keeps the checkpoint that does "
    "best on the patches it was trained on",
    "whether F1 is pooled over pixels or a mean over batches or patches",
    "whether the encoders began with ImageNet weights, and how three channels became 14",
    "which encoder its DeepLabV3+ has (ResNet34 here)",
    "whether spectral indices were added to the 14 layers, and how layers were scaled",
)


class _Value(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(_Value):
    """Mean over seeds, Student's 95 % interval (two seeds or more), and each seed's value."""

    mean: float | None
    low: float | None
    high: float | None
    seeds: dict[str, float | None]


class Range(_Value):
    """95 % interval over patches drawn with replacement, of one seed."""

    low: float | None
    high: float | None


class SizeResult(_Value):
    """Mapped landslides of one size."""

    words: str
    objects: int
    recall: Estimate


class ObjectResult(_Value):
    """Landslides as objects."""

    hit_share: float
    least_false_m2: float
    objects: int
    unseen: int
    recall: Estimate
    by_size: tuple[SizeResult, ...]
    false_per_km2: Estimate
    judged_km2: float


class RegionResult(_Value):
    """The patches of one region in the test part."""

    patches: int
    scores: dict[str, Estimate]
    object_recall: Estimate


class SeedRun(_Value):
    """One training: with the regions split, one of several of its seed."""

    name: str  # its folder, relative to the comparison's
    seed: str
    part: str  # "" or the region that was held out
    threshold: float
    chosen_on: str
    epochs: int
    best_epoch: int
    seconds: float


class ModelResult(_Value):
    """One model in one split."""

    title: str
    pretrained: str
    parameters: int
    scores: dict[str, Estimate]  # pooled over the pixels of the test part
    over_patches: dict[str, Range]  # of the first seed
    patch_means: dict[str, Estimate]  # mean over the patches where defined; not comparable with `scores`
    objects: ObjectResult
    regions: dict[str, RegionResult]
    runs: tuple[SeedRun, ...]


class PartSizes(_Value):
    """Patches of one division."""

    part: str
    train: int
    valid: int
    test: int


class SplitResult(_Value):
    """All models in one split."""

    name: str
    words: str
    transfer: bool  # each region was judged by a model that never saw it
    parts: tuple[PartSizes, ...]
    models: dict[str, ModelResult]
    unfinished: tuple[str, ...]  # models of which a training is still to come


class PaperRow(_Value):
    """One line of the paper's table."""

    title: str
    f1: float
    precision: float
    recall: float


class DataResult(_Value):
    """What was learned from."""

    words: str
    digest: str
    bands: tuple[str, ...]
    radiometry: str
    pixel_size_m: float
    synthetic: bool
    notes: tuple[str, ...] = ()


class Results(_Value):
    """results.json"""

    schema_version: Literal[1] = 1
    command: str
    version: str
    made: datetime
    complete: bool
    finished_runs: int
    planned_runs: int
    data: DataResult
    protocol: tuple[tuple[str, str], ...]  # what all models had in common: name, words
    splits: tuple[SplitResult, ...]
    skipped: dict[str, str]  # split -> why it could not be made
    paper: dict[str, PaperRow]
    not_comparable: str = NOT_COMPARABLE
    not_stated: tuple[str, ...] = NOT_STATED
    environment: dict[str, str]


def write_results(results: Results, folder: Path) -> Path:
    """Write results.json; a reader never sees half of it."""
    path = folder / RESULTS
    write_json(path, results.model_dump(mode="json"))
    return path


def read_results(folder: Path) -> Results:
    """Read results.json. Raises InputError where it is not there or not what a comparison writes."""
    path = folder / RESULTS
    try:
        return Results.model_validate_json(path.read_text("utf-8"))
    except (OSError, ValidationError) as error:
        raise InputError(f"{path} cannot be read: {error}; run colluvium detector compare again") from error
