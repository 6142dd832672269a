"""What PostGIS says of a cell is what the layer's files say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.layer import CLASS_NODATA, NODATA
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter, migrate
from tests.fix_postgis import Database
from tests.fix_region import ToyRegion
from tests.postgis.fix_published import SHAPE, cells_of, folder_cells, layer_of, migrated, rows, scene, writer


def test_st_value_gives_every_cell_of_a_refreshed_layer(toy: ToyRegion, database: Database) -> None:
    (done,) = toy.refresh(None)
    layer = done.layer
    assert layer is not None
    owner = ConnectionSettings(database.owner_dsn)
    migrate(owner, "toy", GridOfRegion.of_layer(layer))
    PostgisExporter("desk", "toy", "toy", ConnectionSettings(database.writer_dsn)).deliver(layer)

    stored, classes = folder_cells(layer)
    for table in ("latest_susceptibility", "susceptibility"):
        for band, expected, unknown in ((1, stored, NODATA), (2, classes, CLASS_NODATA)):
            found = database.execute(
                f"SELECT public.ST_Value(rast, {band}, x, y) FROM toy.{table},"  # noqa: S608
                f" generate_series(1, {layer.shape[1]}) AS x, generate_series(1, {layer.shape[0]}) AS y"
                " ORDER BY y, x"
            )
            values = [unknown if value is None else value for (value,) in found]
            assert np.array_equal(np.array(values).reshape(layer.shape), expected)
    assert (stored != NODATA).any()


@pytest.mark.parametrize("table", ["latest_susceptibility", "susceptibility"])
def test_a_layer_of_several_tiles_comes_back_cell_for_cell(
    database: Database, tmp_path: Path, table: str
) -> None:
    layer = layer_of(tmp_path)
    migrated(database, layer)
    writer(database).deliver(layer)

    stored, classes = (array.astype(np.int64) for array in folder_cells(layer))
    susceptibility = cells_of(database.reader_dsn, table, 1, SHAPE)
    assert np.array_equal(susceptibility, np.where(stored == NODATA, -1, stored))
    found = cells_of(database.reader_dsn, table, 2, SHAPE)
    assert np.array_equal(found, np.where(classes == CLASS_NODATA, -1, classes))


def test_st_value_at_a_point_reads_the_cell_beneath_it(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path)
    migrated(database, layer)
    writer(database).deliver(layer)

    stored, _ = folder_cells(layer)
    left, _, _, top = layer.bounds
    random = np.random.default_rng(4)
    for row, column in zip(random.integers(0, SHAPE[0], 20), random.integers(0, SHAPE[1], 20), strict=True):
        x, y = left + (column + 0.3) * layer.cell_size_m, top - (row + 0.6) * layer.cell_size_m
        found = rows(
            database.reader_dsn,
            "SELECT ST_Value(rast, 1, point) FROM latest_susceptibility,"
            " ST_SetSRID(ST_MakePoint(%s, %s), 32632) AS point"
            " WHERE ST_Intersects(ST_ConvexHull(rast), point)",
            float(x),
            float(y),
        )
        value = found[0][0] if found else None
        assert value == (None if stored[row, column] == NODATA else stored[row, column])


def test_overviews_are_those_of_the_geotiffs(database: Database, tmp_path: Path) -> None:
    shape = (600, 1024)
    layer = layer_of(tmp_path, stored=scene(shape, 3))
    migrated(database, layer)
    writer(database).deliver(layer)

    for name, band, unknown in ((SUSCEPTIBILITY, 1, NODATA), (CLASSES, 2, CLASS_NODATA)):
        with rasterio.open(layer.folder / name, overview_level=0) as overview:
            expected = overview.read(1).astype(np.int64)
        found = cells_of(database.reader_dsn, "o_2_latest_susceptibility", band, (300, 512))
        assert np.array_equal(found, np.where(expected == unknown, -1, expected))


def test_gis_programs_find_columns_and_overviews_registered(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path)
    migrated(database, layer)

    columns = rows(
        database.reader_dsn,
        "SELECT r_table_name::text, srid, scale_x, scale_y, blocksize_x, blocksize_y, same_alignment,"
        " num_bands, pixel_types, nodata_values, out_db, ST_XMin(extent), ST_YMax(extent)"
        " FROM raster_columns WHERE r_table_schema = 'demo' ORDER BY 1",
    )
    left, _, _, top = layer.bounds
    assert columns == [
        (table, 32632, size, -size, 256, 256, True, 2, ["8BUI", "8BUI"], [255.0, 0.0], [False, False],
         left, top)
        for table, size in (
            ("latest_susceptibility", 30.0),
            ("o_2_latest_susceptibility", 60.0),
            ("o_4_latest_susceptibility", 120.0),
            ("susceptibility", 30.0),
        )
    ]  # fmt: skip
    overviews = rows(
        database.reader_dsn,
        "SELECT o_table_name::text, r_table_name::text, overview_factor FROM raster_overviews ORDER BY 3",
    )
    assert overviews == [(f"o_{n}_latest_susceptibility", "latest_susceptibility", n) for n in (2, 4)]


def test_a_tile_of_unknown_cells_alone_is_there_and_says_so(database: Database, tmp_path: Path) -> None:
    # QGIS fills a tile that is missing with 0: the lowest susceptibility.
    layer = layer_of(tmp_path)
    migrated(database, layer)
    writer(database).deliver(layer)

    found = rows(
        database.reader_dsn, "SELECT rid, ST_Count(rast, 1) > 0 FROM latest_susceptibility ORDER BY 1"
    )

    assert found == [(1, True), (2, False), (3, True), (4, True), (5, True), (6, True)]
