"""Figures of how well models score: differences, ROC, reliability, success and prediction rates.

Each returns plots (SVG) in the order in which they stand beside each other; legends are the page's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from trainer.curves import Reliability, RocCurve, mean_roc, reliability, roc_curve
from trainer.report.comparison import Comparison, Pair
from trainer.report.inputs import Predictions, RateLine, Values
from trainer.report.markup import Html
from trainer.report.style import INK, MUTED, RULE, SURFACE, Style
from trainer.report.svg import canvas, grid, inline
from trainer.report.words import signed, span

_SQUARE = 300.0  # height of a square plot beside its labels, units
_CORNER = 0.3  # of the ROC that is shown enlarged


def forest(comparison: Comparison, against: str, styles: Mapping[str, Style]) -> Html | None:
    """Draw the AUC difference of each model from one, with its interval; None where none was worked out."""
    pairs: list[tuple[str, float, Pair]] = []
    for name in comparison.ranked():
        pair = comparison.difference(name, against, "auc")
        if pair is not None and pair.difference is not None:
            pairs.append((name, pair.difference, pair))
    if not pairs:
        return None
    title = comparison.models[against].title
    with canvas(height=44 + 29 * len(pairs)) as figure:
        axis = figure.subplots()
        axis.axvline(0, color=INK.light, linewidth=1)
        for row, (name, difference, pair) in enumerate(pairs):
            style = styles[name]
            if pair.low is not None and pair.high is not None:
                axis.plot([pair.low, pair.high], [row, row], color=style.colour.light, linewidth=2.2)
            axis.plot(
                [difference], [row], style.marker, color=style.colour.light, markersize=6.5,
                markeredgecolor=SURFACE.light, markeredgewidth=0.6,
            )  # fmt: skip
            # Above its line, so that the plot has the whole width of a phone.
            beside = f"{signed(pair.difference)}  ({span(pair.low, pair.high, sign=True)})"
            title_of = comparison.models[name].title
            for words, x, side, colour in ((title_of, 0.0, "left", INK), (beside, 1.0, "right", MUTED)):
                axis.annotate(
                    words, (x, row - 0.3), xycoords=("axes fraction", "data"), ha=side, va="bottom",
                    fontsize=8.5, color=colour.light,
                    bbox={"facecolor": SURFACE.light, "linewidth": 0, "pad": 0.8},
                )  # fmt: skip
        axis.set_yticks([])
        axis.set_ylim(len(pairs) - 0.55, -0.85)
        axis.margins(x=0.06)
        axis.locator_params(axis="x", nbins=5)
        axis.set_xlabel(f"AUC, difference from {title}")
        axis.spines["left"].set_visible(False)
        grid(axis, "x")
        return inline(
            figure, f"Differences of AUC from {title} with 95 % intervals; the numbers stand beside"
        )


def roc(
    predictions: Sequence[Predictions], ranked: Sequence[str], styles: Mapping[str, Style]
) -> tuple[Html, ...]:
    """Draw the ROC curves of all models, averaged over repetitions, whole and the upper left corner."""
    curves = {name: curve for name in ranked if (curve := _roc_of(predictions, name)) is not None}
    if not curves:
        return ()
    plots = []
    for corner, what in ((1.0, "whole"), (_CORNER, "upper left corner")):
        with canvas(height=_SQUARE) as figure:
            axis = figure.subplots()
            axis.plot([0, 1], [0, 1], color=RULE.light, linewidth=1.2)
            # The best on top of the others.
            for name in reversed(list(curves)):
                _line(axis, curves[name].false_alarm_rate, curves[name].hit_rate, styles[name])
            axis.set_xlim(0, corner)
            axis.set_ylim(1 - corner, 1 + 0.01 * corner)
            axis.set_aspect("equal", adjustable="box")
            axis.set_title("All of it" if corner == 1 else "The upper left corner", loc="left")
            axis.set_xlabel("false alarm rate (share of non-landslides)")
            axis.set_ylabel("hit rate (share of landslides)")
            grid(axis)
            plots.append(inline(figure, f"ROC curves of {len(curves)} models, {what}"))
    return tuple(plots)


def reliability_overlay(
    predictions: Sequence[Predictions], ranked: Sequence[str], styles: Mapping[str, Style]
) -> tuple[Html, ...]:
    """Draw the reliability of all models together, before calibration and, where one was fitted, after."""
    plots = []
    for after in (False, True):
        curves = {
            name: curve for name in ranked if (curve := reliability_of(predictions, name, after)) is not None
        }
        if not curves:
            continue
        when = "After calibration" if after else "Before calibration"
        with canvas(height=_SQUARE) as figure:
            axis = figure.subplots()
            _diagonal(axis)
            for name in reversed(list(curves)):
                style = styles[name]
                _line(axis, curves[name].predicted, curves[name].observed, style)
                axis.plot(
                    curves[name].predicted, curves[name].observed, style.marker, color=style.colour.light,
                    markersize=4, markeredgecolor=SURFACE.light, markeredgewidth=0.4,
                )  # fmt: skip
            axis.set_title(when, loc="left")
            axis.set_xlabel("susceptibility, mean of the bin")
            axis.set_ylabel("share of landslides in the bin")
            plots.append(inline(figure, f"Reliability of {len(curves)} models. {when}"))
    return tuple(plots)


def reliability_each(predictions: Sequence[Predictions], name: str, title: str, style: Style) -> Html | None:
    """Draw one model's reliability with its intervals, before calibration in grey and after it."""
    before, after = reliability_of(predictions, name, False), reliability_of(predictions, name, True)
    shown = after or before
    if shown is None:
        return None
    with canvas(height=168, width=172) as figure:
        axis = figure.subplots()
        _diagonal(axis)
        if after is not None and before is not None:
            axis.plot(
                before.predicted, before.observed, "o-", color=MUTED.light, markersize=2.5, linewidth=0.9,
                alpha=0.75,
            )  # fmt: skip
        axis.vlines(
            shown.predicted, shown.low, shown.high, color=style.colour.light, linewidth=1.2, alpha=0.6
        )
        axis.plot(shown.predicted, shown.observed, style.marker, color=style.colour.light, markersize=5,
                  markeredgecolor=SURFACE.light, markeredgewidth=0.5)  # fmt: skip
        axis.set_title(title, loc="left")
        axis.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axis.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
        return inline(figure, f"Reliability of {title} by bin, with 95 % intervals")


