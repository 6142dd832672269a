from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from exporters.layer import ClassScheme, Odds
from service.manifest import (
    FACTORED,
    WHOLE,
    FactorSpec,
    Manifest,
    RainTest,
    Training,
    VariableSpec,
    member_file,
)
from trainer.model_card import model_card

TRAINING = Training(
    region="Kerman",
    data="719 landslides, 2001 to 2024",
    synthetic=False,
    samples={"train": 1006, "validation": 216, "test": 216},
    events=719,
    sampling_ratio=1.0,
    split="stratified 70/15/15",
    seed=7,
    metrics={"auc": 0.951, "auc_low": 0.932, "auc_high": 0.967, "brier": 0.083},
    digests={"inventory": "ab" * 32},
    assumed=("patch size: 23 x 23 cells",),
)
RAIN = RainTest(passed=True, largest_drop=0.0, scales=(0.0, 3.0), mean_susceptibility=(0.2, 0.6), samples=50)


def manifest(**changes: Any) -> Manifest:
    values: dict[str, Any] = {
        "name": "kerman",
        "version": "2.1",
        "created": datetime(2026, 1, 2, tzinfo=UTC),
        "kind": "factored",
        "factors": (FactorSpec(name="slope", unit="degrees", minimum=0, maximum=60),),
        "variables": (VariableSpec(name="rain", unit="mm", minimum=0, maximum=80),),
        "classes": ClassScheme(breaks=(0.248, 0.5, 0.752)),
        "training": TRAINING,
        "rain_test": RAIN,
        "may_warn": True,
        "may_warn_reason": "the rain test passed",
        "files": dict.fromkeys((*FACTORED, WHOLE), "00"),
    }
    return Manifest(**(values | changes))


def with_training(**changes: Any) -> Manifest:
    return manifest(training=TRAINING.model_copy(update=changes))


def test_a_metric_stands_with_its_interval_in_one_row() -> None:
    card = model_card(manifest())
    assert "| auc | 0.951 | 0.932 to 0.967 |" in card
    assert "| brier | 0.083 | - |" in card
    assert "auc_low" not in card


def test_metrics_without_any_interval_say_that_chance_is_not_known() -> None:
    bare = model_card(with_training(metrics={"auc": 0.9}))
    assert "how much of these figures is chance is not known" in bare
    assert "how much of these figures is chance" not in model_card(manifest())


def test_each_model_is_called_what_it_is() -> None:
    assert "A hybrid CNN-LSTM (Teng et al. 2026)" in model_card(manifest())
    forest = model_card(manifest(model="Random forest", kind="whole", patch=1, files={WHOLE: "00"}))
    assert "A random forest (Breiman 2001): the ground of a cell and the 30 days" in forest
    assert "CNN-LSTM" not in forest
    assert "A model of tomorrow: the terrain" in model_card(manifest(model="A model of tomorrow"))


def test_a_model_that_does_not_look_at_the_window_says_so_first_and_in_its_limits() -> None:
    card = model_card(
        manifest(model="CNN-only", ignores=("window",), may_warn=False, may_warn_reason="it ignores the rain")
    )
    assert "whatever the weather" in card.split("## ")[0]
    assert "its map is the same on every day" in card
    assert "May warn: **no**. it ignores the rain." in card


def test_a_model_that_does_not_look_at_the_ground_says_so() -> None:
    card = model_card(manifest(model="LSTM-only", ignores=("patches",)))
    assert "whatever the terrain" in card.split("## ")[0]
    assert "cells under the same rain have the same number" in card


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"calibration": "Platt scaling, slope 0.8"},
            "Calibrated at that ratio, inside the graphs: Platt scaling",
        ),
        ({}, "Not calibrated"),
        (
            {"odds": Odds(event_rate=0.0004, per="cell and day", positives_share=0.5)},
            "a stated event rate of 0.0004 per cell and day (King and Zeng 2001",
        ),
        (
            {
                "members": 1,
                "files": dict.fromkeys(
                    [name for file in (*FACTORED, WHOLE) for name in (file, member_file(1, file))], "00"
                ),
            },
            "the spread of this model and 1 member that was trained like it",
        ),
        ({}, "no spread is exported"),
    ],
)
def test_the_card_says_what_the_numbers_mean(changes: dict[str, Any], said: str) -> None:
    assert said in model_card(manifest(**changes))


def test_the_card_can_be_repeated_and_names_what_is_assumed() -> None:
    card = model_card(manifest())
    assert "seed 7" in card.split("## How to repeat it")[1]
    assert "| inventory | " + "ab" * 32 + " |" in card
    assert "- patch size: 23 x 23 cells" in card


def test_synthetic_and_few_events_are_said_loudly() -> None:
    card = model_card(with_training(synthetic=True, events=12))
    assert "**Synthetic: trained on data made by a program" in card.split("## ")[0]
    assert "**Only 12 dated landslides" in card
    assert "It has seen no real landslide." in card
    assert "Synthetic" not in model_card(manifest())


def test_a_bar_or_a_line_break_in_a_name_does_not_break_a_table() -> None:
    card = model_card(with_training(region="north | south\n| east |"))
    assert "| region | north \\| south \\| east \\| |" in card


def test_the_same_manifest_gives_the_same_card() -> None:
    assert model_card(manifest(), ["a note"]) == model_card(manifest(), ["a note"])
    assert "a note" in model_card(manifest(), ["a note"])
