"""Splits of patches: the official one, one of the reference's sizes, and leaving one region out.

The validation part, on which checkpoint and threshold are chosen, is always taken out of the training part,
and the test part is never looked at before the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.detection.data import PatchSet

Indices = npt.NDArray[np.int64]
# Burange et al. (2025) trained on 959 and tested on 2,840 of the 3,799 patches of TrainData; which is not
# published.
REFERENCE_TRAIN, REFERENCE_TEST = 959, 2840
VALID_SHARE = 0.15
LEFT_OUT = "of which nothing was learnt"  # how a split says that a region was held out of all parts


@dataclass(frozen=True)
class Split:
    """Indices into one set of patches, each rising; no patch in two parts."""

    name: str  # official, reference, or "without <region>"
    says: str  # in words, for reports
    train: Indices
    valid: Indices
    test: Indices

    def __post_init__(self) -> None:
        everything = np.concatenate([self.train, self.valid, self.test])
        if len(np.unique(everything)) < len(everything):
            raise InputError(f"split {self.name}: a patch is in two parts")
        for part in ("train", "valid", "test"):
            if len(getattr(self, part)) == 0:
                raise InputError(f"split {self.name}: its {part} part is empty; more patches are needed")


def split_official(
    patches: PatchSet,
    *,
    test_part: Literal["test", "valid"] = "test",
    valid_share: float = VALID_SHARE,
    seed: int = 0,
) -> Split:
    """Return the official split of a set that joins the parts (`trainer.detection.data.join`).

    Test is TestData; ValidData where `test_part` says so, as long as the masks of TestData are not there.
    Validation is a share of TrainData. Raises InputError where the wanted part has no masks.
    """
    parts = np.array([name.partition("/")[0] for name in patches.ids])
    judged = np.array(patches.judged)
    test = np.flatnonzero((parts == test_part) & judged)
    if not len(test):
        others = sorted({str(part) for part in parts[judged] if part not in ("train", test_part)})
        hint = f"{others[0]} has: ask for it" if others else "no other part has either"
        raise InputError(f"{patches.name}: part {test_part} has no masks to be judged by; {hint}")
    train, valid = _carve(patches, np.flatnonzero(parts == "train"), valid_share, seed)
    says = (
        f"official folders: {len(test)} patches of {test_part}; {len(valid)} of the "
        f"{len(train) + len(valid)} training patches, drawn with seed {seed}, chose checkpoint and threshold"
    )
    return Split("official", says, train, valid, test)


def split_reference(patches: PatchSet, *, valid_share: float = VALID_SHARE, seed: int = 0) -> Split:
    """Return a split of the training part with the sizes of Burange et al. (2025), drawn with a seed.

    Which patches the reference took is not published: this draw has its sizes and is not its split. Of a set
    of another size the same shares are taken. Raises InputError where too few patches are left.
    """
    train_part = np.flatnonzero([name.startswith("train/") for name in patches.ids])
    whole = REFERENCE_TRAIN + REFERENCE_TEST
    size = round(len(train_part) * REFERENCE_TRAIN / whole)
    drawn = np.random.default_rng(seed).permutation(train_part)
    train, valid = _carve(patches, np.sort(drawn[:size]), valid_share, seed)
    scaled = "" if len(train_part) == whole else f" (the shares of {REFERENCE_TRAIN} and {REFERENCE_TEST})"
    says = (
        f"a draw with seed {seed} of the reference's sizes{scaled}: {size} patches to learn from, "
        f"{len(valid)} of them to choose checkpoint and threshold, {len(train_part) - size} to test. "
        "The reference's own patches are not published, and it is not the official split"
    )
    return Split("reference", says, train, valid, np.sort(drawn[size:]).astype(np.int64))


def split_regions(
    patches: PatchSet, held_out: str, *, valid_share: float = VALID_SHARE, seed: int = 0
) -> Split:
    """Return the split that tests on one region, and learns from all others. Raises InputError by name."""
    unknown = [name for name, region in zip(patches.ids, patches.regions, strict=True) if region is None]
    if unknown:
        raise InputError(
            f"{patches.name}: the region of {unknown[0]} is not known ({len(unknown)} such); name it in a "
            "CSV of id and region"
        )
    there = regions_of(patches)
    if held_out not in there:
        raise InputError(f"{patches.name} has no region {held_out!r}; it has {', '.join(there)}")
    if len(there) < 2:
        raise InputError(f"{patches.name} has only the region {held_out}; nothing is left to learn from")
    judged = np.array(patches.judged)
    inside = np.array([region == held_out for region in patches.regions])
    train, valid = _carve(patches, np.flatnonzero(~inside & judged), valid_share, seed)
    test = np.flatnonzero(inside & judged)
    says = (
        f"{len(test)} patches of {held_out}, {LEFT_OUT}; {len(valid)} of the "
        f"{len(train) + len(valid)} patches elsewhere, drawn with seed {seed}, chose checkpoint and threshold"
    )
    return Split(f"without {held_out}", says, train, valid, test)


def regions_of(patches: PatchSet) -> tuple[str, ...]:
    """Return the regions that are named, in order of the alphabet."""
    return tuple(sorted({region for region in patches.regions if region is not None}))


def _carve(
    patches: PatchSet, pool: Sequence[int] | Indices, share: float, seed: int
) -> tuple[Indices, Indices]:
    """Return a pool as training and validation part; of each region the same share goes to validation."""
    if not 0 < share < 1:
        raise InputError(f"the share of validation patches is {share}; between 0 and 1 is wanted")
    judged = patches.judged
    indices = np.array([index for index in pool if judged[index]], np.int64)
    if len(indices) < 2:
        raise InputError(
            f"{patches.name}: {len(indices)} training patches with masks; two are needed at least"
        )
    random = np.random.default_rng((seed, 1))
    regions = np.array([patches.regions[index] or "" for index in indices])
    # By rank inside its region: every region gives its share, whole numbers settled over all of them.
    order = random.permutation(len(indices))
    rank = np.empty(len(indices))
    for region in np.unique(regions):
        mine = order[regions[order] == region]
        rank[mine] = (np.arange(len(mine)) + 0.5) / len(mine)
    wanted = min(max(round(share * len(indices)), 1), len(indices) - 1)
    chosen = np.lexsort((order, rank))[:wanted]
    is_valid = np.zeros(len(indices), bool)
    is_valid[chosen] = True
    return indices[~is_valid], indices[is_valid]
