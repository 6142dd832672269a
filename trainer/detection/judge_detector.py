"""An exported detector on patches with masks: the figures of what the service would run.

    patches = open_judged(path, detector.manifest, part="test", missing={"B10": "mean"})
    evaluate(detector, patches) -> Evaluation

Patches that do not fit the detector are refused: their bands, their radiometry, the size of their pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.detection.bands import BY_NAME, LANDSLIDE4SENSE
from service.detection.detector import Detector
from service.detection.manifest import DetectorManifest
from service.detection.tiling import Rows, Tiling, blended
from service.errors import InputError, UsageError
from service.progress import ProgressCallback
from trainer.detection.compare_runs import judge_patches
from trainer.detection.data import Image, PatchSet
from trainer.detection.judge import Judged
from trainer.detection.landslide4sense import Part, open_landslide4sense
from trainer.detection.sen12 import SEN12_BANDS
from trainer.detection.sen12_set import open_sen12landslides
from trainer.detection.splits import LEFT_OUT

MEAN = "mean"  # of the training part; the graph puts it where a value is unknown
_PIXEL_OFF = 0.05  # by how much pixels may differ from those that the detector learnt on


@dataclass(frozen=True)
class Fitting:
    """Patches that hold what a detector wants, and what stands for the bands that they lack."""

    patches: PatchSet
    sources: tuple[str | None, ...]  # by band of the detector: a band of the patches, None: its training mean
    substituted: dict[str, str]

    def image(self, image: Image) -> Image:
        """Return a patch's planes as the detector wants them: float32 (C, H, W)."""
        unknown = np.full(image.shape[1:], np.nan, np.float32)
        places = {name: place for place, name in enumerate(self.patches.bands)}
        return np.stack([unknown if name is None else image[places[name]] for name in self.sources])