def rates(lines: Sequence[RateLine], ranked: Sequence[str], styles: Mapping[str, Style]) -> tuple[Html, ...]:
    """Draw success and prediction rate curves, each kind in a plot of all models."""
    plots = []
    for kind in ("prediction", "success"):
        of_kind = {line.model: line.curve for line in lines if line.kind == kind}
        if not of_kind:
            continue
        with canvas(height=_SQUARE - 30) as figure:
            axis = figure.subplots()
            axis.plot([0, 100], [0, 100], color=RULE.light, linewidth=1.2)
            for name in reversed([name for name in ranked if name in of_kind]):
                curve = of_kind[name]
                _line(axis, curve.area_share * 100, curve.event_share * 100, styles[name])
            axis.set_xlim(0, 100)
            axis.set_ylim(0, 101)
            axis.set_title(
                "Prediction rate: held-out landslides" if kind == "prediction" else
                "Success rate: landslides trained on", loc="left",
            )  # fmt: skip
            axis.set_xlabel("most susceptible share of the area, %")
            axis.set_ylabel("share of the landslides, %")
            grid(axis)
            plots.append(inline(figure, f"{kind.capitalize()} rate curves of {len(of_kind)} models"))
    return tuple(plots)


def reliability_of(predictions: Sequence[Predictions], model: str, after: bool) -> Reliability | None:
    """Return a model's reliability over all repetitions together; None where there is nothing to show."""
    own = [item for item in predictions if item.model == model]
    values: list[Values] = []
    for item in own:
        value = item.calibrated if after else item.predicted
        if value is None:
            return None
        values.append(value)
    if not own:
        return None
    label = np.concatenate([item.label for item in own])
    if label.min() == label.max():
        return None
    return reliability(label, np.concatenate(values))


def _roc_of(predictions: Sequence[Predictions], model: str) -> RocCurve | None:
    curves = [
        # The calibration rises with the raw value, so it cannot change a ranking but for ties.
        roc_curve(item.label, item.predicted)
        for item in predictions
        if item.model == model and item.label.min() != item.label.max()
    ]
    if not curves:
        return None
    return curves[0] if len(curves) == 1 else mean_roc(curves, points=201)


def _line(axis: Axes, x: Values, y: Values, style: Style) -> None:
    axis.plot(x, y, color=style.colour.light, linestyle=style.line, linewidth=style.width)


def _diagonal(axis: Axes) -> None:
    axis.plot([0, 1], [0, 1], color=MUTED.light, linewidth=0.9, linestyle=(0, (1, 2)))
    axis.set_xlim(-0.02, 1.02)
    axis.set_ylim(-0.02, 1.02)
    axis.set_aspect("equal", adjustable="box")
    grid(axis)
