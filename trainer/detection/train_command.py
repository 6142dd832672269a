"""`colluvium detector train`."""

from __future__ import annotations

import json
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
from service.stamps import utc_now
from trainer.detection.extra import needs_detection
from trainer.detection.training_options import training_options

_MODELS = (
    "resnet34, vgg16, efficientnet_b0, resnext50, se_resnet50, densenet121, se_resnext50, inceptionv4, "
    "inceptionresnetv2, deeplabv3plus, mobilenet_v2, unet, mit_b1"
)


@click.command(
    epilog="Example: colluvium detector train data/landslide4sense --model resnet34 --out build/r34"
)
@click.argument("data", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--model", default="resnet34", show_default=True, help=f"Which of {_MODELS}.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    help="Folder: the detector goes to OUT/detector, state and history to OUT/training.",
)
@click.option(
    "--bands",
    default=",".join(LANDSLIDE4SENSE),
    help="Bands by name, separated by commas (default: all fourteen). Level-2A scenes have no B10.",
)
@click.option(
    "--split",
    type=click.Choice(["official", "reference"]),
    default="official",
    show_default=True,
    help="The official folders, or a draw of the reference's sizes (959 and 2840).",
)
@click.option("--without", help="Instead of --split: learn nothing of this region, and judge on it.")
@training_options
@click.option(
    "--patience",
    type=click.IntRange(min=0),
    default=12,
    show_default=True,
    help="Epochs without a better one on validation data before it ends; 0: never.",
)
@click.option(
    "--choose-by",
    type=click.Choice(["f1", "loss"]),
    default="f1",
    show_default=True,
    help="What the kept epoch is best in, on validation data.",
)
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of weights and draws."
)
@click.option(
    "--split-seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the drawn parts."
)
@click.option(
    "--weights",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    help="The encoder's weights to begin with (safetensors or a state_dict); nothing is fetched.",
)
@click.option(
    "--base",
    type=click.IntRange(1, 256),
    default=64,
    show_default=True,
    help="Filters of the plain U-Net's first level; 64 as published.",
)
@click.option(
    "--ensemble",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Trainings, made one detector.",
)
@click.option(
    "--combine",
    type=click.Choice(["mean", "weights"]),
    default="mean",
    show_default=True,
    help="Of an ensemble: the mean of the probabilities, or of the weights (one network's size).",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="Where to train; auto is CUDA where there is one.",
)
@click.option("--mixed-precision", is_flag=True, help="bfloat16; on CUDA alone, refused elsewhere.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the processor.")
@click.option("--name", default="", help="The detector's name (default: model and data folder).")
@click.option("--version", default="1", show_default=True, help="The detector's version.")
@click.option("--resume", is_flag=True, help="Go on with a training that was stopped.")
@json_option
def train(data: Path, out: Path, resume: bool, as_json: bool, **chosen: Any) -> None:
    """Train a detector on patches in the Landslide4Sense layout and export it for `colluvium detect`.

    The epoch that is kept and the threshold are chosen on validation patches, of which training sees nothing;
    the test part is judged once, at the end. A killed training goes on with --resume to the same weights.
    """
    with needs_detection():
        from trainer.detection.train import train_detector

        request = _request(data, chosen)
    with exclusive(out / "lock", "colluvium detector train"), progress_bar("training") as progress:
        trained = train_detector(request, out, utc_now(), progress, resume)
    made, fitted = trained.manifest, trained.fitted
    if as_json:
        print_json({
            "folder": trained.folder, "manifest": json.loads(made.model_dump_json()),
            "validation": fitted.best._asdict(), "epochs": len(fitted.history),
            "best_epoch": fitted.best_epoch, "notes": fitted.notes,
        })  # fmt: skip
        return
    click.echo(
        f"{made.name} {made.version} in {trained.folder}{' (SYNTHETIC data)' if made.synthetic else ''}"
    )
    click.echo(f"  {made.architecture}, {made.pretrained}")
    click.echo(f"  epoch {fitted.best_epoch} of {len(fitted.history)} kept, threshold {made.threshold:g}")
    best, scores = fitted.best, made.scores
    click.echo(f"  validation  F1 {best.f1:.4f}  precision {best.precision:.4f}  recall {best.recall:.4f}")
    if scores is not None:
        figures = (("F1", scores.f1), ("precision", scores.precision), ("recall", scores.recall))
        words = "  ".join(f"{name} {'-' if value is None else f'{value:.4f}'}" for name, value in figures)
        click.echo(f"  test        {words}")
    for note in fitted.notes:
        click.echo(f"  note: {note}")


def _request(data: Path, chosen: dict[str, Any]) -> Any:
    from trainer.detection.fit import FitSettings
    from trainer.detection.networks import spec_of
    from trainer.detection.train import Request

    spec_of(chosen["model"])
    if chosen["combine"] != "mean" and chosen["ensemble"] < 2:
        raise UsageError("--combine is of an ensemble: give --ensemble 2 or more as well")
    settings = FitSettings(
        model=chosen["model"],
        loss=chosen["loss"],
        epochs=chosen["epochs"],
        batch=chosen["batch"],
        learning_rate=chosen["learning_rate"],
        patience=chosen["patience"] or None,
        choose_by=chosen["choose_by"],
        test_time_augmentation=chosen["tta"],
        base=chosen["base"],
        weights=chosen["weights"],
        seed=chosen["seed"],
        threads=chosen["threads"],
        device=chosen["device"],
        mixed_precision=chosen["mixed_precision"],
    )
    return Request(
        data=data,
        bands=tuple(name.strip() for name in chosen["bands"].split(",") if name.strip()),
        settings=settings,
        split=chosen["split"],
        without=chosen["without"],
        split_seed=chosen["split_seed"],
        regions_csv=chosen["regions"],
        members=chosen["ensemble"],
        combine=chosen["combine"],
        name=chosen["name"],
        version=chosen["version"],
        command=shlex.join(
            ["colluvium", *(word for word in sys.argv[1:] if word not in ("--resume", "--json"))]
        ),
    )
