"""From a region's outbox into a real database: outages, backups, migrations, gauges."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from exporters.postgis import ConnectionSettings, migrate
from exporters.postgis.migrate import SQL_FOLDER, migrations
from service.delivery import Visit, deliver_all
from service.errors import EXIT_CODES, Outcome
from service.postgis import grid_of
from service.settings_outlets import PostgisExporter
from tests.fix_postgis import Database, through
from tests.fix_proxy import Proxy
from tests.fix_region import ToyRegion

ROOT = Path(__file__).parents[2]
DAYS = [date(2026, 3, day) for day in range(6, 12)]


def publish_to(
    toy: ToyRegion, writer: str, owner: str | None = None, name: str = "gis", **more: object
) -> None:
    """Give the region an exporter of kind postgis."""
    lines = [
        f'\n[[exporters]]\nkind = "postgis"\nname = "{name}"',
        f"writer = {{ dsn = {json.dumps(writer)} }}",
    ]
    if owner is not None:
        lines.append(f"owner = {{ dsn = {json.dumps(owner)} }}")
    lines += [f"{key} = {json.dumps(value)}" for key, value in more.items()]
    toy.config.write_text(toy.config.read_text() + "\n".join(lines) + "\n")


def deliver(toy: ToyRegion, only: str = "gis") -> Visit:
    """Bring the exporter up to date."""
    (visit,) = deliver_all(toy.settings, toy.clock, "test", only=only)
    return visit


def withdraw(toy: ToyRegion, day: date) -> None:
    """Withdraw a day's layer."""
    with toy.ledger() as ledger:
        layer = ledger.current(day)
        assert layer is not None
        ledger.withdraw(layer, "A. Rossi", "gauge flooded", ["gis"])


def layers(database: Database, schema: str = "toy") -> list[tuple[Any, ...]]:
    """Id and status of each layer in the order in which they came."""
    return database.execute(f"SELECT id, status FROM {schema}.layer ORDER BY delivered_at, id")  # noqa: S608


def complete(*days: date) -> list[tuple[str, str]]:
    """Name first revisions of days."""
    return [(f"toy-{day}-l0-r1", "complete") for day in days]


def latest(database: Database) -> list[tuple[Any, ...]]:
    """The map on display, by the rows of its raster."""
    return database.execute("SELECT DISTINCT layer_id FROM toy.latest_susceptibility")


def colluvium(*arguments: str, status: int = 0) -> str:
    """Run the command as a user would; return all that it printed."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=180,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout + done.stderr


@contextmanager
def backup_of(database: Database) -> Iterator[str]:
    """Copy the database as it is; yield the copy's name."""
    name = f"{database.name}_backup"
    with psycopg.connect(database.dsn, dbname="postgres", autocommit=True) as server:
        copy, original = sql.Identifier(name), sql.Identifier(database.name)
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, original))
        try:
            yield name
        finally:
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(copy))


def restore(database: Database, backup: str) -> None:
    """Put the copy in the database's place."""
    with psycopg.connect(database.dsn, dbname="postgres", autocommit=True) as server:
        copy, original = sql.Identifier(backup), sql.Identifier(database.name)
        server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(original))
        server.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(copy, original))


def test_a_refresh_reaches_the_database_with_layer_areas_and_gauges(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAYS[-1])

    visit = deliver(toy)

    assert (visit.delivered, visit.problem) == (1, None)
    assert layers(database) == complete(DAYS[-1])
    assert latest(database) == [(f"toy-{DAYS[-1]}-l0-r1",)]
    newest = database.execute("SELECT series, day, quality FROM toy.series_latest ORDER BY series")
    assert newest == [("north", date(2026, 3, 10), "good"), ("south", date(2026, 3, 10), "good")]
    assert database.execute("SELECT count(*) FROM toy.reading") == [(2 * 39,)]


def test_a_feed_that_may_not_be_passed_on_is_nowhere_in_the_database(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAYS[-1])
    deliver(toy)
    toy.config.write_text(toy.config.read_text().replace('unit = "mm"', 'unit = "mm"\nredistribute = false'))

    assert deliver(toy).problem is None

    assert database.execute("SELECT count(*) FROM toy.series") == [(0,)]
    assert database.execute("SELECT count(*) FROM toy.reading") == [(0,)]


def test_a_database_that_was_down_for_days_gets_everything_in_order_and_once(
    toy: ToyRegion, database: Database, proxy: Proxy
) -> None:
    publish_to(toy, through(proxy, database.writer_dsn), database.owner_dsn)
    toy.refresh(DAYS[0])
    deliver(toy)
    proxy.refuse()
    for day in DAYS[1:4]:
        toy.refresh(day)
        visit = deliver(toy)
        assert visit.delivered == 0
        assert visit.problem is not None
        toy.clock.now += timedelta(days=1)
    withdraw(toy, DAYS[3])
    toy.clock.now += timedelta(hours=2)

    proxy.serve()
    assert deliver(toy).delivered == 4
    assert deliver(toy).delivered == 0

    assert layers(database) == [*complete(*DAYS[:3]), (f"toy-{DAYS[3]}-l0-r1", "withdrawn")]
    assert latest(database) == [(f"toy-{DAYS[2]}-l0-r1",)]


def test_a_deaf_database_costs_one_time_out_however_much_waits(
    toy: ToyRegion, database: Database, proxy: Proxy
) -> None:
    publish_to(toy, through(proxy, database.writer_dsn), database.owner_dsn, connect_timeout_s=2)
    toy.refresh(*DAYS[:3])
    proxy.go_deaf()

    started = time.monotonic()
    first = deliver(toy)
    spent = time.monotonic() - started
    second = deliver(toy)

    assert first.delivered == 0
    assert 1.5 < spent < 3.9  # two would take four seconds
    assert "waits until" in str(second.problem)  # and is not even asked


