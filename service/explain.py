"""Why a place has the value it has: how much of it is terrain, how much rain, how much the reservoir.

The parts are Shapley values (Shapley, 1953; for models: Lundberg and Lee, 2017) over the groups of a
window's variables, rain and reservoir levels. The worth of a set of groups is what the model says where
those groups have the values of the window in question and the others those of a reference. With two groups
that is four evaluations, and the parts are exact, not sampled:

    rain = ((f(rain) - f()) + (f(rain, reservoir) - f(reservoir))) / 2

The reference of today's value is a month in which nothing happened: no rain on any day, and a reservoir that
stands still at the level of the window's first day. Terrain is what the model says of the place then, so
terrain + rain + reservoir = the value. The reference of what changed since another day is that day's window,
under which terrain is the same, so rain + reservoir = the change.

Parts are shares of an index, and may be negative. None of it is a probability, or a cause in the ground.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial

import numpy as np
import numpy.typing as npt

from service.bundle import Bundle
from service.forcing import RAIN
from service.patches import PatchReader
from service.place import Cell, PlaceWindow
from service.state import SpatialState

FloatArray = npt.NDArray[np.float32]
# Corner windows (e, 4, N, V) -> susceptibility (e,).
Evaluate = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Parts:
    """What makes up a value: terrain + rain + reservoir = total. None: the group plays no part here."""

    total: float
    terrain: float
    rain: float | None
    reservoir: float | None


@dataclass(frozen=True)
class Difference:
    """What makes up a change of the index between two windows: rain + reservoir = after - before."""

    before: float
    after: float
    rain: float | None
    reservoir: float | None


def explain(evaluate: Evaluate, window: PlaceWindow) -> Parts:
    """Return the parts of the model's value under a complete window."""
    worth, groups = _worth(evaluate, reference_corners(window), window)
    parts = dict(zip(groups, shapley(worth), strict=True))
    return Parts(worth[-1], worth[0], parts.get("rain"), parts.get("reservoir"))


def explain_change(evaluate: Evaluate, before: PlaceWindow, now: PlaceWindow) -> Difference:
    """Return the parts of the change of the model's value between two complete windows of one cell."""
    worth, groups = _worth(evaluate, before.corners, now)
    parts = dict(zip(groups, shapley(worth), strict=True))
    return Difference(worth[0], worth[-1], parts.get("rain"), parts.get("reservoir"))


def shapley(worth: Sequence[float]) -> list[float]:
    """Return each player's Shapley value, exactly.

    `worth` holds 2**n values, of the set of players whose bits its index has: worth[0] of none, worth[-1] of
    all. The values sum to worth[-1] - worth[0].
    """
    count = len(worth).bit_length() - 1
    if len(worth) != 2**count:
        raise ValueError(f"{len(worth)} sets of players are not all of any number of them")
    values = []
    for player in range(count):
        others = [1 << other for other in range(count) if other != player]
        value = 0.0
        for size in range(count):
            weight = factorial(size) * factorial(count - size - 1) / factorial(count)
            for joined in combinations(others, size):
                without = sum(joined)
                value += weight * (worth[without | 1 << player] - worth[without])
        values.append(value)
    return values


def reference_corners(window: PlaceWindow) -> FloatArray:
    """Return the corner windows (4, N, V) of a month in which nothing happened."""
    still = window.corners.copy()
    for number, name in enumerate(window.variables):
        if name == "level_below_full" and window.reservoir is not None:
            still[:, :, number] = still[:, :1, number]
        elif name == RAIN or window.reservoir is not None:
            still[:, :, number] = 0.0
    return still


def reference_says(window: PlaceWindow) -> str:
    """Return, in a sentence, what a window is compared with."""
    nothing = "no rain" if RAIN in window.variables else ""
    if window.reservoir is not None:
        still = "a reservoir that stands still at the level of the first day"
        nothing = f"{nothing}, and {still}" if nothing else still
    return f"Compared with {len(window.days)} days in which nothing happened: {nothing or 'no difference'}."


def head_at(bundle: Bundle, state: SpatialState, cell: Cell) -> Evaluate:
    """Return the served path of a factored bundle at one cell: temporal.onnx, then head_u8.onnx."""
    assert cell.forcing_cell is not None  # noqa: S101 - for the type checker
    with state.opened() as file:
        block = file.block()
        file.read(cell.forcing_cell, block)

    def evaluate(corners: FloatArray) -> FloatArray:
        embedding = bundle.temporal(corners.reshape(-1, *corners.shape[2:])).reshape(len(corners), 4, -1)
        found = [
            bundle.head_u8(block.codes, rows[None], block.scale, block.offset)[0, cell.number]
            for rows in embedding
        ]
        return np.array(found, np.float32)

    return evaluate


def whole_at(bundle: Bundle, patches: PatchReader, cell: Cell, weights: FloatArray) -> Evaluate:
    """Return the served path of a whole bundle at one cell: whole.onnx on its patch and its own window."""
    patch = patches.read(cell.row, cell.column, 1, 1).factors

    def evaluate(corners: FloatArray) -> FloatArray:
        own = np.stack([weights @ rows.reshape(4, -1) for rows in corners])
        windows = np.asarray(own.reshape(len(corners), *corners.shape[2:]), np.float32)
        return bundle.whole(np.repeat(patch[None], len(corners), axis=0), windows)

    return evaluate


def _worth(
    evaluate: Evaluate, reference: FloatArray, window: PlaceWindow
) -> tuple[list[float], tuple[str, ...]]:
    """Return the worth of every set of groups, by the bits of its number, and the groups."""
    groups = {
        "rain": [axis for axis, name in enumerate(window.variables) if name == RAIN],
        "reservoir": [axis for axis, name in enumerate(window.variables) if name != RAIN],
    }
    if window.reservoir is None:
        groups["reservoir"] = []
    axes = {name: axis for name, axis in groups.items() if axis}
    mixed = []
    for chosen in range(2 ** len(axes)):
        corners = reference.copy()
        for bit, axis in enumerate(axes.values()):
            if chosen >> bit & 1:
                corners[:, :, axis] = window.corners[:, :, axis]
        mixed.append(corners)
    # Constants of a cell without reservoir are in no group, and the same in both windows.
    return [float(value) for value in evaluate(np.stack(mixed))], tuple(axes)
