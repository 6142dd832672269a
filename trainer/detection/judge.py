"""How well landslides are seen, pixel by pixel and object by object.

    tally = Tally(pixel_size_m)
    tally.add("image_7", region, predicted, mask, known)      one patch after the other
    judged = tally.judged()
    judged.pixels(), judged.patch_means(), judged.objects(), judged.by_region()

A score whose denominator is zero is undefined (None) and never 0 or 1: a patch without a landslide in which
nothing was predicted has no F1. Pixels whose inputs were unknown are judged neither way; they are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.detection.objects import (
    HIT_SHARE,
    LEAST_FALSE_M2,
    ObjectScores,
    find_objects,
    score_objects,
)

Integers = npt.NDArray[np.int64]
SCORES = ("f1", "precision", "recall", "iou")
_COLUMNS = ("tp", "fp", "fn", "tn", "unknown")


class Ratios(NamedTuple):
    """The four scores of some counts; None where undefined."""

    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


@dataclass(frozen=True)
class PixelScores:
    """Pixels of all patches counted together (pooled), and the scores of those counts."""

    tp: int
    fp: int
    fn: int
    tn: int
    unknown: int
    precision: float | None
    recall: float | None
    f1: float | None
    iou: float | None


@dataclass(frozen=True)
class PatchMean:
    """A score averaged over the patches in which it is defined; `patches` of them."""

    mean: float | None
    patches: int


def ratios(tp: float, fp: float, fn: float) -> Ratios:
    """Return precision tp/(tp+fp), recall tp/(tp+fn), F1 2tp/(2tp+fp+fn) and IoU tp/(tp+fp+fn)."""

    def over(above: float, below: float) -> float | None:
        return above / below if below else None

    return Ratios(
        over(tp, tp + fp), over(tp, tp + fn), over(2 * tp, 2 * tp + fp + fn), over(tp, tp + fp + fn)
    )


@dataclass(frozen=True)
class Judged:
    """All patches of one part, judged. Arrays are by patch, or by object with the patch's number."""

    ids: tuple[str, ...]
    regions: tuple[str | None, ...]
    counts: Integers  # (n, 5): tp, fp, fn, tn, unknown
    true_patch: Integers  # (m,) of mapped landslides
    true_pixels: Integers  # (m,) known ones
    true_found: Integers  # (m,) of these, predicted
    false_patch: Integers  # (k,) of predicted objects that touch no landslide
    false_pixels: Integers  # (k,)
    unseen: Integers  # (n,) mapped landslides that lie wholly on unknown ground
    pixel_size_m: float

    def __len__(self) -> int:
        return len(self.ids)

    def pixels(self) -> PixelScores:
        """Return the scores of all pixels together."""
        tp, fp, fn, tn, unknown = (int(value) for value in self.counts.sum(axis=0))
        return PixelScores(tp, fp, fn, tn, unknown, *ratios(tp, fp, fn))

    def patch_means(self) -> dict[str, PatchMean]:
        """Return each score's mean over the patches in which it is defined.

        Not comparable with the pooled scores: a patch of one landslide pixel weighs as much as one of 5,000.
        """
        rows = [ratios(*map(int, row[:3]))._asdict() for row in self.counts]
        found = {}
        for name in SCORES:
            values = [row[name] for row in rows if row[name] is not None]
            found[name] = PatchMean(float(np.mean(values)) if values else None, len(values))
        return found

    def objects(self, hit_share: float = HIT_SHARE, least_false_m2: float = LEAST_FALSE_M2) -> ObjectScores:
        """Return hits and misses by size class, and false objects per square kilometre."""
        known = int(self.counts[:, :4].sum())
        return score_objects(
            self.true_pixels,
            self.true_found,
            self.false_pixels,
            unseen=int(self.unseen.sum()),
            pixel_m2=self.pixel_size_m**2,
            known_pixels=known,
            hit_share=hit_share,
            least_false_m2=least_false_m2,
        )

    def by_region(self) -> dict[str, Judged]:
        """Return the part region by region; patches without one are "unknown". Empty where none has one."""
        if all(region is None for region in self.regions):
            return {}
        names = np.array([region or "unknown" for region in self.regions])
        return {str(name): self.rows(np.flatnonzero(names == name)) for name in np.unique(names)}

    def rows(self, chosen: npt.NDArray[np.intp]) -> Judged:
        """Return some of the patches, in the order given, each once."""
        number = np.full(len(self), -1, np.int64)
        number[chosen] = np.arange(chosen.size)
        true, false = number[self.true_patch] >= 0, number[self.false_patch] >= 0
        return Judged(
            tuple(self.ids[row] for row in chosen),
            tuple(self.regions[row] for row in chosen),
            self.counts[chosen],
            number[self.true_patch[true]],
            self.true_pixels[true],
            self.true_found[true],
            number[self.false_patch[false]],
            self.false_pixels[false],
            self.unseen[chosen],
            self.pixel_size_m,
        )


