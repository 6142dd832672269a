"""The plain rules beside a detector: thresholds that never see the mask, and bounds that say they did."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from service.errors import InputError
from trainer.detection.judge import ratios
from trainer.detection.real_patch import best_f1, otsu


def test_two_heaps_are_parted_between_them() -> None:
    random = np.random.default_rng(1)
    values = np.concatenate([random.normal(0.2, 0.02, 900), random.normal(0.7, 0.02, 100)])
    assert 0.28 < otsu(values) < 0.62


def test_values_that_are_all_alike_are_parted_nowhere() -> None:
    with pytest.raises(InputError, match="no threshold parts them"):
        otsu(np.full(10, 0.3))


scores = arrays(np.float64, 12, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]))


@given(scores, arrays(np.bool_, 12))
def test_the_best_f1_is_that_of_the_best_of_all_thresholds(score: np.ndarray, truth: np.ndarray) -> None:
    most, average = best_f1(score, truth)
    if not truth.any():
        assert (most, average) == (None, None)
        return
    tried = []
    for threshold in np.unique(score):
        said = score >= threshold
        tried.append(
            ratios(int((said & truth).sum()), int((said & ~truth).sum()), int((~said & truth).sum())).f1
        )
    assert most == pytest.approx(max(value for value in tried if value is not None))
    assert average is not None
    assert 0 < average <= 1 + 1e-12


def test_a_score_that_knows_has_full_average_precision() -> None:
    truth = np.array([True, False, True, False])
    assert best_f1(truth.astype(float), truth) == (1.0, 1.0)
    assert best_f1(np.zeros(4), truth) == (pytest.approx(2 / 3), 0.5)  # says the same everywhere
