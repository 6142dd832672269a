"""An ensemble's members beside the main model: their states, how far they disagree, what none was trained on.

The layer shows the main model. Its members say how much of that is the luck of a training: the spread is the
standard deviation of susceptibility over the main model and its members (population, so that one member and
the main model give half their distance). It says nothing of what they all have wrong; the marks say where
that must be expected, because the inputs lie beyond the training ranges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from exporters.layer import BEYOND_FACTORS, BEYOND_WINDOW
from service.bundle import Bundle
from service.factor_stack import FactorStack
from service.manifest import Manifest
from service.patches import OUTSIDE, Flags
from service.progress import ProgressCallback
from service.region import Region
from service.sequences import WindowSet
from service.state import Keep, SpatialState, open_or_build_state
from service.state_build import BuildTiles

FloatArray = npt.NDArray[np.float32]

# What a refresh runs of a member; the rest is not kept in memory.
_SERVED = {"factored": ("temporal.onnx", "head_u8.onnx"), "whole": ("whole.onnx",)}


@dataclass(frozen=True)
class Member:
    """A member as a refresh runs it."""

    bundle: Bundle
    state: SpatialState


def open_states(
    region: Region,
    stack: FactorStack,
    bundle: Bundle,
    folder: Path,
    *,
    min_patch_observed: float,
    workers: int,
    progress: ProgressCallback | None = None,
    keep: Keep = "stored",
    build: Callable[[Bundle, int], BuildTiles] | None = None,
) -> tuple[SpatialState, ...]:
    """Return the spatial states of the main model and of each member, built where they are not there.

    A state is found by what it was made from, so members share the folder with the main model's. Members of
    kind "whole" have the main model's: it holds flags alone, and those depend on the factors. `progress`
    counts forcing cells over all of them; `keep` is as for `open_or_build_state`, and `build` gives
    its `build` for the main model (0) or a member. Raises what that raises.
    """
    numbers = bundle.manifest.member_numbers if bundle.manifest.kind == "factored" else ()
    total = (1 + len(numbers)) * len(region.forcing.active)
    states: list[SpatialState] = []

    def report(done: int, of: int) -> None:
        if progress is not None:
            progress(len(states) * of + done, total)

    for number in (0, *numbers):
        one = bundle.member(number, ("spatial.onnx",)) if number else bundle
        states.append(
            open_or_build_state(
                region,
                stack,
                one,
                folder,
                min_patch_observed=min_patch_observed,
                workers=workers,
                progress=report,
                keep=keep,
                build=build(one, number) if build is not None else None,
                # Members take the same inputs, so that a square of factors is in memory once for all.
                patches=states[0].patches if states else None,
            )
        )
    return tuple(states)


def open_members(bundle: Bundle, states: Sequence[SpatialState]) -> tuple[Member, ...]:
    """Load what a refresh needs of each member; `states` as `open_states` returns them."""
    manifest = bundle.manifest
    return tuple(
        Member(bundle.member(number, _SERVED[manifest.kind]), states[number if len(states) > 1 else 0])
        for number in manifest.member_numbers
    )


def spread_of(main: FloatArray, members: Sequence[FloatArray]) -> FloatArray:
    """Return the population standard deviation, over the main model and its members, of (...) arrays."""
    every = np.stack([main, *members])
    # Two passes: the values of one cell lie close together.
    return np.asarray(np.sqrt(np.mean((every - every.mean(axis=0)) ** 2, axis=0)), np.float32)


def values_outside(manifest: Manifest, windows: WindowSet) -> npt.NDArray[np.bool_]:
    """Return which values of the distinct windows lie outside the training ranges: bool (m, N, V)."""
    low = np.array([spec.minimum for spec in manifest.variables], np.float32)
    high = np.array([spec.maximum for spec in manifest.variables], np.float32)
    unlinked = np.array(
        [np.nan if spec.name == "rain" else spec.unlinked for spec in manifest.variables], np.float32
    )
    values = windows.windows
    # The constant of cells without a reservoir is what the model was told to expect.
    return np.asarray(((values < low) | (values > high)) & (values != unlinked))


def windows_outside(manifest: Manifest, windows: WindowSet) -> npt.NDArray[np.bool_]:
    """Return which forcing cells have a corner window with a value outside the training ranges: bool (n,)."""
    # One more row: forcing cells without a window have corner -1.
    outside = np.append(values_outside(manifest, windows).any(axis=(1, 2)), False)
    return np.asarray(outside[windows.corner_rows].any(axis=1))


def marks_of(
    manifest: Manifest, flags: Flags, window_outside: npt.NDArray[np.bool_]
) -> npt.NDArray[np.uint8]:
    """Return the out-of-domain bits, uint8 (g, k*k), of flags (g, k*k) and forcing cells' windows (g,).

    An input that the model ignores cannot be strange to it, and sets no bit.
    """
    marks = np.zeros(flags.shape, np.uint8)
    if "patches" not in manifest.ignores:
        marks[flags == OUTSIDE] |= BEYOND_FACTORS
    if "window" not in manifest.ignores:
        marks[window_outside] |= BEYOND_WINDOW
    return marks


def count_outside(
    manifest: Manifest,
    flags: Flags,
    known: npt.NDArray[np.bool_],
    window_outside: npt.NDArray[np.bool_],
) -> int:
    """Return how many known cells (g, k*k) have an out-of-domain bit; the rest is as for `marks_of`."""
    outside = (flags == OUTSIDE) & known if "patches" not in manifest.ignores else np.zeros_like(known)
    if "window" not in manifest.ignores and window_outside.any():
        outside[window_outside] = known[window_outside]
    return int(np.count_nonzero(outside))
