"""The networks as models: what they see, what they leave alone, and that the graph is the network."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import trainer.models.cnn_dnn
from service.errors import BundleError, InputError, SettingsError
from service.runtime import make_session
from tests.trainer.models.fix_data import made_up, parts, without_patches, without_windows
from trainer.dataset import Dataset
from trainer.ensemble import fit_ensemble
from trainer.models import recipe_of
from trainer.models.base import Fitted, Job, predict_rows
from trainer.models.cnn_dnn import CnnDnnFitted
from trainer.models.cnn_lstm import CnnLstmRecipe
from trainer.networks.cnn_dnn import CnnDnn
from trainer.networks.factored import spatial_graph, temporal_graph
from trainer.networks.whole import patches_graph

QUICK: dict[str, dict[str, Any]] = {
    "cnn_lstm": {"epochs": 2, "batch": 16},
    "cnn_only": {"epochs": 2, "batch": 16},
    "lstm_only": {"epochs": 2, "batch": 16},
    "cnn_dnn": {
        "epochs": 2, "optimisers": ["rmsprop"], "learning_rates": [0.01], "layers": [2], "units": [16],
        "batches": [16],
    },
}  # fmt: skip
NAMES = sorted(QUICK)
IGNORED = {"cnn_lstm": (), "cnn_only": ("window",), "lstm_only": ("patches",), "cnn_dnn": ("window",)}


def short(data: Dataset) -> Dataset:
    """The dataset with windows of 3 days: tracing a graph takes as long as its LSTM has steps."""
    assert data.windows is not None
    return replace(data, windows=np.ascontiguousarray(data.windows[:, -3:]))


@pytest.fixture(scope="module")
def data() -> Dataset:
    return short(made_up(60))


@pytest.fixture(scope="module")
def fitted(data: Dataset) -> dict[str, Fitted]:
    train, validation, _ = parts(data)
    return {name: recipe_of(name, QUICK[name]).fit(data, train, validation, Job()) for name in NAMES}


def predicted(name: str, data: Dataset, job: Job | None = None, **changed: Any) -> np.ndarray:
    """Predictions of the test part by a model fitted afresh."""
    train, validation, test = parts(data)
    recipe = recipe_of(name, QUICK[name] | changed)
    return predict_rows(recipe.fit(data, train, validation, job or Job()), data, test)


def after_test(data: Dataset) -> Dataset:
    """The dataset with its test part spoilt."""
    _, _, test = parts(data)
    assert data.patches is not None
    assert data.windows is not None
    patches, windows = data.patches.copy(), data.windows.copy()
    patches[test], windows[test] = np.nan, 1e9
    samples = list(data.samples)
    for row in test:
        samples[row] = replace(samples[row], label=1 - samples[row].label, day=date(1990, 1, 1), x=0.0)
    return replace(data, patches=patches, windows=windows, samples=tuple(samples))


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_is_the_network_on_cells_that_it_never_saw(
    name: str, data: Dataset, fitted: dict[str, Fitted]
) -> None:
    whole = fitted[name].whole()
    others = short(made_up(200, seed=5))
    session = make_session(whole.graph.SerializeToString(), name)
    assert {port.name for port in session.get_inputs()} == {"patches", "window"}
    given = {"patches": others.patches, "window": others.windows}
    found = session.run(["susceptibility"], given)[0]
    expected = fitted[name].predict(others.patches, others.windows)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected) > 1e-4
    # What the graph is said to ignore changes nothing; all else does.
    for port, values in given.items():
        assert values is not None
        changed = session.run(None, given | {port: values[::-1].copy()})[0]
        assert np.array_equal(changed, found) == (port in whole.ignores) == (port in IGNORED[name])
    assert [spec.name for spec in whole.factors] == [factor.name for factor in data.factors]
    assert [spec.name for spec in whole.variables] == ["rain", "level_below_full"]
    assert (whole.patch, whole.window_days) == (23, 3)


def test_a_trace_of_another_network_never_leaves(
    fitted: dict[str, Fitted], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = fitted["cnn_dnn"]
    assert isinstance(found, CnnDnnFitted)
    other = CnnDnn(found.model.factors, found.model.patch, found.model.design, seed=9).eval()
    graph = patches_graph(other, found.window_days, len(found.variables))
    monkeypatch.setattr(trainer.models.cnn_dnn, "patches_graph", lambda *_: graph)
    with pytest.raises(BundleError, match=r"the graph of CNN-DNN differs from its network by 0\.\d+"):
        found.whole()


def test_the_single_streams_are_served_as_the_hybrid_with_one_half_at_nothing(
    fitted: dict[str, Fitted], data: Dataset
) -> None:
    assert data.patches is not None
    assert data.windows is not None
    lstm, cnn = fitted["lstm_only"].network, fitted["cnn_only"].network  # type: ignore[attr-defined]
    spatial = make_session(spatial_graph(lstm).SerializeToString(), "spatial")
    assert not spatial.run(None, {"factors": data.patches[:1]})[0].any()
    temporal = make_session(temporal_graph(cnn).SerializeToString(), "temporal")
    embedding = temporal.run(None, {"window": data.windows})[0]
    assert np.ptp(embedding, axis=0).max() == 0
    assert np.abs(embedding).max() > 0  # the bias of the first dense layer was trained


@pytest.mark.parametrize("name", NAMES)
def test_a_fit_is_repeated_and_sees_nothing_of_the_test_part(
    name: str, data: Dataset, fitted: dict[str, Fitted]
) -> None:
    train, validation, test = parts(data)
    again = recipe_of(name, QUICK[name]).fit(after_test(data), train, validation, Job())
    assert again.history == fitted[name].history
    assert again.best_epoch == fitted[name].best_epoch
    np.testing.assert_array_equal(predict_rows(again, data, test), predict_rows(fitted[name], data, test))


def test_ranges_and_categories_are_those_of_the_training_part(data: Dataset) -> None:
    train, validation, _ = parts(data)
    assert data.patches is not None
    patches = data.patches.copy()
    patches[validation, 0] += 5000
    recipe = recipe_of("cnn_only", QUICK["cnn_only"] | {"epochs": 1})
    fitted = recipe.fit(replace(data, patches=patches), train, validation, Job())
    factors = fitted.network.inputs.factors  # type: ignore[attr-defined]
    elevation, cover = factors[0], factors[3]
    assert elevation.maximum == pytest.approx(float(data.patches[train, 0].max()))
    assert set(cover.categories or {}) == {int(code) for code in np.unique(data.patches[train, 3])}


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn_dnn"])
def test_patches_on_disk_train_as_those_in_memory(name: str, data: Dataset, tmp_path: Path) -> None:
    arrays: dict[str, Any] = {}
    for part, values in (("patches", data.patches), ("windows", data.windows)):
        assert values is not None
        np.save(tmp_path / f"{part}.npy", values)
        arrays[part] = np.load(tmp_path / f"{part}.npy", mmap_mode="r")
    mapped = replace(data, **arrays)
    np.testing.assert_array_equal(predicted(name, mapped), predicted(name, data))


class OnDisk:
    """Patches that can be read by rows alone, and count the rows that were asked for at once."""

    def __init__(self, values: np.ndarray) -> None:
        self._values, self.shape, self.most = values, values.shape, 0

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        self.most = max(self.most, len(rows))
        return self._values[rows]


def test_patches_are_never_read_all_at_once(tmp_path: Path) -> None:
    whole = short(made_up(500))
    assert whole.patches is not None
    patches: Any = OnDisk(whole.patches)
    rows = np.arange(500)
    recipe = recipe_of("cnn_only", {"epochs": 1, "batch": 64})
    fitted = recipe.fit(replace(whole, patches=patches), rows[:400], rows[400:], Job(checkpoint=tmp_path))
    predict_rows(fitted, replace(whole, patches=patches), rows)
    assert 64 <= patches.most <= 256


def test_without_windows_a_model_of_places_declares_rain_and_ignores_it(data: Dataset) -> None:
    places = without_windows(data)
    train, validation, test = parts(places)
    model = recipe_of("cnn_dnn", QUICK["cnn_dnn"]).fit(places, train, validation, Job())
    whole = model.whole()
    assert [(spec.name, spec.unit) for spec in whole.variables] == [("rain", "mm")]
    assert whole.ignores == ("window",)
    session = make_session(whole.graph.SerializeToString(), "cnn_dnn")
    assert places.patches is not None
    window = np.full((len(test), whole.window_days, 1), 700, np.float32)
    found = session.run(None, {"patches": places.patches[test], "window": window})[0]
    np.testing.assert_allclose(found, predict_rows(model, places, test), atol=1e-5)


def test_without_windows_cnn_only_declares_rain_of_30_days(data: Dataset) -> None:
    places = without_windows(data)
    train, validation, test = parts(places)
    model = recipe_of("cnn_only", QUICK["cnn_only"]).fit(places, train, validation, Job())
    inputs = model.network.inputs  # type: ignore[attr-defined]
    assert [(spec.name, spec.unit) for spec in inputs.variables] == [("rain", "mm")]
    assert inputs.window_days == 30
    assert np.ptp(predict_rows(model, places, test)) > 1e-4


def test_without_patches_lstm_only_is_judged_and_says_why_it_cannot_be_served(data: Dataset) -> None:
    times = without_patches(data)
    train, validation, test = parts(times)
    model = recipe_of("lstm_only", QUICK["lstm_only"]).fit(times, train, validation, Job())
    alone = predict_rows(model, times, test)
    assert np.ptp(alone) > 1e-4
    np.testing.assert_array_equal(alone, predict_rows(model, data, test))
    with pytest.raises(InputError, match="LSTM-only was fitted without factors"):
        model.whole()


def one_class(data: Dataset) -> Dataset:
    return replace(data, samples=tuple(replace(sample, label=1) for sample in data.samples))


def with_gap(data: Dataset) -> Dataset:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[5, 1, 3, 3] = np.nan
    return replace(data, patches=patches)


def with_constant(data: Dataset) -> Dataset:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[:, 4] = 7.0
    return replace(data, patches=patches)


@pytest.mark.parametrize("name", ["cnn_lstm", "cnn_dnn"])
@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (one_class, "training rows are of one class only: 36 landslides among 36"),
        (with_gap, "factor 'slope' of the training patches holds NaN"),
        (with_constant, "factor 'twi' of the training patches is 7 everywhere"),
        (without_patches, "sees patches, but the dataset has none"),
    ],
)
def test_rows_that_teach_nothing_are_refused(name: str, spoil: Any, words: str, data: Dataset) -> None:
    train, validation, _ = parts(data)
    with pytest.raises(InputError, match=words):
        recipe_of(name, QUICK[name]).fit(spoil(data), train, validation, Job())


@pytest.mark.parametrize("name", NAMES)
def test_fewer_training_rows_than_a_batch_are_refused(name: str, data: Dataset) -> None:
    train, validation, _ = parts(data)
    few = train[:12]
    with pytest.raises(InputError, match="12 training samples are fewer than one batch of 16"):
        recipe_of(name, QUICK[name]).fit(data, few, validation, Job())


def test_validation_rows_of_one_class_are_refused(data: Dataset) -> None:
    train, validation, _ = parts(data)
    landslides = validation[data.label[validation] == 1]
    with pytest.raises(InputError, match="validation rows are of one class only"):
        recipe_of("lstm_only", QUICK["lstm_only"]).fit(data, train, landslides, Job())


def test_a_model_without_its_input_is_refused_by_name(data: Dataset) -> None:
    train, validation, _ = parts(data)
    with pytest.raises(InputError, match="LSTM-only sees windows, but the dataset has none"):
        recipe_of("lstm_only").fit(without_windows(data), train, validation, Job())
    assert data.patches is not None
    small = replace(data, patches=data.patches[..., :21, :21])
    with pytest.raises(InputError, match="CNN-only needs patches of at least 22 cells, not of 21"):
        recipe_of("cnn_only", QUICK["cnn_only"]).fit(small, train, validation, Job())


def test_a_fitted_model_says_which_input_it_lacks(data: Dataset, fitted: dict[str, Fitted]) -> None:
    with pytest.raises(InputError, match="CNN-LSTM needs window to predict"):
        fitted["cnn_lstm"].predict(data.patches, None)
    with pytest.raises(InputError, match="CNN-DNN needs patches to predict"):
        fitted["cnn_dnn"].predict(None, data.windows)
    assert len(fitted["cnn_only"].predict(data.patches, None)) == 60


def test_hyperparameters_out_of_range_are_refused_by_name() -> None:
    with pytest.raises(SettingsError, match=r"models\.cnn_lstm\.dropout"):
        recipe_of("cnn_lstm", {"dropout": 1.0})
    with pytest.raises(SettingsError, match=r"models\.cnn_only\.rain_penalty"):
        recipe_of("cnn_only", {"rain_penalty": 1.0})
    with pytest.raises(SettingsError, match=r"models\.cnn_dnn\.optimisers"):
        recipe_of("cnn_dnn", {"optimisers": ["momentum"]})


def test_the_defaults_of_the_hybrid_are_those_of_the_paper() -> None:
    recipe = recipe_of("cnn_lstm")
    assert isinstance(recipe, CnnLstmRecipe)
    assert (recipe.epochs, recipe.batch, recipe.learning_rate, recipe.optimiser) == (50, 32, 0.001, "adam")
    assert (recipe.dropout, recipe.recurrent_dropout, recipe.l2) == (0.2, 0.2, 0.01)
    assert (recipe.augment, recipe.average_epochs, recipe.rain_penalty, recipe.schedule) == (
        "none", 1, 0.0, "constant",
    )  # fmt: skip


@pytest.mark.parametrize(
    "changed",
    [
        {"class_weight": "balanced"},
        {"dropout": 0.5},
        {"recurrent_dropout": 0.5},
        {"l2_on": ["spatial"]},
        {"average_epochs": 2},
        {"schedule": "cosine"},
        {"augment": "square"},
        {"rain_penalty": 5.0},
        {"optimiser": "adagrad"},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_each_hyperparameter_reaches_the_training(
    changed: dict[str, Any], data: Dataset, fitted: dict[str, Fitted]
) -> None:
    _, _, test = parts(data)
    plain = predict_rows(fitted["cnn_lstm"], data, test)
    assert not np.array_equal(predicted("cnn_lstm", data, **changed), plain)


class Stopped(Exception):
    """Stands for whatever ends a run."""


class Course:
    """A progress that remembers what it was told, and ends the run after some calls."""

    def __init__(self, calls: int | None = None) -> None:
        self.calls, self.told = calls, list[tuple[int, int]]()

    def __call__(self, done: int, total: int) -> None:
        self.told.append((done, total))
        if len(self.told) == self.calls:
            raise Stopped


def test_an_interrupted_ensemble_goes_on_with_the_member_it_was_at(data: Dataset, tmp_path: Path) -> None:
    train, validation, test = parts(data)
    recipe = recipe_of("lstm_only", QUICK["lstm_only"])
    plain = fit_ensemble(recipe, data, train, validation, Job(seed=3), members=2)
    stop, later = Course(4), Course()
    with pytest.raises(Stopped):
        fit_ensemble(recipe, data, train, validation, Job(3, checkpoint=tmp_path, progress=stop), members=2)
    found = fit_ensemble(
        recipe, data, train, validation, Job(3, checkpoint=tmp_path, progress=later), members=2
    )
    assert stop.told == [(1, 6), (2, 6), (3, 6), (4, 6)]
    assert later.told == [(5, 6), (6, 6)]
    several = [predict_rows(model, data, test) for model in found]
    for one, expected in zip(several, plain, strict=True):
        np.testing.assert_array_equal(one, predict_rows(expected, data, test))
    assert np.std(several, axis=0).min() > 0
    alone = recipe.fit(data, train, validation, Job(seed=4))
    np.testing.assert_array_equal(predict_rows(alone, data, test), several[1])


GRID: dict[str, Any] = {
    "epochs": 2, "optimisers": ["sgd", "adagrad"], "learning_rates": [1e30, 0.01], "layers": [1],
    "units": [8], "batches": [16], "filters": [4],
}  # fmt: skip


def test_the_grid_search_takes_the_point_that_learns_and_an_interrupted_one_goes_on(
    data: Dataset, tmp_path: Path
) -> None:
    train, validation, test = parts(data)
    recipe = recipe_of("cnn_dnn", GRID)
    plain = recipe.fit(data, train, validation, Job())
    assert plain.chosen["learning rate"] == "0.01"  # at 1e30 SGD's loss is no number
    assert set(plain.chosen) == {"optimiser", "learning rate", "hidden layers", "units", "batch"}
    stop, later = Course(3), Course()
    with pytest.raises(Stopped):
        recipe.fit(data, train, validation, Job(checkpoint=tmp_path, progress=stop))
    found = recipe.fit(data, train, validation, Job(checkpoint=tmp_path, progress=later))
    whole = Course()
    recipe.fit(data, train, validation, Job(progress=whole))
    assert len(stop.told) + len(later.told) == len(whole.told)
    assert [total for _, total in whole.told] == [whole.told[-1][0]] * len(whole.told)
    assert isinstance(found, CnnDnnFitted)
    assert found.chosen == plain.chosen
    np.testing.assert_array_equal(predict_rows(found, data, test), predict_rows(plain, data, test))


def test_a_grid_of_other_rows_is_searched_anew(data: Dataset, tmp_path: Path) -> None:
    train, validation, _ = parts(data)
    recipe = recipe_of("cnn_dnn", GRID)
    first, again = Course(), Course()
    recipe.fit(data, train, validation, Job(checkpoint=tmp_path, progress=first))
    recipe.fit(data, train[1:], validation, Job(checkpoint=tmp_path, progress=again))
    assert len(again.told) == len(first.told)
