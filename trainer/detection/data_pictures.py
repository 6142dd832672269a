"""A sheet of patches, in natural colour, with their landslides outlined: to be looked at before training."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from service.errors import InputError
from trainer.detection.data import Image, PatchSet

NATURAL = ("B04", "B03", "B02")


def natural_colour(image: Image, bands: Sequence[str]) -> npt.NDArray[np.float32]:
    """Return red, green, blue, 0 to 1, float32 (H, W, 3), stretched per patch; white where unknown.

    Raises InputError where one of B04, B03, B02 is not among the bands.
    """
    missing = [name for name in NATURAL if name not in bands]
    if missing:
        raise InputError(f"no natural colour without {', '.join(missing)}; the set has {', '.join(bands)}")
    colour = np.stack([image[list(bands).index(name)] for name in NATURAL], axis=-1)
    known = np.isfinite(colour)
    if not known.any():
        return np.ones(colour.shape, np.float32)
    low, high = np.quantile(colour[known], [0.02, 0.98])
    stretched = np.clip((colour - low) / max(high - low, 1e-6), 0, 1)
    return np.where(known, stretched, 1.0).astype(np.float32)


def draw_sheet(patches: PatchSet, indices: Sequence[int], path: Path, columns: int = 6) -> None:
    """Draw the patches at `indices` to a PNG: each in natural colour, and again with its mask outlined."""
    if not indices:
        raise InputError(f"{patches.name}: no patch to draw")
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    columns = min(columns, len(indices))
    rows = -(-len(indices) // columns)
    figure, axes = pyplot.subplots(
        rows, 2 * columns, figsize=(3.2 * columns, 1.85 * rows + 0.5), squeeze=False, layout="constrained"
    )
    for axis in axes.ravel():
        axis.axis("off")
    for place, index in enumerate(indices):
        row, column = divmod(place, columns)
        _draw_patch(axes[row, 2 * column], axes[row, 2 * column + 1], patches, index)
    title = f"{patches.name}: natural colour, and landslides outlined"
    if patches.synthetic:
        title = f"SYNTHETIC, no real place. {title}"
    # A title is not wrapped by itself; 14 characters of this size are about an inch.
    figure.suptitle(textwrap.fill(title, round(3.2 * columns * 14)), fontsize=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Description": title, "Software": "Colluvium"})
    pyplot.close(figure)


def _draw_patch(plain: Any, outlined: Any, patches: PatchSet, index: int) -> None:
    patch = patches.read(index)
    colour = natural_colour(patch.image, patches.bands)
    region = patches.regions[index]
    plain.set_title(f"{patches.ids[index]}{f', {region}' if region else ''}", fontsize=7, loc="left")
    plain.imshow(colour, interpolation="nearest")
    outlined.imshow(colour, interpolation="nearest")
    if patch.mask is None:
        outlined.set_title("no mask", fontsize=7, loc="left")
    else:
        outlined.set_title(f"{patch.mask.mean():.1%} landslide", fontsize=7, loc="left")
        if patch.mask.any() and not patch.mask.all():
            outlined.contour(patch.mask, levels=[0.5], colors="#ff2bd6", linewidths=0.6)
