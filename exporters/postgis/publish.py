"""A layer's tiles in the database: the newest map with its overviews, the history, and what leaves it.

Every function works in the caller's transaction, with the region's schema first in search_path. The newest
map is replaced by DELETE and INSERT: TRUNCATE would show open snapshots an empty table.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import numpy as np
import psycopg
from psycopg import sql

from exporters.layer import CLASS_NODATA, NODATA, Layer
from exporters.postgis.grid import GridOfRegion
from exporters.postgis.rasters import overview_table
from exporters.postgis.tiles import (
    TILE,
    Bytes,
    TileRow,
    cut,
    overview_factors,
    read_strips,
    tile_columns,
    tile_rows,
    unpack,
)

_Connection = psycopg.Connection[tuple[Any, ...]]

_AHEAD = 4  # rows of tiles that may wait for the server


def show_as_latest(connection: _Connection, layer: Layer, grid: GridOfRegion) -> None:
    """Make a layer the newest map, and copy its tiles into the history."""
    _make_stage(connection)
    _stage(connection, _ahead(cut(read_strips(layer.folder, grid), grid, (1, *overview_factors(grid)))))
    clear_latest(connection, grid)
    connection.execute(
        "INSERT INTO latest_susceptibility (rid, layer_id, rast)"
        " SELECT number, %s, ST_RastFromWKB(wkb) FROM staged_tile WHERE factor = 1",
        [layer.id],
    )
    _fill_overviews(connection, grid)
    connection.execute("UPDATE layer SET latest = true WHERE id = %s", [layer.id])
    # The server copies compressed tiles as they are, without packing them again.
    connection.execute(
        "INSERT INTO susceptibility (layer_id, day, valid_from, lead, tile, rast)"
        " SELECT %s, %s, %s, %s, rid, rast FROM latest_susceptibility",
        [layer.id, layer.day, layer.valid_from, layer.lead],
    )
    _mark_in_history(connection, layer)


def add_to_history(connection: _Connection, layer: Layer, grid: GridOfRegion) -> None:
    """Put a layer that is not the newest map into the history."""
    _make_stage(connection)
    _stage(connection, _ahead(cut(read_strips(layer.folder, grid), grid, (1,))))
    connection.execute(
        "INSERT INTO susceptibility (layer_id, day, valid_from, lead, tile, rast)"
        " SELECT %s, %s, %s, %s, number, ST_RastFromWKB(wkb) FROM staged_tile",
        [layer.id, layer.day, layer.valid_from, layer.lead],
    )
    _mark_in_history(connection, layer)


def show_from_history(connection: _Connection, layer_id: str, grid: GridOfRegion) -> None:
    """Make a layer of the history the newest map again; overviews are made from its tiles."""
    clear_latest(connection, grid)
    connection.execute(
        "INSERT INTO latest_susceptibility (rid, layer_id, rast)"
        " SELECT tile, layer_id, rast FROM susceptibility WHERE layer_id = %s",
        [layer_id],
    )
    _make_stage(connection)
    strips = _strips_of_history(connection, layer_id, grid)
    for row in cut(strips, grid, (1, *overview_factors(grid))):
        if row.factor > 1:
            _stage(connection, [row])
    _fill_overviews(connection, grid)
    connection.execute("UPDATE layer SET latest = true WHERE id = %s", [layer_id])


def clear_latest(connection: _Connection, grid: GridOfRegion) -> None:
    """Take the newest map away."""
    connection.execute("UPDATE layer SET latest = false WHERE latest")
    connection.execute("DELETE FROM latest_susceptibility")
    for factor in overview_factors(grid):
        connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(overview_table(factor))))


def forget_tiles(connection: _Connection, layer_ids: list[str]) -> None:
    """Take layers out of the history."""
    connection.execute("DELETE FROM susceptibility WHERE layer_id = ANY(%s)", [layer_ids])
    connection.execute("UPDATE layer SET in_history = false WHERE in_history AND id = ANY(%s)", [layer_ids])


def forget_old(connection: _Connection, *, tiles: date, hotspots: date, areas: date | None) -> None:
    """Remove what is of these days or older; class areas are kept for ever where `areas` is None."""
    connection.execute("DELETE FROM susceptibility WHERE day <= %s", [tiles])
    connection.execute("UPDATE layer SET in_history = false WHERE in_history AND day <= %s", [tiles])
    connection.execute("DELETE FROM hotspot WHERE day <= %s", [hotspots])
    if areas is not None:
        connection.execute("DELETE FROM zone_class_area WHERE day <= %s", [areas])


def _mark_in_history(connection: _Connection, layer: Layer) -> None:
    connection.execute("UPDATE layer SET in_history = true WHERE id = %s", [layer.id])


def _make_stage(connection: _Connection) -> None:
    """Make a table of this transaction, from which the server unpacks tiles.

    COPY into a raster column takes hexadecimal text only and is three times as slow.
    """
    connection.execute(
        "CREATE TEMPORARY TABLE staged_tile (factor integer, number integer, wkb bytea) ON COMMIT DROP"
    )
    connection.execute("ALTER TABLE staged_tile ALTER COLUMN wkb SET STORAGE EXTERNAL")  # packed once, later


def _stage(connection: _Connection, rows: Iterable[TileRow]) -> None:
    statement = "COPY staged_tile (factor, number, wkb) FROM STDIN (FORMAT BINARY)"
    with connection.cursor().copy(statement) as copy:
        copy.set_types(["int4", "int4", "bytea"])
        for row in rows:
            for tile in row.tiles:
                copy.write_row((row.factor, tile.number, tile.wkb))


def _fill_overviews(connection: _Connection, grid: GridOfRegion) -> None:
    for factor in overview_factors(grid):
        connection.execute(
            sql.SQL(
                "INSERT INTO {} (rid, rast) SELECT number, ST_RastFromWKB(wkb) FROM staged_tile"
                " WHERE factor = %s"
            ).format(sql.Identifier(overview_table(factor))),
            [factor],
        )


def _strips_of_history(connection: _Connection, layer_id: str, grid: GridOfRegion) -> Iterator[Bytes]:
    columns = tile_columns(grid)
    for row in range(tile_rows(grid)):
        strip = np.empty((2, TILE, columns * TILE), np.uint8)
        strip[0], strip[1] = NODATA, CLASS_NODATA
        first = row * columns + 1
        cursor = connection.cursor(binary=True).execute(
            "SELECT tile, ST_AsBinary(rast) FROM susceptibility"
            " WHERE layer_id = %s AND tile >= %s AND tile < %s",
            [layer_id, first, first + columns],
        )
        for tile, wkb in cursor:
            column = (tile - first) * TILE
            strip[:, :, column : column + TILE] = unpack(wkb)
        # The last rows are padding, which a strip of the grid does not have.
        yield strip[:, : grid.height - row * TILE, : grid.width]


def _ahead(rows: Iterator[TileRow]) -> Iterator[TileRow]:
    """Make rows in a thread of their own, while the caller is busy with the server."""
    with ThreadPoolExecutor(1, thread_name_prefix="tiles") as pool:
        coming = deque(pool.submit(next, rows, None) for _ in range(_AHEAD))
        while (row := coming.popleft().result()) is not None:
            coming.append(pool.submit(next, rows, None))
            yield row
