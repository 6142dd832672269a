"""The verified landslides as a table for other programs: CSV, or GeoPackage points."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio.raw
import shapely

from exporters.verification import VerifiedEvent
from service.errors import UsageError
from service.files import replacing

COLUMNS = (
    "uid",
    "source",
    "day_from",
    "day",
    "lon",
    "lat",
    "zone",
    "outcome",
    "layer_id",
    "issued_at",
    "hindsight",
    "withdrawn",
    "susceptibility",
    "class_label",
    "rank",
    "level",
    "why",
)
_LAYER = "verified_events"
_REALS = ("lon", "lat", "susceptibility", "rank")
_TRUTHS = ("hindsight", "withdrawn")


def write_events(path: Path, events: Sequence[VerifiedEvent]) -> None:
    """Write events by the file's ending: .csv, or .gpkg. Raises UsageError for another one."""
    if path.suffix == ".csv":
        with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([_cell(getattr(event, name)) for name in COLUMNS] for event in events)
    elif path.suffix == ".gpkg":
        with replacing(path) as temporary:
            _write_geopackage(temporary, events)
    else:
        raise UsageError(f"--events {path}: the name must end with .csv or .gpkg")


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _write_geopackage(path: Path, events: Sequence[VerifiedEvent]) -> None:
    fields: list[Any] = []
    masks: list[Any] = []
    for name in COLUMNS:
        values = [getattr(event, name) for event in events]
        missing = np.array([value is None for value in values], bool)
        if name in _REALS:
            column: Any = np.array([np.nan if value is None else value for value in values], np.float64)
        elif name in _TRUTHS:
            column = np.array(values, bool)
        else:
            column = np.array([None if value is None else str(value) for value in values], object)
        fields.append(column)
        masks.append(missing if name in _REALS else None)
    pyogrio.raw.write(
        path,
        geometry=np.array([shapely.to_wkb(shapely.Point(event.lon, event.lat)) for event in events], object),
        field_data=fields,
        fields=list(COLUMNS),
        field_mask=masks,
        layer=_LAYER,
        driver="GPKG",
        geometry_type="Point",
        crs="EPSG:4326",
    )
