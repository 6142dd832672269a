"""The report of a comparison as one HTML file that needs nothing beside it.

    render_report(inputs) -> str
    write_report(inputs, path)

No script, no network, no other file: the page's own policy forbids them. The same inputs give the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from service.files import replacing
from trainer.report import sections_data, sections_models, sections_scores, sections_trust
from trainer.report.inputs import ReportInputs
from trainer.report.markup import Html, element, join
from trainer.report.section import Absent, Part, Section
from trainer.report.style import MODEL_COLOURS, PAGE_COLOURS
from trainer.report.words import count, sentence

_PARTS = (
    sections_data.verdict,
    sections_data.data,
    sections_data.maps_of_samples,
    sections_scores.metrics,
    sections_scores.paper,
    sections_scores.differences,
    sections_scores.roc,
    sections_scores.reliability,
    sections_scores.rates,
    sections_scores.confusion,
    sections_models.training,
    sections_models.importance,
    sections_models.occlusion,
    sections_models.collinearity,
    sections_data.susceptibility_maps,
    sections_trust.leaks,
    sections_trust.limits,
    sections_trust.repeat,
)
_SYNTHETIC = (
    "Made up by a program from a seed: no real place, weather or landslide. Nothing here says how a model "
    "does on a real slope."
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def render_report(inputs: ReportInputs) -> str:
    """Return the report as HTML."""
    parts: list[Part] = [make(inputs) for make in _PARTS]
    absent = [part for part in parts if isinstance(part, Absent)]
    sections = [part for part in (*parts, sections_trust.left_out(absent)) if isinstance(part, Section)]
    comparison = inputs.comparison
    under = f"{count(len(comparison.models), 'model')}, {count(len(comparison.repetitions), 'repetition')}"
    return render_page(
        comparison.title,
        f"{under}. {sentence(comparison.protocol.split)}",
        sections,
        synthetic=_SYNTHETIC if comparison.synthetic else None,
    )


def render_page(
    title: str,
    under: str,
    sections: Sequence[Section],
    *,
    synthetic: str | None,
    kicker: str = "Colluvium: comparison of models",
) -> str:
    """Return a page in the report's look. `synthetic` says what was made up; None where nothing was.

    The first section is the one that the page can be skipped to.
    """
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", f"{'SYNTHETIC: ' if synthetic else ''}{title}"),
        element("style", _css()),
    )
    body = element(
        "body",
        element("a", f"To the {sections[0].title.lower()}", href=f"#{sections[0].id}", class_="skip"),
        _header(title, under, synthetic, kicker),
        element("div", _contents(sections), element("main", *map(_section, sections)), class_="columns"),
    )
    return f"<!doctype html>\n{element('html', head, body, lang='en')}\n"


def write_report(inputs: ReportInputs, path: Path) -> None:
    """Write the report to `path`; a reader never sees half of it."""
    content = render_report(inputs)
    with replacing(path) as temporary:
        temporary.write_text(content, "utf-8")


def _header(title: str, under: str, synthetic: str | None, kicker: str) -> Html:
    banner = None
    if synthetic:
        said = element("p", element("strong", "SYNTHETIC."), f" {synthetic}")
        banner = element("div", said, class_="synthetic")
    told = element(
        "div",
        element("p", kicker, class_="kicker"),
        element("h1", title),
        element("p", under, class_="quiet"),
    )
    return element("header", banner, element("div", told, class_="title"))


def _contents(sections: Sequence[Section]) -> Html:
    links = [element("li", element("a", part.title, href=f"#{part.id}")) for part in sections]
    return element("nav", element("ol", *links), aria_label="Contents")


def _section(part: Section) -> Html:
    return element("section", element("h2", part.title, id=f"{part.id}-title"), part.body, id=part.id,
                   aria_labelledby=f"{part.id}-title")  # fmt: skip


def _css() -> Html:
    """Return the style sheet with the colours of the models and the page, light and dark."""
    colours = (*MODEL_COLOURS, *PAGE_COLOURS)
    light = "".join(f"--{colour.name}:{colour.light};" for colour in colours)
    dark = "".join(f"--{colour.name}:{colour.dark};" for colour in colours)
    sheet = (files("trainer.report") / "report.css").read_text("utf-8")
    # On paper the page is light whatever the screen is.
    return join(
        [
            Html(f":root{{color-scheme:light;{light}}}"),
            Html(f"@media screen and (prefers-color-scheme:dark){{:root{{color-scheme:dark;{dark}}}}}\n"),
            Html(sheet),
        ]
    )
