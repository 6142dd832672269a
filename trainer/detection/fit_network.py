"""A network with its scaling: raw units with NaN in, probability out. This is what is exported."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from service.detection.manifest import BandStatistics
from service.errors import InputError
from trainer.norms import renew

Weights = dict[str, Tensor]


class DetectorNetwork(nn.Module):
    """Scales bands to mean 0 and variance 1, puts 0 (the mean) where NaN was, and asks the network."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, statistics: Sequence[BandStatistics]) -> None:
        super().__init__()
        self.network = network
        shape = (1, len(statistics), 1, 1)
        self.register_buffer("mean", torch.tensor([band.mean for band in statistics]).reshape(shape))
        self.register_buffer("std", torch.tensor([band.std for band in statistics]).reshape(shape))

    def logits(self, patches: Tensor) -> Tensor:
        """Return logits float (n, 1, h, w) of patches float32 (n, C, h, w) in the bands' units."""
        scaled = (patches - self.mean) / self.std
        given: Tensor = self.network(torch.where(torch.isnan(patches), torch.zeros_like(scaled), scaled))
        return given

    def forward(self, patches: Tensor) -> Tensor:
        """Return the probability (n, 1, h, w)."""
        return self.logits(patches).sigmoid()


class MeanOfNetworks(nn.Module):
    """The mean probability of several networks, each with its own scaling."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        if not len(self.members):
            raise InputError("an ensemble needs a member")

    def forward(self, patches: Tensor) -> Tensor:
        """Return the probability (n, 1, h, w)."""
        total = self.members[0](patches)
        for member in self.members[1:]:
            total = total + member(patches)
        mean: Tensor = total / len(self.members)
        return mean


def weights_of(network: nn.Module) -> Weights:
    """Return a copy of all weights and statistics, on the processor."""
    return {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}


def mean_weights(several: Sequence[Weights]) -> Weights:
    """Return the mean of several states; counters are those of the last."""
    last = several[-1]
    return {
        name: torch.stack([weights[name].double() for weights in several]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in last.items()
    }


def renew_norms(network: nn.Module, batches: Callable[[], Iterable[Tensor]]) -> None:
    """Set batch norm's statistics to those of all batches (patches) under the weights as they are."""
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]

    def run() -> None:
        for patches in batches():
            network(patches)

    if norms:
        renew(network, norms, run)


class MovingAverage:
    """An exponential moving average of a network's weights and statistics, as a network of its own.

    The decay warms up as min(decay, (1 + step) / (10 + step)), so that the random first weights are soon
    forgotten. A decay of 0 keeps the average equal to the network.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False).eval()

    def take(self, network: nn.Module, step: int) -> None:
        """Move towards a network's weights after its step, counted from 1."""
        decay = min(self.decay, (1 + step) / (10 + step))
        own, given = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([own[name] for name in floats], [given[name] for name in floats], 1 - decay)
        for name, value in own.items():
            if not value.is_floating_point():
                value.copy_(given[name])
