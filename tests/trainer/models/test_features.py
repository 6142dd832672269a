"""What tabular models see of a place and its days, and that it is the same wherever it is computed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import InputError
from service.runtime import make_session
from tests.trainer.models.fix_data import DAYS, PATCH, made_up, parts, without_patches, without_windows
from trainer.dataset import Dataset
from trainer.models._features import DECAY, Features, fit_features
from trainer.onnx_graph import GraphBuilder, port

MIDDLE = PATCH // 2


@pytest.fixture(scope="module")
def data() -> Dataset:
    return made_up()


def column(features: Features, data: Dataset, name: str) -> npt.NDArray[np.float32]:
    values = features.compute(data.patches, data.windows)
    return values[:, features.names.index(name)]


def changed(data: Dataset, sample: int, factor: int, value: float) -> Dataset:
    """Return the dataset with one factor of one sample's patch set to a value."""
    assert data.patches is not None
    patches = data.patches.copy()
    patches[sample, factor] = value
    return replace(data, patches=patches)


def test_a_cells_features_are_its_own_factors_and_its_windows_aggregates(data: Dataset) -> None:
    assert data.patches is not None
    assert data.windows is not None
    features = fit_features(data, parts(data)[0])
    assert features.names == (
        "elevation", "slope", "spi", "twi", "cover=forest", "cover=rock", "cover=field",
        "rain_1d", "rain_3d", "rain_7d", "rain_15d", "rain_30d", "rain_antecedent",
        "level_below_full_last", "level_below_full_change",
    )  # fmt: skip
    centre, rain, level = data.patches[:, :, MIDDLE, MIDDLE], data.windows[:, :, 0], data.windows[:, :, 1]
    np.testing.assert_array_equal(column(features, data, "slope"), centre[:, 1])
    np.testing.assert_array_equal(column(features, data, "cover=rock"), centre[:, 3] == 3)
    for days in (1, 3, 7, 15, 30):
        found = column(features, data, f"rain_{days}d")
        np.testing.assert_allclose(found, rain[:, -days:].sum(axis=1), rtol=1e-6)
    index = np.zeros(len(data))
    for day in range(DAYS):
        index = DECAY * index + rain[:, day]
    np.testing.assert_allclose(column(features, data, "rain_antecedent"), index, rtol=1e-6)
    np.testing.assert_array_equal(column(features, data, "level_below_full_last"), level[:, -1])
    np.testing.assert_array_equal(
        column(features, data, "level_below_full_change"), level[:, -1] - level[:, 0]
    )


def test_a_patchs_features_are_its_statistics_and_shares(data: Dataset) -> None:
    assert data.patches is not None
    features = fit_features(data, parts(data)[0], view="patch")
    slope, cover = data.patches[:, 1].astype(np.float64), data.patches[:, 3]
    for name, expected in {
        "slope_mean": slope.mean(axis=(1, 2)),
        "slope_sd": slope.std(axis=(1, 2)),
        "slope_min": slope.min(axis=(1, 2)),
        "slope_max": slope.max(axis=(1, 2)),
        "cover=rock_share": (cover == 3).mean(axis=(1, 2)),
    }.items():
        np.testing.assert_allclose(column(features, data, name), expected, rtol=2e-7, atol=1e-7)


