"""What a detection run leaves behind, in one folder that appears whole or not at all.

    detections.gpkg   layers `detections` and `seen`, in the scene's CRS
    probability.tif   uint8 COG, value = stored * 0.004, 255 not seen
    picture.png       true colour, outlines, hatched where nothing was seen
    findings.json     all of it in words and numbers, and by which inputs it was made

The same inputs give the same bytes, but for the moment `detected_at` in findings.json.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pyogrio
import pyogrio.raw
import shapely
from pydantic import TypeAdapter, ValidationError

from exporters.cog_files import StripCog
from exporters.cog_header import Band, Notes
from service.detection.findings import SceneFindings
from service.detection.outlines import TOP, UNSEEN, Outline
from service.detection.scene import Scene
from service.errors import InputError
from service.files import replacing_folder, sha256_file, sync_folder

DETECTIONS, PROBABILITY, PICTURE, FINDINGS = (
    "detections.gpkg",
    "probability.tif",
    "picture.png",
    "findings.json",
)
CONFIDENCE_NOTE = (
    "Confidence is the mean of the detector's probabilities inside, an index: calibrated to nothing."
)
SYNTHETIC_NOTE = "Synthetic: made-up landslides, in the scene or in what the detector learned from."
_SCHEMA_VERSION = 1
_FINDINGS = TypeAdapter(SceneFindings)


class Inputs(NamedTuple):
    """What findings rest on. The digest covers everything that decides the files' bytes."""

    digest: str
    product: str  # what kind of scene it was
    clouds: str  # by what unseen ground was told
    min_area_m2: float
    step: int  # cells between patches
    notes: tuple[str, ...]


def probability_cog(path: Path, scene: Scene, tags: Mapping[str, str], threads: int) -> StripCog:
    """Begin probability.tif."""
    return StripCog(
        path,
        crs=scene.crs,
        transform=scene.transform,
        shape=scene.shape,
        dtype="uint8",
        nodata=UNSEEN,
        resampling="AVERAGE",
        threads=threads,
        notes=Notes((Band(f"probability x {TOP}"),), tags),
    )


def tags_of(findings: SceneFindings) -> dict[str, str]:
    """Return what probability.tif says of itself."""
    note = f"{CONFIDENCE_NOTE} {SYNTHETIC_NOTE}" if findings.synthetic else CONFIDENCE_NOTE
    return {
        "TIFFTAG_SOFTWARE": "Colluvium",
        "TIFFTAG_IMAGEDESCRIPTION": f"Landslide probability, {findings.scene}, {findings.sensed_on}. {note}",
        "COLLUVIUM_SCENE": findings.scene,
        "COLLUVIUM_DAY": findings.sensed_on.isoformat(),
        "COLLUVIUM_DETECTOR": findings.detector.words,
        "COLLUVIUM_THRESHOLD": f"{findings.threshold:g}",
        "COLLUVIUM_SCALE": f"{1 / TOP:g}",
        "COLLUVIUM_SYNTHETIC": "yes" if findings.synthetic else "no",
        "COLLUVIUM_NOTE": note,
    }


def write_detections(
    path: Path, scene: Scene, findings: SceneFindings, outlines: Sequence[Outline], seen: Any
) -> None:
    """Write detections.gpkg to `path`, which must not exist; `seen` is a MultiPolygon in the scene's CRS."""
    count = len(outlines)
    found = [one.detection for one in outlines]
    about: dict[str, Sequence[Any]] = {
        "detector": [findings.detector.words] * count,
        "scene": [findings.scene] * count,
        "synthetic": [findings.synthetic] * count,
    }
    days = {"date": findings.sensed_on.isoformat(), "after": _day(findings.after)}
    with _dated(findings.sensed_on):
        _write(
            path,
            "detections",
            scene,
            findings,
            "Polygon",
            [one.polygon for one in outlines],
            {
                "id": [one.uid for one in found],
                **{name: [day] * count for name, day in days.items()},
                "area_m2": [one.area_m2 for one in found],
                "confidence": [one.confidence for one in found],
                "highest": [one.highest for one in found],
                "touches_unseen": [one.touches_unseen for one in found],
                **about,
            },
        )
        _write(
            path,
            "seen",
            scene,
            findings,
            "MultiPolygon",
            [seen],
            {
                "scene": [findings.scene],
                **{name: [day] for name, day in days.items()},
                "share": [findings.seen_share],
                "detector": [findings.detector.words],
                "synthetic": [findings.synthetic],
            },
        )


