"""Gaussian naive Bayes, as Azarafza et al. 2021 compare it.

A feature that never varies within a class (a category without one landslide) has the smoothing as its only
variance there, and a cell apart from it a term of 1e9 and more. Two such terms against each other leave in
float32 nothing of what decides between the classes, so the graph is written here, in float64.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field
from sklearn.naive_bayes import GaussianNB as Classifier

from trainer.calibration import sigmoid
from trainer.dataset import FloatArray
from trainer.models._features import ASSUMED, Scaling
from trainer.models._tabular import BY_AUC, Learned, TabularRecipe, Task
from trainer.models.base import Epoch
from trainer.onnx_graph import GraphBuilder

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Bells:
    """Normal distributions of the features in each class."""

    mean: Array  # (2, F), of class 0 and class 1
    variance: Array  # (2, F), smoothing included
    prior: Array  # (2,) share of each class
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    def probability(self, features: FloatArray) -> Array:
        """Return susceptibility (n,): the logit is what each feature says for class 1, added in order."""
        value = features.astype(np.float64)
        none, event = (np.square(value - self.mean[c]) / self.variance[c] for c in (0, 1))
        return sigmoid(np.cumsum((none - event) * 0.5 + self._constants, axis=1)[:, -1])

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        """Add the same in the same order, (n, 1)."""
        value = graph.add("Cast", features, to=TensorProto.DOUBLE)
        distances = []
        for mean, variance in zip(self.mean, self.variance, strict=True):
            apart = graph.add("Sub", value, graph.constant(mean))
            distances.append(graph.add("Div", graph.add("Mul", apart, apart), graph.constant(variance)))
        said = graph.add("Mul", graph.add("Sub", *distances), graph.constant(np.array(0.5)))
        said = graph.add("Add", said, graph.constant(self._constants))
        sums = graph.add("CumSum", said, graph.scalar(1))
        logit = graph.add("Gather", sums, graph.integers([self.mean.shape[1] - 1]), axis=1)
        return graph.add("Sigmoid", graph.add("Cast", logit, to=TensorProto.FLOAT))

    @property
    def _constants(self) -> Array:
        """What does not depend on the features' values, (F,); the priors go to the first feature."""
        constants = np.log(self.variance[0] / self.variance[1]) * 0.5
        constants[0] += np.log(self.prior[1] / self.prior[0])
        return np.asarray(constants)


class GaussianNB(TabularRecipe):
    """Features are taken as independent and normal within each class."""

    name: ClassVar[str] = "gaussian_nb"
    title: ClassVar[str] = "Gaussian naive Bayes"
    source: ClassVar[str] = "Azarafza et al. 2021, Table 2 (smoothing)"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "smoothing": "grid 1e-9 (scikit-learn's default), 1e-6, 1e-3, 0.1; the paper gives no value",
        "grid": BY_AUC,
    }
    scaling: ClassVar[Scaling] = "min_max"  # the smoothing is a share of the largest variance
    default_grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"smoothing": (1e-9, 1e-6, 1e-3, 0.1)}

    smoothing: Annotated[float, Field(gt=0)] = 1e-9  # added variance, as a share of the largest feature's

    def learn(self, task: Task) -> Learned:
        """Fit means and variances."""
        # float64: the variance of a float32 column loses digits that the smoothing then stands for.
        fitted = Classifier(var_smoothing=self.smoothing).fit(
            task.train.features.astype(np.float64), task.train.label
        )
        return Bells(fitted.theta_, fitted.var_, fitted.class_prior_)


RECIPE = GaussianNB
