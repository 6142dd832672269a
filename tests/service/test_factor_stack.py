"""A factor stack as the service reads it."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.windows import Window

from service.errors import FactorError
from service.factor_stack import FORMAT, FactorBand, FactorStack, edge_path
from service.region import Grid

GRID = Grid(CRS.from_epsg(32632), 600_000.0, 4_900_000.0, 30.0, 300, 280)
SLOPE = FactorBand("slope", "degrees", False, None, None, 0.0, 40.0, 0.98)
DISTANCE = FactorBand("distance_to_roads", "m", True, None, "2021-06-30", 0.0, 20_000.0, 1.0)
ROCKS = FactorBand("rocks", "", False, {1: "limestone", 7: "flysch, è"}, "2020-01-01", 1.0, 7.0, 1.0)
BANDS = (SLOPE, DISTANCE, ROCKS)


def values() -> npt.NDArray[np.float32]:
    return np.arange(3 * 300 * 280, dtype=np.float32).reshape(3, 300, 280)


def write_stack(path: Path, **tags: str) -> Path:
    profile = GRID.profile("float32", 3, float("nan"))
    with rasterio.open(path, "w", **profile) as out:
        out.write(values())
        for number, band in enumerate(BANDS, start=1):
            out.set_band_description(number, band.name)
            out.update_tags(number, **band.tags())
        out.update_tags(**{"format": FORMAT, "digest": "d" * 64, **tags})
    return path


def write_edge(stack: Path, digest: str) -> None:
    with rasterio.open(edge_path(stack), "w", **GRID.profile("uint8", 1, 255)) as out:
        out.write(np.ones((300, 280), np.uint8), 1)
        out.update_tags(digest=digest)


def test_bands_keep_their_meaning(tmp_path: Path) -> None:
    with FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack:
        assert stack.bands == BANDS
        assert stack.digest == "d" * 64
        assert stack.index(["rocks", "slope"]) == [3, 1]


def test_factors_come_in_the_order_asked_for(tmp_path: Path) -> None:
    with FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack:
        read = stack.read(["rocks", "slope"], Window(20, 250, 30, 40))

    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values()[[2, 0], 250:290, 20:50])


@pytest.mark.parametrize("row", [-11, 100, 290])
@pytest.mark.parametrize("column", [-11, 100, 270])
def test_a_window_may_leave_the_grid_and_is_missing_there(tmp_path: Path, row: int, column: int) -> None:
    padded = np.pad(values(), ((0, 0), (50, 50), (50, 50)), constant_values=np.nan)
    with FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack:
        read = stack.read(["slope", "distance_to_roads", "rocks"], Window(column, row, 23, 31))

    np.testing.assert_array_equal(read, padded[:, 50 + row : 81 + row, 50 + column : 73 + column])


def test_a_window_outside_the_grid_is_all_missing(tmp_path: Path) -> None:
    with FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack:
        assert np.isnan(stack.read(["slope"], Window(1000, 0, 8, 8))).all()
        assert np.isnan(stack.read(["slope"], Window(0, -20, 8, 8))).all()


def test_threads_may_read_at_once(tmp_path: Path) -> None:
    windows = [Window(column, row, 40, 40) for row in range(0, 300, 20) for column in range(0, 280, 20)]
    expected = np.pad(values(), ((0, 0), (0, 64), (0, 64)), constant_values=np.nan)
    with (
        FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack,
        ThreadPoolExecutor(8) as pool,
    ):
        read = list(pool.map(lambda window: stack.read(["slope", "rocks"], window), windows))

    for window, part in zip(windows, read, strict=True):
        np.testing.assert_array_equal(part, expected[[0, 2], *window.toslices()])


def test_a_factor_that_is_not_there_is_named_beside_those_that_are(tmp_path: Path) -> None:
    with (
        FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack,
        pytest.raises(FactorError, match="has no twi, spi; it has: slope, distance_to_roads, rocks"),
    ):
        stack.read(["slope", "twi", "spi"], Window(0, 0, 5, 5))


def test_a_missing_stack_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(FactorError, match=r"no factor stack at .*colluvium factors -c FILE"):
        FactorStack.open(tmp_path / "factors.tif", GRID)


def test_a_stack_of_another_grid_is_refused(tmp_path: Path) -> None:
    moved = Grid(GRID.crs, GRID.left + 30, GRID.top, 30.0, 300, 280)
    with pytest.raises(FactorError, match="not on the region's grid"):
        FactorStack.open(write_stack(tmp_path / "factors.tif"), moved)


def test_a_raster_that_is_no_stack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FactorError, match="not a factor stack of this version"):
        FactorStack.open(write_stack(tmp_path / "factors.tif", format="colluvium factor stack 0"), GRID)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "factors.tif"
    path.write_bytes(b"not a raster")
    with pytest.raises(FactorError, match=r"factors\.tif cannot be read"):
        FactorStack.open(path, GRID)


def test_a_truncated_file_is_refused_at_the_latest_when_read(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "factors.tif")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        pytest.raises(FactorError, match=r"factors\.tif (cannot be read|is not a factor stack)"),
        FactorStack.open(path, GRID) as stack,
    ):
        stack.read(["slope", "distance_to_roads", "rocks"], Window(0, 0, 280, 300))


def test_a_band_without_its_description_is_refused(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "factors.tif")
    with rasterio.open(path, "r+") as out:
        out.update_tags(2, minimum="low")
    with pytest.raises(FactorError, match="lacks its description"):
        FactorStack.open(path, GRID)


def test_the_cut_by_the_edge_is_read_beside_the_stack(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "factors.tif", cells_cut_by_edge="84000", catchments_cut_by_edge="12")
    write_edge(path, "d" * 64)
    with FactorStack.open(path, GRID) as stack:
        edge = stack.read_edge(Window(-2, -2, 5, 5))

        assert (stack.cells_cut_by_edge, stack.catchments_cut_by_edge) == (84_000, 12)
        assert edge is not None
        assert (edge[2:, 2:] == 1).all()
        assert (edge[:2] == 255).all()


def test_a_sidecar_of_another_stack_is_refused(tmp_path: Path) -> None:
    path = write_stack(tmp_path / "factors.tif", cells_cut_by_edge="84000")
    write_edge(path, "e" * 64)
    with FactorStack.open(path, GRID) as stack, pytest.raises(FactorError, match="another factor stack"):
        stack.read_edge(Window(0, 0, 5, 5))


def test_a_stack_without_flow_factors_has_no_cut(tmp_path: Path) -> None:
    with FactorStack.open(write_stack(tmp_path / "factors.tif"), GRID) as stack:
        assert stack.read_edge(Window(0, 0, 5, 5)) is None
        assert stack.cells_cut_by_edge is None


def test_reading_needs_nothing_of_the_trainer() -> None:
    code = (
        "import sys, service.factor_stack; "
        "print([name for name in ('trainer', 'numba', 'pyflwdir', 'torch') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
