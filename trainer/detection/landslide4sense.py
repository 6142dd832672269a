"""Patches in the folder layout of Landslide4Sense (Ghorbanzadeh et al. 2022), as it is published.

    ROOT/TrainData/img/image_1.h5 ...   dataset "img", (128, 128, 14), float
    ROOT/TrainData/mask/mask_1.h5 ...   dataset "mask", (128, 128), 0 or 1
    ROOT/ValidData/img, ROOT/TestData/img, and mask beside where it was released
    ROOT/colluvium.json                 optional, ours: what the planes are where they are not the published

The fourteen planes are B1 to B12 without B8A, slope and elevation (`service.detection.bands`). The published
values are no reflectance: its makers divided each plane by one number, its mean over their images (iarai/
Landslide4Sense-2022, issue 4), and users who multiplied by the numbers given there got no natural colours.
They are therefore a scale of their own, and a folder without colluvium.json is taken to be of that scale.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import h5py
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.detection.bands import LANDSLIDE4SENSE, Radiometry
from service.errors import InputError
from trainer.detection.data import Elevation, Image, Mask, Patch, check_bands

Part = Literal["train", "valid", "test"]
PARTS: tuple[Part, ...] = ("train", "valid", "test")
FOLDERS: dict[Part, str] = {"train": "TrainData", "valid": "ValidData", "test": "TestData"}
FOLDER_CARD = "colluvium.json"
_MOST_CELLS = 4096  # along one side; the published patches have 128
_IMAGE, _MASK = re.compile(r"image_(\d+)\.h5"), re.compile(r"mask_(\d+)\.h5")


class FolderCard(BaseModel):
    """colluvium.json: what a folder in this layout holds, where that is not the published patches."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    radiometry: Radiometry = "landslide4sense"
    synthetic: bool = False
    pixel_size_m: Annotated[float, Field(gt=0)] = 10.0
    regions: str | None = None  # a CSV beside, columns id and region
    says: str = ""  # for people


@dataclass(frozen=True)
class Landslide4SensePatches:
    """One part of a folder; files are opened as they are read, and closed."""

    folder: Path  # .../TrainData
    part: Part
    numbers: tuple[int, ...]  # as in the file names
    bands: tuple[str, ...]
    radiometry: Radiometry
    synthetic: bool
    pixel_size_m: float
    regions: tuple[str | None, ...]
    masked: bool
    elevation: Elevation = "absolute"

    @property
    def name(self) -> str:
        """Return the part and the folder it lies in."""
        return f"{self.folder.name} of {self.folder.parent.name}"

    @property
    def ids(self) -> tuple[str, ...]:
        """Return part/number, such as "train/17"."""
        return tuple(f"{self.part}/{number}" for number in self.numbers)

    @property
    def judged(self) -> tuple[bool, ...]:
        """Return whether there are masks, the same for all."""
        return (self.masked,) * len(self)

    def __len__(self) -> int:
        return len(self.numbers)

    def read(self, index: int) -> Patch:
        """Return one patch: image float32 (C, H, W), mask uint8 (H, W). Raises InputError by file."""
        number = self.numbers[index]
        image = self._image(self.folder / "img" / f"image_{number}.h5")
        mask = self._mask(self.folder / "mask" / f"mask_{number}.h5", image) if self.masked else None
        return Patch(image, mask)

    def _image(self, path: Path) -> Image:
        with _opened(path) as file:
            planes = _dataset(file, path, "img")
            if planes.ndim != 3 or planes.shape[0] != planes.shape[1]:
                raise InputError(
                    f"{path}: img has shape {planes.shape}; a square patch (H, W, bands) is wanted"
                )
            if planes.shape[0] > _MOST_CELLS:
                raise InputError(
                    f"{path}: img has {planes.shape[0]} cells a side; at most {_MOST_CELLS} are read"
                )
            if planes.shape[2] != len(LANDSLIDE4SENSE):
                raise InputError(
                    f"{path}: img has {planes.shape[2]} planes; Landslide4Sense has {len(LANDSLIDE4SENSE)}: "
                    f"{', '.join(LANDSLIDE4SENSE)}"
                )
            values = planes[...]
        columns = [LANDSLIDE4SENSE.index(name) for name in self.bands]
        image = np.ascontiguousarray(np.moveaxis(values[:, :, columns], 2, 0), dtype=np.float32)
        endless = np.isinf(image).any(axis=(1, 2))
        if endless.any():
            names = ", ".join(np.array(self.bands)[endless])
            raise InputError(
                f"{path}: {names} holds infinite values; write NaN where a value is not known, or leave the "
                "patch out with its mask"
            )
        return image

    def _mask(self, path: Path, image: Image) -> Mask:
        with _opened(path) as file:
            stored = _dataset(file, path, "mask")
            if stored.shape != image.shape[1:]:
                raise InputError(f"{path}: mask has shape {stored.shape}, its image {image.shape[1:]}")
            values = stored[...]
        if not np.isin(values, (0, 1)).all():
            others = ", ".join(f"{value:g}" for value in np.unique(values[~np.isin(values, (0, 1))])[:3])
            raise InputError(f"{path}: mask holds {others}; only 0 (none) and 1 (landslide) can be judged")
        return np.asarray(values, np.uint8)


