"""Turning a patch turns the ground: what the turned terrain would have given, the turned factors are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from service.errors import InputError
from service.manifest import FactorSpec, VariableSpec
from tests.trainer.fix_network import patches_of, tile, windows
from trainer.fit import FitSamples, FitSettings, fit
from trainer.fit_augment import SYMMETRIES, turn
from trainer.networks.cnn_lstm import CnnLstm, Inputs
from trainer.terrain import LOCAL_FACTORS, local_factors

NAMES = tuple(LOCAL_FACTORS)


def hill(seed: int = 0, size: int = 12) -> np.ndarray:
    """A rough slope without any symmetry, metres."""
    random = np.random.default_rng(seed)
    down, right = np.mgrid[:size, :size]
    return (9 * down + 4 * right + random.normal(0, 6, (size, size))).astype(np.float32)


@pytest.mark.parametrize("symmetry", range(SYMMETRIES))
@pytest.mark.parametrize("size", [12, 13])
def test_factors_of_turned_terrain_are_the_turned_factors(symmetry: int, size: int) -> None:
    dem = hill(size=size)
    which = np.array([symmetry])
    turned_dem = turn(dem[None, None], ("elevation",), which)[0, 0]
    expected = local_factors(turned_dem, 30.0, NAMES)
    found = turn(local_factors(dem, 30.0, NAMES)[None], NAMES, which)[0]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert np.isfinite(found).any(axis=(1, 2)).all()


def test_the_symmetries_are_eight_and_the_first_leaves_all_as_it_is() -> None:
    factors = local_factors(hill(), 30.0, NAMES)
    eight = turn(np.repeat(factors[None], SYMMETRIES, axis=0), NAMES, np.arange(SYMMETRIES))
    np.testing.assert_array_equal(eight[0], factors)
    assert len({values.tobytes() for values in eight}) == SYMMETRIES


def test_each_patch_of_a_batch_is_turned_by_itself() -> None:
    several = np.stack([local_factors(hill(seed), 30.0, NAMES) for seed in range(5)])
    which = np.array([6, 0, 3, 6, 1])
    one_by_one = [turn(several[n : n + 1], NAMES, which[n : n + 1])[0] for n in range(5)]
    np.testing.assert_array_equal(turn(several, NAMES, which), np.stack(one_by_one))


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("slope", "northness"), "turns northness into eastness"),
        (("eastness", "slope"), "turns eastness into northness"),
        (("aspect",), "cannot turn factor 'aspect'"),
    ],
)
def test_factors_that_cannot_be_turned_are_refused(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        turn(np.zeros((1, len(names), 5, 5), np.float32), names, np.array([0]))


SPECS = tuple(
    FactorSpec(name=name, unit="", minimum=-1.0, maximum=1.0) for name in ("northness", "eastness", "a", "b")
)
RAIN = (
    VariableSpec(name="rain", unit="mm", minimum=0.0, maximum=90.0),
    VariableSpec(name="level_below_full", unit="m", minimum=-60.0, maximum=2.0),
)
TURNED = FitSettings(epochs=1, batch=8, augment="square")


def samples() -> FitSamples:
    patches = patches_of(tile(22, 37), 22)
    patches = (patches / np.abs(patches).max(axis=(0, 2, 3), keepdims=True)).astype(np.float32)
    return FitSamples(np.tile([0, 1], 8).astype(np.float32), windows(16, 6), patches)


def test_a_training_sees_turned_patches_and_the_same_ones_when_it_is_repeated() -> None:
    histories = []
    for rules in (TURNED, TURNED, replace(TURNED, augment="none"), replace(TURNED, seed=1)):
        model = CnnLstm(Inputs(SPECS, RAIN, 22, 6))
        histories.append(fit(model, samples(), samples(), rules).history)
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]
    assert histories[0] != histories[3]


def test_a_training_without_patches_to_turn_is_refused() -> None:
    model = CnnLstm(Inputs(SPECS, RAIN, 22, 6))
    ready = replace(samples(), patches=None, embeddings=np.zeros((16, 128), np.float32))
    with pytest.raises(InputError, match="augmentation turns patches"):
        fit(model, ready, ready, TURNED)
    with pytest.raises(InputError, match="augmentation turns patches"):
        fit(model, samples(), samples(), replace(TURNED, frozen=("spatial",)))
    lone = CnnLstm(Inputs((SPECS[0], *SPECS[2:], SPECS[3].model_copy(update={"name": "c"})), RAIN, 22, 6))
    with pytest.raises(InputError, match="eastness, which is not among the factors"):
        fit(lone, samples(), samples(), TURNED)
