"""The model card: what a bundle is, in plain words, for whoever has to decide whether to trust it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from exporters.layer import SCALE
from service.drift import SHIFT
from service.manifest import FactorSpec, Manifest, OutputReference, RainTest, VariableSpec

# Below this many dated landslides behind a model, its metrics say little, and the card says so.
FEW_EVENTS = 100
_REFERENCE = "## What its maps looked like"

# What a model is, by its title. One that is not here is called by its title alone.
_WHAT = {
    "CNN-LSTM": "A hybrid CNN-LSTM (Teng et al. 2026)",
    "CNN-only": "The terrain branch of the hybrid CNN-LSTM alone (Teng et al. 2026)",
    "LSTM-only": "The rain and reservoir branch of the hybrid CNN-LSTM alone (Teng et al. 2026)",
    "CNN-DNN": "A CNN on patches with a dense head (Azarafza et al. 2021)",
    "Random forest": "A random forest (Breiman 2001)",
    "SVM": "A support vector machine (Cortes and Vapnik 1995)",
    "Decision tree": "A decision tree (Breiman et al. 1984)",
    "MLP": "A multilayer perceptron on the cell's own factors and sums of its window",
    "Logistic regression": "A logistic regression",
    "Gaussian naive Bayes": "Naive Bayes with normal distributions",
    "Bernoulli naive Bayes": "Naive Bayes with yes-or-no features",
    "XGBoost": "Boosted trees (Chen and Guestrin 2016), the family of LHASA version 2 (Stanley et al. 2021)",
}
_LOW, _HIGH = "_low", "_high"  # ends of a metric's key that make it an end of the interval


def model_card(manifest: Manifest, notes: Sequence[str] = ()) -> str:
    """Return the model card of a manifest as Markdown; `notes` are paragraphs of the trainer's own.

    A metric "auc" has its 95 % interval in "auc_low" and "auc_high".
    """
    training = manifest.training
    parts = [f"# {manifest.name} {manifest.version}"]
    if training.synthetic:
        parts.append(
            "**Synthetic: trained on data made by a program, not on landslides that happened. It shows how "
            "Colluvium works and says nothing about any real slope.**"
        )
    parts += [_what(manifest), *notes]
    facts = [
        ("region", training.region),
        ("data", training.data),
        ("dated landslides", str(training.events)),
        ("negatives for each positive", f"{training.sampling_ratio:g}"),
        ("split", training.split),
        ("samples", ", ".join(f"{key} {count}" for key, count in training.samples.items()) or "-"),
        ("seed", str(training.seed)),
        ("exported", manifest.created.isoformat()),
    ]
    parts += ["## Trained on", _table(facts)]
    if training.events < FEW_EVENTS:
        parts.append(
            f"**Only {training.events} dated landslides stand behind this model.** With so few, the figures "
            "below can change much with one event more or less."
        )
    parts += ["## Held-out metrics", *_metrics(training.metrics)]
    parts += ["## What its numbers mean", _list(_meaning(manifest))]
    parts += [
        "## Warnings",
        f"May warn: **{'yes' if manifest.may_warn else 'no'}**. {manifest.may_warn_reason}.",
    ]
    parts.append(_rain(manifest.rain_test) if manifest.rain_test else "The rain test was not run.")
    if manifest.reference is not None:
        parts.append(reference_section(manifest.reference))
    parts += [
        "## Inputs",
        "Values outside these ranges of the training part are marked in the layer, never clipped.",
        _table([_factor(spec) for spec in manifest.factors], ("factor", "range")),
        _table([(spec.name, _span(spec)) for spec in manifest.variables], ("variable", "range")),
        f"Patch {manifest.patch} x {manifest.patch} cells; forcing cells of {manifest.forcing_cell} x "
        f"{manifest.forcing_cell} cells; class breaks "
        f"{', '.join(f'{value:g}' for value in manifest.classes.breaks)}.",
    ]
    if training.assumed:
        parts += ["## Assumed, because the paper does not state it", _list(training.assumed)]
    parts += ["## Limits", _list(_limits(manifest)), "## How to repeat it", _repeat(manifest)]
    if training.digests:
        parts += ["## Digests of the data", _table(list(training.digests.items()))]
    return "\n\n".join(parts) + "\n"


def reference_section(reference: OutputReference) -> str:
    """Return the section on what the model's maps looked like in its training years."""
    bounds = [0.0, *(edge * SCALE for edge in reference.edges)]
    upper = [*(f"to below {bound:g}" for bound in bounds[1:]), "to 1"]
    spread = [
        (f"{low:g} {high}", f"{share:.1%}")
        for low, high, share in zip(bounds, upper, reference.shares, strict=True)
    ]
    parts = [
        _REFERENCE,
        f"{reference.cells} cells of the region, drawn evenly, on {reference.days} days between "
        f"{reference.first_day} and {reference.last_day} (seed {reference.seed}), all days together:",
        _table(spread, ("susceptibility", "cells and days")),
        f"The service holds each map against {len(reference.kinds)} kinds of day picked from those, and says "
        "how unlike the nearest it is (population stability index, PSI): no sampled day is farther than "
        f"{reference.radius:.2f}. Above {SHIFT:g} it speaks of drift.",
    ]
    if reference.held_out_beyond is not None:
        parts.append(
            f"Of {reference.held_out_days} further days of the same years, {reference.held_out_beyond:.1%} "
            f"lay beyond {SHIFT:g}: on about so many days a false alarm is to be expected."
        )
    return "\n\n".join(parts)


