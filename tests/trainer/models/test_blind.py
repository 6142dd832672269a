"""No model's fit sees test rows: not in scaling, not in feature choice, not in a grid search."""

from __future__ import annotations

import numpy as np
import pytest

from tests.trainer.models.fix_data import made_up, parts
from trainer.folds import Fold
from trainer.leakage import prove_blind
from trainer.models import names, recipe_of
from trainer.models.base import Job

# As little work as shows it.
QUICK = {
    "cnn_lstm": {"epochs": 1},
    "cnn_only": {"epochs": 1},
    "lstm_only": {"epochs": 1},
    "cnn_dnn": {"epochs": 1, "optimisers": ["sgd"], "learning_rates": [0.01], "layers": [1], "units": [8]},
    "random_forest": {"trees": 10},
    "xgboost": {"trees": 10},
}


@pytest.mark.parametrize("name", names())
def test_other_test_rows_give_the_same_model(name: str) -> None:
    data = made_up(120)
    train, validation, test = parts(data)
    fold = Fold("held out", train, validation, test, np.zeros(0, np.int64))

    assert prove_blind(recipe_of(name, QUICK.get(name)), data, fold, Job()) is None