@dataclass(frozen=True)
class Evaluation:
    """A detector's figures on a set, at its own threshold."""

    detector: DetectorManifest
    digest: str
    data: str
    synthetic: bool
    substituted: dict[str, str]
    judged: Judged
    without_mask: int  # patches that could not be judged

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before the figures."""
        said = []
        if self.detector.synthetic:
            said.append("the detector was trained on SYNTHETIC landslides")
        if self.synthetic:
            said.append("the patches are SYNTHETIC")
        if self.data.startswith("TrainData"):
            said.append(
                "these are training patches: if the detector learnt from them, the figures flatter it"
            )
        elif self.data.startswith("ValidData"):
            said.append(
                "these are validation patches: if checkpoint and threshold were chosen on them, the figures "
                "flatter the detector"
            )
        elif self._learnt_beside:
            said.append(
                "the detector learnt from other patches of this folder "
                f"({self.detector.trained_on.partition('; ')[2]}); those among these flatter it"
            )
        for band, rule in self.substituted.items():
            said.append(f"{band} is missing; {'its training mean' if rule == MEAN else rule} stands for it")
        if self.without_mask:
            said.append(f"{self.without_mask} patches have no mask and were not judged")
        return tuple(said)

    @property
    def _learnt_beside(self) -> bool:
        """Whether patches of the same folder were learnt from that may be among those judged.

        An official test part is held out whole; a region that was left out has patches in every part.
        """
        learnt_from = self.detector.trained_on.partition(";")[0].removesuffix(", SYNTHETIC")
        if self.data.startswith("TestData"):
            return LEFT_OUT in self.detector.trained_on and self.data.partition(" of ")[2] == learnt_from
        return self.data.partition(", ")[2] == learnt_from


def open_judged(
    path: Path,
    manifest: DetectorManifest,
    *,
    part: Part = "test",
    missing: Mapping[str, str] | None = None,
    regions_csv: Path | None = None,
) -> Fitting:
    """Open patches for a detector: a folder in the Landslide4Sense layout, or Sen12Landslides file or folder.

    Raises InputError where bands, radiometry or pixels do not fit, saying what would; UsageError for a rule
    that names no band.
    """
    rules = dict(missing or {})
    for band, rule in rules.items():
        if band not in BY_NAME or (rule != MEAN and rule not in BY_NAME):
            raise UsageError(f"--missing {band}={rule} names no band; known are {', '.join(BY_NAME)}")
    sen12 = path.suffix == ".nc" or (path.is_dir() and any(path.glob("*.nc")))
    has = SEN12_BANDS if sen12 else LANDSLIDE4SENSE
    wanted = tuple(band.name for band in manifest.bands)
    lacking = [name for name in wanted if name not in has and name not in rules]
    if lacking:
        raise InputError(
            f"{path} has no {', '.join(lacking)}, which {manifest.name} {manifest.version} wants; it has "
            f"{', '.join(has)}. Either say what stands for it, as --missing {lacking[0]}={MEAN} does, or "
            "take a detector trained without: colluvium detector train --bands "
            f"{','.join(name for name in wanted if name in has) or ','.join(has)}"
        )
    sources = tuple(name if name in has else _stand_in(name, rules[name], has, path) for name in wanted)
    read = tuple(dict.fromkeys(name for name in sources if name is not None))
    if not read:
        raise InputError(f"{path}: with all bands replaced by means there is nothing to look at")
    patches: PatchSet = (
        open_sen12landslides(path, read) if sen12 else open_landslide4sense(path, part, read, regions_csv)
    )
    _check(patches, manifest)
    substituted = {name: rules[name] for name in wanted if name not in has}
    return Fitting(patches, sources, substituted)


def evaluate(detector: Detector, fitting: Fitting, progress: ProgressCallback | None = None) -> Evaluation:
    """Judge a detector at its own threshold on all patches with a mask. Raises InputError where none has."""
    patches = fitting.patches
    indices = np.flatnonzero(patches.judged).astype(np.int64)
    if not indices.size:
        raise InputError(f"{patches.name} has no masks, so nothing can be judged; another part may have them")

    def predicted(chosen: npt.NDArray[np.int64]) -> Iterator[tuple[int, npt.NDArray[np.float32]]]:
        for done, index in enumerate(chosen, 1):
            yield int(index), probability_of(detector, fitting.image(patches.read(int(index)).image))
            if progress is not None:
                progress(done, len(chosen))

    judged = judge_patches(patches, indices, detector.manifest.threshold, predicted)
    return Evaluation(
        detector.manifest,
        detector.digest,
        patches.name,
        patches.synthetic,
        fitting.substituted,
        judged,
        len(patches) - int(indices.size),
    )


def probability_of(detector: Detector, image: Image) -> npt.NDArray[np.float32]:
    """Return the probability (H, W) of one image (C, H, W) of any size, cut and blended where it must be."""
    side = detector.manifest.patch
    if image.shape[1:] == (side, side):
        return np.asarray(detector.predict(image[None])[0], np.float32)
    shape = (image.shape[1], image.shape[2])

    def read(first: int, stop: int) -> Rows:
        return Rows(image[:, first:stop], np.ones((stop - first, shape[1]), bool))

    out = np.full(shape, np.nan, np.float32)
    for first, rows in blended(read, Tiling(shape, side, side // 2), detector.predict):
        out[first : first + len(rows)] = rows
    return out


def told(evaluation: Evaluation, hit_share: float) -> dict[str, Any]:
    """Return the figures as JSON holds them."""
    judged = evaluation.judged

    def figures(part: Judged) -> dict[str, Any]:
        objects = part.objects(hit_share)
        return {
            "patches": len(part),
            "pixels": vars(part.pixels()),
            "objects": {
                **{name: value for name, value in vars(objects).items() if name != "by_size"},
                "by_size": [{"size": size.words, **vars(size)} for size in objects.by_size],
            },
        }

    made = evaluation.detector
    return {
        "detector": {"name": made.name, "version": made.version, "digest": evaluation.digest,
                     "synthetic": made.synthetic, "trained_on": made.trained_on},
        "data": evaluation.data, "synthetic": evaluation.synthetic,
        "threshold": made.threshold, "threshold_chosen_on": made.threshold_chosen_on,
        "warnings": list(evaluation.warnings),
        **figures(judged),
        "patch_means": {name: vars(mean) for name, mean in judged.patch_means().items()},
        "regions": {name: figures(part) for name, part in judged.by_region().items()},
    }  # fmt: skip


def _stand_in(name: str, rule: str, has: tuple[str, ...], path: Path) -> str | None:
    if rule == MEAN:
        return None
    if rule not in has:
        raise InputError(f"{path} has no {name}, and no {rule} to stand for it; it has {', '.join(has)}")
    if BY_NAME[rule].unit != BY_NAME[name].unit:
        raise InputError(
            f"{rule} is in {BY_NAME[rule].unit} and cannot stand for {name} in {BY_NAME[name].unit}; write "
            f"--missing {name}={MEAN}"
        )
    return rule


def _check(patches: PatchSet, manifest: DetectorManifest) -> None:
    """Raise InputError where radiometry or pixels are not those that the detector learnt on."""
    if patches.radiometry != manifest.radiometry:
        would = (
            "a detector trained on the published Landslide4Sense patches"
            if patches.radiometry == "landslide4sense"
            else "a detector trained on reflectance (Sen12Landslides, or a synthetic set)"
        )
        raise InputError(
            f"{manifest.name} {manifest.version} was trained on {manifest.radiometry} values, and "
            f"{patches.name} holds {patches.radiometry} values; its figures there would mean nothing. What "
            f"would fit: {would}"
        )
    if abs(patches.pixel_size_m / manifest.pixel_size_m - 1) > _PIXEL_OFF:
        raise InputError(
            f"{patches.name} has pixels of {patches.pixel_size_m:g} m, and {manifest.name} learnt on "
            f"{manifest.pixel_size_m:g} m; bring the patches to that size, or take another detector"
        )
