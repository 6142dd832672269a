"""Augmentation of patches by the 8 symmetries of the square, with what has a direction turned along.

A symmetry is a number 0 to 7: first a mirror image, east for west, where it is 4 or more; then as many
quarter turns counterclockwise as its remainder by 4. Row 0 is north, column 0 west. Turning the ground turns
its aspect: northness and eastness (its cosine and sine) are the two components of one vector.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from service.errors import InputError

SYMMETRIES = 8
NORTHNESS, EASTNESS = "northness", "eastness"
# Angles and codes of directions: turning them needs more than their name tells.
_DIRECTED = ("aspect",)

FloatArray = npt.NDArray[np.float32]


def check_turnable(names: Sequence[str]) -> None:
    """Raise InputError for factors that cannot be turned with the ground."""
    for name in names:
        if name in _DIRECTED:
            raise InputError(
                f"augmentation cannot turn factor {name!r}: give {NORTHNESS} and {EASTNESS} in its place, or "
                "switch augmentation off"
            )
    if (NORTHNESS in names) != (EASTNESS in names):
        there, missing = (NORTHNESS, EASTNESS) if NORTHNESS in names else (EASTNESS, NORTHNESS)
        raise InputError(f"augmentation turns {there} into {missing}, which is not among the factors; add it")


def turn(patches: FloatArray, names: Sequence[str], symmetries: npt.NDArray[np.integer]) -> FloatArray:
    """Return patches (n, C, P, P), each under its own symmetry (n,), 0 to 7; 0 leaves it as it is.

    `names` are the factors of the channels. Raises InputError as `check_turnable`.
    """
    check_turnable(names)
    turned = np.empty_like(patches)
    north, east = (names.index(name) if name in names else None for name in (NORTHNESS, EASTNESS))
    for symmetry in range(SYMMETRIES):
        chosen = np.flatnonzero(symmetries == symmetry)
        if not len(chosen):
            continue
        mirrored, quarters = divmod(symmetry, 4)
        part = patches[chosen]
        if mirrored:
            part = part[..., ::-1]
        part = np.ascontiguousarray(np.rot90(part, quarters, axes=(-2, -1)))
        if north is not None and east is not None:
            to_north, to_east = part[:, north].copy(), part[:, east].copy()
            if mirrored:
                to_east = -to_east
            for _ in range(quarters):
                to_north, to_east = to_east, -to_north
            part[:, north], part[:, east] = to_north, to_east
        turned[chosen] = part
    return turned
