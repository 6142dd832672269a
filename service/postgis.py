"""PostGIS as the settings name it: logins with their passwords, the region's grid, the exporter.

Nothing here connects until it is used, and a password is read at each connection: one that is missing keeps
this exporter waiting, and no other.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from exporters.base import ExportUnavailable
from exporters.layer import LayerStatus
from exporters.postgis import ConnectionSettings, GridOfRegion, PostgisExporter, migrate
from exporters.postgis.connect import connected, place
from exporters.postgis.migrate import SchemaBehind, migrations, open_schema
from service.errors import SettingsError, UsageError
from service.region import make_grid
from service.settings import Settings
from service.settings_base import Secret
from service.settings_outlets import PostgisExporter as PostgisSettings
from service.settings_outlets import PostgisLogin


class RegionalPostgis(PostgisExporter):
    """A PostGIS exporter that knows its region's grid, and brings its schema up to date where it may."""

    def __init__(self, section: PostgisSettings, settings: Settings) -> None:
        super().__init__(
            section.name,
            settings.region.id,
            schema_of(section, settings),
            writer_of(section),
            history_days=section.history_days,
            hotspot_days=section.hotspot_days,
            area_days=section.area_days,
        )
        self._section = section
        self._settings = settings

    def holdings(self) -> dict[str, LayerStatus]:
        """Return the status of each layer in the database; asked first of all, so it migrates if need be."""
        try:
            return super().holdings()
        except SchemaBehind:
            if self._section.owner is None:
                raise
        migrate_schema(self._section, self._settings, self._section.owner)
        return super().holdings()


@dataclass(frozen=True)
class Schema:
    """A region's schema as it was found."""

    migration: int
    layers: int
    latest: str | None


def open_postgis(section: PostgisSettings, settings: Settings) -> RegionalPostgis:
    """Return the exporter of a section of the settings. Nothing is connected to yet."""
    return RegionalPostgis(section, settings)


def look_at_schema(section: PostgisSettings, settings: Settings) -> Schema:
    """Connect as the writer and see whether a layer could be delivered.

    Raises ExportUnavailable where the server is away or closed to us, the schema is missing, older or newer
    than this program, or made for another grid; the message says what to run.
    """
    writer = writer_of(section)
    with connected(writer, section.name) as connection:
        where = place(writer, section.name)
        open_schema(connection, schema_of(section, settings), where, grid_of(settings))
        row = connection.execute("SELECT count(*), max(id) FILTER (WHERE latest) FROM layer").fetchone()
    layers, latest = row if row is not None else (0, None)
    return Schema(migrations()[-1].number, layers, latest)


def migrate_schema(section: PostgisSettings, settings: Settings, owner: PostgisLogin) -> list[int]:
    """Bring the schema up to date as `owner`; return the numbers applied. Raises ExportUnavailable."""
    connect = connection_of(section, owner)
    return migrate(connect, schema_of(section, settings), grid_of(settings), exporter=section.name)


def schema_of(section: PostgisSettings, settings: Settings) -> str:
    """Name the schema: the section's, or else the region's id."""
    return section.db_schema or settings.region.id


def writer_of(section: PostgisSettings) -> ConnectionSettings:
    """Return how to connect as the role that publishes."""
    return connection_of(section, section.writer)


def grid_of(settings: Settings) -> GridOfRegion:
    """Return the region's grid as PostGIS knows it. Raises RegionError, ExportUnavailable without a code."""
    grid = make_grid(settings)
    return GridOfRegion.of(
        crs=grid.crs.to_string(),
        cell_size_m=grid.cell_size_m,
        left=grid.left,
        top=grid.top,
        width=grid.width,
        height=grid.height,
    )


def database_of(section: PostgisSettings) -> str:
    """Name the database that the writer connects to. Raises UsageError where nothing names one."""
    try:
        named = conninfo_to_dict(section.writer.dsn).get("dbname")
    except ProgrammingError as error:
        raise SettingsError(f"the dsn of exporter {section.name} cannot be read") from error
    database = named or os.environ.get("PGDATABASE")
    if not database:
        raise UsageError(
            f"nothing names the database of exporter {section.name}: put dbname=... into its dsn, "
            "or set PGDATABASE"
        )
    return str(database)


def connection_of(section: PostgisSettings, login: PostgisLogin) -> ConnectionSettings:
    """Return how to connect to the section's database with a login."""
    return ConnectionSettings(
        dsn=login.dsn,
        password=_reader_of(login.password, section.name) if login.password else None,
        connect_timeout_s=section.connect_timeout_s,
        statement_timeout_s=section.statement_timeout_s,
    )


def _reader_of(secret: Secret, exporter: str) -> Callable[[], str]:
    def read() -> str:
        try:
            return secret.read()
        except SettingsError as error:
            raise ExportUnavailable(f"{exporter}: {error}") from error

    return read
