"""One detector's look at one scene, from bands to outlines.

What is not seen (cloud, shadow, snow, water, no data, beyond the DEM) is unknown: it is not shown to the
model, no outline lies on it, and the findings say where it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Self

import numpy as np
import rasterio
import structlog
from rasterio.windows import Window

from service.detection.detector import Detector
from service.detection.findings import SceneFindings
from service.detection.outlines import (
    UNSEEN,
    Outline,
    Place,
    Stored,
    find_outlines,
    seen_shape,
    store,
    to_geojson,
)
from service.detection.picture import scene_picture
from service.detection.plan import Plane, plan
from service.detection.reading import Flags, SceneReader, open_reader
from service.detection.scene import FloatArray, Scene
from service.detection.tiling import Rows, Tiling, blended
from service.detection.writing import (
    DETECTIONS,
    FINDINGS,
    PICTURE,
    PROBABILITY,
    Inputs,
    instead_of,
    probability_cog,
    read_findings,
    tags_of,
    write_detections,
    write_findings,
)
from service.errors import HeldError, InputError, Outcome, UsageError
from service.files import digest_of, sha256_file
from service.progress import ProgressCallback
from service.settings_detection import DetectionSettings
from service.stamps import utc_now

_FORMAT = "1"  # part of the digest: another way of computing or writing makes other findings
_PIXEL_OFF = 0.05  # by how much a scene's cells may differ from those that the detector learned on
_STRIP = 512  # rows
# GDAL's cache of decoded blocks, in bytes (of rasterio.Env; the environment variable counts in MiB). A row of
# JPEG 2000 blocks of 1024 x 1024 of all bands takes about 200 MiB, and sixteen strips need the same row.
GDAL_CACHE_BYTES = 512 * 2**20

log = structlog.get_logger()


@dataclass(frozen=True)
class DetectOptions:
    """How to look. Defaults are those of [detection]."""

    threshold: float | None = None  # of the probability; None: the detector's
    min_area_m2: float = 500.0
    missing: Mapping[str, str] = field(default_factory=dict)  # band -> "mean", or the band that stands for it
    mask_clouds: bool = True  # False: somebody says that the scene is clear, and takes all of it for seen
    max_unseen: float = 1.0  # a scene of which more was not seen is refused
    quick: bool = False  # patches overlap by a quarter instead of half
    workers: int = 1

    @classmethod
    def of(cls, settings: DetectionSettings, *, workers: int = 1) -> Self:
        """Return the options that the settings make."""
        return cls(
            threshold=settings.threshold,
            min_area_m2=settings.min_area_m2,
            missing=settings.missing,
            max_unseen=settings.max_unseen,
            workers=workers,
        )


@dataclass(frozen=True)
class Look:
    """What came of a look."""

    outcome: Outcome  # published, or unchanged
    findings: SceneFindings
    inputs: Inputs


def detect_scene(
    scene: Scene,
    detector: Detector,
    options: DetectOptions,
    out_root: Path,
    progress: ProgressCallback | None = None,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> SceneFindings:
    """Look at a scene as `look_at` does; return what was found."""
    return look_at(scene, detector, options, out_root, progress, clock=clock).findings


def look_at(
    scene: Scene,
    detector: Detector,
    options: DetectOptions,
    out_root: Path,
    progress: ProgressCallback | None = None,
    *,
    clock: Callable[[], datetime] = utc_now,
) -> Look:
    """Look at a scene with a detector, and write <out_root>/<scene>-<8 digits of the detector>/.

    Where the folder holds what the same inputs gave, it stays, and the outcome is `unchanged`. `progress`
    counts rows.

    Raises InputError where scene and detector do not fit, HeldError where too little of the ground was seen,
    UsageError for options that cannot be right.
    """
    planes, substituted = plan(scene, detector.manifest, options.missing)
    _check_fit(scene, detector, options)
    inputs = _inputs(scene, detector, options, planes)
    folder = out_root.absolute() / f"{_plain(scene.id)}-{detector.digest[:8]}"
    if (folder / FINDINGS).exists():
        kept = _kept(folder, scene, inputs.digest)
        if kept is not None:
            log.info("scene unchanged", scene=scene.id, detector=detector.reference.words, path=str(folder))
            return Look(Outcome.UNCHANGED, *kept)
    for band, rule in substituted.items():
        log.warning("a band is missing; something stands for it", scene=scene.id, band=band, stands=rule)
    for note in scene.notes:
        log.warning(note, scene=scene.id)
    with rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE_BYTES), open_reader(scene) as reader:
        if options.max_unseen < 1:
            _check_seen(scene, reader, options.max_unseen)
        findings = _found(scene, detector, options, substituted, reader, folder, inputs, progress, clock)
    log.info(
        "scene looked at",
        scene=scene.id,
        detector=detector.reference.words,
        detections=len(findings.detections),
        seen_share=round(findings.seen_share, 4),
        path=str(folder),
    )
    return Look(Outcome.PUBLISHED, findings, inputs)


def _check_fit(scene: Scene, detector: Detector, options: DetectOptions) -> None:
    made = detector.manifest
    if made.radiometry != "reflectance":
        raise InputError(
            f"{detector.folder} was trained on numbers as {made.radiometry} has them, which are no "
            "reflectance; scenes are. Train a detector on reflectance (Sen12Landslides, or patches of scenes)"
        )
    if abs(scene.pixel_size_m / made.pixel_size_m - 1) > _PIXEL_OFF:
        raise InputError(
            f"{scene.path} has cells of {scene.pixel_size_m:g} m, the detector learned on "
            f"{made.pixel_size_m:g} m; resample the scene first: gdalwarp -tr {made.pixel_size_m:g} "
            f"{made.pixel_size_m:g} -r average"
        )
    if options.mask_clouds and scene.classes is None:
        raise UsageError(
            f"{scene.path} has no scene classification (SCL), so cloud and shadow cannot be told from ground."
            " Either give SCL beside the bands (Level 2A has it), or say --no-clouds where the scene is "
            "clear: then all of it counts as seen"
        )
    if options.threshold is not None and not 0 < options.threshold < 1:
        raise UsageError(f"a threshold lies between 0 and 1, got {options.threshold:g}")


def _inputs(scene: Scene, detector: Detector, options: DetectOptions, planes: tuple[Plane, ...]) -> Inputs:
    """Return what decides the files' bytes. Files are told by their contents."""
    colours = ("B04", "B03", "B02")  # of the picture
    names = tuple(dict.fromkeys((*(plane.band for plane in planes if plane.band), *colours)))
    step = _step(detector.manifest.patch, quick=options.quick)
    clouds = "scene classification (SCL)" if options.mask_clouds else "said to be clear (--no-clouds)"
    digest = digest_of(
        _FORMAT,
        scene.id,
        str(scene.path.resolve()),
        scene.sensed_on,
        scene.after,
        [(path.name, sha256_file(path)) for path in scene.files_of(names)],
        detector.digest,
        [plane.band for plane in planes],
        _threshold(detector, options),
        options.min_area_m2,
        step,
        clouds,
    )
    return Inputs(digest, scene.product, clouds, options.min_area_m2, step, scene.notes)


