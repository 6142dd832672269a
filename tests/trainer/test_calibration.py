"""Calibration is fitted on validation samples, increasing, and the same inside a graph as outside."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from service.runtime import make_session
from tests.trainer.fix_network import patches_of, tile, trained_like, windows
from trainer.calibration import (
    ISOTONIC_STEP,
    Calibration,
    CalibrationError,
    Method,
    fit_calibration,
    logit,
    platt,
)
from trainer.networks.cnn_lstm import CnnLstm
from trainer.networks.factored import head_graph, head_u8_graph
from trainer.networks.whole import whole_graph
from trainer.onnx_graph import GraphBuilder, port

Floats = npt.NDArray[np.float64]
METHODS: list[Method] = ["platt", "isotonic"]


def overconfident(count: int = 400, seed: int = 0) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Return predictions whose logit is twice the true one plus 1, and labels."""
    random = np.random.default_rng(seed)
    true = random.normal(size=count)
    label = (random.random(count) < 1 / (1 + np.exp(-true))).astype(np.int64)
    return 1 / (1 + np.exp(-(2 * true + 1))), label


def fitted(method: Method) -> Calibration:
    return fit_calibration(method, *overconfident())


def passed_through(calibration: Calibration, predicted: npt.NDArray[np.float32]) -> Floats:
    """Return what a graph with the calibration makes of its own output."""
    builder = GraphBuilder()
    shape: list[int | str] = ["n", *predicted.shape[1:]]
    builder.add("Identity", "value", output="susceptibility")
    graph = builder.model("toy", [port("value", shape)], [port("susceptibility", shape)])
    session = make_session(calibration.append_to(graph).SerializeToString(), "toy")
    return np.asarray(session.run(["susceptibility"], {"value": predicted})[0], np.float64)


def test_platt_undoes_what_was_done_to_the_logit() -> None:
    calibration = fit_calibration("platt", *overconfident(20_000))
    assert calibration.slope == pytest.approx(0.5, abs=0.03)
    assert calibration.intercept == pytest.approx(-0.5, abs=0.05)


def test_platt_is_the_logistic_regression_on_smoothed_targets() -> None:
    predicted, label = overconfident(120, 3)
    ones, zeros = int(label.sum()), int((label == 0).sum())
    target = np.where(label == 1, (ones + 1) / (ones + 2), 1 / (zeros + 2))
    twice = np.tile(logit(predicted), 2)[:, None]
    reference = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        twice, np.repeat([1, 0], len(label)), sample_weight=np.concatenate([target, 1 - target])
    )
    slope, intercept = platt(logit(predicted), label)
    assert slope == pytest.approx(float(reference.coef_[0, 0]), rel=1e-4)
    assert intercept == pytest.approx(float(reference.intercept_[0]), abs=1e-4)


def test_platt_stays_finite_where_the_classes_are_apart() -> None:
    label = np.repeat([0, 1], 20)
    calibration = fit_calibration("platt", np.where(label == 1, 0.99, 0.01), label)
    assert calibration.apply([0.01, 0.99]) == pytest.approx([1 / 22, 21 / 22], abs=1e-6)


