"""Factored inference: the same numbers as the whole network, and unknown where it must be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from exporters.layer import NODATA, SCALE, ClassScheme, store
from service.bundle import Bundle
from service.errors import AbandonedError, BundleError, StorageError
from service.inference import known_cells, susceptibility_strips, training_range_shares
from service.manifest import Training
from service.patches import NO_DATA, OUTSIDE
from service.region import corner_weights
from service.sequences import WindowSet
from service.state import SpatialState
from service.whole_path import own_windows
from tests.fix_bundle import ToyNetwork
from tests.fix_scene import Scene, make_scene, make_windows, smooth_factors, without_window
from trainer.bundle import export_bundle
from trainer.fit import FitSamples, FitSettings, fit
from trainer.networks.cnn_lstm import CnnLstm, Inputs

LIVELY = ToyNetwork(gain=5)
PAPER = ToyNetwork(filters=(32, 64, 128), channels=128, hidden=64, lstm=(128, 64), k=32, gain=4)


def layer(
    scene: Scene, windows: WindowSet | None = None, *, state: SpatialState | None = None,
    workers: int = 2,
) -> npt.NDArray[np.uint8]:  # fmt: skip
    """Return all strips as one raster; they must follow each other from north to south."""
    grid = scene.region.grid
    rows, parts = 0, []
    for row, strip in susceptibility_strips(
        scene.region, state or scene.state(), scene.bundle, windows or scene.windows,
        workers=workers,
    ):  # fmt: skip
        assert row == rows
        assert strip.dtype == np.uint8
        rows += len(strip)
        parts.append(strip.copy())
    assert rows == grid.height
    return np.concatenate(parts)


def cell_blocks(scene: Scene) -> Iterator[tuple[int, slice, slice]]:
    """Yield each forcing cell with its rows and columns, which may end beyond the grid."""
    k = scene.region.forcing.k
    for index, (row, column) in enumerate(scene.region.forcing.active.tolist()):
        yield index, slice(row * k, row * k + k), slice(column * k, column * k + k)


def exact_susceptibility(scene: Scene, windows: WindowSet) -> npt.NDArray[np.float32]:
    """Return the float factored path over the whole grid, without tiles and without quantisation."""
    k, grid = scene.region.forcing.k, scene.region.grid
    down, right = -grid.height % k, -grid.width % k
    edge = scene.network.patch // 2
    padded = np.pad(scene.factors, ((0, 0), (edge, edge + down), (edge, edge + right)), mode="edge")
    state = scene.bundle.spatial(padded[None])[0]
    embedding = scene.bundle.temporal(windows.windows)
    out = np.zeros((grid.height + down, grid.width + right), np.float32)
    for index, rows, columns in cell_blocks(scene):
        block = np.ascontiguousarray(state[:, rows, columns].reshape(len(state), -1).T)
        corners = embedding[windows.corner_rows[index]]
        out[rows, columns] = scene.bundle.head(block[None], corners[None])[0].reshape(k, k)
    return out[: grid.height, : grid.width]


def whole_susceptibility(scene: Scene, window: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return whole.onnx with one window on every complete patch: (height - P + 1, width - P + 1)."""
    size = scene.network.patch
    squares = np.lib.stride_tricks.sliding_window_view(scene.factors, (size, size), axis=(1, 2))
    rows = [
        scene.bundle.whole(np.ascontiguousarray(row.swapaxes(0, 1)), np.repeat(window[None], row.shape[1], 0))
        for row in squares.swapaxes(0, 1)
    ]
    return np.stack(rows)


@pytest.mark.parametrize("network", [LIVELY, replace(LIVELY, variables=2, patch=25), PAPER])
def test_factored_float_path_equals_whole_with_each_cells_own_window(
    tmp_path: Path, network: ToyNetwork
) -> None:
    scene = make_scene(tmp_path, network, shape=(40, 50) if network.k == 32 else (70, 90))
    windows = make_windows(scene.region.forcing, network, uniform=True)
    whole = whole_susceptibility(scene, windows.windows[0])
    assert np.ptp(whole) > 0.2
    edge = network.patch // 2
    assert np.abs(exact_susceptibility(scene, windows)[edge:-edge, edge:-edge] - whole).max() <= 1e-5


def test_quantised_path_is_within_one_step_of_whole_even_with_random_weights(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, PAPER, shape=(96, 96))
    windows = make_windows(scene.region.forcing, PAPER, uniform=True)
    stored = layer(scene, windows)[11:-11, 11:-11]
    whole = whole_susceptibility(scene, windows.windows[0])
    assert (stored != NODATA).all()
    assert len(np.unique(stored)) > 50
    # 0.004 from the state, 0.002 from storing a byte.
    assert np.abs(stored * SCALE - whole).max() <= 0.004 + 0.5 * SCALE + 1e-6


