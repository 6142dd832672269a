"""The patches of a comparison and how they are divided; and the digests that say which patches they were.

    patches = open_data(folder)                      the official layout, all parts joined; or Sen12Landslides
    divided = divide(patches, "all", split_seed=0)   official, reference, and each region left out in turn

Where a part cannot be had (no masks, no regions), "all" says why and goes on; a split asked for by name is
refused.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from service.detection.bands import LANDSLIDE4SENSE
from service.errors import InputError
from service.files import digest_of, write_json
from service.progress import ProgressCallback
from trainer.detection.data import PatchSet, join
from trainer.detection.fit_batches import digests_of
from trainer.detection.landslide4sense import FOLDERS, PARTS, open_landslide4sense, parts_in
from trainer.detection.sen12_set import open_sen12landslides
from trainer.detection.splits import Split, regions_of, split_official, split_reference, split_regions

SplitName = Literal["official", "reference", "regions"]
SPLITS: tuple[SplitName, ...] = ("official", "reference", "regions")


@dataclass(frozen=True)
class Division:
    """One way of dividing the patches: of "regions" there is one for each region, named in `part`."""

    name: SplitName
    part: str
    split: Split

    @property
    def folder(self) -> str:
        """Return its place below a comparison's `runs`."""
        return self.name if not self.part else f"{self.name}-{_plain(self.part)}"


@dataclass(frozen=True)
class Divided:
    """Patches with their divisions, and which splits could not be made, with the reason."""

    patches: PatchSet
    divisions: tuple[Division, ...]
    skipped: dict[str, str]


def open_data(
    folder: Path, bands: Sequence[str] = LANDSLIDE4SENSE, regions_csv: Path | None = None
) -> PatchSet:
    """Return all parts of a folder in the Landslide4Sense layout, or its Sen12Landslides files, as one set.

    Of Sen12Landslides (files .nc) the regions are those in the file names, which leaves the split "regions".
    Raises InputError where it is neither, or a file name is not the layout's.
    """
    parts = parts_in(folder)
    if not parts and any(folder.glob("*.nc")):
        return open_sen12landslides(folder, bands, regions=_named(regions_csv))
    if "train" not in parts:
        there = sorted(item.name for item in folder.iterdir()) if folder.is_dir() else []
        raise InputError(
            f"{folder} is no dataset in the Landslide4Sense layout: {FOLDERS['train']}/img/image_1.h5 and "
            f"{FOLDERS['train']}/mask/mask_1.h5 are expected, and "
            f"{' and '.join(FOLDERS[part] for part in PARTS[1:])} alike; in it are "
            f"{', '.join(there[:8]) or 'no files'}"
        )
    return join([open_landslide4sense(folder, part, bands, regions_csv) for part in parts])


def divide(patches: PatchSet, wanted: SplitName | Literal["all"], split_seed: int = 0) -> Divided:
    """Divide patches. Raises InputError where a split asked for by name, or every one of "all", cannot be."""
    divisions: list[Division] = []
    skipped: dict[str, str] = {}
    for name in SPLITS if wanted == "all" else (wanted,):
        try:
            divisions += _MAKERS[name](patches, split_seed)
        except InputError as error:
            if wanted != "all":
                raise
            skipped[name] = str(error)
    if not divisions:
        told = "; ".join(f"{name}: {why}" for name, why in skipped.items())
        raise InputError(f"{patches.name} can be divided in no way. {told}")
    return Divided(patches, tuple(divisions), skipped)