def test_a_database_restored_to_an_older_backup_is_brought_up_to_date_from_the_local_layers(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(*DAYS[:3])
    deliver(toy)
    with backup_of(database) as backup:
        withdraw(toy, DAYS[1])
        toy.set_rain({(DAYS[2] - timedelta(days=1), "north"): 55.0})
        toy.ingest()
        toy.refresh(DAYS[2], DAYS[3], DAYS[4])
        deliver(toy)
        before = sorted(layers(database))
        assert len(before) == 6
        shown = latest(database)
        gauges = database.execute("SELECT * FROM toy.reading ORDER BY feed, variable, series, day")

        restore(database, backup)
    assert len(layers(database)) == 3
    visit = deliver(toy)

    assert (visit.put_back, visit.problem) == (4, None)
    assert sorted(layers(database)) == before
    assert latest(database) == shown
    assert database.execute("SELECT * FROM toy.reading ORDER BY feed, variable, series, day") == gauges
    assert deliver(toy) == Visit("gis")


def test_a_new_database_gets_what_stands_from_the_local_layers(toy: ToyRegion, database: Database) -> None:
    toy.refresh(*DAYS[:3])
    with toy.ledger() as ledger:
        layer = ledger.current(DAYS[1])
        assert layer is not None
        ledger.withdraw(layer, "A. Rossi", "gauge flooded", [])
    publish_to(toy, database.writer_dsn, database.owner_dsn, name="other", schema="demo")

    assert deliver(toy, only="other").delivered == 2

    assert layers(database, "demo") == complete(DAYS[0], DAYS[2])


def test_without_an_owner_the_message_names_the_command_and_nothing_is_parked(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn)
    toy.refresh(DAYS[0])
    config = str(toy.config)

    assert "colluvium postgis migrate" in str(deliver(toy).problem)
    failed = EXIT_CODES[Outcome.FAILED]
    assert "colluvium postgis migrate" in colluvium("postgis", "status", "-c", config, status=failed)
    check = json.loads(colluvium("check", "-c", config, "--json", status=failed).splitlines()[-1])
    assert [row["name"] for row in check["checks"] if row["state"] == "fail"] == ["exporter gis"]
    applied = colluvium("postgis", "migrate", "-c", config, "--dsn", database.owner_dsn)
    assert f"applied {', '.join(str(item.number) for item in migrations())}" in applied
    assert "up to date" in colluvium("postgis", "migrate", "-c", config, "--dsn", database.owner_dsn)

    toy.clock.now += timedelta(hours=1)
    assert deliver(toy).delivered == 1
    (row,) = json.loads(colluvium("postgis", "status", "-c", config, "--json"))["exporters"]
    assert (row["ok"], row["layers"], row["latest"]) == (True, 1, f"toy-{DAYS[0]}-l0-r1")
    assert (row["migration"], row["pending"], row["parked"]) == (migrations()[-1].number, 0, 0)
    colluvium("check", "-c", config)


def test_with_an_owner_a_schema_of_the_release_before_is_migrated_on_the_way(
    toy: ToyRegion, database: Database, tmp_path: Path
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    released = sorted(SQL_FOLDER.glob("*.sql"))
    old = tmp_path / "old"
    old.mkdir()
    for path in released[:-1]:
        shutil.copyfile(path, old / path.name)
    migrate(ConnectionSettings(database.owner_dsn), "toy", grid_of(toy.settings), folder=old)
    toy.refresh(DAYS[0])

    visit = deliver(toy)

    assert (visit.delivered, visit.problem) == (1, None)
    assert database.execute("SELECT max(number) FROM toy.schema_migration") == [(len(released),)]


def test_a_schema_of_another_grid_is_refused_by_check_before_any_layer(
    toy: ToyRegion, database: Database
) -> None:
    publish_to(toy, database.writer_dsn, database.owner_dsn)
    toy.refresh(DAYS[0])
    deliver(toy)
    text = toy.config.read_text()
    toy.config.write_text(
        text.replace("[500000, 4998080, 502400, 5000000]", "[500000, 4998080, 502430, 5000000]")
    )

    said = colluvium("postgis", "status", "-c", str(toy.config), status=EXIT_CODES[Outcome.FAILED])

    assert "another schema" in said
    assert isinstance(toy.settings.exporters[0], PostgisExporter)


@pytest.mark.parametrize("place", ["env", "file"])
def test_a_password_is_read_where_the_settings_say_and_never_shown(
    toy: ToyRegion, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    with psycopg.connect(database.writer_dsn) as connection:
        user, host, port = connection.info.user, connection.info.host, connection.info.port
    wrong = "not-the-word"
    (tmp_path / "secret").write_text(f"{wrong}\n")
    monkeypatch.setenv("GIS_PASSWORD", wrong)
    said = 'env = "GIS_PASSWORD"' if place == "env" else f'file = "{tmp_path / "secret"}"'
    toy.config.write_text(
        toy.config.read_text()
        + '\n[[exporters]]\nkind = "postgis"\nname = "gis"\n'
        + f'writer = {{ dsn = "host={host} port={port} user={user} dbname={database.name}", '
        + f"password = {{ {said} }} }}\n"
    )
    toy.refresh(DAYS[0])

    problem = str(deliver(toy).problem)

    assert "password authentication failed" in problem
    assert wrong not in problem
