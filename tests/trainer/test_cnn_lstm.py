"""The factored graphs are the network, and the network is what the paper says."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from service.manifest import FactorSpec, VariableSpec
from service.region import corner_weights
from service.runtime import make_session
from tests.trainer.fix_network import FACTORS, VARIABLES, patches_of, tile, trained_like, windows
from trainer.networks.cnn_lstm import CnnLstm, Inputs, on_threads
from trainer.networks.factored import head_graph, head_u8_graph, spatial_graph, temporal_graph
from trainer.networks.masked_lstm import MaskedLstm

K = 4


def run(graph: onnx.ModelProto, **values: Any) -> Any:
    return make_session(graph.SerializeToString(), "test").run(None, values)[0]


@pytest.fixture(scope="module")
def model() -> CnnLstm:
    return trained_like()


@pytest.mark.parametrize("patch", [22, 23, 26, 29, 30, 40])
def test_the_dense_pass_equals_the_network_on_every_cells_own_patch(patch: int) -> None:
    model = trained_like(patch)
    factors = tile(5 + patch - 1, 7 + patch - 1)
    with torch.no_grad():
        embedding = model.embed(torch.from_numpy(patches_of(factors, patch)))
        expected = model.dense_spatial(embedding).numpy()
    state = run(spatial_graph(model), factors=factors[None])
    assert state.shape == (1, 128, 5, 7)
    assert np.abs(expected).max() > 0.5
    np.testing.assert_allclose(state[0].reshape(128, -1).T, expected, atol=1e-5 * np.abs(expected).max())


@settings(max_examples=15, deadline=None)
@given(rows=st.integers(1, 11), columns=st.integers(1, 11), top=st.integers(0, 9), left=st.integers(0, 9))
def test_the_state_of_a_cell_does_not_depend_on_its_tile(
    model: CnnLstm, rows: int, columns: int, top: int, left: int
) -> None:
    session = make_session(spatial_graph(model).SerializeToString(), "spatial.onnx")
    factors = tile(20 + 22, 20 + 22)
    full = session.run(None, {"factors": factors[None]})[0]
    cut = factors[None, :, top : top + rows + 22, left : left + columns + 22]
    part = session.run(None, {"factors": np.ascontiguousarray(cut)})[0]
    np.testing.assert_allclose(part, full[:, :, top : top + rows, left : left + columns], atol=2e-5)


def test_a_cell_sees_only_the_rows_and_columns_of_its_patch(model: CnnLstm) -> None:
    session = make_session(spatial_graph(model).SerializeToString(), "spatial.onnx")
    factors = tile(3 + 22, 3 + 22)
    before = session.run(None, {"factors": factors[None]})[0]
    factors[3, 0] = 35.0  # the northern row: seen by the northern cells alone
    after = session.run(None, {"factors": factors[None]})[0]
    assert np.abs(after - before)[0, :, 0].max() > 1e-4
    np.testing.assert_array_equal(after[0, :, 1:], before[0, :, 1:])


def test_both_halves_and_the_head_equal_the_network(model: CnnLstm) -> None:
    factors, window = tile(K + 22, K + 22), windows(1)
    cells = K * K
    with torch.no_grad():
        every = torch.from_numpy(np.repeat(window, cells, axis=0))
        expected = model(torch.from_numpy(patches_of(factors, 23)), every).numpy()
    state = run(spatial_graph(model), factors=factors[None])[0].reshape(128, cells).T[None]
    corners = np.repeat(run(temporal_graph(model), window=window)[:, None], 4, axis=1)
    head = run(head_graph(model, K), state=np.ascontiguousarray(state), corners=corners)
    np.testing.assert_allclose(head[0], expected, atol=1e-6)
    assert np.ptp(expected) > 1e-3


def test_corner_rows_are_interpolated_at_cell_centres(model: CnnLstm) -> None:
    random = np.random.default_rng(0)
    state = random.normal(size=(2, K * K, 128)).astype(np.float32)
    corners = random.normal(size=(2, 4, 128)).astype(np.float32)
    first = torch.from_numpy(state + np.einsum("kc,gcd->gkd", corner_weights(K), corners))
    with torch.no_grad():
        expected = torch.sigmoid(model.out(torch.relu(model.dense2(torch.relu(first)))))[..., 0].numpy()
    np.testing.assert_allclose(run(head_graph(model, K), state=state, corners=corners), expected, atol=1e-6)


def test_the_quantised_head_decodes_state_times_scale_plus_offset(model: CnnLstm) -> None:
    random = np.random.default_rng(1)
    coded = random.integers(0, 256, (3, K * K, 128)).astype(np.uint8)
    scale = random.uniform(0, 0.02, 128).astype(np.float32)
    scale[5], coded[:, :, 5] = 0, 0  # a channel that is the same everywhere
    offset = random.normal(size=128).astype(np.float32)
    corners = random.normal(size=(3, 4, 128)).astype(np.float32)
    decoded = coded.astype(np.float32) * scale + offset
    expected = run(head_graph(model, K), state=decoded, corners=corners)
    found = run(head_u8_graph(model, K), state=coded, corners=corners, scale=scale, offset=offset)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_scaling_and_one_hot_inside_the_network_equal_their_definition(model: CnnLstm) -> None:
    factors = tile(3, 3)
    scaled = model.factor_scaling(torch.from_numpy(factors[None])).numpy()[0]
    log = np.sign(factors[1]) * np.log1p(np.abs(factors[1].astype(float)))
    low, high = -np.log1p(50.0), np.log1p(900.0)
    expected = [
        (factors[0] + 20) / 3520,
        factors[3] / 70,
        (log - low) / (high - low),
        *(factors[2] == code for code in (1, 3, 7)),
    ]
    np.testing.assert_allclose(scaled, np.stack(expected), atol=1e-6)

    window = windows(2)
    found = model.window_scaling(torch.from_numpy(window)).numpy()
    np.testing.assert_allclose(found[..., 0], np.log1p(window[..., 0]) / np.log1p(90), atol=1e-6)
    np.testing.assert_allclose(found[..., 1], (window[..., 1] + 60) / 62, atol=1e-6)


def test_the_masked_loop_without_dropout_is_a_plain_lstm() -> None:
    torch.manual_seed(0)
    lstm = MaskedLstm(3, 8, 0.0)
    plain = nn.LSTM(3, 8, batch_first=True)
    plain.load_state_dict(lstm.state_dict())
    sequence = torch.randn(5, 12, 3)
    torch.testing.assert_close(lstm.train()(sequence), plain(sequence)[0])


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_the_gradients_of_the_masked_lstm_are_those_of_its_steps_one_by_one(dropout: float) -> None:
    torch.manual_seed(0)
    lstm = MaskedLstm(3, 5, dropout).double().train()
    sequence = torch.randn(4, 7, 3, dtype=torch.float64, requires_grad=True)
    towards = torch.randn(4, 7, 5, dtype=torch.float64)
    given = (sequence, *lstm.parameters())
    torch.manual_seed(1)
    states = lstm(sequence)
    torch.manual_seed(1)
    mask = nn.functional.dropout(torch.ones(4, 5, dtype=torch.float64), dropout)
    enters, returns, bias, other = (lstm.get_parameter(name) for name, _ in lstm.named_parameters())
    hidden = cell = torch.zeros(4, 5, dtype=torch.float64)
    expected = []
    for step in range(7):
        gates = sequence[:, step] @ enters.t() + (hidden * mask) @ returns.t() + bias + other
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        expected.append(hidden)
    stacked = torch.stack(expected, dim=1)
    torch.testing.assert_close(states, stacked)
    found = torch.autograd.grad((states * towards).sum(), given)
    wanted = torch.autograd.grad((stacked * towards).sum(), given)
    for one, another in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, another)


def test_in_mixed_precision_the_lstm_stays_in_float32() -> None:
    torch.manual_seed(0)
    lstm, sequence = MaskedLstm(3, 8, 0.0).train(), torch.randn(2, 30, 3)
    expected = lstm(sequence)
    with torch.autocast("cpu", torch.bfloat16):
        found = lstm(sequence)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected)


def test_rows_that_no_pooling_window_reaches_do_not_count_in_training_either() -> None:
    model = trained_like(29).train()
    patches = patches_of(tile(29, 32), 29)
    changed = patches.copy()
    changed[:, :, 22:], changed[:, :, :, 22:] = 0, 0  # codes and values that would scale to something else
    found, expected = (model.embed(torch.from_numpy(values)) for values in (changed, patches))
    assert torch.equal(found, expected)
    changed[:, :, 21] = 0
    assert not torch.equal(model.embed(torch.from_numpy(changed)), expected)


def test_recurrent_dropout_uses_one_mask_for_each_sequence_and_acts_in_training_alone() -> None:
    torch.manual_seed(0)
    lstm = MaskedLstm(3, 64, 0.5)
    sequence = torch.randn(1, 1, 3).expand(2, 6, 3)
    with torch.no_grad():
        trained = lstm.train()(sequence)
        assert torch.equal(lstm.eval()(sequence)[0], lstm.eval()(sequence)[1])
    assert torch.equal(trained[0, 0], trained[1, 0])  # nothing has come back yet
    assert not torch.allclose(trained[0, 1], trained[1, 1])


def test_the_lstm_is_exported_as_two_lstm_operators(model: CnnLstm) -> None:
    operators = [node.op_type for node in temporal_graph(model).graph.node]
    assert operators.count("LSTM") == 2
    assert not {"Loop", "Scan", "If"} & set(operators)


def test_the_cnn_only_network_is_the_hybrid_without_the_window(model: CnnLstm) -> None:
    embedding = torch.randn(4, 128)
    with torch.no_grad():
        first = torch.relu(model.dense_spatial(embedding) + model.dense_temporal.bias)
        expected = model.out(torch.relu(model.dense2(first)))[:, 0]
        torch.testing.assert_close(model.logits_spatial(embedding), expected)


def test_a_warm_start_takes_the_spatial_branch_and_dense_layers_and_leaves_the_lstm(model: CnnLstm) -> None:
    fresh = CnnLstm(model.inputs, seed=9).eval()
    lstm = fresh.temporal.first.get_parameter("weight_ih_l0").clone()
    fresh.warm_start(model)
    patches = torch.from_numpy(patches_of(tile(23, 24), 23))
    with torch.no_grad():
        for network in (fresh, model):
            network.eval()
        torch.testing.assert_close(
            fresh.logits_spatial(fresh.embed(patches)), model.logits_spatial(model.embed(patches))
        )
    assert torch.equal(fresh.temporal.first.get_parameter("weight_ih_l0"), lstm)
    with pytest.raises(ValueError, match="same factors"):
        trained_like(26).warm_start(model)


def test_the_layers_are_those_of_the_paper() -> None:
    inputs = Inputs(FACTORS, VARIABLES)
    model = CnnLstm(inputs)
    assert [tuple(c.get_parameter("weight").shape) for c in model.spatial.convolutions] == [
        (32, 6, 3, 3),
        (64, 32, 3, 3),
        (128, 64, 3, 3),
    ]
    assert (model.temporal.first.hidden_size, model.temporal.second.hidden_size) == (128, 64)
    assert model.dense_spatial.out_features == model.dense_temporal.out_features == 128
    assert (model.dense2.out_features, model.out.out_features) == (64, 1)
    assert [Inputs(FACTORS, VARIABLES, size).map_size for size in (22, 29, 30, 40)] == [1, 1, 2, 3]


def test_a_patch_that_three_blocks_would_use_up_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 22"):
        Inputs(FACTORS, VARIABLES, 21)


def test_a_constant_factor_is_refused() -> None:
    flat = FactorSpec(name="flat", unit="m", minimum=4.0, maximum=4.0)
    rain = VariableSpec(name="rain", unit="mm", minimum=0, maximum=1)
    with pytest.raises(ValueError, match="'flat' is constant"):
        CnnLstm(Inputs((flat,), (rain,)))


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone() -> None:
    inputs = Inputs(FACTORS, VARIABLES)
    torch.manual_seed(1)
    undisturbed = torch.rand(1)
    torch.manual_seed(1)
    first, second, other = (CnnLstm(inputs, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(torch.rand(1), undisturbed)
    assert torch.equal(first.dense2.weight, second.dense2.weight)
    assert not torch.equal(first.dense2.weight, other.dense2.weight)


def test_the_first_weights_do_not_depend_on_the_number_of_threads() -> None:
    drawn = []
    for threads in (1, 2):
        with on_threads(threads):
            drawn.append(CnnLstm(Inputs(FACTORS, VARIABLES)).state_dict())
    for name, value in drawn[0].items():
        assert torch.equal(value, drawn[1][name]), name
