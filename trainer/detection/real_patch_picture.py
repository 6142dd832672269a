"""The picture of a real patch: before, after with the truth, and what each method outlines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from service.files import replacing
from trainer.detection.data import Image
from trainer.detection.data_pictures import NATURAL, natural_colour

_TRUTH, _SAID = "#ff2bd6", "#ffd400"


@dataclass(frozen=True)
class Outlined:
    """What is drawn; arrays are (H, W), row 0 north."""

    day: date
    day_before: date
    colour: Image  # B04, B03, B02, (3, H, W)
    colour_before: Image
    truth: npt.NDArray[np.bool_]
    probability: npt.NDArray[np.float32]
    said: dict[str, npt.NDArray[np.bool_]]  # caption -> what a method says
    pixel_size_m: float


def draw(what: Outlined, path: Path, *, detector: str, synthetic: bool) -> None:
    """Write the picture as a PNG; a detector trained on made-up landslides is called so in it."""
    height, width = what.truth.shape
    extent = (0.0, width * what.pixel_size_m, 0.0, height * what.pixel_size_m)
    with matplotlib.rc_context({"font.size": 9.0}):
        figure = Figure(figsize=(13.0, 9.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(2, 3).ravel()
        before, after = (natural_colour(image, NATURAL) for image in (what.colour_before, what.colour))
        _show(axes[0], before, f"before, {what.day_before}", extent)
        _show(axes[1], after, f"after, {what.day}, with the mapped landslides", extent)
        _outline(axes[1], what.truth, _TRUTH, extent)
        drawn = axes[2].imshow(what.probability, vmin=0, vmax=1, cmap="viridis", extent=extent)
        axes[2].set_title("probability by the detector (an index)", loc="left")
        figure.colorbar(drawn, ax=axes[2], shrink=0.8)
        for axis, (caption, said) in zip(axes[3:], what.said.items(), strict=True):
            _show(axis, after, caption, extent)
            _outline(axis, what.truth, _TRUTH, extent)
            _outline(axis, said, _SAID, extent)
        for axis in axes:
            axis.set_xticks([0, extent[1]], ["0", f"{extent[1]:.0f} m"])
            axis.set_yticks([])
        figure.legend(
            handles=[
                Line2D([], [], color=_TRUTH, label="mapped landslide"),
                Line2D([], [], color=_SAID, label="said by the method"),
            ],
            loc="outside lower center",
            ncols=2,
            frameon=False,
        )
        trained = ", trained on SYNTHETIC landslides" if synthetic else ""
        figure.suptitle(f"A real patch; detector {detector}{trained}", fontsize=11)
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110, metadata={"Software": "Colluvium"})


def _show(axis: Any, colour: npt.NDArray[np.float32], title: str, extent: tuple[float, ...]) -> None:
    axis.imshow(colour, interpolation="nearest", extent=extent)
    axis.set_title(title, loc="left")


def _outline(axis: Any, mask: npt.NDArray[np.bool_], colour: str, extent: tuple[float, ...]) -> None:
    if mask.any() and not mask.all():
        axis.contour(
            mask.astype(float), levels=[0.5], colors=colour, linewidths=0.9, origin="upper", extent=extent
        )
