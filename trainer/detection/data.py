"""Patches by band name: what every set of patches offers, whatever format it is stored in.

    PatchSet              bands, radiometry, ids, regions, and read(i); nothing holds more than one patch
    join(sets)            several parts as one
    relative_elevation    the same set, elevation less its patch's mean
    facts(patches)        one pass over everything: counts, and whether every file can be read

`trainer.detection.landslide4sense` and `trainer.detection.sen12` open sets from disk.
"""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from service.detection.bands import BY_NAME, Radiometry
from service.errors import InputError
from service.progress import ProgressCallback

Image = npt.NDArray[np.float32]  # (C, H, W), row 0 north, column 0 west where the set knows its north
Mask = npt.NDArray[np.uint8]  # (H, W), 1 landslide, 0 none
# absolute: metres above sea level, close to a position. relative: less the mean of its patch.
Elevation = Literal["absolute", "relative"]


@dataclass(frozen=True)
class Patch:
    """One patch: bands in the order of its set, NaN where unknown; no mask where none was released."""

    image: Image
    mask: Mask | None


class PatchSet(Protocol):
    """Patches that are read one at a time. Pickles, so that workers may read."""

    @property
    def name(self) -> str:
        """What it is, in words, such as "TrainData of landslide4sense"."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names of the planes, in the order of `Patch.image`."""

    @property
    def radiometry(self) -> Radiometry:
        """What the optical planes are: reflectance, or the published patches' own scale."""

    @property
    def pixel_size_m(self) -> float:
        """Side of a pixel on the ground."""

    @property
    def ids(self) -> tuple[str, ...]:
        """One name per patch, each once, such as "train/17"."""

    @property
    def regions(self) -> tuple[str | None, ...]:
        """Where each patch lies, None where nobody said."""

    @property
    def synthetic(self) -> bool:
        """Whether its landslides are made up."""

    @property
    def judged(self) -> tuple[bool, ...]:
        """Per patch, whether it has a mask: without one it can be predicted and not judged."""

    @property
    def elevation(self) -> Elevation:
        """How the band elevation is to be understood."""

    def __len__(self) -> int:
        """Return the number of patches."""

    def read(self, index: int) -> Patch:
        """Return one patch, read now. Raises InputError, by file, where it cannot be used."""


def check_bands(wanted: Sequence[str], there: Sequence[str], what: str) -> tuple[str, ...]:
    """Return the wanted names. Raises InputError for one that is unknown, named twice, or not there."""
    if not wanted:
        raise InputError(f"no band of {what} was asked for; it has {', '.join(there)}")
    for name in wanted:
        if name not in BY_NAME:
            raise InputError(f"{name!r} is no band; known are {', '.join(BY_NAME)}")
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(
            f"{what} has no {', '.join(missing)}; it has {', '.join(there)}. Ask for those, or take a set "
            "that holds the band"
        )
    if len(set(wanted)) < len(wanted):
        raise InputError(f"a band of {what} was asked for twice: {', '.join(wanted)}")
    return tuple(wanted)


@dataclass(frozen=True)
class Joined:
    """Several sets of the same bands, one behind the other."""

    parts: tuple[PatchSet, ...]

    @property
    def name(self) -> str:
        """Return the names of the parts."""
        return " + ".join(part.name for part in self.parts)

    @property
    def bands(self) -> tuple[str, ...]:
        """Return the bands, which all parts share."""
        return self.parts[0].bands

    @property
    def radiometry(self) -> Radiometry:
        """Return the radiometry, which all parts share."""
        return self.parts[0].radiometry

    @property
    def pixel_size_m(self) -> float:
        """Return the pixel size, which all parts share."""
        return self.parts[0].pixel_size_m

    @property
    def elevation(self) -> Elevation:
        """Return how elevation is given, which all parts share."""
        return self.parts[0].elevation

    @property
    def ids(self) -> tuple[str, ...]:
        """Return the names of all patches."""
        return tuple(name for part in self.parts for name in part.ids)

    @property
    def regions(self) -> tuple[str | None, ...]:
        """Return the regions of all patches."""
        return tuple(region for part in self.parts for region in part.regions)

    @property
    def judged(self) -> tuple[bool, ...]:
        """Return which patches have masks."""
        return tuple(one for part in self.parts for one in part.judged)

    @property
    def synthetic(self) -> bool:
        """Tell whether any part is made up."""
        return any(part.synthetic for part in self.parts)

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def read(self, index: int) -> Patch:
        """Return one patch of the part that holds it."""
        ends = list(accumulate(len(part) for part in self.parts))
        if not 0 <= index < ends[-1]:
            raise IndexError(index)
        which = bisect.bisect_right(ends, index)
        return self.parts[which].read(index - (ends[which - 1] if which else 0))


