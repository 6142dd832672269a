"""The sample table: samples as a file that can be looked at, changed and read back.

    write_samples(path, samples, crs)          .csv or .gpkg (points, for a GIS), by suffix
    read_samples(path) -> SampleTable          samples, in the order of the file, and their CRS
    square_samples(squares, day) -> tuple[Sample, ...]     labelled squares as samples

What is written comes back as it was, every float to its last bit. The samples of a CSV carry the CRS in a
column of its own, because a table that does not say where it is cannot be used.
"""

from __future__ import annotations

import csv
import io
import math
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError

from service.errors import InputError, UsageError
from service.files import replacing
from trainer.sample_kinds import Kind, Sample
from trainer.squares import SQUARE_M, Square

LAYER = "samples"
_CRS = "crs"
_COLUMNS = ("place", "day", "label", "kind", "storm", "accuracy_m", "event")
_UNKEPT = ("Cc", "Cs")  # control characters and halves of one: no table gives them back
_FORMS = "a sample table is a .csv or a .gpkg"


@dataclass(frozen=True)
class SampleTable:
    """Samples as a file holds them."""

    samples: tuple[Sample, ...]
    crs: CRS


def square_samples(squares: Sequence[Square], day: date) -> tuple[Sample, ...]:
    """Return squares with a label as samples: the centre, on the day of the storm that was mapped.

    A landslide of a square lies within half its diagonal of the centre. One storm made them all, so none is
    named: a split can only be by place. Squares that are neither positive nor negative are left out.
    """
    reach = SQUARE_M / math.sqrt(2)
    return tuple(
        Sample(
            square.left + SQUARE_M / 2, square.top - SQUARE_M / 2, square.id, day, square.label,
            Kind.EVENT if square.label else Kind.SPATIAL, None, reach, square.id,
        )
        for square in squares
        if square.label is not None
    )  # fmt: skip


def write_samples(path: Path, samples: Sequence[Sample], crs: CRS) -> None:
    """Write a sample table; a reader sees the old file or the new one.

    Raises UsageError for another suffix, InputError for no samples and for one that no table can hold.
    """
    if path.suffix.lower() not in (".csv", ".gpkg"):
        raise UsageError(f"{path}: {_FORMS}")
    if not samples:
        raise InputError(f"no sample to write to {path}")
    for number, sample in enumerate(samples, start=1):
        _check(sample, f"sample {number} of {len(samples)}, for {path}")
    with replacing(path) as temporary:
        if path.suffix.lower() == ".csv":
            temporary.write_bytes(_csv_bytes(samples, crs))
        else:
            _write_points(temporary, samples, crs)


def read_samples(path: Path) -> SampleTable:
    """Read a sample table, by suffix; columns may stand in any order, and others beside them.

    Raises UsageError for another suffix, InputError for a file that cannot be read and, by line or feature,
    for a row that is not a sample.
    """
    suffix = path.suffix.lower()
    if suffix not in (".csv", ".gpkg"):
        raise UsageError(f"{path}: {_FORMS}")
    if not path.exists():
        raise InputError(f"the sample table {path} cannot be read: no such file")
    table = _read_csv(path) if suffix == ".csv" else _read_points(path)
    if not table.samples:
        raise InputError(f"the sample table {path} holds no samples")
    return table


def _csv_bytes(samples: Sequence[Sample], crs: CRS) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["x", "y", *_COLUMNS, _CRS])
    named = crs.to_string()
    for sample in samples:
        # repr of a float is the shortest text that reads back as the same float.
        writer.writerow(
            [repr(float(sample.x)), repr(float(sample.y)), sample.place, sample.day.isoformat(), sample.label,
             sample.kind.value, sample.storm or "", repr(float(sample.accuracy_m)), sample.event, named]
        )  # fmt: skip
    return text.getvalue().encode()


def _write_points(path: Path, samples: Sequence[Sample], crs: CRS) -> None:
    points = shapely.points([sample.x for sample in samples], [sample.y for sample in samples])
    nobody = np.array([sample.storm is None for sample in samples], np.bool_)
    columns: dict[str, npt.NDArray[Any]] = {
        "place": np.array([sample.place for sample in samples], np.object_),
        "day": np.array([sample.day.isoformat() for sample in samples], "datetime64[D]"),
        "label": np.array([sample.label for sample in samples], np.int32),
        "kind": np.array([sample.kind.value for sample in samples], np.object_),
        "storm": np.array([sample.storm or "" for sample in samples], np.object_),
        "accuracy_m": np.array([sample.accuracy_m for sample in samples], np.float64),
        "event": np.array([sample.event for sample in samples], np.object_),
    }
    known = np.zeros(len(samples), np.bool_)
    masks = [nobody if name == "storm" else known for name in _COLUMNS]
    pyogrio.raw.write(
        path, np.array(shapely.to_wkb(points), np.object_), [columns[name] for name in _COLUMNS],
        np.array(_COLUMNS, np.object_), field_mask=masks,
        layer=LAYER, driver="GPKG", geometry_type="Point", crs=crs.to_wkt(),
    )  # fmt: skip


