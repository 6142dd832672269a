"""The hybrid CNN-LSTM of Teng et al. 2026, as it is trained.

A patch of P x P cells goes through three blocks of 3x3 convolution, ReLU, 2x2 max-pool and batch norm; a
window of days goes through two LSTM layers; both meet in two dense layers and a sigmoid. Scaling and one-hot
coding of the inputs are the network's first step, so it takes physical units.

The first dense layer on [s; t] is held as its two halves, W [s; t] + b = Ws s + (Wt t + b): the same sum,
and what lets `factored` serve the halves apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from service.manifest import FactorSpec, VariableSpec
from trainer.networks.masked_lstm import MaskedLstm

FILTERS = (32, 64, 128)
LSTM_UNITS = (128, 64)
DENSE_UNITS = (128, 64)
DROPOUT = 0.2
RECURRENT_DROPOUT = 0.2
SMALLEST_PATCH = 22  # three unpadded blocks leave one cell of 22

# What the paper does not state, or states in two ways. Each goes to the manifest's `training.assumed`.
ASSUMED = (
    "patch size: 23 x 23 cells (the paper gives none)",
    "padding: none (the paper gives none)",
    "input of the CNN: a patch of P x P x C cells; the paper says both C x 1 and H x W x C",
    "order inside a block: convolution, ReLU, max-pool, batch norm, as the paper lists them",
    "batch norm: momentum 0.1, epsilon 0.001 (the paper gives none)",
    "dropout 0.2: after each of the two dense layers (the paper gives the rate, not the place)",
    "recurrent dropout 0.2: one mask for each sequence on the hidden state (Gal and Ghahramani 2016)",
    "initial weights: Glorot uniform, orthogonal recurrent, forget bias 1, as Keras does by default",
    "binary cross-entropy as the loss (the paper names none)",
)


@dataclass(frozen=True)
class Inputs:
    """What the network is given: factors and variables in order, patch size P in cells, window in days."""

    factors: tuple[FactorSpec, ...]
    variables: tuple[VariableSpec, ...]
    patch: int = 23
    window_days: int = 30

    def __post_init__(self) -> None:
        if self.patch < SMALLEST_PATCH:
            raise ValueError(f"patch must be at least {SMALLEST_PATCH} cells, got {self.patch}")
        if not self.factors or not self.variables:
            raise ValueError("the network needs at least one factor and one variable")

    @property
    def map_size(self) -> int:
        """Side q of the map that is flattened, in cells of the last block (1 for P of 22 to 29)."""
        return map_size(self.patch)

    @property
    def channels(self) -> int:
        """Channels after one-hot coding."""
        return sum(1 if factor.categories is None else len(factor.categories) for factor in self.factors)

    @property
    def embedding(self) -> int:
        """Length S of the flattened spatial embedding."""
        return FILTERS[-1] * self.map_size**2


class CnnLstm(nn.Module):
    """The network. Its first weights depend on `inputs` and `seed`, not on threads or what was drawn before.

    `embed` -> `logits_from_embedding` is the whole network in two steps; `logits_spatial` is the CNN-only
    network, which is the hybrid with t = 0, so its dense weights warm-start the hybrid as they are.
    """

    def __init__(
        self,
        inputs: Inputs,
        *,
        seed: int = 0,
        dropout: float = DROPOUT,
        recurrent_dropout: float = RECURRENT_DROPOUT,
    ) -> None:
        super().__init__()
        self.inputs = inputs
        with torch.random.fork_rng(devices=[]), on_threads(1):
            torch.manual_seed(seed)
            self.factor_scaling = FactorScaling(inputs.factors)
            self.window_scaling = WindowScaling(inputs.variables)
            self.spatial = SpatialBranch(inputs.channels)
            self.temporal = TemporalBranch(len(inputs.variables), recurrent_dropout)
            self.dense_spatial = nn.Linear(inputs.embedding, DENSE_UNITS[0], bias=False)
            self.dense_temporal = nn.Linear(LSTM_UNITS[-1], DENSE_UNITS[0])
            self.dense2 = nn.Linear(*DENSE_UNITS)
            self.out = nn.Linear(DENSE_UNITS[-1], 1)
            self.dropout = nn.Dropout(dropout)
            self._initialise()

    def forward(self, patches: Tensor, window: Tensor) -> Tensor:
        """Return susceptibility (n,) of patches (n, C, P, P) and windows (n, N, V), physical units."""
        return torch.sigmoid(self.logits(patches, window))

    def forward_from_embedding(self, embedding: Tensor, window: Tensor) -> Tensor:
        """Return susceptibility (n,) of spatial embeddings (n, S) and windows (n, N, V)."""
        return torch.sigmoid(self.logits_from_embedding(embedding, window))

    def logits(self, patches: Tensor, window: Tensor) -> Tensor:
        """Return the value before the sigmoid, (n,)."""
        return self.logits_from_embedding(self.embed(patches), window)

    def logits_from_embedding(self, embedding: Tensor, window: Tensor) -> Tensor:
        """Return the value before the sigmoid, (n,), of spatial embeddings (n, S)."""
        temporal = self.temporal(self.window_scaling(window))
        return self._head(self.dense_spatial(embedding) + self.dense_temporal(temporal))

    def logits_spatial(self, embedding: Tensor) -> Tensor:
        """Return the value before the sigmoid, (n,), of the CNN-only network on embeddings (n, S)."""
        return self._head(self.dense_spatial(embedding) + self.dense_temporal.bias)

    def embed(self, patches: Tensor) -> Tensor:
        """Return the flattened spatial embedding s (n, S) of patches (n, C, P, P), physical units."""
        return cast(Tensor, self.spatial(self.factor_scaling(patches)))

    def warm_start(self, pretrained: CnnLstm) -> None:
        """Take over the spatial branch, Ws, the bias, the second dense layer and the output of another model.

        Raises ValueError when the other model has other factors or another patch size.
        """
        if (pretrained.inputs.factors, pretrained.inputs.patch) != (self.inputs.factors, self.inputs.patch):
            raise ValueError("warm_start needs a model with the same factors, ranges and patch size")
        for name in ("spatial", "dense_spatial", "dense2", "out"):
            self.get_submodule(name).load_state_dict(pretrained.get_submodule(name).state_dict())
        with torch.no_grad():
            self.dense_temporal.bias.copy_(pretrained.dense_temporal.bias)

    def _head(self, first: Tensor) -> Tensor:
        hidden = self.dropout(torch.relu(first))
        hidden = self.dropout(torch.relu(self.dense2(hidden)))
        return cast(Tensor, self.out(hidden)).squeeze(1)

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.LSTM):
                # Four gates lie in one matrix; Keras draws it as one too.
                nn.init.xavier_uniform_(module.get_parameter("weight_ih_l0"))
                nn.init.orthogonal_(module.get_parameter("weight_hh_l0"))
                nn.init.zeros_(module.get_parameter("bias_hh_l0"))
                nn.init.zeros_(bias := module.get_parameter("bias_ih_l0"))
                nn.init.ones_(bias.data[module.hidden_size : 2 * module.hidden_size])
        # The two halves of one dense layer share its fan-in, so neither starts louder than in the whole.
        bound = (6 / (self.inputs.embedding + LSTM_UNITS[-1] + DENSE_UNITS[0])) ** 0.5
        nn.init.uniform_(self.dense_spatial.weight, -bound, bound)
        nn.init.uniform_(self.dense_temporal.weight, -bound, bound)


class SpatialBranch(nn.Module):
    """Three blocks of unpadded 3x3 convolution, ReLU, 2x2 max-pool, batch norm; then flatten."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        sizes = (channels, *FILTERS)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3) for before, after in zip(sizes, FILTERS, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(size, eps=1e-3, momentum=0.1) for size in FILTERS)
        self.pool = nn.MaxPool2d(2)

    def forward(self, scaled: Tensor) -> Tensor:
        """Return (n, S) of scaled patches (n, channels, P, P)."""
        if self.training:
            # Up to 7 rows and columns that no pooling window reaches cost time and have no gradient; and
            # pooling is ten times as fast where channels lie together.
            reached = 8 * map_size(scaled.shape[-1]) + 14
            scaled = scaled[..., :reached, :reached].contiguous(memory_format=torch.channels_last)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            scaled = norm(self.pool(torch.relu(convolution(scaled))))
        return scaled.flatten(1)