@pytest.mark.slow
def test_classes_from_the_state_agree_with_whole_once_the_network_is_trained(tmp_path: Path) -> None:
    network = ToyNetwork(factors=3, categorical=False, k=32)
    scene = make_scene(tmp_path, network, shape=(96, 96))
    export_briefly_trained(network, tmp_path / "trained")
    scene = replace(scene, bundle=Bundle.load(tmp_path / "trained"))
    windows = make_windows(scene.region.forcing, network, uniform=True)
    stored = layer(scene, windows)[11:-11, 11:-11]
    whole = store(whole_susceptibility(scene, windows.windows[0]))
    classify = scene.bundle.manifest.classes.classify
    assert np.bincount(classify(whole).ravel(), minlength=5)[1:].min() > 50
    assert (classify(stored) == classify(whole)).mean() >= 0.999


def export_briefly_trained(network: ToyNetwork, folder: Path) -> None:
    """Export the paper's network with its dense layers and LSTM trained for seconds on a made-up rule.

    The channels of random weights are independent, so their rounding errors add up against the signal; those
    of a trained network carry the signal together.
    """
    random = np.random.default_rng(5)
    factors = smooth_factors(replace(network, seed=77), (200, 200))
    places = random.integers(0, 200 - 23, (1000, 2))
    patches = np.stack([factors[:, r : r + 23, c : c + 23] for r, c in places])
    rain = random.uniform(0, 60, (1000, 30, 1)).astype(np.float32)
    logit = (patches[:, 0, 11, 11] - patches[:, 1, 11, 11]) / 12 + (rain[:, -5:, 0].mean(axis=1) - 30) / 10
    labels = (random.random(1000) < 1 / (1 + np.exp(-logit))).astype(np.float32)
    train, validation = (
        FitSamples(labels[part], rain[part], patches[part]) for part in (slice(800), slice(800, None))
    )
    model = CnnLstm(Inputs(network.factor_specs, network.variable_specs), seed=0)
    fit(model, train, validation, FitSettings(epochs=3, frozen=("spatial",), l2=0.001, learning_rate=0.003))
    training = Training(
        region="toy", data="a made-up rule", synthetic=True, samples={}, events=0, sampling_ratio=1.0,
        split="none", seed=0, metrics={},
    )  # fmt: skip
    export_bundle(
        model, folder, name="brief", version="1", created=datetime(2026, 1, 1, tzinfo=UTC),
        classes=ClassScheme(breaks=(0.3, 0.5, 0.7)), training=training, rain_test=None,
    )  # fmt: skip


def test_windows_of_the_nodes_are_blended_over_the_forcing_cell(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY)
    stored = layer(scene)
    exact = exact_susceptibility(scene, scene.windows)
    known = stored != NODATA
    assert np.abs(stored * SCALE - exact)[known].max() <= 3 * SCALE
    assert np.abs(stored * SCALE - exact)[known].mean() <= SCALE


@pytest.mark.parametrize("workers", [1, 3, 16])
def test_strips_are_the_same_for_any_number_of_workers(tmp_path: Path, workers: int) -> None:
    scene = make_scene(tmp_path, LIVELY, shape=(270, 260))  # nine tiles
    expected = layer(scene, workers=2)
    np.testing.assert_array_equal(layer(scene, workers=workers), expected)


def _troubled(tmp_path: Path, kind: str) -> tuple[Scene, WindowSet, npt.NDArray[np.bool_]]:
    """Make a scene with holes in mask and factors, a missing corner and a range; and what is known."""
    mask = np.ones((70, 90), bool)
    mask[30:40, 80:] = False
    mask[:, 60:64] = False

    def hole(factors: npt.NDArray[np.float32]) -> None:
        factors[0, 50, 20] = np.nan

    scene = make_scene(tmp_path, LIVELY, mask=mask, change=hole, kind=kind)
    k, active = LIVELY.k, scene.region.forcing.active
    no_window = int(np.flatnonzero((active == (3, 4)).all(axis=1))[0])
    half = int(np.flatnonzero((active == (2, 3)).all(axis=1))[0])
    in_range = np.arange(k * k) % 3 == 0
    windows = replace(without_window(scene.windows, no_window), partial={half: in_range})

    padded = np.pad(scene.factors, ((0, 0), (11, 11), (11, 11)), constant_values=np.nan)
    finite = np.isfinite(padded).all(axis=0)
    known = mask & np.lib.stride_tricks.sliding_window_view(finite, (23, 23)).all(axis=(2, 3))
    known[3 * k : 4 * k, 4 * k : 5 * k] = False
    known[2 * k : 3 * k, 3 * k : 4 * k] &= in_range.reshape(k, k)
    return scene, windows, known


@pytest.mark.parametrize("kind", ["factored", "whole"])
def test_unknown_outside_mask_patch_window_and_range_and_nowhere_else(tmp_path: Path, kind: str) -> None:
    scene, windows, known = _troubled(tmp_path, kind)
    assert 100 < known.sum() < known.size / 2
    stored = layer(scene, windows)
    np.testing.assert_array_equal(stored != NODATA, known)
    counts = known_cells(scene.state(), windows)
    assert counts.tolist() == [int(known[rows, columns].sum()) for _, rows, columns in cell_blocks(scene)]


