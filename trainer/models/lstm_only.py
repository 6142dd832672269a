"""The LSTM-only model of Teng et al. 2026: the hybrid without its patch."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from trainer.fit import FitSettings
from trainer.models._network import ASSUMED, NetworkRecipe
from trainer.models.base import Input, Job
from trainer.networks.cnn_lstm import RECURRENT_DROPOUT, CnnLstm, Inputs


class LstmOnlyRecipe(NetworkRecipe):
    """The hybrid with Ws = 0: its weights are a CnnLstm's, so it is served as one.

    It fits and predicts without patches. To be served it needs a dataset with patches all the same: cells
    have factors, and their ranges are in the bundle.
    """

    name: ClassVar[str] = "lstm_only"
    title: ClassVar[str] = "LSTM-only"
    source: ClassVar[str] = "Teng et al. 2026"
    sees: ClassVar[tuple[Input, ...]] = ("window",)
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "layers, optimiser, rates": "those of the hybrid: the paper gives none for its single streams",
    }

    recurrent_dropout: Annotated[float, Field(ge=0, lt=1)] = RECURRENT_DROPOUT
    rain_penalty: Annotated[float, Field(ge=0)] = (
        0.0  # on heavier rain that lowers the index; not the paper's
    )

    def settings(self, job: Job) -> FitSettings:
        """Return how to train."""
        return replace(super().settings(job), rain_penalty=self.rain_penalty)

    def network(self, inputs: Inputs, seed: int) -> CnnLstm:
        """Return the network before training."""
        return CnnLstm(inputs, seed=seed, dropout=self.dropout, recurrent_dropout=self.recurrent_dropout)


RECIPE = LstmOnlyRecipe
