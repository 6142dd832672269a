"""What a model does not look at has no importance; what it looks at has."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from service.errors import InputError
from tests.trainer.fix_ground import Formula, ground, slope_and_rain
from trainer.importance import Drop, Importance, permutation_importance

DATA = ground()
HELD_OUT = np.arange(100, 400)
BLOCK = HELD_OUT // 6


def importance(**more: object) -> Importance:
    return permutation_importance(
        Formula(slope_and_rain), DATA, HELD_OUT, BLOCK, **({"repeats": 4, "resamples": 60} | more)  # type: ignore[arg-type]
    )  # fmt: skip


def by_name(found: Importance) -> dict[tuple[str, str], Drop]:
    return {(drop.kind, drop.name): drop for drop in found.drops}


def test_only_what_the_formula_uses_is_important_and_the_rest_is_exactly_nothing() -> None:
    found = importance()
    drops = by_name(found)
    used = {("factor", "slope"), ("variable", "rain"), ("branch", "patch"), ("branch", "rain")}
    assert set(drops) == used | {
        ("factor", "elevation"), ("factor", "rock"), ("variable", "level_below_full"),
        ("variable", "level_change_1d"), ("branch", "reservoir levels"),
    }  # fmt: skip
    for key, drop in drops.items():
        for loss in (drop.auc, drop.log_loss):
            if key in used:
                assert 0.02 < loss.low < loss.mean < loss.high
            else:
                assert (loss.mean, loss.low, loss.high) == (0, 0, 0)
    assert 0.8 < found.auc < 1
    assert (found.rows, found.blocks, found.repeats) == (300, len(np.unique(BLOCK)), 4)


def test_the_loss_is_that_of_shuffled_inputs_written_out() -> None:
    drop = by_name(importance(repeats=40))["factor", "slope"]
    random = np.random.default_rng(77)
    assert DATA.patches is not None
    assert DATA.windows is not None
    patches, windows, label = DATA.patches[HELD_OUT], DATA.windows[HELD_OUT], DATA.label[HELD_OUT]
    whole = roc_auc_score(label, slope_and_rain(patches, windows))
    losses = []
    for _ in range(40):
        shuffled = patches.copy()
        shuffled[:, 0] = patches[random.permutation(len(patches)), 0]
        losses.append(whole - roc_auc_score(label, slope_and_rain(shuffled, windows)))
    assert drop.auc.mean == pytest.approx(np.mean(losses), abs=0.02)


def test_shares_are_of_factors_rain_and_levels_and_add_up_to_a_hundred() -> None:
    found = importance()
    shares = {drop.name: drop.share for drop in found.drops if drop.share is not None}
    assert set(shares) == {"slope", "elevation", "rock", "rain", "reservoir levels"}
    assert sum(shares.values()) == pytest.approx(100)
    drops = by_name(found)
    assert shares["slope"] / shares["rain"] == pytest.approx(
        drops["factor", "slope"].auc.mean / drops["branch", "rain"].auc.mean
    )


def test_the_members_of_a_group_move_together() -> None:
    # A model of the sum of two factors that are each other's negative: together they say nothing, and a
    # shuffle that keeps them together changes nothing.
    assert DATA.patches is not None
    patches = DATA.patches.copy()
    patches[:, 1] = -patches[:, 0]
    data = replace(DATA, patches=patches)
    model = Formula(lambda p, w: p[:, 0, 2, 2] + p[:, 1, 2, 2] + w[:, :, 0].sum(axis=1) / 20)
    found = by_name(
        permutation_importance(
            model, data, HELD_OUT, BLOCK, groups={"both": ("slope", "elevation")}, repeats=3, resamples=20
        )
    )
    assert found["factor", "slope"].log_loss.mean > 1
    assert found["group", "both"].auc.mean == 0
    assert found["group", "both"].members == ("slope", "elevation")
    mixed = importance(groups={"wet and steep": ("slope", "rain")})
    both = by_name(mixed)["group", "wet and steep"]
    assert both.auc.mean > by_name(mixed)["factor", "slope"].auc.mean
    assert both.auc.mean == pytest.approx(mixed.auc - 0.5, abs=0.1)
    assert both.share is None


def test_the_same_seed_gives_the_same_figures() -> None:
    assert importance(seed=3) == importance(seed=3)
    assert importance(seed=3) != importance(seed=4)


def test_batches_change_nothing_and_are_never_larger_than_asked() -> None:
    small = Formula(slope_and_rain)
    found = permutation_importance(small, DATA, HELD_OUT, BLOCK, repeats=2, resamples=20, batch=32)
    assert small.largest == 32
    large = permutation_importance(
        Formula(slope_and_rain), DATA, HELD_OUT, BLOCK, repeats=2, resamples=20, batch=1000
    )
    for one, other in zip(found.drops, large.drops, strict=True):
        assert one.auc.mean == pytest.approx(other.auc.mean)


def test_a_dataset_without_windows_has_the_patch_branch_alone() -> None:
    class Steep(Formula):
        def predict(self, patches: object, windows: object) -> np.ndarray:
            assert windows is None
            assert isinstance(patches, np.ndarray)
            return np.asarray(np.clip(patches[:, 0, 2, 2] / 60, 0, 1), np.float64)

    data = replace(DATA, windows=None, variables=())
    found = permutation_importance(Steep(slope_and_rain), data, HELD_OUT, BLOCK, repeats=2, resamples=20)
    assert [drop.name for drop in found.drops] == ["slope", "elevation", "rock", "patch"]
    assert [drop.share for drop in found.drops] == [100, 0, 0, None]


def test_progress_ends_and_the_result_is_plain_json() -> None:
    told: list[tuple[int, int]] = []
    found = importance(progress=lambda done, whole: told.append((done, whole)))
    assert told[-1][0] == told[-1][1] == len(told)
    read = json.loads(json.dumps(found.to_json(), allow_nan=False))
    assert read["drops"][0]["name"] == "slope"
    assert set(read["drops"][0]["auc"]) == {"mean", "low", "high"}


def test_what_cannot_be_judged_is_refused() -> None:
    landslides = np.flatnonzero(DATA.label == 1)
    with pytest.raises(InputError, match="both classes"):
        permutation_importance(Formula(slope_and_rain), DATA, landslides, landslides)
    with pytest.raises(InputError, match="'mine' of the importance names aspect"):
        importance(groups={"mine": ("slope", "aspect")})