def open_landslide4sense(
    folder: Path,
    part: Part,
    bands: Sequence[str] = LANDSLIDE4SENSE,
    regions_csv: Path | None = None,
) -> Landslide4SensePatches:
    """Return one part of a folder in the official layout; file names are checked now, contents as read.

    `bands` are names, in the order wanted. `regions_csv` has columns id and region (ids as "train/17"); where
    it is None, the one that colluvium.json names. A part without a folder `mask` can be predicted and not
    judged; in TrainData it is refused. Raises InputError, naming file or folder.
    """
    wanted = check_bands(bands, LANDSLIDE4SENSE, f"Landslide4Sense in {folder}")
    card = read_card(folder)
    place = folder / FOLDERS[part]
    if not (place / "img").is_dir():
        there = sorted(item.name for item in folder.iterdir() if item.is_dir()) if folder.is_dir() else []
        raise InputError(
            f"{folder} has no {FOLDERS[part]}/img; the layout is {FOLDERS[part]}/img/image_1.h5 and "
            f"{FOLDERS[part]}/mask/mask_1.h5. Folders in it: {', '.join(there) or 'none'}"
        )
    numbers = _numbered(place / "img", _IMAGE)
    if not numbers:
        raise InputError(f"{place / 'img'} is empty: no image_1.h5 and so on")
    masked = (place / "mask").is_dir()
    if not masked and part == "train":
        raise InputError(f"{place} has no folder mask; nothing can be trained without masks")
    if masked:
        _check_pairs(place, numbers)
    csv_path = regions_csv or (folder / card.regions if card.regions else None)
    named = _read_regions(csv_path) if csv_path else {}
    return Landslide4SensePatches(
        folder=place,
        part=part,
        numbers=tuple(numbers),
        bands=wanted,
        radiometry=card.radiometry,
        synthetic=card.synthetic,
        pixel_size_m=card.pixel_size_m,
        regions=tuple(named.get(f"{part}/{number}") for number in numbers),
        masked=masked,
    )


def parts_in(folder: Path) -> tuple[Part, ...]:
    """Return the parts of which a folder holds images."""
    return tuple(part for part in PARTS if (folder / FOLDERS[part] / "img").is_dir())


def read_card(folder: Path) -> FolderCard:
    """Return colluvium.json of a folder, or that of the published patches where there is none."""
    path = folder / FOLDER_CARD
    if not path.is_file():
        return FolderCard()
    try:
        card = FolderCard.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if card.regions is not None and Path(card.regions).name != card.regions:
        raise InputError(f"{path}: regions is {card.regions!r}; a file beside is wanted, by its name alone")
    return card


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[int]:
    """Return the numbers in the names of a folder's HDF5 files, rising."""
    found: dict[int, str] = {}
    for path in sorted(folder.glob("*.h5")):
        match = pattern.fullmatch(path.name)
        if match is None:
            raise InputError(f"{path} is not named as in Landslide4Sense ({pattern.pattern}); move it away")
        number = int(match[1])
        if path.name != pattern.pattern.replace(r"(\d+)\.", f"{number}."):
            same = f" and {found[number]}" if number in found else ""
            raise InputError(f"{path}{same} writes its number {number} with zeros before it; rename it")
        found[number] = path.name
    return sorted(found)


def _check_pairs(place: Path, numbers: list[int]) -> None:
    masks = _numbered(place / "mask", _MASK)
    without = sorted(set(numbers) - set(masks))
    if without:
        raise InputError(
            f"{place}: image_{without[0]}.h5 has no mask_{without[0]}.h5 ({len(without)} such); give the "
            "masks, or move the images away"
        )
    alone = sorted(set(masks) - set(numbers))
    if alone:
        raise InputError(f"{place}: mask_{alone[0]}.h5 has no image_{alone[0]}.h5 ({len(alone)} such)")


def _read_regions(path: Path) -> dict[str, str]:
    if not path.is_file():
        raise InputError(f"{path}, which is to name the patches' regions, is not there")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        if not {"id", "region"} <= set(reader.fieldnames or ()):
            raise InputError(f"{path} has columns {reader.fieldnames}; id and region are wanted")
        named: dict[str, str] = {}
        for row in reader:
            name, region = (row["id"] or "").strip(), (row["region"] or "").strip()
            if not name or not region:
                raise InputError(f"{path}, line {reader.line_num}: id or region is empty")
            if name in named:
                raise InputError(f"{path}, line {reader.line_num}: {name} is there twice")
            named[name] = region
    return named


def _opened(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise InputError(f"{path} cannot be read as HDF5: {error}") from error


def _dataset(file: h5py.File, path: Path, name: str) -> h5py.Dataset:
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{path} has no dataset {name!r}; it has {', '.join(file) or 'nothing'}")
    if found.dtype.kind not in "fiub":
        raise InputError(f"{path}: {name} is of type {found.dtype}; numbers are wanted")
    return found
