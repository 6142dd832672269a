"""Batch norm's statistics, taken anew under the weights as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import nn


def renew(
    network: nn.Module, norms: Sequence[nn.modules.batchnorm._BatchNorm], run: Callable[[], object]
) -> None:
    """Set the statistics of `norms`, parts of `network`, to the plain mean over the batches that `run` feeds.

    Averaged weights need it: the mean of statistics is not the statistics of the mean (Izmailov et al. 2018).
    Everything else of the network is as it is at evaluation.
    """
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
    try:
        with torch.no_grad():
            run()
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        network.eval()
