"""What is computed for one tile of a layer, wherever that happens.

A TileOrder holds all that changes from tile to tile and from day to day; TileWork what stays: the model, the
state, what the layer shall hold. An order is small and knows nothing of the rest of the region, so that it
can be sent to another machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.companions import QUANTILE_BANDS
from exporters.layer import NODATA, Odds, store
from service.ensemble import count_outside, marks_of, spread_of
from service.head import Head
from service.manifest import Manifest
from service.patches import NO_DATA
from service.state import StateReader
from service.tiles import Tile

FloatArray = npt.NDArray[np.float32]
Stored = npt.NDArray[np.uint8]
# Susceptibility float32 (m, k*k), one for each set of windows, of a tile's members and their known cells.
WholePath = Callable[[npt.NDArray[np.intp], npt.NDArray[np.bool_]], list[FloatArray]]


@dataclass(frozen=True)
class TileOrder:
    """A tile and its day. The tile's forcing cells (m,) have four corner windows and a valid cell each.

    corners: of each window set, what temporal.onnx made of the corner windows, (m, 4, D); of the members of
    an ensemble in `member_corners`. Empty for bundles of kind `whole`.
    """

    tile: Tile
    strange: npt.NDArray[np.bool_]  # (m,) a corner window lies outside the training ranges
    in_range: Mapping[int, npt.NDArray[np.bool_]] = field(default_factory=dict)  # position -> (k*k,) in reach
    corners: tuple[FloatArray, ...] = ()
    member_corners: tuple[FloatArray, ...] = ()


@dataclass(frozen=True)
class TileResult:
    """What a tile holds: arrays (m, k*k) by what they say; known cells outside the training ranges."""

    tile: Tile
    blocks: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)
    outside: int = 0


@dataclass(frozen=True)
class Model:
    """A model as tiles run it: its state, and its head or, for kind `whole`, the generic path."""

    state: StateReader
    head: Head | None = None
    whole: WholePath | None = None


@dataclass(frozen=True)
class TileWork:
    """Computes tiles; safe to use from several threads."""

    manifest: Manifest
    model: Model
    members: Sequence[Model] = ()
    odds: Odds | None = None
    quantiles: bool = False  # several window sets: their median is shown, and QUANTILE_BANDS beside it

    def expect(self, order: TileOrder) -> None:
        """Be told of an order that will soon be computed; what it takes from the disk is read ahead."""
        if len(order.tile.members):
            for model in (self.model, *self.members):
                model.state.expect(order.tile.members)

    def compute(self, order: TileOrder) -> TileResult:
        """Return what a tile holds. Raises StorageError when the state is cut short."""
        members = order.tile.members
        if not len(members):
            return TileResult(order.tile)
        state = self.model.state.tile(members)
        known = state.flags != NO_DATA
        for number, in_range in order.in_range.items():
            known[number] &= in_range
        unknown = None if known.all() else ~known
        blocks: dict[str, npt.NDArray[Any]] = {}
        if self.model.head is not None:
            each = self.model.head.run(state.blocks, order.corners)
        else:
            each = self._whole(self.model, members, known)
        susceptibility = each[0]
        if self.quantiles:
            low, susceptibility, high = _quantiles(each)
            blocks["low"], blocks["high"] = _stored(low, unknown), _stored(high, unknown)
        blocks["stored"] = _stored(susceptibility, unknown)
        if self.members:
            others = [self._member(number, order, known) for number in range(len(self.members))]
            blocks["spread"] = _stored(spread_of(susceptibility, others), unknown)
            marks = marks_of(self.manifest, state.flags, order.strange)
            blocks["marks"] = np.where(known, marks, np.uint8(NODATA))
        if self.odds is not None:
            blocks["probability"] = np.where(known, self.odds.correct(susceptibility), np.float32(np.nan))
        return TileResult(order.tile, blocks, count_outside(self.manifest, state.flags, known, order.strange))

    def _member(self, number: int, order: TileOrder, known: npt.NDArray[np.bool_]) -> FloatArray:
        model, members = self.members[number], order.tile.members
        if model.head is None:
            return self._whole(model, members, known)[0]
        corners = order.member_corners[number]
        return model.head.run(model.state.tile(members).blocks, [corners])[0]

    def _whole(
        self, model: Model, members: npt.NDArray[np.intp], known: npt.NDArray[np.bool_]
    ) -> list[FloatArray]:
        if model.whole is None:
            raise ValueError("a model has a head or a whole path")
        return model.whole(members, known)


def _quantiles(each: Sequence[FloatArray]) -> FloatArray:
    """Return QUANTILE_BANDS over members' outputs, linear between them: type 7 of Hyndman and Fan (1996)."""
    return np.asarray(np.quantile(np.stack(each), list(QUANTILE_BANDS.values()), axis=0), np.float32)


def _stored(values: FloatArray, unknown: npt.NDArray[np.bool_] | None) -> Stored:
    stored = store(values)
    if unknown is not None:
        np.putmask(stored, unknown, NODATA)
    return stored