def _threshold(detector: Detector, options: DetectOptions) -> float:
    return detector.manifest.threshold if options.threshold is None else options.threshold


def _step(patch: int, *, quick: bool) -> int:
    return math.ceil(patch * (0.75 if quick else 0.5))


def _kept(folder: Path, scene: Scene, digest: str) -> tuple[SceneFindings, Inputs] | None:
    """Return what the same inputs gave before. Raises InputError where another scene's findings lie there."""
    try:
        findings, inputs = read_findings(folder)
    except InputError as error:
        log.warning("earlier findings cannot be used and are made again", problem=str(error))
        return None
    if findings.path != scene.path and findings.path.exists():
        raise InputError(
            f"{folder} holds what was found in {findings.path}, which has the same identifier {scene.id!r} "
            f"as {scene.path}. Give one of them an id of its own in scene.json, or another folder with --out"
        )
    return (findings, inputs) if inputs.digest == digest else None


def _check_seen(scene: Scene, reader: SceneReader, max_unseen: float) -> None:
    """Look at the classification alone, before the work begins."""
    seen = sum(int(reader.seen(window).sum()) for window in _strips(scene.shape))
    unseen = 1 - seen / (scene.shape[0] * scene.shape[1])
    if unseen > max_unseen:
        raise HeldError(
            f"of {scene.path} {unseen:.0%} was not seen (cloud, shadow, snow, water, no data), more than "
            f"detection.max_unseen = {max_unseen:g}; take a clearer scene, or raise it"
        )


