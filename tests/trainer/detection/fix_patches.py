"""Folders of patches as they are published, small, and sets held in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from service.detection.bands import LANDSLIDE4SENSE, Radiometry
from trainer.detection.data import Elevation, Patch

FOLDERS = {"train": "TrainData", "valid": "ValidData", "test": "TestData"}


def quiet(done: int, total: int) -> None:
    """Show nothing."""


def image_of(seed: int, side: int = 128) -> npt.NDArray[np.float64]:
    """Return planes as the files hold them: (side, side, 14), plane k about k."""
    return np.random.default_rng(seed).normal(0, 0.1, (side, side, 14)) + np.arange(14)


def write_h5(path: Path, name: str, values: npt.NDArray[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        file[name] = values
    return path


def write_part(root: Path, part: str, numbers: Iterable[int], *, masks: bool = True, side: int = 128) -> Path:
    """Write TrainData, ValidData or TestData; the upper left quarter of every mask slid."""
    place = root / FOLDERS[part]
    for number in numbers:
        write_h5(place / "img" / f"image_{number}.h5", "img", image_of(number, side))
        if masks:
            mask = np.zeros((side, side), np.uint8)
            mask[: side // 2, : side // 2] = 1
            write_h5(place / "mask" / f"mask_{number}.h5", "mask", mask)
    return place


@dataclass(frozen=True)
class HeldPatches:
    """A set in memory."""

    images: npt.NDArray[np.float32]  # (n, C, H, W)
    masks: npt.NDArray[np.uint8]  # (n, H, W)
    bands: tuple[str, ...]
    ids: tuple[str, ...]
    regions: tuple[str | None, ...]
    judged: tuple[bool, ...]
    name: str = "held"
    radiometry: Radiometry = "reflectance"
    pixel_size_m: float = 10.0
    synthetic: bool = True
    elevation: Elevation = "absolute"
    reads: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)

    def read(self, index: int) -> Patch:
        self.reads.append(index)
        return Patch(self.images[index], self.masks[index] if self.judged[index] else None)


def held(
    count: int = 8,
    *,
    bands: Sequence[str] = LANDSLIDE4SENSE,
    part: str = "train",
    regions: Sequence[str | None] = (None,),
    side: int = 4,
    seed: int = 0,
    judged: bool = True,
    radiometry: Radiometry = "reflectance",
) -> HeldPatches:
    """Return random patches; regions take turns."""
    rng = np.random.default_rng(seed)
    return HeldPatches(
        images=rng.normal(5, 2, (count, len(bands), side, side)).astype(np.float32),
        masks=rng.integers(0, 2, (count, side, side)).astype(np.uint8),
        bands=tuple(bands),
        ids=tuple(f"{part}/{number}" for number in range(1, count + 1)),
        regions=tuple(regions[number % len(regions)] for number in range(count)),
        judged=(judged,) * count,
        radiometry=radiometry,
    )
