"""Leaks that are planted are found; what does not leak is not accused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.trainer.fix_dataset import LeakingRecipe, SlopeRecipe, made_up
from trainer.dataset import Dataset, Factor
from trainer.evaluate import area_under_curve
from trainer.folds import Blocks, Fold, Stratified, make_folds
from trainer.leakage import check_fold, check_labels, footprint, judge_footprint, prove_blind
from trainer.models.base import Job
from trainer.samples import Kind


def honest_fold(data: Dataset) -> Fold:
    return make_folds(Stratified(storm_days=0, place_distance_m=0), data, 0)[0]


def test_a_fit_that_sees_test_rows_is_found_and_an_honest_one_is_not() -> None:
    data = made_up(200)
    fold = honest_fold(data)

    assert prove_blind(SlopeRecipe(), data, fold, Job()) is None
    leak = prove_blind(LeakingRecipe(), data, fold, Job())

    assert leak is not None
    assert leak.severity == "error"


def test_a_factor_made_from_the_labels_is_named() -> None:
    data = made_up(200)
    assert data.patches is not None
    planted = np.concatenate([data.patches, np.empty((200, 1, 5, 5), np.float32)], axis=1)
    planted[:, 2] = np.where(data.label, 3.0, 1.0)[:, None, None]
    leaky = replace(data, patches=planted, factors=(*data.factors, Factor("scar_index")))

    assert check_labels(data, np.arange(200)) == ()
    (leak,) = check_labels(leaky, np.arange(200))

    assert "scar_index alone separates the labels" in leak.finding
    assert leak.severity == "error"


def test_a_scar_is_named_although_the_same_places_are_negatives_on_other_days() -> None:
    data = made_up(200)
    assert data.patches is not None
    landslides = np.flatnonzero(data.label)
    later = landslides[::2]  # the same ground, another day
    samples = list(data.samples)
    for row in later:
        samples[row] = replace(samples[row], label=0, kind=Kind.TEMPORAL_RANDOM)
    planted = np.array(data.patches)
    planted[:, 1] = np.where(data.label, 3.0, 1.0)[:, None, None]

    found = check_labels(replace(data, samples=tuple(samples), patches=planted), np.arange(200))

    assert [leak.finding.split(" of ")[0] for leak in found] == [
        "rock alone separates landslides from samples elsewhere"
    ]


@pytest.mark.parametrize("middle", [2.0, 5.0])
def test_a_label_in_the_middle_of_a_factor_or_in_one_category_is_named(middle: float) -> None:
    data = made_up(200)
    assert data.patches is not None
    random = np.random.default_rng(0)
    planted = np.array(data.patches)
    around = random.choice([middle - 1, middle + 1], 200)
    planted[:, 1] = np.where(data.label, middle, around)[:, None, None]

    (leak,) = check_labels(replace(data, patches=planted), np.arange(200))

    assert leak.finding.startswith("rock alone separates the labels")


def test_rain_that_is_the_label_is_named() -> None:
    data = made_up(200)
    assert data.windows is not None
    windows = np.array(data.windows)
    windows[:, -1, 0] = np.where(data.label, 500.0, 0.0)

    found = check_labels(replace(data, windows=windows), np.arange(200))

    assert any("rain of the last 1 days" in leak.finding for leak in found)


def test_an_honest_fold_has_nothing_to_say() -> None:
    data = made_up(300)
    undated = replace(data, samples=tuple(replace(sample, storm=None) for sample in data.samples))

    folds = make_folds(Blocks(block_km=4, folds=3), undated, 0)

    assert [leak for fold in folds for leak in check_fold(fold, undated)] == []


def test_storms_on_both_sides_are_a_warning() -> None:
    data = made_up(300)

    found = [
        leak for fold in make_folds(Blocks(block_km=4, folds=3), data, 0) for leak in check_fold(fold, data)
    ]

    assert {(leak.check, leak.severity) for leak in found} == {("storm on both sides", "warning")}


def test_a_place_and_its_inputs_on_both_sides_are_errors() -> None:
    data = made_up(60)
    twin = replace(data.samples[1], place=data.samples[0].place)
    assert data.patches is not None
    assert data.windows is not None
    patches, windows = np.array(data.patches), np.array(data.windows)
    patches[1], windows[1] = patches[0], windows[0]
    data = replace(data, samples=(data.samples[0], twin, *data.samples[2:]), patches=patches, windows=windows)
    rows = np.arange(60)
    fold = Fold("by hand", rows[rows % 2 == 0], rows[:0], rows[rows % 2 == 1], rows[:0])

    found = {leak.check: leak for leak in check_fold(fold, data)}

    assert found["place on both sides"].severity == "error"
    assert "1 test samples have the very inputs" in found["identical inputs on both sides"].finding


def test_labels_that_lie_in_one_half_of_the_region_show_in_the_footprint() -> None:
    data = made_up(300)
    east = data.xy[:, 0] > np.median(data.xy[:, 0])
    gathered = replace(
        data,
        samples=tuple(replace(sample, label=int(e)) for sample, e in zip(data.samples, east, strict=True)),
    )

    def auc(chosen: Dataset) -> float:
        folds = make_folds(Stratified(keep=()), chosen, 0)
        predicted = footprint(chosen, folds)
        rows = folds[0].test
        return area_under_curve(chosen.label[rows], predicted[rows])

    assert auc(data) < 0.75
    assert auc(gathered) > 0.95
    assert judge_footprint(auc(gathered), 0.99).severity == "warning"
    assert judge_footprint(0.6, 0.95).severity == "note"


def test_a_footprint_as_good_as_the_models_is_a_warning_even_when_low() -> None:
    assert "no score here shows skill" in judge_footprint(0.72, 0.75).finding


def test_a_footprint_that_knows_nothing_is_no_leak_even_beside_models_that_know_nothing() -> None:
    assert judge_footprint(0.5, 0.52).severity == "note"