def patch_digests(
    folder: Path, patches: PatchSet, cache: Path, progress: ProgressCallback
) -> tuple[tuple[str, ...], str]:
    """Return each patch's SHA-256 (image, and mask where it has one), and one over all with their names.

    Kept in `cache` with the folder and each file's size and time of change, so that gigabytes are read once
    and not at every start. Raises InputError where a patch cannot be read.
    """
    stamp = digest_of(
        str(folder.resolve()),  # patches are of one size, and archives may give them one time
        [
            [str(path.relative_to(folder)), (stat := path.stat()).st_size, stat.st_mtime_ns]
            for path in sorted([*folder.rglob("*.h5"), *folder.glob("*.nc")])
        ],
        list(patches.bands),
    )
    digests = _cached(cache, stamp, len(patches))
    if digests is None:
        digests = tuple(digests_of(patches, np.arange(len(patches)), progress))
        write_json(cache, {"stamp": stamp, "digests": list(digests)})
    told = [patches.radiometry, patches.pixel_size_m, list(patches.regions)]
    return digests, digest_of(list(patches.ids), list(digests), list(patches.bands), told)


def without_copies(divided: Divided, digests: Sequence[str]) -> tuple[Divided, tuple[str, ...]]:
    """Leave training and validation patches out that are copies of test patches; say how many.

    Raises InputError where nothing is left to learn from.
    """
    each = np.array(digests)
    divisions, notes = [], []
    for division in divided.divisions:
        split = division.split
        test = each[split.test]
        train = split.train[~np.isin(each[split.train], test)]
        valid = split.valid[~np.isin(each[split.valid], test)]
        left = len(split.train) + len(split.valid) - len(train) - len(valid)
        if left:
            notes.append(
                f"split {division.folder}: {left} training or validation patches that are copies of test "
                "patches were left out"
            )
            division = replace(division, split=replace(split, train=train, valid=valid))
        divisions.append(division)
    return replace(divided, divisions=tuple(divisions)), tuple(notes)


def _cached(cache: Path, stamp: str, patches: int) -> tuple[str, ...] | None:
    try:
        kept = json.loads(cache.read_text("utf-8"))
        if kept["stamp"] == stamp and len(kept["digests"]) == patches:
            return tuple(map(str, kept["digests"]))
    except (OSError, ValueError, KeyError, TypeError):
        pass  # they are read once more
    return None


def _official(patches: PatchSet, seed: int) -> list[Division]:
    """ValidData validates where its masks are there, as its name says; else a share of TrainData does."""
    part = np.array([name.partition("/")[0] for name in patches.ids])
    judged = np.array(patches.judged)
    train, valid, test = (np.flatnonzero((part == name) & judged) for name in PARTS)
    if valid.size and test.size:
        says = (
            f"the official folders: {train.size:,} patches of TrainData to learn from, {valid.size:,} of "
            f"ValidData to choose checkpoint and threshold, {test.size:,} of TestData to judge"
        )
        return [Division("official", "", Split("official", says, train, valid, test))]
    if valid.size:
        return [Division("official", "", split_official(patches, test_part="valid", seed=seed))]
    return [Division("official", "", split_official(patches, seed=seed))]


def _reference(patches: PatchSet, seed: int) -> list[Division]:
    return [Division("reference", "", split_reference(patches, seed=seed))]


def _regions(patches: PatchSet, seed: int) -> list[Division]:
    names = regions_of(patches)
    if len(names) < 2:
        raise InputError(
            f"{patches.name}: to leave a region out, two are needed; known are {', '.join(names) or 'none'}. "
            "Name them with --regions, a CSV with the columns id (such as train/17) and region"
        )
    return [Division("regions", name, split_regions(patches, name, seed=seed)) for name in names]


def _named(regions_csv: Path | None) -> dict[str, str] | None:
    """Return the regions that a CSV names, by file name without its ending; None: those in the file names."""
    if regions_csv is None:
        return None
    with regions_csv.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if not {"id", "region"} <= set(rows.fieldnames or ()):
            raise InputError(f"{regions_csv} has columns {rows.fieldnames}; id and region are wanted")
        return {row["id"]: row["region"] for row in rows}


def _plain(name: str) -> str:
    """Return a region's name as a folder's; a digest keeps apart what would else be written alike."""
    plain = "".join(letter if letter.isalnum() and letter.isascii() else "-" for letter in name)
    return plain if plain == name else f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:6]}"


_MAKERS: dict[SplitName, Callable[[PatchSet, int], list[Division]]] = {
    "official": _official,
    "reference": _reference,
    "regions": _regions,
}
