"""Factors as a bundle wants them, tile by tile, and which cells can be served.

A cell is valid where the mask holds it and enough of its P x P patch is observed in every band.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from service.errors import FactorError
from service.factor_blocks import FactorBlocks, Piece
from service.factor_stack import FactorBand, FactorStack
from service.manifest import FactorSpec, Manifest
from service.region import Region

FloatArray = npt.NDArray[np.float32]
Flags = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]

NO_DATA, VALID, OUTSIDE = 0, 1, 2  # OUTSIDE: valid, but not what the model was trained on


@dataclass(frozen=True)
class Tile:
    """Factors of h x w cells with the halo that their patches need.

    `factors` is float32 (C, h+P-1, w+P-1) in the bundle's order, units and category codes: no continuous
    band holds NaN, a missing category is NaN. `flags` is uint8 (h, w): NO_DATA, VALID or OUTSIDE.
    """

    factors: FloatArray
    flags: Flags


class PatchReader:
    """Reads tiles of a region's factor stack for one bundle. Safe to use from several threads.

    Raises FactorError when the stack lacks a factor of the bundle, or has it in another unit or kind.
    """

    def __init__(
        self, region: Region, stack: FactorStack, manifest: Manifest, min_patch_observed: float
    ) -> None:
        self.patch = manifest.patch
        self._names = [spec.name for spec in manifest.factors]
        bands = [stack.bands[number - 1] for number in stack.index(self._names)]
        channels = [_channel(spec, band) for spec, band in zip(manifest.factors, bands, strict=True)]
        self._least_observed = math.ceil(min_patch_observed * self.patch**2 - 1e-6)
        self.blocks = FactorBlocks(region, stack, self._names, channels)

    def read(self, row: int, column: int, height: int, width: int) -> Tile:
        """Return the tile whose upper left cell is (row, column); it may reach beyond the grid."""
        before, around = self.patch // 2, self.patch - 1
        shape = height + around, width + around
        factors = np.empty((len(self._names), *shape), np.float32)
        pieces = list(self.blocks.pieces(row - before, column - before, *shape))
        centre = (slice(before, before + height), slice(before, before + width))
        for piece in pieces:
            factors[:, *piece.here] = piece.square.factors[:, *piece.there]
        inside = _assembled(pieces, shape, "inside")[centre]
        outside = np.zeros((height, width), bool)
        if any(piece.square.strange for piece in pieces):
            outside |= _assembled(pieces, shape, "outside")[centre]
        lacking = ~inside
        if not all(piece.square.whole for piece in pieces):
            counts = box_sums(_assembled(pieces, shape, "observed"), self.patch)
            outside |= counts < self.patch**2
            lacking |= counts < self._least_observed
        flags = np.where(outside, np.uint8(OUTSIDE), np.uint8(VALID))
        flags[lacking] = NO_DATA
        return Tile(factors, flags)


def _assembled(
    pieces: Sequence[Piece], shape: tuple[int, int], what: Literal["inside", "outside", "observed"]
) -> npt.NDArray[np.bool_]:
    out = np.empty(shape, bool)
    for piece in pieces:
        out[piece.here] = getattr(piece.square, what)[piece.there]
    return out


def box_sums(observed: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.int32]:
    """Return how many of each size x size square are true: (h, w) -> int32 (h-size+1, w-size+1)."""
    sums = np.zeros((observed.shape[0] + 1, observed.shape[1] + 1), np.int32)
    np.cumsum(observed, axis=0, dtype=np.int32, out=sums[1:, 1:])
    np.cumsum(sums[1:, 1:], axis=1, out=sums[1:, 1:])
    return np.asarray(sums[size:, size:] - sums[:-size, size:] - sums[size:, :-size] + sums[:-size, :-size])


@dataclass(frozen=True)
class _Continuous:
    minimum: np.float32
    maximum: np.float32
    middle: np.float32

    def prepare(self, band: FloatArray) -> tuple[Bools, Bools]:
        """Fill what is missing with the middle of the range; say what was there, and where it leaves it."""
        # A minimum of a band with a NaN is NaN, and compares as false.
        if self.minimum <= band.min() and band.max() <= self.maximum:
            return np.ones(band.shape, bool), np.zeros(band.shape, bool)
        observed = np.isfinite(band)
        band[~observed] = self.middle
        return observed, np.asarray((band < self.minimum) | (band > self.maximum))


@dataclass(frozen=True)
class _Categorical:
    source: npt.NDArray[np.float32]  # the stack's codes, rising
    target: npt.NDArray[np.float32]  # the bundle's code of the same name
    unknown: np.float32  # a code that the bundle has no category for

    def prepare(self, band: FloatArray) -> tuple[Bools, Bools]:
        """Translate codes by name; say what was there, and where the bundle does not know the category."""
        observed = np.isfinite(band)
        place = np.minimum(np.searchsorted(self.source, band), len(self.source) - 1)
        known = self.source[place] == band
        band[:] = np.where(known, self.target[place], np.where(observed, self.unknown, np.float32(np.nan)))
        return observed, np.asarray(observed & (band == self.unknown))


def _channel(spec: FactorSpec, band: FactorBand) -> _Continuous | _Categorical:
    if (spec.categories is None) != (band.categories is None):
        kinds = ["continuous" if item.categories is None else "categorical" for item in (spec, band)]
        raise FactorError(
            f"factor {spec.name!r} is {kinds[0]} in the bundle and {kinds[1]} in the factor stack; "
            "either derive it as the bundle has it, or use another bundle"
        )
    if spec.unit != band.unit:
        raise FactorError(
            f"factor {spec.name!r} is in {spec.unit or 'no unit'!r} in the bundle and in "
            f"{band.unit or 'no unit'!r} in the factor stack; derive it in the bundle's unit"
        )
    if spec.categories is None or band.categories is None:
        return _continuous(spec)
    return _categorical(spec.categories, band.categories)


def _continuous(spec: FactorSpec) -> _Continuous:
    if spec.minimum is None or spec.maximum is None:
        raise FactorError(f"factor {spec.name!r} of the bundle has no range")
    ends = np.array([spec.minimum, spec.maximum])
    if spec.log:  # the middle as the graph sees it
        middle = np.mean(np.sign(ends) * np.log1p(np.abs(ends)))
        middle = np.sign(middle) * np.expm1(np.abs(middle))
    else:
        middle = ends.mean()
    return _Continuous(np.float32(spec.minimum), np.float32(spec.maximum), np.float32(middle))


def _categorical(trained: dict[int, str], present: dict[int, str]) -> _Categorical:
    codes = {name: code for code, name in trained.items()}
    unknown = min(trained) - 1
    source: Sequence[int] = sorted(present)
    return _Categorical(
        np.array(source, np.float32),
        np.array([codes.get(present[code], unknown) for code in source], np.float32),
        np.float32(unknown),
    )
