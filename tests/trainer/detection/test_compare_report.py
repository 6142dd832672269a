"""Table and report: the paper's figures beside ours, and never as if they could be compared."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from tests.trainer.detection.fix_compare import NOW, StandIn, official_folder, regions_csv, settings_of
from trainer.detection.compare import compare
from trainer.detection.compare_report import render_detectors, verdict, write_report
from trainer.detection.compare_results import (
    NOT_COMPARABLE,
    NOT_STATED,
    Estimate,
    Results,
    read_results,
    write_results,
)
from trainer.detection.compare_table import table_lines
from trainer.detection.networks import MODELS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    place = tmp_path_factory.mktemp("compare")
    folder = official_folder(place / "data")
    settings = settings_of(
        ["resnet34", "unet"], [0, 3], split="all", regions_csv=regions_csv(place / "regions.csv", folder)
    )
    return compare(folder, place / "out", settings, fit=StandIn(), now=lambda: NOW)


def with_f1(results: Results, name: str, **changes: object) -> Results:
    """Return results whose first split says something else of one model's F1."""
    split = results.splits[0]
    model = split.models[name]
    scores = {**model.scores, "f1": model.scores["f1"].model_copy(update=changes)}
    models = {**split.models, name: model.model_copy(update={"scores": scores})}
    changed = split.model_copy(update={"models": models})
    return results.model_copy(update={"splits": (changed, *results.splits[1:])})


def test_the_table_has_the_papers_figures_beside_ours(results: Results) -> None:
    lines = list(table_lines(results))
    row = next(line for line in lines if line.startswith("ResNet34"))
    ours = results.splits[0].models["resnet34"].scores
    assert row.split("|")[1].split() == ["0.7470", "0.7737", "0.7267"]
    assert row.split("|")[2].split()[0] == f"{ours['f1'].mean:.4f}"
    assert not any(line.startswith("VGG16") for line in lines)  # was not asked for


def test_the_table_says_what_cannot_be_compared_and_what_is_not_stated(results: Results) -> None:
    text = re.sub(r"\s+", " ", " ".join(table_lines(results)))
    assert NOT_COMPARABLE in text
    assert "959" in text
    assert "3,799 to train, 245 to validate and 800 to test" in text
    for words in NOT_STATED:
        assert words in text


def test_the_papers_figures_are_those_of_its_table(results: Results) -> None:
    stated = {row.title: (row.f1, row.precision, row.recall) for row in results.paper.values()}
    assert len(stated) == len(MODELS) == 13
    assert stated["ResNet34"] == (0.7470, 0.7737, 0.7267)
    assert stated["U-Net"] == (0.7012, 0.7906, 0.6338)
    assert stated["MiT-B1"] == (0.6989, 0.7574, 0.6596)


def test_the_report_is_one_file_that_fetches_nothing(results: Results, tmp_path: Path) -> None:
    write_report(results, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text("utf-8")
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)[^\"]+\"", page)
    assert "<script" not in page
    assert page.count("<svg") >= 3
    ids = set(re.findall(r" id=\"([^\"]+)\"", page))
    assert set(re.findall(r"<a href=\"#([^\"]+)\"", page)) <= ids


def test_the_report_says_all_that_the_table_says(results: Results) -> None:
    page = unescape(render_detectors(results))
    assert NOT_COMPARABLE in page
    for words in NOT_STATED:
        assert words in page
    assert "0.7470" in page
    for region in ("Hokkaido", "Kodagu", "Rasuwa"):
        assert region in page
    assert "SYNTHETIC" not in page


def test_what_was_made_up_is_called_so(results: Results) -> None:
    made_up = results.model_copy(update={"data": results.data.model_copy(update={"synthetic": True})})
    assert "SYNTHETIC" in render_detectors(made_up)
    assert next(iter(table_lines(made_up))).startswith("SYNTHETIC")


def test_the_report_made_again_from_its_json_is_the_same(results: Results, tmp_path: Path) -> None:
    write_results(results, tmp_path)
    assert render_detectors(read_results(tmp_path)) == render_detectors(results)


def test_a_model_is_only_called_better_where_its_interval_stands_apart(results: Results) -> None:
    low = with_f1(results, "unet", mean=0.6, low=0.5, high=0.7)
    apart = with_f1(low, "resnet34", mean=0.9, low=0.88, high=0.92)
    assert "meets no other's" in verdict(apart.splits[0])
    near = with_f1(apart, "unet", mean=0.87, low=0.84, high=0.90)
    assert "meets that of U-Net, so which is better is not settled" in verdict(near.splits[0])
    single = with_f1(results, "resnet34", mean=0.9, low=None, high=None)
    assert "without an interval" in verdict(single.splits[0])


def test_an_undefined_score_is_shown_as_such(results: Results) -> None:
    seeds: dict[str, float | None] = {"0": None, "3": 0.4}
    none = Estimate(mean=None, low=None, high=None, seeds=seeds)
    changed = with_f1(results, "unet", **none.model_dump())
    row = next(line for line in table_lines(changed) if line.startswith("U-Net"))
    assert row.split("|")[2].split()[0] == "-"
    assert "not defined" in render_detectors(changed)


def test_what_is_still_to_come_is_said(results: Results) -> None:
    split = results.splits[0].model_copy(
        update={"models": {"unet": results.splits[0].models["unet"]}, "unfinished": ("resnet34", "unet")}
    )
    part = results.model_copy(
        update={"splits": (split,), "complete": False, "finished_runs": 1, "planned_runs": 4}
    )
    lines = list(table_lines(part))
    assert any(line.startswith("ResNet34") and line.endswith("not trained to the end yet") for line in lines)
    assert any(line.startswith("U-Net") and line.endswith("seeds so far: 0, 3") for line in lines)
    assert lines[-1].startswith("3 of 4 trainings are still to come")
    assert "Not finished." in render_detectors(part)
    nothing = part.model_copy(update={"splits": (split.model_copy(update={"models": {}}),)})
    assert "not finished" in render_detectors(nothing)
