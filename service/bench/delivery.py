"""Delivering measured layers to PostGIS, through the exporter that serves every region."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from exporters.base import ExportError
from exporters.layer import Layer
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter, migrate, setup_statements
from service.bench.meter import Cost, Meter
from service.bench.refreshes import median_cost
from service.errors import UsageError

_SCHEMA = "bench"


@dataclass(frozen=True)
class Delivered:
    """What delivering one layer took, the median, and what lies in the database afterwards."""

    cost: Cost  # of this process; the server has its own
    first_s: float  # the delivery that found an empty map
    database_bytes: int  # of the region's schema, with that many days
    days: int
    server: str

    def to_json(self) -> dict[str, Any]:
        """Return it by field."""
        return asdict(self) | {"cost": self.cost.to_json()}


def measure_deliveries(dsn: str, layers: Sequence[Layer]) -> Delivered:
    """Deliver layers, oldest first, to a database that is made on a server and dropped again.

    `dsn` is a superuser's; the first layer fills an empty map and does not count, unless it is the only one.
    Raises UsageError where the server cannot be reached or refuses.
    """
    try:
        with _database(dsn) as inside:
            return _deliver(inside, layers)
    except (psycopg.Error, ExportError) as error:
        raise UsageError(
            f"--postgis: {' '.join(str(error).split())}; it takes a superuser's DSN, of a server with PostGIS"
        ) from error


def _deliver(dsn: str, layers: Sequence[Layer]) -> Delivered:
    login = ConnectionSettings(dsn)
    migrate(login, _SCHEMA, GridOfRegion.of_layer(layers[0]))
    exporter = PostgisExporter("bench", layers[0].region, _SCHEMA, login)
    meter, costs = Meter(), []
    for layer in layers:
        meter.lap()
        exporter.deliver(layer)
        costs.append(meter.lap())
    with psycopg.connect(dsn) as connection:
        taken = connection.execute(
            "SELECT coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint FROM pg_class c"
            " JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = %s AND c.relkind = 'r'",
            [_SCHEMA],
        ).fetchone()
        version = connection.info.parameter_status("server_version")
    return Delivered(
        median_cost(costs[1:] or costs),
        costs[0].seconds,
        int(taken[0]) if taken else 0,
        len(layers),
        f"PostgreSQL {version}",
    )


@contextlib.contextmanager
def _database(dsn: str) -> Iterator[str]:
    name = f"colluvium_bench_{secrets.token_hex(4)}"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            inside = make_conninfo(dsn, dbname=name)
            with psycopg.connect(inside, autocommit=True) as own:
                own.execute(setup_statements(_SCHEMA, name).encode())
            yield inside
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