class TemporalBranch(nn.Module):
    """Two LSTM layers; the last hidden state of the second is t."""

    def __init__(self, variables: int, recurrent_dropout: float) -> None:
        super().__init__()
        self.first = MaskedLstm(variables, LSTM_UNITS[0], recurrent_dropout)
        self.second = MaskedLstm(LSTM_UNITS[0], LSTM_UNITS[1], recurrent_dropout)

    def forward(self, scaled: Tensor) -> Tensor:
        """Return (n, 64) of scaled windows (n, N, V)."""
        return cast(Tensor, self.second(self.first(scaled))[:, -1])


class FactorScaling(nn.Module):
    """Min-max scaling (after a signed log where declared) and one-hot coding of factors.

    Output channels: plain factors, then logged ones, then one channel for each category, each group in the
    order of the factors. A code that was not trained on gives zeros in all its channels.
    """

    plain: Tensor
    logged: Tensor
    coded: Tensor
    codes: Tensor
    low: Tensor
    span: Tensor

    def __init__(self, factors: Sequence[FactorSpec]) -> None:
        super().__init__()
        numeric = [(index, factor) for index, factor in enumerate(factors) if factor.categories is None]
        plain = [(index, factor) for index, factor in numeric if not factor.log]
        logged = [(index, factor) for index, factor in numeric if factor.log]
        coded = [(index, code) for index, f in enumerate(factors) for code in sorted(f.categories or {})]
        ranges = [scaled_range(factor) for _, factor in plain + logged]
        _keep(self, "plain", torch.tensor([index for index, _ in plain], dtype=torch.int64))
        _keep(self, "logged", torch.tensor([index for index, _ in logged], dtype=torch.int64))
        _keep(self, "coded", torch.tensor([index for index, _ in coded], dtype=torch.int64))
        _keep(self, "codes", torch.tensor([float(code) for _, code in coded]).reshape(-1, 1, 1))
        _keep(self, "low", torch.tensor([low for low, _ in ranges]).reshape(-1, 1, 1))
        _keep(self, "span", torch.tensor([high - low for low, high in ranges]).reshape(-1, 1, 1))

    def forward(self, factors: Tensor) -> Tensor:
        """Return (n, channels, h, w) of physical units (n, C, h, w)."""
        parts = []
        if len(self.plain):
            parts.append(factors.index_select(1, self.plain))
        if len(self.logged):
            parts.append(signed_log(factors.index_select(1, self.logged)))
        scaled = [(torch.cat(parts, dim=1) - self.low) / self.span] if parts else []
        if len(self.coded):
            scaled.append((factors.index_select(1, self.coded) == self.codes).to(factors.dtype))
        return torch.cat(scaled, dim=1)


