"""What was judged on what: the run at a glance, the samples, and the maps of samples and folds."""

from __future__ import annotations

import base64
from collections.abc import Sequence

from exporters.layer import CLASS_COLOURS, CLASS_LABELS
from trainer.report.inputs import Picture, ReportInputs
from trainer.report.markup import Html, bullets, element, figure, join, paragraph, table
from trainer.report.section import Absent, Part, Section, note
from trainer.report.verdict import Doubt, doubts, footprint_is_high, sentences
from trainer.report.words import NINETY_FIVE, count, number, plain, sentence, share, signed, span


def verdict(inputs: ReportInputs) -> Section:
    """Return what this is, the verdict in three sentences, and what speaks against it."""
    comparison = inputs.comparison
    source = comparison.protocol.source
    what = (
        f"{count(len(comparison.models), 'model')} for landslide susceptibility, trained and judged under "
        f"one protocol ({comparison.protocol.name}{f', after {source}' if source else ''}). All saw the same "
        "samples and were judged on the same held-out ones."
    )
    body = join(
        [
            paragraph(what),
            element("ol", *(element("li", said) for said in sentences(comparison)), class_="verdict"),
            join(doubt(item) for item in doubts(inputs)),
            _tiles(inputs),
        ]
    )
    return Section("verdict", "Verdict", body)


def doubt(item: Doubt) -> Html:
    sign = "Do not trust at face value. " if item.level == "bad" else "Note. "
    return element(
        "div", element("strong", sign, item.head, ". "), item.words, class_=f"doubt {item.level}", role="note"
    )


def _tiles(inputs: ReportInputs) -> Html:
    comparison = inputs.comparison
    ranked = comparison.ranked()
    best = comparison.models[ranked[0]]
    tiles = []
    auc = best.metrics.get("auc")
    if auc and auc.mean is not None:
        tiles.append(_tile(number(auc.mean), f"AUC of {best.title}", span(auc.low, auc.high)))
    if len(ranked) > 1 and (pair := comparison.difference(ranked[0], ranked[1], "auc")):
        other = comparison.models[ranked[1]].title
        tiles.append(
            _tile(signed(pair.difference), f"ahead of {other}", span(pair.low, pair.high, sign=True))
        )
    reachable = comparison.best_reachable
    if reachable and reachable.auc.mean is not None:
        tiles.append(
            _tile(
                number(reachable.auc.mean), "best reachable AUC", span(reachable.auc.low, reachable.auc.high)
            )
        )
    foot = comparison.footprint
    if foot and foot.auc.mean is not None:
        bad = "bad" if footprint_is_high(comparison) else ""
        tiles.append(
            _tile(number(foot.auc.mean), "AUC of the place alone", span(foot.auc.low, foot.auc.high), bad)
        )
    data = comparison.data
    tiles.append(_tile(f"{data.samples:,}", "samples", f"{data.positives:,} of them landslides"))
    return element("dl", *tiles, class_="tiles")


def _tile(value: str, what: str, beside: str, class_: str = "") -> Html:
    return element(
        "div",
        element("dt", what),
        element("dd", value, class_="big"),
        element("dd", beside, class_="quiet"),
        class_=f"tile {class_}".strip(),
    )