def with_reference(card: str, section: str) -> str:
    """Return a model card with the section put in, or in place of the one that is there."""
    before, _, rest = card.partition(_REFERENCE)
    if rest:
        rest = rest[rest.index("\n## ") + 1 :]
        return f"{before}{section}\n\n{rest}"
    before, head, rest = card.partition("## Inputs\n")
    return f"{before}{section}\n\n{head}{rest}" if head else f"{card}\n{section}\n"


def _what(manifest: Manifest) -> str:
    what = _WHAT.get(manifest.model, manifest.model)
    days = f"the {manifest.window_days} days before a layer, up to {_lag(manifest.lag_days)}"
    ground = "the terrain around a cell" if manifest.patch > 1 else "the ground of a cell"
    if "window" in manifest.ignores:
        seen, gives = f"{ground}, whatever the weather,", "gives"
    elif "patches" in manifest.ignores:
        seen, gives = f"{days}, whatever the terrain,", "give"
    else:
        seen, gives = f"{ground} and {days},", "give"
    return (
        f"{what}: {seen} {gives} a susceptibility between 0 and 1. It is an index relative to the sampling "
        "ratio below, **not** the probability of a landslide tomorrow."
    )


def _metrics(metrics: Mapping[str, float]) -> list[str]:
    """Return the table of metrics, each with its interval where one was worked out."""
    if not metrics:
        return ["None were measured."]
    ends = {name + end for name in metrics for end in (_LOW, _HIGH)}
    rows = []
    for name, value in metrics.items():
        if name in ends:
            continue
        low, high = metrics.get(name + _LOW), metrics.get(name + _HIGH)
        interval = "-" if low is None or high is None else f"{low:.4g} to {high:.4g}"
        rows.append((name, f"{value:.4g}", interval))
    said = [_table(rows, ("metric", "mean", "95 % interval"))]
    if all(interval == "-" for _, _, interval in rows):
        said.append("No interval was worked out: how much of these figures is chance is not known.")
    return said


def _meaning(manifest: Manifest) -> list[str]:
    ratio = f"{manifest.training.sampling_ratio:g} negatives for each landslide"
    said = [f"Relative to the samples: {ratio}. At another ratio the same ground has another number."]
    if manifest.calibration:
        said.append(f"Calibrated at that ratio, inside the graphs: {manifest.calibration}.")
    else:
        said.append("Not calibrated: twice the number is not twice the frequency.")
    if manifest.odds is not None:
        said.append(
            f"probability.tif is the index corrected to a stated event rate of {manifest.odds.event_rate:g} "
            f"per {manifest.odds.per} (King and Zeng 2001; share of landslides in training "
            f"{manifest.odds.positives_share:.3g}). It is as right as that rate, which is stated and not "
            "measured by this model."
        )
    if manifest.members:
        more = "1 member that was" if manifest.members == 1 else f"{manifest.members} members that were"
        said.append(
            f"uncertainty.tif is the spread of this model and {more} trained like it. It tells where they "
            "disagree, not how far all of them may be wrong together."
        )
    else:
        said.append("There are no further members, so no spread is exported.")
    return said


def _limits(manifest: Manifest) -> list[str]:
    training = manifest.training
    said = [
        "It has seen no real landslide."
        if training.synthetic
        else "Reports gather where people look: the inventory is fuller along roads and in towns.",
        f"It was trained on {training.region}. Elsewhere, and beyond the ranges above, its numbers are "
        "guesses.",
        "Negatives are places or days without a landslide on record. Some may have slid unseen.",
    ]
    if "window" in manifest.ignores:
        said.append("It does not respond to rain or reservoirs: its map is the same on every day.")
    if "patches" in manifest.ignores:
        said.append("It does not look at the terrain: cells under the same rain have the same number.")
    said.append("A map does not replace a look at the slope. It orders places for that look.")
    return said


def _repeat(manifest: Manifest) -> str:
    return (
        f"The same settings, seed {manifest.training.seed}, data with the digests given here, package "
        "versions and processor give the same files. `manifest.json` holds the SHA-256 of every file of "
        "this bundle; `colluvium bundle verify` recomputes them and proves the bundle."
    )


def _rain(test: RainTest) -> str:
    curve = [
        (f"{scale:g}", f"{mean:.4f}")
        for scale, mean in zip(test.scales, test.mean_susceptibility, strict=True)
    ]
    return (
        f"Rain test: **{'passed' if test.passed else 'failed'}**. The rain of {test.samples} samples was "
        f"scaled from {min(test.scales):g} to {max(test.scales):g} times, the storm up to as many times the "
        "training maximum. The largest fall of susceptibility from one scale to the next was "
        f"{test.largest_drop:.4f}; one stored step, 0.004, is allowed.\n\n"
        + _table(curve, ("storm, times the training maximum", "mean susceptibility"))
    )


def _lag(days: int) -> str:
    return "its own day" if days == 0 else f"{days} day{'s' if days > 1 else ''} before its day"


def _factor(spec: FactorSpec) -> tuple[str, str]:
    if spec.categories is not None:
        return spec.name, ", ".join(f"{code} {name}" for code, name in sorted(spec.categories.items()))
    return spec.name, _span(spec)


def _span(spec: FactorSpec | VariableSpec) -> str:
    span = f"{spec.minimum:.6g} to {spec.maximum:.6g} {spec.unit}".rstrip()
    return f"{span}, signed log" if spec.log else span


def _table(rows: Sequence[tuple[str, ...]], head: tuple[str, ...] = ("", "")) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows]
    return "\n".join(lines)


def _cell(content: str) -> str:
    # A bar would end the cell, a line break the table.
    return " ".join(content.split()).replace("|", "\\|")


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
