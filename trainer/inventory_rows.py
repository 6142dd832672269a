"""Rows of an inventory as the readers hand them on, and what becomes of them: events and problems."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from zoneinfo import ZoneInfo

import shapely
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator
from rasterio.crs import CRS

from service.errors import InputError

TimeAccuracy = Literal["hour", "part of day", "day"]
TIME_ACCURACIES: tuple[TimeAccuracy, ...] = ("hour", "part of day", "day")
Form = Literal["csv", "italica", "geojson", "geopackage", "shapefile"]
RowUnit = Literal["line", "feature", "event"]

POINT_ACCURACY_M = 100.0  # of a point whose accuracy nobody states; an outline says itself where it lies
FEATURE_ID = "fid"  # as a column's name: the feature's own number


@dataclass(frozen=True)
class Event:
    """One landslide: where (region's CRS, metres) and on which day of the region's time zone."""

    id: str
    x: float
    y: float
    day: date
    accuracy_m: float  # the landslide lies within this distance of (x, y)
    time_accuracy: TimeAccuracy = "day"
    area_m2: float | None = None  # of its outline in the region's CRS; None where it was given as a point
    source: str = "file"  # or, of the ledger's inventory: detected, reported, added, imported


@dataclass(frozen=True)
class RowProblem:
    """A row that was not used. Lines count from 1, the header included; features have the file's numbers."""

    row: int
    reason: str
    unit: RowUnit = "line"

    @property
    def words(self) -> str:
        """Where and why, such as `line 7: date is empty`."""
        return f"{self.unit} {self.row}: {self.reason}"


@dataclass(frozen=True)
class FilePlace:
    """Where an event stands in its file: the line or feature number, and a place in the file's own CRS."""

    row: int
    x: float
    y: float
    unit: RowUnit = "line"


@dataclass(frozen=True)
class Inventory:
    """The events of one file (and the ledger), and what is wrong with its other rows."""

    path: Path
    digest: str  # SHA-256 of the file; of file and events where those of the ledger are among them
    events: tuple[Event, ...]
    problems: tuple[RowProblem, ...]
    crs: CRS  # of the file
    places: tuple[FilePlace, ...]  # of `events`, in their order
    unit: RowUnit = "line"


class InventorySource(BaseModel):
    """Where an inventory lies and how its columns are called; a file, the region's ledger, or both."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path | None = None  # None: the ledger's events alone
    with_events: bool = False  # the landslides of the ledger too: detected, reported, added and imported
    # Of the ledger: a landslide counts where the days on which it may have happened are at most so many, and
    # is taken for one of the last of them. 1: its day is known.
    event_span_days: Annotated[int, Field(ge=1, le=30)] = 1
    events_as_of: AwareDatetime | None = None  # what the ledger's inventory held then; default: what it holds
    form: Form | None = None  # default: by the file's suffix
    # The rest does not concern ITALICA, whose columns are known.
    separator: Annotated[str, Field(min_length=1, max_length=1)] = ","  # of a CSV
    encoding: str | None = None  # default: UTF-8 for a CSV, what a shapefile states
    layer: str | None = None  # of a GeoPackage that holds several
    crs: str | None = None  # default: EPSG:4326 for a CSV, the file's own for vectors
    x_column: str = "lon"  # of a CSV; vectors have geometries
    y_column: str = "lat"
    id_column: str = "id"  # "fid": a vector feature's own number
    day_column: str = "date"
    day_format: str = "%Y-%m-%d"  # of text; with %H, the time is taken to be local to `timezone`
    timezone: str | None = None  # of the dates; default: the region's
    time_accuracy_column: str | None = None  # "hour", "part of day" or "day"
    accuracy_column: str | None = None  # metres
    # Where there is no such column; default: POINT_ACCURACY_M for points, nothing added to an outline.
    accuracy_m: Annotated[float, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _somewhere(self) -> Self:
        if self.path is None and not self.with_events:
            raise ValueError("give path, or with_events = true for the ledger's inventory")
        return self

    @property
    def file(self) -> Path:
        """The file. Raises InputError where the ledger alone was named."""
        if self.path is None:
            raise InputError("training.inventory names no file, and one is needed here; set its path")
        return self.path


class NoDayError(ValueError):
    """A row without a date."""


@dataclass(frozen=True)
class Row:
    """A usable row; places in the file's CRS."""

    id: str
    x: float
    y: float
    day: date
    accuracy_m: float
    time_accuracy: TimeAccuracy
    outline: shapely.Geometry | None = None  # Polygon or MultiPolygon


ReadRow = tuple[int, Row | ValueError]  # number, and the row or what is wrong with it


@dataclass(frozen=True)
class FileRows:
    """All rows of a file, with the CRS that their places are in."""

    crs: CRS
    rows: Sequence[ReadRow]
    unit: RowUnit = "line"


def day_of(text: str, source: InventorySource, zone: ZoneInfo, region: ZoneInfo) -> tuple[date, TimeAccuracy]:
    """Return the day in the region's calendar of a date as text. Raises ValueError."""
    if not text:
        raise NoDayError(f"{source.day_column} is empty: a landslide without a day has no window")
    try:
        moment = datetime.strptime(text, source.day_format)  # noqa: DTZ007 - the zone is joined below
    except ValueError as error:
        raise ValueError(f"{source.day_column} {text!r} is not of the form {source.day_format}") from error
    # A bare date has no midnight to move across; one with a time does.
    if "%H" in source.day_format or "%I" in source.day_format:
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=zone)
        return moment.astimezone(region).date(), "hour"
    return moment.date(), "day"


def time_accuracy_of(text: str, column: str) -> TimeAccuracy:
    """Return a stated accuracy of time. Raises ValueError for one that is worse than a day, or unknown."""
    for known in TIME_ACCURACIES:
        if text == known:
            return known
    raise ValueError(
        f"{column} {text!r} is not one of {', '.join(TIME_ACCURACIES)}; a window needs the day to be known"
    )
