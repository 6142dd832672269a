"""Publishes finished layers to one schema of a PostGIS database, each in one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from typing import Any, NamedTuple

import psycopg
import pyogrio.errors
import rasterio.errors

from exporters.base import ExportRefused, ExportUnavailable
from exporters.gauges import Bulletin
from exporters.layer import Layer, LayerStatus
from exporters.outcomes import Outcomes
from exporters.postgis import publish, rows
from exporters.postgis.connect import ConnectionSettings, connected, place
from exporters.postgis.grid import GridOfRegion
from exporters.postgis.migrate import lock, open_schema
from exporters.postgis.outcomes import bring_outcomes_in_line
from exporters.postgis.reports import EventReport, reports_after
from exporters.postgis.tiles import NotOnGrid

_Connection = psycopg.Connection[tuple[Any, ...]]

_UNREADABLE = (
    rasterio.errors.RasterioIOError,
    pyogrio.errors.DataSourceError,
    pyogrio.errors.DataLayerError,
    NotOnGrid,
)


class PostgisExporter:
    """Delivers layers to PostGIS. Each call opens a connection of its own; making one opens none.

    The newest nowcast of the newest day is the map in `latest_susceptibility`. The newest revision of a day
    and lead stands; withdrawn, the day has none, and older revisions do not come back. What is kept, and
    for how long, counts in days before the newest map, so that a feed that stops empties nothing. Of a
    forecast there are rows and no rasters: QGIS would draw them over the nowcast of the same day.
    """

    def __init__(
        self,
        name: str,
        region: str,
        schema: str,
        connect: ConnectionSettings,
        *,
        history_days: int = 30,
        hotspot_days: int = 400,
        area_days: int | None = None,
    ) -> None:
        """`connect` is a member of colluvium_writer."""
        self._name = name
        self._region = region
        self._schema = schema
        self._connect = connect
        self._history = timedelta(history_days)
        self._hotspots = timedelta(hotspot_days)
        self._areas = None if area_days is None else timedelta(area_days)

    @property
    def name(self) -> str:
        """What the settings call this exporter."""
        return self._name

    def deliver(self, layer: Layer) -> None:
        """Publish a layer, whole or not at all; one that is there already changes nothing.

        Raises ExportUnavailable where the database is away, closed to us or not set up, ExportRefused where
        the layer is another region's, its own files are gone, or its id is taken by another one.
        """
        self._check_region(layer)
        self._publish(layer, GridOfRegion.of_layer(layer))

    def withdraw(self, layer: Layer) -> None:
        """Mark a delivered layer as withdrawn and take its cells, areas, hotspots and levels away.

        Where it was the newest map, the newest layer that still stands takes its place; where that is no
        longer in the history, the map is empty. Raises as `deliver` does.
        """
        self._check_region(layer)
        grid = GridOfRegion.of_layer(layer)
        with self._session(grid) as connection:
            _withdraw(connection, layer.id, grid)

    def holdings(self) -> dict[str, LayerStatus]:
        """Return the status of each layer in the database, by id. Raises ExportUnavailable."""
        with self._session(None) as connection:
            found = connection.execute("SELECT id, status FROM layer ORDER BY id").fetchall()
        return {identity: LayerStatus(status) for identity, status in found}

    def deliver_bulletin(self, bulletin: Bulletin) -> None:
        """Bring series and readings in line; repeated, it changes nothing. Raises as `deliver` does."""
        with self._session(None) as connection:
            rows.bring_gauges_in_line(connection, bulletin)

    def deliver_outcomes(self, outcomes: Outcomes) -> None:
        """Bring events and the newest verification in line; repeated, it changes nothing.

        Raises ExportUnavailable as `deliver` does, ExportRefused for a verification of another region.
        """
        found = outcomes.verification
        if found is not None and found.region != self._region:
            raise ExportRefused(
                f"{self._where}: the verification is of region {found.region}, not {self._region}"
            )
        with self._session(None) as connection:
            bring_outcomes_in_line(connection, outcomes)

    def new_reports(self, after: int) -> list[EventReport]:
        """Return the reports from the field with an id above `after`, oldest first. Raises as `holdings`."""
        with self._session(None) as connection:
            return reports_after(connection, self._schema, after)

    def _check_region(self, layer: Layer) -> None:
        if layer.region != self._region:
            raise ExportRefused(f"{self._where}: {layer.id} is of region {layer.region}, not {self._region}")

    @property
    def _where(self) -> str:
        return place(self._connect, self._name)

    @contextmanager
    def _session(self, grid: GridOfRegion | None) -> Iterator[_Connection]:
        """One transaction, alone in this schema: two at once would decide on what the other changes."""
        with connected(self._connect, self._name) as connection:
            lock(connection, self._schema)
            open_schema(connection, self._schema, self._where, grid)
            other = connection.execute(
                "SELECT region FROM layer WHERE region <> %s LIMIT 1", [self._region]
            ).fetchone()
            if other is not None:
                raise ExportUnavailable(
                    f"{self._where}: schema {self._schema} holds layers of region {other[0]}, not of "
                    f"{self._region}; a schema is for one region. Name another schema in [[exporters]]"
                )
            yield connection

    def _publish(self, layer: Layer, grid: GridOfRegion) -> None:
        with self._session(grid) as connection, self._files_of(layer):
            there = connection.execute(
                "SELECT digest, status FROM layer WHERE id = %s", [layer.id]
            ).fetchone()
            if there is None:
                self._add(connection, layer, grid)
            elif there[0] != layer.digest:
                raise ExportRefused(
                    f"{self._where}: schema {self._schema} holds another layer under the id {layer.id}: was "
                    "the region's data folder started afresh? Name another schema in [[exporters]]"
                )
            elif layer.status == LayerStatus.WITHDRAWN:
                _withdraw(connection, layer.id, grid)

    @contextmanager
    def _files_of(self, layer: Layer) -> Iterator[None]:
        try:
            yield
        except _UNREADABLE as error:
            raise ExportRefused(
                f"{self._name}: cannot read {layer.folder}: {error}; make {layer.id} again"
            ) from error

    def _add(self, connection: _Connection, layer: Layer, grid: GridOfRegion) -> None:
        rows.add_layer(connection, layer)
        if not _is_newest_revision(connection, layer):
            return
        superseded = _older_revisions(connection, layer)
        publish.forget_tiles(connection, superseded)
        rows.forget_rows(connection, superseded)
        if layer.status == LayerStatus.WITHDRAWN:
            _show_newest_standing(connection, grid)
            return
        rows.add_areas_and_hotspots(connection, layer, grid.srid)
        rows.add_warnings(connection, layer)
        newest = _newest_standing(connection)
        if newest is not None and newest.id == layer.id:
            publish.show_as_latest(connection, layer, grid)
        elif layer.lead == 0 and newest is not None and layer.day > newest.day - self._history:
            publish.add_to_history(connection, layer, grid)
        if newest is not None:
            publish.forget_old(
                connection,
                tiles=newest.day - self._history,
                hotspots=newest.day - self._hotspots,
                areas=None if self._areas is None else newest.day - self._areas,
            )


class _Standing(NamedTuple):
    """A layer that stands for its day."""

    id: str
    day: date
    latest: bool
    in_history: bool


def _newest_standing(connection: _Connection) -> _Standing | None:
    """Return the nowcast of the newest day whose newest revision was not withdrawn."""
    row = connection.execute(
        "SELECT id, day, latest, in_history FROM layer WHERE lead = 0 AND status <> 'withdrawn'"
        " AND NOT EXISTS (SELECT FROM layer AS other WHERE other.day = layer.day AND other.lead = 0"
        " AND other.revision > layer.revision) ORDER BY day DESC LIMIT 1"
    ).fetchone()
    return _Standing(*row) if row else None


def _show_newest_standing(connection: _Connection, grid: GridOfRegion) -> None:
    """Bring the newest map in line after a layer was withdrawn."""
    newest = _newest_standing(connection)
    if newest is None or not newest.in_history:
        publish.clear_latest(connection, grid)
    elif not newest.latest:
        publish.show_from_history(connection, newest.id, grid)


def _withdraw(connection: _Connection, layer_id: str, grid: GridOfRegion) -> None:
    withdrawn = connection.execute(
        "UPDATE layer SET status = 'withdrawn', latest = false WHERE id = %s AND status <> 'withdrawn'",
        [layer_id],
    ).rowcount
    if withdrawn:
        publish.forget_tiles(connection, [layer_id])
        rows.forget_rows(connection, [layer_id])
        _show_newest_standing(connection, grid)


def _is_newest_revision(connection: _Connection, layer: Layer) -> bool:
    newer = connection.execute(
        "SELECT 1 FROM layer WHERE day = %s AND lead = %s AND revision > %s",
        [layer.day, layer.lead, layer.revision],
    ).fetchone()
    return newer is None


def _older_revisions(connection: _Connection, layer: Layer) -> list[str]:
    found = connection.execute(
        "SELECT id FROM layer WHERE day = %s AND lead = %s AND revision < %s",
        [layer.day, layer.lead, layer.revision],
    ).fetchall()
    return [identity for (identity,) in found]
