"""The figures of a comparison of detectors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.detection.compare_results import ModelResult, PaperRow
from trainer.report.markup import Html, figure
from trainer.report.style import BLUE, MODEL_COLOURS, MUTED
from trainer.report.svg import canvas, grid, inline


def dots(rows: Sequence[tuple[ModelResult, PaperRow | None]]) -> Html:
    """Draw F1 by model: a dot with its interval, each seed's value as a stroke, the paper's as a ring."""
    if not rows:
        return Html("")
    with canvas(60.0 + 21.0 * len(rows), 520.0) as drawn:
        axis = drawn.subplots()
        for place, (model, paper) in enumerate(rows):
            found = model.scores["f1"]
            for value in found.seeds.values():
                if value is not None:
                    axis.plot(value, place, "|", color=BLUE.light, markersize=9)
            if found.low is not None and found.high is not None:
                axis.plot([found.low, found.high], [place, place], color=BLUE.light, linewidth=2)
            if found.mean is not None:
                axis.plot(found.mean, place, "o", color=BLUE.light, markersize=6)
            if paper is not None:
                axis.plot(
                    paper.f1, place, "o", markersize=6, markerfacecolor="none", markeredgecolor=MUTED.light
                )
        axis.set_yticks(range(len(rows)), [model.title for model, _ in rows])
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.set_xlim(0, 1)
        axis.set_xlabel("F1, pooled over pixels")
        grid(axis, "x")
        plot = inline(drawn, "F1 of each model with its interval over seeds, and the paper's figure")
    return figure(
        "Dot and bar: this run, mean and 95\u00a0% interval over seeds; strokes: single seeds. Ring: the "
        "paper's figure, of its own split.",
        plot,
    )


def sizes(models: Sequence[ModelResult]) -> Html:
    """Draw the share of landslides hit by their size, a line for each model."""
    with canvas(210.0, 520.0) as drawn:
        axis = drawn.subplots()
        words = [size.words for size in models[0].objects.by_size] if models else []
        for number, model in enumerate(models):
            colour = MODEL_COLOURS[number % len(MODEL_COLOURS)].light
            values = [
                np.nan if size.recall.mean is None else size.recall.mean for size in model.objects.by_size
            ]
            dash = "-" if number < len(MODEL_COLOURS) else (0, (3.2, 1.6))
            axis.plot(range(len(words)), values, marker="o", markersize=4, color=colour, linestyle=dash,
                      label=model.title)  # fmt: skip
        axis.set_xticks(range(len(words)), words)
        axis.set_ylim(-0.03, 1.03)
        axis.set_ylabel("share hit")
        grid(axis, "y")
        drawn.legend(loc="outside right upper", frameon=False, fontsize=8)
        plot = inline(drawn, "Share of mapped landslides that were hit, by their size, for each model")
    return figure("Landslides hit, by size. A gap: no landslide of that size in the test part.", plot)