def _day(day: date | None) -> str | None:
    return None if day is None else day.isoformat()


def _write(
    path: Path,
    layer: str,
    scene: Scene,
    findings: SceneFindings,
    kind: str,
    shapes: Sequence[Any],
    columns: Mapping[str, Sequence[Any]],
) -> None:
    data, masks = [], []
    for name, values in columns.items():
        masks.append(np.array([value is None for value in values], np.bool_))
        if name in ("touches_unseen", "synthetic"):
            data.append(np.array(values, np.bool_))
        elif name in ("area_m2", "confidence", "highest", "share"):
            data.append(np.array(values, np.float64))
        else:
            data.append(np.array(["" if value is None else value for value in values], np.object_))
    pyogrio.raw.write(
        path,
        np.array([bytes(shapely.to_wkb(shape, byte_order=1)) for shape in shapes], np.object_),
        data,
        np.array(list(columns), np.object_),
        field_mask=masks,
        layer=layer,
        driver="GPKG",
        geometry_type=kind,
        crs=scene.crs.to_wkt(),
        append=path.exists(),
        layer_metadata={
            "scene": findings.scene,
            "detector": findings.detector.words,
            "synthetic": "yes" if findings.synthetic else "no",
            "note": f"{CONFIDENCE_NOTE} {SYNTHETIC_NOTE}" if findings.synthetic else CONFIDENCE_NOTE,
        },
    )


@contextmanager
def _dated(day: date) -> Iterator[None]:
    """Date what GDAL writes by the scene, not by the clock."""
    option = "OGR_CURRENT_DATE"
    before = pyogrio.get_gdal_config_option(option)
    pyogrio.set_gdal_config_options({option: f"{day.isoformat()}T00:00:00.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({option: before})


def write_findings(folder: Path, findings: SceneFindings, inputs: Inputs) -> None:
    """Write findings.json beside the other files, which must be there: it knows their checksums."""
    record = _FINDINGS.dump_python(findings, mode="json")
    # Where it lies is known by whoever reads it, and it may be moved.
    del record["folder"]
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir())}
    whole = {
        "schema_version": _SCHEMA_VERSION,
        "note": f"{CONFIDENCE_NOTE} {SYNTHETIC_NOTE}" if findings.synthetic else CONFIDENCE_NOTE,
        **record,
        "inputs": inputs._asdict(),
        "files": files,
    }
    (folder / FINDINGS).write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", "utf-8")


def read_findings(folder: Path) -> tuple[SceneFindings, Inputs]:
    """Return what a run left in a folder. Raises InputError where files are missing or not those it wrote."""
    path = folder / FINDINGS
    try:
        record = json.loads(path.read_bytes())
        inputs = Inputs(**record.pop("inputs"))
        files = record.pop("files")
        for extra in ("schema_version", "note"):
            del record[extra]
        found = _FINDINGS.validate_python({**record, "folder": folder})
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; run 'colluvium detect' again") from error
    except (ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise InputError(f"{path} is not what 'colluvium detect' writes: {error}; run it again") from error
    for name in (DETECTIONS, PROBABILITY, PICTURE):
        if not (folder / name).is_file() or sha256_file(folder / name) != files.get(name):
            raise InputError(f"{folder / name} is missing or was changed; run 'colluvium detect' again")
    return found, inputs._replace(notes=tuple(inputs.notes))


@contextmanager
def instead_of(path: Path) -> Iterator[Path]:
    """Yield a folder beside `path` that takes its place at the end, whole; an earlier one goes then."""
    old = path.with_name(f".{uuid4().hex[:12]}.part")
    with replacing_folder(path) as folder:
        yield folder
        if path.exists():
            path.rename(old)
    if old.exists():
        shutil.rmtree(old, ignore_errors=True)
        sync_folder(path.parent)


def summary(findings: SceneFindings) -> dict[str, Any]:
    """Return the findings for scripts, outlines included."""
    return {**_FINDINGS.dump_python(findings, mode="json"), "detector": asdict(findings.detector)}
