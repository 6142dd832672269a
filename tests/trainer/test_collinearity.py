"""Factors that say the same are found and named."""

from __future__ import annotations

from datetime import date

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from service.errors import InputError
from trainer.collinearity import collinearity
from trainer.dataset import Dataset, Factor, Variable
from trainer.samples import Kind, Sample

COUNT = 300


def dataset(**columns: np.ndarray) -> Dataset:
    """A dataset whose factors have these values at the centre and others around it."""
    count = len(next(iter(columns.values())))
    random = np.random.default_rng(0)
    patches = random.normal(0, 99, (count, len(columns), 3, 3)).astype(np.float32)
    for number, values in enumerate(columns.values()):
        patches[:, number, 1, 1] = values
    factors = tuple(
        Factor(name, categories={1: "limestone", 2: "marl"} if name == "rock" else None) for name in columns
    )
    sample = Sample(0.0, 0.0, "p", date(2020, 1, 1), 0, Kind.SPATIAL, None, 30.0, "e")
    return Dataset((sample,) * count, factors, (), patches, None, "EPSG:32640", 30.0, 1, True, "d")


def terrain() -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    slope, rain, fault, own = random.normal(0, 1, (4, COUNT))
    return {
        "slope": 25 + 8 * slope,
        "elevation": 1500 + 200 * (slope + 0.3 * rain + 0.8 * own),
        "rain": 300 + 40 * rain,
        "fault": 1000 + 300 * fault,
    }


def test_correlation_and_inflation_are_those_of_numpy_and_of_a_regression() -> None:
    columns = terrain()
    found = collinearity(dataset(**columns), np.arange(COUNT), batch=64)
    values = np.stack([column.astype(np.float32) for column in columns.values()], axis=1).astype(float)
    assert found.names == tuple(columns)
    assert found.correlation == pytest.approx(np.corrcoef(values.T))
    for number in range(4):
        others = np.delete(values, number, axis=1)
        share = LinearRegression().fit(others, values[:, number]).score(others, values[:, number])
        assert found.vif[number] == pytest.approx(1 / (1 - share), rel=1e-3)


def test_inflation_above_five_is_a_warning_that_names_the_factor() -> None:
    random = np.random.default_rng(2)
    columns = terrain()
    columns["elevation"] = 1500 + 200 * (columns["slope"] - 25) / 8 + 40 * random.normal(0, 1, COUNT)
    (warning,) = collinearity(dataset(**columns), np.arange(COUNT)).warnings
    assert "above 5" in warning
    assert "slope" in warning
    assert "elevation" in warning
    assert "fault" not in warning
    assert (
        collinearity(dataset(**{k: terrain()[k] for k in ("rain", "fault")}), np.arange(COUNT)).warnings == ()
    )


def test_factors_that_determine_each_other_are_infinite_and_named_without_the_others() -> None:
    columns = terrain()
    columns["sum"] = columns["slope"] + 0.1 * columns["fault"]
    columns["twin"] = 2 * columns["rain"] - 7
    found = collinearity(dataset(**columns), np.arange(COUNT))
    vif = dict(zip(found.names, found.vif, strict=True))
    assert found.determined == (("slope", "fault", "sum"), ("rain", "twin"))
    assert {name for name, value in vif.items() if np.isfinite(value)} == {"elevation"}
    alone = collinearity(dataset(**terrain()), np.arange(COUNT))
    assert vif["elevation"] == pytest.approx(alone.vif[1], rel=1e-3)  # twins add nothing to its regression
    assert any("rain and twin determine each other exactly" in warning for warning in found.warnings)


def test_categories_and_constants_are_left_out_and_said() -> None:
    columns = terrain() | {"rock": np.tile([1, 2], COUNT // 2), "level": np.full(COUNT, 812.3)}
    found = collinearity(dataset(**columns), np.arange(COUNT))
    assert found.names == ("slope", "elevation", "rain", "fault")
    assert (found.categories, found.constant) == (("rock",), ("level",))
    assert any("the same in all 300 training rows: level" in warning for warning in found.warnings)
    assert any("categories: rock" in warning for warning in found.warnings)


def test_only_the_given_rows_count() -> None:
    columns = terrain()
    columns["fault"][200:] = columns["slope"][200:]
    data = dataset(**columns)
    assert np.isfinite(collinearity(data, np.arange(200)).vif).all()
    assert abs(collinearity(data, np.arange(200)).correlation[0, 3]) < 0.3
    assert collinearity(data, np.arange(200, 300)).correlation[0, 3] == pytest.approx(1)


def test_data_without_ground_or_rows_is_refused() -> None:
    with pytest.raises(InputError, match="at least three rows"):
        collinearity(dataset(**terrain()), np.arange(2))
    sample = Sample(0.0, 0.0, "p", date(2020, 1, 1), 0, Kind.SPATIAL, None, 30.0, "e")
    windows = np.zeros((1, 3, 1), np.float32)
    data = Dataset((sample,), (), (Variable("rain", "mm"),), None, windows, "EPSG:32640", 30.0, 1, True, "d")
    with pytest.raises(InputError, match="no patches"):
        collinearity(data, np.arange(1))
