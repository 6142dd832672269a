"""One detector from a folder of patches: divide, train, choose the threshold, judge, export."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Literal

from service.detection.manifest import DetectorManifest
from service.errors import UsageError
from service.progress import ProgressCallback
from trainer.detection.compare_data import (
    Divided,
    Division,
    divide,
    open_data,
    patch_digests,
    without_copies,
)
from trainer.detection.data import PatchSet
from trainer.detection.ensemble import Combine, fit_ensemble
from trainer.detection.export import Told, export_detector
from trainer.detection.fit import FitSettings, FittedDetector, fit_detector
from trainer.detection.fit_validation import score
from trainer.detection.splits import split_regions

SplitName = Literal["official", "reference"]
DETECTOR, RUN = "detector", "training"


@dataclass(frozen=True)
class Request:
    """What is to be made of which patches."""

    data: Path
    bands: tuple[str, ...]
    settings: FitSettings
    split: SplitName = "official"
    without: str | None = None  # a region that is left out, to judge on, instead of `split`
    split_seed: int = 0
    regions_csv: Path | None = None
    members: int = 1
    combine: Combine = "mean"
    name: str = ""
    version: str = "1"
    command: str = ""


@dataclass(frozen=True)
class Trained:
    """What came of it, and where it lies."""

    manifest: DetectorManifest
    fitted: FittedDetector
    folder: Path


def train_detector(
    request: Request, out: Path, now: datetime, progress: ProgressCallback, resume: bool = False
) -> Trained:
    """Train, judge on the test part, and write `out`/detector; `out`/training holds state and history.

    Training and validation patches that are copies of test patches are left out, and counted in the notes.

    Raises UsageError where `out` holds a detector, or a training that was not to be resumed; InputError for
    patches, split or weights that cannot be used.
    """
    target = out / DETECTOR
    if target.exists():
        raise UsageError(f"{target} exists; give another --out, or move it away")
    patches = open_data(request.data, request.bands, request.regions_csv)
    digests, _ = patch_digests(request.data, patches, out / "patches.json", lambda _done, _total: None)
    divided, notes = without_copies(_divided(patches, request), digests)
    split = divided.divisions[0].split
    rules, run = request.settings, out / RUN
    if request.members > 1:
        fitted = fit_ensemble(
            patches, split.train, patches, split.valid, rules, run, progress, resume,
            members=request.members, combine=request.combine,
        )  # fmt: skip
    else:
        fitted = fit_detector(patches, split.train, patches, split.valid, rules, run, progress, resume)
    fitted = replace(fitted, notes=(*notes, *fitted.notes))
    data = f"{request.data.name}{', SYNTHETIC' if patches.synthetic else ''}"
    scores = score(
        fitted.network,
        patches,
        split.test,
        fitted.best.threshold,
        f"test part of {data}; {split.says}",
        symmetries=rules.test_time_augmentation,
    )
    told = Told(
        name=request.name or f"{rules.model}-{request.data.name}",
        version=request.version,
        created=now,
        trained_on=f"{data}; {split.says}",
        threshold_chosen_on=f"validation part ({len(split.valid)} patches), F1",
        command=request.command,
        scores=scores,
    )
    return Trained(export_detector(fitted, target, told), fitted, target)


def _divided(patches: PatchSet, request: Request) -> Divided:
    if request.without is None:
        return divide(patches, request.split, request.split_seed)
    split = split_regions(patches, request.without, seed=request.split_seed)
    return Divided(patches, (Division("regions", request.without, split),), {})
