"""Numbered SQL files, applied in order in one transaction, and what was applied in table schema_migration.

    sql/NNN_name.sql     never changed once released; a change is a new file

A schema is for one region and one grid. What is missing or wrong is an ExportUnavailable that names the
command or statement to run: once it was run, everything that waits is delivered.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql
from rasterio.crs import CRS

from exporters.base import ExportUnavailable
from exporters.postgis.connect import MIGRATE, SETUP, ConnectionSettings, connected, place
from exporters.postgis.grid import GridOfRegion
from exporters.postgis.rasters import register
from exporters.postgis.roles import OWNER, WRITER

SQL_FOLDER = Path(__file__).parent / "sql"
_POSTGRESQL = 14
_POSTGIS = (3, 3)

_Connection = psycopg.Connection[tuple[Any, ...]]

_LEDGER = """\
CREATE TABLE schema_migration (
    number     integer PRIMARY KEY,
    name       text NOT NULL,
    sha256     text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL DEFAULT session_user
);
COMMENT ON TABLE schema_migration IS 'The SQL files that made this schema, in order.';
COMMENT ON COLUMN schema_migration.number IS 'Number of the file.';
COMMENT ON COLUMN schema_migration.name IS 'Name of the file.';
COMMENT ON COLUMN schema_migration.sha256 IS 'Digest of the file as it was applied.';
COMMENT ON COLUMN schema_migration.applied_at IS 'When it was applied.';
COMMENT ON COLUMN schema_migration.applied_by IS 'Login that applied it.';
"""


class SchemaBehind(ExportUnavailable):
    """The schema is older than this program, or not there yet; a migration brings it up to date."""


@dataclass(frozen=True)
class Migration:
    """One numbered SQL file."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """Digest of the file."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrations(folder: Path = SQL_FOLDER) -> list[Migration]:
    """Read the SQL files in order."""
    paths = sorted(folder.glob("[0-9][0-9][0-9]_*.sql"))
    return [Migration(int(path.name[:3]), path.stem, path.read_text("utf-8")) for path in paths]


def migrate(
    connect: ConnectionSettings,
    schema: str,
    grid: GridOfRegion,
    *,
    exporter: str = "postgis",
    folder: Path = SQL_FOLDER,
) -> list[int]:
    """Bring a schema up to date as a member of colluvium_owner; return the numbers that were applied.

    All of it is applied or none. Raises ExportUnavailable where the database is not set up, the schema is
    newer than this program, was made for another grid, or an applied file was changed since.
    """
    where = place(connect, exporter)
    known = migrations(folder)
    with connected(connect, exporter) as connection:
        extensions = _check_server(connection, where)
        _become_owner(connection, where)
        _check_schema_is_ours(connection, where, schema)
        use_schema(connection, schema, extensions)
        lock(connection, schema)
        applied = _applied(connection, schema)
        if applied is None:
            connection.execute(_LEDGER.encode())
            connection.execute(
                sql.SQL("GRANT SELECT ON schema_migration TO {}").format(sql.Identifier(WRITER))
            )
        _check_applied(where, schema, applied or {}, known)
        _check_srid(connection, where, grid)
        connection.execute("SELECT set_config('colluvium.srid', %s, true)", [str(grid.srid)])
        missing = [migration for migration in known if migration.number not in (applied or {})]
        for migration in missing:
            connection.execute(migration.text.encode())
            connection.execute(
                "INSERT INTO schema_migration (number, name, sha256) VALUES (%s, %s, %s)",
                [migration.number, migration.name, migration.sha256],
            )
        there = _grid_of(connection)
        if there is None:
            _write_grid(connection, grid)
            register(connection, schema, grid)
        else:
            _check_grid(where, schema, there, grid)
    return [migration.number for migration in missing]


def open_schema(connection: _Connection, schema: str, where: str, grid: GridOfRegion | None) -> None:
    """Prepare a transaction that publishes: check server, schema version and grid, and set search_path.

    Raises SchemaBehind or ExportUnavailable.
    """
    extensions = _check_server(connection, where)
    applied = _applied(connection, schema)
    known = migrations()
    if applied is None:
        raise SchemaBehind(f"{where}: schema {schema} has no tables yet. Run {MIGRATE}")
    _check_applied(where, schema, applied, known)
    if len(applied) < len(known):
        raise SchemaBehind(
            f"{where}: schema {schema} is at migration {max(applied, default=0)}, this program needs "
            f"{known[-1].number}. Run {MIGRATE}"
        )
    use_schema(connection, schema, extensions)
    there = _grid_of(connection)
    if grid is not None and there is not None:
        _check_grid(where, schema, there, grid)


def use_schema(connection: _Connection, schema: str, extensions: list[str]) -> None:
    """Look for tables in the region's schema and for PostGIS where it is installed, until the end."""
    path = sql.SQL(", ").join(map(sql.Identifier, [schema, *extensions])).as_string(connection)
    connection.execute("SELECT set_config('search_path', %s, true)", [path])


