"""Options that `detector train` and `detector compare` share: one training is described in one way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def training_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --regions, --loss, --epochs, --batch, --learning-rate and --tta."""
    for option in (
        click.option(
            "--tta", is_flag=True, help="Predict as the mean over the eight symmetries; eightfold work."
        ),
        click.option(
            "--learning-rate",
            type=click.FloatRange(min=0, min_open=True),
            default=1e-3,
            show_default=True,
            help="At its highest, after the warm-up; it falls as a cosine.",
        ),
        click.option(
            "--batch", type=click.IntRange(min=2), default=16, show_default=True, help="Patches a step."
        ),
        click.option(
            "--epochs", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many."
        ),
        click.option(
            "--loss",
            type=click.Choice(["bce_dice", "focal", "tversky"]),
            default="bce_dice",
            show_default=True,
            help="Cross-entropy and Dice; focal (Lin et al. 2017); Tversky (Salehi et al. 2017).",
        ),
        click.option(
            "--regions",
            type=click.Path(path_type=Path, dir_okay=False, exists=True),
            help="CSV with columns id (such as train/17) and region.",
        ),
    ):
        command = option(command)
    return command
