"""`colluvium postgis prepare`: from an empty database to one that takes layers, as often as one likes."""

from __future__ import annotations

from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from service.errors import SettingsError, UsageError
from service.postgis import look_at_schema, migrate_schema
from service.postgis_prepare import prepare_database
from service.settings import Settings, load_settings
from service.settings_base import Secret
from service.settings_outlets import PostgisExporter, PostgisLogin
from tests.fix_postgis import Database
from tests.fix_region import ToyRegion

SCHEMA = "prepared"
FIRST, SECOND = "first ' password", "second"


def _login(database: Database, user: str, secret: Path) -> PostgisLogin:
    place = conninfo_to_dict(database.dsn)
    dsn = make_conninfo(host=place["host"], port=place["port"], dbname=database.name, user=user)
    return PostgisLogin(dsn=dsn, password=Secret(file=secret))


@pytest.fixture
def section(database: Database, tmp_path: Path) -> PostgisExporter:
    """An exporter whose logins, of this test alone, are not there yet."""
    (tmp_path / "writer").write_text(f"{FIRST}\n")
    (tmp_path / "owner").write_text("another")
    return PostgisExporter(
        kind="postgis",
        name="gis",
        schema=SCHEMA,
        writer=_login(database, f"{database.name}_w", tmp_path / "writer"),
        owner=_login(database, f"{database.name}_o", tmp_path / "owner"),
    )


@pytest.fixture
def settings(toy: ToyRegion) -> Settings:
    return load_settings(toy.folder / "region.toml")


@pytest.fixture(autouse=True)
def _no_logins_left(database: Database) -> object:
    yield
    for user in (f"{database.name}_w", f"{database.name}_o"):
        with psycopg.connect(database.dsn, autocommit=True) as connection:
            connection.execute(f'DROP OWNED BY "{user}"'.encode()) if _is_role(database, user) else None
            connection.execute(f'DROP ROLE IF EXISTS "{user}"'.encode())


def _is_role(database: Database, user: str) -> bool:
    return bool(database.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", user))


def test_prepared_database_takes_layers_and_repeating_it_changes_nothing(
    section: PostgisExporter, settings: Settings, database: Database
) -> None:
    superuser = PostgisLogin(dsn=database.dsn)
    for _ in range(2):
        assert prepare_database(section, settings, superuser) == [f"{database.name}_w", f"{database.name}_o"]
    assert section.owner is not None
    migrate_schema(section, settings, section.owner)
    assert look_at_schema(section, settings).layers == 0
    prepare_database(section, settings, superuser)
    assert look_at_schema(section, settings).layers == 0


def test_new_password_is_taken_over_and_the_old_one_is_worth_nothing(
    section: PostgisExporter, settings: Settings, database: Database, tmp_path: Path
) -> None:
    superuser = PostgisLogin(dsn=database.dsn)
    prepare_database(section, settings, superuser)
    (tmp_path / "writer").write_text(SECOND)
    prepare_database(section, settings, superuser)
    with psycopg.connect(section.writer.dsn, password=SECOND) as connection:
        assert connection.info.user == f"{database.name}_w"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(section.writer.dsn, password=FIRST)


def test_writer_can_drop_nothing(section: PostgisExporter, settings: Settings, database: Database) -> None:
    prepare_database(section, settings, PostgisLogin(dsn=database.dsn))
    assert section.owner is not None
    migrate_schema(section, settings, section.owner)
    with (
        psycopg.connect(section.writer.dsn, password=FIRST) as connection,
        pytest.raises(psycopg.errors.InsufficientPrivilege),
    ):
        connection.execute(f"DROP TABLE {SCHEMA}.layer".encode())


def test_logins_that_are_one_or_lack_a_password_are_refused(
    section: PostgisExporter, settings: Settings, database: Database
) -> None:
    superuser = PostgisLogin(dsn=database.dsn)
    same = section.model_copy(update={"owner": section.writer})
    with pytest.raises(SettingsError, match="users of their own"):
        prepare_database(same, settings, superuser)
    nameless = section.model_copy(update={"writer": section.writer.model_copy(update={"password": None})})
    with pytest.raises(UsageError, match="writer needs user"):
        prepare_database(nameless, settings, superuser)