def _read_csv(path: Path) -> SampleTable:
    samples: list[Sample] = []
    named: str | None = None
    wanted = ("x", "y", *_COLUMNS, _CRS)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            _need(path, wanted, reader.fieldnames or ())
            for row in reader:
                where = f"the sample table {path}, line {reader.line_num}"
                short = [name for name in wanted if row[name] is None]
                if short:
                    raise InputError(f"{where}: the row ends before {', '.join(short)}")
                if named is not None and row[_CRS] != named:
                    raise InputError(f"{where}: crs {row[_CRS]!r}, but {named!r} above; a table has one CRS")
                named = row[_CRS]
                samples.append(_sample(row, where))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"the sample table {path} cannot be read: {error}") from error
    try:
        crs = CRS.from_user_input(named or "EPSG:4326")
    except CRSError as error:
        raise InputError(f"the sample table {path}: {named!r} is not a CRS") from error
    return SampleTable(tuple(samples), crs)


def _read_points(path: Path) -> SampleTable:
    try:
        meta, features, geometries, columns = pyogrio.raw.read(
            path, layer=LAYER, return_fids=True, datetime_as_string=True
        )
    except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
        raise InputError(f"the sample table {path} cannot be read: {error}") from error
    names = list(meta["fields"])
    _need(path, _COLUMNS, names)
    if meta["crs"] is None:
        raise InputError(f"the sample table {path} does not say its CRS")
    samples = []
    for index, feature in enumerate(features):
        where = f"the sample table {path}, feature {feature}"
        point = shapely.from_wkb(geometries[index])
        if point is None or point.geom_type != "Point" or point.is_empty:
            raise InputError(f"{where}: it has no point")
        row = {name: _text(columns[names.index(name)][index]) for name in _COLUMNS}
        # Whole numbers become floats where one of them is missing.
        row["label"] = row["label"].removesuffix(".0")
        samples.append(_sample({**row, "x": repr(float(point.x)), "y": repr(float(point.y))}, where))
    return SampleTable(tuple(samples), CRS.from_user_input(meta["crs"]))


def _need(path: Path, wanted: Sequence[str], there: Sequence[str]) -> None:
    missing = [name for name in wanted if name not in there]
    if missing:
        raise InputError(
            f"the sample table {path} has no column {', '.join(missing)}; it has: "
            f"{', '.join(there) or 'none'}"
        )


def _sample(row: Mapping[str, str], where: str) -> Sample:
    """Return the sample of a row; raise InputError that says where and what is wrong."""
    try:
        day = date.fromisoformat(row["day"])
    except ValueError as error:
        raise InputError(f"{where}: day {row['day']!r} is not a day such as 2021-07-01") from error
    if row["label"] not in ("0", "1"):
        raise InputError(f"{where}: label {row['label']!r} is not 0 or 1")
    try:
        kind = Kind(row["kind"])
    except ValueError as error:
        raise InputError(f"{where}: kind {row['kind']!r} is not one of {', '.join(Kind)}") from error
    sample = Sample(
        _number(row, "x", where), _number(row, "y", where), row["place"], day, int(row["label"]), kind,
        row["storm"] or None, _number(row, "accuracy_m", where), row["event"],
    )  # fmt: skip
    _check(sample, where)
    return sample


def _number(row: Mapping[str, str], name: str, where: str) -> float:
    try:
        return float(row[name])
    except ValueError as error:
        raise InputError(f"{where}: {name} {row[name]!r} is not a number") from error


def _check(sample: Sample, where: str) -> None:
    """Raise InputError for a sample that contradicts itself or would not come back as it is."""
    for name in ("x", "y", "accuracy_m"):
        value = getattr(sample, name)
        if not math.isfinite(value):
            raise InputError(f"{where}: {name} {value} is not a finite number")
    if sample.accuracy_m < 0:
        raise InputError(f"{where}: accuracy_m {sample.accuracy_m} is negative")
    if (sample.label == 1) != (sample.kind is Kind.EVENT):
        raise InputError(
            f"{where}: label {sample.label} and kind {sample.kind.value} contradict each other; "
            "events alone have 1"
        )
    for name in ("place", "storm", "event"):
        text = getattr(sample, name)
        if text is None:
            continue
        if not text or any(unicodedata.category(letter) in _UNKEPT for letter in text):
            raise InputError(f"{where}: {name} {text!r} is empty or holds a control character")


def _text(value: Any) -> str:
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return ""
    return repr(float(value)) if isinstance(value, float | np.floating) else str(value)
