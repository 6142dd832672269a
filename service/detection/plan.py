"""Which band of a scene fills which plane of a detector's patches, and what stands for a missing one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.detection.bands import BY_NAME, TERRAIN
from service.detection.manifest import BandStatistics, DetectorManifest
from service.detection.scene import Scene
from service.errors import InputError, UsageError

MEAN = "mean"


@dataclass(frozen=True)
class Plane:
    """What one plane of a patch is filled with."""

    band: str  # of the scene; "": the mean
    mean: float


def plan(
    scene: Scene, made: DetectorManifest, missing: Mapping[str, str]
) -> tuple[tuple[Plane, ...], dict[str, str]]:
    """Return what fills each plane of a patch, and by what rule where the scene lacks the band.

    Raises InputError that names what the detector wants, what the scene has, and how to say otherwise.
    """
    has, wanted = scene.available, tuple(band.name for band in made.bands)
    for band, rule in missing.items():
        if band not in BY_NAME or (rule != MEAN and rule not in BY_NAME):
            raise UsageError(f"missing: {band} = {rule!r} names no band; known are {', '.join(BY_NAME)}")
    lacking = [name for name in wanted if name not in has and name not in missing]
    if lacking:
        raise InputError(
            f"{scene.path} has no {', '.join(lacking)}. The detector {made.name} {made.version} wants "
            f"{', '.join(wanted)}; the scene has {', '.join(has)}. {_remedy(lacking, has)}"
        )
    planes, substituted = [], {}
    for statistics in made.bands:
        planes.append(_plane(scene, statistics, missing))
        if statistics.name not in has:
            substituted[statistics.name] = missing[statistics.name]
    if not any(plane.band for plane in planes):
        raise InputError(f"{scene.path}: with all bands replaced by means there is nothing to look at")
    return tuple(planes), substituted


def _plane(scene: Scene, statistics: BandStatistics, missing: Mapping[str, str]) -> Plane:
    name = statistics.name
    if name in scene.available:
        return Plane(name, statistics.mean)
    rule = missing[name]
    if rule == MEAN:
        return Plane("", statistics.mean)
    if rule not in scene.available:
        raise InputError(
            f"{scene.path} has no {name}, and no {rule}, which missing.{name} puts in its place; it has "
            f"{', '.join(scene.available)}"
        )
    if BY_NAME[rule].unit != BY_NAME[name].unit:
        raise InputError(
            f"missing.{name} = {rule!r}: {BY_NAME[rule].unit} cannot stand for {BY_NAME[name].unit}; write "
            f'"{MEAN}" or another band of its kind'
        )
    return Plane(rule, statistics.mean)


def _remedy(lacking: list[str], has: tuple[str, ...]) -> str:
    ways = []
    if any(name in TERRAIN for name in lacking):
        ways.append("give elevation with --dem")
    spectral = [name for name in lacking if name not in TERRAIN]
    if spectral:
        first = spectral[0]
        ways.append(
            f"say what stands for it: --missing {first}={MEAN} (of the training part) or --missing "
            f"{first}={next((name for name in has if name not in TERRAIN), 'B02')}, in the settings "
            f'detection.missing = {{ {first} = "{MEAN}" }}'
        )
    ways.append("take a detector that does without")
    return f"Either {', or '.join(ways)}"
