"""Nobody who reads while layers are published sees a mixture of two, or none."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from exporters.layer import Layer
from tests.fix_postgis import Database
from tests.postgis.fix_published import DAY, even, layer_of, migrated, rows, writer

PUBLISHES = 100
SHAPE = (20, 300)  # two tiles and an overview

# Everything that is shown of the newest map, in one statement: layer and value by table.
SHOWN = b"""
    SELECT array_agg(DISTINCT layer_id ORDER BY layer_id), count(*), min(value), max(value),
           (SELECT array_agg(id) FROM latest_layer),
           (SELECT array_agg(DISTINCT layer_id) FROM latest_zone_class_area),
           (SELECT array_agg(DISTINCT layer_id) FROM latest_hotspot),
           (SELECT array_agg(ST_Value(rast, 1, 1, 1)) FROM o_2_latest_susceptibility)
    FROM (SELECT layer_id, ST_Value(rast, 1, 1, 1) AS value FROM latest_susceptibility) AS tile
"""


def publish_days(database: Database, tmp_path: Path) -> tuple[list[Layer], dict[str, float]]:
    """Layers of many days that share a few sets of files; and the value that each shows everywhere."""
    made = [layer_of(tmp_path / str(n), stored=even(40 + 30 * n, SHAPE)) for n in range(4)]
    layers, values = [], {}
    for number in range(PUBLISHES):
        template = made[number % len(made)]
        day = DAY + timedelta(days=number)
        layers.append(
            template.model_copy(
                update={"id": f"demo-{day}-l0-r1", "day": day, "digest": f"{day}", "data_until": day}
            )
        )
        values[layers[-1].id] = 40.0 + 30 * (number % len(made))
    migrated(database, made[0])
    return layers, values


def read_until(
    ended: threading.Event, dsn: str, look: Callable[[psycopg.Connection[Any]], list[Any]]
) -> list[Any]:
    seen: list[Any] = []
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(b"SET search_path = demo, public")
        while not ended.is_set():
            seen += look(connection)
    return seen


def one_statement(connection: psycopg.Connection[Any]) -> list[Any]:
    return connection.execute(SHOWN).fetchall()


def repeatable_read(connection: psycopg.Connection[Any]) -> list[Any]:
    with connection.transaction():
        connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        looks = [connection.execute(SHOWN).fetchone() for _ in range(3)]
    assert looks[0] == looks[1] == looks[2]
    return looks[:1]


@pytest.mark.slow
def test_a_hundred_publishes_show_readers_whole_layers_only(database: Database, tmp_path: Path) -> None:
    layers, values = publish_days(database, tmp_path)
    exporter = writer(database, history_days=3)
    exporter.deliver(layers[0])
    ended = threading.Event()

    with ThreadPoolExecutor(2) as pool:
        readers = [
            pool.submit(read_until, ended, database.reader_dsn, look)
            for look in (one_statement, repeatable_read)
        ]
        try:
            for layer in layers[1:]:
                exporter.deliver(layer)
        finally:
            ended.set()
        seen = [reader.result() for reader in readers]

    for looks in seen:
        for shown, count, least, most, view, areas, hotspots, half in looks:
            assert len(shown) == 1
            assert count == 2
            assert least == most == values[shown[0]]
            assert view == areas == hotspots == shown
            assert half == [least]
        # What was read came from many different moments of the publishing.
        assert len({tuple(look[0]) for look in looks}) > 10
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == [(layers[-1].id,)]
    assert rows(database.reader_dsn, "SELECT count(DISTINCT day) FROM susceptibility") == [(3,)]
