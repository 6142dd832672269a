"""Pictures of layers for people: the map before and after a storm, and the class areas by day.

    before_and_after(path, before, after, ...)      two maps side by side, over a shaded relief
    class_areas_by_day(path, days, ...)             shares of the classes, with the rain above

A picture of a synthetic region says SYNTHETIC in its title. Rasters are read at the
picture's own resolution, so memory does not grow with the region.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
import shapely
from affine import Affine
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from rasterio.enums import Resampling
from rasterio.warp import reproject

from exporters.layer import CLASS_COLOURS, CLASS_LABELS
from exporters.picture import hillshade
from service.files import replacing

WIDEST = 1_400  # pixels of a map's side; finer cells would not be seen
DPI = 110
_ABOVE = 8  # in the order of drawing: points lie on a map, the scale above them
_WORDS = {"low": "low", "moderate": "moderate", "high": "high", "very_high": "very high"}
_COLOURS = [(red / 255, green / 255, blue / 255) for red, green, blue in CLASS_COLOURS]
Extent = tuple[float, float, float, float]  # left, right, bottom, top


@dataclass(frozen=True)
class MapView:
    """One layer as it is drawn."""

    day: date
    data_until: date
    class_path: Path  # class.tif
    shares: Mapping[str, float]  # class label -> share of the known area


@dataclass(frozen=True)
class DayAreas:
    """Class shares of one day's layer, and the rain of the day before it."""

    day: date
    shares: Mapping[str, float]
    rain_mm: float | None  # mean of the reporting gauges; None where none reported


def before_and_after(
    path: Path,
    before: MapView,
    after: MapView,
    *,
    title: str,
    synthetic: bool,
    dem: Path,
    outlines: Sequence[tuple[shapely.Geometry, str]],
    water: Sequence[shapely.Geometry] = (),
    names: tuple[str, str] = ("Before the storm", "After the storm"),
) -> None:
    """Draw two layers of one region beside each other.

    `names` stand above them. `outlines` are zones with their names, `water` reservoirs, both in the layers'
    CRS. `dem` covers them.
    Raises rasterio's RasterioIOError where a raster cannot be read.
    """
    figure = Figure(figsize=(15.2, 8.9), dpi=DPI, facecolor="white")
    axes = figure.subplots(1, 2)
    for view, axis, when in zip((before, after), axes, names, strict=True):
        _draw_map(axis, view, dem, outlines, water)
        axis.set_title(
            f"{when}: {view.day:%d %B %Y}\n"
            f"rain and levels until {view.data_until:%d %B}; high and very high "
            f"{view.shares.get('high', 0) + view.shares.get('very_high', 0):.1%} of the area",
            fontsize=12,
        )
    heading(figure, title, synthetic)
    handles = [
        Patch(
            facecolor=colour,
            edgecolor="0.4",
            label=f"{_WORDS[label]}  ({before.shares.get(label, 0):.1%} → {after.shares.get(label, 0):.1%})",
        )
        for label, colour in zip(CLASS_LABELS, _COLOURS, strict=True)
    ]
    handles.append(Patch(facecolor="0.72", edgecolor="0.4", label="unknown"))
    handles.append(Patch(facecolor="#7fb2d9", edgecolor="#1f5f99", label="reservoir"))
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=6,
        frameon=False,
        fontsize=11,
        title="Susceptibility class (share of the area before → after)",
        title_fontsize=11,
    )
    figure.subplots_adjust(left=0.035, right=0.985, top=0.845, bottom=0.11, wspace=0.07)
    save_picture(figure, path)


def class_areas_by_day(path: Path, days: Sequence[DayAreas], *, title: str, synthetic: bool) -> None:
    """Draw the shares of the classes by day, and the rain that stands behind them."""
    figure = Figure(figsize=(12.5, 7.0), dpi=DPI, facecolor="white")
    rain, shares = figure.subplots(2, 1, sharex=True, height_ratios=[1, 2.4])
    when = np.array([np.datetime64(day.day) for day in days])
    fallen = [np.nan if day.rain_mm is None else day.rain_mm for day in days]
    rain.bar(when, fallen, width=0.85, color="#3b78b0")
    rain.set_ylabel("rain of the\nday before, mm")
    rain.set_ylim(bottom=0)
    stack = np.array([[day.shares.get(label, np.nan) * 100 for day in days] for label in CLASS_LABELS])
    bottom = np.zeros(len(days))
    # The dangerous classes stand on the axis, where their height can be read.
    for number in reversed(range(len(CLASS_LABELS))):
        shares.bar(
            when, stack[number], bottom=bottom, width=1.0, color=_COLOURS[number],
            edgecolor="white", linewidth=0.3, label=_WORDS[CLASS_LABELS[number]],
        )  # fmt: skip
        bottom = bottom + stack[number]
    shares.set_ylabel("share of the area, %")
    shares.set_ylim(0, 100)
    shares.set_xlim(when[0] - np.timedelta64(12, "h"), when[-1] + np.timedelta64(12, "h"))
    locator = AutoDateLocator()
    shares.xaxis.set_major_locator(locator)
    shares.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    shares.set_xlabel("day of the layer")
    for axis in (rain, shares):
        axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*shares.get_legend_handles_labels(), loc="lower center", ncols=4, frameon=False)
    heading(figure, title, synthetic)
    figure.subplots_adjust(left=0.09, right=0.98, top=0.87, bottom=0.15, hspace=0.08)
    save_picture(figure, path)


