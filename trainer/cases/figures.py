"""Figures of the real cases: values of models with their intervals, one panel for each split."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# mean, low, high
Bounds = Mapping[str, float]

_POINT, _LINE, _REFERENCE = "#1f4e79", "#8fb1cc", "#b0b0b0"


def draw_intervals(panels: Mapping[str, Mapping[str, Bounds]], path: Path, *, title: str, axis: str) -> None:
    """Draw panels of named values with their 95 % intervals, sorted as they are given."""
    figure, axes = _panels(panels, title)
    for drawn, (name, values) in zip(axes, panels.items(), strict=True):
        _points(drawn, name, values, axis)
    _save(figure, path)


def draw_pairs(panels: Mapping[str, Mapping[str, Bounds]], path: Path, *, title: str, axis: str) -> None:
    """Draw differences with their 95 % intervals about a line of no difference."""
    figure, axes = _panels(panels, title)
    for drawn, (name, values) in zip(axes, panels.items(), strict=True):
        drawn.axvline(0.0, color=_REFERENCE, linewidth=1)
        _points(drawn, name, values, axis)
    _save(figure, path)


def _panels(panels: Mapping[str, Mapping[str, Bounds]], title: str) -> tuple[Figure, list[Axes]]:
    rows = max(len(values) for values in panels.values())
    columns = min(3, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(1.2 + 3.6 * columns, 0.9 + lines * (0.9 + 0.27 * rows)), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, sharex=True, squeeze=False)
    figure.suptitle(title, fontsize=11)
    flat = list(grid.flat)
    for unused in flat[len(panels) :]:
        unused.set_visible(False)
    return figure, flat[: len(panels)]


def _points(drawn: Axes, name: str, values: Mapping[str, Bounds], axis: str) -> None:
    for row, bounds in enumerate(values.values()):
        drawn.plot(
            [bounds["low"], bounds["high"]], [row, row], color=_LINE, linewidth=4, solid_capstyle="butt"
        )
        drawn.plot([bounds["mean"]], [row], "o", color=_POINT, markersize=5)
        drawn.annotate(
            f"{bounds['mean']:.3f}", (bounds["mean"], row), xytext=(0, 5), textcoords="offset points",
            ha="center", fontsize=6.5, color=_POINT,
        )  # fmt: skip
    drawn.set_yticks(range(len(values)), list(values), fontsize=8)
    drawn.set_ylim(len(values) - 0.4, -0.8)
    drawn.set_title(name, fontsize=9, loc="left")
    drawn.set_xlabel(axis, fontsize=8)
    drawn.tick_params(axis="x", labelsize=8, labelbottom=True)
    drawn.grid(axis="x", color="#e6e6e6", linewidth=0.6)
    drawn.set_axisbelow(True)
    for side in ("top", "right"):
        drawn.spines[side].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
