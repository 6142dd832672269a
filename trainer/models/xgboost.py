"""Gradient-boosted trees by XGBoost: the family of LHASA version 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
from onnxmltools import convert_xgboost
from onnxmltools.convert.common.data_types import FloatTensorType
from pydantic import Field
from xgboost import XGBClassifier

from service.errors import InputError
from trainer.dataset import FloatArray
from trainer.models._features import ASSUMED
from trainer.models._tabular import Learned, TabularRecipe, Task
from trainer.models.base import Epoch
from trainer.onnx_graph import GraphBuilder

_OPSET = 15  # the highest that onnxmltools' converter takes; its one node is of ai.onnx.ml


@dataclass(frozen=True)
class Boosted:
    """Trees up to the round with the least validation loss."""

    classifier: XGBClassifier
    width: int  # features
    history: tuple[Epoch, ...]
    best_epoch: int

    def probability(self, features: FloatArray) -> npt.NDArray[np.float64]:
        """Return susceptibility (n,)."""
        return np.asarray(self.classifier.predict_proba(features)[:, 1], dtype=np.float64)

    def add_to(self, graph: GraphBuilder, features: str) -> str:
        """Add the trees; return the name of the probability of class 1."""
        types = [("features", FloatTensorType([None, self.width]))]
        model = convert_xgboost(self.classifier, initial_types=types, target_opset=_OPSET)
        both = graph.embed(model, {"features": features}, model.graph.output[1].name)
        return graph.add("Gather", both, graph.scalar(1), axis=1)


class Xgboost(TabularRecipe):
    """Boosted trees with a logistic loss; validation rows say at which round to stop."""

    name: ClassVar[str] = "xgboost"
    title: ClassVar[str] = "XGBoost"
    source: ClassVar[str] = "Chen and Guestrin 2016; the family of LHASA version 2 (Stanley et al. 2021)"
    assumed: ClassVar[dict[str, str]] = ASSUMED | {
        "trees, patience": "at most 300, and 30 rounds without a smaller validation loss: global figures of "
        "LHASA are not for an inventory of hundreds",
        "depth, learning_rate": "4 and 0.05",
        "subsample, columns": "0.8 of the samples and of the features for each tree",
    }

    trees: Annotated[int, Field(ge=1)] = 300
    depth: Annotated[int, Field(ge=1)] = 4
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.05
    subsample: Annotated[float, Field(gt=0, le=1)] = 0.8
    columns: Annotated[float, Field(gt=0, le=1)] = 0.8
    patience: Annotated[int, Field(ge=1)] = 30

    def learn(self, task: Task) -> Learned:
        """Boost until the validation loss has not fallen for `patience` rounds; keep the best."""
        if not len(task.validation.label):
            raise InputError("XGBoost needs validation rows: they say when to stop")
        classifier = XGBClassifier(
            objective="binary:logistic",
            n_estimators=self.trees,
            max_depth=self.depth,
            learning_rate=self.learning_rate,
            subsample=self.subsample,
            colsample_bytree=self.columns,
            tree_method="hist",
            device="cpu",
            eval_metric="logloss",
            early_stopping_rounds=self.patience,
            random_state=task.job.seed,
            n_jobs=1,  # histograms are summed by thread, so more of them could change the trees
        )
        parts = [(part.features, part.label) for part in (task.train, task.validation)]
        classifier.fit(task.train.features, task.train.label, eval_set=parts, verbose=False)
        losses = classifier.evals_result()
        rounds = zip(losses["validation_0"]["logloss"], losses["validation_1"]["logloss"], strict=True)
        history = tuple(Epoch(number, *pair) for number, pair in enumerate(rounds, start=1))
        return Boosted(classifier, task.train.features.shape[1], history, classifier.best_iteration + 1)


RECIPE = Xgboost
