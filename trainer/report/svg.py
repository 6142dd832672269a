"""A matplotlib figure as SVG inside a page: its colours follow the page's, its text is the page's text.

    with canvas(width, height) as figure: ...      a figure in the report's type and colours
    inline(figure, description) -> Html

Figures are about 330 units wide, so that their 9-unit text stays readable on a phone; wide screens show
several beside each other. Coordinates are kept to a hundredth of a unit. The same figure, the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from trainer.report.markup import Html, element
from trainer.report.style import INK, MODEL_COLOURS, MUTED, PAGE_COLOURS, RULE

WIDTH = 331.0
_POINTS = 72.0
_LOOK: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 9.0,
    "axes.labelsize": 9.0,
    "axes.titlesize": 9.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "text.color": INK.light,
    "axes.labelcolor": INK.light,
    "axes.titlecolor": INK.light,
    "xtick.color": RULE.light,
    "ytick.color": RULE.light,
    "xtick.labelcolor": MUTED.light,
    "ytick.labelcolor": MUTED.light,
    "axes.edgecolor": RULE.light,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "grid.color": RULE.light,
    "grid.linewidth": 0.6,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "path.simplify": False,
    "axes.unicode_minus": True,
    "text.parse_math": False,
}
_VARIABLE = {colour.light: f"var(--{colour.name})" for colour in (*MODEL_COLOURS, *PAGE_COLOURS)}
_ROOT = re.compile(r'<svg [^>]*viewBox="([^"]*)"[^>]*>(.*)</svg>', re.DOTALL)
_ASIDE = re.compile(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.DOTALL)
_FAMILY = re.compile(r"font-family: [^;\"]*;? ?")
_LEVEL = re.compile(r' transform="rotate\(-?0 [^)]*\)"')
_LONG = re.compile(r"-?\d+\.\d{3,}(?:e-?\d+)?")
_ID = re.compile(r' id="([^"]*)"')
_USED = re.compile(r"#([A-Za-z][\w.-]*)")
_TAG = re.compile(r"<[^>]*>")


@contextmanager
def canvas(height: float, width: float = WIDTH) -> Iterator[Figure]:
    """Open a figure of some units (1/72 inch) in the report's look; draw and call `inline` inside."""
    with matplotlib.rc_context(_LOOK):
        yield Figure(figsize=(width / _POINTS, height / _POINTS), layout="constrained")


def inline(figure: Figure, description: str) -> Html:
    """Return the figure as <svg role="img">; `description` says in words what it shows."""
    FigureCanvasSVG(figure)
    content = io.StringIO()
    # The salt is fixed: else the ids of clips and marks would be drawn at random.
    with matplotlib.rc_context({"svg.hashsalt": "colluvium"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    found = _ROOT.search(content.getvalue())
    if found is None:
        raise RuntimeError("matplotlib wrote no <svg> element")
    box, body = found.groups()
    body = _ASIDE.sub("", body)
    used = set(_USED.findall(body))
    prefix = "f" + hashlib.sha256((description + body).encode()).hexdigest()[:8] + "-"
    body = _TAG.sub(lambda tag: _clean(tag.group(), used, prefix), body)
    body = re.sub(r">\s+<", "><", body).replace("<defs></defs>", "")
    box = " ".join(f"{float(value):g}" for value in box.split())
    return element("svg", Html(body), viewBox=box, role="img", aria_label=description, class_="plot")


def grid(axis: Axes, which: str = "both") -> None:
    """Draw the faint grid of the report on one axis."""
    axis.grid(visible=True, axis=which)  # type: ignore[arg-type]
    axis.tick_params(length=0)


def _clean(tag: str, used: set[str], prefix: str) -> str:
    """Shorten one tag, put the page's variables for its colours, and make its ids the figure's own."""
    tag = _FAMILY.sub("", tag)
    tag = _LEVEL.sub("", tag)
    tag = _ID.sub(lambda found: f' id="{prefix}{found[1]}"' if found[1] in used else "", tag)
    tag = re.sub(r'(url\(|xlink:href=")#', lambda found: f"{found[1]}#{prefix}", tag)
    tag = _LONG.sub(_short, tag).replace("\n", "")
    for light, variable in _VARIABLE.items():
        tag = tag.replace(light, variable)
    return tag


def _short(number: re.Match[str]) -> str:
    return f"{float(number.group()):.2f}".rstrip("0").rstrip(".")
