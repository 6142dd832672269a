"""The tabular models: what they promise alike, on places and days whose truth is known."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import roc_auc_score
from sklearn.naive_bayes import GaussianNB

from exporters.layer import ClassScheme
from service.bundle import Bundle
from service.errors import BundleError, InputError, SettingsError
from service.manifest import Training
from service.runtime import make_session
from tests.trainer.models.fix_data import made_up, parts, without_patches, without_windows
from trainer.bundle import export_whole
from trainer.dataset import Dataset, Factor, FloatArray
from trainer.models import recipe_of
from trainer.models._tabular import Converted, Learned, Table, TabularFitted, TabularRecipe, Task
from trainer.models.base import Epoch, Fitted, Job, WholeGraph, predict_rows
from trainer.models.xgboost import Boosted
from trainer.onnx_graph import GraphBuilder, port

# Small enough for many fits; the grids stay, so that choosing is under test too.
MODELS: dict[str, dict[str, object]] = {
    "random_forest": {"trees": 30},
    "svm": {"gamma": "scale"},
    "decision_tree": {},
    "mlp": {"hidden": (16,), "epochs": 12, "patience": 4},
    "logistic_regression": {},
    "gaussian_nb": {},
    "bernoulli_nb": {},
    "xgboost": {"trees": 80},
}
EVERY = pytest.mark.parametrize("name", MODELS)
TREES = ["random_forest", "decision_tree", "xgboost"]


@pytest.fixture(scope="module")
def data() -> Dataset:
    return made_up()


@pytest.fixture(scope="module")
def fits(data: Dataset) -> dict[str, Fitted]:
    """Each model fitted once, as it is asked for."""

    class Fits(dict[str, Fitted]):
        def __missing__(self, name: str) -> Fitted:
            self[name] = fit(name, data)
            return self[name]

    return Fits()


def fit(name: str, data: Dataset, seed: int = 0, **hyperparameters: object) -> Fitted:
    train, validation, _ = parts(data)
    return recipe_of(name, MODELS[name] | hyperparameters).fit(data, train, validation, Job(seed))


def run(whole: WholeGraph, patches: FloatArray, windows: FloatArray) -> FloatArray:
    session = make_session(whole.graph.SerializeToString(), "whole")
    found: FloatArray = session.run(None, {"patches": patches, "window": windows})[0]
    return found


def seen_by(whole: WholeGraph, patches: FloatArray) -> FloatArray:
    """Return the middle of patches, of the graph's size."""
    start = patches.shape[-1] // 2 - whole.patch // 2
    return patches[:, :, start : start + whole.patch, start : start + whole.patch].copy()


@EVERY
def test_it_learns_what_makes_slopes_fail(name: str, data: Dataset, fits: dict[str, Fitted]) -> None:
    test = parts(data)[2]
    predicted = predict_rows(fits[name], data, test)
    assert ((predicted >= 0) & (predicted <= 1)).all()
    assert roc_auc_score(data.label[test], predicted) > 0.75


@EVERY
@pytest.mark.parametrize("view", ["cell", "patch"])
def test_its_graph_is_its_python_form_on_places_it_never_saw(
    name: str, view: str, data: Dataset, fits: dict[str, Fitted]
) -> None:
    fitted = fits[name] if view == "cell" else fit(name, data, view="patch")
    whole = fitted.whole()
    assert whole.patch == (1 if view == "cell" else data.patch)
    other = made_up(1000, seed=5)
    assert other.patches is not None
    assert other.windows is not None
    expected = fitted.predict(other.patches, other.windows)
    found = run(whole, seen_by(whole, other.patches), other.windows)
    assert found.shape == (1000,)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert np.ptp(expected) > 0.1
    assert whole.ignores == ()


@EVERY
def test_the_service_serves_it(name: str, data: Dataset, fits: dict[str, Fitted], tmp_path: Path) -> None:
    training = Training(
        region="toy", data="invented slides", synthetic=True, samples={"train": 180}, events=90,
        sampling_ratio=1.0, split="random", seed=0, metrics={},
    )  # fmt: skip
    export_whole(
        fits[name].whole(),
        tmp_path / name,
        title=recipe_of(name).title,
        name=name,
        version="1.0",
        created=datetime(2026, 1, 2, tzinfo=UTC),
        classes=ClassScheme(breaks=(0.248, 0.5, 0.752)),
        training=training,
        rain_test=None,
    )
    bundle = Bundle.load(tmp_path / name)
    assert data.patches is not None
    assert data.windows is not None
    found = bundle.whole(seen_by(fits[name].whole(), data.patches), data.windows)
    np.testing.assert_allclose(found, fits[name].predict(data.patches, data.windows), atol=1e-4)
    assert [factor.name for factor in bundle.manifest.factors] == [factor.name for factor in data.factors]


