"""Layers of several tiles on disk, and exporters to a test's own database."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psycopg
import rasterio

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.geopackage import AREAS, write_areas
from exporters.layer import NODATA, Layer
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter, migrate
from tests.exporters.fix_layer import LEFT, SIZE, TOP, ZONE, make_layer, write_rasters
from tests.fix_postgis import Database

SCHEMA = "demo"
DAY = date(2026, 3, 1)
# Two tiles by three, the last ones padded; overviews 2 and 4.
SHAPE = (300, 600)
# The same, small enough for tests that publish often.
SMALL = (20, 30)


def layer_of(
    data: Path,
    day: date = DAY,
    *,
    revision: int = 1,
    lead: int = 0,
    stored: npt.NDArray[np.uint8] | None = None,
    **changes: Any,
) -> Layer:
    """Write a layer's files below `data` and return it; by default a scene that differs from day to day."""
    cells = scene(SHAPE, day.toordinal() + revision) if stored is None else stored
    folder = data / "layers" / f"{day}-l{lead}" / f"{revision:016d}"
    height, width = cells.shape
    said: dict[str, Any] = {
        "id": f"demo-{day}-l{lead}-r{revision}",
        "lead": lead,
        "revision": revision,
        "digest": f"{day}-{lead}-{revision}",
        "shape": cells.shape,
        "bounds": (LEFT, TOP - height * SIZE, LEFT + width * SIZE, TOP),
        **changes,
    }
    layer = make_layer(folder, day, **said)
    write_rasters(folder, cells)
    write_areas(folder / AREAS, layer, [ZONE])
    return layer


def scene(shape: tuple[int, int], seed: int) -> npt.NDArray[np.uint8]:
    """Return stored susceptibility with a region of unknown cells and one tile of nothing else."""
    random = np.random.default_rng(seed)
    stored = random.integers(0, 251, shape).astype(np.uint8)
    stored[random.random(shape) < 0.1] = NODATA
    stored[: shape[0] // 3, : shape[1] // 4] = NODATA
    stored[:256, 256:512] = NODATA
    return stored


def even(value: int, shape: tuple[int, int] = SMALL) -> npt.NDArray[np.uint8]:
    """Return stored susceptibility that is the same everywhere."""
    return np.full(shape, value, np.uint8)


def writer(database: Database, **changes: Any) -> PostgisExporter:
    """Return an exporter that may publish and not migrate."""
    return PostgisExporter("desk", "demo", SCHEMA, ConnectionSettings(database.writer_dsn), **changes)


def migrated(database: Database, layer: Layer) -> None:
    """Make the tables for a layer's grid."""
    migrate(ConnectionSettings(database.owner_dsn), SCHEMA, GridOfRegion.of_layer(layer))


def rows(dsn: str, statement: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Run one statement in the region's schema as whoever the DSN names."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}, public".encode())
        cursor = connection.execute(statement.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []


def cells_of(
    dsn: str, table: str, band: int, shape: tuple[int, int], where: str = "true"
) -> npt.NDArray[np.int64]:
    """Put a raster table back together by each tile's own georeference; -1 where it has no value."""
    found = np.full((2000, 2000), -1, np.int64)
    tiles = rows(
        dsn,
        "SELECT ST_UpperLeftX(rast), ST_UpperLeftY(rast), ST_ScaleX(rast),"  # noqa: S608
        f" (ST_DumpValues(rast, {band}, true)) FROM {table} WHERE {where}",
    )
    for x, y, size, values in tiles:
        cells = np.array([[-1 if value is None else value for value in row] for row in values], np.int64)
        row, column = round((TOP - y) / size), round((x - LEFT) / size)
        found[row : row + cells.shape[0], column : column + cells.shape[1]] = cells
    assert (found[shape[0] :] == -1).all()
    assert (found[:, shape[1] :] == -1).all()
    return found[: shape[0], : shape[1]]


def folder_cells(layer: Layer) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Read a layer's susceptibility and class from its files."""
    with (
        rasterio.open(layer.folder / SUSCEPTIBILITY) as susceptibility,
        rasterio.open(layer.folder / CLASSES) as classes,
    ):
        return susceptibility.read(1), classes.read(1)
