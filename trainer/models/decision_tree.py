"""Decision tree (Breiman et al. 1984), as Teng et al. 2026 and Azarafza et al. 2021 compare it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field
from sklearn.tree import DecisionTreeClassifier

from trainer.models._features import ASSUMED
from trainer.models._tabular import BY_AUC, Converted, Learned, TabularRecipe, Task


class DecisionTree(TabularRecipe):
    """One tree, split by Gini impurity."""

    name: ClassVar[str] = "decision_tree"
    title: ClassVar[str] = "Decision tree"
    source: ClassVar[str] = "Breiman et al. 1984; Azarafza et al. 2021, Table 2 (max depth, random state)"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "depth, min_leaf": "grids 3, 5, 8, 12 and 1, 5, 20; the papers give no values",
        "grid": BY_AUC,
    }
    default_grid: ClassVar[Mapping[str, tuple[Any, ...]]] = {"depth": (3, 5, 8, 12), "min_leaf": (1, 5, 20)}

    depth: Annotated[int, Field(ge=1)] | None = None
    min_leaf: Annotated[int, Field(ge=1)] = 1

    def learn(self, task: Task) -> Learned:
        """Grow the tree."""
        tree = DecisionTreeClassifier(
            max_depth=self.depth, min_samples_leaf=self.min_leaf, random_state=task.job.seed
        )
        return Converted(tree.fit(task.train.features, task.train.label))


RECIPE = DecisionTree
