"""What is taken away changes the susceptibility as the formula says."""

from __future__ import annotations

import numpy as np
import pytest

from service.errors import InputError
from tests.trainer.fix_ground import DAYS, PATCH, VARIABLES, Formula, ground, slope_and_rain
from trainer.dataset import FloatArray, Variable
from trainer.occlusion import Attribution, Reference, attribute, mean_reference

DATA = ground(60)
NAMES = tuple(factor.name for factor in DATA.factors)
ROWS = np.arange(40)


def sample(row: int = 50) -> tuple[FloatArray, FloatArray]:
    assert DATA.patches is not None
    assert DATA.windows is not None
    return DATA.patches[row], DATA.windows[row]


def of(model: Formula, patch: FloatArray, window: FloatArray, **more: int) -> Attribution:
    return attribute(model, patch, window, mean_reference(DATA, ROWS), NAMES, VARIABLES, **more)


def test_the_reference_is_the_mean_of_training_rows_and_their_most_frequent_category() -> None:
    assert DATA.patches is not None
    for batch in (7, 256):
        found = mean_reference(DATA, ROWS, batch).patch
        assert found.shape == (3, PATCH, PATCH)
        assert found[0] == pytest.approx(np.full((PATCH, PATCH), DATA.patches[ROWS, 0].mean()), rel=1e-5)
        assert (found[2] == 2).all()
    own = Reference.of_sample(DATA, 3)
    assert (own.patch == DATA.patches[3]).all()
    assert "500120" in own.words


def test_a_factor_changes_what_the_formula_says_and_others_nothing() -> None:
    patch, window = sample()
    model = Formula(slope_and_rain)
    found = of(model, patch, window)
    steeper = patch.copy()
    steeper[0] = mean_reference(DATA, ROWS).patch[0]
    before, after = model.predict(np.stack([patch, steeper]), np.stack([window, window]))
    assert found.susceptibility == pytest.approx(before)
    changes = {effect.factor: effect.change for effect in found.factors}
    assert changes["slope"] == pytest.approx(before - after)
    assert changes["slope"] != 0
    assert (changes["elevation"], changes["rock"]) == (0, 0)
    assert "40 training samples" in str(found.reference)


def test_a_square_matters_where_the_formula_looks() -> None:
    patch, window = sample()
    found = of(Formula(slope_and_rain), patch, window, square=2)
    assert found.squares is not None
    assert found.squares.shape == (3, 3)  # 5 cells in squares of 2, the last cut
    assert list(zip(*np.nonzero(found.squares), strict=True)) == [(1, 1)]  # the centre cell is (2, 2)


def test_the_rain_of_some_days_is_taken_away_at_a_time() -> None:
    patch, window = sample()
    window = window.copy()
    window[:, 0] = 0
    window[7, 0] = 40  # the last day but two
    found = of(Formula(slope_and_rain), patch, window, days=4)
    rain = [effect for effect in found.days if effect.variable == "rain"]
    assert [(effect.first_days_back, effect.last_days_back) for effect in rain] == [(9, 6), (5, 2), (1, 0)]
    assert [effect.change > 0 for effect in rain] == [False, True, False]
    assert [effect.change for effect in found.days if effect.variable == "reservoir levels"] == [0, 0, 0]


def test_a_level_that_is_taken_away_stands_as_on_the_day_before() -> None:
    patch, window = sample()
    window = window.copy()
    window[:, 1] = [-20, -20, -20, -20, -26, -26, -26, -26, -26, -26]
    window[:, 2] = np.diff(window[:, 1], prepend=-20)
    seen: list[FloatArray] = []

    def remember(patches: FloatArray, windows: FloatArray) -> FloatArray:
        seen.extend(windows)
        return windows[:, :, 2].min(axis=1)

    found = of(Formula(remember), patch, window, days=4)
    levels = [effect for effect in found.days if effect.variable == "reservoir levels"]
    # The drawdown of day 4 is in the middle block: without it the level does not fall there.
    assert [effect.change != 0 for effect in levels] == [False, True, False]
    without = next(w for w in seen if (w[:, 1] != window[:, 1]).any())
    assert without[:, 1].tolist() == [-20] * 8 + [-26] * 2
    assert (without[4:8, 2] == 0).all()
    assert (without[:, 0] == window[:, 0]).all()


def test_a_cell_without_a_reservoir_keeps_its_constants() -> None:
    patch, window = sample()
    window = window.copy()
    window[:, 1], window[:, 2] = -99, -9
    variables = (*VARIABLES[:2], Variable("level_change_1d", "m", unlinked=-9.0))
    model = Formula(lambda _, windows: windows[:, :, 1:].mean(axis=(1, 2)) / 99)
    found = attribute(model, patch, window, mean_reference(DATA, ROWS), NAMES, variables)
    assert [effect.change for effect in found.days if effect.variable == "reservoir levels"] == [0, 0]
    window[0, 2] = -8  # with one day of a level there is a reservoir
    found = attribute(model, patch, window, mean_reference(DATA, ROWS), NAMES, variables)
    assert [effect.change for effect in found.days if effect.variable == "reservoir levels"] != [0, 0]


def test_batches_change_nothing() -> None:
    patch, window = sample()
    model = Formula(slope_and_rain)
    small, large = of(model, patch, window, batch=3), of(model, patch, window)
    assert small.factors == large.factors
    assert small.days == large.days
    assert model.largest == 1 + 3 + 1 + 2 * (DAYS // 5)


def test_a_reference_of_another_shape_is_refused() -> None:
    patch, window = sample()
    wrong = Reference(np.zeros((3, 4, 4), np.float32), "too small")
    with pytest.raises(InputError, match=r"shape \(3, 4, 4\).*\(3, 5, 5\)"):
        attribute(Formula(slope_and_rain), patch, window, wrong, NAMES, VARIABLES)
    with pytest.raises(InputError, match="neither patch nor window"):
        attribute(Formula(slope_and_rain), None, None, None, NAMES, VARIABLES)
