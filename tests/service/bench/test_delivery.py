"""Deliveries are measured against a real server, in a database that is gone afterwards."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from service.bench.delivery import measure_deliveries
from service.errors import UsageError
from tests.fix_postgis import Database
from tests.postgis.fix_published import DAY, layer_of


def databases(dsn: str) -> set[str]:
    """Those that a bench made."""
    with psycopg.connect(dsn) as connection:
        rows = connection.execute("SELECT datname FROM pg_database").fetchall()
    return {str(name) for (name,) in rows if str(name).startswith("colluvium_bench")}


def test_layers_are_delivered_and_the_database_is_dropped(database: Database, tmp_path: Path) -> None:
    layers = [layer_of(tmp_path, DAY + timedelta(days=number)) for number in range(2)]
    before = databases(database.dsn)
    found = measure_deliveries(database.dsn, layers)
    assert found.days == 2
    assert found.cost.seconds > 0
    assert found.database_bytes > 100_000
    assert found.server.startswith("PostgreSQL")
    assert databases(database.dsn) <= before


def test_a_server_that_is_away_is_named_as_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--postgis: .*superuser's DSN"):
        measure_deliveries("host=127.0.0.1 port=1 connect_timeout=1", [layer_of(tmp_path)])
