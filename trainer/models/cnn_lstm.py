"""The hybrid CNN-LSTM of Teng et al. 2026."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from trainer.fit import FitSettings
from trainer.models._network import ASSUMED, NetworkRecipe
from trainer.models.base import Input, Job
from trainer.networks.cnn_lstm import RECURRENT_DROPOUT, CnnLstm, Inputs


class CnnLstmRecipe(NetworkRecipe):
    """Patches through a CNN, windows through an LSTM, both in two dense layers."""

    name: ClassVar[str] = "cnn_lstm"
    title: ClassVar[str] = "CNN-LSTM"
    source: ClassVar[str] = "Teng et al. 2026"
    sees: ClassVar[tuple[Input, ...]] = ("patches", "window")
    assumed: ClassVar[dict[str, str]] = ASSUMED

    recurrent_dropout: Annotated[float, Field(ge=0, lt=1)] = RECURRENT_DROPOUT
    rain_penalty: Annotated[float, Field(ge=0)] = (
        0.0  # on heavier rain that lowers the index; not the paper's
    )
    augment: Literal["none", "square"] = "none"  # "square": patches turned and mirrored at random

    def settings(self, job: Job) -> FitSettings:
        """Return how to train."""
        return replace(super().settings(job), rain_penalty=self.rain_penalty, augment=self.augment)

    def network(self, inputs: Inputs, seed: int) -> CnnLstm:
        """Return the network before training."""
        return CnnLstm(inputs, seed=seed, dropout=self.dropout, recurrent_dropout=self.recurrent_dropout)


RECIPE = CnnLstmRecipe
