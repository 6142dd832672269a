"""PostGIS, GDAL and QGIS read the layer's own numbers, cell for cell, from database and service."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest

from exporters.layer import Layer
from tests.clients.agreement import TABLE, compare
from tests.clients.fix_toy_desk import published_days
from tests.fix_postgis import Database
from tests.fix_qgis import LiveSite, Qgis
from tests.fix_region import ToyRegion

READERS = ["ST_Value", "GDAL PostGISRaster", "GDAL COG", "QGIS PostGIS", "QGIS COG"]

pytestmark = pytest.mark.usefixtures("gdal")


@pytest.fixture
def published(toy: ToyRegion, database: Database) -> Layer:
    """A layer of the toy region, on disk and in the database."""
    return published_days(toy, database, date(2026, 3, 5))[0]


def test_all_readers_agree_with_the_layer_on_every_cell(
    published: Layer,
    database: Database,
    serve: Callable[[], LiveSite],
    qgis: Qgis,
    tmp_path: Path,
) -> None:
    found = compare(published, database.reader_dsn, "toy", qgis, tmp_path, serve().address)

    assert [one.reader for one in found] == READERS
    assert {one.cells for one in found} == {published.shape[0] * published.shape[1]}
    assert [one.reader for one in found if one.differing] == []


def test_one_wrong_cell_in_the_database_is_found_by_every_reader_of_it(
    published: Layer, database: Database, qgis: Qgis, tmp_path: Path
) -> None:
    database.execute(
        f"UPDATE toy.{TABLE} SET rast = ST_SetValue(rast, 1, 10, 20,"  # noqa: S608
        " (coalesce(ST_Value(rast, 1, 10, 20), 0)::int + 1) % 250)"
    )

    found = compare(published, database.reader_dsn, "toy", qgis, tmp_path, "")

    assert {one.reader: one.differing for one in found} == {
        reader: 0 if "COG" in reader else 1 for reader in READERS
    }
