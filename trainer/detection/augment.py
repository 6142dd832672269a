"""Augmentation: the eight turns and mirrors of the square, and brightness; the mask moves along.

All bands are scalars (slope is an angle of steepness, elevation a height), so turning the ground turns none
of their values. Brightness is for reflectance only: of scaled values nobody knows where dark is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from service.detection.bands import TERRAIN, Radiometry
from service.errors import InputError
from trainer.detection.data import Image, Mask

SYMMETRIES = 8
_Array = TypeVar("_Array", Image, Mask)


def turned(array: _Array, symmetry: int) -> _Array:
    """Return (..., H, W) under one of the eight symmetries, 0 to 7, as in `trainer.fit_augment.turn`.

    First a mirror image, east for west, from 4 on; then as many quarter turns counterclockwise as the
    remainder by 4.
    """
    mirrored, quarters = divmod(symmetry, 4)
    if mirrored not in (0, 1):
        raise ValueError(f"a symmetry is 0 to {SYMMETRIES - 1}, not {symmetry}")
    flipped = array[..., ::-1] if mirrored else array
    return np.ascontiguousarray(np.rot90(flipped, quarters, axes=(-2, -1)))


def turned_back(array: _Array, symmetry: int) -> _Array:
    """Undo `turned`: what was predicted of a turned patch, laid back on the patch."""
    mirrored, quarters = divmod(symmetry, 4)
    straight = np.rot90(array, -quarters, axes=(-2, -1))
    return np.ascontiguousarray(straight[..., ::-1] if mirrored else straight)


def augment(image: Image, mask: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
    """Return image (C, H, W) and mask (H, W) under the same random symmetry."""
    symmetry = int(rng.integers(SYMMETRIES))
    return turned(image, symmetry), turned(mask, symmetry)


@dataclass(frozen=True)
class Augmentation:
    """Turns, and brightness of each optical band by itself; for a set of these bands."""

    bands: tuple[str, ...]
    radiometry: Radiometry
    brightness: float = 0.0  # standard deviation of the logarithm of a band's factor; 0.05 is 5 %

    def __post_init__(self) -> None:
        if self.brightness < 0:
            raise InputError(f"brightness is {self.brightness}; 0 or more is wanted")
        if self.brightness and self.radiometry != "reflectance":
            raise InputError(
                f"brightness cannot be changed in {self.radiometry} values: they are no reflectance"
            )

    def __call__(self, image: Image, mask: Mask, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Return image (C, H, W) and mask (H, W), changed."""
        image, mask = augment(image, mask, rng)
        if self.brightness:
            image = image * self._factors(rng)[:, None, None]
        return image, mask

    def _factors(self, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        factors = np.exp(rng.normal(0.0, self.brightness, len(self.bands)))
        return np.where(_is_terrain(self.bands), 1.0, factors).astype(np.float32)


def _is_terrain(bands: Sequence[str]) -> npt.NDArray[np.bool_]:
    return np.array([name in TERRAIN for name in bands])