def data(inputs: ReportInputs) -> Section:
    """Return the samples by kind, the repetitions, and what is wrong with the inventory or the factors."""
    comparison = inputs.comparison
    told = comparison.data
    facts: list[tuple[Html | str, ...]] = [
        ("Samples", f"{told.samples:,}, {told.positives:,} of them landslides"),
        ("Split", sentence(comparison.protocol.split)),
    ]
    if comparison.protocol.sampling:
        facts.append(("Sampling", sentence(comparison.protocol.sampling)))
    if comparison.protocol.calibration:
        facts.append(
            ("Calibration", f"{comparison.protocol.calibration.capitalize()}, fitted on validation samples.")
        )
    judging = comparison.protocol.judging
    if judging is not None:
        size = f" of {judging.block_km:g} km" if judging.by == "ground" and judging.block_km else ""
        blocks = f"blocks of one {judging.by}" if judging.by != "ground" else f"squares of ground{size}"
        facts.append(("Intervals", f"{NINETY_FIVE}, by drawing whole {blocks} with replacement."))
    if told.crs:
        facts.append(("Coordinates", told.crs))
    parts = [table("The data at a glance", (), facts, class_="facts")]
    if told.counts:
        whole = sum(told.counts.values())
        kinds = [
            (plain(kind), f"{n:,}", share(n / whole if whole else None)) for kind, n in told.counts.items()
        ]
        parts.append(table("Samples by kind", ("Kind", "Samples", "Share"), kinds, class_="numbers"))
    if comparison.repetitions:
        rows = [
            (
                item.name, item.data, str(item.seed), f"{item.folds}", f"{item.train:,}",
                f"{item.validation:,}", f"{item.test:,}", f"{item.left_out:,}",
            )
            for item in comparison.repetitions
        ]  # fmt: skip
        head = ("Repetition", "Data", "Seed", "Folds", "Train", "Validation", "Test", "Left out")
        caption = (
            "Repetitions; counts are sums over the folds, so a sample may count as often as there are folds"
        )
        parts.append(table(caption, head, rows, class_="numbers"))
    parts += [
        _problems("Problems of the inventory", inputs.inventory_problems, "None was reported."),
        _problems("Fewer samples than wanted", _shortfalls(inputs), "None."),
        _problems(
            "Factors and the age of the landslides",
            inputs.vintage_warnings,
            "No warning that a factor is younger than the landslides was given to this report.",
        ),
    ]
    if told.warnings:
        parts.append(_problems("Warnings of the data", told.warnings, ""))
    return Section("data", "Data", join(parts))


def _shortfalls(inputs: ReportInputs) -> tuple[str, ...]:
    return tuple(
        f"{name}: {count(missing, 'sample')} of kind {plain(kind)} could not be drawn"
        for name, kinds in inputs.comparison.data.shortfalls.items()
        for kind, missing in kinds.items()
        if missing
    )


def _problems(title: str, problems: Sequence[str], none: str) -> Html:
    listed = list(problems)
    head = element("h3", title)
    if not listed:
        return element("div", head, paragraph(none))
    shown = bullets(listed[:8], class_="problems")
    if len(listed) > 8:
        rest = element("summary", f"{len(listed) - 8} more")
        shown = join([shown, element("details", rest, bullets(listed[8:], class_="problems"))])
    return element("div", head, shown)


def maps_of_samples(inputs: ReportInputs) -> Part:
    """Return the map of the samples and the map of the folds."""
    pictures = [picture for picture in (inputs.sample_map, inputs.fold_map) if picture is not None]
    if not pictures:
        return Absent("Maps of samples and folds", "no map was given")
    shown = element("div", *(photo(picture) for picture in pictures), class_="beside")
    return Section("places", "Where the samples lie", shown)


def photo(picture: Picture) -> Html:
    """Return a PNG inside the page, with its title below."""
    source = "data:image/png;base64," + base64.b64encode(picture.png).decode("ascii")
    image = element("img", src=source, alt=picture.description)
    return figure(picture.title, image, class_="photo")


def susceptibility_maps(inputs: ReportInputs) -> Part:
    """Return the models' maps beside each other."""
    if not inputs.maps:
        return Absent("Susceptibility maps", "no map was given")
    shown = element("div", *(photo(picture) for picture in inputs.maps), class_="atlas")
    legends = {picture.legend for picture in inputs.maps} - {"none"}
    parts = [_class_legend(kind) for kind in sorted(legends)]
    said = note("All maps show the same ground at the same day, in the same colours.") if parts else None
    return Section("maps", "Susceptibility maps", join([shown, *parts, said]))


def _class_legend(kind: str) -> Html:
    colours = [f"rgb({red} {green} {blue})" for red, green, blue in CLASS_COLOURS]
    if kind == "susceptibility":
        bar = element("span", class_="ramp", style=f"background:linear-gradient(90deg,{','.join(colours)})")
        return element("p", "susceptibility 0 ", bar, " 1", class_="legend")
    items = [
        element("li", element("span", class_="swatch", style=f"background:{colour}"), plain(label))
        for label, colour in zip(CLASS_LABELS, colours, strict=True)
    ]
    return element("ul", *items, class_="legend")
