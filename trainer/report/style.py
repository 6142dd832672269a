"""How the models look, the same in every figure: a colour, a dash and a mark by name.

Seven colours, each for one or two kindred models; the second is dashed. The colours stay apart for people
with deuteranopia and protanopia, on the light and on the dark ground, and stand out from both at 3:1 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Colour:
    """A colour of the page: `light` stands in the figures and is replaced by the variable `name`."""

    name: str
    light: str
    dark: str


BLUE = Colour("blue", "#004b8a", "#499ae8")
SKY = Colour("sky", "#319add", "#8ad4ff")
PINK = Colour("pink", "#c15d9a", "#d489be")
RED = Colour("red", "#b23900", "#f0703a")
GOLD = Colour("gold", "#c48800", "#ffc850")
GREEN = Colour("green", "#197d57", "#35b98c")
SLATE = Colour("slate", "#3a434d", "#efe6d8")
MODEL_COLOURS = (BLUE, SKY, PINK, RED, GOLD, GREEN, SLATE)

# Of the page itself.
INK = Colour("ink", "#15202a", "#e9eef2")
MUTED = Colour("muted", "#52606c", "#a7b4bf")
RULE = Colour("rule", "#d5dce2", "#3a4752")
SURFACE = Colour("surface", "#ffffff", "#182027")
WARN = Colour("bad", "#b00020", "#ff8593")
PAGE_COLOURS = (INK, MUTED, RULE, SURFACE, WARN)


@dataclass(frozen=True)
class Style:
    """How one model is drawn."""

    colour: Colour
    dashed: bool
    marker: str  # matplotlib's
    width: float = 1.5

    @property
    def line(self) -> str | tuple[int, tuple[float, float]]:
        """The line style, as matplotlib takes it."""
        return (0, (3.2, 1.6)) if self.dashed else "-"


_STYLES = {
    "cnn_lstm": Style(BLUE, False, "o", 2.4),
    "cnn_only": Style(SKY, False, "s"),
    "lstm_only": Style(SKY, True, "D"),
    "cnn_dnn": Style(PINK, False, "s"),
    "mlp": Style(PINK, True, "D"),
    "random_forest": Style(RED, False, "^"),
    "decision_tree": Style(RED, True, "v"),
    "xgboost": Style(GOLD, False, "^"),
    "svm": Style(GREEN, False, "P"),
    "logistic_regression": Style(GREEN, True, "X"),
    "gaussian_nb": Style(SLATE, False, "h"),
    "bernoulli_nb": Style(SLATE, True, "p"),
}
# For models that are not in the list: the looks that its models leave over come first.
_SPARE = (Style(GOLD, True, "v"), Style(BLUE, True, "*"))


def styles_of(models: Sequence[str]) -> dict[str, Style]:
    """Return each model's style. Unknown models share out the spare ones in the order of their names."""
    unknown = sorted(set(models) - set(_STYLES))
    spare = {name: _SPARE[number % len(_SPARE)] for number, name in enumerate(unknown)}
    return {name: _STYLES.get(name) or spare[name] for name in models}
