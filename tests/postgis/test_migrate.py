from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from exporters.base import ExportUnavailable
from exporters.postgis import ConnectionSettings, GridOfRegion, migrate
from exporters.postgis.migrate import SQL_FOLDER
from tests.fix_postgis import Database
from tests.postgis.fix_published import layer_of, migrated, rows, writer

GRID = GridOfRegion.of(crs="EPSG:32632", cell_size_m=30, left=500_000, top=4_900_000, width=600, height=300)
NUMBERS = [int(path.name[:3]) for path in sorted(SQL_FOLDER.glob("*.sql"))]


def owner(database: Database) -> ConnectionSettings:
    return ConnectionSettings(database.owner_dsn)


@pytest.fixture
def first_only(tmp_path: Path) -> Path:
    """The SQL files of the first release."""
    folder = tmp_path / "sql"
    folder.mkdir()
    shutil.copy(SQL_FOLDER / "001_layers.sql", folder)
    return folder


def tables(database: Database) -> set[str]:
    return {
        name for (name,) in rows(database.dsn, "SELECT tablename FROM pg_tables WHERE schemaname = 'demo'")
    }


def test_an_empty_schema_is_brought_up_to_date_once(database: Database) -> None:
    assert migrate(owner(database), "demo", GRID) == NUMBERS
    assert migrate(owner(database), "demo", GRID) == []

    ledger = rows(database.dsn, "SELECT number, name, applied_by FROM schema_migration ORDER BY number")
    assert [number for number, _, _ in ledger] == NUMBERS
    assert {login for _, _, login in ledger} == {"colluvium_test_owner"}
    assert {"layer", "susceptibility", "o_4_latest_susceptibility", "event_report"} <= tables(database)


def test_the_schema_before_is_brought_up_to_date_with_what_it_holds(
    database: Database, tmp_path: Path, first_only: Path
) -> None:
    layer = layer_of(tmp_path)
    migrate(owner(database), "demo", GRID, folder=first_only)
    rows(
        database.dsn,
        "INSERT INTO zone (version, zone, name) VALUES ('1', 'kept', 'Kept')",
    )
    assert "event_report" not in tables(database)
    with pytest.raises(
        ExportUnavailable, match=r"at migration 1, this program needs .*colluvium postgis migrate"
    ):
        writer(database).deliver(layer)

    assert migrate(owner(database), "demo", GRID) == NUMBERS[1:]

    writer(database).deliver(layer)
    assert set(writer(database).holdings()) == {layer.id}
    assert rows(database.dsn, "SELECT name FROM zone WHERE zone = 'kept'") == [("Kept",)]


