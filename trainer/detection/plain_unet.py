"""The U-Net as it was published (Ronneberger et al. 2015), of any width and depth."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from service.errors import InputError

PUBLISHED_BASE, PUBLISHED_DEPTH = 64, 4


class PlainUnet(nn.Module):
    """Two 3 x 3 convolutions a level, halved `depth` times, and back up with what was seen on the way down.

    Input float32 (n, channels, h, w), h and w multiples of 2 ** depth; output logits (n, 1, h, w). Unlike the
    published one it pads its convolutions, so that a cell of the input has one in the output, and it has
    batch norm (Ioffe and Szegedy 2015) between convolution and ReLU. `base` is the number of filters of the
    first level, doubled at each further one: 64 as published (31 million weights), 8 gives 0.5 million.
    """

    def __init__(self, channels: int, base: int = PUBLISHED_BASE, depth: int = PUBLISHED_DEPTH) -> None:
        super().__init__()
        if channels < 1 or base < 1 or depth < 1:
            raise InputError(f"a U-Net of {channels} bands, {base} filters, {depth} levels cannot be built")
        self.depth = depth
        widths = [base << level for level in range(depth + 1)]
        self.down = nn.ModuleList(
            _level(before, after) for before, after in zip([channels, *widths], widths, strict=False)
        )
        self.pool = nn.MaxPool2d(2)
        self.up = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[-2::-1])
        self.join = nn.ModuleList(_level(2 * width, width) for width in widths[-2::-1])
        self.head = nn.Conv2d(base, 1, 1)

    def forward(self, patches: Tensor) -> Tensor:
        """Return logits (n, 1, h, w)."""
        seen = []
        for level in self.down[:-1]:
            patches = level(patches)
            seen.append(patches)
            patches = self.pool(patches)
        patches = self.down[-1](patches)
        for up, join, beside in zip(self.up, self.join, reversed(seen), strict=True):
            patches = join(torch.cat([beside, up(patches)], dim=1))
        logits: Tensor = self.head(patches)
        return logits


def _level(before: int, after: int) -> nn.Sequential:
    """Return two convolutions, each with batch norm and ReLU; batch norm has the bias."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
        nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True),
    )  # fmt: skip
