"""Whatever dies in the middle of a delivery, the old map stands and the next delivery succeeds."""

from __future__ import annotations

import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from exporters.base import ExportUnavailable
from exporters.layer import Layer
from exporters.postgis import ConnectionSettings, PostgisExporter
from tests.fix_postgis import Database, through
from tests.fix_proxy import Proxy
from tests.postgis.fix_published import DAY, layer_of, migrated, rows, writer

ROOT = Path(__file__).parents[2]
# More than all statements before COPY, less than the tiles of one layer.
IN_COPY = 300_000

DRIVER = """
import sys
from exporters.layer import Layer
from exporters.postgis import ConnectionSettings, PostgisExporter

layer = Layer.model_validate_json(sys.stdin.read())
PostgisExporter("desk", "demo", "demo", ConnectionSettings(sys.argv[1])).deliver(layer)
"""


@pytest.fixture
def layers(database: Database, tmp_path: Path) -> tuple[Layer, Layer]:
    """Two days; the first is delivered."""
    first, second = layer_of(tmp_path), layer_of(tmp_path, DAY + timedelta(days=1))
    migrated(database, first)
    writer(database).deliver(first)
    return first, second


def assert_only(database: Database, layer: Layer) -> None:
    assert rows(database.reader_dsn, "SELECT id FROM layer") == [(layer.id,)]
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == [(layer.id,)]
    for table in ("latest_susceptibility", "susceptibility", "zone_class_area", "hotspot"):
        found = rows(database.reader_dsn, f"SELECT DISTINCT layer_id FROM {table}")  # noqa: S608
        assert found == [(layer.id,)]


def assert_catches_up(database: Database, first: Layer, second: Layer) -> None:
    writer(database).deliver(second)
    assert rows(database.reader_dsn, "SELECT id FROM latest_layer") == [(second.id,)]
    assert set(writer(database).holdings()) == {first.id, second.id}


def test_a_publisher_killed_in_mid_copy(
    database: Database, proxy: Proxy, layers: tuple[Layer, Layer]
) -> None:
    first, second = layers
    proxy.go_deaf_after(IN_COPY)  # so that it hangs in COPY for as long as the test looks
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, through(proxy, database.writer_dsn)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdin is not None
        child.stdin.write(second.model_dump_json(exclude={"hotspots"}))
        child.stdin.close()
        assert proxy.reached.wait(60)
        busy = rows(
            database.dsn,
            "SELECT query FROM pg_stat_activity WHERE datname = %s AND query LIKE 'COPY staged_tile%%'",
            database.name,
        )
        assert_only(database, first)
        child.kill()
    proxy.serve()

    assert child.returncode == -signal.SIGKILL
    assert len(busy) == 1
    assert_only(database, first)
    assert_catches_up(database, first, second)


def test_a_connection_cut_in_mid_copy(database: Database, proxy: Proxy, layers: tuple[Layer, Layer]) -> None:
    first, second = layers
    exporter = writer_through(proxy, database)
    proxy.cut_after(IN_COPY)

    with pytest.raises(ExportUnavailable, match=rf"desk: database {database.name} at 127.0.0.1:{proxy.port}"):
        exporter.deliver(second)

    assert proxy.reached.wait(10)  # set a moment after the connection is gone
    assert_only(database, first)
    assert_catches_up(database, first, second)


def test_a_server_that_goes_deaf_in_mid_copy(
    database: Database, proxy: Proxy, layers: tuple[Layer, Layer]
) -> None:
    first, second = layers
    exporter = writer_through(proxy, database, statement_timeout_s=1)
    proxy.go_deaf_after(IN_COPY)

    with pytest.raises(ExportUnavailable, match=r"no answer for 3 s\. The server hangs"):
        exporter.deliver(second)

    proxy.cut()
    proxy.serve()
    assert_only(database, first)
    assert_catches_up(database, first, second)


def test_a_server_deaf_from_the_start(database: Database, proxy: Proxy, layers: tuple[Layer, Layer]) -> None:
    _, second = layers
    exporter = writer_through(proxy, database, connect_timeout_s=2)
    proxy.go_deaf()

    with pytest.raises(ExportUnavailable, match=r"cannot connect: .*timeout.*Either start the server"):
        exporter.deliver(second)


def test_a_server_that_is_down_and_comes_back(
    database: Database, proxy: Proxy, layers: tuple[Layer, Layer]
) -> None:
    first, second = layers
    exporter = writer_through(proxy, database)
    proxy.refuse()
    with pytest.raises(ExportUnavailable, match=r"cannot connect: .*refused"):
        exporter.deliver(second)
    with pytest.raises(ExportUnavailable, match=r"cannot connect: .*refused"):
        exporter.holdings()

    proxy.serve()
    exporter.deliver(second)

    assert set(exporter.holdings()) == {first.id, second.id}


def writer_through(proxy: Proxy, database: Database, **changes: int) -> PostgisExporter:
    login = ConnectionSettings(through(proxy, database.writer_dsn), **changes)
    return PostgisExporter("desk", "demo", "demo", login)
