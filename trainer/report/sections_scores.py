"""How well the models score: tables, the paper's numbers, differences, and the curves."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.report import figures_scores as figures
from trainer.report.comparison import Comparison, Confusion, Estimate
from trainer.report.inputs import ReportInputs
from trainer.report.markup import Html, element, figure, join, paragraph, table
from trainer.report.section import Absent, Part, Section, beside, legend, note, stroke
from trainer.report.style import styles_of
from trainer.report.verdict import reference
from trainer.report.words import (
    NINETY_FIVE,
    NONE,
    difference,
    estimate,
    in_order,
    listed,
    metric,
    number,
    share,
    span,
)

# The two halves of a table that would be too wide for a page.
_ERRORS = ("mae", "mse", "rmse", "mape", "brier", "log_loss")


def metrics(inputs: ReportInputs) -> Section:
    """Return every metric of every model with its interval."""
    comparison = inputs.comparison
    present = in_order([name for model in comparison.models.values() for name in model.metrics])
    halves = (
        ("Ranking and classification; more is better", [name for name in present if name not in _ERRORS]),
        ("Errors of the number itself; less is better", [name for name in present if name in _ERRORS]),
    )
    parts = [
        paragraph(
            f"Means over the repetitions with their {NINETY_FIVE} intervals; models in the order of their "
            "AUC. The best mean of a column is bold, which by itself does not make it better: see the "
            "differences."
        )
    ]
    parts += [_metric_table(comparison, caption, names) for caption, names in halves if names]
    told = [
        element("div", element("dt", metric(name).short), element("dd", metric(name).means))
        for name in present
        if metric(name).means
    ]
    parts.append(
        element("details", element("summary", "What the metrics mean"), element("dl", *told, class_="terms"))
    )
    if comparison.resampling:
        parts += [note(said) for said in comparison.resampling.notes]
    return Section("metrics", "All metrics", join(parts))


def _metric_table(comparison: Comparison, caption: str, names: Sequence[str]) -> Html:
    styles = styles_of(list(comparison.models))
    best = {name: _best(comparison, name) for name in names}
    rows: list[list[Html | str]] = []
    for model in comparison.ranked():
        row: list[Html | str] = [join([stroke(styles[model]), comparison.models[model].title])]
        for name in names:
            row.append(_value(comparison.models[model].metrics.get(name), bold=best[name] == model))
        rows.append(row)
    reachable, foot = comparison.best_reachable, comparison.footprint
    if "auc" in names:
        if reachable is not None:
            rows.append(_aside("Best reachable (the true probability)", names, reachable.auc))
        if foot is not None:
            rows.append(_aside("Place alone (no terrain, no weather)", names, foot.auc))
    return table(caption, ["Model", *(metric(name).short for name in names)], rows, class_="metrics")


def _value(found: Estimate | None, *, bold: bool) -> Html:
    if found is None or found.mean is None:
        return element("td", element("span", "not defined", class_="quiet"))
    written = element("strong" if bold else "span", number(found.mean), class_="value")
    return element("td", written, element("span", span(found.low, found.high), class_="interval"))


def _aside(title: str, names: Sequence[str], auc: Estimate) -> list[Html | str]:
    head = element("th", title, scope="row", class_="aside")
    return [head, *(_value(auc, bold=False) if name == "auc" else element("td", NONE) for name in names)]


def _best(comparison: Comparison, name: str) -> str | None:
    means = {
        model: found.mean
        for model, result in comparison.models.items()
        if (found := result.metrics.get(name)) is not None and found.mean is not None
    }
    if not means:
        return None
    return (min if metric(name).lower_is_better else max)(means, key=lambda model: means[model])


def paper(inputs: ReportInputs) -> Part:
    """Return this run's numbers beside the paper's."""
    comparison = inputs.comparison
    if comparison.paper is None:
        return Absent("Beside the paper's numbers", "the protocol names no paper's numbers")
    source = comparison.paper.source
    names = in_order([name for values in comparison.paper.models.values() for name in values])
    styles = styles_of(list(comparison.models))
    ranked = [model for model in comparison.ranked() if model in comparison.paper.models]
    missing = sorted(set(comparison.paper.models) - set(comparison.models))
    rows: list[list[Html | str]] = []
    for model in ranked:
        row: list[Html | str] = [join([stroke(styles[model]), comparison.models[model].title])]
        for name in names:
            stated = comparison.paper.models[model].get(name)
            row.append(element("td", number(stated), class_="paper"))
            row.append(_value(comparison.models[model].metrics.get(name), bold=False))
        rows.append(row)
    here = "synthetic" if comparison.synthetic else "here"
    above = [element("th", metric(name).short, colspan="2", scope="colgroup") for name in names]
    below = [
        join([element("th", "paper", scope="col", class_="paper"), element("th", here, scope="col")])
        for _ in names
    ]
    head = [
        element("tr", element("th", "Model", rowspan="2", scope="col"), *above),
        element("tr", *below),
    ]
    parts = []
    if comparison.synthetic:
        parts.append(
            element(
                "p",
                element("strong", "SYNTHETIC beside real. "),
                "The paper's numbers are of real landslides, these are of landslides drawn by a program. "
                "That they stand beside each other shows the same table, not the same thing.",
                class_="doubt warn",
            )
        )
    caption = f"The paper's table beside this run. Paper: {source}. The paper states no intervals"
    parts.append(table(caption, head, rows, class_="metrics beside-paper"))
    if missing:
        parts.append(note(f"The paper also has {listed(missing)}, which this run did not train."))
    return Section("paper", "Beside the paper's numbers", join(parts))


def differences(inputs: ReportInputs) -> Part:
    """Return the forest plots of AUC against the best model and, where it is another, the hybrid."""
    comparison = inputs.comparison
    styles = styles_of(list(comparison.models))
    plots = [
        plot
        for name in reference(comparison)
        if (plot := figures.forest(comparison, name, styles)) is not None
    ]
    if not plots:
        return Absent("Differences between the models", "no pair of models was compared")
    said = (
        "Each model's AUC minus that of the model named below the axis, on the same resampled blocks. An "
        f"interval that leaves out zero tells the two apart at {NINETY_FIVE}. Pairs are taken one by one: "
        "of pairs that are equal in truth, about one in twenty leaves out zero by chance."
    )
    parts = [figure(said, beside(plots)), _pair_table(comparison)]
    return Section("differences", "Differences between the models", join(parts))


def _pair_table(comparison: Comparison) -> Html:
    names = in_order([pair.metric for pair in comparison.pairs])
    rows: list[list[Html | str]] = []
    for against in reference(comparison):
        for model in comparison.ranked():
            if model == against:
                continue
            cells: list[Html | str] = []
            for name in names:
                pair = comparison.difference(model, against, name)
                cells.append(NONE if pair is None else difference(pair))
            title = f"{comparison.models[model].title} − {comparison.models[against].title}"
            rows.append([title, *cells])
    head = ["Difference", *(metric(name).short for name in names)]
    reachable = comparison.best_reachable
    parts = [table(f"Differences with their {NINETY_FIVE} intervals", head, rows, class_="numbers")]
    if reachable is not None and reachable.gaps:
        gaps = [
            (comparison.models[name].title, difference(reachable.gaps[name]))
            for name in comparison.ranked()
            if name in reachable.gaps
        ]
        caption = f"AUC minus the best reachable one, {estimate(reachable.auc)}"
        parts.append(table(caption, ("Model", "Gap"), gaps, class_="numbers"))
    return element("details", element("summary", "The same as numbers"), join(parts))


def roc(inputs: ReportInputs) -> Part:
    """Return the ROC curves of all models in one figure."""
    comparison = inputs.comparison
    ranked = comparison.ranked()
    plots = figures.roc(inputs.predictions, ranked, styles_of(list(comparison.models)))
    if not plots:
        return Absent("ROC curves", "no predictions were given")
    drawn = {item.model for item in inputs.predictions}
    notes = {
        name: estimate(found)
        for name in ranked
        if (found := comparison.models[name].metrics.get("auc")) is not None
    }
    said = (
        "Hit rate against false alarm rate for every threshold, averaged over the repetitions at equal "
        f"false alarm rates (Fawcett 2006). In the legend: AUC with its {NINETY_FIVE} interval."
    )
    names = [name for name in ranked if name in drawn]
    return Section("roc", "ROC curves", figure(said, beside(plots), legend(comparison, names, notes)))


def reliability(inputs: ReportInputs) -> Part:
    """Return the reliability of all models in one figure, together and one by one."""
    comparison = inputs.comparison
    ranked = comparison.ranked()
    styles = styles_of(list(comparison.models))
    overlay = figures.reliability_overlay(inputs.predictions, ranked, styles)
    if not overlay:
        return Absent("Reliability", "no predictions were given")
    drawn = [name for name in ranked if any(item.model == name for item in inputs.predictions)]
    each = [
        plot
        for name in drawn
        if (
            plot := figures.reliability_each(
                inputs.predictions, name, comparison.models[name].title, styles[name]
            )
        )
    ]
    first = figures.reliability_of(inputs.predictions, drawn[0], False)
    ratio = (
        f"{first.sampling_ratio:.2g} non-landslides for each landslide" if first else "their sampling ratio"
    )
    said = (
        "How often landslides occur where a model says so, in ten bins of equally many held-out samples, at "
        f"{ratio}: at another ratio the same values mean another frequency. On the dotted line a value is a "
        "frequency. One by one: intervals of the bins (Wilson 1927, as if samples were independent); grey, "
        "where a calibration was fitted on validation samples, is before it."
    )
    body = join(
        [figure(said, beside(overlay), legend(comparison, drawn), beside(each, "many")), _calibration(inputs)]
    )
    return Section("reliability", "Reliability and calibration", body)


def _calibration(inputs: ReportInputs) -> Html:
    rows: list[list[Html | str]] = []
    for name in inputs.comparison.ranked():
        model = inputs.comparison.models[name]
        before = figures.reliability_of(inputs.predictions, name, False)
        after = figures.reliability_of(inputs.predictions, name, True)
        if before is None:
            continue
        brier = model.metrics.get("brier")
        rows.append(
            [
                model.title,
                number(before.expected_calibration_error),
                NONE if after is None else number(after.expected_calibration_error),
                NONE if brier is None else estimate(brier),
                element("td", model.calibration or "none", class_="words"),
            ]
        )
    head = (
        "Model", "Mean miss before", "Mean miss after", f"Brier ({NINETY_FIVE} interval)", "Calibration",
    )  # fmt: skip
    caption = "Mean distance of the bins from the dotted line, weighted by samples (without an interval)"
    return table(caption, head, rows, class_="numbers")


def rates(inputs: ReportInputs) -> Part:
    """Return success and prediction rate curves, and where landslides lie by class."""
    comparison = inputs.comparison
    ranked = comparison.ranked()
    title = "Landslides and the map's area"
    if not inputs.rate_curves and not inputs.high_shares:
        return Absent(title, "no map was compared with landslides")
    parts: list[Html] = []
    plots = figures.rates(inputs.rate_curves, ranked, styles_of(list(comparison.models)))
    if plots:
        drawn = {line.model: line for line in inputs.rate_curves}
        names = [name for name in ranked if name in drawn]
        held = {line.model: line.curve for line in inputs.rate_curves if line.kind == "prediction"}
        notes = {name: f"area below {number(held[name].area)}" for name in names if name in held}
        said = (
            "Share of the landslides that lie in the most susceptible share of the map (Chung and Fabbri "
            "2003). With the landslides that a model was trained on the curve says how well it fits; with "
            "held-out ones, how well it predicts. In the legend: area below the prediction rate curve, "
            "where there is one."
        )
        parts.append(figure(said, beside(plots), legend(comparison, names, notes)))
    rows = [
        (
            comparison.models[item.model].title if item.model in comparison.models else item.model,
            item.of,
            f"{share(item.shares.high_or_above)} ({share(item.shares.low)} to {share(item.shares.high)})",
            share(sum(item.shares.area_share[2:])),
            f"{item.shares.events:,}"
            + (f", {item.shares.unknown} on unknown ground" if item.shares.unknown else ""),
            share(item.paper),
        )
        for item in inputs.high_shares
    ]
    if rows:
        head = ("Model", "Landslides", "In high and very high", "Area in these classes", "Counted", "Paper")
        caption = f"Landslides in the classes high and very high, with {NINETY_FIVE} intervals (Wilson 1927)"
        parts.append(table(caption, head, rows, class_="numbers"))
    return Section("rates", title, join(parts))


def confusion(inputs: ReportInputs) -> Part:
    """Return the confusion matrices at 0.5."""
    comparison = inputs.comparison
    shown = [
        _matrix(comparison.models[name].title, counts)
        for name in comparison.ranked()
        if (counts := comparison.models[name].confusion) is not None
    ]
    if not shown:
        return Absent("Confusion matrices", "no counts were given")
    said = note(
        "Held-out samples at the threshold 0.5, counted over all repetitions: a sample counts as often as "
        "it was held out. The shares are of the row; their intervals are those of recall and specificity "
        "above."
    )
    return Section("confusion", "Confusion matrices", join([said, element("div", *shown, class_="matrices")]))


def _matrix(title: str, counts: Confusion) -> Html:
    def cell(value: int, whole: int, right: bool) -> Html:
        part = value / whole if whole else 0.0
        return element(
            "td", element("span", f"{value:,}", class_="value"),
            element("span", share(part) if whole else NONE, class_="interval"),
            style=f"--part:{part * 100:.0f}%", class_="right" if right else "wrong",
        )  # fmt: skip

    slid, stood = counts.tp + counts.fn, counts.tn + counts.fp
    head = element(
        "tr",
        element("td"),
        element("th", "said landslide", scope="col"),
        element("th", "said none", scope="col"),
    )
    first = element(
        "tr",
        element("th", "landslide", scope="row"),
        cell(counts.tp, slid, True),
        cell(counts.fn, slid, False),
    )
    second = element(
        "tr", element("th", "none", scope="row"), cell(counts.fp, stood, False), cell(counts.tn, stood, True)
    )
    body = [element("thead", head), element("tbody", first, second)]
    return element("table", element("caption", title), *body, class_="matrix")
