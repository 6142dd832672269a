"""What raster tables tell GIS programs: raster_columns by their constraints, raster_overviews."""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from exporters.postgis.grid import GridOfRegion
from exporters.postgis.roles import FIELD, READER, WRITER
from exporters.postgis.tiles import corner_tiles, overview_factors

LATEST = "latest_susceptibility"
HISTORY = "susceptibility"

_Connection = psycopg.Connection[tuple[Any, ...]]


def overview_table(factor: int) -> str:
    """Return the name of an overview of the newest map, as raster2pgsql names them."""
    return f"o_{factor}_{LATEST}"


def register(connection: _Connection, schema: str, grid: GridOfRegion) -> None:
    """Constrain the raster tables to the grid and make the newest map's overviews.

    Call once, as the owner, with the schema first in search_path and the tables empty.
    """
    for table in (LATEST, HISTORY):
        _constrain(connection, schema, grid, table, 1)
        _store(connection, table)
    for factor in overview_factors(grid):
        _make_overview(connection, schema, grid, factor)


def _constrain(connection: _Connection, schema: str, grid: GridOfRegion, table: str, factor: int) -> None:
    """Let PostGIS word the constraints from two tiles in a table of their own, and put them on `table`."""
    connection.execute("CREATE TABLE corner (rast raster)")
    connection.execute(
        "INSERT INTO corner SELECT ST_RastFromWKB(wkb) FROM unnest(%b::bytea[]) AS wkb",
        [corner_tiles(grid, factor)],
    )
    connection.execute(
        "SELECT AddRasterConstraints(%s::name, 'corner'::name, 'rast'::name, 'srid', 'scale_x', 'scale_y',"
        " 'blocksize_x', 'blocksize_y', 'same_alignment', 'num_bands', 'pixel_types', 'nodata_values',"
        " 'out_db', 'extent')",
        [schema],
    )
    found = connection.execute(
        "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE conrelid = 'corner'::regclass AND contype = 'c'"
    ).fetchall()
    connection.execute("DROP TABLE corner")
    for name, definition in found:
        connection.execute(
            sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                sql.Identifier(table),
                sql.Identifier(name),
                sql.SQL(definition),  # the server's own words
            )
        )


def _store(connection: _Connection, table: str) -> None:
    """Compress tiles with lz4, five times as fast as the default; where the server lacks it, not at all."""
    has_lz4 = connection.execute(
        "SELECT 'lz4' = ANY(enumvals) FROM pg_settings WHERE name = 'default_toast_compression'"
    ).fetchone()
    choice = sql.SQL("COMPRESSION lz4" if has_lz4 == (True,) else "STORAGE EXTERNAL")
    connection.execute(
        sql.SQL("ALTER TABLE {} ALTER COLUMN rast SET {}").format(sql.Identifier(table), choice)
    )
    # Each delivery replaces the whole map: dead tiles are worth collecting early.
    connection.execute(
        sql.SQL(
            "ALTER TABLE {} SET"
            " (autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_scale_factor = 0.05)"
        ).format(sql.Identifier(table))
    )


def _make_overview(connection: _Connection, schema: str, grid: GridOfRegion, factor: int) -> None:
    name = overview_table(factor)
    table = sql.Identifier(name)
    said = f"Overview of latest_susceptibility: a cell stands for {factor} x {factor} cells."
    connection.execute(
        sql.SQL("CREATE TABLE {} (rid integer PRIMARY KEY, rast raster NOT NULL)").format(table)
    )
    connection.execute(sql.SQL("CREATE INDEX ON {} USING gist (ST_ConvexHull(rast))").format(table))
    for statement in (
        sql.SQL("COMMENT ON TABLE {} IS {}").format(table, said),
        sql.SQL("COMMENT ON COLUMN {}.rid IS 'Number of the tile, row by row, from 1.'").format(table),
        sql.SQL(
            "COMMENT ON COLUMN {}.rast IS"
            " 'The tile: mean susceptibility of known cells, class of the upper left cell.'"
        ).format(table),
        sql.SQL("GRANT SELECT ON {} TO {}, {}, {}").format(
            table, sql.Identifier(WRITER), sql.Identifier(READER), sql.Identifier(FIELD)
        ),
        sql.SQL("GRANT INSERT, DELETE ON {} TO {}").format(table, sql.Identifier(WRITER)),
    ):
        connection.execute(statement)
    _constrain(connection, schema, grid, name, factor)
    _store(connection, name)
    connection.execute(
        "SELECT AddOverviewConstraints(%s::name, %s::name, 'rast'::name,"
        " %s::name, %s::name, 'rast'::name, %s)",
        [schema, name, schema, LATEST, factor],
    )
