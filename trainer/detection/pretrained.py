"""An encoder's weights from a local file, brought from three bands to any number.

The file holds a state_dict of the encoder as segmentation-models-pytorch publishes it (`smp-hub`, such as
resnet34.imagenet): safetensors, or torch's own format read with weights_only=True, so that it runs no code.
Of a classifier's last layer nothing is taken.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from service.errors import InputError
from service.files import sha256_file

RULE = "each band's first filters are the mean of the three colours' filters, times 3 / number of bands"
_HEADS = ("fc.", "classifier.", "last_linear.", "head.", "_fc.", "classif.")


def put_in(encoder: nn.Module, file: Path, channels: int) -> None:
    """Load an encoder's weights in place; its first layer takes `channels` bands by RULE.

    Bands of mean 0 and variance 1 that go together then give the first layer the same sums as a grey picture
    gave it. Raises InputError for a file that cannot be read, or whose tensors are not this encoder's.
    """
    given = _read(file)
    for prefix in ("encoder.", "module.", "model."):
        if given and all(name.startswith(prefix) for name in given):
            given = {name.removeprefix(prefix): value for name, value in given.items()}
    own = encoder.state_dict()
    given = {name: value for name, value in given.items() if name in own or not name.startswith(_HEADS)}
    # Weights that are older than the counter of batches lack it; it changes nothing.
    missing = [name for name in own if name not in given and not name.endswith("num_batches_tracked")]
    further = [name for name in given if name not in own]
    if missing or further:
        raise InputError(
            f"{file} is not this encoder's: it lacks {_some(missing)} and has {_some(further)}; take the "
            "state_dict of the same encoder of segmentation-models-pytorch"
        )
    first = _first_convolution(encoder)
    fitted = dict(own)
    for name, value in given.items():
        if name in first and value.ndim == 4 and value.shape[1] == 3 and channels != 3:
            value = averaged(value, channels)
        if value.shape != own[name].shape:
            raise InputError(
                f"{file}: {name} has the shape {tuple(value.shape)}, and this encoder's is "
                f"{tuple(own[name].shape)}; take the weights of the same encoder"
            )
        fitted[name] = value.to(own[name].dtype)
    # The encoders' own load_state_dict drops heads and returns nothing; nn.Module's is strict.
    nn.Module.load_state_dict(encoder, fitted)


def averaged(filters: Tensor, channels: int) -> Tensor:
    """Return filters (out, channels, h, w) from those of red, green and blue (out, 3, h, w), by RULE."""
    return filters.mean(dim=1, keepdim=True).repeat(1, channels, 1, 1) * (3 / channels)


def words_of(file: Path | None) -> str:
    """Return what a manifest says of where the weights began."""
    if file is None:
        return "from scratch"
    return f"encoder from {file.name} (SHA-256 {sha256_file(file)[:16]}); {RULE}"


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            given = load_file(file, device="cpu")
        else:
            given = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(f"{file} cannot be read as weights: {error}") from error
    if not isinstance(given, dict) or not all(isinstance(value, Tensor) for value in given.values()):
        raise InputError(f"{file} holds no state_dict (names and tensors); save model.state_dict()")
    return given


def _first_convolution(encoder: nn.Module) -> set[str]:
    """Return the names under which the state holds the first layer's filters."""
    for name, module in encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            return {f"{name}.weight"}
    return set()


def _some(names: list[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