def join_judged(parts: Sequence[Judged]) -> Judged:
    """Put parts together that share no patch, such as the held-out regions of one seed.

    Raises InputError where a patch stands in two of them, or pixel sizes differ.
    """
    ids = tuple(name for part in parts for name in part.ids)
    if len(set(ids)) < len(ids):
        raise InputError("a patch stands in two test parts; its pixels would count twice")
    if len({part.pixel_size_m for part in parts}) > 1:
        raise InputError("parts of different pixel sizes cannot be judged together")
    starts = np.cumsum([0, *(len(part) for part in parts)])[:-1]
    return Judged(
        ids,
        tuple(region for part in parts for region in part.regions),
        np.concatenate([part.counts for part in parts]),
        np.concatenate([part.true_patch + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.true_pixels for part in parts]),
        np.concatenate([part.true_found for part in parts]),
        np.concatenate([part.false_patch + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.false_pixels for part in parts]),
        np.concatenate([part.unseen for part in parts]),
        parts[0].pixel_size_m,
    )


class Tally:
    """Judges patches one by one; memory grows with objects, not with pixels."""

    def __init__(self, pixel_size_m: float) -> None:
        self._pixel_size_m = pixel_size_m
        self._ids: list[str] = []
        self._regions: list[str | None] = []
        self._counts: list[tuple[int, ...]] = []
        self._true: list[tuple[int, int, int]] = []
        self._false: list[tuple[int, int]] = []
        self._unseen: list[int] = []

    def add(
        self,
        name: str,
        region: str | None,
        predicted: npt.NDArray[np.bool_],
        mask: npt.NDArray[np.generic],
        known: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        """Judge one patch: `predicted`, `mask` (0 or 1) and `known` are (h, w); known=None is everywhere.

        Raises InputError where shapes differ or the mask holds something else than 0 and 1.
        """
        if predicted.shape != mask.shape or (known is not None and known.shape != mask.shape):
            raise InputError(f"{name}: prediction {predicted.shape} and mask {mask.shape} differ in shape")
        truth = mask == 1
        if not (truth | (mask == 0)).all():
            raise InputError(f"{name}: the mask holds {np.unique(mask).tolist()[:5]}; it must be 0 and 1")
        sure = np.ones(mask.shape, bool) if known is None else known.astype(bool)
        said = predicted.astype(bool) & sure
        row = (
            int((said & truth).sum()),
            int((said & ~truth).sum()),
            int((~said & truth & sure).sum()),
            int((~said & ~truth & sure).sum()),
            int((~sure).sum()),
        )
        number = len(self._ids)
        found = find_objects(said, truth, sure)
        self._true += [(number, pixels, hit) for pixels, hit in found.true]
        self._false += [(number, pixels) for pixels in found.false]
        self._unseen.append(found.unseen)
        self._ids.append(name)
        self._regions.append(region)
        self._counts.append(row)

    def judged(self) -> Judged:
        """Return all that was added. Raises InputError where nothing was."""
        if not self._ids:
            raise InputError("there is no patch to judge")
        true = np.array(self._true, np.int64).reshape(-1, 3)
        false = np.array(self._false, np.int64).reshape(-1, 2)
        return Judged(
            tuple(self._ids),
            tuple(self._regions),
            np.array(self._counts, np.int64).reshape(-1, len(_COLUMNS)),
            true[:, 0],
            true[:, 1],
            true[:, 2],
            false[:, 0],
            false[:, 1],
            np.array(self._unseen, np.int64),
            self._pixel_size_m,
        )