def test_nothing_known_is_a_layer_of_unknown(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    rows = np.full_like(scene.windows.corner_rows, -1)
    windows = replace(scene.windows, corner_rows=rows, windows=scene.windows.windows[:0])
    assert (layer(scene, windows) == NODATA).all()
    assert np.isnan(training_range_shares(scene.state(), scene.bundle.manifest, windows).windows).all()


def test_a_bundle_of_kind_whole_makes_the_layer_of_each_cells_own_window(tmp_path: Path) -> None:
    scene, windows, known = _troubled(tmp_path, "whole")
    stored = layer(scene, windows)
    k = LIVELY.k
    for index, rows, columns in cell_blocks(scene):
        for south, east in np.argwhere(known[rows, columns])[:3]:
            inside, row, column = south * k + east, rows.start + south, columns.start + east
            corners = windows.windows[windows.corner_rows[index]]
            window = np.einsum("c,cnv->nv", corner_weights(k)[inside], corners)
            patch = scene.factors[:, row - 11 : row + 12, column - 11 : column + 12]
            value = scene.bundle.whole(np.ascontiguousarray(patch)[None], window[None])[0]
            assert abs(stored[row, column] * SCALE - value) <= 0.5 * SCALE + 1e-5


def test_kinds_agree_where_every_node_has_the_same_window(tmp_path: Path) -> None:
    factored, whole = make_scene(tmp_path, LIVELY), make_scene(tmp_path, LIVELY, kind="whole")
    windows = make_windows(factored.region.forcing, LIVELY, uniform=True)
    a, b = layer(factored, windows), layer(whole, windows)
    np.testing.assert_array_equal(a == NODATA, b == NODATA)
    assert np.abs(a.astype(int) - b.astype(int)).max() <= 2


def test_a_cells_own_window_is_bilinear_between_its_corners(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    k = scene.region.forcing.k
    windows = scene.windows.windows.copy()
    windows[:] = scene.region.forcing.nodes.sum(axis=1)[:, None, None]  # rises by one each node south or east
    ramp = replace(scene.windows, windows=windows)
    own = own_windows(ramp, 0, k, np.arange(k * k))
    row, column = np.divmod(np.arange(k * k), k)
    np.testing.assert_allclose(own[:, 0, 0], (row + column + 1) / k, rtol=1e-5)


def test_the_caller_can_abandon_between_tiles_and_no_thread_stays(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY, shape=(270, 260))  # nine tiles
    state, calls = scene.state(), 0

    def stop() -> None:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise AbandonedError("asked to stop")

    strips = susceptibility_strips(scene.region, state, scene.bundle, scene.windows, workers=2, on_tile=stop)
    with pytest.raises(AbandonedError):
        list(strips)
    assert calls == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("colluvium")]


def test_a_consumer_that_stops_early_leaves_no_thread(tmp_path: Path) -> None:
    scene = make_scene(tmp_path, LIVELY)
    strips = susceptibility_strips(scene.region, scene.state(), scene.bundle, scene.windows, workers=2)
    next(strips)
    strips.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("colluvium")]


def test_shares_outside_training_ranges_are_counted(tmp_path: Path) -> None:
    def strange(factors: npt.NDArray[np.float32]) -> None:
        factors[0, 24:28, 24:32] = 101

    network = replace(LIVELY, variables=2)
    scene = make_scene(tmp_path, network, change=strange)
    windows = scene.windows.windows.copy()
    node = int(scene.windows.corner_rows[50, 1])
    windows[node, :3, 0] = 100.5  # three of 30 days of one of two variables at one of four corners
    windows[node, 5, 1] = 0.0  # the constant of cells without a reservoir
    made = without_window(replace(scene.windows, windows=windows), 7)
    shares = training_range_shares(scene.state(), scene.bundle.manifest, made)
    assert shares.windows[50] == pytest.approx(3 / 60 / 4)
    assert np.isnan(shares.windows[7])
    state = scene.state()
    for index, rows, columns in cell_blocks(scene):
        flags = state.flags(index, index + 1)[0]
        if (flags != NO_DATA).any():
            assert shares.factors[index] == pytest.approx((flags == OUTSIDE).sum() / (flags != NO_DATA).sum())
        else:
            assert np.isnan(shares.factors[index])
        if (rows.start, columns.start) == (24, 24):
            assert shares.factors[index] == 0.5


def test_windows_of_another_bundle_are_refused(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    short = replace(scene.windows, windows=scene.windows.windows[:, 1:])
    with pytest.raises(BundleError, match="windows of 30 days of rain; these have 29"):
        layer(scene, short)


def test_a_state_cut_short_while_open_is_reported(tmp_path: Path) -> None:
    scene = make_scene(tmp_path)
    state = scene.state()
    with (state.folder / "state.bin").open("r+b") as file:
        file.truncate(100)
    with pytest.raises(StorageError, match="cut short"):
        layer(scene, state=state)
