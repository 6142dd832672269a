"""Multilayer perceptron, as Teng et al. 2026 and Azarafza et al. 2021 compare it."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field
from sklearn.neural_network import MLPClassifier

from service.errors import InputError
from trainer.models._features import ASSUMED, Scaling
from trainer.models._tabular import BY_AUC, Converted, Learned, TabularRecipe, Task, cross_entropy
from trainer.models.base import Epoch


class Mlp(TabularRecipe):
    """Dense layers with ReLU on features scaled to 0..1; Adam; the epoch with the least validation loss."""

    name: ClassVar[str] = "mlp"
    title: ClassVar[str] = "MLP"
    source: ClassVar[str] = "Azarafza et al. 2021, Table 2 (hidden layers' size, learning rate)"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "hidden, learning_rate": "grids (64), (64, 32) and 0.001, 0.01; the papers give no values",
        "epochs, patience": "at most 200, and 20 without a smaller validation loss; the papers give none",
        "batch, alpha": "32 and an L2 penalty of 0.0001 (scikit-learn's default); the papers give none",
        "grid": BY_AUC,
    }
    scaling: ClassVar[Scaling] = "min_max"
    default_grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "hidden": ((64,), (64, 32)),
        "learning_rate": (0.001, 0.01),
    }

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)] = (64, 32)
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    epochs: Annotated[int, Field(ge=1)] = 200
    patience: Annotated[int, Field(ge=1)] = 20
    batch: Annotated[int, Field(ge=1)] = 32
    alpha: Annotated[float, Field(ge=0)] = 1e-4

    def learn(self, task: Task) -> Learned:
        """Train until the validation loss has not fallen for `patience` epochs; keep the best."""
        if not len(task.validation.label):
            raise InputError("the MLP needs validation rows: they say when to stop")
        network = MLPClassifier(
            hidden_layer_sizes=self.hidden,
            learning_rate_init=self.learning_rate,
            batch_size=min(self.batch, len(task.train.label)),
            alpha=self.alpha,
            # One generator for all epochs: from a number, each call of partial_fit would start it again.
            random_state=np.random.RandomState(task.job.seed),  # the only kind it takes
        )
        history: list[Epoch] = []
        best, kept = float("inf"), network
        for epoch in range(1, self.epochs + 1):
            network.partial_fit(task.train.features, task.train.label, classes=[0, 1])
            found = Converted(network)
            losses = [
                cross_entropy(part.label, found.probability(part.features))
                for part in (task.train, task.validation)
            ]
            history.append(Epoch(epoch, *losses))
            if losses[1] < best:
                best, kept = losses[1], copy.deepcopy(network)
            if epoch - int(np.argmin([item.validation for item in history])) > self.patience:
                break
        best_epoch = 1 + int(np.argmin([item.validation for item in history]))
        return Converted(kept, tuple(history), best_epoch)


RECIPE = Mlp
