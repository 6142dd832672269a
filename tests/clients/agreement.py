"""Does every reader see the layer's own numbers, cell for cell?

    .venv/bin/python -m tests.clients.agreement -c region.toml --dsn "host=db dbname=gis user=..."

The layer's susceptibility.tif and class.tif, read by rasterio, are compared with

    ST_Value            of PostGIS, for every cell
    GDAL PostGISRaster  gdal_translate from the PostGIS table
    GDAL COG            gdal_translate from the files, or with --address through /vsicurl/
    QGIS PostGIS        QGIS's provider `postgresraster`
    QGIS COG            QGIS's provider `gdal`

Exit status 0 where all agree, 1 where a cell differs. The layer must be the newest that was delivered:
table latest_susceptibility is what is read.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import psycopg
import rasterio
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporters.cog import CLASSES, SUSCEPTIBILITY
from exporters.layer import CLASS_NODATA, NODATA, Layer
from exporters.qgis.sources import DatabasePlace, raster_table
from service.ledger import Ledger
from service.settings import load_settings
from service.stamps import utc_now
from service.workshop import ledger_path
from tests.fix_qgis import Qgis, find_gdal, find_qgis, run_gdal

TABLE = "latest_susceptibility"
Cells = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Bands:
    """What a reader found on the layer's grid: stored susceptibility and class, (rows, columns) uint8."""

    susceptibility: Cells
    classes: Cells


@dataclass(frozen=True)
class Agreement:
    """How one reader compares with the layer."""

    reader: str
    cells: int
    differing: int  # in either band

    def __str__(self) -> str:
        return f"{self.reader:20} {self.cells:>12,} cells x 2 bands   {self.differing:>8,} differ"


def compare(layer: Layer, dsn: str, schema: str, qgis: Qgis, work: Path, address: str) -> list[Agreement]:
    """Read the layer in every way and compare. `address` is a service's, or empty for the files on disk."""
    own = layer_bands(layer)
    place = DatabasePlace.of(dsn, schema)
    if place is None:
        raise ValueError("the DSN names no database")
    root = f"/vsicurl/{address}/layers/{layer.id}" if address else str(layer.folder)
    readers: Mapping[str, Callable[[], Bands]] = {
        "ST_Value": lambda: st_value(layer, dsn, schema),
        "GDAL PostGISRaster": lambda: gdal_postgis(layer, dsn, schema, work),
        "GDAL COG": lambda: gdal_cog(layer, root, work),
        "QGIS PostGIS": lambda: qgis_postgis(layer, dsn, place, qgis, work),
        "QGIS COG": lambda: qgis_cog(layer, root, qgis, work),
    }
    return [_agreement(name, own, read()) for name, read in readers.items()]


def layer_bands(layer: Layer) -> Bands:
    """Return the layer's cells from its own files."""
    bands = []
    for name in (SUSCEPTIBILITY, CLASSES):
        with rasterio.open(layer.folder / name) as raster:
            bands.append(raster.read(1))
    return Bands(*bands)


def st_value(layer: Layer, dsn: str, schema: str) -> Bands:
    """Ask PostGIS for every cell by ST_Value, which knows no-data as null."""
    query = sql.SQL(
        "SELECT round((ST_UpperLeftX(rast) - %(left)s) / %(size)s)::int,"
        " round((%(top)s - ST_UpperLeftY(rast)) / %(size)s)::int, ST_Width(rast), ST_Height(rast),"
        " array(SELECT ST_Value(rast, band, x, y) FROM generate_series(1, 2) band,"
        " generate_series(1, ST_Height(rast)) y, generate_series(1, ST_Width(rast)) x"
        " ORDER BY band, y, x) FROM {}"
    ).format(sql.Identifier(schema, TABLE))
    left, _, _, top = layer.bounds
    found = _unknown(layer)
    with psycopg.connect(dsn) as connection, connection.cursor(name="tiles") as cursor:
        cursor.itersize = 1
        cursor.execute(query, {"left": left, "top": top, "size": layer.cell_size_m})
        for column, row, width, height, values in cursor:
            said = np.array([np.nan if value is None else value for value in values]).reshape(
                2, height, width
            )
            for band, unknown, into in (
                (0, NODATA, found.susceptibility),
                (1, CLASS_NODATA, found.classes),
            ):
                tile = np.where(np.isnan(said[band]), unknown, said[band]).astype(np.uint8)
                _place(tile, into, row, column, unknown)
    return found


