"""The spread of an ensemble says something, or there is none."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import SettingsError
from tests.trainer.models.fix_data import made_up, parts
from trainer.ensemble import fit_ensemble
from trainer.models import recipe_of
from trainer.models.base import Job, predict_rows


@pytest.mark.parametrize("name", ["gaussian_nb", "bernoulli_nb", "logistic_regression"])
def test_a_model_without_chance_has_no_members_that_agree_with_it(name: str) -> None:
    data = made_up(120)
    train, validation, _ = parts(data)
    with pytest.raises(SettingsError, match=r"the same under every seed, .* set members = 0"):
        fit_ensemble(recipe_of(name), data, train, validation, Job(), members=2)
    assert len(fit_ensemble(recipe_of(name), data, train, validation, Job(), members=0)) == 1


def test_members_of_a_model_with_chance_disagree_and_the_first_is_the_model_alone() -> None:
    data = made_up(120)
    train, validation, test = parts(data)
    recipe = recipe_of("random_forest", {"trees": 10})
    found = fit_ensemble(recipe, data, train, validation, Job(seed=3), members=2)
    said = [predict_rows(one, data, test) for one in found]
    assert np.std(said, axis=0).max() > 0
    alone = recipe.fit(data, train, validation, Job(seed=3))
    np.testing.assert_array_equal(said[0], predict_rows(alone, data, test))
