"""A section of the report, or the word on why it is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.report.comparison import Comparison
from trainer.report.markup import Html, element, join
from trainer.report.style import Style, styles_of


@dataclass(frozen=True)
class Section:
    """`id` is its anchor."""

    id: str
    title: str
    body: Html


@dataclass(frozen=True)
class Absent:
    """A section that is left out, and why."""

    title: str
    why: str


Part = Section | Absent


def legend(comparison: Comparison, models: Sequence[str], notes: dict[str, str] | None = None) -> Html:
    """Return the legend of a figure: a stroke as each model is drawn, its title, and a note beside it."""
    styles = styles_of(models)
    items = []
    for name in models:
        told = (notes or {}).get(name)
        items.append(
            element(
                "li",
                stroke(styles[name]),
                element("span", comparison.models[name].title, class_="who"),
                element("span", told, class_="quiet") if told else None,
            )
        )
    return element("ul", *items, class_="legend")


def stroke(style: Style) -> Html:
    """Return the small line that stands for a model."""
    line = element(
        "line", x1="1", y1="6", x2="27", y2="6",
        style=f"stroke:var(--{style.colour.name});stroke-width:{style.width + 0.8:g}",
        stroke_dasharray="5 3" if style.dashed else None,
    )  # fmt: skip
    return element("svg", line, viewBox="0 0 28 12", class_="stroke", aria_hidden="true")


def note(*children: Html | str | None) -> Html:
    return element("p", *children, class_="note")


def beside(plots: Sequence[Html], class_: str = "beside") -> Html:
    """Put plots beside each other where there is room."""
    return element("div", join(element("div", plot, class_="panel") for plot in plots), class_=class_)
