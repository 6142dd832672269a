"""The CNN-only model of Teng et al. 2026: the hybrid without its window."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from trainer.fit import FitSettings
from trainer.models._network import ASSUMED, NetworkRecipe
from trainer.models.base import Input, Job


class CnnOnlyRecipe(NetworkRecipe):
    """The hybrid with Wt = 0: its weights are a CnnLstm's, so it is served as one."""

    name: ClassVar[str] = "cnn_only"
    title: ClassVar[str] = "CNN-only"
    source: ClassVar[str] = "Teng et al. 2026"
    sees: ClassVar[tuple[Input, ...]] = ("patches",)
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "layers, optimiser, rates": "those of the hybrid: the paper gives none for its single streams",
    }

    augment: Literal["none", "square"] = "none"  # "square": patches turned and mirrored at random

    def settings(self, job: Job) -> FitSettings:
        """Return how to train."""
        return replace(super().settings(job), augment=self.augment)


RECIPE = CnnOnlyRecipe
