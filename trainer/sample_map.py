"""A map of samples on a shaded relief: landslides and the kinds of negatives, and the sides of a split.

draw_sample_map(path, samples, dem, crs, title=..., synthetic=..., groups=None)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.transform import from_bounds
from rasterio.warp import calculate_default_transform, reproject, transform_bounds

from exporters.picture import hillshade
from service.errors import InputError
from trainer.pictures import DPI, WIDEST, Extent, heading, save_picture, scale_bar
from trainer.sample_kinds import Kind, Sample

# Colours of Okabe and Ito (2008), told apart by most eyes. Landslides are drawn last, on top.
_LOOKS: dict[Kind, tuple[str, str, float, str]] = {  # marker, colour, size, words
    Kind.SPATIAL: ("o", "#0072b2", 22, "elsewhere, the day of an event"),
    Kind.FLAT: ("s", "#009e73", 20, "on flat ground, the day of an event"),
    Kind.BOTH: ("D", "#56b4e9", 17, "elsewhere, another day"),
    Kind.TEMPORAL_RANDOM: ("o", "#f0e442", 120, "same place, any other day"),
    Kind.TEMPORAL_SEASON: ("o", "#e69f00", 78, "same place, same season"),
    Kind.TEMPORAL_WET: ("o", "#cc79a7", 46, "same place, a wet day"),
    Kind.EVENT: ("^", "#c4161c", 30, "landslide"),
}
# Negatives at a landslide's place are rings around it, or they would hide each other.
_RINGS = (Kind.TEMPORAL_RANDOM, Kind.TEMPORAL_SEASON, Kind.TEMPORAL_WET)
# Of groups, which may be many folds: Okabe and Ito first, then what is left of the circle.
_GROUPS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#7a4fa3", "#8c5a2b",
    "#4d4d4d", "#9acd32", "#e377c2",
)  # fmt: skip
_WIDTH = 8.6  # inches of one map
_KIND_COLUMNS, _GROUP_COLUMNS = 2, 5
_TALLEST, _LOWEST = 11.0, 4.5
_MARGIN, _LEAST_MARGIN_M = 0.03, 300.0  # around the samples, of the map's side
_LEFT_OUT = "left out"


def draw_sample_map(
    path: Path,
    samples: Sequence[Sample],
    dem: Path,
    crs: CRS,
    *,
    title: str,
    synthetic: bool,
    groups: Sequence[str] | None = None,
) -> None:
    """Draw samples (in `crs`, projected) over the relief of a DEM, as PNG.

    With `groups`, one word for each sample such as its side of a split or its fold, a second map beside the
    first shows these; samples "left out" are white. Raises InputError for a DEM that does not reach the
    samples, no samples, groups of another number, more groups than there are colours; rasterio's
    RasterioIOError for a DEM that cannot be read.
    """
    if not samples:
        raise InputError(f"no sample to draw on {path}")
    if groups is not None and len(groups) != len(samples):
        raise InputError(f"{len(samples)} samples, but {len(groups)} groups")
    names = sorted(set(groups or ()), key=_natural)
    if len(set(names) - {_LEFT_OUT}) > len(_GROUPS):
        raise InputError(f"{len(names)} groups cannot be told apart on a map; {len(_GROUPS)} can")
    extent = _extent(samples, dem, crs)
    light = _relief(dem, crs, extent)
    count = 1 if groups is None else 2
    tall = np.clip(_WIDTH * (extent[3] - extent[2]) / (extent[1] - extent[0]), _LOWEST, _TALLEST)
    kinds = len({sample.kind for sample in samples})
    rows = max(-(-kinds // _KIND_COLUMNS), -(-(len(names) + 2) // _GROUP_COLUMNS) if names else 1)
    # Fixed inches above for the heading and below for the legend, whatever the shape of the region.
    above, below = 1.05, 0.3 + 0.23 * rows
    figure = Figure(figsize=(_WIDTH * count, tall + above + below), dpi=DPI, facecolor="white")
    height = tall + above + below
    figure.subplots_adjust(left=0.02, right=0.98, top=1 - above / height, bottom=below / height, wspace=0.04)
    axes = np.atleast_1d(figure.subplots(1, count))
    for axis in axes:
        _draw_relief(axis, light, extent)
    _draw_kinds(axes[0], samples)
    positives = sum(sample.label for sample in samples)
    axes[0].set_title(
        f"{positives:,} landslides and {len(samples) - positives:,} negatives, by kind", fontsize=12
    )
    if groups is not None:
        _draw_groups(axes[1], samples, groups, names)
        axes[1].set_title("the same samples, by part (landslides + negatives)", fontsize=12)
    heading(figure, title, synthetic)
    save_picture(figure, path)


def _extent(samples: Sequence[Sample], dem: Path, crs: CRS) -> Extent:
    """Return what the map shows: the samples and a margin, as far as the DEM reaches."""
    xy = _xy(samples)
    (left, bottom), (right, top) = xy.min(axis=0), xy.max(axis=0)
    margin = max(_MARGIN * max(right - left, top - bottom), _LEAST_MARGIN_M)
    with rasterio.open(dem) as source:
        if source.crs is None:
            raise InputError(f"the DEM {dem} does not say its CRS")
        there = transform_bounds(source.crs, crs, *source.bounds)
    seen = (
        float(max(left - margin, there[0])), float(min(right + margin, there[2])),
        float(max(bottom - margin, there[1])), float(min(top + margin, there[3])),
    )  # fmt: skip
    if seen[0] >= seen[1] or seen[2] >= seen[3]:
        raise InputError(f"the DEM {dem} does not reach the samples; are these in {crs.to_string()}?")
    return seen


def _relief(dem: Path, crs: CRS, extent: Extent) -> npt.NDArray[np.float64]:
    """Return the light on the ground of the map, at the picture's own resolution; NaN where unknown."""
    left, right, bottom, top = extent
    cell = max(right - left, top - bottom) / WIDEST
    with rasterio.open(dem) as source:
        own, _, _ = calculate_default_transform(source.crs, crs, source.width, source.height, *source.bounds)
        cell = max(cell, abs(own.a))  # finer than the DEM, its cells would show as steps
        shape = max(2, round((top - bottom) / cell)), max(2, round((right - left) / cell))
        elevation = np.full(shape, np.nan)
        reproject(
            rasterio.band(source, 1), elevation,
            dst_transform=from_bounds(left, bottom, right, top, shape[1], shape[0]), dst_crs=crs,
            dst_nodata=np.nan, resampling=Resampling.average if cell > 1.5 * own.a else Resampling.bilinear,
        )  # fmt: skip
    return np.clip(hillshade(elevation, (right - left) / shape[1]), 0, 1)


