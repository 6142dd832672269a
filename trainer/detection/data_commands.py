"""`colluvium detector synthetic`, `inspect` and `show`: make patches, count them, look at them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.commands.shared import json_option, print_json
from service.errors import InputError
from service.progress import progress_bar
from trainer.detection.extra import needs_detection

if TYPE_CHECKING:
    from trainer.detection.data import PatchSet
    from trainer.detection.landslide4sense import Part


@click.command(epilog="Example: colluvium detector synthetic build/synthetic --patches 400 --seed 7")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option("--patches", type=click.IntRange(min=1), default=200, show_default=True, help="In TrainData.")
@click.option(
    "--valid", type=click.IntRange(min=0), help="Patches in ValidData (default: a tenth of --patches)."
)
@click.option("--test", type=click.IntRange(min=0), help="Patches in TestData (default: a quarter of them).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Same seed, same set.")
@click.option(
    "--background",
    "backgrounds",
    multiple=True,
    help="forest, cropland, dry_hills, alpine or red_hills; may be given again (default: all, in turn).",
)
@click.option(
    "--size", type=click.IntRange(min=32), default=128, show_default=True, help="Pixels along a patch's side."
)
@json_option
def synthetic(
    folder: Path,
    patches: int,
    valid: int | None,
    test: int | None,
    seed: int,
    backgrounds: tuple[str, ...],
    size: int,
    as_json: bool,
) -> None:
    """Make a SYNTHETIC set of patches in the Landslide4Sense layout, in DIR.

    No place in it is real. Its optical planes are reflectance, which colluvium.json says; backgrounds are its
    regions. DIR must not hold anything.
    """
    with needs_detection():
        from trainer.detection.synthetic import BACKGROUNDS
        from trainer.detection.synthetic_set import write_synthetic
    counts: dict[Part, int] = {
        "train": patches,
        "valid": patches // 10 if valid is None else valid,
        "test": patches // 4 if test is None else test,
    }
    with progress_bar("synthetic patches") as progress:
        written = write_synthetic(
            folder, seed, counts, progress, backgrounds=backgrounds or tuple(BACKGROUNDS), size=size
        )
    if as_json:
        print_json({**asdict(written), "folder": str(folder), "seed": seed, "synthetic": True})
        return
    made = ", ".join(f"{count} {part}" for part, count in written.patches.items())
    click.echo(f"SYNTHETIC patches in {folder}: {made}, seed {seed}")
    click.echo(
        f"  {written.with_landslides} with landslides, {written.landslide_share:.2%} of all pixels; "
        f"backgrounds: {', '.join(written.backgrounds)}"
    )


@click.command(epilog="Example: colluvium detector inspect data/landslide4sense")
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@json_option
def inspect(data: Path, as_json: bool) -> None:
    """Read every patch of DATA once: what is there, how much of it slid, what is not known.

    The first file that cannot be used ends it, by name. DATA is a folder in the Landslide4Sense layout, or
    Sen12Landslides: a file, or a folder of them.
    """
    with needs_detection():
        from trainer.detection.data import facts
    found = {}
    for patches in _open(data):
        with progress_bar(f"reading {patches.name}") as progress:
            counted = facts(patches, progress)
        regions: dict[str, int] = {}
        for region in patches.regions:
            regions[region or "not known"] = regions.get(region or "not known", 0) + 1
        found[patches.name] = {
            **asdict(counted),
            "landslide_share": counted.landslide_share,
            "radiometry": patches.radiometry,
            "pixel_size_m": patches.pixel_size_m,
            "synthetic": patches.synthetic,
            "bands": list(patches.bands),
            "regions": regions,
        }
        if not as_json:
            share = counted.landslide_share
            click.echo(f"{patches.name}{' (SYNTHETIC)' if patches.synthetic else ''}, {patches.radiometry}")
            click.echo(
                f"  {counted.patches} patches, {counted.judged} with masks, {counted.with_landslides} with "
                f"landslides ({'unknown' if share is None else f'{share:.2%}'} of their pixels)"
            )
            click.echo(f"  bands {', '.join(patches.bands)}; pixels of {patches.pixel_size_m:g} m")
            click.echo("  regions " + ", ".join(f"{name} {count}" for name, count in sorted(regions.items())))
            holes = {name: part for name, part in counted.unknown.items() if part > 0}
            if holes:
                click.echo("  not known " + ", ".join(f"{name} {part:.1%}" for name, part in holes.items()))
    if as_json:
        print_json(found)


@click.command(epilog="Example: colluvium detector show data/landslide4sense --part train --out sheet.png")
@click.argument("data", type=click.Path(path_type=Path, exists=True))
@click.option(
    "--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The picture, a PNG."
)
@click.option(
    "--part",
    type=click.Choice(["train", "valid", "test"]),
    default="train",
    show_default=True,
    help="Which part of the Landslide4Sense layout.",
)
@click.option(
    "--count", type=click.IntRange(1, 60), default=24, show_default=True, help="Patches, evenly over the set."
)
@json_option
def show(data: Path, out: Path, part: str, count: int, as_json: bool) -> None:
    """Draw patches of DATA in natural colour, with their landslides outlined, to look at before training.

    DATA is a folder in the Landslide4Sense layout, or Sen12Landslides: a file, or a folder of them.
    """
    with needs_detection():
        from trainer.detection.data_pictures import draw_sheet
    sets = _open(data)
    chosen = next((item for item in sets if item.ids[0].startswith(f"{part}/")), sets[0])
    if len(sets) > 1 and not chosen.ids[0].startswith(f"{part}/"):
        raise InputError(f"{data} has no part {part}")
    indices = sorted({round(index * (len(chosen) - 1) / max(count - 1, 1)) for index in range(count)})
    draw_sheet(chosen, indices, out)
    if as_json:
        print_json({"out": str(out), "set": chosen.name, "patches": [chosen.ids[index] for index in indices]})
    else:
        click.echo(f"{out}: {len(indices)} of the {len(chosen)} patches of {chosen.name}")


def _open(data: Path) -> list[PatchSet]:
    """Return the sets at a place: each part of a Landslide4Sense folder, or one of Sen12Landslides."""
    from trainer.detection.landslide4sense import FOLDERS, open_landslide4sense, parts_in
    from trainer.detection.sen12_set import open_sen12landslides

    parts = parts_in(data)
    if parts:
        return [open_landslide4sense(data, part) for part in parts]
    if data.is_file() or any(data.glob("*.nc")):
        with progress_bar("dates of Sen12Landslides") as progress:
            return [open_sen12landslides(data, progress=progress)]
    raise InputError(
        f"{data} holds neither {FOLDERS['train']}/img (the Landslide4Sense layout) nor files ending .nc "
        "(Sen12Landslides)"
    )