@EVERY
def test_the_same_fit_gives_the_same_bytes(name: str, data: Dataset, fits: dict[str, Fitted]) -> None:
    again = fit(name, data)
    first, second = (item.whole().graph.SerializeToString() for item in (fits[name], again))
    assert first == second


@EVERY
def test_test_rows_change_nothing_of_a_fit(name: str, data: Dataset, fits: dict[str, Fitted]) -> None:
    train, validation, test = parts(data)
    assert data.patches is not None
    assert data.windows is not None
    patches, windows = data.patches.copy(), data.windows.copy()
    patches[test] = 9
    windows[test] = np.nan
    fitted = fit(name, replace(data, patches=patches, windows=windows))
    rows = np.concatenate([train, validation])
    np.testing.assert_array_equal(predict_rows(fitted, data, rows), predict_rows(fits[name], data, rows))


@EVERY
def test_places_alone_are_served_with_a_window_that_is_ignored(name: str, data: Dataset) -> None:
    places = without_windows(data)
    fitted = fit(name, places)
    whole = fitted.whole()
    assert whole.ignores == ("window",)
    assert [variable.name for variable in whole.variables] == ["rain"]
    assert whole.window_days == 30
    assert places.patches is not None
    any_rain = np.random.default_rng(0).exponential(20, (len(places), 30, 1)).astype(np.float32)
    found = run(whole, seen_by(whole, places.patches), any_rain)
    np.testing.assert_allclose(found, fitted.predict(places.patches, None), atol=1e-4)


@EVERY
def test_days_alone_can_be_judged_but_have_no_map(name: str, data: Dataset) -> None:
    fitted = fit(name, without_patches(data))
    test = parts(data)[2]
    assert roc_auc_score(data.label[test], fitted.predict(None, data.windows)[test]) > 0.55
    with pytest.raises(InputError, match="at least one factor"):
        fitted.whole()


@EVERY
def test_one_class_only_is_refused(name: str, data: Dataset) -> None:
    samples = tuple(replace(sample, label=1) for sample in data.samples)
    with pytest.raises(InputError, match="one class only: 180 landslides among 180"):
        fit(name, replace(data, samples=samples))


@EVERY
def test_a_constant_factor_is_refused(name: str, data: Dataset) -> None:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[:, 0] = 1200
    with pytest.raises(InputError, match="factor 'elevation'"):
        fit(name, replace(data, patches=patches))


@EVERY
def test_samples_without_data_are_refused_in_fit_and_in_prediction(
    name: str, data: Dataset, fits: dict[str, Fitted]
) -> None:
    assert data.windows is not None
    windows = data.windows.copy()
    windows[5, 3, 0] = np.nan
    holed = replace(data, windows=windows)
    with pytest.raises(InputError, match="variable 'rain'"):
        fit(name, holed)
    with pytest.raises(InputError, match=r"feature 'rain_30d' is not a number in 1 of 2 rows"):
        predict_rows(fits[name], holed, np.array([4, 5]))


@EVERY
def test_what_the_grid_chose_is_one_of_its_values_and_can_be_set_instead(
    name: str, fits: dict[str, Fitted]
) -> None:
    grid = recipe_of(name, MODELS[name]).model_dump()["grid"]
    chosen = fits[name].chosen
    assert set(chosen) == set(grid)
    assert all(word in map(str, grid[key]) for key, word in chosen.items())
    for key, values in grid.items():
        fixed = recipe_of(name, {key: values[0]}).model_dump()
        assert key not in fixed["grid"]
        assert fixed[key] == values[0]


@pytest.mark.parametrize("name", TREES)
def test_trees_turn_the_same_way_on_their_thresholds_and_beside_them(name: str, data: Dataset) -> None:
    deep: dict[str, object] = {"depth": 12, "min_leaf": 1} if name == "decision_tree" else {}
    fitted = fit(name, data, **deep)
    assert isinstance(fitted, TabularFitted)
    learned = fitted.learned
    width = len(fitted.features.names)
    random = np.random.default_rng(1)
    rows = random.normal(0, 30, (6000, width)).astype(np.float32)
    edges = thresholds(learned)
    for number, (column, value) in enumerate(edges[:5000]):
        at = np.float32(value)
        beside = (np.nextafter(at, np.float32(-np.inf)), at, np.nextafter(at, np.float32(np.inf)))
        rows[number, column] = beside[number % 3]
    graph = GraphBuilder()
    graph.add("Reshape", learned.add_to(graph, "features"), graph.integers([-1]), output="susceptibility")
    model = graph.model("trees", [port("features", ["n", width])], [port("susceptibility", ["n"])])
    found = make_session(model.SerializeToString(), name).run(None, {"features": rows})[0]
    np.testing.assert_allclose(found, learned.probability(rows), atol=2e-6)
    assert len(edges) > 10


