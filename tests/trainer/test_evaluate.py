from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from trainer.evaluate import area_under_curve, evaluate

LABEL = np.array([1, 1, 1, 0, 0])
PREDICTED = np.array([0.9, 0.6, 0.2, 0.7, 0.1])


def test_metrics_equal_those_reckoned_by_hand() -> None:
    result = evaluate(LABEL, PREDICTED)
    # Pairs where the positive is above: 0.9 beats both, 0.6 and 0.2 beat 0.1 only: 4 of 6.
    assert result.auc == pytest.approx(4 / 6)
    # At 0.5: hits 0.9, 0.6; false alarm 0.7; miss 0.2; right rejection 0.1.
    assert result.accuracy == pytest.approx(3 / 5)
    assert result.precision == pytest.approx(2 / 3)
    assert result.recall == pytest.approx(2 / 3)
    assert result.f1 == pytest.approx(2 / 3)
    assert result.brier == pytest.approx((0.01 + 0.16 + 0.64 + 0.49 + 0.01) / 5)
    logs = [math.log(0.9), math.log(0.6), math.log(0.2), math.log(0.3), math.log(0.9)]
    assert result.log_loss == pytest.approx(-sum(logs) / 5)
    assert (result.samples, result.positives) == (5, 3)


def test_ties_count_half_and_a_prediction_on_the_threshold_is_positive() -> None:
    assert area_under_curve(np.array([1, 0]), np.array([0.5, 0.5])) == 0.5
    assert evaluate(np.array([1, 0]), np.array([0.5, 0.4])).recall == 1.0


def test_what_is_not_defined_is_nan_and_left_out_of_the_metrics() -> None:
    result = evaluate(np.array([0, 0]), np.array([0.1, 0.2]))
    assert math.isnan(result.auc)
    assert math.isnan(result.precision)
    assert math.isnan(result.recall)
    assert set(result.metrics()) == {"log_loss", "accuracy", "brier"}


def test_a_sure_and_wrong_prediction_costs_a_finite_log_loss() -> None:
    assert 10 < evaluate(np.array([1]), np.array([0.0])).log_loss < 20


def test_the_interval_by_group_is_wider_than_by_sample_where_groups_agree() -> None:
    generator = np.random.default_rng(0)
    groups = np.repeat(np.arange(20), 20)
    right = generator.random(20) < 0.7
    label = np.tile([0, 1], 200)
    predicted = np.where(right[groups], label, 1 - label).astype(float)
    by_group = evaluate(label, predicted, groups).intervals["accuracy"]
    by_sample = evaluate(label, predicted, np.arange(400)).intervals["accuracy"]
    accuracy = evaluate(label, predicted).accuracy
    assert by_group[0] <= accuracy <= by_group[1]
    assert by_group[1] - by_group[0] > 2 * (by_sample[1] - by_sample[0])
    assert evaluate(label, predicted, groups).intervals["accuracy"] == by_group


@pytest.mark.parametrize(
    ("label", "predicted", "words"),
    [
        ([0, 2], [0.1, 0.2], "0 or 1"),
        ([0, 1], [0.1, 1.2], "between 0 and 1"),
        ([0, 1], [0.1, float("nan")], "between 0 and 1"),
        ([0, 1], [0.1], "equally long"),
        ([], [], "not empty"),
    ],
)
def test_unusable_input_is_refused(label: list[int], predicted: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(np.array(label), np.array(predicted))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=40))
def test_metrics_agree_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    label = np.array([row[0] for row in rows])
    predicted = np.array([row[1] / 10 for row in rows])
    result = evaluate(label, predicted)
    if 0 < label.sum() < label.size:
        assert result.auc == pytest.approx(sk.roc_auc_score(label, predicted))
    assert result.brier == pytest.approx(sk.brier_score_loss(label, predicted, pos_label=1))
    said = predicted >= 0.5
    if said.any() and label.any():
        assert result.precision == pytest.approx(sk.precision_score(label, said))
        assert result.recall == pytest.approx(sk.recall_score(label, said))
        assert result.f1 == pytest.approx(sk.f1_score(label, said, zero_division=0.0))
