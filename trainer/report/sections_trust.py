"""How far to believe it: leak checks, limits in plain words, and how to repeat the run."""

from __future__ import annotations

from trainer.report.comparison import Leak
from trainer.report.inputs import ReportInputs
from trainer.report.markup import Html, bullets, element, join, paragraph, table
from trainer.report.section import Absent, Part, Section, note
from trainer.report.verdict import footprint_is_high
from trainer.report.words import estimate, number, plain, sentence

_SEVERITY = {"error": "error", "warning": "warning", "note": "note"}
_ORDER = ("error", "warning", "note")


def leaks(inputs: ReportInputs) -> Section:
    """Return the leak checks and the model that sees where samples lie alone."""
    comparison = inputs.comparison
    parts: list[Html] = []
    foot = comparison.footprint
    if foot is None:
        parts.append(
            paragraph(
                "The model of the place alone was not judged, so a leak through places is not ruled out."
            )
        )
    else:
        high = footprint_is_high(comparison)
        head = element("strong", f"The place alone: AUC {estimate(foot.auc)}. ")
        words = (
            "A model that sees coordinates, neighbours and the share without data, but nothing of terrain "
            f"or weather, on the same folds. {sentence(foot.says)}"
        )
        verdict = (
            " This is high: the labels leak through where the samples lie." if high else " This is not high."
        )
        parts.append(element("p", head, words, verdict, class_=f"doubt {'bad' if high else 'good'}"))
    if comparison.leaks:
        found = sorted(comparison.leaks, key=lambda leak: _ORDER.index(leak.severity))
        parts.append(
            table(
                "Leak checks",
                ("Check", "Severity", "Finding"),
                [_leak(leak) for leak in found],
                class_="facts",
            )
        )
    else:
        parts.append(paragraph("The other leak checks found nothing, or none was run."))
    return Section("leaks", "Leak checks", join(parts))


def _leak(leak: Leak) -> tuple[Html | str, ...]:
    badge = element("span", _SEVERITY[leak.severity], class_=f"badge {leak.severity}")
    return leak.check, badge, leak.finding


def limits(inputs: ReportInputs) -> Section:
    """Return in plain words what these figures do not say."""
    comparison = inputs.comparison
    said: list[str] = []
    if comparison.synthetic:
        said.append(
            "The data are synthetic. They show whether models find what was put in, not how they do on real "
            "slopes."
        )
    said += [
        "A susceptibility is an index relative to the sampling ratio. It is not the probability of a "
        "landslide tomorrow, and a class “high” is not a warning by itself.",
        "The intervals hold the chance of the held-out samples. How a model would change with other "
        "training samples shows only as far as the repetitions differ.",
        "The order of close models may change with other samples; read it with the paired intervals.",
        "Non-landslides are places or days without a landslide on record. Some may have slid unseen.",
        "The figures hold for samples drawn in this way in this region and these years. Elsewhere they are "
        "not known.",
    ]
    said += [sentence(item) for item in inputs.limits if sentence(item) not in said]
    parts: list[Html] = [bullets(said)]
    if comparison.protocol.assumed:
        parts += [
            element("h3", "Assumed, because the protocol's source does not state it"),
            bullets(comparison.protocol.assumed),
        ]
    by_model = [
        (
            comparison.models[name].title,
            join([bullets(f"{plain(key)}: {why}" for key, why in assumed.items())]),
        )
        for name in comparison.ranked()
        if (assumed := comparison.models[name].assumed)
    ]
    if by_model:
        caption = "Hyperparameters that no source states, and why they are as they are"
        rest = table(caption, ("Model", "Assumed"), by_model, class_="facts")
        parts.append(element("details", element("summary", "Assumed by model"), rest))
    return Section("limits", "Limits", join(parts))


def repeat(inputs: ReportInputs) -> Section:
    """Return command, versions, seeds and digests."""
    comparison = inputs.comparison
    parts: list[Html] = []
    recipe = inputs.recipe
    if recipe is not None:
        parts += [paragraph("The command of this run:"), element("pre", element("code", recipe.command))]
    else:
        parts.append(paragraph("The command of this run was not given to the report."))
    environment = comparison.environment
    facts: list[tuple[Html | str, ...]] = [("Python", environment.python)]
    if recipe is not None and recipe.version:
        facts.append(("colluvium", recipe.version))
    facts += [(name, found) for name, found in environment.packages.items()]
    seeds = dict.fromkeys(str(item.seed) for item in comparison.repetitions)
    facts += [("threads of a fit", str(environment.threads)), ("seeds", ", ".join(seeds) or "not given")]
    parts.append(table("Versions and seeds", (), facts, class_="facts"))
    went_in = [*(recipe.digests if recipe else ())]
    went_in += [(f"dataset {name}", digest) for name, digest in comparison.data.digests.items()]
    digests = list(dict.fromkeys(went_in))
    if digests:
        rows = [(name, element("code", digest, class_="digest")) for name, digest in digests]
        parts.append(table("SHA-256 of what went in", ("What", "Digest"), rows, class_="facts"))
    parts.append(_models(inputs))
    parts.append(
        note("The same command, versions, seeds and processor give the same figures and this same file.")
    )
    return Section("repeat", "How to repeat it", join(parts))


def _models(inputs: ReportInputs) -> Html:
    rows: list[list[Html | str]] = []
    for name in inputs.comparison.ranked():
        model = inputs.comparison.models[name]
        chosen = ", ".join(f"{plain(key)} {value}" for key, value in model.chosen.items())
        settings = ", ".join(f"{plain(key)} {value}" for key, value in model.hyperparameters.items())
        seconds = "–" if model.seconds is None else f"{number(model.seconds, 0)} s"
        rows.append([model.title, model.source or "–", settings or "defaults", chosen or "–", seconds])
    head = ("Model", "Source", "Hyperparameters", "Chosen by validation", "Time of all fits")
    return element(
        "details", element("summary", "Models and their hyperparameters"),
        table("Models; no time has an interval, it depends on the machine", head, rows, class_="facts"),
    )  # fmt: skip


def left_out(absent: list[Absent]) -> Part:
    """Return the word on each section that is not there."""
    if not absent:
        return Absent("", "")
    items = [join([element("strong", f"{item.title}:"), f" {item.why}."]) for item in absent]
    return Section("absent", "Not in this report", bullets(items))
