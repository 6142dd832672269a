"""The report of a comparison of detectors: one HTML file, made from results.json alone.

render_detectors(results) -> str
write_report(results, path)
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from service.files import replacing
from trainer.detection.compare_figures import dots, sizes
from trainer.detection.compare_results import Estimate, ModelResult, Range, Results, SplitResult
from trainer.report.markup import Html, bullets, element, join, paragraph, table
from trainer.report.page import render_page
from trainer.report.section import Section, note
from trainer.report.words import NINETY_FIVE, NONE, count, listed, number, sentence, span

_SYNTHETIC = (
    "The patches and their landslides were made up by a program from a seed. That these figures stand "
    "beside the paper's shows the same table, not the same thing: nothing here says how a model does "
    "on a real slope."
)
_SHOWN = ("f1", "precision", "recall", "iou")
_TITLES = {"f1": "F1", "precision": "Precision", "recall": "Recall", "iou": "IoU"}


def write_report(results: Results, path: Path) -> None:
    """Write the report; a reader never sees half of it."""
    content = render_detectors(results)
    with replacing(path) as temporary:
        temporary.write_text(content, "utf-8")


def render_detectors(results: Results) -> str:
    """Return the report as HTML. The same results give the same bytes."""
    sections = [_found(results)]
    for split in results.splits:
        sections.append(_beside_paper(split, results))
        models = [split.models[name] for name in _order(split, results) if name in split.models]
        if models:
            sections.append(_objects(split, models))
        if any(model.regions for model in models):
            sections.append(_regions(split, models))
        if models:
            sections.append(_patches(split, models))
    sections += [_protocol(results), _limits(results), _runs(results)]
    compared = len({name for split in results.splits for name in split.models})
    under = (
        f"{count(compared, 'model')}, {count(len(results.splits), 'split')}. {sentence(results.data.words)}"
    )
    return render_page(
        "Landslides seen from space: detectors compared",
        under,
        sections,
        synthetic=_SYNTHETIC if results.data.synthetic else None,
        kicker="Colluvium: comparison of detectors",
    )


def verdict(split: SplitResult) -> str:
    """Say which model has the highest F1, and which others it cannot be told from."""
    means = {
        name: found.mean
        for name, model in split.models.items()
        if (found := model.scores["f1"]).mean is not None
    }
    if not means:
        return f"Split {split.name}: no model has an F1."
    best = max(means, key=lambda name: means[name])
    leader = split.models[best]
    f1 = leader.scores["f1"]
    said = f"Split {split.name}: {leader.title} has the highest F1, {number(f1.mean, 4)}"
    if f1.low is None or f1.high is None:
        return f"{said}, from one seed each: without an interval it cannot be called the better one."
    # Student's intervals that overlap do not prove equality; but apart they are the least one can ask for.
    near = [
        model.title
        for name, model in split.models.items()
        if name != best and (high := model.scores["f1"].high) is not None and high >= f1.low
    ]
    said += f" ({NINETY_FIVE} over {count(len(f1.seeds), 'seed')}: {span(f1.low, f1.high, 4)})"
    if near:
        return f"{said}; its interval meets that of {listed(near)}, so which is better is not settled."
    return f"{said}, and its interval meets no other's."


def _found(results: Results) -> Section:
    lines = [verdict(split) for split in results.splits]
    lines += [f"Split {name} was not judged: {why}" for name, why in results.skipped.items()]
    doubt = []
    if not results.complete:
        left = results.planned_runs - results.finished_runs
        doubt.append(
            element(
                "div",
                paragraph(
                    element("strong", "Not finished. "),
                    f"{left} of {count(results.planned_runs, 'training')} are still to come; the same "
                    "command goes on with them.",
                ),
                class_="doubt bad",
            )
        )
    said = element("div", paragraph(results.not_comparable), class_="doubt")
    body = join([element("ol", *(element("li", line) for line in lines), class_="verdict"), *doubt, said])
    return Section("found", "What was found", body)


def _beside_paper(split: SplitResult, results: Results) -> Section:
    order = _order(split, results)
    best = {name: _best(split, name) for name in _SHOWN}
    rows: list[list[Html | str]] = []
    for name in order:
        stated = results.paper.get(name)
        model = split.models.get(name)
        title = stated.title if stated else model.title if model else name
        if model is not None and name in split.unfinished:
            title += f" ({count(len(model.scores['f1'].seeds), 'seed')} so far)"
        row: list[Html | str] = [title]
        for score in _SHOWN:
            if score != "iou":
                row.append(
                    element("td", number(getattr(stated, score), 4) if stated else NONE, class_="paper")
                )
            if model is None:
                row.append(element("td", element("span", "not finished", class_="quiet")))
            else:
                row.append(_cell(model.scores[score], bold=best[score] == name))
        rows.append(row)
    here = "synthetic" if results.data.synthetic else "here"
    above = [
        element("th", _TITLES[score], colspan="1" if score == "iou" else "2", scope="colgroup")
        for score in _SHOWN
    ]
    below = [
        join(
            [
                None if score == "iou" else element("th", "paper", scope="col", class_="paper"),
                element("th", here, scope="col"),
            ]
        )
        for score in _SHOWN
    ]
    head = [
        element("tr", element("th", "Model", rowspan="2", scope="col"), *above),
        element("tr", *below),
    ]
    parts = "; ".join(
        f"{part.part + ': ' if part.part else ''}{part.train:,} patches to train, {part.valid:,} to "
        f"validate, {part.test:,} to test"
        for part in split.parts
    )
    body = join(
        [
            paragraph(sentence(split.words)),
            paragraph(sentence(parts), class_="quiet"),
            table(
                f"The paper's table (its own split of 959 and 2,840 patches) beside this run (split "
                f"{split.name}). Not comparable across: other patches were tested",
                head,
                rows,
                class_="beside-paper",
            ),
            dots([(split.models[name], results.paper.get(name)) for name in order if name in split.models]),
            note(
                "Pooled: pixels of all test patches counted together. Mean over seeds; below it Student's "
                f"{NINETY_FIVE} interval where a model was trained with two seeds or more. A score whose "
                "denominator is zero is not defined and not counted as 0 or 1."
            ),
        ]
    )
    title = "Transfer: regions never seen" if split.transfer else f"Split {split.name}, beside the paper"
    return Section(f"table-{split.name}", title, body)


def _objects(split: SplitResult, models: Sequence[ModelResult]) -> Section:
    told = models[0].objects
    head = ["Model", "All", *(size.words for size in told.by_size), "False per km²"]
    rows: list[list[Html | str]] = []
    for model in models:
        found = model.objects
        cells = [_cell(found.recall), *(_cell(size.recall) for size in found.by_size)]
        rows.append([model.title, *cells, _cell(found.false_per_km2, digits=2)])
    sized = "; ".join(f"{size.words}: {size.objects:,}" for size in told.by_size)
    body = join(
        [
            table(f"Share of mapped landslides hit, split {split.name}", head, rows, class_="metrics"),
            sizes(models),
            note(
                f"A mapped landslide is hit where at least {told.hit_share:.0%} of its pixels were "
                f"predicted. {told.objects:,} were judged on {told.judged_km2:,.1f} km² ({sized})"
                + (f"; {told.unseen:,} lie wholly on unknown ground. " if told.unseen else ". ")
                + "Pixels that touch, corners included, are one object; a patch's edge cuts objects, so "
                "their sizes are lower bounds. A false object touches no mapped landslide and covers at "
                f"least {told.least_false_m2:,.0f} m². A model that marks everything hits every landslide "
                "and has no false object: read this beside the precision of the pixels."
            ),
        ]
    )
    return Section(f"objects-{split.name}", f"Objects, split {split.name}", body)


def _regions(split: SplitResult, models: Sequence[ModelResult]) -> Section:
    names = sorted({name for model in models for name in model.regions})
    rows: list[list[Html | str]] = []
    for model in models:
        cells: list[Html | str] = []
        for name in names:
            region = model.regions.get(name)
            cells.append(element("td", NONE) if region is None else _cell(region.scores["f1"]))
        rows.append([model.title, *cells])
    said = (
        "Each region was judged by models that learnt from the other regions only."
        if split.transfer
        else "Models learnt from patches of these regions too: that says nothing of a new region."
    )
    body = join(
        [
            paragraph(said),
            table(f"F1 by region, split {split.name}", ["Model", *names], rows, class_="metrics"),
        ]
    )
    return Section(f"regions-{split.name}", f"Regions, split {split.name}", body)


def _patches(split: SplitResult, models: Sequence[ModelResult]) -> Section:
    rows: list[list[Html | str]] = []
    for model in models:
        drawn = model.over_patches["f1"]
        rows.append(
            [model.title, _cell(model.scores["f1"]), _seeds(model.scores["f1"]), _range(drawn),
             _cell(model.patch_means["f1"]), _cell(model.patch_means["iou"])]
        )  # fmt: skip
    head = [
        "Model", "F1, pooled", "By seed", "Interval over patches", "F1, mean over patches",
        "IoU, mean over patches",
    ]  # fmt: skip
    body = join(
        [
            table(f"Over seeds and patches, split {split.name}", head, rows, class_="metrics"),
            note(
                "The interval over patches is of the first seed: patches drawn with replacement, whole. The "
                "means are over the patches in which the score is defined (a patch without a landslide in "
                "which nothing was predicted has none), and are not comparable with the pooled figures."
            ),
        ]
    )
    return Section(f"patches-{split.name}", f"Seeds and patches, split {split.name}", body)


def _protocol(results: Results) -> Section:
    rows = [[name, words] for name, words in results.protocol]
    notes = bullets(results.data.notes)
    lines = [*rows, ["bands", ", ".join(results.data.bands)], ["radiometry", results.data.radiometry]]
    body = join([table("The same for every model", [], lines, class_="facts"), notes])
    return Section("protocol", "One protocol", body)


def _limits(results: Results) -> Section:
    body = join(
        [
            paragraph(results.not_comparable),
            element("h3", "What the paper's readme does not state"),
            bullets(results.not_stated),
            element("h3", "What the intervals do not hold"),
            bullets(
                (
                    "Over seeds: the same patches every time; another draw of the split, or another region, "
                    "may differ by more.",
                    "Over patches: patches cut from one scene are alike, so the interval is too narrow.",
                    "Masks were drawn from images and are not the ground: a landslide that the mappers "
                    "missed counts here as false.",
                )
            ),
        ]
    )
    return Section("limits", "What these figures are not", body)


def _runs(results: Results) -> Section:
    parts: list[Html] = []
    for split in results.splits:
        rows = [
            [
                f"{model.title}, seed {run.seed}{', without ' + run.part if run.part else ''}",
                f"{run.threshold:.3f}",
                f"{run.best_epoch} of {run.epochs}",
                f"{run.seconds:,.0f} s",
                f"{model.parameters:,}",
                model.pretrained,
            ]
            for model in (split.models[name] for name in _order(split, results) if name in split.models)
            for run in model.runs
        ]
        head = ["Training", "Threshold", "Best epoch", "Time", "Weights", "Began with"]
        parts.append(table(f"Trainings, split {split.name}", head, rows, class_="numbers"))
    made = [
        ["command", element("code", results.command)],
        ["colluvium", results.version],
        ["made", f"{results.made:%Y-%m-%d %H:%M} UTC"],
        ["data", element("code", results.data.digest, class_="digest")],
        *([name, words] for name, words in sorted(results.environment.items())),
    ]
    parts.append(table("How it was made", [], made, class_="facts"))
    return Section("trainings", "Trainings, and how to repeat them", join(parts))


def _order(split: SplitResult, results: Results) -> list[str]:
    """Return models as the paper's table has them, without those that were not asked for."""
    wanted = {*split.models, *split.unfinished}
    return [name for name in results.paper if name in wanted] + sorted(wanted - set(results.paper))


def _best(split: SplitResult, score: str) -> str | None:
    means = {
        name: mean for name, model in split.models.items() if (mean := model.scores[score].mean) is not None
    }
    return max(means, key=lambda name: means[name]) if len(means) > 1 else None


def _cell(found: Estimate, *, bold: bool = False, digits: int = 4) -> Html:
    if found.mean is None:
        return element("td", element("span", "not defined", class_="quiet"))
    value = element("strong" if bold else "span", number(found.mean, digits), class_="value")
    if found.low is None or found.high is None:
        return element("td", value)
    return element("td", value, element("span", span(found.low, found.high, digits), class_="interval"))


def _seeds(found: Estimate) -> Html:
    each = (f"{seed}: {number(value, 4)}" for seed, value in found.seeds.items())
    return element("td", join([element("div", words) for words in each]))


def _range(found: Range) -> Html:
    return element("td", span(found.low, found.high, 4))