def _splits(node: dict[str, Any]) -> list[tuple[int, float]]:
    if "children" not in node:
        return []
    below = [split for child in node["children"] for split in _splits(child)]
    return [(int(node["split"].removeprefix("f")), float(node["split_condition"])), *below]


def thresholds(learned: Learned) -> list[tuple[int, float]]:
    """Return (feature, threshold) of every split."""
    if isinstance(learned, Boosted):
        dumped = learned.classifier.get_booster().get_dump(dump_format="json")
        return [split for tree in dumped for split in _splits(json.loads(tree))]
    assert isinstance(learned, Converted)
    trees = getattr(learned.classifier, "estimators_", [learned.classifier])
    return [
        (int(column), float(value))
        for tree in trees
        for column, value in zip(tree.tree_.feature, tree.tree_.threshold, strict=True)
        if column >= 0
    ]


@pytest.mark.parametrize("name", ["mlp", "xgboost"])
def test_models_with_epochs_keep_the_one_with_the_least_validation_loss(
    name: str, data: Dataset, fits: dict[str, Fitted]
) -> None:
    fitted = fits[name]
    losses = [item.validation for item in fitted.history]
    assert [item.epoch for item in fitted.history] == list(range(1, len(losses) + 1))
    assert fitted.best_epoch == 1 + int(np.argmin(losses))
    validation = parts(data)[1]
    predicted, label = predict_rows(fitted, data, validation), data.label[validation]
    loss = -np.mean(np.log(np.where(label == 1, predicted, 1 - predicted)))
    assert loss == pytest.approx(min(losses), rel=1e-4)


def test_few_landslides_among_many_samples_convert_as_well(data: Dataset) -> None:
    # A share of positives far from a half moves what boosting starts from.
    train, validation, _ = parts(data)
    rare = np.concatenate([train[data.label[train] == 0], train[data.label[train] == 1][:12]])
    fitted = recipe_of("xgboost", {"trees": 40}).fit(data, rare, validation, Job())
    whole = fitted.whole()
    assert data.patches is not None
    assert data.windows is not None
    found = run(whole, seen_by(whole, data.patches), data.windows)
    np.testing.assert_allclose(found, fitted.predict(data.patches, data.windows), atol=1e-6)


def test_threads_change_nothing_of_a_forest_or_of_boosted_trees(data: Dataset) -> None:
    train, validation, test = parts(data)
    for name in ("random_forest", "xgboost"):
        recipe = recipe_of(name, MODELS[name])
        one, two = (recipe.fit(data, train, validation, Job(threads=count)) for count in (1, 2))
        np.testing.assert_array_equal(predict_rows(one, data, test), predict_rows(two, data, test))
        if isinstance(two, TabularFitted) and isinstance(two.learned, Converted):
            # Votes that are no whole numbers have sums of the trees' order, which threads do not keep.
            assert two.learned.classifier.n_jobs == 1


@EVERY
def test_codes_that_no_sample_of_a_class_had_leave_the_graph_its_python_form(
    name: str, data: Dataset
) -> None:
    # Two codes that speak for opposite classes with certainty: no sample has both, cells of a map do.
    random, label = np.random.default_rng(0), data.label[:, None, None]
    codes = [
        np.where(label == 1, *(random.choice(few, label.shape) for few in ([1, 2], [2, 3]))) for _ in "ab"
    ]
    assert data.patches is not None
    assert data.windows is not None
    grown = [np.broadcast_to(code, (len(data), *data.patches.shape[2:])) for code in codes]
    patches = np.concatenate([data.patches, np.stack(grown, axis=1)], axis=1).astype(np.float32)
    named = tuple(Factor(word, categories={1: "one", 2: "two", 3: "three"}) for word in ("rock", "soil"))
    fitted = fit(name, replace(data, patches=patches, factors=(*data.factors, *named)))
    cells = np.stack([random.permutation(patches[:, band]) for band in range(patches.shape[1])], axis=1)
    whole, windows = fitted.whole(), random.permutation(data.windows)
    found = run(whole, seen_by(whole, cells), windows)
    np.testing.assert_allclose(found, fitted.predict(cells, windows), atol=1e-4)
    alone = [run(whole, seen_by(whole, cells[[cell]]), windows[[cell]])[0] for cell in range(40)]
    np.testing.assert_allclose(alone, found[:40], atol=1e-5)


