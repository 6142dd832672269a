"""Pictures of the Apennines case: a class map, and the class areas by day."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import rasterio
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator, DateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from exporters.layer import CLASS_COLOURS, CLASS_LABELS
from service.files import replacing

_LONGEST = 1400  # cells of a picture's longer side
_UNKNOWN = (0.86, 0.86, 0.88)
_COLOURS = [(red / 255, green / 255, blue / 255) for red, green, blue in CLASS_COLOURS]
_WORDS = [label.replace("_", " ") for label in CLASS_LABELS]


def picture_of_class(path: Path, target: Path, title: str) -> None:
    """Draw a class.tif; unknown is grey, never the colour of low."""
    with rasterio.open(path) as classes:
        step = max(1, max(classes.shape) // _LONGEST)
        small = classes.read(1, out_shape=(1, classes.height // step, classes.width // step))
        attribution = classes.tags().get("TIFFTAG_COPYRIGHT", "")
    figure = Figure(figsize=(11, 9.5), layout="constrained")
    axes = figure.add_subplot()
    colours = ListedColormap([_UNKNOWN, *_COLOURS])
    axes.imshow(small, cmap=colours, vmin=-0.5, vmax=4.5, interpolation="nearest")
    axes.set_title(title)
    axes.set_axis_off()
    shades = [Patch(color=colour, label=word) for colour, word in zip(_COLOURS, _WORDS, strict=True)]
    axes.legend(handles=[*shades, Patch(color=_UNKNOWN, label="unknown")], loc="lower right")
    if attribution:
        figure.text(0.01, 0.005, attribution, fontsize=6, wrap=True)
    _save(figure, target)


def picture_of_areas(areas_m2: dict[date, dict[str, float]], target: Path) -> None:
    """Draw the share of each class in the known area, day by day; gaps between periods stay gaps."""
    days = sorted(areas_m2)
    values = np.array([[areas_m2[day][label] for label in CLASS_LABELS] for day in days])
    shares = 100 * values / values.sum(axis=1, keepdims=True)
    breaks = [n for n in range(1, len(days)) if (days[n] - days[n - 1]).days > 7]
    periods = np.split(np.arange(len(days)), breaks)
    figure = Figure(figsize=(12, 4.5), layout="constrained")
    axes = figure.subplots(
        1, len(periods), sharey=True, squeeze=False, width_ratios=[max(60, len(p)) for p in periods]
    )
    for axis, period in zip(axes[0], periods, strict=True):
        axis.stackplot([days[n] for n in period], shares[period].T, colors=_COLOURS, labels=_WORDS)
        # A label for about each month, and two where a period is shorter.
        axis.xaxis.set_major_locator(AutoDateLocator(minticks=2, maxticks=max(3, len(period) // 40)))
        axis.xaxis.set_major_formatter(DateFormatter("%d %b\n%Y"))
        axis.margins(0)
    axes[0][0].set_ylabel("share of the known area, %")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.suptitle("Susceptibility classes by day, share of the area with a known class")
    _save(figure, target)


def _save(figure: Figure, target: Path) -> None:
    FigureCanvasAgg(figure)
    with replacing(target) as temporary:
        figure.savefig(temporary, dpi=110)