@pytest.mark.parametrize("view", ["cell", "patch"])
def test_a_row_has_the_same_bits_alone_and_among_others(data: Dataset, view: str) -> None:
    assert data.patches is not None
    assert data.windows is not None
    features = fit_features(data, parts(data)[0], view="cell" if view == "cell" else "patch")
    together = features.compute(data.patches[:83], data.windows[:83])
    alone = [features.compute(data.patches[i : i + 1], data.windows[i : i + 1]) for i in range(83)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    np.testing.assert_array_equal(together[3:70], features.compute(data.patches[3:70], data.windows[3:70]))


def test_a_served_cell_gives_the_bits_of_its_training_patch(data: Dataset) -> None:
    assert data.patches is not None
    features = fit_features(data, parts(data)[0], scaling="min_max")
    graph = GraphBuilder()
    found = features.add_to(graph, 1)
    inputs = [port("patches", ["n", 5, 1, 1]), port("window", ["n", DAYS, 2])]
    model = graph.model("served", inputs, [port(found, ["n", len(features.names)])])
    one = np.ascontiguousarray(data.patches[:, :, MIDDLE : MIDDLE + 1, MIDDLE : MIDDLE + 1])
    session = make_session(model.SerializeToString(), "served")
    served = session.run(None, {"patches": one, "window": data.windows})[0]
    np.testing.assert_array_equal(served, features.compute(data.patches, data.windows))


def test_sums_longer_than_the_window_are_left_out(data: Dataset) -> None:
    assert data.windows is not None
    features = fit_features(replace(data, windows=data.windows[:, -5:]), parts(data)[0])
    assert [name for name in features.names if name.startswith("rain")] == [
        "rain_1d", "rain_3d", "rain_5d", "rain_antecedent",
    ]  # fmt: skip


def test_a_code_that_training_had_not_is_none_of_the_categories(data: Dataset) -> None:
    features = fit_features(data, parts(data)[0])
    water = changed(data, 0, 3, 9)
    values = features.compute(water.patches, water.windows)[0]
    coded = [index for index, name in enumerate(features.names) if name.startswith("cover=")]
    assert values[coded].tolist() == [0, 0, 0]


def test_scaling_sees_training_rows_alone(data: Dataset) -> None:
    train, _, test = parts(data)
    extreme = changed(data, int(test[0]), 1, 5_000)
    fitted = fit_features(extreme, train, scaling="min_max")
    assert fitted == fit_features(data, train, scaling="min_max")
    values = fitted.of_rows(extreme, train)
    np.testing.assert_allclose(values.min(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(values.max(axis=0), 1, atol=1e-6)


def test_median_scaling_parts_training_rows_in_halves_and_categories_by_presence(data: Dataset) -> None:
    train = parts(data)[0]
    features = fit_features(data, train, scaling="median")
    high = features.of_rows(data, train) > 0
    names = list(features.names)
    assert abs(high[:, names.index("slope")].mean() - 0.5) < 0.01
    plain = fit_features(data, train)
    rock = plain.of_rows(data, train)[:, names.index("cover=rock")]
    np.testing.assert_array_equal(high[:, names.index("cover=rock")], rock == 1)


def test_a_category_that_never_varies_gives_no_feature(data: Dataset) -> None:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[:, 3] = 7
    features = fit_features(replace(data, patches=patches), parts(data)[0])
    assert not [name for name in features.names if name.startswith("cover")]
    assert features.factors[3].categories == {7: "field"}


def test_a_factor_that_never_varies_at_the_cells_themselves_gives_no_feature(data: Dataset) -> None:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[:, 4, MIDDLE, MIDDLE] = 8
    features = fit_features(replace(data, patches=patches), parts(data)[0])
    assert "twi" not in features.names
    twi = features.factors[4]
    assert twi.minimum is not None
    assert twi.maximum is not None
    assert twi.minimum < 8 < twi.maximum


def test_ranges_are_those_of_what_the_view_shows(data: Dataset) -> None:
    assert data.patches is not None
    train = parts(data)[0]
    shown = data.patches[train][:, 1]
    cell = fit_features(data, train).factors[1]
    patch = fit_features(data, train, view="patch").factors[1]
    assert (patch.minimum, patch.maximum) == (shown.min(), shown.max())
    own = shown[:, MIDDLE, MIDDLE]
    assert (cell.minimum, cell.maximum) == (own.min(), own.max())


def test_places_without_days_and_days_without_places_give_what_they_have(data: Dataset) -> None:
    train = parts(data)[0]
    places = fit_features(without_windows(data), train)
    assert places.names[-1] == "cover=field"
    assert places.uses == (True, False)
    times = fit_features(without_patches(data), train)
    assert times.names[0] == "rain_1d"
    assert times.uses == (False, True)
    assert times.compute(None, data.windows).shape == (len(data), 8)
    with pytest.raises(InputError, match="fitted with window"):
        times.compute(data.patches, None)


@pytest.mark.parametrize("view", ["cell", "patch"])
def test_a_constant_factor_is_refused_by_name(data: Dataset, view: str) -> None:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[parts(data)[0], 1] = 30
    with pytest.raises(InputError, match="factor 'slope' of the training patches is 30 everywhere"):
        fit_features(
            replace(data, patches=patches), parts(data)[0], view="cell" if view == "cell" else "patch"
        )


def test_a_constant_variable_is_refused_by_name(data: Dataset) -> None:
    assert data.windows is not None
    windows = data.windows.copy()
    windows[..., 0] = 0
    with pytest.raises(InputError, match="variable 'rain' of the training windows is 0 everywhere"):
        fit_features(replace(data, windows=windows), parts(data)[0])


def test_missing_values_are_refused_by_factor_count_and_sample(data: Dataset) -> None:
    train = parts(data)[0]
    holed = changed(changed(data, int(train[4]), 2, np.nan), int(train[9]), 2, np.inf)
    with pytest.raises(InputError, match=rf"factor 'spi' .* in 2 of {len(train)} .* sample {train[4]}\)"):
        fit_features(holed, train)


def test_a_factor_without_any_data_is_refused_by_name(data: Dataset) -> None:
    assert data.patches is not None
    patches = data.patches.copy()
    patches[:, 3] = np.nan
    with pytest.raises(InputError, match=r"factor 'cover' .* has no data in any of the 180 samples"):
        fit_features(replace(data, patches=patches), parts(data)[0])


@pytest.mark.parametrize(("code", "message"), [(4, "codes without a name: 4"), (3.5, "not whole codes")])
def test_codes_that_the_dataset_does_not_name_are_refused(data: Dataset, code: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        fit_features(changed(data, 0, 3, code), parts(data)[0])


def test_a_row_without_data_is_refused_where_it_is_predicted(data: Dataset) -> None:
    features = fit_features(data, parts(data)[0])
    holed = changed(data, 7, 1, np.nan)
    with pytest.raises(InputError, match=r"feature 'slope' is not a number in 1 of 300 rows .* row 7"):
        features.compute(holed.patches, holed.windows)


def test_patches_are_read_in_batches(data: Dataset) -> None:
    class Counted(np.ndarray):  # type: ignore[type-arg]
        largest = 0

        def __getitem__(self, key: object) -> object:
            found = np.asarray(super().__getitem__(key))  # type: ignore[index]
            Counted.largest = max(Counted.largest, len(found))
            return found

    assert data.patches is not None
    watched = replace(data, patches=data.patches.view(Counted))
    fit_features(watched, np.tile(parts(data)[0], 5))
    assert 0 < Counted.largest <= 256
