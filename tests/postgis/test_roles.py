"""What each role can and cannot do, tried against the server."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psycopg
import pytest

from exporters.layer import Layer
from exporters.postgis import setup_statements
from exporters.postgis.roles import ROLES
from tests.fix_postgis import Database
from tests.postgis.fix_published import even, layer_of, migrated, writer

Denied = psycopg.errors.InsufficientPrivilege
TABLES = (
    "grid", "layer", "latest_susceptibility", "o_2_latest_susceptibility", "susceptibility", "zone",
    "zone_class_area", "warning", "hotspot", "series", "reading", "event_report",
)  # fmt: skip
VIEWS = ("latest_layer", "latest_hotspot", "latest_zone_class_area", "latest_warning", "series_latest")
REPORT = "INSERT INTO event_report (kind, geom) VALUES ('nothing_seen', 'SRID=4326;POINT(9 44)')"


@pytest.fixture
def layer(database: Database, tmp_path: Path) -> Layer:
    """A layer that was published."""
    layer = layer_of(tmp_path, stored=even(120, (20, 300)))
    migrated(database, layer)
    writer(database).deliver(layer)
    return layer


def allowed(dsn: str, statements: Iterable[str]) -> list[str]:
    """The statements that were not refused for want of a privilege; nothing is kept of them."""
    found = []
    with psycopg.connect(dsn) as connection:
        connection.execute(b"SET search_path = demo, public")
        connection.commit()
        for statement in statements:
            try:
                connection.execute(statement.encode())
                found.append(statement)
            except psycopg.errors.InsufficientPrivilege:
                pass
            finally:
                connection.rollback()
    return found


def test_readers_and_field_workers_read_everything(database: Database, layer: Layer) -> None:
    statements = [f"SELECT * FROM {table}" for table in (*TABLES, *VIEWS) if table != "event_report"]  # noqa: S608

    for dsn in (database.reader_dsn, database.field_dsn, database.writer_dsn):
        assert allowed(dsn, statements) == statements


def test_a_reader_writes_nowhere(database: Database, layer: Layer) -> None:
    statements = ["CREATE TABLE demo.own (id integer)", "SELECT setval('event_report_id', 1)", REPORT]
    for table in TABLES:
        statements += [
            f"INSERT INTO {table} DEFAULT VALUES",
            f"DELETE FROM {table}",  # noqa: S608
            f"TRUNCATE {table} CASCADE",
            f"DROP TABLE {table} CASCADE",
            f"ALTER TABLE {table} ADD COLUMN extra integer",
        ]

    assert allowed(database.reader_dsn, statements) == []


def test_the_writer_drops_alters_and_truncates_nothing(database: Database, layer: Layer) -> None:
    statements = [
        "CREATE TABLE demo.own (id integer)",
        "DROP SCHEMA demo CASCADE",
        "SET ROLE colluvium_owner",
    ]
    statements += [f"DROP VIEW {view} CASCADE" for view in VIEWS]
    for table in (*TABLES, "schema_migration"):
        statements += [
            f"DROP TABLE {table} CASCADE",
            f"TRUNCATE {table} CASCADE",
            f"ALTER TABLE {table} ADD COLUMN extra integer",
            f"CREATE INDEX own ON {table} ((1))",
        ]

    assert allowed(database.writer_dsn, statements) == []


def test_the_writer_leaves_alone_what_it_need_not_touch(database: Database, layer: Layer) -> None:
    statements = [
        "DELETE FROM layer",
        "UPDATE layer SET day = day + 1",
        "UPDATE layer SET coverage = 1",
        "UPDATE grid SET srid = 4326",
        "UPDATE latest_susceptibility SET rid = rid",
        "DELETE FROM zone",
        "DELETE FROM schema_migration",
        "DELETE FROM event_report",
        REPORT,
    ]

    assert allowed(database.writer_dsn, statements) == []


def test_a_field_worker_adds_reports_and_does_nothing_else(database: Database, layer: Layer) -> None:
    statements = [
        "UPDATE event_report SET kind = 'landslide'",
        "SELECT setval('event_report_id', 1)",
        "CREATE TABLE demo.own (id integer)",
    ]
    for table in TABLES:
        statements += [
            f"DELETE FROM {table}",  # noqa: S608
            f"TRUNCATE {table} CASCADE",
            f"DROP TABLE {table} CASCADE",
        ]
        statements += [f"INSERT INTO {table} DEFAULT VALUES"] if table != "event_report" else []

    assert allowed(database.field_dsn, [*statements, REPORT]) == [REPORT]


def test_a_reader_does_not_learn_who_reported_what(database: Database, layer: Layer) -> None:
    statements = ["SELECT reporter FROM event_report", "SELECT count(*) FROM event_report"]

    assert allowed(database.reader_dsn, statements) == []
    assert allowed(database.field_dsn, statements) == statements


def test_nobody_else_sees_the_schema(database: Database, layer: Layer) -> None:
    login = f"stranger_{database.name}"
    database.execute(f"CREATE ROLE {login}")
    try:
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute(f"SET ROLE {login}".encode())
            with pytest.raises(Denied, match="permission denied for schema demo"):
                connection.execute(b"SELECT * FROM demo.layer")
    finally:
        database.execute(f"DROP ROLE {login}")
    public = database.execute(
        "SELECT relname FROM pg_class, aclexplode(relacl) AS acl"
        " WHERE relnamespace = 'demo'::regnamespace AND acl.grantee = 0"
    )
    assert public == []


def test_everything_belongs_to_the_group_and_not_to_a_login(database: Database, layer: Layer) -> None:
    owners = database.execute(
        "SELECT DISTINCT pg_get_userbyid(relowner) FROM pg_class WHERE relnamespace = 'demo'::regnamespace"
    )

    assert owners == [("colluvium_owner",)]


def test_the_groups_cannot_log_in(database: Database) -> None:
    found = database.execute(
        "SELECT rolname, rolcanlogin, rolsuper, rolcreaterole, rolcreatedb FROM pg_roles"
        " WHERE rolname = ANY(%s) ORDER BY 1",
        list(ROLES),
    )

    assert found == [(role, False, False, False, False) for role in sorted(ROLES)]


def test_set_up_may_be_repeated_and_quotes_names(database: Database, layer: Layer) -> None:
    database.set_up("demo")
    assert database.execute("SELECT count(*) FROM demo.layer") == [(1,)]

    text = setup_statements('odd "name"; DROP', 'a "b"')

    assert 'CREATE SCHEMA IF NOT EXISTS "odd ""name""; DROP"' in text
    assert 'ON DATABASE "a ""b"""' in text
