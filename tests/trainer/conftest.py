"""Fixtures of the trainer's tests."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.fix_factors import (
    COLUMNS,
    ROWS,
    box,
    line,
    write_features,
    write_raster,
)


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """A folder with a source for each kind of factor."""
    write_features(tmp_path / "roads.geojson", line(10))
    write_features(tmp_path / "lakes.geojson", box(28, 5, 4, 4), id="a", name="Lago", full_level_m=480)
    write_features(tmp_path / "mask.geojson", box(5, 5, 40, 50))
    land = np.ones((ROWS, COLUMNS), np.uint8)
    land[:, 30:] = 2
    write_raster(tmp_path / "land.tif", land, nodata=0)
    write_raster(tmp_path / "rain.tif", np.full((ROWS, COLUMNS), 1200, np.float32))
    write_raster(tmp_path / "red.tif", np.full((ROWS, COLUMNS), 500, np.uint16))
    write_raster(tmp_path / "nir.tif", np.full((ROWS, COLUMNS), 1500, np.uint16))
    return tmp_path
