"""What a QGIS project shows, and where QGIS finds it: connection strings of its providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from urllib.parse import quote

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

MATRIX_SET = "GoogleMapsCompatible"
ZOOM_LEVELS = (0, 18)
# Columns of table `susceptibility` without the raster, as QGIS counts them: the place of `day`.
HISTORY_DAY_FIELD = 2
_DATABASE_KEYS = ("service", "dbname", "host", "port", "sslmode")


@dataclass(frozen=True)
class ShownDay:
    """A layer on show: a nowcast that was not withdrawn."""

    id: str
    day: date


@dataclass(frozen=True)
class DatabasePlace:
    """Where a region's schema lies, without a user or a password: each desk logs in as itself."""

    connection: Mapping[str, str]
    schema: str

    @classmethod
    def of(cls, dsn: str, schema: str) -> DatabasePlace | None:
        """Take from a DSN what a desk needs; None where it names neither a database nor a service."""
        try:
            said = conninfo_to_dict(dsn)
        except ProgrammingError:
            return None
        kept = {key: str(said[key]) for key in _DATABASE_KEYS if said.get(key)}
        return cls(kept, schema) if "dbname" in kept or "service" in kept else None


@dataclass(frozen=True)
class ProjectContents:
    """A region as a project shows it. `days` ends with the newest; at least one."""

    region: str
    name: str
    address: str  # of the service, without a slash at the end
    crs: str  # anything that rasterio reads
    bounds: tuple[float, float, float, float]  # left, bottom, right, top in `crs`
    attribution: str
    synthetic: bool
    relief: bool  # whether the service has a hillshade of the region
    days: Sequence[ShownDay]
    database: DatabasePlace | None

    @property
    def newest(self) -> ShownDay:
        """The layer on display."""
        return self.days[-1]


def cog(contents: ProjectContents, layer: str, name: str) -> str:
    """Return the GDAL name of a layer's raster.

    By the layer's own id: behind `latest` the file changes from one range request to the next, and GDAL
    would read the new file's bytes at the old file's offsets.
    """
    return f"/vsicurl/{contents.address}/layers/{layer}/{name}"


def tiles(address: str, query: str = "") -> str:
    """Return the source of XYZ tiles; `address` holds {z}, {x} and {y}."""
    least, most = ZOOM_LEVELS
    return f"type=xyz&url={quote(address + query, safe='')}&zmin={least}&zmax={most}"


def wmts(contents: ProjectContents, shows: str, day: str) -> str:
    """Return the source of a layer of the region's WMTS for a day: YYYY-MM-DD or `latest`."""
    capabilities = f"{contents.address}/wmts/1.0.0/WMTSCapabilities.xml"
    said = {
        "crs": "EPSG:3857",
        "dpiMode": "7",
        "format": "image/png",
        "layers": shows,
        "styles": "default",
        "tileDimensions": f"Time={day}",
        "tileMatrixSet": MATRIX_SET,
        "url": capabilities,
    }
    return "&".join(f"{key}={quote(value, safe=':/')}" for key, value in said.items())


def raster_table(place: DatabasePlace, table: str, extra: Mapping[str, str] | None = None) -> str:
    """Return the source of a table of rasters for the provider `postgresraster`."""
    return _database(place, table, "rast", extra or {})


def vector_table(place: DatabasePlace, table: str, key: str, kind: str, where: str = "") -> str:
    """Return the source of a table or view for the provider `postgres`; a view needs its key named."""
    return _database(place, table, "geom", {"key": key, "checkPrimaryKeyUnicity": "0", "type": kind}, where)


def _database(
    place: DatabasePlace, table: str, column: str, extra: Mapping[str, str], where: str = ""
) -> str:
    parts = [f"{key}={_quoted(value)}" for key, value in {**place.connection, **extra}.items()]
    name = ".".join('"' + part.replace('"', '""') + '"' for part in (place.schema, table))
    source = f"{' '.join(parts)} table={name} ({column})"
    return f"{source} sql={where}" if where else source


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
