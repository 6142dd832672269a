"""Distances by windows against distances by brute force."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.crs import CRS
from rasterio.windows import Window

from service.errors import FactorError
from service.region import Grid
from service.settings import ReservoirSettings
from trainer.distance import ReservoirRims, array_features, distance_to, vector_features

SIZE = 30.0
GRID = Grid(CRS.from_epsg(32632), 600_000.0, 4_900_000.0, SIZE, 40, 50)
WHOLE = Window(0, 0, 50, 40)
Float64 = npt.NDArray[np.float64]


def centres(window: Window = WHOLE) -> tuple[Float64, Float64]:
    """East and north of the cell centres of a window."""
    x = GRID.left + (window.col_off + np.arange(window.width) + 0.5) * SIZE
    y = GRID.top - (window.row_off + np.arange(window.height) + 0.5) * SIZE
    east, north = np.meshgrid(x, y)
    return east, north


def by_windows(features: object, step: int, cap_m: float) -> npt.NDArray[np.float32]:
    out = np.full((40, 50), -1, np.float32)
    for row in range(0, 40, step):
        for column in range(0, 50, step):
            window = Window(column, row, min(step, 50 - column), min(step, 40 - row))
            out[window.toslices()] = distance_to(features, window, SIZE, cap_m)  # type: ignore[arg-type]
    return out


@settings(deadline=None, max_examples=40)  # a busy machine is not a failure
@given(
    cells=st.lists(st.tuples(st.integers(0, 39), st.integers(0, 49)), min_size=1, max_size=6),
    step=st.sampled_from([7, 16, 64]),
    cap_m=st.sampled_from([45.0, 300.0, 1000.0, 5000.0]),
)
def test_distance_is_exact_up_to_the_cap_however_the_grid_is_cut(
    cells: list[tuple[int, int]], step: int, cap_m: float
) -> None:
    marked = np.zeros((40, 50), np.bool_)
    rows, columns = np.array(cells).T
    marked[rows, columns] = True
    row, column = np.meshgrid(np.arange(40), np.arange(50), indexing="ij")
    brute = np.min(np.hypot(row[..., None] - rows, column[..., None] - columns), axis=-1) * SIZE

    found = by_windows(array_features(marked), step, cap_m)

    np.testing.assert_allclose(found, np.minimum(brute, cap_m), rtol=1e-6)


def test_no_feature_near_means_the_cap() -> None:
    assert (by_windows(array_features(np.zeros((40, 50), np.bool_)), 16, 500.0) == 500).all()


def test_a_feature_beyond_the_grid_counts() -> None:
    fault = shapely.LineString([(GRID.left - 315, GRID.top + 10_000), (GRID.left - 315, GRID.top - 10_000)])
    found = by_windows(vector_features([fault], GRID), 16, 2_000.0)

    # The line runs along the centres of the eleventh column west of the grid.
    np.testing.assert_allclose(found, np.broadcast_to((np.arange(50) + 11) * SIZE, (40, 50)), rtol=1e-6)


@settings(deadline=None, max_examples=40)  # a busy machine is not a failure
@given(
    start=st.tuples(st.floats(-500, 2000), st.floats(-500, 1700)),
    end=st.tuples(st.floats(-500, 2000), st.floats(-500, 1700)),
)
def test_the_distance_to_a_line_is_within_a_cell_of_the_geometric_one(
    start: tuple[float, float], end: tuple[float, float]
) -> None:
    line = shapely.LineString(
        [(GRID.left + start[0], GRID.top - start[1]), (GRID.left + end[0], GRID.top - end[1])]
    )
    east, north = centres()
    exact = np.minimum(shapely.distance(shapely.points(east, north), line), 900.0)

    found = by_windows(vector_features([line], GRID), 16, 900.0)

    assert np.abs(found - exact).max() <= SIZE


def reservoirs(tmp_path: Path, shapes: list[tuple[shapely.Geometry, object]]) -> ReservoirSettings:
    path = tmp_path / "reservoirs.geojson"
    features = [
        {
            "type": "Feature",
            "geometry": shapely.geometry.mapping(shape),
            "properties": {"id": f"r{number}", "name": f"Lake {number}", "full_level_m": level},
        }
        for number, (shape, level) in enumerate(shapes)
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))
    return ReservoirSettings(path=path, link_distance_m=400.0, link_height_m=50.0)


def square(east: float, south: float, side: float) -> shapely.Polygon:
    return shapely.box(GRID.left + east, GRID.top - south - side, GRID.left + east + side, GRID.top - south)


@pytest.mark.parametrize("step", [7, 64])
def test_each_cell_is_linked_to_its_nearest_reservoir(tmp_path: Path, step: int) -> None:
    lakes = [square(200, 200, 210), square(1100, 700, 160), square(9000, 300, 500)]
    levels = [100.0, 200.0, 300.0]
    rims = ReservoirRims(reservoirs(tmp_path, list(zip(lakes, levels, strict=True))), GRID, cap_m=600.0)
    east, north = centres()
    exact = np.stack([shapely.distance(shapely.points(east, north), lake) for lake in lakes])
    elevation = np.full((40, 50), 230, np.float32)

    for row in range(0, 40, step):
        for column in range(0, 50, step):
            window = Window(column, row, min(step, 50 - column), min(step, 40 - row))
            part = window.toslices()
            link = rims.link(window, elevation[part])
            shortest = exact[:, *part].min(axis=0)
            level = np.array(levels)[exact[:, *part].argmin(axis=0)]

            np.testing.assert_allclose(link.distance, np.minimum(shortest, 600), atol=SIZE / 4)
            undecided = np.abs(exact[0][part] - exact[1][part]) < SIZE / 2
            np.testing.assert_array_equal(link.height[~undecided], (230 - level)[~undecided])


def test_influence_needs_nearness_and_a_low_place(tmp_path: Path) -> None:
    rims = ReservoirRims(reservoirs(tmp_path, [(square(0, 0, 300), 100.0)]), GRID, cap_m=5_000.0)
    elevation = np.full((40, 50), 150, np.float32)
    elevation[20:] = 151
    elevation[5, 5] = np.nan
    link = rims.link(WHOLE, elevation)

    assert link.influence[0, 0] == 1  # on the water
    assert link.influence[0, 22] == 1  # 375 m from the rim, 50 m above it
    assert link.influence[0, 24] == 0  # 435 m from it
    assert link.influence[22, 0] == 0  # 375 m from it, 51 m above
    assert link.distance[2, 2] == 0
    assert np.isnan([link.distance[5, 5], link.height[5, 5], link.influence[5, 5]]).all()


def test_the_influence_reaches_beyond_the_cap_of_the_distance(tmp_path: Path) -> None:
    rims = ReservoirRims(reservoirs(tmp_path, [(square(0, 0, 300), 100.0)]), GRID, cap_m=100.0)
    link = rims.link(WHOLE, np.full((40, 50), 120, np.float32))

    assert link.distance[0, 22] == 100
    assert link.influence[0, 22] == 1


@pytest.mark.parametrize("level", [None, "full"])
def test_a_reservoir_without_a_full_level_is_named(tmp_path: Path, level: object) -> None:
    with pytest.raises(FactorError, match=r"reservoir 'r0'.*full_level_m"):
        ReservoirRims(reservoirs(tmp_path, [(square(0, 0, 300), level)]), GRID, cap_m=100.0)
