from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from matplotlib.image import imread
from rasterio.crs import CRS
from rasterio.enums import Resampling
from rasterio.vrt import WarpedVRT

from service.errors import InputError
from tests.fix_factors import LEFT, SIZE, TOP, valley, write_raster
from trainer.sample_map import draw_sample_map
from trainer.samples import Kind, Sample

UTM32 = CRS.from_epsg(32632)
RED = (0xC4, 0x16, 0x1C)  # of landslides


def sample(kind: Kind, column: int, row: int) -> Sample:
    x, y = LEFT + column * SIZE, TOP - row * SIZE
    return Sample(x, y, f"{column}-{row}", date(2020, 1, 1), int(kind is Kind.EVENT), kind, None, 0.0, "a")


def picture(path: Path) -> np.ndarray:
    return (imread(path)[..., :3] * 255).round().astype(int)


def reds(pixels: np.ndarray) -> int:
    return int((np.abs(pixels - RED).max(axis=-1) < 6).sum())


SAMPLES = [sample(kind, 4 + 5 * n, 20) for n, kind in enumerate(Kind)]


def test_landslides_are_where_they_are_and_as_many_as_they_are(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", valley())
    counts = []
    for number, places in enumerate(([], [(10, 10)], [(10, 10), (50, 60)])):
        shown = [sample(Kind.SPATIAL, 30, 35), *(sample(Kind.EVENT, *place) for place in places)]
        path = tmp_path / f"{number}.png"
        draw_sample_map(path, shown, dem, UTM32, title="Samples", synthetic=False)
        counts.append(picture(path))
    none, one, two = (reds(pixels) for pixels in counts)
    assert none == 0
    assert two > one > 50  # the legend's and the map's
    where = np.argwhere(np.abs(counts[2] - RED).max(axis=-1) < 6)
    upper, lower = where[:, 0].min() / counts[2].shape[0], where[:, 0].max() / counts[2].shape[0]
    assert upper < 0.35
    assert lower > 0.6


def test_groups_stand_on_a_second_map_and_a_synthetic_region_says_so(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", valley())
    plain, said, grouped = tmp_path / "plain.png", tmp_path / "said.png", tmp_path / "grouped.png"
    draw_sample_map(plain, SAMPLES, dem, UTM32, title="Samples", synthetic=False)
    draw_sample_map(said, SAMPLES, dem, UTM32, title="Samples", synthetic=True)
    sides = ["train", "test"] * 4
    draw_sample_map(
        grouped, SAMPLES, dem, UTM32, title="Samples", synthetic=True, groups=sides[: len(SAMPLES)]
    )
    assert picture(grouped).shape[1] == 2 * picture(plain).shape[1]
    heads = [picture(path)[:110] for path in (plain, said)]
    assert (np.abs(heads[1] - (0xA0, 0x15, 0x15)).max(axis=-1) < 6).sum() > 50
    assert (np.abs(heads[0] - (0xA0, 0x15, 0x15)).max(axis=-1) < 6).sum() == 0


def test_the_same_samples_give_the_same_picture(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", valley())
    for name in ("a.png", "b.png"):
        draw_sample_map(tmp_path / name, SAMPLES, dem, UTM32, title="Samples", synthetic=False)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_dem_in_another_crs_lies_under_the_samples_all_the_same(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", valley())
    lonlat = tmp_path / "lonlat.tif"
    with (
        rasterio.open(dem) as source,
        WarpedVRT(source, crs="EPSG:4326", nodata=-9999, resampling=Resampling.bilinear) as warped,
    ):
        rasterio.shutil.copy(warped, lonlat, driver="GTiff")
    for path in (dem, lonlat):
        out = tmp_path / f"{path.stem}.png"
        draw_sample_map(out, SAMPLES, path, UTM32, title="Samples", synthetic=False)
        pixels = picture(out)
        row = pixels[int(0.35 * len(pixels))].mean(axis=-1)
        # The sun stands in the north-west: the flank that faces it, in the east, is the lighter one.
        shade, sun = (row[int(share * len(row))] for share in (0.35, 0.9))
        assert 120 < shade < sun - 15 < 240


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    dem = write_raster(tmp_path / "dem.tif", valley())
    path = tmp_path / "map.png"
    for given, crs, groups, reason in (
        ([], UTM32, None, "no sample to draw"),
        (SAMPLES, CRS.from_epsg(32640), None, "does not reach the samples; are these in EPSG:32640"),
        (SAMPLES, UTM32, ["train"], "7 samples, but 1 groups"),
    ):
        with pytest.raises(InputError, match=reason):
            draw_sample_map(path, given, dem, crs, title="Samples", synthetic=False, groups=groups)
    many = [sample(Kind.SPATIAL, n, n) for n in range(13)]
    with pytest.raises(InputError, match="13 groups cannot be told apart"):
        draw_sample_map(
            path, many, dem, UTM32, title="Samples", synthetic=False, groups=[f"fold {n}" for n in range(13)]
        )
    assert not path.exists()
