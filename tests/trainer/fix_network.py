"""A small network with weights as after a training, and inputs for it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from service.manifest import FactorSpec, VariableSpec
from trainer.networks.cnn_lstm import CnnLstm, Inputs

FACTORS = (
    FactorSpec(name="elevation", unit="m", minimum=-20.0, maximum=3500.0),
    FactorSpec(name="spi", unit="", log=True, minimum=-50.0, maximum=900.0),
    FactorSpec(name="cover", unit="", categories={3: "rock", 1: "forest", 7: "field"}),
    FactorSpec(name="slope", unit="deg", minimum=0.0, maximum=70.0),
)
VARIABLES = (
    VariableSpec(name="rain", unit="mm", log=True, minimum=0.0, maximum=90.0),
    VariableSpec(name="level_below_full", unit="m", minimum=-60.0, maximum=2.0),
)


def trained_like(patch: int = 23, *, days: int = 30, seed: int = 0) -> CnnLstm:
    """Return a network whose batch norm has seen data: means, variances, gains of both signs, shifts."""
    model = CnnLstm(Inputs(FACTORS, VARIABLES, patch, days), seed=seed)
    random = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(generator=random)
            module.running_var.uniform_(0.3, 3, generator=random)
            module.weight.data.normal_(generator=random)
            module.bias.data.normal_(generator=random)
    return model.eval()


def tile(rows: int, columns: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return random factors (4, rows, columns); code 9 of `cover` was never trained on."""
    random = np.random.default_rng(seed)
    bands = [
        random.uniform(-20, 3500, (rows, columns)),
        random.uniform(-50, 900, (rows, columns)),
        random.choice([1, 3, 7, 9], (rows, columns)),
        random.uniform(0, 70, (rows, columns)),
    ]
    return np.stack(bands).astype(np.float32)


def windows(count: int, days: int = 30, seed: int = 0) -> npt.NDArray[np.float32]:
    """Return random windows (count, days, 2)."""
    random = np.random.default_rng(seed)
    values = [random.exponential(8, (count, days)), random.uniform(-60, 2, (count, days))]
    return np.stack(values, axis=-1).astype(np.float32)


def patches_of(factors: npt.NDArray[np.float32], patch: int) -> npt.NDArray[np.float32]:
    """Return every patch of a tile, row-major: (rows * columns, C, patch, patch)."""
    views = np.lib.stride_tricks.sliding_window_view(factors, (patch, patch), axis=(1, 2))
    return np.ascontiguousarray(views.transpose(1, 2, 0, 3, 4).reshape(-1, len(factors), patch, patch))
