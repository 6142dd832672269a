"""Flow routing on terrain where every drop's way is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from service.errors import FactorError
from trainer.flow import (
    BYTES_PER_CELL,
    MINIMUM_TAN_SLOPE,
    available_memory,
    require_memory,
    route,
    spi,
    twi,
)

SIZE = 30.0
Float32 = npt.NDArray[np.float32]


def valley(rows: int = 21, columns: int = 31) -> Float32:
    """Two flanks that fall to the middle column, which falls gently to the south."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    return np.asarray(500 + 20.0 * np.abs(column - columns // 2) - 0.5 * row, np.float32)


def hill(size: int = 25) -> Float32:
    """A cone whose tip is in the middle: all water leaves over the edge, none comes from it."""
    row, column = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    return np.asarray(500 - 10.0 * np.hypot(row - size // 2, column - size // 2), np.float32)


def border(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    edge = np.ones(shape, np.bool_)
    edge[1:-1, 1:-1] = False
    return edge


def test_a_valley_gathers_its_flanks_and_grows_downstream() -> None:
    upstream = route(valley()).upstream_cells

    # 20 m a cell across and 0.5 m along: flanks drain straight down to the floor, row by row.
    np.testing.assert_array_equal(upstream[:, 15], (np.arange(21) + 1) * 31)
    np.testing.assert_array_equal(upstream[10, :15], np.arange(15) + 1)


@pytest.mark.parametrize(("aspect", "turn"), [(160, 0), (200, 0), (110, 1), (290, 3), (20, 2)])
def test_a_slope_drains_to_the_steepest_neighbour_not_to_the_lowest(aspect: int, turn: int) -> None:
    # 20 degrees off the grid's axis a diagonal neighbour is lower, and the straight one steeper.
    row, column = np.meshgrid(np.arange(30), np.arange(30), indexing="ij")
    down = np.radians(aspect)
    dem = 900 - 10 * (column * np.sin(down) - row * np.cos(down))

    upstream = np.rot90(route(dem.astype(np.float32)).upstream_cells, -turn)

    # Not the lowest edge: beyond it nothing is known, so its water runs along it.
    np.testing.assert_array_equal(upstream[:-1], np.repeat(np.arange(29)[:, None] + 1, 30, axis=1))


def test_every_cell_drains_once() -> None:
    rng = np.random.default_rng(1)
    dem = (rng.random((40, 50)) * 100).astype(np.float32)
    dem[10:14, 20:30] = np.nan

    flow = route(dem)

    assert (flow.upstream_cells[np.isnan(dem)] == 0).all()
    assert (flow.upstream_cells[~np.isnan(dem)] >= 1).all()
    # Rough ground is full of pits: filled, each cell's water still leaves over some outlet.
    assert flow.upstream_cells.max() > 20
    assert flow.catchments > 1


def test_a_pit_is_filled_to_its_pour_point_and_drains() -> None:
    dem = valley()
    without = route(dem).upstream_cells[19, 15]
    dem[8:11, 14:17] -= 60

    assert route(dem).upstream_cells[19, 15] == without


def test_only_what_lies_below_the_edge_is_marked_as_cut() -> None:
    flow = route(hill())

    np.testing.assert_array_equal(flow.cut, border((25, 25)))


def test_a_slope_that_enters_from_the_edge_is_cut_all_the_way_down() -> None:
    rows = np.arange(20, dtype=np.float32)[:, None]
    flow = route(np.repeat(100 - rows, 15, axis=1).astype(np.float32))

    assert flow.cut.all()
    assert flow.catchments_cut > 0


def test_a_hole_in_the_dem_cuts_what_lies_below_it() -> None:
    dem = hill(41)
    dem[15:18, 19:22] = np.nan  # north of the tip
    flow = route(dem)

    assert flow.cut[12, 20]  # downhill of the hole
    assert not flow.cut[28, 20]  # the other side of the hill
    assert not flow.cut[16, 20]  # the hole itself is not a cell
    assert flow.catchments_cut >= 1


def test_twi_and_spi_are_their_formulas() -> None:
    upstream = np.array([[1, 100, 0]], np.int32)
    tangent = np.array([[0.5, 0.2, 0.2]], np.float32)

    np.testing.assert_allclose(twi(upstream, tangent, SIZE)[0, :2], np.log([30 / 0.5, 3000 / 0.2]), rtol=1e-6)
    np.testing.assert_allclose(spi(upstream, tangent, SIZE)[0, :2], [15, 600], rtol=1e-6)
    assert np.isnan(twi(upstream, tangent, SIZE)[0, 2])
    assert np.isnan(spi(upstream, tangent, SIZE)[0, 2])


def test_a_flat_cell_has_the_twi_of_the_gentlest_slope() -> None:
    flat = twi(np.array([[4]], np.int32), np.array([[0]], np.float32), SIZE)

    assert flat[0, 0] == pytest.approx(np.log(4 * SIZE / MINIMUM_TAN_SLOPE), rel=1e-6)


def test_a_dem_that_does_not_fit_is_refused_with_the_figures() -> None:
    cells = 203_000_000
    require_memory(cells, cells * BYTES_PER_CELL)

    with pytest.raises(FactorError, match=r"203,000,000 cells needs 9\.5 GiB.*8\.0 GiB are.*coarser grid"):
        require_memory(cells, 8 << 30)


def test_available_memory_is_what_the_system_says(tmp_path: Path) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:       2048 kB\nMemFree:         100 kB\nMemAvailable:    512 kB\n")

    assert available_memory(meminfo) == 512 * 1024
    assert available_memory(tmp_path / "absent") > 0


def test_an_empty_dem_is_refused() -> None:
    with pytest.raises(FactorError, match="no valid cell"):
        route(np.full((5, 5), np.nan, np.float32))
