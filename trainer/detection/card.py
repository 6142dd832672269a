"""card.md: what a detector is, in plain words, for whoever has to decide whether to trust it."""

from __future__ import annotations

from collections.abc import Sequence

from service.detection.bands import BY_NAME
from service.detection.manifest import DetectorManifest
from trainer.detection.fit import FittedDetector

_SYNTHETIC = (
    "**Synthetic: trained on landslides that a program painted, not on any that happened. It shows how "
    "Colluvium works and says nothing about any real slope.**"
)
_NOT_FOR = (
    "to say that a slope is safe: what is under cloud, in shadow, or smaller than a few pixels is not seen",
    "to date a landslide: a scene only shows that it was there on the day it was taken",
    "as a probability: the output is an index, calibrated to nothing, least of all elsewhere",
    "without a person: every outline waits for one who accepts or rejects it",
)


def detector_card(fitted: FittedDetector, manifest: DetectorManifest, command: str) -> str:
    """Return a detector's card as Markdown."""
    best, settings = fitted.best, fitted.settings
    parts = [f"# {manifest.name} {manifest.version}"]
    if manifest.synthetic:
        parts.append(_SYNTHETIC)
    parts.append(
        f"Sees landslides in patches of {manifest.patch} x {manifest.patch} pixels of "
        f"{manifest.pixel_size_m:g} m: {manifest.architecture}, {len(manifest.bands)} bands, "
        f"{manifest.radiometry} values."
    )
    parts.append("## Training data")
    parts.append(
        _table(
            ("", ""),
            [
                ("trained on", manifest.trained_on),
                ("patches", f"{fitted.train_patches} to learn from, {fitted.valid_patches} to choose by"),
                ("digest of the data", manifest.data_digest),
                ("weights began", manifest.pretrained),
                ("loss", settings.loss),
                (
                    "epochs",
                    f"{len(fitted.history)}, of which {fitted.best_epoch} was kept: the best "
                    f"{'F1' if settings.choose_by == 'f1' else 'loss'} on validation data",
                ),
                ("seed", str(settings.seed)),
                ("made", manifest.created.isoformat()),
            ],
        )
    )
    parts += [f"- {note}" for note in fitted.notes]
    parts.append("## How good")
    rows = [
        ("validation, on which the threshold was chosen", *_figures(best.precision, best.recall, best.f1))
    ]
    scores = manifest.scores
    if scores is not None:
        rows.append((scores.data, *_figures(scores.precision, scores.recall, scores.f1)))
    parts.append(_table(("pixels of", "precision", "recall", "F1"), rows))
    if scores is None:
        parts.append(
            "Nothing but the validation part has judged it: the threshold was chosen there, so its F1 is "
            "higher than it will be elsewhere."
        )
    parts.append(
        f"Threshold {manifest.threshold:g}, chosen on: {manifest.threshold_chosen_on}."
        + (
            " At inference the mean over the eight symmetries of a patch."
            if manifest.test_time_augmentation
            else ""
        )
    )
    parts.append("## Not to be used")
    parts.append("\n".join(f"- {one}" for one in _not_for(manifest)))
    parts.append("## Bands")
    parts.append(
        _table(
            ("band", "", "mean", "standard deviation"),
            [
                (band.name, BY_NAME[band.name].title, f"{band.mean:.4g}", f"{band.std:.4g}")
                for band in manifest.bands
            ],
        )
    )
    parts.append("Mean and standard deviation are of the training part; both are inside the graph.")
    parts += ["## Made with", f"    {command}"]
    return "\n\n".join(parts) + "\n"


def _not_for(manifest: DetectorManifest) -> list[str]:
    reasons = list(_NOT_FOR)
    if manifest.synthetic:
        reasons.insert(0, "on any real scene for anything but a trial: it has never seen a real landslide")
    if manifest.radiometry == "landslide4sense":
        reasons.insert(
            0,
            "on reflectance: the published patches are scaled band by band, and a scene is not; scenes are "
            "refused",
        )
    return reasons


def _figures(*values: float | None) -> tuple[str, ...]:
    return tuple("-" if value is None else f"{value:.4f}" for value in values)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