def test_a_schema_newer_than_the_program_is_left_alone(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "sql"
    shutil.copytree(SQL_FOLDER, folder)
    (folder / "900_later.sql").write_text("CREATE TABLE later (id integer);")
    migrate(owner(database), "demo", GRID, folder=folder)

    for attempt in (
        lambda: migrate(owner(database), "demo", GRID),
        lambda: writer(database).deliver(layer_of(tmp_path)),
    ):
        with pytest.raises(ExportUnavailable, match=r"at migration 900, newer than .*upgrade colluvium"):
            attempt()


def test_an_applied_file_that_was_changed_is_noticed(
    database: Database, tmp_path: Path, first_only: Path
) -> None:
    file = first_only / "001_layers.sql"
    file.write_text(file.read_text() + "-- edited\n")
    migrate(owner(database), "demo", GRID, folder=first_only)

    with pytest.raises(ExportUnavailable, match=r"001_layers of schema demo was applied from another file"):
        migrate(owner(database), "demo", GRID)


def test_a_file_that_fails_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "sql"
    shutil.copytree(SQL_FOLDER, folder)
    (folder / "900_broken.sql").write_text("SELECT no_such_function();")

    with pytest.raises(ExportUnavailable, match="no_such_function"):
        migrate(owner(database), "demo", GRID, folder=folder)

    assert tables(database) == set()


@pytest.mark.parametrize(
    "other",
    [
        replace(GRID, srid=32633, crs_name="EPSG:32633"),
        replace(GRID, cell_size_m=25.0),
        replace(GRID, width=601),
    ],
    ids=["srid", "cell size", "width"],
)
def test_another_grid_is_refused_with_the_statement_to_run(database: Database, other: GridOfRegion) -> None:
    migrate(owner(database), "demo", GRID)

    with pytest.raises(ExportUnavailable) as caught:
        migrate(owner(database), "demo", other)

    assert f"made for {GRID}, the region now has {other}" in str(caught.value)
    assert 'DROP SCHEMA "demo" CASCADE;' in str(caught.value)


def test_a_layer_on_another_grid_is_not_published(database: Database, tmp_path: Path) -> None:
    migrate(owner(database), "demo", replace(GRID, srid=32633))

    with pytest.raises(ExportUnavailable, match=r"SRID 32633, the region now has .*SRID 32632"):
        writer(database).deliver(layer_of(tmp_path))


def test_the_same_crs_by_another_name_is_the_same_grid(database: Database) -> None:
    migrate(owner(database), "demo", GRID)

    assert migrate(owner(database), "demo", replace(GRID, crs_name="WGS 84 / UTM zone 32N")) == []


def test_a_crs_without_a_number_is_refused() -> None:
    with pytest.raises(ExportUnavailable, match=r"has no EPSG code.*give \[grid\] crs as EPSG:CODE"):
        GridOfRegion.of(
            crs="+proj=tmerc +lat_0=1 +lon_0=2 +datum=WGS84", cell_size_m=30, left=0, top=0, width=1, height=1
        )


def test_a_number_that_postgis_does_not_know_names_the_row_to_insert(database: Database) -> None:
    database.execute("DELETE FROM public.spatial_ref_sys WHERE srid = 32632")

    with pytest.raises(ExportUnavailable, match="INSERT INTO spatial_ref_sys") as caught:
        migrate(owner(database), "demo", GRID)

    statement = str(caught.value).split("As a superuser run ")[1]
    database.execute(statement)
    assert migrate(owner(database), "demo", GRID) == NUMBERS


def test_without_tables_the_command_is_named(database: Database, tmp_path: Path) -> None:
    for attempt in (lambda: writer(database).deliver(layer_of(tmp_path)), writer(database).holdings):
        with pytest.raises(ExportUnavailable, match=r"schema demo has no tables yet\. Run colluvium postgis"):
            attempt()


@pytest.mark.parametrize("extension", ["postgis_raster", "postgis"])
def test_a_missing_extension_is_named_with_its_statement(
    database: Database, tmp_path: Path, extension: str
) -> None:
    layer = layer_of(tmp_path)
    database.execute(f"DROP EXTENSION {extension} CASCADE")

    for attempt in (
        lambda: migrate(owner(database), "demo", GRID),
        lambda: writer(database).deliver(layer),
    ):
        with pytest.raises(ExportUnavailable, match=rf"run CREATE EXTENSION {extension};"):
            attempt()


def test_a_missing_schema_names_the_set_up(database: Database) -> None:
    with pytest.raises(ExportUnavailable, match=r"schema elsewhere is missing\. Run colluvium postgis setup"):
        migrate(owner(database), "elsewhere", GRID)

    database.set_up("elsewhere")
    assert migrate(owner(database), "elsewhere", GRID) == NUMBERS


def test_a_login_that_may_not_migrate_is_told_the_grant(database: Database) -> None:
    with pytest.raises(ExportUnavailable) as caught:
        migrate(ConnectionSettings(database.writer_dsn), "demo", GRID)

    assert 'GRANT colluvium_owner TO "colluvium_test_writer";' in str(caught.value)


def test_a_schema_of_somebody_else_is_left_alone(database: Database) -> None:
    database.execute("CREATE SCHEMA theirs")

    with pytest.raises(ExportUnavailable, match='ALTER SCHEMA "theirs" OWNER TO colluvium_owner;'):
        migrate(owner(database), "theirs", GRID)


def test_a_privilege_taken_away_is_named_and_given_back(database: Database, tmp_path: Path) -> None:
    layer = layer_of(tmp_path)
    migrated(database, layer)
    database.execute("REVOKE USAGE ON SCHEMA demo FROM colluvium_writer")
    with pytest.raises(
        ExportUnavailable, match=r"permission denied for schema demo\. .*colluvium postgis setup"
    ):
        writer(database).deliver(layer)

    database.set_up("demo")
    writer(database).deliver(layer)

    assert set(writer(database).holdings()) == {layer.id}


@pytest.mark.parametrize(
    ("name", "version", "message"),
    [
        ("postgis_raster", "3.2.9", r"postgis_raster 3\.2\.9 is too old; install PostGIS 3\.3"),
        ("postgis", "2.5.0", r"postgis 2\.5\.0 is too old"),
    ],
)
def test_an_old_postgis_is_refused(database: Database, name: str, version: str, message: str) -> None:
    database.execute("UPDATE pg_extension SET extversion = %s WHERE extname = %s", version, name)

    with pytest.raises(ExportUnavailable, match=message):
        migrate(owner(database), "demo", GRID)


def test_an_old_server_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psycopg.ConnectionInfo, "server_version", property(lambda _: 130_012))

    with pytest.raises(ExportUnavailable, match="PostgreSQL 13 is too old; upgrade the server to 14"):
        migrate(owner(database), "demo", GRID)


def test_two_regions_live_side_by_side(database: Database, tmp_path: Path) -> None:
    migrate(owner(database), "toy", replace(GRID, width=100))
    layer = layer_of(tmp_path)
    migrated(database, layer)

    writer(database).deliver(layer)

    assert database.execute("SELECT count(*) FROM toy.layer") == [(0,)]
    assert database.execute("SELECT count(*) FROM demo.layer") == [(1,)]
