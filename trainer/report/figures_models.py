"""Figures of what models learnt: training curves, importance, occlusion, and how factors hang together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from trainer.collinearity import WARN_ABOVE
from trainer.importance import LEVELS, PATCH, RAIN
from trainer.report.inputs import Collinearity, ImportanceRow, OcclusionExample, TrainingRun
from trainer.report.markup import Html
from trainer.report.style import BLUE, GOLD, GREEN, INK, MUTED, PINK, RED, SURFACE, WARN, Colour, Style
from trainer.report.svg import canvas, grid, inline
from trainer.report.words import metric, number, plain, signed

# The branches of the hybrid keep their colours through importance and occlusion.
_GROUPS = {"reservoir": PINK, LEVELS: PINK, PATCH: GREEN, RAIN: BLUE}
_OTHER_GROUPS = (GOLD, RED)
# ColorBrewer PuOr, safe for the colour-blind: negative violet, none pale, positive orange.
_CORRELATION = LinearSegmentedColormap.from_list("correlation", ["#542788", "#f7f7f7", "#b35806"])
_LABEL = 34  # letters of a row's name


def group_colours(groups: Sequence[str]) -> dict[str, Colour]:
    """Return each group's colour; groups without one of their own share out the spare ones."""
    others = [name for name in sorted(set(groups)) if name not in _GROUPS]
    spare = {name: _OTHER_GROUPS[number % len(_OTHER_GROUPS)] for number, name in enumerate(others)}
    return {name: _GROUPS.get(name) or spare[name] for name in dict.fromkeys(groups)}


def training(runs: Sequence[TrainingRun], title: str, style: Style) -> Html:
    """Draw the loss of one model's runs by epoch: training thin and pale, validation full."""
    with canvas(height=190, width=280) as figure:
        axis = figure.subplots()
        most = 0
        for run in runs:
            epochs = [item.epoch for item in run.history]
            most = max(most, *epochs)
            axis.plot(
                epochs, [item.train for item in run.history], color=MUTED.light, linewidth=0.9, alpha=0.8
            )
            axis.plot(
                epochs, [item.validation for item in run.history], color=style.colour.light, linewidth=1.4
            )
            chosen = next((item for item in run.history if item.epoch == run.best_epoch), None)
            if chosen is not None:
                axis.plot(
                    [chosen.epoch], [chosen.validation], "o", color=style.colour.light, markersize=5,
                    markeredgecolor=SURFACE.light, markeredgewidth=0.7, zorder=4,
                )  # fmt: skip
        axis.set_title(title, loc="left")
        axis.set_xlabel("epoch")
        axis.set_ylabel("cross-entropy")
        axis.set_xlim(0.5 if most < 10 else 0, most + 0.5)
        axis.set_ylim(bottom=0)
        axis.locator_params(axis="x", integer=True, nbins=6)
        grid(axis)
        return inline(figure, f"Training curves of {title}, {len(runs)} runs, up to {most} epochs")


def importance(rows: Sequence[ImportanceRow], title: str, metric_name: str) -> Html:
    """Draw the mean drop of a metric by input, largest first, with its interval."""
    ordered = sorted(rows, key=lambda row: (-row.drop, row.name))
    colours = group_colours([row.group for row in rows])
    what = metric(metric_name).short
    with canvas(height=56 + 17 * len(ordered)) as figure:
        axis = figure.subplots()
        axis.axvline(0, color=INK.light, linewidth=0.9)
        for place, row in enumerate(ordered):
            colour = colours[row.group].light
            axis.plot([0, row.drop], [place, place], color=colour, linewidth=4.5, alpha=0.45,
                      solid_capstyle="butt")  # fmt: skip
            if row.low is not None and row.high is not None:
                axis.plot([row.low, row.high], [place, place], color=colour, linewidth=1.6)
            axis.plot([row.drop], [place], "o", color=colour, markersize=5, markeredgecolor=SURFACE.light,
                      markeredgewidth=0.6)  # fmt: skip
        axis.set_yticks(range(len(ordered)), [_shortened(row.name) for row in ordered])
        axis.tick_params(axis="y", labelcolor=INK.light)
        axis.set_ylim(len(ordered) - 0.3, -0.7)
        axis.set_xlabel(f"mean drop of {what} when shuffled")
        axis.set_title(title, loc="left")
        axis.spines["left"].set_visible(False)
        axis.locator_params(axis="x", nbins=5)
        grid(axis, "x")
        return inline(figure, f"{title}: permutation importance, drop of {what}, with 95 % intervals")