def _draw_relief(axis: Axes, light: npt.NDArray[np.float64], extent: Extent) -> None:
    # Pale, so that the points stand out; unknown ground is white.
    grey: npt.NDArray[np.float64] = np.where(np.isfinite(light), 0.45 + 0.53 * light**0.8, 1.0)
    axis.imshow(grey, cmap="gray", vmin=0, vmax=1, extent=extent, interpolation="bilinear")
    axis.set_xlim(extent[0], extent[1])
    axis.set_ylim(extent[2], extent[3])
    axis.set_xticks([])
    axis.set_yticks([])
    axis.spines[:].set_color("0.55")
    scale_bar(axis, extent)


def _draw_kinds(axis: Axes, samples: Sequence[Sample]) -> None:
    handles = []
    for kind, (marker, colour, size, words) in _LOOKS.items():
        xy = _xy([sample for sample in samples if sample.kind is kind])
        if not len(xy):
            continue
        ring = kind in _RINGS
        axis.scatter(
            xy[:, 0], xy[:, 1], s=size, marker=marker, zorder=3 + list(_LOOKS).index(kind) / 10,
            facecolor="none" if ring else colour, edgecolor=colour if ring else "white",
            linewidth=1.5 if ring else 0.5,
        )  # fmt: skip
        handles.append(
            Line2D(
                [], [], linestyle="none", marker=marker, markersize=8,
                markerfacecolor="none" if ring else colour, markeredgecolor=colour if ring else "white",
                markeredgewidth=1.6 if ring else 0.5, label=f"{words} ({len(xy):,})",
            )
        )  # fmt: skip
    _legend(axis, handles[::-1], _KIND_COLUMNS)


def _draw_groups(axis: Axes, samples: Sequence[Sample], groups: Sequence[str], names: Sequence[str]) -> None:
    handles = []
    coloured = [name for name in names if name != _LEFT_OUT]
    colours = {**dict(zip(coloured, _GROUPS, strict=False)), _LEFT_OUT: "white"}
    for name in names:
        colour = colours[name]
        edge = "0.3" if name == _LEFT_OUT else "white"
        members = [sample for sample, group in zip(samples, groups, strict=True) if group == name]
        positives = sum(sample.label for sample in members)
        for label, marker, size in ((0, "o", 16), (1, "^", 30)):
            xy = _xy([sample for sample in members if sample.label == label])
            axis.scatter(
                xy[:, 0], xy[:, 1], s=size, marker=marker, facecolor=colour, edgecolor=edge,
                linewidth=0.5, zorder=3 + label,
            )  # fmt: skip
        handles.append(
            Line2D(
                [], [], linestyle="none", marker="o", markersize=8, markerfacecolor=colour,
                markeredgecolor=edge, label=f"{name} ({positives:,} + {len(members) - positives:,})",
            )
        )  # fmt: skip
    for marker, words in (("^", "landslide"), ("o", "negative")):
        handles.append(
            Line2D([], [], linestyle="none", marker=marker, markersize=7, color="0.35", label=words)
        )
    _legend(axis, handles, _GROUP_COLUMNS)


def _legend(axis: Axes, handles: Sequence[Line2D], columns: int) -> None:
    axis.legend(
        handles=list(handles), loc="upper center", bbox_to_anchor=(0.5, -0.012), ncols=columns,
        frameon=False, fontsize=10.5, handletextpad=0.3, columnspacing=1.4,
    )  # fmt: skip


def _xy(samples: Sequence[Sample]) -> npt.NDArray[np.float64]:
    return np.array([(sample.x, sample.y) for sample in samples], np.float64).reshape(-1, 2)


def _natural(name: str) -> tuple[int, int, str]:
    """Sort train, validation and test in that order, folds by number, the rest by name."""
    sides = {"train": 0, "validation": 1, "test": 2, _LEFT_OUT: 4}
    digits = "".join(letter for letter in name if letter.isdigit())
    return sides.get(name, 3), int(digits or 0), name
