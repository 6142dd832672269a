"""What the models learnt: training curves, importance, occlusion, and factors that say the same."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.collinearity import WARN_ABOVE
from trainer.report import figures_models as figures
from trainer.report.inputs import Importance, ImportanceRow, OcclusionExample, ReportInputs
from trainer.report.markup import Html, bullets, element, figure, join, table
from trainer.report.section import Absent, Part, Section, beside, note
from trainer.report.style import styles_of
from trainer.report.words import NINETY_FIVE, NONE, metric, number, plain, sentence, share, signed, span

_DRAWN = 4  # samples that are shown at once


def _title(inputs: ReportInputs, model: str) -> str:
    known = inputs.comparison.models.get(model)
    return known.title if known else plain(model)


def training(inputs: ReportInputs) -> Part:
    """Return the training curves of the models that have epochs."""
    runs = [run for run in inputs.training if run.history]
    if not runs:
        return Absent("Training curves", "no model with epochs was trained, or no history was given")
    named = {run.model for run in runs}
    order = [name for name in inputs.comparison.ranked() if name in named]
    order += sorted(named - set(order))
    styles = styles_of(order)
    plots = [
        figures.training([run for run in runs if run.model == name], _title(inputs, name), styles[name])
        for name in order
    ]
    said = (
        "Mean cross-entropy by epoch, without penalties. Grey: training samples; colour: validation "
        "samples; the dot: the epoch that was kept. One pair of lines for each fit."
    )
    return Section("training", "Training curves", figure(said, beside(plots, "many")))


def importance(inputs: ReportInputs) -> Part:
    """Return the importance of factors and of groups of factors, with intervals."""
    if not inputs.importance:
        return Absent("Importance of the factors", "it was not worked out")
    shown: dict[str, list[Importance]] = {}
    for item in inputs.importance:
        shown.setdefault(item.model, []).append(item)
    parts = [_importance_of(_title(inputs, model), runs) for model, runs in shown.items()]
    return Section("importance", "Importance of the factors", join(parts))


def _importance_of(title: str, runs: list[Importance]) -> Html:
    """Draw the first run of a model; all of them stand as numbers below."""
    first = runs[0]
    plots = []
    if first.groups:
        plots.append(figures.importance(first.groups, f"{title}: by group", first.metric))
    if first.factors:
        plots.append(figures.importance(first.factors, f"{title}: by input", first.metric))
    of_run = f"Drawn: {first.run}, the first of {len(runs)} runs. " if len(runs) > 1 else ""
    said = (
        f"How far {metric(first.metric).short} falls on held-out samples when one input, or one group, is "
        f"shuffled among them; repeated, with {NINETY_FIVE} intervals. {of_run}Inputs that say the same "
        "share their importance: shuffling one leaves the other."
    )
    tables = [
        _rows(f"{caption}{f', {item.run}' if item.run else ''}", item.metric, rows)
        for item in runs
        for caption, rows in (("By group", item.groups), ("By input", item.factors))
        if rows
    ]
    numbers = element("details", element("summary", "The same as numbers"), *tables)
    return figure(said, beside(plots), _group_legend([*first.groups, *first.factors]), numbers)


def _rows(caption: str, metric_name: str, rows: Sequence[ImportanceRow]) -> Html:
    shares = any(row.share is not None for row in rows)
    lines = []
    for row in sorted(rows, key=lambda row: (-row.drop, row.name)):
        line = [plain(row.name), plain(row.group), signed(row.drop, 4), span(row.low, row.high, 4, sign=True)]
        if shares:
            line.append(NONE if row.share is None else share(row.share / 100))
        lines.append(line)
    head = ["Input", "Group", f"Drop of {metric(metric_name).short}", f"{NINETY_FIVE} interval"]
    return table(caption, [*head, "Share"] if shares else head, lines, class_="numbers")


def _group_legend(rows: list[ImportanceRow]) -> Html:
    colours = figures.group_colours([row.group for row in rows])
    items = [
        element(
            "li", element("span", class_="swatch", style=f"background:var(--{colour.name})"), plain(group)
        )
        for group, colour in colours.items()
    ]
    return element("ul", *items, class_="legend")


def occlusion(inputs: ReportInputs) -> Part:
    """Return what single samples owe to their inputs."""
    if not inputs.occlusion:
        return Absent("Single samples explained", "no sample was taken apart by occlusion")
    samples = [element("div", _sample(inputs, item), class_="panel") for item in inputs.occlusion]
    shown = element("div", *samples[:_DRAWN], class_="beside")
    if len(samples) > _DRAWN:
        rest = element("summary", f"{len(samples) - _DRAWN} more samples")
        shown = join([shown, element("details", rest, element("div", *samples[_DRAWN:], class_="beside"))])
    said = (
        "What a sample's susceptibility changes by when one input is replaced by its typical value, the "
        "strongest ten. Inputs work together, so the bars need not add up; they are of one sample and have "
        "no interval."
    )
    return Section("occlusion", "Single samples explained", figure(said, shown))


def _sample(inputs: ReportInputs, item: OcclusionExample) -> Html:
    what = "a landslide" if item.label else "no landslide"
    head = f"{_title(inputs, item.model)}: {number(item.susceptibility)}, in truth {what}"
    return join([element("h3", item.title), note(head), figures.occlusion(item)])


def collinearity(inputs: ReportInputs) -> Part:
    """Return how the factors hang together, with a warning for those that others explain."""
    known = inputs.collinearity
    if known is None:
        return Absent("Factors that say the same", "correlation and inflation were not worked out")
    high = [
        f"{plain(name)}: VIF {'infinite' if not np.isfinite(value) else f'{value:.1f}'}"
        for name, value in sorted(
            zip(known.names, known.vif.tolist(), strict=True), key=lambda item: -item[1]
        )
        if value > WARN_ABOVE
    ]
    if high:
        head = element("strong", f"{len(high)} of {len(known.names)} factors have a VIF above 5. ")
        words = "Others largely say the same; importance is then shared among them at random."
        warning = element("div", head, words, bullets(high), class_="doubt warn", role="note")
    else:
        warning = note("No factor has a variance inflation factor above 5.")
    said = (
        "The matrix: Pearson correlation of the continuous factors over the training samples, those from "
        "0.5 up written in; violet is negative, orange positive. The bars: variance inflation factors. They "
        "describe these samples and have no interval."
    )
    plots = beside([figures.pearson(known), figures.inflation(known)])
    told = bullets(sentence(words) for words in known.notes)
    return Section("collinearity", "Factors that say the same", join([warning, told, figure(said, plots)]))
