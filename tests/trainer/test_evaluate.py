from __future__ import annotations

import math

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InputError
from trainer.evaluate import METRICS, Confusion, Scored, area_under_curve, draw_blocks, evaluate

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
    assert result.confusion == Confusion(tp=2, fp=1, tn=1, fn=1)
    assert result.specificity == pytest.approx(1 / 2)
    # By falling value: 0.9 right (1 of 1), 0.7 wrong, 0.6 right (2 of 3), 0.2 right (3 of 4).
    assert result.average_precision == pytest.approx((1 + 2 / 3 + 3 / 4) / 3)
    assert result.mae == pytest.approx((0.1 + 0.4 + 0.8 + 0.7 + 0.1) / 5)
    assert result.mse == result.brier
    assert result.rmse == pytest.approx(math.sqrt(result.mse))
    assert result.mape == pytest.approx(result.mae)  # every denominator is 1


def test_ties_count_half_and_a_prediction_on_the_threshold_is_positive() -> None:
    assert area_under_curve(np.array([1, 0]), np.array([0.5, 0.5])) == 0.5
    assert evaluate(np.array([1, 0]), np.array([0.5, 0.4])).recall == 1.0


def test_what_is_not_defined_is_nan_and_left_out_of_the_metrics() -> None:
    result = evaluate(np.array([0, 0]), np.array([0.1, 0.2]))
    assert math.isnan(result.auc)
    assert math.isnan(result.precision)
    assert math.isnan(result.recall)
    assert math.isnan(result.average_precision)
    assert set(result.metrics()) == {
        "log_loss", "accuracy", "specificity", "mae", "mse", "rmse", "mape", "brier"
    }  # fmt: skip


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
        ([0, 0.5], [0.1, 0.2], "0 or 1"),
    ],
)
def test_unusable_input_is_refused(label: list[float], predicted: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        evaluate(np.array(label), np.array(predicted))


ROWS = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 10)), min_size=2, max_size=40)


@settings(max_examples=60, deadline=None)
@given(ROWS)
def test_metrics_agree_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    label = np.array([row[0] for row in rows])
    predicted = np.array([row[1] / 10 for row in rows])
    result = evaluate(label, predicted)
    if 0 < label.sum() < label.size:
        assert result.auc == pytest.approx(sk.roc_auc_score(label, predicted))
    if label.any():
        assert result.average_precision == pytest.approx(sk.average_precision_score(label, predicted))
    assert result.brier == pytest.approx(sk.brier_score_loss(label, predicted, pos_label=1))
    assert result.mae == pytest.approx(sk.mean_absolute_error(label, predicted))
    assert result.rmse == pytest.approx(sk.root_mean_squared_error(label, predicted))
    clipped = np.clip(predicted, 1e-7, 1 - 1e-7)
    assert result.log_loss == pytest.approx(sk.log_loss(label, clipped, labels=[0, 1]), rel=1e-6)
    said = predicted >= 0.5
    assert (result.confusion.tn, result.confusion.fp, result.confusion.fn, result.confusion.tp) == tuple(
        sk.confusion_matrix(label, said, labels=[0, 1]).ravel()
    )
    if said.any() and label.any():
        assert result.precision == pytest.approx(sk.precision_score(label, said))
        assert result.recall == pytest.approx(sk.recall_score(label, said))
        assert result.f1 == pytest.approx(sk.f1_score(label, said, zero_division=0.0))
    if not label.all():
        assert result.specificity == pytest.approx(sk.recall_score(label, said, pos_label=0))


@settings(max_examples=60, deadline=None)
@given(ROWS, st.integers(1, 6), st.integers(0, 1000))
def test_a_resample_of_blocks_is_judged_like_the_samples_written_out(
    rows: list[tuple[int, int]], blocks: int, seed: int
) -> None:
    label = np.array([row[0] for row in rows])
    predicted = np.array([row[1] / 10 for row in rows])
    random = np.random.default_rng(seed)
    block = np.unique(random.integers(0, blocks, label.size), return_inverse=True)[1]
    scored = Scored(label, predicted, block)
    times = draw_blocks(random, scored.blocks, 3)
    found = scored.metrics(times)
    assert (times.sum(axis=1) == scored.blocks).all()
    for number, often in enumerate(times):
        index = np.repeat(np.arange(label.size), often[block])
        written_out = Scored(label[index], predicted[index]).once()
        for name in METRICS:
            assert found[name][number] == pytest.approx(written_out[name], nan_ok=True), name


def test_any_score_can_be_ranked_but_not_one_that_is_no_number() -> None:
    assert area_under_curve(np.array([0, 1, 1]), np.array([-40.0, 3.0, 900.0])) == 1.0
    with pytest.raises(InputError, match="1 of 2 scores"):
        area_under_curve(np.array([0, 1]), np.array([0.0, np.nan]))
