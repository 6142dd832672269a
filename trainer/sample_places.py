"""Places that samples may be drawn at, taken from a factor stack."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from rasterio.windows import Window

from service.errors import InputError
from service.factor_stack import FactorStack
from trainer.sample_kinds import Elsewhere

_ROWS = 256  # of one strip
SLOPE = "slope"  # the factor's name, degrees


def places_on(
    stack: FactorStack,
    patch: int,
    *,
    names: Sequence[str] | None = None,
    slope_below: float | None = None,
    columns: tuple[int, int] | None = None,
    limit: int = 200_000,
    seed: int = 0,
) -> Elsewhere:
    """Return a callback that draws centres of cells whose whole patch of `names` is known.

    `names` are by default every factor of the stack. With `slope_below` (degrees) only cells flatter than
    that, with `columns` (first, last + 1) only cells of those. The stack is read once, strip by strip; where
    more than `limit` cells qualify, so many of them, drawn from the seed, stand for all, so memory does not
    grow with the region. A cell's patch is that of trainer.patches.

    Raises InputError where no cell qualifies, or `slope_below` is given without a factor slope.
    """
    wanted = tuple(names or (band.name for band in stack.bands))
    known = [band.name for band in stack.bands]
    if slope_below is not None and SLOPE not in known:
        raise InputError(f"flat ground needs a factor {SLOPE!r}; the stack has: {', '.join(known)}")
    read = wanted if slope_below is None or SLOPE in wanted else (*wanted, SLOPE)
    grid = stack.grid
    generator = np.random.default_rng(seed)
    keys = np.zeros(0)
    cells = np.zeros((0, 2), np.int64)
    for start in range(0, grid.height, _ROWS):
        rows = min(_ROWS, grid.height - start)
        before = patch // 2
        window = Window(-before, start - before, grid.width + patch - 1, rows + patch - 1)
        strip = stack.read(read, window)
        known_here = np.asarray(np.isfinite(strip[: len(wanted)]).all(axis=0))
        good = _complete(known_here, patch)
        if slope_below is not None:
            inside = strip[read.index(SLOPE), before : before + rows, before : before + grid.width]
            # NaN is not flat.
            good &= inside < slope_below
        if columns is not None:
            good[:, : columns[0]] = False
            good[:, columns[1] :] = False
        here = np.argwhere(good) + np.array([start, 0])
        keys = np.concatenate([keys, generator.random(len(here))])
        cells = np.concatenate([cells, here])
        if len(cells) > limit:
            kept = np.argpartition(keys, limit)[:limit]
            keys, cells = keys[kept], cells[kept]
    if not len(cells):
        flat = "" if slope_below is None else f" flatter than {slope_below:g} degrees"
        raise InputError(
            f"no cell{flat} of {stack.path} has a whole patch of {patch} x {patch} cells with every factor"
        )
    xy = np.stack(
        [
            grid.left + (cells[:, 1] + 0.5) * grid.cell_size_m,
            grid.top - (cells[:, 0] + 0.5) * grid.cell_size_m,
        ],
        axis=1,
    )

    def draw(random: np.random.Generator, count: int) -> npt.NDArray[np.float64]:
        return np.asarray(xy[random.integers(0, len(xy), count)])

    return draw


def _complete(known: npt.NDArray[np.bool_], patch: int) -> npt.NDArray[np.bool_]:
    """Tell of each cell whether all P x P cells of its patch are known: (h + P - 1, w + P - 1) -> (h, w)."""
    total = np.zeros((known.shape[0] + 1, known.shape[1] + 1), np.int64)
    total[1:, 1:] = known.cumsum(axis=0, dtype=np.int64).cumsum(axis=1)
    held = total[patch:, patch:] - total[:-patch, patch:] - total[patch:, :-patch] + total[:-patch, :-patch]
    return np.asarray(held == patch * patch)
