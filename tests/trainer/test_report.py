"""The report says all that was found, with its interval, in one file that needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporters.palette import lightness_and_hue
from service.errors import InputError
from tests.exporters.test_palette import BLINDNESS, seen_by
from tests.trainer.fix_report import MODELS, comparison_of, draw, report_inputs
from trainer.evaluate import METRICS
from trainer.report import Comparison, Picture, ReportInputs, read_comparison, render_report, write_report
from trainer.report.style import MODEL_COLOURS, SURFACE, Colour, styles_of
from trainer.report.verdict import doubts, sentences
from trainer.report.words import difference, metric, number, span

FEW = ("cnn_lstm", "xgboost", "svm")
HIGH_FOOTPRINT = {"auc": {"mean": 0.978, "low": 0.961, "high": 0.989}, "says": "the labels leak"}


class Page(HTMLParser):
    """What a browser would fetch, the ids there are, where links lead, and the text of the page."""

    def __init__(self, content: str) -> None:
        super().__init__(convert_charrefs=True)
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.unnamed: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.tags.append(tag)
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)
        if "id" in given:
            self.ids.append(given["id"])
        for name in ("src", "srcset", "data", "poster", "action"):
            if name in given:
                self.fetched.append(given[name])
        for name in ("href", "xlink:href"):
            if name in given:
                (self.links if tag in ("a", "use") else self.fetched).append(given[name])
        self.fetched += re.findall(r"url\(([^)]*)\)", given.get("style", "") + given.get("clip-path", ""))
        if tag == "img" and not given.get("alt"):
            self.unnamed.append("img")
        if tag == "svg" and not (given.get("aria-label") or given.get("aria-hidden")):
            self.unnamed.append("svg")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text += " " + data.replace("\u00a0", " ")


def words_of(content: str) -> str:
    return " ".join(Page(content).text.split())


def summary(models: Sequence[str] = FEW, **changes: Any) -> Comparison:
    drawn = draw(models, repetitions=2, samples=120)
    return Comparison.model_validate_json(json.dumps(comparison_of(drawn, resamples=40, **changes)))


@pytest.fixture(scope="module")
def inputs() -> ReportInputs:
    return report_inputs(FEW, repetitions=2)


@pytest.fixture(scope="module")
def content(inputs: ReportInputs) -> str:
    return render_report(inputs)


@pytest.fixture(scope="module")
def page(content: str) -> Page:
    return Page(content)


def test_the_page_fetches_nothing_and_runs_nothing(content: str, page: Page) -> None:
    assert page.fetched, "pictures and clips are expected"
    assert [where for where in page.fetched if not where.startswith(("data:image/png;base64,", "#"))] == []
    assert [where for where in page.links if not where.startswith("#")] == []
    assert "script" not in page.tags
    assert "@import" not in content
    assert "default-src &#x27;none&#x27;" in content or "default-src 'none'" in content
    assert len(content) < 5_000_000


def test_every_anchor_leads_somewhere_and_no_id_stands_twice(page: Page) -> None:
    assert len(set(page.ids)) == len(page.ids)
    places = [where.removeprefix("#") for where in page.links]
    places += [where.removeprefix("#") for where in page.fetched if where.startswith("#")]
    assert set(places) <= set(page.ids)


def test_the_page_is_whole_and_every_picture_is_named(page: Page) -> None:
    assert page.open == []
    assert page.unnamed == []
    assert page.tags.count("h1") == 1
    assert page.tags.count("table") == page.tags.count("caption")
    assert page.tags.count("figure") == page.tags.count("figcaption")


def test_every_metric_of_every_model_stands_there_with_its_interval(
    inputs: ReportInputs, content: str
) -> None:
    words = words_of(content)
    for model in inputs.comparison.models.values():
        assert model.title in words
        assert set(model.metrics) == set(METRICS)
        for name, found in model.metrics.items():
            assert metric(name).short in words
            assert f"{number(found.mean)} {span(found.low, found.high)}" in words, (model.title, name)


def test_every_difference_from_the_best_stands_there_with_its_interval(
    inputs: ReportInputs, content: str
) -> None:
    comparison = inputs.comparison
    words = words_of(content)
    best, *others = comparison.ranked()
    for other in others:
        for name in ("auc", "average_precision", "brier", "accuracy"):
            pair = comparison.difference(other, best, name)
            assert pair is not None
            assert difference(pair) in words


def test_a_pair_reads_the_same_both_ways_round() -> None:
    comparison = summary()
    there = comparison.difference("svm", "cnn_lstm", "auc")
    back = comparison.difference("cnn_lstm", "svm", "auc")
    assert there is not None
    assert back is not None
    assert there.difference == pytest.approx(-back.difference)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_synthetic_is_said_in_title_banner_verdict_and_beside_the_paper(
    inputs: ReportInputs, content: str
) -> None:
    words = words_of(content)
    assert "<title>SYNTHETIC: " in content
    assert "SYNTHETIC. Made up by a program" in words
    assert "SYNTHETIC beside real." in words
    assert "synthetic landslides" in sentences(inputs.comparison)[0]
    real = ReportInputs(summary(synthetic=False))
    assert "synthetic" not in words_of(render_report(real)).lower()


def test_the_papers_numbers_stand_beside_this_runs(content: str) -> None:
    words = words_of(content)
    assert "Teng et al. 2026, Table 2" in words
    for stated in ("0.956", "0.928", "0.943", "0.935", "0.980", "0.880"):
        assert stated in words
    assert "The paper also has decision_tree, mlp and random_forest, which this run did not train." in words


def test_all_models_look_the_same_in_every_figure_and_share_each_curve_figure(
    inputs: ReportInputs, content: str
) -> None:
    for anchor in ("roc", "reliability"):
        section = content.split(f'<section id="{anchor}"')[1].split("</section>")[0]
        for name, style in styles_of(FEW).items():
            assert inputs.comparison.models[name].title in section
            assert section.count(f"var(--{style.colour.name})") >= 3  # two plots and the legend


def test_samples_seeds_digests_versions_and_command_are_there_to_repeat_the_run(content: str) -> None:
    words = words_of(content)
    for said in (
        "1,438, 719 of them landslides", "row 17: 4,100 m off the grid", "143 of 719 landslides are older",
        "4 samples of kind temporal wet could not be drawn", "colluvium compare --protocol teng2026",
        "cd" * 32, "ab" * 32, "2.13.0", "0, 1", "days of non-landslides: the paper does not say which",
        "not the probability of a landslide tomorrow",
    ):  # fmt: skip
        assert said in words, said


def test_factors_that_others_explain_are_warned_of(content: str) -> None:
    assert "4 of 12 factors have a VIF above 5" in words_of(content)


def test_the_same_inputs_give_the_same_bytes(inputs: ReportInputs, content: str, tmp_path: Path) -> None:
    write_report(inputs, tmp_path / "report.html")
    assert (tmp_path / "report.html").read_text("utf-8") == content


def test_names_cannot_bring_markup_into_the_page() -> None:
    hostile = '<script>alert("x")</script><img src=https://example.org/a.png onerror=x>'
    told = comparison_of(draw(("cnn_lstm", hostile), repetitions=1, samples=120), resamples=20)
    told |= {"title": hostile, "name": hostile}
    told["models"][hostile] |= {
        "source": hostile,
        "chosen": {hostile: hostile},
        "assumed": {hostile: hostile},
    }
    told["protocol"] |= {"split": hostile, "assumed": [hostile], "source": hostile, "sampling": hostile}
    told["data"] |= {"counts": {hostile: 3}, "warnings": [hostile], "digests": {hostile: hostile}}
    told["leaks"] = [{"check": hostile, "finding": hostile, "severity": "error"}]
    given = report_inputs(("cnn_lstm",), repetitions=1)
    drawn = draw(("cnn_lstm", hostile), repetitions=1, samples=120)
    assert given.collinearity is not None
    content = render_report(
        replace(
            given,
            comparison=Comparison.model_validate_json(json.dumps(told)),
            inventory_problems=[hostile],
            limits=[hostile],
            predictions=drawn.predictions,
            maps=[replace(given.maps[0], title=hostile, description=hostile)],
            importance=[],
            occlusion=[replace(given.occlusion[0], title=hostile, effects=((hostile, 0.2),))],
            collinearity=replace(given.collinearity, names=(hostile, *given.collinearity.names[1:])),
            rate_curves=[],
            high_shares=[],
            training=[],
        )
    )
    page = Page(content)
    assert "script" not in page.tags
    assert page.tags.count("img") == 3
    assert [where for where in page.fetched if "example.org" in where] == []
    assert hostile in page.text


def test_a_footprint_that_scores_high_is_said_in_the_verdict_before_the_data() -> None:
    content = render_report(ReportInputs(summary(footprint=HIGH_FOOTPRINT)))
    verdict = words_of(content.split('<section id="verdict"')[1].split("</section>")[0])
    assert "Do not trust at face value. The labels can be read from where the samples lie." in verdict
    assert "0.978 (0.961 to 0.989)" in verdict
    assert "This is high: the labels leak through where the samples lie." in words_of(content)


def test_a_footprint_that_scores_low_raises_no_doubt() -> None:
    assert doubts(ReportInputs(summary(leaks=[]))) == ()
    assert "This is not high." in words_of(render_report(ReportInputs(summary(leaks=[]))))


def test_leaks_come_gravest_first_once_a_check_and_notes_stay_out_of_the_verdict() -> None:
    leaks = [
        {"check": "overlap", "finding": f"fold {fold}", "severity": "warning"} for fold in range(5)
    ] + [
        {"check": "label in a factor", "finding": "ndvi alone tells the label", "severity": "error"},
        {"check": "twins", "finding": "none", "severity": "note"},
    ]  # fmt: skip
    found = doubts(ReportInputs(summary(leaks=leaks)))
    assert [(item.level, item.head) for item in found] == [
        ("bad", "Leak check: label in a factor"), ("warn", "Leak check: overlap")
    ]  # fmt: skip
    assert found[1].words == "Fold 0. And 4 more: see the leak checks."


def paired(*, low: float, hybrid: float = 0.9, other: float = 0.88) -> Comparison:
    """A comparison of two models whose difference has a given lower end."""
    told = comparison_of(draw(("cnn_lstm", "xgboost"), repetitions=1, samples=120), resamples=20)
    for name, mean in (("cnn_lstm", hybrid), ("xgboost", other)):
        told["models"][name]["metrics"]["auc"] = {"mean": mean, "low": mean - 0.02, "high": mean + 0.02}
    sign = 1 if hybrid >= other else -1
    ends = sorted((sign * low, sign * 0.04))
    told["pairs"] = [
        {
            "first": "cnn_lstm", "second": "xgboost", "metric": "auc", "difference": hybrid - other,
            "low": ends[0], "high": ends[1],
        }
    ]  # fmt: skip
    return Comparison.model_validate_json(json.dumps(told))


def plainly(comparison: Comparison) -> tuple[str, ...]:
    return tuple(said.replace("\u00a0", " ") for said in sentences(comparison))


def test_the_verdict_says_who_by_how_much_and_how_certain() -> None:
    who, much, certain = plainly(paired(low=0.01))
    assert who == (
        "CNN-LSTM ranks the held-out synthetic landslides best of 2 models: AUC 0.900 (95 % interval 0.880 "
        "to 0.920), the mean of 1 repetition."
    )
    assert much.startswith(
        "It is 0.020 ahead of the next, XGBoost (95 % interval of the difference +0.010 to +0.040); the "
        "best that can be reached on these samples is "
    )
    assert certain == "This is certain at 95 %: the interval of the difference lies above zero."


def test_a_difference_whose_interval_holds_zero_is_called_undecided() -> None:
    _, _, certain = plainly(paired(low=-0.01))
    assert certain == (
        "From XGBoost it cannot be told apart on these samples: the interval of the difference holds zero."
    )


def test_a_hybrid_that_loses_is_said_to_lose() -> None:
    who, much, _ = plainly(paired(low=0.01, hybrid=0.86))
    assert who.startswith("XGBoost ranks")
    assert "the hybrid CNN-LSTM comes second: −0.020 (−0.040 to −0.010) from the best" in much


def test_a_model_alone_is_not_called_a_winner() -> None:
    who, much, certain = plainly(summary(("svm",), best_reachable=None, pairs=[]))
    assert who.startswith("SVM was judged alone: AUC ")
    assert much == "There is no other model to compare with."
    assert certain == "With no other model there is nothing to tell apart."


def test_pairs_without_intervals_leave_certainty_open() -> None:
    comparison = summary(pairs=[])
    assert plainly(comparison)[2] == (
        "No paired interval was worked out, so how certain this is cannot be said."
    )
    assert "Differences between the models: no pair of models was compared." in words_of(
        render_report(ReportInputs(comparison))
    )


def test_what_was_not_given_is_left_out_with_a_word() -> None:
    content = render_report(ReportInputs(summary(paper=None, footprint=None)))
    words = words_of(content)
    for said in (
        "Maps of samples and folds: no map was given.",
        "Beside the paper's numbers: the protocol names no paper's numbers.",
        "ROC curves: no predictions were given.",
        "Reliability: no predictions were given.",
        "Training curves: no model with epochs was trained, or no history was given.",
        "Importance of the factors: it was not worked out.",
        "Susceptibility maps: no map was given.",
        "The model of the place alone was not judged",
        "The command of this run was not given",
    ):
        assert said in words, said
    for anchor in ("roc", "places", "paper", "maps"):
        assert f'id="{anchor}"' not in content


def test_where_all_is_given_nothing_is_said_to_be_left_out(content: str) -> None:
    assert 'id="absent"' not in content
    assert "Not in this report" not in content


def test_a_metric_that_is_not_defined_is_said_to_be_so() -> None:
    told = comparison_of(draw(FEW, repetitions=1, samples=120), resamples=20)
    del told["models"]["svm"]["metrics"]["precision"]
    told["models"]["xgboost"]["metrics"]["f1"] = {"mean": 0.5, "low": float("nan"), "high": None}
    comparison = Comparison.model_validate_json(json.dumps(told))
    words = words_of(render_report(ReportInputs(comparison)))
    assert "not defined" in words
    assert "0.500 no interval" in words


def test_a_comparison_that_is_broken_names_the_file_and_the_field(tmp_path: Path) -> None:
    path = tmp_path / "comparison.json"
    with pytest.raises(InputError, match="run `colluvium compare` first"):
        read_comparison(path)
    told = comparison_of(draw(FEW[:1], repetitions=1, samples=60), resamples=20)
    told["data"].pop("samples")
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match=r"comparison\.json is no comparison[^$]*data\.samples"):
        read_comparison(path)
    told["data"]["samples"] = 60
    told["pairs"] = [{"first": "svm", "second": "cnn_lstm", "metric": "auc", "difference": 0.1}]
    path.write_text(json.dumps(told))
    with pytest.raises(InputError, match="pairs name models that are not there: svm"):
        read_comparison(path)


def test_a_picture_that_is_no_png_is_refused() -> None:
    with pytest.raises(InputError, match="'Folds' is not a PNG"):
        Picture("Folds", b"<svg onload=alert(1)>", "folds")


def test_no_two_models_are_drawn_alike() -> None:
    names = [*MODELS, "threshold_rule", "another"]
    looks = {(style.colour.name, style.dashed) for style in styles_of(names).values()}
    assert len(looks) == len(names)
    marks = {(style.colour.name, style.marker) for style in styles_of(names).values()}
    assert len(marks) == len(names)
    assert styles_of(["svm"])["svm"] == styles_of(names)["svm"]


def rgb(code: str) -> list[int]:
    return [int(code[start : start + 2], 16) for start in (1, 3, 5)]


def luminance(code: str) -> float:
    light = np.array(rgb(code)) / 255
    light = np.where(light <= 0.04045, light / 12.92, ((light + 0.055) / 1.055) ** 2.4)
    return float(light @ [0.2126, 0.7152, 0.0722])


def shade(colour: Colour, ground: str) -> str:
    return colour.light if ground == "light" else colour.dark


@pytest.mark.parametrize("ground", ["light", "dark"])
def test_the_colours_stand_out_and_stay_apart_for_the_colour_blind(ground: str) -> None:
    codes = [shade(colour, ground) for colour in MODEL_COLOURS]
    behind = luminance(shade(SURFACE, ground))
    for code in codes:
        brighter, darker = sorted((luminance(code), behind), reverse=True)
        assert (brighter + 0.05) / (darker + 0.05) >= 3, code  # WCAG 2.1, 1.4.11
    colours = np.array([rgb(code) for code in codes])
    for seen in (colours, *(seen_by(colours, blindness) for blindness in BLINDNESS)):
        lab = lightness_and_hue(seen)
        apart = np.linalg.norm(lab[:, None] - lab[None], axis=-1) + 1e3 * np.eye(len(codes))
        assert apart.min() >= 20
