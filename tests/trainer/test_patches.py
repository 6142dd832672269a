"""Patches around places are what a layer's cell sees."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from rasterio.crs import CRS
from rasterio.windows import Window

import trainer.patches as patches
from service.factor_stack import FactorStack
from service.region import Grid

GRID = Grid(CRS.from_epsg(32640), 500_000.0, 3_270_000.0, 30.0, 70, 50)


class _Numbered(FactorStack):
    """A stack whose two bands hold each cell's row and column."""

    def __init__(self) -> None:
        super().__init__(Path("nowhere.tif"), GRID, (), {})

    def read(self, names: object, window: Window) -> np.ndarray:
        row = np.arange(window.height) + window.row_off
        column = np.arange(window.width) + window.col_off
        values = np.stack(np.meshgrid(row, column, indexing="ij")).astype(np.float32)
        outside = (values[0] < 0) | (values[0] >= GRID.height) | (values[1] < 0) | (values[1] >= GRID.width)
        values[:, outside] = np.nan
        return values


@pytest.mark.parametrize("rows_at_once", [16, 256])
def test_a_patch_stands_around_its_cell(monkeypatch: pytest.MonkeyPatch, rows_at_once: int) -> None:
    monkeypatch.setattr(patches, "_ROWS", rows_at_once)
    cells = [(20, 15), (31, 32), (58, 38)]
    xy = np.array([(GRID.left + (c + 0.5) * 30, GRID.top - (r + 0.5) * 30) for r, c in cells])

    found = patches.read_patches(_Numbered(), ("row", "column"), xy, 23)

    assert found.shape == (3, 2, 23, 23)
    for (row, column), patch in zip(cells, found, strict=True):
        assert (patch[0, :, 0] == np.arange(row - 11, row + 12)).all()
        assert (patch[1, 0] == np.arange(column - 11, column + 12)).all()


def test_what_lies_outside_is_missing() -> None:
    xy = np.array([(GRID.left + 15, GRID.top - 15), (GRID.left - 5_000, GRID.top)])

    found = patches.read_patches(_Numbered(), ("row", "column"), xy, 23)

    assert np.isnan(found[0]).any()
    assert np.isfinite(found[0, :, 11:, 11:]).all()
    assert np.isnan(found[1]).all()
