"""`colluvium detector`: make and judge models that see landslides in satellite scenes."""

from __future__ import annotations

import click

from trainer.detection.compare_command import compare
from trainer.detection.data_commands import inspect, show, synthetic
from trainer.detection.evaluate_command import evaluate, real_patch
from trainer.detection.train_command import train


@click.group()
def detector() -> None:
    """Make and judge models that see landslides in satellite scenes.

    They are trained on patches in the Landslide4Sense layout; `colluvium detect` uses them.
    """


detector.add_command(train)
for _command in (synthetic, inspect, show, compare, evaluate, real_patch):
    detector.add_command(_command)