def lock(connection: _Connection, schema: str) -> None:
    """Let nobody else publish to, or migrate, this schema until the end of the transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('colluvium ' || %s, 0))", [schema])


def _check_server(connection: _Connection, where: str) -> list[str]:
    """Check versions; return the schemas that the extensions live in."""
    version = connection.info.server_version // 10_000
    if version < _POSTGRESQL:
        raise ExportUnavailable(
            f"{where}: PostgreSQL {version} is too old; upgrade the server to {_POSTGRESQL} or later"
        )
    rows = connection.execute(
        "SELECT extname, extversion, nspname FROM pg_extension"
        " JOIN pg_namespace ON pg_namespace.oid = extnamespace"
        " WHERE extname IN ('postgis', 'postgis_raster')"
    ).fetchall()
    found = {name: installed for name, installed, _ in rows}
    for name in ("postgis", "postgis_raster"):
        if name not in found:
            raise ExportUnavailable(
                f"{where}: the extension {name} is missing. "
                f"As a superuser run CREATE EXTENSION {name}; or everything at once: {SETUP}"
            )
        if _version(found[name]) < _POSTGIS:
            raise ExportUnavailable(
                f"{where}: {name} {found[name]} is too old; install PostGIS 3.3 or later, "
                "then as a superuser run SELECT postgis_extensions_upgrade();"
            )
    return sorted({namespace for _, _, namespace in rows})


def _version(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int("".join(char for char in minor if char.isdigit()) or 0)


def _become_owner(connection: _Connection, where: str) -> None:
    """Act as the group, so that what is made belongs to it and not to one login."""
    try:
        connection.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(OWNER)))
    except psycopg.errors.InsufficientPrivilege as error:
        login = connection.info.user
        raise ExportUnavailable(
            f"{where}: {login} may not migrate. As a superuser run "
            f"GRANT {OWNER} TO {sql.Identifier(login).as_string()};"
        ) from error
    except psycopg.errors.InvalidParameterValue as error:  # what PostgreSQL calls an unknown role here
        raise ExportUnavailable(f"{where}: the role {OWNER} is missing. Run {SETUP}") from error


def _check_schema_is_ours(connection: _Connection, where: str, schema: str) -> None:
    row = connection.execute(
        "SELECT pg_get_userbyid(nspowner) FROM pg_namespace WHERE nspname = %s", [schema]
    ).fetchone()
    if row is None:
        raise ExportUnavailable(f"{where}: schema {schema} is missing. Run {SETUP}")
    if row[0] != OWNER:
        raise ExportUnavailable(
            f"{where}: schema {schema} belongs to {row[0]}. Either name another schema in [[exporters]], "
            f"or as a superuser run ALTER SCHEMA {sql.Identifier(schema).as_string()} OWNER TO {OWNER};"
        )


def _applied(connection: _Connection, schema: str) -> dict[int, tuple[str, str]] | None:
    """Return name and digest of what was applied, by number; None where nothing ever was."""
    there = connection.execute(
        "SELECT 1 FROM pg_tables WHERE schemaname = %s AND tablename = 'schema_migration'", [schema]
    ).fetchone()
    if there is None:
        return None
    rows = connection.execute(
        sql.SQL("SELECT number, name, sha256 FROM {}").format(sql.Identifier(schema, "schema_migration"))
    )
    return {number: (name, digest) for number, name, digest in rows}


def _check_applied(
    where: str, schema: str, applied: dict[int, tuple[str, str]], known: list[Migration]
) -> None:
    newest = known[-1].number if known else 0
    if max(applied, default=0) > newest:
        raise ExportUnavailable(
            f"{where}: schema {schema} is at migration {max(applied)}, newer than this program, which knows "
            f"{newest}. Either upgrade colluvium or name another schema in [[exporters]]"
        )
    for migration in known:
        name, digest = applied.get(migration.number, (migration.name, migration.sha256))
        if digest != migration.sha256:
            raise ExportUnavailable(
                f"{where}: migration {name} of schema {schema} was applied from another file than this "
                "program has. Install the released colluvium again; never edit an applied migration"
            )


def _check_srid(connection: _Connection, where: str, grid: GridOfRegion) -> None:
    if connection.execute("SELECT 1 FROM spatial_ref_sys WHERE srid = %s", [grid.srid]).fetchone() is None:
        raise ExportUnavailable(
            f"{where}: PostGIS does not know SRID {grid.srid} ({grid.crs_name}). As a superuser run "
            f"{_srid_statement(grid.srid)}"
        )


def _srid_statement(srid: int) -> str:
    crs = CRS.from_epsg(srid)
    return (
        sql.SQL(
            "INSERT INTO spatial_ref_sys (srid, auth_name, auth_srid, proj4text, srtext)"
            " VALUES ({srid}, 'EPSG', {srid}, {proj4}, {wkt});"
        )
        .format(srid=sql.Literal(srid), proj4=sql.Literal(crs.to_proj4()), wkt=sql.Literal(crs.to_wkt()))
        .as_string()
    )


def _grid_of(connection: _Connection) -> GridOfRegion | None:
    row = connection.execute(
        "SELECT srid, cell_size_m, origin_x, origin_y, width, height, crs FROM grid"
    ).fetchone()
    return GridOfRegion(*row) if row else None


def _write_grid(connection: _Connection, grid: GridOfRegion) -> None:
    connection.execute(
        "INSERT INTO grid (srid, cell_size_m, origin_x, origin_y, width, height, crs)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s)",
        [grid.srid, grid.cell_size_m, grid.left, grid.top, grid.width, grid.height, grid.crs_name],
    )


def _check_grid(where: str, schema: str, there: GridOfRegion, wanted: GridOfRegion) -> None:
    if not there.is_same(wanted):
        raise ExportUnavailable(
            f"{where}: schema {schema} was made for {there}, the region now has {wanted}. Either name "
            f"another schema in [[exporters]], or, to lose what is there, as a superuser run "
            f"DROP SCHEMA {sql.Identifier(schema).as_string()} CASCADE; and then {SETUP}"
        )