def occlusion(example: OcclusionExample, most: int = 10) -> Html:
    """Draw what the inputs of one sample add to its susceptibility, the strongest first."""
    strongest = sorted(example.effects, key=lambda effect: (-abs(effect[1]), effect[0]))[:most]
    names, values = [_shortened(name) for name, _ in strongest], [value for _, value in strongest]
    with canvas(height=52 + 17 * len(values)) as figure:
        axis = figure.subplots()
        axis.axvline(0, color=INK.light, linewidth=0.9)
        reach = max([abs(value) for value in values], default=0.0) or 0.01
        for place, value in enumerate(values):
            colour = RED.light if value >= 0 else BLUE.light
            axis.barh(place, value, height=0.62, color=colour)
            axis.annotate(
                signed(value), (value, place), xytext=(3 if value >= 0 else -3, 0),
                textcoords="offset points", va="center", ha="left" if value >= 0 else "right", fontsize=7.5,
                color=MUTED.light,
            )  # fmt: skip
        axis.set_yticks(range(len(values)), names)
        axis.tick_params(axis="y", labelcolor=INK.light)
        axis.set_ylim(len(values) - 0.4, -0.6)
        falls = any(value < 0 for value in values)
        axis.set_xlim(-1.35 * reach if falls else 0, 1.35 * reach)
        axis.set_xlabel("raises (+) or lowers (−) the susceptibility by")
        axis.spines["left"].set_visible(False)
        axis.locator_params(axis="x", nbins=5)
        grid(axis, "x")
        return inline(figure, f"Occlusion of {example.title}: the strongest {len(values)} inputs")


def pearson(collinearity: Collinearity) -> Html:
    """Draw the correlations of the factors as a coloured matrix; those from 0.5 up are written in."""
    names = [_shortened(name, 22) for name in collinearity.names]
    k = len(names)
    width = max(300.0, 110 + 19.0 * k)
    with canvas(height=width * 0.98, width=width) as figure:
        axis = figure.subplots()
        values = np.asarray(collinearity.pearson, np.float64)
        axis.pcolormesh(values, cmap=_CORRELATION, vmin=-1, vmax=1, edgecolors=SURFACE.light, linewidth=0.6)
        axis.invert_yaxis()
        axis.set_aspect("equal")
        for row in range(k):
            for column in range(k):
                value = values[row, column]
                if row != column and abs(value) >= 0.5:
                    axis.text(
                        column + 0.5, row + 0.5, number(value, 2).replace("0.", "."),
                        ha="center", va="center", fontsize=6.5,
                        color="#fffffe" if abs(value) > 0.75 else "#1a1a1b",
                    )  # fmt: skip
        axis.set_xticks(np.arange(k) + 0.5, names, rotation=90)
        axis.set_yticks(np.arange(k) + 0.5, names)
        axis.tick_params(length=0, labelsize=7.5)
        for spine in axis.spines.values():
            spine.set_visible(False)
        return inline(figure, f"Pearson correlations of {k} factors")


def inflation(collinearity: Collinearity) -> Html:
    """Draw the variance inflation factors on a logarithmic axis, with the line that warns."""
    known = np.asarray(collinearity.vif, np.float64)
    top = float(max([12.0, *known[np.isfinite(known)] * 1.6]))
    order = np.argsort(-known, kind="stable")
    with canvas(height=50 + 15.5 * len(order)) as figure:
        axis = figure.subplots()
        for place, index in enumerate(order):
            value = float(known[index])
            high = value > WARN_ABOVE
            shown = value if np.isfinite(value) else top
            axis.barh(place, shown - 1, left=1, height=0.62, color=RED.light if high else MUTED.light,
                      alpha=1 if high else 0.7)  # fmt: skip
            axis.annotate(
                "infinite" if not np.isfinite(value) else f"{value:.1f}", (shown, place), xytext=(3, 0),
                textcoords="offset points", va="center", fontsize=7.5, color=MUTED.light,
            )  # fmt: skip
        axis.axvline(WARN_ABOVE, color=WARN.light, linewidth=1, linestyle=(0, (3, 2)))
        axis.set_xscale("log")
        axis.set_xlim(1, top * 1.5)
        ticks = [tick for tick in (1, 2, 5, 10, 20, 50, 100, 1000) if tick <= top * 1.5]
        axis.set_xticks(ticks, [str(tick) for tick in ticks])
        axis.minorticks_off()
        axis.set_yticks(range(len(order)), [_shortened(collinearity.names[index]) for index in order])
        axis.tick_params(axis="y", labelcolor=INK.light)
        axis.set_ylim(len(order) - 0.4, -0.6)
        axis.set_xlabel("variance inflation factor (the line: 5)")
        axis.spines["left"].set_visible(False)
        grid(axis, "x")
        return inline(figure, "Variance inflation factors of the factors; above 5 is a warning")


def _shortened(name: str, most: int = _LABEL) -> str:
    words = plain(name)
    return words if len(words) <= most else f"{words[: most - 1]}…"
