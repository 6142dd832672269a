"""Logistic regression, as Azarafza et al. 2021 compare it."""

from __future__ import annotations

import warnings
from typing import Annotated, ClassVar

from pydantic import Field
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression as Classifier

from service.errors import InputError
from trainer.models._features import ASSUMED, Scaling
from trainer.models._tabular import Converted, Learned, TabularRecipe, Task


class LogisticRegression(TabularRecipe):
    """A logit linear in the features, which are scaled to 0..1."""

    name: ClassVar[str] = "logistic_regression"
    title: ClassVar[str] = "Logistic regression"
    source: ClassVar[str] = "Azarafza et al. 2021, Table 2 (random state, max iter)"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "c": "1 (scikit-learn's default): the penalty is half the sum of squared weights; the paper has none",
        "iterations": "at most 1000; the paper gives no value",
    }
    scaling: ClassVar[Scaling] = "min_max"

    c: Annotated[float, Field(gt=0)] = 1.0
    iterations: Annotated[int, Field(ge=1)] = 1000

    def learn(self, task: Task) -> Learned:
        """Fit the weights. Raises InputError where they do not settle."""
        model = Classifier(C=self.c, max_iter=self.iterations, random_state=task.job.seed)
        with warnings.catch_warnings():
            warnings.simplefilter("error", ConvergenceWarning)
            try:
                model.fit(task.train.features, task.train.label)
            except ConvergenceWarning as warning:
                raise InputError(
                    f"logistic regression has not settled after {self.iterations} iterations; either raise "
                    "models.logistic_regression.iterations or lower its c"
                ) from warning
        return Converted(model)


RECIPE = LogisticRegression
