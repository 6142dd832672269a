"""The CNN-DNN of Azarafza et al. 2021: a patch CNN that extracts features, and a dense head that sorts them.

A patch of P x P cells goes through blocks of 3x3 convolution, ReLU, 2x2 max-pool, batch norm and dropout; the
flattened features go through hidden dense layers to a sigmoid. It sees factors alone. Scaling and one-hot
coding are its first step, so it takes physical units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from service.manifest import FactorSpec
from trainer.networks.cnn_lstm import FactorScaling, on_threads

ASSUMED = (
    "two blocks of padded 3x3 convolution with 16 and 32 filters, ReLU, 2x2 max-pool, batch norm, dropout "
    "0.2, in that order (the paper names the kinds of layers, neither their number nor their sizes)",
    "hidden dense layers with ReLU and dropout 0.2 (the paper searches their number and units)",
    "initial weights: Glorot uniform, as Keras does by default",
    "binary cross-entropy as the loss (the paper names none)",
)


@dataclass(frozen=True)
class Design:
    """Sizes of the network."""

    filters: tuple[int, ...] = (16, 32)  # of one block each
    layers: int = 1  # hidden dense layers
    units: int = 64  # of each of them
    dropout: float = 0.2


class CnnDnn(nn.Module):
    """The network. Its first weights depend on factors, patch, design and `seed`, not on threads.

    Raises ValueError for a patch that pooling would use up, or a constant factor.
    """

    def __init__(
        self, factors: Sequence[FactorSpec], patch: int, design: Design | None = None, *, seed: int = 0
    ) -> None:
        super().__init__()
        self.factors, self.patch, self.design = tuple(factors), patch, design or Design()
        side = patch >> len(self.design.filters)
        if side < 1:
            smallest = 1 << len(self.design.filters)
            raise ValueError(f"patch must be at least {smallest} cells, got {patch}")
        with torch.random.fork_rng(devices=[]), on_threads(1):
            torch.manual_seed(seed)
            self.factor_scaling = FactorScaling(self.factors)
            channels = sum(len(f.categories) if f.categories is not None else 1 for f in self.factors)
            self.spatial = Extractor(channels, self.design)
            sizes = [self.design.filters[-1] * side**2] + [self.design.units] * self.design.layers
            self.dense = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes))
            self.dropout = nn.Dropout(self.design.dropout)
            self.out = nn.Linear(sizes[-1], 1)
            for module in self.modules():
                if isinstance(module, (nn.Conv2d, nn.Linear)):
                    nn.init.xavier_uniform_(module.weight)
                    nn.init.zeros_(module.get_parameter("bias"))

    def forward(self, patches: Tensor) -> Tensor:
        """Return susceptibility (n,) of patches (n, C, P, P), physical units."""
        return torch.sigmoid(self.logits_spatial(self.embed(patches)))

    def embed(self, patches: Tensor) -> Tensor:
        """Return the extracted features (n, S) of patches (n, C, P, P), physical units."""
        return cast(Tensor, self.spatial(self.factor_scaling(patches)))

    def logits_spatial(self, embedding: Tensor) -> Tensor:
        """Return the value before the sigmoid, (n,), of extracted features (n, S)."""
        for layer in self.dense:
            embedding = self.dropout(torch.relu(layer(embedding)))
        return cast(Tensor, self.out(embedding)).squeeze(1)


class Extractor(nn.Module):
    """Blocks of padded 3x3 convolution, ReLU, 2x2 max-pool, batch norm, dropout; then flatten."""

    def __init__(self, channels: int, design: Design) -> None:
        super().__init__()
        sizes = (channels, *design.filters)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(sizes)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size, eps=1e-3, momentum=0.1) for size in design.filters)
        self.pool = nn.MaxPool2d(2)
        self.dropout = nn.Dropout(design.dropout)

    def forward(self, scaled: Tensor) -> Tensor:
        """Return (n, S) of scaled patches (n, channels, P, P)."""
        if self.training:
            scaled = scaled.contiguous(memory_format=torch.channels_last)  # pools ten times as fast
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            scaled = self.dropout(norm(self.pool(torch.relu(convolution(scaled)))))
        return scaled.flatten(1)
