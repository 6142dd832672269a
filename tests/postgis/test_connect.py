"""Failures to reach the database name the exporter, the place and what to do, and never a password."""

from __future__ import annotations

import threading
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from exporters.base import ExportUnavailable
from exporters.postgis import ConnectionSettings, PostgisExporter
from exporters.postgis.connect import connected
from tests.fix_postgis import Database
from tests.postgis.fix_published import even, layer_of, migrated

SECRET = "hunter2hunter2"  # noqa: S105 - what must not be shown


def exporter(login: ConnectionSettings) -> PostgisExporter:
    return PostgisExporter("desk", "demo", "demo", login)


def without_passfile(dsn: str) -> str:
    said = {key: value for key, value in conninfo_to_dict(dsn).items() if key != "passfile"}
    return make_conninfo(**said)


def test_the_password_is_asked_for_at_each_connection(database: Database, tmp_path: Path) -> None:
    migrated(database, layer_of(tmp_path, stored=even(1)))
    login = f"login_{database.name}"
    database.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{SECRET}' IN ROLE colluvium_writer")
    asked = []

    def password() -> str:
        asked.append(1)
        return SECRET

    try:
        desk = exporter(
            ConnectionSettings(make_conninfo(without_passfile(database.writer_dsn), user=login), password)
        )
        assert desk.holdings() == {}
        assert desk.holdings() == {}
    finally:
        database.execute(f"DROP ROLE {login}")

    assert len(asked) == 2


def test_a_wrong_password_is_said_and_not_shown(database: Database) -> None:
    login = ConnectionSettings(without_passfile(database.writer_dsn), lambda: SECRET)

    with pytest.raises(
        ExportUnavailable, match=r"^desk: database test_\w+ at .*authentication failed"
    ) as caught:
        exporter(login).holdings()

    assert "correct dsn and password" in str(caught.value)
    assert SECRET not in str(caught.value)
    assert SECRET not in repr(login)


def test_a_dsn_that_cannot_be_read_is_not_repeated() -> None:
    with pytest.raises(ExportUnavailable, match=r"^desk: the dsn in \[\[exporters\]\] cannot be read$"):
        exporter(ConnectionSettings(f"host=db {SECRET}")).holdings()


def test_a_database_that_is_not_there_is_named(database: Database) -> None:
    login = ConnectionSettings(make_conninfo(database.writer_dsn, dbname="nowhere"))

    with pytest.raises(ExportUnavailable, match=r"desk: database nowhere at .*does not exist"):
        exporter(login).holdings()


def test_a_statement_that_takes_too_long_is_ended_by_the_server(database: Database) -> None:
    login = ConnectionSettings(database.writer_dsn, statement_timeout_s=1)

    with (
        pytest.raises(ExportUnavailable, match=r"statement timeout.*Raise statement_timeout_s \(1\)"),
        connected(login, "desk") as connection,
    ):
        connection.execute("SELECT pg_sleep(30)")


def test_a_pooled_connection_goes_on_to_others_as_it_was(database: Database) -> None:
    login = ConnectionSettings(database.writer_dsn, statement_timeout_s=1, lock_timeout_s=1)

    with connected(login, "desk") as connection:
        assert connection.execute("SHOW statement_timeout").fetchone() == ("1s",)
        connection.commit()
        assert connection.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert connection.execute("SHOW lock_timeout").fetchone() == ("0",)


def test_a_login_that_is_no_member_is_told_the_grant(database: Database, tmp_path: Path) -> None:
    migrated(database, layer_of(tmp_path, stored=even(1)))

    with pytest.raises(ExportUnavailable, match=r"permission denied .*GRANT colluvium_writer TO LOGIN;"):
        exporter(ConnectionSettings(database.reader_dsn)).holdings()


def test_a_second_publisher_waits_its_turn_and_not_for_ever(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(1))
    migrated(database, layer)
    desk = exporter(ConnectionSettings(database.writer_dsn, lock_timeout_s=1))
    with psycopg.connect(database.writer_dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(hashtextextended('colluvium demo', 0))")
        with pytest.raises(ExportUnavailable, match="kept a lock for 1 s"):
            desk.deliver(layer)

    desk.deliver(layer)
    assert set(desk.holdings()) == {layer.id}


def test_two_publishers_of_the_same_layer_publish_it_once(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(1))
    migrated(database, layer)
    desk = exporter(ConnectionSettings(database.writer_dsn))
    errors: list[BaseException] = []

    def deliver() -> None:
        try:
            desk.deliver(layer)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=deliver) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    assert database.execute("SELECT count(*) FROM demo.susceptibility") == [(1,)]
    assert database.execute("SELECT count(*) FROM demo.latest_susceptibility") == [(1,)]


def test_a_standby_is_told_apart(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path, stored=even(1))
    migrated(database, layer)
    read_only = make_conninfo(database.writer_dsn, options="-c default_transaction_read_only=on")

    with pytest.raises(ExportUnavailable, match=r"read-only transaction.*name the primary in dsn"):
        exporter(ConnectionSettings(read_only)).deliver(layer)
