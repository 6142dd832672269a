"""`colluvium detect`: landslides in a satellite scene."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from service.commands.shared import json_option, print_json
from service.errors import UsageError
from service.progress import progress_bar
from service.settings import Settings, load_settings
from service.settings_detection import DetectionSettings
from service.stamps import utc_now

if TYPE_CHECKING:
    from service.detection.detect import Look

_PATH = click.Path(path_type=Path)
_DAY = click.DateTime(formats=["%Y-%m-%d"])
_LISTED = 10


@dataclass(frozen=True)
class _Defaults:
    """What the settings say where the command line says nothing."""

    settings: Settings | None
    detection: DetectionSettings | None

    @classmethod
    def read(cls, config: Path | None) -> _Defaults:
        settings = load_settings(config) if config else None
        return cls(settings, settings.detection if settings else None)

    @property
    def detector(self) -> Path | None:
        return self.detection.detector if self.detection else None

    @property
    def dem(self) -> Path | None:
        if self.settings is None:
            return None
        own = self.detection.dem if self.detection else None
        return own or self.settings.factors.dem or self.settings.grid.dem

    @property
    def out(self) -> Path:
        return self.settings.data_dir / "detections" if self.settings else Path("detections")

    @property
    def zone(self) -> ZoneInfo | None:
        return ZoneInfo(self.settings.region.timezone) if self.settings else None

    @property
    def workers(self) -> int:
        chosen = self.settings.inference.workers if self.settings else 0
        return chosen or os.cpu_count() or 1


@click.command(
    epilog="Example: colluvium detect --scene S2A_MSIL2A_20230523T101601_N0509_R065_T32TPP.SAFE --model "
    "detector/ --dem dem.tif --after 2023-05-13 --missing B10=mean"
)
@click.option(
    "--scene",
    required=True,
    type=_PATH,
    help="A Sentinel-2 .SAFE folder (L2A, L1C), a folder of band rasters (B02.tif ... SCL.tif), or a "
    "Sen12Landslides file (.nc).",
)
@click.option("--model", type=_PATH, help="The detector's folder (default: that of the settings).")
@click.option("--dem", type=_PATH, help="Elevation in metres that covers the scene (default: the settings').")
@click.option("--date", "day", type=_DAY, help="Day it was sensed on, where the scene does not say.")
@click.option("--after", type=_DAY, help="Day of the clear scene before: what is found happened after it.")
@click.option("--out", type=_PATH, help="Write below this folder (default: the region's, or ./detections).")
@click.option(
    "--threshold",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of the probability (default: the settings', else the detector's).",
)
@click.option(
    "--min-area",
    type=click.FloatRange(min=0),
    help="Square metres; smaller outlines are not listed (default: the settings', else 500).",
)
@click.option(
    "--missing",
    multiple=True,
    metavar="BAND=RULE",
    help="What stands for a band that the scene lacks: B10=mean (in training), or B10=B09; repeatable.",
)
@click.option(
    "--no-clouds", is_flag=True, help="The scene is clear: without SCL, or against it, all is seen."
)
@click.option("--quick", is_flag=True, help="Patches overlap by a quarter instead of half: twice as fast.")
@click.option(
    "-c",
    "--config",
    type=_PATH,
    help="The region's settings: defaults, and its ledger, which takes the outlines as proposals.",
)
@json_option
def detect(
    scene: Path,
    model: Path | None,
    dem: Path | None,
    day: datetime | None,
    after: datetime | None,
    out: Path | None,
    threshold: float | None,
    min_area: float | None,
    missing: tuple[str, ...],
    no_clouds: bool,
    quick: bool,
    config: Path | None,
    as_json: bool,
) -> None:
    """Look for landslides in a satellite scene: outlines with confidence, and a picture to review them.

    Writes detections.gpkg (outlines, and the ground that was seen), probability.tif, picture.png and
    findings.json to a folder of the scene and the detector. Ground under cloud, shadow, snow or water is
    unknown, never free of landslides. With -c the outlines become proposals: 'colluvium detections list'
    shows them, accepted ones enter the inventory.
    """
    from dataclasses import replace

    from service.detection.detect import DetectOptions, look_at
    from service.detection.detector import Detector
    from service.detection.scene import open_scene

    defaults = _Defaults.read(config)
    folder = model or defaults.detector
    if folder is None:
        raise UsageError("no detector: give its folder with --model, or -c with [detection] detector = ...")
    options = DetectOptions.of(defaults.detection) if defaults.detection else DetectOptions()
    options = replace(
        options,
        threshold=options.threshold if threshold is None else threshold,
        min_area_m2=options.min_area_m2 if min_area is None else min_area,
        missing={**options.missing, **_rules(missing)},
        mask_clouds=not no_clouds,
        quick=quick,
        workers=defaults.workers,
    )
    found = open_scene(scene, day=_day(day), after=_day(after), dem=dem, zone=defaults.zone)
    if dem is None and found.dem is None and defaults.dem is not None:
        found = open_scene(scene, day=_day(day), after=_day(after), dem=defaults.dem, zone=defaults.zone)
    detector = Detector.load(folder, workers=options.workers)
    with progress_bar("detect") as progress:
        look = look_at(found, detector, options, out or defaults.out, progress)
    proposed = _propose(defaults.settings, look)
    if as_json:
        print_json(_to_json(look, proposed))
    else:
        _say(look, proposed)


def _day(moment: datetime | None) -> date | None:
    return None if moment is None else moment.date()


def _rules(given: tuple[str, ...]) -> dict[str, str]:
    rules = {}
    for one in given:
        band, equals, rule = one.partition("=")
        if not equals or not band or not rule:
            raise UsageError(f"--missing {one}: write BAND=mean or BAND=OTHER, such as B10=mean")
        if band == rule:
            raise UsageError(f"--missing {one} names the band itself; write {band}=mean or another band")
        rules[band] = rule
    return rules


def _propose(settings: Settings | None, look: Look) -> int | None:
    """Give the findings to the region's ledger; return how many outlines were news to it."""
    if settings is None:
        return None
    from service.ledger import Ledger
    from service.workshop import ledger_path

    with Ledger(ledger_path(settings), utc_now) as ledger:
        return ledger.detections.receive(look.findings)


