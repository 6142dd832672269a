"""Intervals over seeds and over patches, and where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InputError
from trainer.detection.intervals import over_patches, over_seeds


def test_seeds_give_students_interval_and_stay_named() -> None:
    found = over_seeds({"0": 0.70, "1": 0.74, "2": 0.72})
    assert found.mean == pytest.approx(0.72)
    half = 4.302653 * 0.02 / np.sqrt(3)  # t(0.975, 2) of the tables
    assert (found.low, found.high) == (pytest.approx(0.72 - half), pytest.approx(0.72 + half))
    assert found.seeds == {"0": 0.70, "1": 0.74, "2": 0.72}


def test_one_seed_has_a_value_and_no_interval() -> None:
    found = over_seeds({"7": 0.7})
    assert (found.mean, found.low, found.high) == (0.7, None, None)


def test_two_seeds_far_apart_do_not_reach_beyond_what_a_score_can_be() -> None:
    found = over_seeds({"0": 0.1, "1": 0.9})
    assert (found.low, found.high) == (0.0, 1.0)


def test_a_seed_without_a_score_is_not_left_out_of_the_mean() -> None:
    found = over_seeds({"0": 0.8, "1": None})
    assert (found.mean, found.low, found.high) == (None, None, None)
    assert found.seeds == {"0": 0.8, "1": None}


def test_no_seed_is_refused() -> None:
    with pytest.raises(InputError, match="no seed"):
        over_seeds({})


def test_patches_all_alike_leave_no_doubt() -> None:
    found = over_patches(np.tile([6, 2, 2, 90, 0], (20, 1)), "f1")
    assert (found.low, found.high) == (pytest.approx(0.75), pytest.approx(0.75))


def test_patches_that_differ_widen_the_interval_around_the_pooled_score() -> None:
    counts = np.array([[9, 1, 0, 90, 0], [1, 0, 9, 90, 0]] * 10)
    found = over_patches(counts, "recall")
    assert found.low is not None
    assert found.high is not None
    assert found.low < 100 / 190 < found.high
    assert 0.1 < found.high - found.low < 0.7
    assert over_patches(counts, "recall") == found  # the same draws again


def test_the_interval_of_many_patches_is_near_that_of_theory() -> None:
    # Recall of single pixels is a share: its standard error is sqrt(p (1 - p) / n).
    generator = np.random.default_rng(3)
    hit = generator.random(2000) < 0.7
    found = over_patches(np.stack([hit, ~hit * 0, ~hit], axis=1).astype(np.int64), "recall")
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low == pytest.approx(2 * 1.96 * np.sqrt(0.7 * 0.3 / 2000), rel=0.15)


@pytest.mark.parametrize("counts", [[[3, 1, 1, 9, 0]], [[0, 0, 0, 9, 0]] * 5])
def test_one_patch_or_none_with_a_score_gives_no_interval(counts: list[list[int]]) -> None:
    found = over_patches(np.array(counts), "f1")
    assert (found.low, found.high) == (None, None)


def test_an_unknown_score_is_refused() -> None:
    with pytest.raises(InputError, match="no score is called 'auc'"):
        over_patches(np.zeros((3, 5), np.int64), "auc")
