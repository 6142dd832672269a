"""Labelled samples as the training loop reads them: batch by batch, from memory or from disk."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from service.errors import InputError

FloatArray = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]

ROWS_AT_ONCE = 256  # outside training


@dataclass(frozen=True)
class FitSamples:
    """Labelled samples. A place is a patch or its ready spatial embedding; without windows it is CNN-only.

    Arrays may be memory-mapped: a batch is read when it is used. With `rows`, sample i is row rows[i] of
    windows, patches and embeddings, so that parts of one file on disk need no copies of their own.
    """

    labels: FloatArray  # (n,) 1 landslide, 0 none; what lies between is a share, such as of labellers
    windows: FloatArray | None = None  # (n, N, V) physical units
    patches: FloatArray | None = None  # (n, C, P, P) physical units
    embeddings: FloatArray | None = None  # (n, S), as `trainer.rain_test.embed` makes them
    weights: FloatArray | None = None  # (n,) of each sample in the loss; None: all 1
    rows: Indices | None = None  # (n,) None: sample i is row i

    def __post_init__(self) -> None:
        if (self.patches is None) == (self.embeddings is None):
            raise InputError("samples need either patches or spatial embeddings, not both")
        count = len(self.labels)
        for name in ("windows", "patches", "embeddings", "weights", "rows"):
            value = getattr(self, name)
            if value is None:
                continue
            of_rows = self.rows is not None and name not in ("weights", "rows")
            if not of_rows and len(value) != count:
                raise InputError(f"{count} labels, but {len(value)} {name}")
            if of_rows and count and len(value) <= int(self.rows.max()):  # type: ignore[union-attr]
                raise InputError(f"rows reach {int(self.rows.max())}, but there are {len(value)} {name}")  # type: ignore[union-attr]
        outside = np.flatnonzero((self.labels < 0) | (self.labels > 1))
        if len(outside):
            first = int(outside[0])
            raise InputError(f"labels lie between 0 and 1; that of sample {first} is {self.labels[first]}")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, name: str, chosen: Indices) -> FloatArray:
        """Return a copy of the chosen samples' windows, patches, embeddings, labels or weights.

        Raises InputError that names a sample with NaN or infinity.
        """
        values = getattr(self, name)
        if values is None:
            raise InputError(f"the samples have no {name}")
        of_rows = self.rows is not None and name not in ("weights", "labels")
        where = self.rows[chosen] if of_rows and self.rows is not None else chosen
        found = np.array(values[where], dtype=np.float32)
        bad = ~np.isfinite(found.reshape(len(chosen), -1)).all(axis=1)
        if bad.any():
            raise InputError(
                f"{name} of sample {int(chosen[bad][0])} hold NaN or infinity; leave the sample out"
            )
        return found

    def embedded(self, embeddings: FloatArray) -> Self:
        """Return the samples with embeddings (n, S), one for each sample, in place of patches."""
        everyone = np.arange(len(self))
        windows = None if self.windows is None else self.take("windows", everyone)
        return replace(self, patches=None, embeddings=embeddings, windows=windows, rows=None)

    def digest(self) -> str:
        """Return the SHA-256 of all that the loop reads; patches are read a few hundred at a time."""
        digest = hashlib.sha256()
        for name in ("labels", "weights", "windows", "patches", "embeddings"):
            values = getattr(self, name)
            digest.update(f"{name} {None if values is None else values.shape[1:]} ".encode())
            if values is not None:
                for chosen in batches(np.arange(len(self)), ROWS_AT_ONCE):
                    digest.update(self.take(name, chosen).tobytes())
        return digest.hexdigest()


@dataclass(frozen=True)
class Batch:
    """Some samples as tensors on one device."""

    labels: Tensor
    weights: Tensor
    windows: Tensor | None
    patches: Tensor | None
    embeddings: Tensor | None


def every_other(batch: Batch) -> Batch:
    """Return every second sample of a batch, from the first."""

    def half(values: Tensor | None) -> Tensor | None:
        return None if values is None else values[::2]

    return Batch(
        batch.labels[::2],
        batch.weights[::2],
        half(batch.windows),
        half(batch.patches),
        half(batch.embeddings),
    )


def read_batch(samples: FitSamples, chosen: Indices, device: torch.device) -> Batch:
    """Return the chosen samples. Raises InputError that names a sample with NaN."""

    def tensor(name: str) -> Tensor | None:
        if getattr(samples, name) is None:
            return None
        return torch.from_numpy(samples.take(name, chosen)).to(device)

    labels, weights = tensor("labels"), tensor("weights")
    if labels is None:
        raise TypeError("samples always have labels")
    if weights is None:
        weights = torch.ones_like(labels)
    return Batch(labels, weights, tensor("windows"), tensor("patches"), tensor("embeddings"))


def batches(order: Indices, size: int) -> list[Indices]:
    """Return an order in batches of `size`; a last one of one sample joins the one before."""
    parts = [order[start : start + size] for start in range(0, len(order), size)]
    if len(parts) > 1 and len(parts[-1]) == 1:
        # Batch norm has no variance of one sample.
        last = parts.pop()
        parts[-1] = np.concatenate([parts[-1], last])
    return parts


def reading(samples: FitSamples, device: torch.device, size: int = ROWS_AT_ONCE) -> Iterator[Batch]:
    """Yield all samples in their order."""
    for chosen in batches(np.arange(len(samples)), size):
        yield read_batch(samples, chosen, device)
