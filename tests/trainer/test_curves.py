"""Curves against reckoning by hand and scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk
from hypothesis import given, settings
from hypothesis import strategies as st

from exporters.layer import NODATA, ClassScheme, store
from service.errors import InputError
from tests.fix_factors import write_raster
from trainer.curves import (
    class_shares,
    count_codes,
    count_codes_of,
    mean_roc,
    precision_recall_curve,
    rate_curve,
    reliability,
    roc_curve,
    wilson,
)

TWO_CLASSES = st.lists(st.tuples(st.integers(0, 1), st.integers(0, 8)), min_size=2, max_size=40).filter(
    lambda rows: 0 < sum(row[0] for row in rows) < len(rows)
)


@settings(max_examples=60, deadline=None)
@given(TWO_CLASSES)
def test_curves_agree_with_scikit_learn(rows: list[tuple[int, int]]) -> None:
    label, predicted = np.array([row[0] for row in rows]), np.array([row[1] / 8 for row in rows])
    curve = roc_curve(label, predicted)
    false_alarms, hits, _ = sk.roc_curve(label, predicted, drop_intermediate=False)
    assert curve.false_alarm_rate == pytest.approx(false_alarms)
    assert curve.hit_rate == pytest.approx(hits)
    assert curve.area == pytest.approx(sk.roc_auc_score(label, predicted))
    both = precision_recall_curve(label, predicted)
    precision, recall, threshold = sk.precision_recall_curve(label, predicted)
    assert both.precision == pytest.approx(precision[-2::-1])
    assert both.recall == pytest.approx(recall[-2::-1])
    assert both.threshold == pytest.approx(threshold[::-1])
    assert both.average_precision == pytest.approx(sk.average_precision_score(label, predicted))
    assert both.positive_share == pytest.approx(label.mean())


@settings(max_examples=40, deadline=None)
@given(TWO_CLASSES)
def test_reliability_counts_every_sample_once_and_never_parts_equal_predictions(
    rows: list[tuple[int, int]],
) -> None:
    label, predicted = np.array([row[0] for row in rows]), np.array([row[1] / 8 for row in rows])
    found = reliability(label, predicted)
    assert found.count.sum() == label.size
    assert (found.observed * found.count).sum() == pytest.approx(label.sum())
    assert (found.predicted * found.count).sum() == pytest.approx(predicted.sum())
    assert len(found.count) <= len(np.unique(predicted))
    assert (np.diff(found.predicted) > 0).all()
    assert (found.low <= found.observed + 1e-12).all()
    assert (found.observed <= found.high + 1e-12).all()
    order = np.random.default_rng(0).permutation(label.size)
    again = reliability(label[order], predicted[order])
    assert again.observed == pytest.approx(found.observed)


def test_reliability_of_honest_predictions_lies_near_the_diagonal() -> None:
    random = np.random.default_rng(1)
    predicted = random.random(4000)
    label = (random.random(4000) < predicted).astype(np.int64)
    honest = reliability(label, predicted)
    assert honest.count.tolist() == [400] * 10
    assert honest.expected_calibration_error < 0.03
    assert honest.sampling_ratio == pytest.approx((label == 0).sum() / label.sum())
    overdone = reliability(label, np.clip(2 * predicted - 0.5, 0, 1))
    assert overdone.expected_calibration_error > 0.1


def test_wilsons_interval_is_that_of_the_textbook() -> None:
    # Agresti and Coull 1998: 0 of 10 has 0 to 0.278, 5 of 10 has 0.237 to 0.763.
    low, high = wilson(np.array([0, 5, 10]), np.array([10, 10, 10]))
    assert low == pytest.approx([0, 0.2366, 0.7225], abs=1e-3)
    assert high == pytest.approx([0.2775, 0.7634, 1], abs=1e-3)
    assert low[0] == 0
    assert high[2] == 1


def test_curves_of_repetitions_are_averaged_at_equal_false_alarm_rates() -> None:
    perfect = roc_curve([0, 0, 1, 1], [0.1, 0.2, 0.8, 0.9])
    blind = roc_curve([0, 0, 1, 1], [0.5, 0.5, 0.5, 0.5])
    mean = mean_roc([perfect, blind])
    assert mean.area == pytest.approx(0.75)
    assert float(np.interp(0.5, mean.false_alarm_rate, mean.hit_rate)) == pytest.approx(0.75)
    assert (mean.false_alarm_rate[0], mean.hit_rate[0]) == (0, 0)
    assert (mean.false_alarm_rate[-1], mean.hit_rate[-1]) == (1, 1)


def test_one_class_has_no_curve() -> None:
    for curve in (roc_curve, precision_recall_curve, reliability):
        with pytest.raises(InputError, match="needs both classes"):
            curve([1, 1], [0.2, 0.3])


def test_a_rate_curve_ranks_the_ground_by_susceptibility() -> None:
    # 10 cells at 0.8, 30 at 0.4, 60 at 0; 6 landslides on the first, 3 on the second, 1 on the third.
    ground = store(np.repeat([0.8, 0.4, 0.0], [10, 30, 60]))
    slid = store(np.repeat([0.8, 0.4, 0.0], [6, 3, 1]))
    curve = rate_curve(count_codes(ground), np.append(slid, np.uint8(NODATA)))
    assert curve.area_share == pytest.approx([0, 0.1, 0.4, 1])
    assert curve.event_share == pytest.approx([0, 0.6, 0.9, 1])
    assert curve.area == pytest.approx(0.1 * 0.3 + 0.3 * 0.75 + 0.6 * 0.95)
    assert curve.at(0.25) == pytest.approx(0.75)
    assert (curve.events, curve.unknown) == (10, 1)


def test_a_map_that_knows_nothing_has_half_the_area_under_its_rate_curve() -> None:
    same = np.full(50, 100, np.uint8)
    assert rate_curve(count_codes(same), same[:7]).area == 0.5


def test_shares_by_class_follow_the_stored_codes() -> None:
    classes = ClassScheme(breaks=(0.2, 0.4, 0.8))
    ground = store(np.repeat([0.8, 0.4, 0.2, 0.0], [10, 20, 30, 40]))
    # A value on a break belongs to the class above.
    slid = np.append(store(np.array([0.8] * 5 + [0.796] * 3 + [0.396, 0.0])), np.uint8(NODATA))
    found = class_shares(count_codes(ground), slid, classes)
    assert found.event_share == pytest.approx((0.1, 0.1, 0.3, 0.5))
    assert found.area_share == pytest.approx((0.4, 0.3, 0.2, 0.1))
    assert found.high_or_above == pytest.approx(0.8)
    assert found.low < 0.8 < found.high
    assert (found.events, found.unknown) == (10, 1)


def test_the_cells_of_a_raster_are_counted_without_its_no_data(tmp_path: Path) -> None:
    codes = np.array([[0, 250, 255], [7, 7, 255]], np.uint8)
    counts = count_codes_of(write_raster(tmp_path / "map.tif", codes, nodata=255))
    assert counts.tolist() == count_codes(codes).tolist()
    assert (counts[0], counts[7], counts[250], counts.sum()) == (1, 2, 1, 4)
    other = write_raster(tmp_path / "other.tif", codes.astype(np.float32), nodata=-1)
    with pytest.raises(InputError, match=r"susceptibility\.tif"):
        count_codes_of(other)
    with pytest.raises(InputError, match="cannot be read"):
        count_codes_of(tmp_path / "nowhere.tif")


def test_landslides_on_unknown_ground_alone_are_refused() -> None:
    ground = count_codes(np.array([3], np.uint8))
    with pytest.raises(InputError, match="none of 2 landslides"):
        rate_curve(ground, np.array([255, 255], np.uint8))
    with pytest.raises(InputError, match="no known cell"):
        rate_curve(np.zeros(251, np.int64), np.array([3], np.uint8))
