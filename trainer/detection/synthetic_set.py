"""Sets of made-up patches in the layout of Landslide4Sense, reflectance instead of its scaled values.

    write_synthetic(folder, seed, counts, backgrounds, size)    TrainData, ValidData, TestData; SYNTHETIC.txt

Every patch is made of (seed, part, number) alone: a longer set begins with the shorter one's patches.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from service.detection.bands import LANDSLIDE4SENSE
from service.errors import InputError, UsageError
from service.progress import ProgressCallback
from trainer.detection.data import Patch
from trainer.detection.landslide4sense import FOLDER_CARD, FOLDERS, PARTS, FolderCard, Part
from trainer.detection.synthetic import BACKGROUNDS, draw_scars, paint
from trainer.detection.synthetic_cover import background_of
from trainer.detection.synthetic_ground import make_ground, slope_of

MARK, REGIONS = "SYNTHETIC.txt", "regions.csv"
WITH_SCARS = 0.6  # of the patches; about as many as in TrainData of Landslide4Sense
_MOST_SCARS = 60
_FINEST = 2.0**14  # steps per unit, of what is stored: finer than the noise, and it packs


@dataclass(frozen=True)
class WrittenSet:
    """What was written."""

    folder: Path
    patches: dict[Part, int]  # part -> how many
    with_landslides: int
    landslide_share: float  # of all pixels
    backgrounds: tuple[str, ...]


def make_patch(
    seed: int, part: Part, number: int, background: str, size: int = 128, cell_size_m: float = 10.0
) -> Patch:
    """Return one patch: image float32 (14, size, size) in the order of LANDSLIDE4SENSE, and its mask."""
    kind = background_of(background)
    rng = np.random.default_rng([seed, PARTS.index(part), number])
    slope, base = rng.uniform(*kind.median_slope_deg), rng.uniform(*kind.base_m)
    elevation = make_ground(rng, size, slope, cell_size_m, base)
    some = rng.random() < WITH_SCARS
    per_km2 = rng.lognormal(np.log(6.0), 0.9)
    count = min(max(round(per_km2 * elevation.size * cell_size_m**2 / 1e6), 1), _MOST_SCARS) if some else 0
    scars = draw_scars(elevation, rng, count, cell_size_m)
    planes = paint(elevation, scars, rng, background, cell_size_m)
    planes |= {"slope": slope_of(elevation, cell_size_m), "elevation": elevation}
    image = np.stack([planes[name] for name in LANDSLIDE4SENSE])
    return Patch((np.round(image * _FINEST) / _FINEST).astype(np.float32), scars.astype(np.uint8))


def write_synthetic(
    folder: Path,
    seed: int,
    counts: Mapping[Part, int],
    progress: ProgressCallback,
    *,
    backgrounds: Sequence[str] = tuple(BACKGROUNDS),
    size: int = 128,
) -> WrittenSet:
    """Write a set to a folder that does not exist yet, or is empty; it appears when it is whole.

    `counts` says how many patches each part gets; backgrounds take turns, and are the regions of the set.
    Raises UsageError for a folder that holds something, InputError for a background that is not there.
    """
    if not backgrounds:
        raise InputError(f"no background was given; there are {', '.join(BACKGROUNDS)}")
    for name in backgrounds:
        background_of(name)
    if counts.get("train", 0) < 1 or min(counts.values()) < 0:
        raise InputError(f"{dict(counts)} patches cannot be made; TrainData needs one at least")
    if size < 32:
        raise InputError(f"patches of {size} by {size} pixels are too small; 32 at least")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} holds something already; give a folder that does not exist")
    beside = folder.with_name(f".{folder.name}.part")
    if beside.exists():
        shutil.rmtree(beside)
    total, done, with_scars, scarred = sum(counts.values()), 0, 0, 0
    rows: list[tuple[str, str]] = []
    for part in PARTS:
        for number in range(1, counts.get(part, 0) + 1):
            background = backgrounds[(number - 1) % len(backgrounds)]
            patch = make_patch(seed, part, number, background, size)
            scars = _write_patch(beside / FOLDERS[part], number, patch)
            rows.append((f"{part}/{number}", background))
            with_scars, scarred, done = with_scars + (scars > 0), scarred + scars, done + 1
            progress(done, total)
    written = WrittenSet(
        folder=folder,
        patches={part: counts.get(part, 0) for part in PARTS},
        with_landslides=with_scars,
        landslide_share=scarred / (total * size**2),
        backgrounds=tuple(dict.fromkeys(backgrounds)),
    )
    _write_words(beside, written, seed, size, rows)
    if folder.exists():
        folder.rmdir()
    beside.rename(folder)
    return written


def _write_patch(place: Path, number: int, patch: Patch) -> int:
    """Write image_N.h5 and mask_N.h5 as Landslide4Sense does, and return how many pixels slid."""
    assert patch.mask is not None  # noqa: S101 - made with its scars
    for kind, array in (("img", np.moveaxis(patch.image, 0, 2)), ("mask", patch.mask)):
        path = place / kind / f"{'image' if kind == 'img' else 'mask'}_{number}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            stored = file.create_dataset(
                kind, data=array, compression="gzip", compression_opts=1, shuffle=True
            )
            stored.attrs["synthetic"] = True
    return int(patch.mask.sum())


def _write_words(
    place: Path, written: WrittenSet, seed: int, size: int, rows: Sequence[tuple[str, str]]
) -> None:
    kinds = "\n".join(f"    {name}: {BACKGROUNDS[name].says}" for name in written.backgrounds)
    parts = ", ".join(f"{count} in {FOLDERS[part]}" for part, count in written.patches.items() if count)
    card = FolderCard(
        radiometry="reflectance",
        synthetic=True,
        regions=REGIONS,
        says="SYNTHETIC: no real place, no landslide",
    )
    (place / FOLDER_CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (place / MARK).write_text(
        f"""SYNTHETIC. Nothing here was seen from space; no landslide in it happened.

{parts}: patches of {size} x {size} pixels of 10 m in the layout of Landslide4Sense, its fourteen
planes ({", ".join(LANDSLIDE4SENSE)}).
Optical planes are reflectance, 0 to 1 (the published patches are not); slope is in degrees, elevation in m.
Seed {seed}. {written.with_landslides} patches with landslides, {written.landslide_share:.2%} of all pixels.
Backgrounds, which are the regions of {REGIONS}:
{kinds}

A model trained on this has learnt what its makers thought landslides look like, and no more.
""",
        encoding="utf-8",
    )
    with (place / REGIONS).open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("id", "region"))
        writer.writerows(rows)
