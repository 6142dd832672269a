"""Terrain factors on surfaces whose answer is known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.terrain import LOCAL_FACTORS, local_factors, tangent_of_slope, terrain_bands

SIZE = 30.0
NAMES = tuple(LOCAL_FACTORS)


def coordinates(rows: int, columns: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """East and north of cell centres, metres, origin in the middle."""
    y = -(np.arange(rows) - (rows - 1) / 2) * SIZE
    x = (np.arange(columns) - (columns - 1) / 2) * SIZE
    north, east = np.meshgrid(y, x, indexing="ij")
    return east, north


def plane(degrees: float, aspect_degrees: float, shape: tuple[int, int] = (9, 11)) -> npt.NDArray[np.float32]:
    """A plane that falls `degrees` steep towards `aspect_degrees` clockwise from north."""
    east, north = coordinates(*shape)
    fall = np.tan(np.radians(degrees))
    aspect = np.radians(aspect_degrees)
    return np.asarray(1000 - fall * (east * np.sin(aspect) + north * np.cos(aspect)), np.float32)


@given(degrees=st.floats(0.5, 60), aspect=st.floats(0, 360))
def test_a_tilted_plane_has_its_slope_and_aspect_everywhere_and_no_curvature(
    degrees: float, aspect: float
) -> None:
    bands = terrain_bands(plane(degrees, aspect), SIZE, NAMES)
    inside = {name: band[1:-1, 1:-1] for name, band in bands.items()}

    np.testing.assert_allclose(inside["slope"], degrees, atol=2e-3)
    np.testing.assert_allclose(inside["northness"], np.cos(np.radians(aspect)), atol=1e-3)
    np.testing.assert_allclose(inside["eastness"], np.sin(np.radians(aspect)), atol=1e-3)
    np.testing.assert_allclose(inside["plan_curvature"], 0, atol=2e-6)
    np.testing.assert_allclose(inside["profile_curvature"], 0, atol=2e-6)


def test_a_cone_faces_outward_and_its_plan_curvature_is_minus_slope_over_radius() -> None:
    east, north = coordinates(80, 80)  # even, so that no cell stands on the tip
    radius = np.hypot(east, north)
    bands = terrain_bands((2000 - 0.5 * radius).astype(np.float32), SIZE, NAMES)
    ring = (radius > 600) & (radius < 1100)

    np.testing.assert_allclose(bands["slope"][ring], np.degrees(np.arctan(0.5)), atol=0.05)
    np.testing.assert_allclose(bands["northness"][ring], (north / radius)[ring], atol=2e-3)
    np.testing.assert_allclose(bands["eastness"][ring], (east / radius)[ring], atol=2e-3)
    np.testing.assert_allclose(bands["plan_curvature"][ring], (-0.5 / radius)[ring], rtol=0.01)
    np.testing.assert_allclose(bands["profile_curvature"][ring], 0, atol=1e-5)


def test_a_bowl_gathers_flow_and_is_concave_in_both_directions() -> None:
    east, north = coordinates(41, 41)
    bands = terrain_bands((0.0005 * (east**2 + north**2)).astype(np.float32), SIZE, NAMES)
    slope = (np.hypot(east, north) > 100) & (np.hypot(east, north) < 500)

    np.testing.assert_allclose(bands["plan_curvature"][slope], 2 * 0.0005, rtol=1e-3)
    np.testing.assert_allclose(bands["profile_curvature"][slope], -2 * 0.0005, rtol=1e-3)


def test_the_cross_term_counts_on_a_slope_that_is_skewed_to_the_grid() -> None:
    # z = a u² with u towards north-east: all curvature is along the slope, none across it.
    east, north = coordinates(31, 31)
    along = (east + north) / np.sqrt(2)
    bands = terrain_bands((0.001 * along**2).astype(np.float32), SIZE, NAMES)
    slope = (np.abs(along) > 100) & (np.abs(east) < 400) & (np.abs(north) < 400)

    np.testing.assert_allclose(bands["profile_curvature"][slope], -2 * 0.001, rtol=1e-3)
    np.testing.assert_allclose(bands["plan_curvature"][slope], 0, atol=2e-6)


def test_flat_ground_has_no_aspect_and_no_curvature_but_is_not_missing() -> None:
    bands = terrain_bands(np.full((5, 6), 812.5, np.float32), SIZE, NAMES)

    for name in ("slope", "northness", "eastness", "plan_curvature", "profile_curvature"):
        assert (bands[name][1:-1, 1:-1] == 0).all(), name


def test_a_missing_cell_takes_its_neighbours_with_it_but_not_their_elevation() -> None:
    dem = plane(20, 135)
    dem[4, 5] = np.nan
    bands = terrain_bands(dem, SIZE, NAMES)

    assert np.isnan(bands["elevation"]).sum() == 1
    for name in NAMES[1:]:
        lost = np.isnan(bands[name][1:-1, 1:-1])
        assert lost.sum() == 9, name
        assert lost[2:5, 3:6].all(), name


def test_local_factors_come_in_the_order_asked_for_with_a_missing_edge() -> None:
    dem = plane(20, 135)
    stack = local_factors(dem, SIZE, ["slope", "elevation"])

    assert stack.shape == (2, 9, 11)
    assert stack.dtype == np.float32
    np.testing.assert_array_equal(stack[1], dem)
    assert np.isfinite(stack[0]).sum() == 7 * 9


@pytest.mark.parametrize("shape", [(2, 7), (1, 1)])
def test_a_dem_smaller_than_a_neighbourhood_has_only_elevation(shape: tuple[int, int]) -> None:
    stack = local_factors(np.ones(shape, np.float32), SIZE, ["elevation", "slope"])

    assert (stack[0] == 1).all()
    assert np.isnan(stack[1]).all()


def test_an_unknown_factor_is_named() -> None:
    with pytest.raises(KeyError, match="steepness"):
        local_factors(np.ones((5, 5), np.float32), SIZE, ["steepness"])


def test_the_tangent_of_slope_is_the_gradient() -> None:
    np.testing.assert_allclose(
        tangent_of_slope(plane(30, 10), SIZE)[1:-1, 1:-1], np.tan(np.pi / 6), rtol=1e-4
    )