def join(parts: Sequence[PatchSet]) -> PatchSet:
    """Return several sets as one. Raises InputError where their bands, scales or names do not go together."""
    if not parts:
        raise InputError("nothing to join: no set of patches was given")
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for part in parts[1:]:
        for attribute in ("bands", "radiometry", "pixel_size_m", "elevation"):
            mine, theirs = getattr(first, attribute), getattr(part, attribute)
            if mine != theirs:
                raise InputError(
                    f"{first.name} and {part.name} cannot be one set: {attribute} is {mine} and {theirs}"
                )
    joined = Joined(tuple(parts))
    if len(set(joined.ids)) < len(joined):
        raise InputError(f"{joined.name} cannot be one set: patches of the same name are in both")
    return joined


@dataclass(frozen=True)
class _Relative:
    """A set whose elevation is given relative to its patch's mean."""

    inner: PatchSet

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def bands(self) -> tuple[str, ...]:
        return self.inner.bands

    @property
    def radiometry(self) -> Radiometry:
        return self.inner.radiometry

    @property
    def pixel_size_m(self) -> float:
        return self.inner.pixel_size_m

    @property
    def ids(self) -> tuple[str, ...]:
        return self.inner.ids

    @property
    def regions(self) -> tuple[str | None, ...]:
        return self.inner.regions

    @property
    def synthetic(self) -> bool:
        return self.inner.synthetic

    @property
    def judged(self) -> tuple[bool, ...]:
        return self.inner.judged

    @property
    def elevation(self) -> Elevation:
        return "relative"

    def __len__(self) -> int:
        return len(self.inner)

    def read(self, index: int) -> Patch:
        patch = self.inner.read(index)
        image = patch.image.copy()
        plane = image[self.bands.index("elevation")]
        known = np.isfinite(plane)
        if known.any():
            plane -= np.float32(plane[known].mean(dtype=np.float64))
        return Patch(image, patch.mask)


def relative_elevation(patches: PatchSet) -> PatchSet:
    """Return the set with elevation less its patch's mean; its `elevation` says "relative".

    Absolute elevation is close to a position: a network can learn the valley instead of the landslide.
    Whoever predicts with a network trained so must subtract the mean of each patch too.
    Raises InputError for a set without that band.
    """
    check_bands(["elevation"], patches.bands, patches.name)
    return patches if patches.elevation == "relative" else _Relative(patches)


@dataclass(frozen=True)
class SetFacts:
    """What one pass over a set found."""

    patches: int
    judged: int  # with a mask
    with_landslides: int
    pixels: int
    judged_pixels: int
    landslide_pixels: int
    unknown: dict[str, float]  # band -> share of its pixels that is NaN

    @property
    def landslide_share(self) -> float | None:
        """Return the share of judged pixels on landslides; None where nothing was judged."""
        return self.landslide_pixels / self.judged_pixels if self.judged_pixels else None


def facts(patches: PatchSet, progress: ProgressCallback) -> SetFacts:
    """Read every patch once and return the counts. Raises InputError for the first that cannot be used."""
    unknown = np.zeros(len(patches.bands), np.int64)
    pixels = judged = judged_pixels = with_landslides = landslide = 0
    for index in range(len(patches)):
        patch = patches.read(index)
        unknown += np.isnan(patch.image).sum(axis=(1, 2))
        pixels += patch.image[0].size
        if patch.mask is not None:
            here = int(patch.mask.sum())
            judged += 1
            judged_pixels += patch.mask.size
            landslide += here
            with_landslides += here > 0
        progress(index + 1, len(patches))
    shares = {name: float(count / max(pixels, 1)) for name, count in zip(patches.bands, unknown, strict=True)}
    return SetFacts(len(patches), judged, with_landslides, pixels, judged_pixels, landslide, shares)