def test_naive_bayes_is_that_of_scikit_learn(data: Dataset, fits: dict[str, Fitted]) -> None:
    fitted = fits["gaussian_nb"]
    assert isinstance(fitted, TabularFitted)
    train, _, test = parts(data)
    table, label = fitted.features.of_rows(data, train).astype(np.float64), data.label[train]
    theirs = GaussianNB(var_smoothing=float(fitted.chosen["smoothing"])).fit(table, label)
    expected = theirs.predict_proba(fitted.features.of_rows(data, test))[:, 1]
    np.testing.assert_allclose(predict_rows(fitted, data, test), expected, atol=1e-9)


def test_another_seed_grows_another_forest(data: Dataset, fits: dict[str, Fitted]) -> None:
    test = parts(data)[2]
    other = fit("random_forest", data, seed=1)
    assert (predict_rows(other, data, test) != predict_rows(fits["random_forest"], data, test)).any()


@dataclass(frozen=True)
class Constant:
    """Says one thing in Python and, where `served` differs, another in its graph."""

    value: float
    served: float
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    def probability(self, features: FloatArray) -> npt.NDArray[np.float64]:
        return np.where(features[:, 0] > 1500, self.value, 1 - self.value)

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        first = graph.add("Gather", features, graph.integers([0]), axis=1)
        high = graph.add("Greater", first, graph.floats(1500.0))
        return graph.add("Where", high, graph.floats(self.served), graph.floats(1 - self.served))


class ToyRecipe(TabularRecipe):
    name = "toy"
    title = "Toy"
    source = "made up"
    value: float = 0.5
    served: float | None = None

    def learn(self, task: Task) -> Learned:
        assert isinstance(task.train, Table)
        return Constant(self.value, self.value if self.served is None else self.served)


def test_a_conversion_that_is_wrong_never_leaves(data: Dataset) -> None:
    train, validation, _ = parts(data)
    right = ToyRecipe(value=0.6).fit(data, train, validation, Job())
    assert right.whole().patch == 1
    wrong = ToyRecipe(value=0.6, served=0.601).fit(data, train, validation, Job())
    with pytest.raises(BundleError, match=r"Toy differs from its Python form by 0\.001 .* do not serve it"):
        wrong.whole()


def test_validation_rows_choose_of_the_grid_by_auc_and_the_first_of_equals(data: Dataset) -> None:
    train, validation, _ = parts(data)
    assert data.patches is not None
    high = data.patches[validation, 0, 11, 11] > 1500
    up = roc_auc_score(data.label[validation], high) > 0.5
    steps: list[tuple[int, int]] = []
    job = Job(progress=lambda done, count: steps.append((done, count)))
    fitted = ToyRecipe(grid={"value": (0.5, 0.2, 0.1, 0.8, 0.9)}).fit(data, train, validation, job)
    assert fitted.chosen == {"value": "0.8" if up else "0.2"}
    assert steps == [(number, 5) for number in range(1, 6)]


def test_a_grid_needs_both_classes_among_the_validation_rows(data: Dataset) -> None:
    train, validation, _ = parts(data)
    slides = validation[data.label[validation] == 1]
    with pytest.raises(InputError, match="validation rows are of one class only"):
        recipe_of("svm").fit(data, train, slides, Job())


@pytest.mark.parametrize(
    ("name", "hyperparameters", "message"),
    [
        ("svm", {"grid": {"q": (1,)}}, "no hyperparameter 'q'; there are: c, gamma, kernel"),
        ("svm", {"grid": {"c": ()}}, "'c' has no values"),
        ("svm", {"grid": {"c": (1, -1)}}, "greater than 0"),
        ("svm", {"c": 2, "grid": {"c": (1, 2)}}, "'c' is set and in the grid too"),
        ("random_forest", {"trees": 0}, r"models\.random_forest\.trees"),
        ("mlp", {"hidden": ()}, r"models\.mlp\.hidden"),
        ("xgboost", {"view": "square"}, r"models\.xgboost\.view"),
    ],
)
def test_hyperparameters_that_cannot_be_are_refused_by_name(
    name: str, hyperparameters: dict[str, object], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        recipe_of(name, hyperparameters)


@EVERY
def test_every_model_says_where_it_comes_from_and_what_is_assumed(name: str) -> None:
    recipe = recipe_of(name)
    assert recipe.name == name
    assert recipe.source
    assert {"rain sums", "antecedent index", "levels"} < set(recipe.assumed)
