"""Optimisers, the course of the learning rate, and the device."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import torch
from torch import nn

from service.errors import SettingsError

OptimiserName = Literal["adam", "sgd", "rmsprop", "adagrad"]
Schedule = Literal["constant", "cosine"]
DeviceName = Literal["auto", "cpu", "cuda"]


def optimiser_of(
    name: OptimiserName, parameters: Iterable[nn.Parameter], learning_rate: float
) -> torch.optim.Optimizer:
    """Return an optimiser. SGD is without momentum (Azarafza et al. 2021).

    RMSprop and Adagrad have the constants of Keras, which both papers used: rho 0.9 and epsilon 1e-7; first
    accumulator 0.1 and epsilon 1e-7.
    """
    given = list(parameters)
    match name:
        case "adam":
            return torch.optim.Adam(given, lr=learning_rate, fused=True)
        case "sgd":
            return torch.optim.SGD(given, lr=learning_rate)
        case "rmsprop":
            return torch.optim.RMSprop(given, lr=learning_rate, alpha=0.9, eps=1e-7)
        case "adagrad":
            return torch.optim.Adagrad(given, lr=learning_rate, initial_accumulator_value=0.1, eps=1e-7)


def rate_share(schedule: Schedule, step: int, steps: int) -> float:
    """Return the share of the learning rate at a step counted from 0 of so many in all.

    "constant" is 1; "cosine" falls from 1 towards 0 (Loshchilov and Hutter 2017, without restarts).
    """
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * step / steps))


def set_rate(optimiser: torch.optim.Optimizer, learning_rate: float) -> None:
    """Set the learning rate of all parameters."""
    for group in optimiser.param_groups:
        group["lr"] = learning_rate


def device_of(wanted: DeviceName, mixed_precision: bool) -> torch.device:
    """Return the device; "auto" is CUDA where there is one. Raises SettingsError for what is not there."""
    present = torch.cuda.is_available()
    if wanted == "cuda" and not present:
        raise SettingsError(
            "device = 'cuda', but torch finds no CUDA device; install torch's CUDA build and a driver, or "
            "set device = 'auto'"
        )
    device = torch.device("cuda" if present and wanted != "cpu" else "cpu")
    if mixed_precision and device.type != "cuda":
        raise SettingsError("mixed_precision needs a CUDA device, and the device is the CPU; switch it off")
    return device
