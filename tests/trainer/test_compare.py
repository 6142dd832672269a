"""A comparison: every model on the same samples, judged together, going on where it was stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from service.errors import InputError, SettingsError
from tests.trainer.fix_dataset import made_up
from trainer import runs
from trainer.compare import Case, compare, units
from trainer.dataset import load_dataset, save_dataset
from trainer.protocol import Judging, Protocol, load_protocol, shipped
from trainer.report.comparison import read_comparison
from trainer.runs import load_result
from trainer.samples import Kind

MODELS = {"logistic_regression": {}, "decision_tree": {}}


def protocol(**changes: object) -> Protocol:
    told = {
        "name": "small",
        "title": "A small comparison",
        "seeds": (0, 1),
        "split": {"kind": "blocks", "block_km": 4, "folds": 2},
        "judging": {"by": "ground", "block_km": 4, "resamples": 100},
        "models": MODELS,
    }
    return Protocol.model_validate({**told, **changes})


@pytest.fixture
def case(tmp_path: Path) -> Case:
    save_dataset(made_up(240), tmp_path / "data")
    return Case("made-up", tmp_path / "data")


def test_every_model_is_judged_on_the_same_held_out_samples(case: Case, tmp_path: Path) -> None:
    compared = compare(protocol(), [case], tmp_path / "out", jobs=1)

    found = read_comparison(tmp_path / "out" / "comparison.json")
    assert set(found.models) == set(MODELS)
    for model in found.models.values():
        auc = model.metrics["auc"]
        assert auc.low is not None
        assert auc.mean is not None
        assert auc.high is not None
        assert 0.7 < auc.low <= auc.mean <= auc.high <= 1
    assert found.best_reachable is not None
    assert found.synthetic
    assert [item.test for item in found.repetitions] == [240, 240]
    assert found.difference("logistic_regression", "decision_tree", "auc") is not None
    for pairs in compared.results.values():
        for item, result in pairs:
            assert result.record.repetition == item.name


def test_the_same_comparison_gives_the_same_figures_on_any_number_of_cores(
    case: Case, tmp_path: Path
) -> None:
    one = compare(protocol(seeds=(3,)), [case], tmp_path / "one", jobs=1).summary
    two = compare(protocol(seeds=(3,)), [case], tmp_path / "two", jobs=2).summary

    for summary in (one, two):
        for model in summary["models"].values():
            del model["seconds"]
    assert one == two


def test_what_is_finished_is_not_fitted_again(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    compare(protocol(), [case], out, jobs=1)
    before = {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/result.json")}

    compare(protocol(), [case], out, jobs=1)
    assert {path: path.stat().st_mtime_ns for path in out.glob("runs/*/*/result.json")} == before

    compare(protocol(models={**MODELS, "decision_tree": {"depth": 2}}), [case], out, jobs=1)
    changed = {path for path in before if path.stat().st_mtime_ns != before[path]}
    assert {path.parts[-3] for path in changed} == {"decision_tree"}


def test_runs_of_other_packages_are_fitted_again(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = protocol(seeds=(0,), models={"decision_tree": {}})
    compare(one, [case], tmp_path / "out", jobs=1)
    (path, *_) = (tmp_path / "out").glob("runs/*/*/result.json")
    before = path.stat().st_mtime_ns

    monkeypatch.setattr(runs, "packages", lambda: {"scikit-learn": "0.1"})
    compare(one, [case], tmp_path / "out", jobs=1)

    assert path.stat().st_mtime_ns > before


def test_a_run_cut_short_on_disk_is_fitted_again(case: Case, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = compare(protocol(), [case], out, jobs=1).summary
    path = next(out.glob("runs/decision_tree/*/predictions.npz"))
    path.write_bytes(path.read_bytes()[:100])

    again = compare(protocol(), [case], out, jobs=1).summary

    assert again["models"]["decision_tree"]["metrics"] == first["models"]["decision_tree"]["metrics"]
    load_result(path.parent)


@pytest.mark.slow
def test_killed_in_the_middle_it_goes_on_and_gives_the_same(case: Case, tmp_path: Path) -> None:
    whole = compare(protocol(), [case], tmp_path / "whole", jobs=1).summary
    script = (
        "from pathlib import Path\n"
        "from tests.trainer.test_compare import protocol\n"
        "from trainer.compare import Case, compare\n"
        f"case = Case('made-up', Path({str(case.folder)!r}))\n"
        f"compare(protocol(), [case], Path({str(tmp_path / 'cut')!r}), jobs=1)\n"
    )
    child = subprocess.Popen([sys.executable, "-c", script], cwd=Path(__file__).parents[2])
    try:
        ends = time.monotonic() + 60
        while not list((tmp_path / "cut").glob("runs/*/*/result.json")) and time.monotonic() < ends:
            time.sleep(0.05)
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    assert not (tmp_path / "cut" / "comparison.json").exists()
    assert 0 < len(list((tmp_path / "cut").glob("runs/*/*/result.json"))) < 8

    again = compare(protocol(), [case], tmp_path / "cut", jobs=1).summary

    for name, model in whole["models"].items():
        assert again["models"][name]["metrics"] == model["metrics"]


def test_an_error_names_the_model_and_the_fold(tmp_path: Path) -> None:
    data = made_up(240)
    assert data.patches is not None
    flat = np.array(data.patches)
    flat[:, 0] = 12.0
    save_dataset(replace(data, patches=flat), tmp_path / "data")

    with pytest.raises(InputError, match=r"logistic_regression, flat-s0, block fold 1: .*slope.* is 12"):
        compare(
            protocol(seeds=(0,), models={"logistic_regression": {}}),
            [Case("flat", tmp_path / "data")],
            tmp_path / "out",
            jobs=1,
        )


def test_one_class_only_is_refused_before_anything_is_fitted(tmp_path: Path) -> None:
    data = made_up(60)
    slid = tuple(replace(sample, label=1, kind=Kind.EVENT) for sample in data.samples)
    save_dataset(replace(data, samples=slid), tmp_path / "data")

    with pytest.raises(InputError, match="all 60 samples are landslides"):
        compare(protocol(), [Case("one", tmp_path / "data")], tmp_path / "out", jobs=1)


def test_labels_that_lie_apart_are_said_beside_the_score(tmp_path: Path) -> None:
    data = made_up(240)
    east = data.xy[:, 0] > np.median(data.xy[:, 0])
    kind = [Kind.EVENT if e else Kind.SPATIAL for e in east]
    apart = tuple(
        replace(sample, label=int(k is Kind.EVENT), kind=k)
        for sample, k in zip(data.samples, kind, strict=True)
    )
    save_dataset(replace(data, samples=apart), tmp_path / "data")
    plan = protocol(seeds=(0,), split={"kind": "stratified", "keep": ["place"], "place_distance_m": 1})

    summary = compare(plan, [Case("apart", tmp_path / "data")], tmp_path / "out", jobs=1).summary

    assert summary["footprint"]["auc"]["mean"] > 0.95
    assert any(
        leak["check"] == "footprint-only model" and leak["severity"] == "warning" for leak in summary["leaks"]
    )


@pytest.mark.parametrize("by", ["ground", "storm", "place"])
def test_units_hold_what_must_be_resampled_together(by: str) -> None:
    data = made_up(200, places=80)

    found = units(data, Judging.model_validate({"by": by}))

    key = {
        "ground": [tuple(np.floor(xy / 2000)) for xy in data.xy],
        "storm": [sample.storm for sample in data.samples],
        "place": [sample.place for sample in data.samples],
    }[by]
    assert len(set(found.tolist())) == len(set(key)) == len(set(zip(found.tolist(), key, strict=True)))


@pytest.mark.parametrize("name", shipped())
def test_a_shipped_protocol_names_models_and_hyperparameters_that_there_are(name: str) -> None:
    found = load_protocol(name)

    assert list(found.recipes()) == list(found.models)
    assert found.assumed, "what the paper does not state is said"
    assert found.paper is not None


def test_a_protocol_with_a_wrong_key_names_it(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(
        'name = "mine"\ntitle = "Mine"\n[split]\nkind = "stratified"\ntset = 0.2\n[models.svm]\n', "utf-8"
    )

    with pytest.raises(SettingsError, match="tset"):
        load_protocol(path)


@pytest.mark.parametrize("seeds", [(0, 0), (-1,)])
def test_seeds_that_count_a_repetition_twice_or_cannot_be_drawn_from_are_refused(seeds: object) -> None:
    with pytest.raises(ValidationError, match="seeds"):
        protocol(seeds=seeds)


def test_a_model_that_there_is_not_is_said_with_those_there_are() -> None:
    with pytest.raises(SettingsError, match="it has: logistic_regression, decision_tree"):
        protocol().recipes(("forest",))


def test_a_dataset_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    data = made_up(50)

    saved = save_dataset(data, tmp_path / "data")
    again = load_dataset(tmp_path / "data")

    assert again.samples == data.samples
    assert again.factors == data.factors
    assert again.variables == data.variables
    assert again.zone == data.zone
    assert data.patches is not None
    assert again.patches is not None
    assert np.array_equal(again.patches, data.patches)
    assert isinstance(again.patches, np.memmap), "patches stay on disk"
    assert again.digest == saved.digest != data.digest
    assert save_dataset(data, tmp_path / "twin").digest == saved.digest


def test_a_dataset_cut_short_says_what_to_do(tmp_path: Path) -> None:
    save_dataset(made_up(50), tmp_path / "data")
    path = tmp_path / "data" / "patches.npy"
    os.truncate(path, path.stat().st_size // 2)

    with pytest.raises(InputError, match=r"patches\.npy cannot be read"):
        load_dataset(tmp_path / "data")


def test_the_summary_is_plain_json(case: Case, tmp_path: Path) -> None:
    compare(protocol(seeds=(0,)), [case], tmp_path / "out", jobs=1)

    text = (tmp_path / "out" / "comparison.json").read_text("utf-8")
    assert "NaN" not in text
    assert json.loads(text)["protocol"]["split"].startswith("squares of 4 km in 2 folds")