def _strips(shape: tuple[int, int]) -> Iterator[Window]:
    for first in range(0, shape[0], _STRIP):
        yield Window(0, first, shape[1], min(_STRIP, shape[0] - first))


def _found(
    scene: Scene,
    detector: Detector,
    options: DetectOptions,
    substituted: dict[str, str],
    reader: SceneReader,
    folder: Path,
    inputs: Inputs,
    progress: ProgressCallback | None,
    clock: Callable[[], datetime],
) -> SceneFindings:
    planes = plan(scene, detector.manifest, options.missing)[0]
    threshold = _threshold(detector, options)
    reference = detector.reference
    with instead_of(folder) as temporary:
        findings = SceneFindings(
            scene=scene.id,
            path=scene.path,
            sensed_on=scene.sensed_on,
            after=scene.after,
            detector=reference,
            threshold=threshold,
            detected_at=clock(),
            seen={"type": "MultiPolygon", "coordinates": []},
            seen_share=0.0,
            substituted=substituted,
            detections=(),
            folder=folder,
            synthetic=scene.synthetic or reference.synthetic,
        )
        tiling = Tiling(scene.shape, detector.manifest.patch, inputs.step)
        read = _rows(scene, reader, planes, mask_clouds=options.mask_clouds)
        stored = np.empty(scene.shape, np.uint8)
        cog = probability_cog(temporary / PROBABILITY, scene, tags_of(findings), options.workers)
        with closing(cog):
            for row, strip in blended(read, tiling, detector.predict, progress=progress):
                part = stored[row : row + len(strip)] = store(strip)
                cog.write(row, part)
            cog.finish()
        place = Place(scene.crs, scene.transform, scene.id, detector.digest)
        findings, outlines, seen = _outlined(findings, stored, place, options.min_area_m2)
        write_detections(temporary / DETECTIONS, scene, findings, outlines, seen)
        picture = scene_picture(scene, reader, stored, outlines, findings)
        (temporary / PICTURE).write_bytes(picture)
        write_findings(temporary, findings, inputs)
    return findings


def _outlined(
    findings: SceneFindings, stored: Stored, place: Place, min_area_m2: float
) -> tuple[SceneFindings, tuple[Outline, ...], object]:
    count = int((stored != UNSEEN).sum())
    if not count:
        raise HeldError(
            f"nothing of {findings.path} was seen (cloud, shadow, snow, water, no data, or no elevation); "
            "take another scene"
        )
    outlines = find_outlines(stored, findings.threshold, min_area_m2, place)
    seen = seen_shape(stored, place)
    whole = replace(
        findings,
        seen=to_geojson(seen, place.crs),
        seen_share=round(count / stored.size, 6),
        detections=tuple(one.detection for one in outlines),
    )
    return whole, outlines, seen


def _rows(
    scene: Scene, reader: SceneReader, planes: tuple[Plane, ...], *, mask_clouds: bool
) -> Callable[[int, int], Rows]:
    """Return what reads rows of a scene as a detector wants them."""
    width = scene.shape[1]

    def read(first: int, stop: int) -> Rows:
        window = Window(0, first, width, stop - first)
        seen: Flags = reader.seen(window) if mask_clouds else np.ones((stop - first, width), np.bool_)
        image: FloatArray = np.full((len(planes), stop - first, width), np.nan, np.float32)
        if not seen.any():
            return Rows(image, seen)
        for plane, values in zip(planes, image, strict=True):
            if plane.band:
                values[:] = reader.band(plane.band, window)
                seen &= np.isfinite(values)
            else:
                values[:] = plane.mean
        image[:, ~seen] = np.nan
        return Rows(image, seen)

    return read


def _plain(text: str) -> str:
    """Return a scene's identifier as a folder's name."""
    name = "".join(char if char.isascii() and (char.isalnum() or char in "-_.") else "-" for char in text)
    return name.lstrip(".")[:120] or "scene"