class WindowScaling(nn.Module):
    """Min-max scaling (after a signed log where declared) of a window's variables."""

    log: Tensor
    low: Tensor
    span: Tensor

    def __init__(self, variables: Sequence[VariableSpec]) -> None:
        super().__init__()
        ranges = [scaled_range(variable) for variable in variables]
        self.any_log = any(variable.log for variable in variables)
        _keep(self, "log", torch.tensor([variable.log for variable in variables]))
        _keep(self, "low", torch.tensor([low for low, _ in ranges]))
        _keep(self, "span", torch.tensor([high - low for low, high in ranges]))

    def forward(self, window: Tensor) -> Tensor:
        """Return (n, N, V) scaled, of physical units (n, N, V)."""
        if self.any_log:
            window = torch.where(self.log, signed_log(window), window)
        return (window - self.low) / self.span


def map_size(patch: int) -> int:
    """Return the side, in cells of the last block, of what three unpadded blocks leave of a patch."""
    for _ in FILTERS:
        patch = (patch - 2) // 2
    return patch


@contextmanager
def on_threads(threads: int) -> Iterator[None]:
    """Run torch on so many threads: with it, sums and the QR of orthogonal weights differ in the last bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def signed_log(value: Tensor) -> Tensor:
    """Return sign(x) ln(1 + |x|)."""
    return torch.sign(value) * torch.log(torch.abs(value) + 1.0)


def scaled_range(spec: FactorSpec | VariableSpec) -> tuple[float, float]:
    """Return the training range of a numeric factor or variable, after its log where it has one."""
    if spec.minimum is None or spec.maximum is None:
        raise ValueError(f"{spec.name!r} has no range")
    if spec.maximum <= spec.minimum:
        raise ValueError(f"{spec.name!r} is constant at {spec.minimum}; leave it out")
    ends = torch.tensor([spec.minimum, spec.maximum], dtype=torch.float64)
    low, high = (signed_log(ends) if spec.log else ends).tolist()
    return low, high


def _keep(module: nn.Module, name: str, value: Tensor) -> None:
    # Ranges live in the manifest; a second copy in the state dict could disagree with it.
    module.register_buffer(name, value, persistent=False)
