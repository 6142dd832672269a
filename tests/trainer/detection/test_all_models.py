"""All thirteen models with fourteen bands: they learn, they export, and the graph gives what torch gives.

Three of them are trained for a while, on SYNTHETIC patches.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from service.detection.bands import LANDSLIDE4SENSE
from service.runtime import make_session
from tests.trainer.detection.fix_learnable import MadePatches
from trainer.detection.export import INPUT, OUTPUT, TOLERANCE, detector_graph, random_patches
from trainer.detection.fit import FitSettings, FittedDetector, fit_detector
from trainer.detection.fit_network import weights_of
from trainer.detection.networks import MODELS, build
from trainer.detection.synthetic_set import make_patch

pytestmark = pytest.mark.slow

SIZE = 128
SPREAD = 1e-5  # of what a barely trained network says of one place and another


def painted(count: int, seed: int, size: int = SIZE) -> MadePatches:
    """SYNTHETIC patches with landslides, of one background."""
    found, number = [], 0
    while len(found) < count:
        number += 1
        patch = make_patch(seed, "train", number, "forest", size)
        if patch.mask is not None and patch.mask.sum() > 20:
            found.append(patch)
    return MadePatches(found, bands=LANDSLIDE4SENSE, prefix=f"painted{seed}")


def one_step(model: str, folder: Path) -> FittedDetector:
    rules = FitSettings(model=model, epochs=1, batch=2, patience=None, average=0.0)
    return fit_detector(painted(2, 1), range(2), painted(1, 2), range(1), rules, folder)


@dataclass(frozen=True)
class Apart:
    """How far results are from each other at the most, and how far torch's own are spread."""

    graph: float  # the exported graph from torch
    rounding: float  # torch from torch in float64
    spread: float


def apart(fitted: FittedDetector, size: int) -> Apart:
    given = random_patches(fitted, 3, seed=5)[:, :, :size, :size]
    session = make_session(
        detector_graph(fitted.network, 14, size).SerializeToString(), "exported", threads=1
    )
    found = session.run([OUTPUT], {INPUT: given})[0]
    with torch.no_grad():
        wanted = fitted.network(torch.from_numpy(given)).numpy()
        exact = copy.deepcopy(fitted.network).double()(torch.from_numpy(given).double()).numpy()
    assert found.shape == (3, 1, size, size)
    assert 0 <= found.min() <= found.max() <= 1
    return Apart(
        float(np.abs(found - wanted).max()), float(np.abs(wanted - exact).max()), float(wanted.std())
    )


@pytest.mark.parametrize("model", [spec.name for spec in MODELS])
def test_a_model_takes_fourteen_bands_learns_and_is_exported_as_it_is(model: str, tmp_path: Path) -> None:
    fitted = one_step(model, tmp_path)
    before = build(model, 14).state_dict()
    after = {name.removeprefix("network."): value for name, value in weights_of(fitted.network).items()}
    changed = [
        not torch.equal(value, after[name]) for name, value in before.items() if value.is_floating_point()
    ]
    assert np.mean(changed) > 0.9
    found = apart(fitted, SIZE)
    # After one step the logits of resnet34 reach 80, of which float32 keeps no more than its own rounding.
    assert found.graph < (TOLERANCE if model != "resnet34" else max(TOLERANCE, 3 * found.rounding))
    assert found.spread > SPREAD


# Patches of 64 x 64 pixels, so that a minute is enough; the moving average follows so few steps closely.
LEARNING = FitSettings(epochs=12, batch=4, learning_rate=2e-3, average=0.9, patience=None)


@pytest.mark.parametrize(("model", "base"), [("unet", 8), ("mobilenet_v2", 64), ("resnet34", 64)])
def test_a_short_training_sees_more_than_any_band_alone_shows(model: str, base: int, tmp_path: Path) -> None:
    train, valid = painted(32, 3, 64), painted(16, 4, 64)
    rules = replace(LEARNING, model=model, base=base)
    fitted = fit_detector(train, range(32), valid, range(16), rules, tmp_path)
    assert fitted.history[-1].train_loss < fitted.history[0].train_loss
    one_band = max(best_of_one_band(valid, band) for band in range(14))
    assert one_band > 0.4
    assert apart(fitted, 64).graph < TOLERANCE
    assert fitted.best.f1 > one_band + 0.03


def best_of_one_band(patches: MadePatches, band: int) -> float:
    """Return the best F1 of one threshold on one band, chosen on the very patches it is judged by."""
    images = np.concatenate([patch.image[band].ravel() for patch in patches.patches])
    mapped = np.concatenate([patch.mask.ravel() == 1 for patch in patches.patches if patch.mask is not None])
    best = 0.0
    for order in (np.argsort(images), np.argsort(-images)):
        hit = np.cumsum(mapped[order])
        best = max(best, float((2 * hit / (np.arange(1, len(hit) + 1) + mapped.sum())).max()))
    return best
