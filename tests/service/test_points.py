"""Windows of single points: what a cell there would have had, by the same code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fix_windows import (
    BELOW,
    CHANGE,
    LEFT,
    NAN,
    RAIN,
    TOP,
    K,
    Shelf,
    build,
    lake,
    make_region,
    points,
    steady,
)


@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_points_window_is_bilinear_between_those_of_the_layer(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tmp_path = tmp_path_factory.mktemp("points")
    place = st.tuples(st.integers(-250, 700), st.integers(-250, 600))
    gauges = data.draw(st.lists(place, min_size=1, max_size=4))
    value = st.one_of(st.just(NAN), st.floats(0, 300, width=32))
    rows = st.lists(value, min_size=len(gauges), max_size=len(gauges))
    rain = np.array(data.draw(st.lists(rows, min_size=5, max_size=5)), dtype=np.float32)
    fill = data.draw(st.sampled_from(["same_day", "linear"]))
    region = make_region()
    shelf = Shelf(
        gauges, rain, {"r0": data.draw(st.sampled_from([90.0, NAN])) + np.arange(5, dtype=np.float32)}
    )
    more: dict[str, Any] = {
        "region": region,
        "variables": (RAIN, BELOW, CHANGE),
        "reservoirs": lake(shapely.box(LEFT, TOP - 10, LEFT + 10, TOP)),
        "fill": fill,
        "max_distance_km": 0.4,
    }
    cells = [(index, cell) for index in range(len(region.forcing.active)) for cell in (0, 5, 15)]
    xy = np.array([region.forcing.cell_centres(index)[cell] for index, cell in cells])
    for day in (4, 5):
        layer = build(tmp_path, shelf, day, **more)
        single = points(tmp_path, shelf, xy, [day] * len(xy), **more)
        for number, (index, cell) in enumerate(cells):
            known = bool(layer.complete[index]) and bool(layer.partial.get(index, np.ones(K * K, bool))[cell])
            assert bool(np.isfinite(single.windows[number]).all()) == known
            assert single.observed[number] == layer.observed[index]
            assert np.array_equal(single.distance_km[number], layer.distance_km[index], equal_nan=True)
            if known:
                corners = layer.windows[layer.corner_rows[index]]
                expected = np.tensordot(region.forcing.corner_weights[cell], corners, axes=1)
                assert single.windows[number] == pytest.approx(expected, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize("fill", ["same_day", "linear"])
def test_samples_of_many_days_are_those_of_each_day_alone(tmp_path: Path, fill: str) -> None:
    random = np.random.default_rng(1)
    rain = random.gamma(0.5, 10, (12, 3)).astype(np.float32)
    rain[random.random(rain.shape) < 0.3] = np.nan
    shelf = Shelf([(0, 0), (400, 100), (100, 500)], rain)
    xy = np.stack([LEFT + random.uniform(0, 480, 30), TOP - random.uniform(0, 360, 30)], axis=1)
    days = random.integers(3, 13, 30).tolist()
    together = points(tmp_path, shelf, xy, days, fill=fill)
    for number, day in enumerate(days):
        alone = points(tmp_path, shelf, xy[number : number + 1], [day], fill=fill)
        assert alone.windows.tobytes() == together.windows[number : number + 1].tobytes()
        assert alone.observed[0] == together.observed[number]


def test_points_outside_the_region_and_its_grid_have_windows_too(tmp_path: Path) -> None:
    region = make_region(3, 4, active=[(0, 0)])
    shelf = Shelf([(-1000, -1000)], np.array([[1], [2], [3]], dtype=np.float32))
    xy = np.array([(LEFT - 1000, TOP + 1000), (LEFT + 300, TOP - 300), (LEFT + 90_000, TOP)])
    windows, observed, distance_km = points(tmp_path, shelf, xy, [3, 3, 3], region=region)
    assert windows[:2, :, 0] == pytest.approx(np.array([[1, 2, 3]] * 2))
    assert np.isnan(windows[2]).all()
    assert observed.tolist() == [1, 1, 0]
    assert distance_km[0] < 0.2
    assert np.isnan(distance_km[2])


def test_no_samples_give_no_windows(tmp_path: Path) -> None:
    shelf = Shelf([(0, 0)], steady(3, 1))
    windows, observed, distance_km = points(tmp_path, shelf, np.zeros((0, 2)), [])
    assert windows.shape == (0, 3, 1)
    assert observed.shape == distance_km.shape == (0,)
