"""What a training makes small: cross-entropy, and the fall of the index under heavier rain."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from service.errors import InputError
from trainer.fit_network import embedding_of
from trainer.fit_samples import Batch, every_other
from trainer.networks.cnn_lstm import CnnLstm
from trainer.rain_test import rain_variable, scale_rain, scale_storm


def cross_entropy_of(logits: Tensor, batch: Batch) -> Tensor:
    """Return the weighted mean cross-entropy of logits (n,) and labels, which may be shares."""
    losses = nn.functional.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none")
    return (losses * batch.weights).sum() / batch.weights.sum().clamp_min(1e-12)


def rain_penalty_of(model: CnnLstm, batch: Batch, random: np.random.Generator) -> Tensor:
    """Return the mean fall of the logit from lighter to heavier rain, on every other sample of the batch.

    The two ways of the rain test take turns. Dropout is off here: its noise would be punished as a fall.
    """
    if batch.windows is None:
        raise InputError("a rain penalty needs windows")
    rain, maximum = rain_variable(model.inputs.variables)
    half = batch.windows[::2].cpu().numpy()
    # Cubed: the curve bends most near a scale of 0, where a storm appears at all.
    lighter, heavier = np.sort((3 * random.random((2, len(half))) ** 3).astype(np.float32), axis=0)
    if random.random() < 0.5:
        light, heavy = scale_rain(half, rain, lighter), scale_rain(half, rain, heavier)
    else:
        light, heavy = (scale_storm(half, rain, scale * maximum) for scale in (lighter, heavier))
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # The place is given here, not judged: only what rain does to it is.
        with torch.no_grad():
            places = embedding_of(model, every_other(batch))
        both = torch.from_numpy(np.concatenate([light, heavy])).to(places.device)
        # cuDNN gives an LSTM no gradient outside training; torch's own kernels do.
        with torch.backends.cudnn.flags(enabled=False):
            below, above = model.logits_from_embedding(places.repeat(2, 1), both).chunk(2)
    finally:
        for module, mode in modes.items():
            module.training = mode
    return torch.relu(below - above).mean()
