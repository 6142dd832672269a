"""Cells per second of a layer into PostGIS, against tiles inserted one by one, in the same run.

    python tests/benchmarks/bench_postgis.py [--size 4096] [--repeats 3] [--dsn DSN] [--json]

A delivery is what the exporter does each day: read the layer's GeoTIFFs, replace the newest map and its
overviews, fill the history, add the rows, commit. The layer is smooth with noise, as susceptibility is. The
server is a private one with fsync and synchronous_commit on, started for the run, unless --dsn names a
superuser's DSN. `naive` puts the same tiles into the same kinds of table (with their constraints, but with
the server's default compression), row by row by INSERT of hexadecimal text, already read and cut; so it is
spared the reading.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

# The benchmark runs as a script from a checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import click
import numpy as np
import numpy.typing as npt
import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporters.layer import NODATA, Layer
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter, migrate, setup_statements
from exporters.postgis.tiles import cut, overview_factors, read_strips
from tests.fix_postgis import Cluster
from tests.postgis.fix_published import layer_of

SCHEMA = "demo"
DAY = date(2026, 3, 1)


@click.command()
@click.option("--size", default=4_096, show_default=True, help="Edge of the square layer, cells.")
@click.option("--repeats", default=3, show_default=True, help="Deliveries that are measured, after a first.")
@click.option("--dsn", help="A superuser's DSN; a database is made there and dropped again.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(size: int, repeats: int, dsn: str | None, as_json: bool) -> None:
    """Measure deliveries to PostGIS."""
    with tempfile.TemporaryDirectory(prefix="bench-postgis-") as name, _database(dsn) as database:
        found = measure(Path(name), database, size, repeats)
    if as_json:
        click.echo(json.dumps(found))
        return
    for key, value in found.items():
        shown = f"{value:,.3g}" if isinstance(value, float) and value < 100 else value
        shown = shown if isinstance(shown, str) else f"{shown:,.0f}"
        click.echo(f"{key:>24}  {shown}")


def measure(folder: Path, dsn: str, size: int, repeats: int) -> dict[str, Any]:
    """Deliver layers of size x size cells, and the tiles of the last one the naive way."""
    cells = size * size
    days = [DAY + timedelta(days=number) for number in range(repeats + 1)]
    layers = [layer_of(folder, day, stored=_scene(size, day.toordinal())) for day in days]
    grid = GridOfRegion.of_layer(layers[0])
    login = ConnectionSettings(dsn)
    migrate(login, SCHEMA, grid)
    exporter = PostgisExporter("bench", "demo", SCHEMA, login)
    exporter.deliver(layers[0])  # the first one finds an empty map
    seconds = []
    for layer in layers[1:]:
        begin = time.perf_counter()
        exporter.deliver(layer)
        seconds.append(time.perf_counter() - begin)
    naive = _naive(dsn, layers[-1], grid)
    with psycopg.connect(dsn) as connection:
        fsync = connection.execute("SHOW fsync").fetchone()
        commit = connection.execute("SHOW synchronous_commit").fetchone()
        version = connection.info.parameter_status("server_version")
        stored = connection.execute(
            f"SELECT pg_total_relation_size('{SCHEMA}.latest_susceptibility')::float8"
        ).fetchone()
    median = statistics.median(seconds)
    assert fsync
    assert commit
    assert stored
    return {
        "cells": cells,
        "delivery_s": median,
        "slowest_delivery_s": max(seconds),
        "cells_per_s": cells / median,
        "naive_s": naive,
        "naive_cells_per_s": cells / naive,
        "ratio_to_naive": naive / median,
        "map_bytes": stored[0],
        "fsync": fsync[0],
        "synchronous_commit": commit[0],
        "postgresql": version,
        "cores": os.cpu_count(),
    }


def _scene(size: int, seed: int) -> npt.NDArray[np.uint8]:
    """Return a smooth field with noise, uint8 (size, size), unknown along one edge."""
    random = np.random.default_rng(seed)
    spectrum = np.fft.rfft2(random.normal(size=(size, size)).astype(np.float32))
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None])
    field = np.fft.irfft2(spectrum / (1e-4 + frequency**2) ** 0.7, s=(size, size))
    field = (field - field.min()) / np.ptp(field) + random.normal(scale=0.01, size=field.shape)
    stored = np.rint(np.clip(field, 0, 1) * 250).astype(np.uint8)
    stored[:, : size // 16] = NODATA
    return stored


def _naive(dsn: str, layer: Layer, grid: GridOfRegion) -> float:
    """Insert the same tiles one by one and return the seconds; the second time, when tables are full."""
    tiles = [
        (row.factor, tile.number, tile.wkb.hex())
        for row in cut(read_strips(layer.folder, grid), grid, (1, *overview_factors(grid)))
        for tile in row.tiles
    ]
    factors = sorted({factor for factor, _, _ in tiles})
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SET search_path = {SCHEMA}, public".encode())
        sources = {
            1: "latest_susceptibility",
            **{n: f"o_{n}_latest_susceptibility" for n in factors if n > 1},
        }
        for factor, source in [*sources.items(), (0, "susceptibility")]:
            connection.execute(
                sql.SQL("CREATE TABLE {} (rid integer, rast raster)").format(
                    sql.Identifier(f"naive_{factor}")
                )
            )
            for name, definition in connection.execute(
                "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
                " WHERE conrelid = %s::regclass AND conname LIKE 'enforce%%'",
                [source],
            ).fetchall():
                connection.execute(
                    sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} {}").format(
                        sql.Identifier(f"naive_{factor}"), sql.Identifier(name), sql.SQL(definition)
                    )
                )
            connection.execute(
                sql.SQL("CREATE INDEX ON {} USING gist (ST_ConvexHull(rast))").format(
                    sql.Identifier(f"naive_{factor}")
                )
            )
        seconds = 0.0
        for _ in range(2):
            begin = time.perf_counter()
            with connection.transaction():
                for factor in factors:
                    connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(f"naive_{factor}")))
                for factor, number, text in tiles:
                    for table in (f"naive_{factor}", *(("naive_0",) if factor == 1 else ())):
                        connection.execute(
                            sql.SQL("INSERT INTO {} VALUES (%s, %s::raster)").format(sql.Identifier(table)),
                            [number, text],
                        )
            seconds = time.perf_counter() - begin
    return seconds


@contextlib.contextmanager
def _database(dsn: str | None) -> Iterator[str]:
    cluster = None
    if dsn is None:
        cluster = Cluster(Path(tempfile.mkdtemp(prefix="bench-pg-")))
    try:
        server = dsn or (cluster.start(fsync=True) if cluster else "")
        name = f"bench_{secrets.token_hex(4)}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
            inside = make_conninfo(server, dbname=name)
            with psycopg.connect(inside, autocommit=True) as own:
                own.execute(setup_statements(SCHEMA, name).encode())
            yield inside
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
    finally:
        if cluster:
            cluster.stop()


if __name__ == "__main__":
    main()
