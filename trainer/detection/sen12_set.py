"""Sen12Landslides as a set of patches: of every file the one date on which its landslides are to be seen."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from pathlib import Path

from service.detection.bands import Radiometry
from service.errors import InputError
from service.progress import ProgressCallback
from trainer.detection.data import Elevation, Patch, check_bands
from trainer.detection.sen12 import SEN12_BANDS, read_dates, read_image, read_mask

LEAST_CLEAR = 0.9


@dataclass(frozen=True)
class ChosenDate:
    """Which date of a file is read."""

    path: Path
    number: int
    day: date
    masked: bool  # before the event the file's mask shows what is yet to come: it is not given


@dataclass(frozen=True)
class Sen12Patches:
    """One date of each file; files are opened as they are read, and closed."""

    folder: Path
    chosen: tuple[ChosenDate, ...]
    bands: tuple[str, ...]
    regions: tuple[str | None, ...]
    left_out: tuple[str, ...]  # why, per file of a folder that has no date to show
    pixel_size_m: float = 10.0
    radiometry: Radiometry = "reflectance"
    synthetic: bool = False
    elevation: Elevation = "absolute"

    @property
    def name(self) -> str:
        """Return what it is."""
        return f"Sen12Landslides, {self.folder.name}"

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """Return the names of the files, without what ends them."""
        return tuple(item.path.stem for item in self.chosen)

    @property
    def judged(self) -> tuple[bool, ...]:
        """Return which dates lie after their event, and so have masks."""
        return tuple(item.masked for item in self.chosen)

    def __len__(self) -> int:
        return len(self.chosen)

    def read(self, index: int) -> Patch:
        """Return one patch. Raises InputError, by file."""
        item = self.chosen[index]
        image = read_image(item.path, item.number, self.bands)
        return Patch(image, read_mask(item.path, item.number) if item.masked else None)


def open_sen12landslides(
    path: Path,
    bands: Sequence[str] = SEN12_BANDS,
    *,
    day: date | None = None,
    least_clear: float = LEAST_CLEAR,
    regions: Mapping[str, str] | None = None,
    progress: ProgressCallback = lambda _done, _total: None,
) -> Sen12Patches:
    """Return a file, or a folder of files with the ending .nc, as a set of patches.

    Of each file the first date from its event on is read of which `least_clear` is neither cloud nor shadow;
    of a single file, `day` names another. A date before the event has no mask, nor has one of a file with
    landslides that does not say when they happened. `regions` are by file name without ending; else what
    stands before "_s2_" in it. Files of a folder in which no date is clear enough are left out, and named in
    `left_out`. Raises InputError by file.
    """
    if path.is_file():
        folder, files = path.parent, [path]
    elif path.is_dir():
        folder, files = path, sorted(path.glob("*.nc"))
    else:
        raise InputError(f"{path} is not there; a Sen12Landslides file or a folder of them is wanted")
    if not files:
        raise InputError(f"{path} holds no file with the ending .nc")
    if day is not None and len(files) > 1:
        raise InputError(f"{path} holds {len(files)} files, whose dates differ; name a day of one file")
    wanted = check_bands(bands, SEN12_BANDS, f"Sen12Landslides in {path}")
    chosen, left_out, sizes = [], [], set()
    for done, file in enumerate(files, start=1):
        try:
            item, size = _choose(file, day, least_clear)
        except _NotClear as error:
            if len(files) == 1:
                raise InputError(str(error)) from error
            left_out.append(str(error))
        else:
            chosen.append(item)
            sizes.add(size)
        progress(done, len(files))
    if not chosen:
        raise InputError(f"{path}: none of {len(files)} files has a clear date; {left_out[0]}")
    if len(sizes) > 1:
        raise InputError(f"{path}: pixels are of {sorted(sizes)} m; one size is wanted")
    named = regions or {}
    return Sen12Patches(
        folder=folder,
        chosen=tuple(chosen),
        bands=wanted,
        regions=tuple(named.get(item.path.stem, _region_in(item.path.stem)) for item in chosen),
        left_out=tuple(left_out),
        pixel_size_m=sizes.pop(),
    )


class _NotClear(InputError):
    """No date of a file is clear enough."""


def _choose(path: Path, day: date | None, least_clear: float) -> tuple[ChosenDate, float]:
    dates = read_dates(path)
    if day is not None:
        number = dates.number_of(day)
    else:
        found = dates.first_clear(least_clear)
        if found is None:
            raise _NotClear(
                f"{path.name}: no date from {dates.dates[dates.after or 0]} on is {least_clear:.0%} clear"
            )
        number = found
    # Landslides that may be yet to come are no truth for a date.
    masked = not read_mask(path, number).any() if dates.after is None else number >= dates.after
    return ChosenDate(path, number, dates.dates[number], masked), dates.transform.a


def _region_in(stem: str) -> str | None:
    match = re.match(r"(.+)_s2_", stem)
    return match[1] if match else None
