from __future__ import annotations

import numpy as np
import pytest
import torch

from service.errors import InputError
from service.manifest import VariableSpec
from tests.trainer.fix_network import FACTORS, VARIABLES, patches_of, tile, trained_like, windows
from trainer.networks.cnn_lstm import CnnLstm, Inputs
from trainer.rain_test import LARGEST_DROP, embed, rain_test, rain_variable, scale_rain, scale_storm

DAYS = 6


def rain_sensitive(sign: float, size: float = 30.0) -> CnnLstm:
    """A network whose logit is `sign` times a rising function of the rain, and of nothing else."""
    model = CnnLstm(Inputs(FACTORS, VARIABLES, 22, DAYS)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        for lstm in (model.temporal.first, model.temporal.second):
            units = lstm.hidden_size
            # Input and output gates open, no forgetting: the state counts the rain.
            lstm.get_parameter("bias_ih_l0")[:units] = 5
            lstm.get_parameter("bias_ih_l0")[units : 2 * units] = 5
            lstm.get_parameter("bias_ih_l0")[3 * units :] = 5
            lstm.get_parameter("weight_ih_l0")[2 * units : 3 * units, 0] = 0.1
        model.dense_temporal.weight[0, 0] = size
        model.dense2.weight[0, 0] = 1
        model.out.weight[0, 0] = sign
    return model


@pytest.fixture
def embeddings() -> np.ndarray:
    return np.zeros((16, 128), np.float32)


def test_a_model_that_rises_with_rain_passes(embeddings: np.ndarray) -> None:
    found = rain_test(rain_sensitive(+1), windows(16, DAYS), embeddings=embeddings)
    assert found.passed
    assert found.largest_drop <= 1e-6
    assert (found.scales[0], found.scales[-1], found.samples) == (0, 3, 16)
    assert list(found.mean_susceptibility) == sorted(found.mean_susceptibility)
    assert found.mean_susceptibility[-1] > found.mean_susceptibility[0] + 0.01


def test_a_model_that_falls_with_rain_fails(embeddings: np.ndarray) -> None:
    found = rain_test(rain_sensitive(-1), windows(16, DAYS), embeddings=embeddings)
    assert not found.passed
    assert found.largest_drop > LARGEST_DROP


def test_one_sample_that_falls_is_enough_to_fail(embeddings: np.ndarray) -> None:
    window = windows(16, DAYS)
    falling = rain_sensitive(-1)
    window[1:, :, 0] = 0
    with torch.no_grad():
        # A place where the first dense layer is shut: only sample 0 is open to the rain.
        falling.dense_spatial.weight[0, 0] = 1
    embeddings[1:, 0] = -1000
    assert not rain_test(falling, window, embeddings=embeddings).passed
    assert rain_test(falling, window[1:], embeddings=embeddings[1:]).passed


def test_a_fall_of_one_stored_step_is_allowed(embeddings: np.ndarray) -> None:
    gentle = rain_sensitive(-1, size=0.05)
    found = rain_test(gentle, windows(16, DAYS), embeddings=embeddings)
    assert 0 < found.largest_drop <= LARGEST_DROP
    assert found.passed


def test_patches_and_their_embeddings_give_the_same_result() -> None:
    model = trained_like(22, days=DAYS)
    patches, window = patches_of(tile(22, 25), 22), windows(4, DAYS)
    by_patches = rain_test(model, window, patches=patches)
    assert by_patches == rain_test(model, window, embeddings=embed(model, patches))


def test_all_rain_is_scaled_and_levels_are_left() -> None:
    window = windows(3, DAYS)
    scaled = scale_rain(window, 0, 2.0)
    np.testing.assert_allclose(scaled[..., 0], 2 * window[..., 0])
    np.testing.assert_array_equal(scaled[..., 1], window[..., 1])


def test_the_storm_is_lifted_to_the_peak_and_other_days_are_left() -> None:
    window = np.zeros((1, 8, 1), np.float32)
    window[0, :, 0] = [9, 0, 0, 4, 10, 5, 0, 2]
    lifted = scale_storm(window, 0, 60.0)
    np.testing.assert_allclose(lifted[0, :, 0], [9, 0, 0, 24, 60, 30, 0, 2])


def test_a_dry_window_gets_its_storm_on_the_last_day() -> None:
    lifted = scale_storm(np.zeros((2, 5, 1), np.float32), 0, np.array([7.0, 0.0], np.float32))
    np.testing.assert_array_equal(lifted[:, :, 0], [[0, 0, 0, 0, 7], [0, 0, 0, 0, 0]])


def test_a_model_without_rain_cannot_be_tested() -> None:
    level = VariableSpec(name="level_below_full", unit="m", minimum=-5, maximum=0)
    with pytest.raises(InputError, match="no rain among the variables: level_below_full"):
        rain_variable((level,))


def test_no_data_in_a_sample_is_an_error_not_a_pass(embeddings: np.ndarray) -> None:
    window = windows(16, DAYS)
    window[3, 2, 1] = np.nan
    with pytest.raises(InputError, match="no-data"):
        rain_test(rain_sensitive(+1), window, embeddings=embeddings)