def _draw_map(
    axis: Axes,
    view: MapView,
    dem: Path,
    outlines: Sequence[tuple[shapely.Geometry, str]],
    water: Sequence[shapely.Geometry],
) -> None:
    classes, extent, cell = _read(view.class_path, Resampling.nearest)
    elevation = np.full(classes.shape, np.nan, dtype=np.float64)
    with rasterio.open(view.class_path) as layer, rasterio.open(dem) as source:
        reproject(
            rasterio.band(source, 1),
            elevation,
            dst_transform=Affine(cell, 0, layer.bounds.left, 0, -cell, layer.bounds.top),
            dst_crs=layer.crs,
            dst_nodata=np.nan,
            resampling=Resampling.bilinear,
        )
    light = np.clip(hillshade(elevation, cell), 0, 1)
    colours = ListedColormap([(0.72, 0.72, 0.72), *_COLOURS])(classes)[..., :3]
    # Between a half and full brightness: the relief is felt, the class stays readable.
    shaded = colours * (0.5 + 0.5 * np.nan_to_num(light, nan=0.8) ** 0.8)[..., None]
    axis.imshow(np.clip(shaded * 1.06, 0, 1), extent=extent, interpolation="nearest")
    for polygon in water:
        for part in getattr(polygon, "geoms", [polygon]):
            x, y = part.exterior.xy
            axis.fill(x, y, facecolor="#7fb2d9", edgecolor="#1f5f99", linewidth=0.8)
    for polygon, name in outlines:
        for part in getattr(polygon, "geoms", [polygon]):
            axis.plot(*part.exterior.xy, color="0.12", linewidth=0.9, alpha=0.8)
        middle = polygon.representative_point()
        axis.annotate(
            name, (middle.x, middle.y), ha="center", va="center", fontsize=9, color="0.05",
            bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.72, "linewidth": 0},
        )  # fmt: skip
    axis.set_xlim(extent[0], extent[1])
    axis.set_ylim(extent[2], extent[3])
    axis.set_xticks([])
    axis.set_yticks([])
    scale_bar(axis, extent)


def _read(path: Path, resampling: Resampling) -> tuple[npt.NDArray[Any], Extent, float]:
    with rasterio.open(path) as source:
        step = max(1.0, max(source.shape) / WIDEST)
        shape = round(source.height / step), round(source.width / step)
        values = source.read(1, out_shape=shape, resampling=resampling)
        bounds = source.bounds
    extent = bounds.left, bounds.right, bounds.bottom, bounds.top
    return values, extent, (bounds.right - bounds.left) / shape[1]


def scale_bar(axis: Axes, extent: Extent) -> None:
    """Draw a bar of a round length and an arrow to the north into a map."""
    left, right, bottom, top = extent
    width = right - left
    # The largest of 1, 2, 5 x 10^n metres that spans at most a quarter of the map.
    power = 10 ** np.floor(np.log10(width / 4))
    length = next(step * power for step in (5, 2, 1) if step * power <= width / 4)
    x, y = left + 0.04 * width, bottom + 0.035 * (top - bottom)
    box = {"boxstyle": "round,pad=0.2", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
    axis.plot([x, x + length], [y, y], color="black", linewidth=3.5, solid_capstyle="butt",
              zorder=_ABOVE)  # fmt: skip
    label = f"{length / 1000:g} km"
    axis.annotate(label, (x + length / 2, y), xytext=(0, 6), textcoords="offset points", ha="center",
                  fontsize=9, bbox=box, zorder=_ABOVE)  # fmt: skip
    # An annotation's arrow points from its text to its place: the text stands below the tip.
    north, tip = right - 0.05 * width, top - 0.03 * (top - bottom)
    axis.annotate(
        "N", (north, tip), xytext=(north, tip - 0.075 * (top - bottom)), ha="center", fontsize=11, bbox=box,
        arrowprops={"arrowstyle": "-|>", "color": "black"}, zorder=_ABOVE,
    )  # fmt: skip


def heading(figure: Figure, title: str, synthetic: bool) -> None:
    """Write the title above a picture, and what is made up in it."""
    figure.suptitle(f"SYNTHETIC: {title}" if synthetic else title, fontsize=15, fontweight="bold", y=0.975)
    if synthetic:
        warning = "made up from a seed: no real place, weather or landslide"
        figure.text(0.5, 0.925, warning, ha="center", fontsize=10.5, color="#a01515")


def save_picture(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, the same bytes each time."""
    FigureCanvasAgg(figure)
    with replacing(path) as temporary:
        # No version of matplotlib in the file: the same layer gives the same picture.
        figure.savefig(temporary, format="png", metadata={"Software": None})
