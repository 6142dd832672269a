"""What the training loop asks of a network: logits of a batch, what is trained, what batch norm has seen."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from service.errors import InputError
from trainer.fit_samples import Batch, FitSamples, reading
from trainer.networks.cnn_dnn import CnnDnn
from trainer.networks.cnn_lstm import CnnLstm
from trainer.norms import renew

Network = CnnLstm | CnnDnn
Weights = dict[str, Tensor]


def logits_of(model: Network, batch: Batch) -> Tensor:
    """Return the value before the sigmoid, (n,), float32."""
    embedding = embedding_of(model, batch)
    if batch.windows is None:
        return model.logits_spatial(embedding).float()
    if isinstance(model, CnnDnn):
        raise InputError("the CNN-DNN sees no windows; leave them out of its samples")
    return model.logits_from_embedding(embedding, batch.windows).float()


def embedding_of(model: Network, batch: Batch) -> Tensor:
    """Return the spatial embedding (n, S) of a batch of patches or of ready embeddings."""
    if batch.patches is not None:
        return model.embed(batch.patches)
    if batch.embeddings is None:
        raise InputError("a batch needs patches or embeddings")
    return batch.embeddings


def device_under(model: Network) -> torch.device:
    """Return the device of the weights."""
    return next(model.parameters()).device


def trained_parameters(model: Network, samples: FitSamples, frozen: Sequence[str]) -> dict[str, nn.Parameter]:
    """Return what the samples reach and nothing freezes, by name.

    Raises AttributeError for a module that the network has not, InputError where nothing is left.
    """
    for name in frozen:
        model.get_submodule(name)  # an unknown name raises here, not silently trains on
    left_out = [f"{name}." for name in frozen]
    if samples.patches is None:
        left_out.append("spatial.")
    if samples.windows is None:
        left_out += ["temporal.", "dense_temporal.weight"]
    chosen = {name: p for name, p in model.named_parameters() if not name.startswith(tuple(left_out))}
    if not chosen:
        raise InputError("everything is frozen; there is nothing to train")
    return chosen


def set_training(model: Network, frozen: Sequence[str]) -> None:
    """Put a network into training, but for its frozen modules."""
    model.train()
    for name in frozen:
        model.get_submodule(name).eval()


def is_kernel(name: str, modules: Sequence[str]) -> bool:
    """Tell whether a parameter is a kernel, no bias and no recurrent weight, of one of the modules."""
    inside = any(name.startswith(f"{module}.") for module in modules)
    return inside and name.endswith((".weight", ".weight_ih_l0"))


def weights_of(model: Network) -> Weights:
    """Return a copy of all weights and statistics."""
    return copy.deepcopy(model.state_dict())


def mean_weights(several: Sequence[Weights]) -> Weights:
    """Return the mean of several states; counts are those of the last."""
    last = several[-1]
    return {
        name: torch.stack([weights[name].double() for weights in several]).mean(dim=0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in last.items()
    }


def renew_norms(model: Network, samples: FitSamples, size: int) -> None:
    """Set the statistics of batch norm to those of all samples under the weights as they are.

    Samples without patches do not reach batch norm and leave it.
    """
    norms = [module for module in model.spatial.modules() if isinstance(module, nn.BatchNorm2d)]
    if samples.patches is None or not norms:
        return

    def run() -> None:
        for batch in reading(samples, device_under(model), size):
            embedding_of(model, batch)

    renew(model, norms, run)
