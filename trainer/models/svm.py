"""Support vector machine, as Teng et al. 2026 and Azarafza et al. 2021 compare it.

The probability is a logistic of the decision value, fitted to decision values of samples that were left out
of the fit (Platt 1999); scikit-learn's own `probability=True` is going away, and converters read a wrapped
pipeline wrongly without a word. Features are scaled before, in the graph of features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto
from pydantic import Field
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.svm import SVC

from service.errors import InputError
from trainer.calibration import platt, sigmoid
from trainer.dataset import FloatArray
from trainer.models._features import ASSUMED, Scaling
from trainer.models._tabular import BY_AUC, Learned, TabularRecipe, Task
from trainer.models.base import Epoch
from trainer.onnx_graph import GraphBuilder

_FOLDS = 5


@dataclass(frozen=True)
class Margin:
    """A fitted machine and the logistic of its decision value."""

    machine: SVC
    slope: float
    intercept: float
    history: tuple[Epoch, ...] = ()
    best_epoch: int | None = None

    def probability(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,)."""
        return sigmoid(self.slope * self.machine.decision_function(features) + self.intercept)

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        """Add sigmoid(slope * (sum of dual * kernel(support, x) + constant) + intercept), (n, 1)."""
        # Terms up to C cancel in the sum, so in float32 their rounding would show.
        value = graph.add("Cast", features, to=TensorProto.DOUBLE)
        support = np.asarray(self.machine.support_vectors_, dtype=np.float64)
        inner = graph.add("MatMul", value, graph.constant(support.T))
        if self.machine.kernel == "rbf":
            gamma = float(self.machine.gamma)
            squares = graph.add("ReduceSum", graph.add("Mul", value, value), graph.integers([1]), keepdims=1)
            twice = graph.add("Mul", inner, graph.constant(np.array(-2.0)))
            apart = graph.add(
                "Add", graph.add("Add", twice, squares), graph.constant((support**2).sum(axis=1))
            )
            inner = graph.add("Exp", graph.add("Mul", apart, graph.constant(np.array(-gamma))))
        dual = np.asarray(self.machine.dual_coef_, dtype=np.float64).T
        value = graph.add("MatMul", inner, graph.constant(dual * self.slope))
        constant = self.slope * float(self.machine.intercept_[0]) + self.intercept
        value = graph.add("Add", value, graph.constant(np.array(constant)))
        return graph.add("Sigmoid", graph.add("Cast", value, to=TensorProto.FLOAT))


class Svm(TabularRecipe):
    """A soft margin (Cortes and Vapnik 1995) with an RBF or linear kernel on features scaled to 0..1."""

    name: ClassVar[str] = "svm"
    title: ClassVar[str] = "SVM"
    source: ClassVar[str] = "Azarafza et al. 2021, Table 2 (kernels, C); Platt 1999"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "kernel": "grid RBF and linear; Azarafza et al. name 'Gama, Linear', read as the RBF kernel's gamma",
        "c, gamma": "grids 1, 10, 100 and 'scale' (1 / (features * variance)), 0.1; the papers give none",
        "probability": f"Platt 1999 on decision values left out of {_FOLDS} folds; the papers say 'native'",
        "grid": BY_AUC,
    }
    scaling: ClassVar[Scaling] = "min_max"
    default_grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {
        "kernel": ("rbf", "linear"),
        "c": (1.0, 10.0, 100.0),
        "gamma": ("scale", 0.1),
    }

    kernel: Literal["rbf", "linear"] = "rbf"
    c: Annotated[float, Field(gt=0)] = 1.0
    gamma: Annotated[float, Field(gt=0)] | Literal["scale"] = "scale"

    def learn(self, task: Task) -> Learned:
        """Fit the machine on all rows, its logistic on decision values of rows left out."""
        fewest = int(np.bincount(task.train.label, minlength=2).min())
        if fewest < _FOLDS:
            raise InputError(f"the SVM needs {_FOLDS} training samples of each class, there are {fewest}")
        features = task.train.features.astype(np.float64)
        gamma = 1 / (features.shape[1] * features.var()) if self.gamma == "scale" else self.gamma
        machine = SVC(kernel=self.kernel, C=self.c, gamma=gamma)
        folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=task.job.seed)
        left_out = cross_val_predict(
            machine, features, task.train.label, cv=folds, method="decision_function"
        )
        slope, intercept = platt(left_out, task.train.label)
        return Margin(machine.fit(features, task.train.label), slope, intercept)


RECIPE = Svm
