"""Small patches in memory that a network can learn, or not: what training is tried on."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from service.detection.bands import Radiometry
from trainer.detection.data import Elevation, Patch
from trainer.detection.fit import FitSettings, FittedDetector, fit_detector

BANDS = ("B03", "B04", "B08", "slope")
# A network of 8,000 weights: an epoch of 16 patches takes a tenth of a second.
TINY = FitSettings(
    model="unet", base=2, epochs=4, batch=4, learning_rate=0.01, average=0.9, patience=None, seed=3
)


@dataclass(eq=False)
class MadePatches:
    """Patches in memory. A landslide is where the near infrared fell and the slope is steep."""

    patches: list[Patch]
    name: str = "made patches"
    bands: tuple[str, ...] = BANDS
    radiometry: Radiometry = "reflectance"
    pixel_size_m: float = 10.0
    synthetic: bool = True
    elevation: Elevation = "absolute"
    prefix: str = "made"
    reads: list[int] = field(default_factory=list)

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(f"{self.prefix}/{number}" for number in range(len(self.patches)))

    @property
    def regions(self) -> tuple[str | None, ...]:
        return (None,) * len(self.patches)

    @property
    def judged(self) -> tuple[bool, ...]:
        return tuple(patch.mask is not None for patch in self.patches)

    def __len__(self) -> int:
        return len(self.patches)

    def read(self, index: int) -> Patch:
        self.reads.append(index)
        return self.patches[index]


def made(count: int = 16, size: int = 32, seed: int = 0, channels: int = 4) -> MadePatches:
    random = np.random.default_rng(seed)
    return MadePatches([one_patch(random, size, channels) for _ in range(count)], prefix=f"made{seed}")


def one_patch(random: np.random.Generator, size: int, channels: int = 4) -> Patch:
    rows, columns = np.mgrid[:size, :size]
    image = random.normal(0.1, 0.02, (channels, size, size)).astype(np.float32)
    image[-1] = 20 + 10 * random.random() + random.normal(0, 2, (size, size))
    mask = np.zeros((size, size), np.uint8)
    for steep in (True, False):  # bare and flat is a field, and no landslide
        row, column = random.integers(6, size - 6, 2)
        blob = (rows - row) ** 2 + (columns - column) ** 2 < random.integers(9, 30)
        image[-2][blob] -= 0.1
        image[-1][blob] = 38 if steep else 3
        mask[blob] = 1 if steep else 0
    return Patch(image, mask)


def fitted(folder: Path, settings: FitSettings = TINY, count: int = 8) -> FittedDetector:
    train, valid = made(count), made(4, seed=1)
    return fit_detector(train, range(count), valid, range(4), settings, folder)
