"""Bernoulli naive Bayes, as Azarafza et al. 2021 compare it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from sklearn.naive_bayes import BernoulliNB as Classifier

from trainer.models._features import ASSUMED, Scaling
from trainer.models._tabular import BY_AUC, Converted, Learned, TabularRecipe, Task


class BernoulliNB(TabularRecipe):
    """Features are taken as independent and either high or low: above the training median or not."""

    name: ClassVar[str] = "bernoulli_nb"
    title: ClassVar[str] = "Bernoulli naive Bayes"
    source: ClassVar[str] = "Azarafza et al. 2021, Table 2 (alpha)"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "binarised": "above the median of the training samples or not; the paper does not say where",
        "alpha": "grid 0.1, 1, 10; the paper gives no value",
        "grid": BY_AUC,
    }
    scaling: ClassVar[Scaling] = "median"
    default_grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"alpha": (1.0, 0.1, 10.0)}

    alpha: Annotated[float, Field(gt=0)] = 1.0

    def learn(self, task: Task) -> Learned:
        """Count highs in each class."""
        return Converted(
            Classifier(alpha=self.alpha, binarize=0.0).fit(task.train.features, task.train.label)
        )


RECIPE = BernoulliNB
