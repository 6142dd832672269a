"""Random forest (Breiman 2001), as Teng et al. 2026 compare it."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field
from sklearn.ensemble import RandomForestClassifier

from trainer.models._features import ASSUMED
from trainer.models._tabular import Converted, Learned, TabularRecipe, Task


class RandomForest(TabularRecipe):
    """Trees on bootstrap samples, the square root of the features tried at each split, votes by share."""

    name: ClassVar[str] = "random_forest"
    title: ClassVar[str] = "Random forest"
    source: ClassVar[str] = "Breiman 2001; compared in Teng et al. 2026, Table 2"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "trees": "300; the text of Teng et al. gives no hyperparameters of the forest",
        "depth": "not limited, as in Breiman 2001",
        "min_leaf": "1 sample, as in Breiman 2001",
    }

    trees: Annotated[int, Field(ge=1)] = 300
    depth: Annotated[int, Field(ge=1)] | None = None
    min_leaf: Annotated[int, Field(ge=1)] = 1

    def learn(self, task: Task) -> Learned:
        """Grow the forest; the same whatever the number of threads."""
        forest = RandomForestClassifier(
            n_estimators=self.trees,
            max_depth=self.depth,
            min_samples_leaf=self.min_leaf,
            random_state=task.job.seed,
            n_jobs=task.job.threads,
        )
        forest.fit(task.train.features, task.train.label)
        # Threads add their trees' votes in the order in which they end, which shows in the last bit.
        return Converted(forest.set_params(n_jobs=1))


RECIPE = RandomForest