def gdal_postgis(layer: Layer, dsn: str, schema: str, work: Path) -> Bands:
    """Copy the table with GDAL's PostGISRaster driver."""
    out = work / "postgisraster.tif"
    place = DatabasePlace.of(dsn, schema)
    assert place is not None
    connection = make_conninfo("", **place.connection)
    # The driver wants dbname, and parses the string itself before libpq sees it.
    source = f"PG:{connection} schema='{schema}' table='{TABLE}' mode='2'"
    run_gdal("gdal_translate", "-q", "-of", "GTiff", source, str(out), dsn=dsn)
    with rasterio.open(out) as raster:
        return Bands(_on_grid(layer, raster, 1, NODATA), _on_grid(layer, raster, 2, CLASS_NODATA))


def gdal_cog(layer: Layer, root: str, work: Path) -> Bands:
    """Copy the COGs with GDAL's own program."""
    bands = []
    for name in (SUSCEPTIBILITY, CLASSES):
        out = work / f"copy-{name}"
        run_gdal("gdal_translate", "-q", "-of", "GTiff", f"{root}/{name}", str(out))
        with rasterio.open(out) as raster:
            bands.append(_on_grid(layer, raster, 1, NODATA if name == SUSCEPTIBILITY else CLASS_NODATA))
    return Bands(*bands)


def qgis_postgis(layer: Layer, dsn: str, place: DatabasePlace, qgis: Qgis, work: Path) -> Bands:
    """Read blocks through QGIS's provider for PostGIS rasters."""
    source = raster_table(place, TABLE)
    return Bands(
        _block(qgis, layer, work, dsn, source=source, provider="postgresraster", band=1),
        _block(qgis, layer, work, dsn, source=source, provider="postgresraster", band=2),
    )


def qgis_cog(layer: Layer, root: str, qgis: Qgis, work: Path) -> Bands:
    """Read blocks through QGIS's provider for files."""
    return Bands(
        _block(qgis, layer, work, "", source=f"{root}/{SUSCEPTIBILITY}", provider="gdal", band=1),
        _block(qgis, layer, work, "", source=f"{root}/{CLASSES}", provider="gdal", band=1),
    )


def _block(qgis: Qgis, layer: Layer, work: Path, dsn: str, *, source: str, provider: str, band: int) -> Cells:
    height, width = layer.shape
    out = work / "block.bin"
    qgis.run(
        "block", dsn=dsn, source=source, provider=provider, band=band, out=str(out),
        extent=layer.bounds, width=width, height=height,
    )  # fmt: skip
    return np.frombuffer(out.read_bytes(), np.uint8).reshape(height, width)


def _unknown(layer: Layer) -> Bands:
    return Bands(np.full(layer.shape, NODATA, np.uint8), np.full(layer.shape, CLASS_NODATA, np.uint8))


def _on_grid(layer: Layer, raster: rasterio.DatasetReader, band: int, unknown: int) -> Cells:
    left, _, _, top = layer.bounds
    column = round((raster.transform.c - left) / layer.cell_size_m)
    row = round((top - raster.transform.f) / layer.cell_size_m)
    found = np.full(layer.shape, unknown, np.uint8)
    _place(raster.read(band), found, row, column, unknown)
    return found


def _place(tile: Cells, into: Cells, row: int, column: int, unknown: int) -> None:
    """Put a tile on the grid. Raises ValueError where cells beyond the grid hold anything but unknown."""
    height, width = into.shape
    inside = tile[: height - row, : width - column]
    beyond = tile.size - inside.size
    if int((tile == unknown).sum()) - int((inside == unknown).sum()) != beyond:
        raise ValueError(f"cells beyond the grid are not unknown (tile at row {row}, column {column})")
    into[row : row + inside.shape[0], column : column + inside.shape[1]] = inside


def _agreement(reader: str, own: Bands, found: Bands) -> Agreement:
    differing = (own.susceptibility != found.susceptibility) | (own.classes != found.classes)
    return Agreement(reader, differing.size, int(differing.sum()))


def main() -> int:
    """Run by hand on any region."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-c", "--config", type=Path, required=True)
    parser.add_argument(
        "--dsn", required=True, help="a reader's; the password comes from ~/.pgpass or PGPASSWORD"
    )
    parser.add_argument("--schema", help="default: the region's id")
    parser.add_argument("--layer", help="default: the newest")
    parser.add_argument(
        "--address", default="", help="of a running service, to read the COGs through /vsicurl/"
    )
    told = parser.parse_args()
    settings = load_settings(told.config)
    with Ledger(ledger_path(settings), utc_now, make=False) as ledger:
        layer = ledger.layer(told.layer) if told.layer else ledger.latest()
    if layer is None:
        parser.error("there is no such layer")
    find_gdal()
    with tempfile.TemporaryDirectory() as folder:
        qgis = find_qgis(Path(folder) / "qgis")
        found = compare(
            layer, told.dsn, told.schema or settings.region.id, qgis, Path(folder), told.address.rstrip("/")
        )
    print(layer.id)
    print(*found, sep="\n")
    return int(any(one.differing for one in found))


if __name__ == "__main__":
    sys.exit(main())
