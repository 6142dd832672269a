"""Folders as Landslide4Sense is published, small; and a stand-in for training that remembers what it got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from service.progress import ProgressCallback
from tests.trainer.detection.fix_patches import write_part
from trainer.detection.compare import CompareSettings
from trainer.detection.compare_runs import Indices
from trainer.detection.data import PatchSet
from trainer.detection.fit import FitSettings
from trainer.detection.fit_validation import EpochScores
from trainer.detection.threshold import Chosen

SIDE = 32
NOW = datetime(2026, 5, 1, 6, tzinfo=UTC)
REGIONS = ("Hokkaido", "Kodagu", "Rasuwa")


def official_folder(root: Path, train: int = 12, valid: int = 4, test: int = 6) -> Path:
    """Write ROOT/TrainData/img/image_1.h5, ROOT/TrainData/mask/mask_1.h5 and so on: nothing else."""
    for part, count, first in (("train", train, 1), ("valid", valid, 101), ("test", test, 201)):
        write_part(root, part, range(first, first + count), side=SIDE)
    return root


def regions_csv(path: Path, folder: Path) -> Path:
    """Name a region for every patch of an official folder, in turn."""
    rows = ["id,region"]
    for part, name in (("train", "TrainData"), ("valid", "ValidData"), ("test", "TestData")):
        files = sorted((folder / name / "img").glob("*.h5"))
        rows += [
            f"{part}/{file.stem.removeprefix('image_')},{REGIONS[n % 3]}" for n, file in enumerate(files)
        ]
    path.write_text("\n".join(rows) + "\n")
    return path


class _Stub(nn.Module):
    """Says landslide in the left part of every patch; how wide depends on the seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.width = SIDE // 2 + seed

    def forward(self, patches: Tensor) -> Tensor:
        said = torch.full((len(patches), 1, *patches.shape[2:]), 0.1)
        said[..., : self.width] = 0.9
        return said


@dataclass
class Call:
    """What one training was given."""

    model: str
    seed: int
    train: frozenset[str]
    valid: frozenset[str]


@dataclass
class StandIn:
    """Fits nothing, at once; `fail_at` is the number of the call that is killed."""

    calls: list[Call] = field(default_factory=list)
    fail_at: int | None = None

    def __call__(
        self,
        train: PatchSet,
        train_indices: Indices,
        valid: PatchSet,
        valid_indices: Indices,
        settings: FitSettings,
        out: Path,
        progress: ProgressCallback,
        resume: bool,
    ) -> Any:
        assert resume
        progress(1, 2)
        if self.fail_at == len(self.calls):
            raise KeyboardInterrupt
        self.calls.append(
            Call(
                settings.model,
                settings.seed,
                frozenset(train.ids[i] for i in train_indices),
                frozenset(valid.ids[i] for i in valid_indices),
            )
        )
        return SimpleNamespace(
            network=_Stub(settings.seed),
            best=Chosen(0.5, 1.0, 1.0, 1.0),
            best_epoch=1,
            history=(EpochScores(1, 1.0, 1.0, 1.0, 0.5),),
            pretrained="from scratch",
            notes=(),
        )


def settings_of(
    models: Sequence[str] = ("resnet34", "unet"), seeds: Sequence[int] = (0, 1), **changes: Any
) -> CompareSettings:
    return CompareSettings(models=tuple(models), seeds=tuple(seeds), jobs=1, **changes)


def f1_of_width(width: int) -> float:
    """F1 of the stand-in: the mapped quarter is SIDE/2 square, the said strip SIDE high."""
    mapped = (SIDE // 2) ** 2
    hit = min(width, SIDE // 2) * SIDE // 2
    return float(2 * hit / (mapped + width * SIDE))
