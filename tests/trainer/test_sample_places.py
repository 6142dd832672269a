from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rasterio.crs import CRS
from rasterio.windows import Window

import trainer.sample_places as sample_places
from service.errors import InputError
from service.factor_stack import FactorBand, FactorStack
from service.region import Grid
from trainer.patches import read_patches
from trainer.sample_places import places_on

GRID = Grid(CRS.from_epsg(32640), 500_000.0, 3_270_000.0, 30.0, 40, 50)


class _Held(FactorStack):
    """A stack of a slope and another factor, held in memory."""

    def __init__(self, slope: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> None:
        bands = tuple(FactorBand(name, "", False, None, None, 0, 1) for name in ("slope", "other"))
        super().__init__(Path("held.tif"), GRID, bands, {})
        self._values = {"slope": slope, "other": other}

    def read(self, names: tuple[str, ...], window: Window) -> np.ndarray:
        rows = np.arange(window.height) + window.row_off
        columns = np.arange(window.width) + window.col_off
        result = np.full((len(names), window.height, window.width), np.nan, np.float32)
        inside = np.ix_((rows >= 0) & (rows < GRID.height), (columns >= 0) & (columns < GRID.width))
        seen = np.ix_(
            rows[(rows >= 0) & (rows < GRID.height)], columns[(columns >= 0) & (columns < GRID.width)]
        )
        for number, name in enumerate(names):
            result[number][inside] = self._values[name][seen]
        return result


def steep_west(gap: tuple[int, int] | None = None) -> _Held:
    slope = np.full((GRID.height, GRID.width), 20, np.float32)
    slope[:, 30:] = 1.0
    other = np.ones_like(slope)
    if gap is not None:
        other[gap] = np.nan
    return _Held(slope, other)


def cells(xy: npt.NDArray[np.float64]) -> set[tuple[int, int]]:
    rows, columns = GRID.cells_at(xy[:, 0], xy[:, 1])
    return set(zip(rows.tolist(), columns.tolist(), strict=True))


@pytest.mark.parametrize("rows_at_once", [7, 256])
@pytest.mark.parametrize("patch", [4, 5])
def test_every_place_has_a_whole_patch_and_every_whole_patch_can_be_drawn(
    monkeypatch: pytest.MonkeyPatch, rows_at_once: int, patch: int
) -> None:
    monkeypatch.setattr(sample_places, "_ROWS", rows_at_once)
    stack = steep_west(gap=(20, 10))
    found = places_on(stack, patch)(np.random.default_rng(0), 60_000)
    every = np.array(
        [(GRID.left + (c + 0.5) * 30, GRID.top - (r + 0.5) * 30) for r in range(40) for c in range(50)]
    )
    whole = np.isfinite(read_patches(stack, ("slope", "other"), every, patch)).all(axis=(1, 2, 3))
    assert cells(found) == cells(every[whole])
    assert 0 < whole.sum() < len(every)


def test_flat_places_are_flatter_than_the_limit() -> None:
    found = cells(places_on(steep_west(), 1, slope_below=2.0)(np.random.default_rng(0), 20_000))
    assert found == {(row, column) for row in range(40) for column in range(30, 50)}


def test_places_may_be_kept_to_some_columns() -> None:
    found = cells(places_on(steep_west(), 1, columns=(5, 8))(np.random.default_rng(0), 5_000))
    assert found == {(row, column) for row in range(40) for column in range(5, 8)}


def test_many_cells_are_stood_for_by_some_that_lie_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_places, "_ROWS", 7)
    found = cells(places_on(steep_west(), 1, limit=200)(np.random.default_rng(0), 20_000))
    assert len(found) == 200
    rows = np.array(sorted(row for row, _ in found))
    assert np.abs(np.percentile(rows, [25, 50, 75]) - [10, 20, 30]).max() < 4


def test_the_same_seeds_give_the_same_places() -> None:
    first, again = (places_on(steep_west(), 3, limit=50, seed=4) for _ in range(2))
    assert (first(np.random.default_rng(1), 30) == again(np.random.default_rng(1), 30)).all()


def test_ground_that_is_not_there_is_refused() -> None:
    with pytest.raises(InputError, match=r"no cell flatter than 0.5 degrees"):
        places_on(steep_west(), 1, slope_below=0.5)
    with pytest.raises(InputError, match=r"whole patch of 41 x 41 cells"):
        places_on(steep_west(), 41)
    bare = FactorStack(Path("bare.tif"), GRID, (FactorBand("ndvi", "", False, None, None, 0, 1),), {})
    with pytest.raises(InputError, match="needs a factor 'slope'; the stack has: ndvi"):
        places_on(bare, 1, slope_below=2.0)
