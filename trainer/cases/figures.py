"""Figures of the real cases: values of models with their intervals, one panel for each split."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

# mean, low, high
Bounds = Mapping[str, float]
Panels = Mapping[str, Mapping[str, Bounds]]

_POINT, _LINE = "#1f4e79", "#a9c3d8"
_MARKED_POINT, _MARKED_LINE = "#b3541e", "#eec4a3"  # what the figure is about
_REFERENCE = "#8a8a8a"
_COLUMNS = 3


def draw_intervals(
    panels: Panels, path: Path, *, title: str, axis: str, marked: Collection[str] = ()
) -> None:
    """Draw panels of named values with their 95 % intervals, in the order given; `marked` stand out."""
    _draw(panels, path, title, axis, marked, None)


def draw_pairs(panels: Panels, path: Path, *, title: str, axis: str, marked: Collection[str] = ()) -> None:
    """Draw differences with their 95 % intervals about a line of no difference."""
    _draw(panels, path, title, axis, marked, 0.0)


def _draw(
    panels: Panels, path: Path, title: str, axis: str, marked: Collection[str], reference: float | None
) -> None:
    names = list(dict.fromkeys(name for values in panels.values() for name in values))
    columns = min(_COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(2.0 + 2.9 * columns, 0.8 + lines * (0.8 + 0.28 * len(names))))
    figure.set_layout_engine("constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
    figure.suptitle(title, fontsize=11)
    flat: list[Axes] = list(grid.flat)
    for drawn, (name, values) in zip(flat, panels.items(), strict=False):
        if reference is not None:
            drawn.axvline(reference, color=_REFERENCE, linewidth=1)
        _points(drawn, names, values, marked, ".3f" if reference is None else "+.3f")
        drawn.set_title(name, fontsize=9)
        drawn.set_xlabel(axis, fontsize=8)
        drawn.tick_params(axis="x", labelsize=8, labelbottom=True)
        drawn.set_yticks(range(len(names)), names, fontsize=8)
        drawn.set_ylim(len(names) - 0.4, -0.8)
        drawn.grid(axis="x", color="#e6e6e6", linewidth=0.6)
        drawn.set_axisbelow(True)
        drawn.spines[["top", "right"]].set_visible(False)
    for unused in flat[len(panels) :]:
        unused.set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)


def _points(
    drawn: Axes, names: list[str], values: Mapping[str, Bounds], marked: Collection[str], form: str
) -> None:
    for name, bounds in values.items():
        row = names.index(name)
        point, line = (_MARKED_POINT, _MARKED_LINE) if name in marked else (_POINT, _LINE)
        ends = [bounds["low"], bounds["high"]]
        drawn.plot(ends, [row, row], color=line, linewidth=4, solid_capstyle="butt")
        drawn.plot([bounds["mean"]], [row], "o", color=point, markersize=5)
        drawn.annotate(
            format(bounds["mean"], form), (bounds["mean"], row), xytext=(0, 4.5),
            textcoords="offset points", ha="center", fontsize=6.5, color=point,
        )  # fmt: skip
