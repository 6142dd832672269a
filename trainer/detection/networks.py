"""The thirteen models of the comparison (Burange et al. 2025), for any number of bands.

Eleven U-Nets whose way down is a known classifier, DeepLabV3+ (Chen et al. 2018) and the plain U-Net. Their
weights begin at random, or with an encoder's weights from a local file (trainer.detection.pretrained);
nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from service.errors import UsageError
from trainer.detection.plain_unet import PUBLISHED_BASE, PlainUnet
from trainer.detection.pretrained import put_in
from trainer.detection.torchvision_ops import segmentation_models

PAPER = "Burange et al. 2025, arXiv:2507.01123"


@dataclass(frozen=True)
class ModelSpec:
    """A model, and its pixel scores in the paper (its own 959/2840 split of Landslide4Sense)."""

    name: str  # as --model takes it
    title: str  # as the paper's table has it
    f1: float
    precision: float
    recall: float
    encoder: str | None  # of segmentation-models-pytorch; None: the plain U-Net
    decoder: Literal["unet", "deeplabv3plus"] = "unet"

    @property
    def architecture(self) -> str:
        """Return it as a manifest names it."""
        return f"{self.decoder} {self.encoder}" if self.encoder else "plain unet"


# The paper's readme does not say which encoder its DeepLabV3+ has; ResNet34 is that of its best U-Net.
MODELS = (
    ModelSpec("resnet34", "ResNet34", 0.7470, 0.7737, 0.7267, "resnet34"),
    ModelSpec("vgg16", "VGG16", 0.7357, 0.7650, 0.7121, "vgg16"),
    ModelSpec("efficientnet_b0", "EfficientNet-B0", 0.7341, 0.7536, 0.7221, "efficientnet-b0"),
    ModelSpec("resnext50", "ResNeXt50_32X4D", 0.7330, 0.7453, 0.7247, "resnext50_32x4d"),
    ModelSpec("se_resnet50", "SeResNet-50", 0.7328, 0.7826, 0.6950, "se_resnet50"),
    ModelSpec("densenet121", "DenseNet121", 0.7290, 0.7241, 0.7400, "densenet121"),
    ModelSpec("se_resnext50", "SeResNeXt50_32x4D", 0.7279, 0.7249, 0.7350, "se_resnext50_32x4d"),
    ModelSpec("inceptionv4", "InceptionV4", 0.7246, 0.7631, 0.6945, "inceptionv4"),
    ModelSpec("inceptionresnetv2", "InceptionResNetV2", 0.7151, 0.7774, 0.6692, "inceptionresnetv2"),
    ModelSpec("deeplabv3plus", "DeepLabV3+", 0.7141, 0.7471, 0.6897, "resnet34", "deeplabv3plus"),
    ModelSpec("mobilenet_v2", "MobileNetV2", 0.7119, 0.7000, 0.7337, "mobilenet_v2"),
    ModelSpec("unet", "U-Net", 0.7012, 0.7906, 0.6338, None),
    ModelSpec("mit_b1", "MiT-B1", 0.6989, 0.7574, 0.6596, "mit_b1"),
)
BY_NAME = {spec.name: spec for spec in MODELS}


def spec_of(name: str) -> ModelSpec:
    """Return a model by its name. Raises UsageError that lists the names."""
    if name not in BY_NAME:
        raise UsageError(f"{name!r} is no model; known are {', '.join(BY_NAME)}")
    return BY_NAME[name]


def build(
    name: str, channels: int, weights: Path | None = None, *, seed: int = 0, base: int = PUBLISHED_BASE
) -> nn.Module:
    """Return a network: scaled bands float32 (n, channels, h, w) -> logits (n, 1, h, w).

    h and w are multiples of 32. `weights` is a file with an encoder's weights for three bands; `base` the
    width of the plain U-Net. The same seed gives the same weights. Raises UsageError for an unknown model, or
    for weights where the model has no encoder; InputError for a file that does not fit it.
    """
    spec = spec_of(name)
    if spec.encoder is None and weights is not None:
        raise UsageError(f"{spec.title} has no encoder that was trained elsewhere; leave --weights out")
    if spec.encoder is not None and base != PUBLISHED_BASE:
        raise UsageError(f"only the plain U-Net has a width to choose; {spec.title} has its own")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if spec.encoder is None:
            return PlainUnet(channels, base)
        models = segmentation_models()
        make = {"unet": models.Unet, "deeplabv3plus": models.DeepLabV3Plus}[spec.decoder]
        # encoder_weights=None: a name there would be fetched from the network.
        network: nn.Module = make(spec.encoder, encoder_weights=None, in_channels=channels, classes=1)
    if weights is not None:
        put_in(network.get_submodule("encoder"), weights, channels)
    return network


def count_weights(network: nn.Module) -> int:
    """Return how many numbers a training sets."""
    return sum(parameter.numel() for parameter in network.parameters())
