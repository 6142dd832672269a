"""Maps of every model of a comparison, over the same cells on the same day, as PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from exporters.layer import store
from exporters.palette import SUSCEPTIBILITY_TABLE
from exporters.picture import encode_png, hillshade
from service.files import replacing
from trainer.dataset import Dataset

_SCALE = 8  # pixels of a picture to a cell of the lattice
_SHADE = 0.45  # how dark the darkest slope becomes


def ground_map(ground: Dataset, susceptibility: npt.NDArray[np.float64], path: Path) -> None:
    """Draw susceptibility (n,) of the cells of a lattice, shaded where elevation is among the factors.

    What the lattice leaves out (no complete patch or window) stays transparent.
    """
    row, column, step = _lattice(ground.xy)
    codes = np.full((row.max() + 1, column.max() + 1), 255, np.uint8)
    codes[row, column] = store(susceptibility)
    large = np.kron(codes, np.ones((_SCALE, _SCALE), np.uint8))
    rgba = SUSCEPTIBILITY_TABLE[large].copy()
    rgba[..., :3] = (rgba[..., :3] * _light(ground, row, column, step, codes.shape)[..., None]).astype(
        np.uint8
    )
    with replacing(path) as temporary:
        temporary.write_bytes(encode_png(rgba))


def _lattice(
    xy: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], float]:
    """Return rows from the north, columns from the west, and the lattice's step in metres."""
    gaps = [np.diff(np.unique(np.round(xy[:, axis], 3))) for axis in (0, 1)]
    step = float(min((gap.min() for gap in gaps if gap.size), default=1.0))
    column = np.rint((xy[:, 0] - xy[:, 0].min()) / step).astype(np.int64)
    row = np.rint((xy[:, 1].max() - xy[:, 1]) / step).astype(np.int64)
    return row, column, step


def _light(
    ground: Dataset,
    row: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    step: float,
    shape: tuple[int, ...],
) -> npt.NDArray[np.float64]:
    names = [factor.name for factor in ground.factors]
    if ground.patches is None or "elevation" not in names:
        return np.ones((shape[0] * _SCALE, shape[1] * _SCALE))
    centre = ground.patch // 2
    height = np.asarray(ground.patches[:, names.index("elevation"), centre, centre], np.float64)
    lattice = np.full(shape, np.nan)
    lattice[row, column] = height
    # Where the lattice has a gap, the slope beside it is taken as flat.
    filled = np.where(np.isfinite(lattice), lattice, np.nanmean(lattice))
    smooth = ndimage.zoom(filled, _SCALE, order=1, grid_mode=True, mode="nearest")
    return np.asarray(1 - _SHADE + _SHADE * hillshade(smooth, step / _SCALE) / np.sqrt(0.5)).clip(0, 1)
