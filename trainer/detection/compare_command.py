"""`colluvium detector compare`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

import click

from service.commands.shared import json_option, print_json
from service.detection.bands import LANDSLIDE4SENSE
from service.errors import UsageError
from service.lock import exclusive
from service.progress import progress_bar
from trainer.detection.extra import needs_detection
from trainer.detection.training_options import training_options


@click.command(
    epilog="Example: colluvium detector compare data/landslide4sense --out build/compare --seeds 0,1,2"
)
@click.argument("data", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder for report.html, results.json and the trainings; the same command goes on in it.",
)
@click.option(
    "--models",
    default="all",
    show_default=True,
    help="Names separated by commas, such as resnet34,unet; `colluvium detector train --help` lists them.",
)
@click.option(
    "--seeds",
    default="0",
    show_default=True,
    help="Whole numbers separated by commas; an interval needs two or more.",
)
@click.option(
    "--split",
    type=click.Choice(["official", "reference", "regions", "all"]),
    default="official",
    show_default=True,
    help="The official folders; a draw of the paper's sizes; each region left out in turn; or all of these.",
)
@click.option(
    "--split-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the drawn parts."
)
@click.option(
    "--bands",
    default=",".join(LANDSLIDE4SENSE),
    help="Bands by name, separated by commas (default: all fourteen).",
)
@training_options
@click.option(
    "--weights",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder with encoders' weights, MODEL.safetensors; a model without a file begins from scratch.",
)
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Epochs without a better one on validation patches before a training ends; 0: never.",
)
@click.option(
    "--hit-share",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.5,
    show_default=True,
    help="Share of a mapped landslide's pixels that makes it a hit.",
)
@click.option(
    "--budget-minutes",
    type=click.FloatRange(min=0),
    help="Stop after so long, with what is finished; the same command goes on.",
)
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    help="Trainings at once, one thread each (default: one for each core; one on CUDA).",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto is CUDA where there is one.",
)
@click.option("--mixed-precision", is_flag=True, help="bfloat16; on CUDA alone, refused elsewhere.")
@json_option
def compare(data: Path, out: Path, as_json: bool, **chosen: Any) -> None:
    """Train and judge models under one protocol, and set the paper's table beside ours.

    DATA is a folder in the Landslide4Sense layout, as it is published, or of Sen12Landslides files (which has
    regions, and no official split). Every training is kept: a comparison that was killed goes on with the
    same command. OUT receives report.html and results.json.
    """
    with needs_detection():
        from trainer.detection.compare import compare as compare_models
        from trainer.detection.compare_report import write_report
        from trainer.detection.compare_table import table_lines
    settings = _settings(chosen)
    command = shlex.join(["colluvium", *sys.argv[1:]])
    with exclusive(out / "lock", "colluvium detector compare"), progress_bar("comparing") as progress:
        results = compare_models(data, out, settings, command=command, progress=progress)
        report = out / "report.html"
        write_report(results, report)
    if as_json:
        print_json({**results.model_dump(mode="json"), "report": report})
        return
    for line in table_lines(results):
        click.echo(line)
    click.echo(f"written: {report}")


def _settings(chosen: dict[str, Any]) -> Any:
    from trainer.detection.compare import CompareSettings
    from trainer.detection.fit import FitSettings
    from trainer.detection.networks import MODELS
    from trainer.fit_optimiser import device_of

    everything = tuple(spec.name for spec in MODELS)
    models = everything if chosen["models"].strip() == "all" else _listed(chosen["models"])
    try:
        seeds = tuple(int(seed) for seed in _listed(chosen["seeds"]))
    except ValueError as error:
        raise UsageError(
            f"--seeds takes whole numbers separated by commas, not {chosen['seeds']!r}"
        ) from error
    cuda = device_of(chosen["device"], chosen["mixed_precision"]).type == "cuda"
    return CompareSettings(
        models=models,
        seeds=seeds,
        split=chosen["split"],
        split_seed=chosen["split_seed"],
        bands=_listed(chosen["bands"]),
        regions_csv=chosen["regions"],
        weights=chosen["weights"],
        hit_share=chosen["hit_share"],
        budget_minutes=chosen["budget_minutes"],
        jobs=chosen["jobs"],
        fit=FitSettings(
            loss=chosen["loss"],
            epochs=chosen["epochs"],
            batch=chosen["batch"],
            learning_rate=chosen["learning_rate"],
            patience=chosen["patience"] or None,
            test_time_augmentation=chosen["tta"],
            device="cuda" if cuda else "cpu",
            mixed_precision=chosen["mixed_precision"],
        ),
    )


def _listed(words: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in words.split(",") if part.strip())
