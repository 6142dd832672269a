"""`colluvium detector evaluate` and `colluvium detector real-patch`."""

from __future__ import annotations

from pathlib import Path

import click

from service.commands.shared import json_option, print_json
from service.errors import UsageError
from service.progress import progress_bar
from trainer.detection.extra import needs_detection

_MISSING = "What stands for a band that the patches lack: B10=mean (in training), or B10=B09; repeatable."


@click.command(
    epilog="Example: colluvium detector evaluate build/r34/detector data/landslide4sense --part test"
)
@click.argument("detector", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--part",
    type=click.Choice(["train", "valid", "test"]),
    default="test",
    show_default=True,
    help="Of a folder in the Landslide4Sense layout: TrainData, ValidData or TestData.",
)
@click.option("--missing", multiple=True, metavar="BAND=RULE", help=_MISSING)
@click.option(
    "--regions",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="CSV with columns id (such as test/17) and region.",
)
@click.option(
    "--hit-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Share of a mapped landslide's pixels that makes it a hit.",
)
@json_option
def evaluate(
    detector: Path,
    data: Path,
    part: str,
    missing: tuple[str, ...],
    regions: Path | None,
    hit_share: float,
    as_json: bool,
) -> None:
    """Judge an exported detector on patches with masks, at its own threshold.

    DATA is a folder in the Landslide4Sense layout, a Sen12Landslides file (.nc) or a folder of them. Patches
    whose bands or radiometry are not the detector's are refused.
    """
    with needs_detection():
        from service.detection.detector import Detector
        from trainer.detection.judge_detector import evaluate as judge
        from trainer.detection.judge_detector import open_judged, told
    loaded = Detector.load(detector)
    fitting = open_judged(data, loaded.manifest, part=part, missing=rules(missing), regions_csv=regions)  # type: ignore[arg-type]
    with progress_bar("judging") as progress:
        found = judge(loaded, fitting, progress)
    if as_json:
        print_json(told(found, hit_share))
        return
    made = loaded.manifest
    click.echo(f"{made.name} {made.version} on {found.data}, {len(found.judged)} patches")
    for warning in found.warnings:
        click.echo(f"  note: {warning}")
    click.echo(f"  threshold {made.threshold:g}, chosen on {made.threshold_chosen_on}")
    pixels, objects = found.judged.pixels(), found.judged.objects(hit_share)
    click.echo(
        f"  pixels   F1 {_number(pixels.f1)}  precision {_number(pixels.precision)}  recall "
        f"{_number(pixels.recall)}  IoU {_number(pixels.iou)} (pooled)"
    )
    mean = found.judged.patch_means()["f1"]
    click.echo(
        f"           F1 {_number(mean.mean)} as the mean over {mean.patches} patches where it is defined"
    )
    click.echo(
        f"  objects  {objects.hits} of {objects.objects} hit ({hit_share:.0%} or more of them predicted)"
    )
    for size in objects.by_size:
        click.echo(f"           {size.words}: {size.hits} of {size.objects}")
    click.echo(
        f"           {objects.false_objects} false ones of {objects.least_false_m2:.0f} m² or more on "
        f"{objects.judged_km2:.1f} km²: {_number(objects.false_per_km2, 2)} per km²"
    )
    for name, region in found.judged.by_region().items():
        scores = region.pixels()
        click.echo(f"  {name}: F1 {_number(scores.f1)} ({len(region)} patches)")


@click.command(
    "real-patch",
    epilog="Example: colluvium detector real-patch sentinel2_patch_4120.nc --model detector/ --out patch",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--model",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    required=True,
    help="The detector's folder.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for real_patch.json and real_patch.png.",
)
@click.option("--missing", multiple=True, metavar="BAND=RULE", help=_MISSING)
@json_option
def real_patch(file: Path, model: Path, out: Path, missing: tuple[str, ...], as_json: bool) -> None:
    """Judge a detector on one real Sen12Landslides patch, date by date, beside two plain rules.

    The rules are a change of NDVI across the event and a low NDVI after it. Whatever the figures are, they
    are written as they are, with a picture of scene, truth and outlines.
    """
    with needs_detection():
        from trainer.detection.real_patch import judge_real_patch, lines
    found = judge_real_patch(file, model, out, rules(missing))
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    for line in lines(found):
        click.echo(line)
    click.echo(f"written: {out / 'real_patch.png'}")


def rules(given: tuple[str, ...]) -> dict[str, str]:
    """Return what stands for missing bands, by band. Raises UsageError for what is no BAND=RULE."""
    found = {}
    for one in given:
        band, equals, rule = one.partition("=")
        if not (band and equals and rule) or band == rule:
            raise UsageError(f"--missing {one}: write BAND=mean or BAND=OTHER, such as B10=mean")
        found[band] = rule
    return found


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
