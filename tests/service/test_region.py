"""The region's grid, forcing grid, mask and zones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.crs import CRS

from service.errors import RegionError
from service.region import ForcingGrid, Grid, make_grid, open_region, read_zones, strips
from service.settings import Settings, ZoneSettings, parse_settings

TEXT = """
[region]
id = "valley"
name = "Valley"
data_dir = "data"
[grid]
crs = "{crs}"
cell_size_m = {size}
{source}
forcing_cell = 4
[bundle]
path = "bundle"
"""
UTM = CRS.from_epsg(32632)


def settings(
    base: Path, source: str, *, crs: str = "EPSG:32632", size: float = 30, more: str = ""
) -> Settings:
    text = TEXT.format(crs=crs, size=size, source=source) + more
    return parse_settings(text, base=base, origin="region.toml")


def write_dem(path: Path, values: np.ndarray, *, crs: str = "EPSG:32632") -> None:
    transform = Affine(30, 0, 500_000, 0, -30, 5_000_000)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype="float32", crs=crs, transform=transform, nodata=-9999,
    ) as out:  # fmt: skip
        out.write(values.astype(np.float32), 1)


def write_boxes(path: Path, boxes: list[tuple[str | None, tuple[float, float, float, float]]]) -> None:
    features = [
        {
            "type": "Feature",
            "properties": {"id": name, "name": name},
            "geometry": json.loads(shapely.to_geojson(shapely.box(*box))),
        }
        for name, box in boxes
    ]
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    path.write_text(json.dumps({"type": "FeatureCollection", "crs": crs, "features": features}))


@pytest.mark.parametrize(
    ("crs", "source", "size", "words"),
    [
        ("EPSG:4326", "extent = [11, 44, 12, 45]", 0.0003, "not projected"),
        ("EPSG:32632", "extent = [11, 44, 12, 45]", 0.0003, "degrees"),
        ("EPSG:2263", "extent = [900000, 100000, 1000000, 200000]", 30, "not in metres"),
        ("EPSG:99999", "extent = [0, 0, 300, 300]", 30, "not a CRS"),
        ("EPSG:32632", "extent = [500300, 0, 500000, 300]", 30, "left, bottom, right, top"),
        ("EPSG:32632", 'dem = "gone.tif"', 30, "gone.tif"),
    ],
)
def test_a_grid_that_is_not_in_metres_is_refused(
    tmp_path: Path, crs: str, source: str, size: float, words: str
) -> None:
    with pytest.raises(RegionError, match=words):
        make_grid(settings(tmp_path, source, crs=crs, size=size))


def test_the_mask_is_where_the_dem_has_values(tmp_path: Path) -> None:
    values = np.full((10, 14), -9999.0)
    values[2:5, 9:13] = 700
    write_dem(tmp_path / "dem.tif", values)

    region = open_region(settings(tmp_path, 'dem = "dem.tif"'))

    with rasterio.open(region.mask_path) as mask:
        assert (mask.read(1) == (values > 0)).all()
    assert region.forcing.active.tolist() == [[0, 2], [0, 3], [1, 2], [1, 3]]


def test_an_empty_mask_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    write_dem(tmp_path / "dem.tif", np.full((4, 4), -9999.0))
    with pytest.raises(RegionError, match="no cell"):
        open_region(settings(tmp_path, 'dem = "dem.tif"'))

    write_boxes(tmp_path / "mask.geojson", [("far", (0, 0, 100, 100))])
    far = settings(
        tmp_path, "extent = [500000, 4999700, 500300, 5000000]", more='[mask]\npath = "mask.geojson"\n'
    )
    with pytest.raises(RegionError, match=r"mask\.geojson overlap"):
        open_region(far)
    assert not list((tmp_path / "data").rglob("*.tif"))


def test_zones_are_burnt_with_their_codes(tmp_path: Path) -> None:
    write_boxes(
        tmp_path / "zones.geojson",
        [
            ("west", (500_000, 4_999_700, 500_150, 5_000_000)),
            ("east", (500_150, 4_999_700, 500_300, 5_000_000)),
        ],
    )
    region = open_region(
        settings(
            tmp_path, "extent = [500000, 4999700, 500300, 5000000]", more='[zones]\npath = "zones.geojson"\n'
        )
    )

    with rasterio.open(region.zones_path) as raster:
        codes = raster.read(1)
    assert (codes[:, :5] == 1).all()
    assert (codes[:, 5:] == 2).all()
    assert [zone.id for zone in region.zones] == ["west", "east"]


@pytest.mark.parametrize(
    ("boxes", "field", "words"),
    [
        ([("a", (0, 0, 9, 9)), ("a", (9, 0, 18, 9))], "id", "twice: a"),
        ([(None, (0, 0, 9, 9))], "id", "has no 'id'"),
        ([("a", (0, 0, 9, 9))], "code", "no field 'code'"),
    ],
)
def test_zones_without_good_ids_are_refused(
    tmp_path: Path,
    boxes: list[tuple[str | None, tuple[float, float, float, float]]],
    field: str,
    words: str,
) -> None:
    path = tmp_path / "zones.geojson"
    write_boxes(path, boxes)
    grid = Grid(UTM, 500_000, 5_000_000, 30, 10, 10)

    with pytest.raises(RegionError, match=words):
        read_zones(ZoneSettings(path=path, id_field=field), grid)


def test_a_second_opening_reuses_the_rasters(tmp_path: Path) -> None:
    source = "extent = [500000, 4999700, 500300, 5000000]"
    first = open_region(settings(tmp_path, source))
    written = first.mask_path.stat().st_mtime_ns

    second = open_region(settings(tmp_path, source))

    assert second.mask_path.stat().st_mtime_ns == written
    assert second.forcing.digest == first.forcing.digest


@given(height=st.integers(1, 40), width=st.integers(1, 40), k=st.integers(2, 9), data=st.data())
def test_corners_of_neighbouring_forcing_cells_are_the_same_nodes(
    height: int, width: int, k: int, data: st.DataObject
) -> None:
    grid = Grid(UTM, 500_000, 5_000_000, 30, height, width)
    rows, columns = -(-height // k), -(-width // k)
    cells = [(row, column) for row in range(rows) for column in range(columns)]
    chosen = sorted(data.draw(st.sets(st.sampled_from(cells), min_size=1)))
    forcing = ForcingGrid(grid, k, np.array(chosen, np.int32))

    lattice = forcing.nodes[forcing.corners]
    expected = forcing.active[:, None, :] + np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    assert (lattice == expected).all()
    assert len(np.unique(forcing.nodes, axis=0)) == len(forcing.nodes)


@given(k=st.integers(2, 40))
def test_corner_weights_sum_to_one_and_reproduce_a_plane(k: int) -> None:
    forcing = ForcingGrid(Grid(UTM, 0, 0, 30, k, k), k, np.zeros((1, 2), np.int32))
    weights = forcing.corner_weights
    assert weights.sum(axis=1) == pytest.approx(1, abs=1e-6)

    # A plane over the nodes is met exactly at every cell centre.
    x, y = forcing.node_xy[:, 0], forcing.node_xy[:, 1]
    plane = 2 * x - 3 * y
    centres = forcing.cell_centres(0)
    expected = 2 * centres[:, 0] - 3 * centres[:, 1]
    assert weights @ plane[forcing.corners[0]] == pytest.approx(expected, rel=1e-4, abs=1e-2)


@given(height=st.integers(1, 2000), rows=st.integers(1, 600))
def test_strips_cover_every_row_once(height: int, rows: int) -> None:
    windows = strips(Grid(UTM, 0, 0, 30, height, 7), rows)
    covered = [row for window in windows for row in range(window.row_off, window.row_off + window.height)]
    assert covered == list(range(height))


def test_the_digest_follows_what_identifies_a_grid() -> None:
    grid = Grid(UTM, 500_000, 5_000_000, 30, 10, 12)
    assert replace(grid).digest == grid.digest
    for change in ({"left": 500_030.0}, {"cell_size_m": 10.0}, {"width": 13}):
        assert replace(grid, **change).digest != grid.digest  # type: ignore[arg-type]
