from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from rasterio.io import MemoryFile

from exporters.layer import CLASS_COLOURS, NODATA, TOP
from exporters.picture import class_picture, encode_png, hillshade, susceptibility_picture
from tests.exporters.fix_layer import write_rasters


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")  # a picture has none
def decode(png: bytes) -> npt.NDArray[np.uint8]:
    """Read a PNG with GDAL: uint8 (rows, columns, 4)."""
    with MemoryFile(png) as memory, memory.open(driver="PNG") as image:
        return np.moveaxis(image.read(), 0, -1)


pytestmark = pytest.mark.filterwarnings("ignore:Dataset has no geotransform")


def test_png_comes_back_as_it_was(tmp_path: Path) -> None:
    rgba = np.random.default_rng(1).integers(0, 256, (7, 11, 4)).astype(np.uint8)
    np.testing.assert_array_equal(decode(encode_png(rgba)), rgba)


def test_classes_show_their_colours_and_unknown_is_transparent(tmp_path: Path) -> None:
    stored = np.repeat(np.array([NODATA, 10, 60, 120, 200], np.uint8), 8)[None].repeat(8, axis=0)
    write_rasters(tmp_path, stored)
    image = decode(class_picture(tmp_path / "class.tif", 40))
    assert image.shape == (8, 40, 4)
    assert image[4, 4, 3] == 0
    for code, colour in enumerate(CLASS_COLOURS, start=1):
        assert image[4, code * 8 + 4].tolist() == [*colour, 255]


def test_susceptibility_runs_from_light_to_dark(tmp_path: Path) -> None:
    stored = np.repeat(np.array([NODATA, 0, TOP], np.uint8), 8)[None].repeat(8, axis=0)
    write_rasters(tmp_path, stored)
    image = decode(susceptibility_picture(tmp_path / "susceptibility.tif", 24))
    assert image[4, 4, 3] == 0
    assert image[4, 12].tolist() == [*CLASS_COLOURS[0], 255]
    assert image[4, 20].tolist() == [*CLASS_COLOURS[-1], 255]


def test_a_picture_keeps_the_map_s_shape_and_is_never_larger(tmp_path: Path) -> None:
    write_rasters(tmp_path, np.full((600, 900), 100, np.uint8))
    assert decode(class_picture(tmp_path / "class.tif", 300)).shape == (200, 300, 4)
    assert decode(class_picture(tmp_path / "class.tif", 5_000)).shape == (600, 900, 4)
    with pytest.raises(ValueError, match="at least one pixel"):
        class_picture(tmp_path / "class.tif", 0)


def test_relief_is_lit_from_the_north_west() -> None:
    flat = hillshade(np.zeros((5, 5)), 30.0)
    np.testing.assert_allclose(flat, np.sin(np.deg2rad(45)))
    rows, columns = np.mgrid[:5, :5].astype(np.float64)
    down_to_north_west = hillshade((rows + columns) * 30.0, 30.0)
    down_to_south_east = hillshade(-(rows + columns) * 30.0, 30.0)
    assert (down_to_north_west > flat).all()
    assert (down_to_south_east < flat).all()


def test_relief_lies_grey_under_unknown_cells_and_shades_known_ones(tmp_path: Path) -> None:
    stored = np.full((20, 20), 120, np.uint8)
    stored[:, 10:] = NODATA
    write_rasters(tmp_path, stored)
    rows, columns = np.mgrid[:40, :40].astype(np.float64)
    elevation = np.where(rows < 20, (rows + columns) * 15, 0.0)
    elevation[30:] = np.nan
    image = decode(class_picture(tmp_path / "class.tif", 20, elevation=elevation)).astype(int)
    lit, level = image[4, 4], image[12, 4]
    assert lit[:3].sum() > level[:3].sum()  # a slope to the north-west is brighter than level ground
    assert np.ptp(image[12, 14, :3]) == 0
    assert image[12, 14, 3] == 255
    assert image[18, 14, 3] == 0  # neither class nor elevation
    assert image[18, 4].tolist() == [*CLASS_COLOURS[2], 255]
