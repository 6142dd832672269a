"""The model card: what a bundle is, in plain words, for whoever has to decide whether to trust it."""

from __future__ import annotations

from collections.abc import Sequence

from service.manifest import FactorSpec, Manifest, RainTest, VariableSpec

# Below this many dated landslides behind a model, its metrics say little, and the card says so.
FEW_EVENTS = 100


def model_card(manifest: Manifest, notes: Sequence[str] = ()) -> str:
    """Return the model card of a manifest as Markdown; `notes` are paragraphs of the trainer's own."""
    training = manifest.training
    parts = [f"# {manifest.name} {manifest.version}"]
    if training.synthetic:
        parts.append(
            "**Synthetic: trained on data made by a program, not on landslides that happened. "
            "It shows how Colluvium works and says nothing about any real slope.**"
        )
    parts += [
        "A hybrid CNN-LSTM (Teng et al. 2026): the terrain around a cell and the "
        f"{manifest.window_days} days before a layer, up to {_lag(manifest.lag_days)}, give a susceptibility "
        "between 0 and 1. It is an index relative to the sampling ratio below, **not** the probability of a "
        "landslide tomorrow.",
        *notes,
        "## Trained on",
        _table(
            [
                ("region", training.region),
                ("data", training.data),
                ("dated landslides", str(training.events)),
                ("negatives for each positive", f"{training.sampling_ratio:g}"),
                ("split", training.split),
                ("samples", ", ".join(f"{key} {count}" for key, count in training.samples.items()) or "-"),
                ("seed", str(training.seed)),
                ("exported", manifest.created.isoformat()),
            ]
        ),
    ]
    if training.events < FEW_EVENTS:
        parts.append(
            f"**Only {training.events} dated landslides stand behind this model.** With so few, the figures "
            "below can change much with one event more or less."
        )
    metrics = [(key, f"{value:.4g}") for key, value in training.metrics.items()]
    parts += ["## Held-out metrics", _table(metrics) if metrics else "None were measured."]
    parts += [
        "## Warnings",
        f"May warn: **{'yes' if manifest.may_warn else 'no'}**. {manifest.may_warn_reason}.",
    ]
    parts.append(_rain(manifest.rain_test) if manifest.rain_test else "The rain test was not run.")
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
    if training.digests:
        parts += ["## Digests of the data", _table(list(training.digests.items()))]
    return "\n\n".join(parts) + "\n"


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


def _table(rows: Sequence[tuple[str, str]], head: tuple[str, str] = ("", "")) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    lines += [f"| {left} | {right} |" for left, right in rows]
    return "\n".join(lines)


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