def test_isotonic_is_scikit_learns_on_predictions_in_thousandths() -> None:
    predicted, label = overconfident()
    calibration = fitted("isotonic")
    rounded = np.rint(predicted / ISOTONIC_STEP) * ISOTONIC_STEP
    least, most = 1 / ((label == 0).sum() + 2), ((label == 1).sum() + 1) / ((label == 1).sum() + 2)
    reference = IsotonicRegression(y_min=least, y_max=most, out_of_bounds="clip").fit(rounded, label)
    anywhere = np.linspace(0, 1, 5001).astype(np.float32)
    np.testing.assert_allclose(calibration.apply(anywhere), reference.predict(anywhere), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_calibration_of_overconfident_predictions_lowers_the_brier_score_elsewhere(method: Method) -> None:
    predicted, label = overconfident(5_000, seed=9)
    calibrated = fitted(method).apply(predicted)
    assert np.mean((calibrated - label) ** 2) < np.mean((predicted - label) ** 2) - 0.005


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(np.float32, (40, 3), elements=st.floats(0, 1, width=32)),
    slope=st.floats(0.05, 5),
    intercept=st.floats(-3, 3),
)
def test_platt_in_a_graph_is_platt_outside(
    values: npt.NDArray[np.float32], slope: float, intercept: float
) -> None:
    calibration = Calibration(method="platt", slope=slope, intercept=intercept)
    np.testing.assert_allclose(passed_through(calibration, values), calibration.apply(values), atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(
    values=arrays(np.float32, (60,), elements=st.floats(0, 1, width=32)),
    predicted=arrays(np.float64, (140,), elements=st.floats(0, 1)),
)
def test_isotonic_in_a_graph_is_isotonic_outside(values: npt.NDArray[np.float32], predicted: Floats) -> None:
    predicted[:2] = 0, 1  # something to tell apart
    label = np.arange(140) % 2
    try:
        calibration = fit_calibration("isotonic", predicted, label)
    except CalibrationError:
        return
    at = np.concatenate([values, np.array(calibration.before, np.float32)])
    # A step is a thousandth wide, so float32 places a prediction in it to 1e-4 of its height.
    np.testing.assert_allclose(passed_through(calibration, at), calibration.apply(at), atol=1e-4)


@pytest.mark.parametrize("method", METHODS)
def test_calibration_never_lowers_the_higher_of_two(method: Method) -> None:
    calibration = fitted(method)
    rising = np.linspace(0, 1, 20_001, dtype=np.float32)
    assert (np.diff(calibration.apply(rising)) >= 0).all()
    assert np.diff(passed_through(calibration, rising)).min() >= -2e-7
    within = calibration.apply(rising)
    assert within.min() >= 0
    assert within.max() <= 1


@pytest.fixture(scope="module")
def model() -> CnnLstm:
    return trained_like()


def test_the_whole_network_leaves_calibrated(model: CnnLstm) -> None:
    graph = whole_graph(model)
    before = graph.SerializeToString(deterministic=True)
    given_to = {"patches": patches_of(tile(23, 40), 23), "window": windows(18)}
    plain = make_session(before, "plain").run(None, given_to)[0]
    assert np.ptp(plain) > 1e-3
    for method in METHODS:
        calibration = fitted(method)
        calibrated = calibration.append_to(graph)
        assert graph.SerializeToString(deterministic=True) == before
        session = make_session(calibrated.SerializeToString(), "calibrated")
        found = session.run(None, given_to)[0]
        np.testing.assert_allclose(found, calibration.apply(plain), atol=1e-6)
        assert [item.name for item in session.get_outputs()] == ["susceptibility"]
        assert {item.name for item in session.get_inputs()} == {"patches", "window"}
        assert np.abs(found - plain).max() > 1e-3


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("quantised", [False, True], ids=["float", "uint8"])
def test_the_heads_leave_calibrated(model: CnnLstm, method: Method, quantised: bool) -> None:
    k, groups = 4, 3
    graph = head_u8_graph(model, k) if quantised else head_graph(model, k)
    random = np.random.default_rng(0)
    values: dict[str, npt.NDArray[np.generic]] = {
        "corners": random.normal(size=(groups, 4, 128)).astype(np.float32),
        "state": random.normal(size=(groups, k * k, 128)).astype(np.float32),
    }
    if quantised:
        values["state"] = random.integers(0, 256, (groups, k * k, 128), np.uint8)
        values["scale"] = random.uniform(0, 0.02, 128).astype(np.float32)
        values["offset"] = random.normal(size=128).astype(np.float32)
    calibration = fitted(method)
    plain = make_session(graph.SerializeToString(), "plain").run(None, values)[0]
    found = make_session(calibration.append_to(graph).SerializeToString(), "head").run(None, values)[0]
    assert found.shape == (groups, k * k)
    np.testing.assert_allclose(found, calibration.apply(plain), atol=1e-6)
    assert np.ptp(plain) > 1e-2


@pytest.mark.parametrize("method", METHODS)
def test_the_same_calibration_gives_the_same_bytes(model: CnnLstm, method: Method) -> None:
    graph = head_graph(model, 4)
    first, second = (fitted(method).append_to(graph).SerializeToString() for _ in range(2))
    assert first == second


def test_no_calibration_changes_nothing(model: CnnLstm) -> None:
    calibration = fit_calibration("none", *overconfident())
    graph = head_graph(model, 4)
    assert calibration.append_to(graph) == graph
    assert calibration.words == "none"
    assert calibration.apply([0.25, 0.5]).tolist() == [0.25, 0.5]


@pytest.mark.parametrize(("method", "fewest"), [("platt", 10), ("isotonic", 50)])
def test_too_few_validation_samples_of_a_class_are_refused(method: Method, fewest: int) -> None:
    predicted = np.linspace(0, 1, 200)
    for enough in (False, True):
        label = (np.arange(200) >= 200 - fewest + (not enough)).astype(np.int64)
        if enough:
            assert fit_calibration(method, predicted, label).positives == fewest
        else:
            with pytest.raises(CalibrationError, match=f"{fewest - 1} landslides .* at least {fewest}"):
                fit_calibration(method, predicted, label)


@pytest.mark.parametrize("method", METHODS)
def test_predictions_the_wrong_way_round_are_refused_not_turned(method: Method) -> None:
    predicted, label = overconfident()
    with pytest.raises(CalibrationError, match="goes with no more landslides"):
        fit_calibration(method, np.sort(predicted)[::-1], np.sort(label))


@pytest.mark.parametrize("method", METHODS)
def test_a_model_that_says_the_same_everywhere_is_refused(method: Method) -> None:
    with pytest.raises(CalibrationError, match="refused"):
        fit_calibration(method, np.full(200, 0.3), np.arange(200) % 2)


def test_predictions_that_are_not_numbers_are_refused() -> None:
    predicted, label = overconfident()
    predicted[5] = np.nan
    with pytest.raises(CalibrationError, match="not a number"):
        fit_calibration("platt", predicted, label)


def test_words_say_the_brier_score_before_and_after_and_where_it_is_worse() -> None:
    calibration = fitted("platt")
    predicted, label = overconfident()
    before = float(np.mean((predicted - label) ** 2))
    assert f"{before:.4f} before" in calibration.words
    assert f"on 400 validation samples ({label.sum()} landslides)" in calibration.words
    assert "worse" not in calibration.words
    worse = calibration.model_copy(update={"brier_after": before + 0.01})
    assert "which is worse" in worse.words


def test_a_calibration_survives_as_json() -> None:
    for method in METHODS:
        calibration = fitted(method)
        assert Calibration.model_validate_json(calibration.model_dump_json()) == calibration


def test_a_graph_without_susceptibility_is_refused() -> None:
    builder = GraphBuilder()
    builder.add("Identity", "value", output="other")
    graph = builder.model("toy", [port("value", ["n"])], [port("other", ["n"])])
    assert isinstance(graph, onnx.ModelProto)
    with pytest.raises(ValueError, match="susceptibility"):
        fitted("platt").append_to(graph)


def test_no_number_of_samples_makes_isotonic_call_a_landslide_impossible_or_certain() -> None:
    predicted = np.linspace(0.01, 0.99, 120)
    calibration = fit_calibration("isotonic", predicted, (predicted > 0.5).astype(int))
    assert calibration.apply([0.0, 1.0]) == pytest.approx([1 / 62, 61 / 62])