def _to_json(look: Look, proposed: int | None) -> dict[str, Any]:
    from service.detection.writing import summary

    said = summary(look.findings)
    # The ground that was seen has thousands of corners; it stands in the files.
    del said["seen"]
    notes = list(look.inputs.notes)
    return {"outcome": look.outcome.value, **said, "product": look.inputs.product, "notes": notes,
            "proposed": proposed}  # fmt: skip


def _say(look: Look, proposed: int | None) -> None:
    found = look.findings
    area = sum(one.area_m2 for one in found.detections)
    since = f"after {found.after}, " if found.after else ""
    click.echo(f"{found.scene}, sensed on {found.sensed_on} ({look.inputs.product})")
    if found.synthetic:
        click.echo("SYNTHETIC: made-up landslides, in the scene or in what the detector learned from")
    click.echo(
        f"{len(found.detections)} outlines of at least {look.inputs.min_area_m2:g} m2, {area / 1e4:.2f} ha, "
        f"happened {since}not after {found.sensed_on}"
    )
    for one in found.detections[:_LISTED]:
        more = "  goes on where nothing was seen" if one.touches_unseen else ""
        click.echo(
            f"  {one.lat:.5f} {one.lon:.5f}  {one.area_m2:>9,.0f} m2  confidence {one.confidence:.2f}, "
            f"highest {one.highest:.2f}{more}"
        )
    if len(found.detections) > _LISTED:
        click.echo(f"  and {len(found.detections) - _LISTED} smaller ones")
    click.echo(
        f"{1 - found.seen_share:.1%} of the scene was not seen, and may hold others ({look.inputs.clouds})"
    )
    for band, rule in found.substituted.items():
        stands = "its mean in training" if rule == "mean" else rule
        click.echo(f"{band} is missing in the scene; {stands} stands for it")
    for note in look.inputs.notes:
        click.echo(note)
    click.echo(f"{look.outcome.value}: look at {found.folder / 'picture.png'}")
    if proposed is not None:
        click.echo(f"{proposed} new proposals; 'colluvium detections list' shows them")


COMMANDS = (detect,)
