"""Batches of patches: read ahead on one thread, turned in training, with the pixels that teach something."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.progress import ProgressCallback
from trainer.detection.augment import augment
from trainer.detection.data import Patch, PatchSet

Indices = Sequence[int] | npt.NDArray[Any]
_Item = TypeVar("_Item")
_Job = TypeVar("_Job")


@dataclass(frozen=True)
class Batch:
    """Patches of one step: images (n, C, h, w) float32 with NaN; target and known (n, 1, h, w)."""

    indices: tuple[int, ...]
    images: Tensor
    target: Tensor  # float32, 0 or 1
    known: Tensor  # bool: labelled, and seen

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""
        if device.type == "cpu":
            return self
        return Batch(self.indices, *(one.to(device) for one in (self.images, self.target, self.known)))


def known_pixels(patch: Patch) -> npt.NDArray[np.bool_]:
    """Return the pixels (h, w) that count: labelled 0 or 1, and unknown in no band that the patch has.

    A band that is NaN all over the patch is one the patch lacks, which says nothing of a pixel; where all
    are, nothing is known.
    """
    missing = np.isnan(patch.image)
    lacking = missing.all(axis=(1, 2))
    shape = patch.image.shape[1:]
    if patch.mask is None or lacking.all():
        return np.zeros(shape, np.bool_)
    unseen: npt.NDArray[np.bool_] = np.logical_or.reduce(missing[~lacking], axis=0)
    return ~unseen & (patch.mask <= 1)


def training_batches(
    patches: PatchSet, indices: Indices, size: int, seed: int, epoch: int
) -> Iterator[Batch]:
    """Yield an epoch's batches in random order, each patch under a random symmetry of the square.

    What is drawn depends on seed, epoch and patch alone, so an epoch that is done again is the same. Sizes
    differ by one at most: no batch is left with a single patch, of which batch norm knows no variance.
    """
    order = np.random.default_rng((seed, epoch)).permutation(np.asarray(indices))

    def read(chosen: npt.NDArray[Any]) -> Batch:
        return _batch(chosen, [_turned(patches.read(int(i)), (seed, epoch, int(i))) for i in chosen])

    yield from _ahead(read, np.array_split(order, steps_of(len(order), size)))


def plain_batches(patches: PatchSet, indices: Indices, size: int) -> Iterator[Batch]:
    """Yield batches in the given order, as they are."""
    chosen = np.asarray(indices)

    def read(part: npt.NDArray[Any]) -> Batch:
        return _batch(part, [patches.read(int(i)) for i in part])

    yield from _ahead(read, [chosen[start : start + size] for start in range(0, len(chosen), size)])


def steps_of(patches: int, size: int) -> int:
    """Return the steps of an epoch: the fewest with at most `size` patches each, and two at least."""
    return max(1, min(-(-patches // size), patches // 2))


def digests_of(patches: PatchSet, indices: Indices, progress: ProgressCallback) -> list[str]:
    """Return the SHA-256 of each patch's image and mask."""
    digests = []
    for done, index in enumerate(indices, 1):
        patch = patches.read(int(index))
        digest = hashlib.sha256(np.ascontiguousarray(patch.image).tobytes())
        if patch.mask is not None:
            digest.update(np.ascontiguousarray(patch.mask).tobytes())
        digests.append(digest.hexdigest())
        progress(done, len(indices))
    return digests


def _turned(patch: Patch, drawn_by: tuple[int, int, int]) -> Patch:
    # 255: no label; it must turn as the image does.
    mask = np.full(patch.image.shape[1:], 255, np.uint8) if patch.mask is None else patch.mask
    return Patch(*augment(patch.image, mask, np.random.default_rng(drawn_by)))


def _batch(indices: npt.NDArray[Any], patches: Sequence[Patch]) -> Batch:
    known = np.stack([known_pixels(patch) for patch in patches])[:, None]
    target = np.zeros(known.shape, np.float32)
    for number, patch in enumerate(patches):
        if patch.mask is not None:
            target[number, 0] = patch.mask == 1
    images = np.stack([patch.image for patch in patches]).astype(np.float32, copy=False)
    return Batch(
        tuple(int(i) for i in indices),
        torch.from_numpy(np.ascontiguousarray(images)),
        torch.from_numpy(target),
        torch.from_numpy(known),
    )


def _ahead(read: Callable[[_Job], _Item], jobs: Sequence[_Job]) -> Iterator[_Item]:
    """Yield read(job) in order, the next one being read while the caller works on this one."""
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(read, jobs[0]) if jobs else None
        for following in [*jobs[1:], None]:
            if coming is None:
                return
            item = coming.result()
            coming = None if following is None else pool.submit(read, following)
            yield item
