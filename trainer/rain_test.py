"""Heavier rain never lowers the index: the test behind `may_warn`.

The network is free to learn the contrary from few events, so it is tried on real windows, up to three times
the heaviest rain of the training part, which is beyond what it has seen and what a record storm brings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from exporters.layer import SCALE
from service.bundle import Bundle
from service.errors import InputError
from service.manifest import RainTest, VariableSpec
from trainer.models.base import Fitted
from trainer.networks.cnn_lstm import CnnLstm

# One stored step: a smaller drop cannot be told from rounding in a published layer.
LARGEST_DROP = SCALE
SCALES = tuple(step / 4 for step in range(13))  # 0 to 3
STORM_DAYS = 3
_ROWS_AT_ONCE = 1024

FloatArray = npt.NDArray[np.float32]


def rain_test(
    model: CnnLstm | Bundle,
    windows: FloatArray,
    *,
    patches: FloatArray | None = None,
    embeddings: FloatArray | None = None,
    scales: Sequence[float] = SCALES,
) -> RainTest:
    """Scale the rain of windows (n, N, V) from 0 to 3 times and look for any drop of susceptibility.

    Two ways, both held to the same bound: all rain of the window times the scale; and the window's storm
    (its wettest 3 days in a row) lifted so that its wettest day has scale times the training maximum. It
    passes if no sample drops by more than 0.004, one stored step, between neighbouring scales. The mean
    susceptibility by scale is that of the second way.

    A sample's place is a patch (n, C, P, P), or for a network its spatial embedding (n, S); a bundle with a
    smaller patch takes the middle of it. `RainTest.responds` tells whether rain matters to it at all. Raises
    InputError without samples, or for a model whose variables hold no rain.
    """
    variables = model.manifest.variables if isinstance(model, Bundle) else model.inputs.variables
    return _tested(_predictor(model, patches, embeddings), variables, windows, scales)


def rain_test_of(
    fitted: Fitted,
    variables: Sequence[VariableSpec],
    windows: FloatArray,
    *,
    patches: FloatArray | None = None,
    scales: Sequence[float] = SCALES,
) -> RainTest:
    """Do the same with any fitted model; `variables` with the ranges of its training part (`whole()`)."""

    def predict(rows: slice, rained: FloatArray) -> npt.NDArray[Any]:
        return fitted.predict(None if patches is None else np.asarray(patches[rows], np.float32), rained)

    return _tested(predict, variables, windows, scales)


def _tested(
    predict: Callable[[slice, FloatArray], npt.NDArray[Any]],
    variables: Sequence[VariableSpec],
    windows: FloatArray,
    scales: Sequence[float],
) -> RainTest:
    rain, maximum = rain_variable(variables)
    if len(windows) == 0 or len(scales) < 2:
        raise InputError("the rain test needs at least one sample and two scales")
    ordered = sorted(scales)
    largest, means = 0.0, np.zeros(len(ordered))
    for start in range(0, len(windows), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        part = np.asarray(windows[rows], np.float32)
        scaled = [scale_rain(part, rain, scale) for scale in ordered]
        lifted = [scale_storm(part, rain, scale * maximum) for scale in ordered]
        for way in (scaled, lifted):
            curve = np.stack([predict(rows, rained) for rained in way])
            if not np.isfinite(curve).all():
                raise InputError(
                    "the rain test's samples give no susceptibility: patch or window has no-data"
                )
            largest = max(largest, float((curve[:-1] - curve[1:]).max()))
        means += curve.sum(axis=1)
    return RainTest(
        passed=largest <= LARGEST_DROP,
        largest_drop=largest,
        scales=tuple(ordered),
        mean_susceptibility=tuple(float(value) for value in means / len(windows)),
        samples=len(windows),
    )


def rain_variable(variables: Sequence[VariableSpec]) -> tuple[int, float]:
    """Return the index of the rain and its training maximum, mm a day."""
    for index, variable in enumerate(variables):
        if variable.name == "rain":
            return index, variable.maximum
    raise InputError(f"no rain among the variables: {', '.join(variable.name for variable in variables)}")


def scale_rain(windows: FloatArray, rain: int, scale: float | FloatArray) -> FloatArray:
    """Return windows (n, N, V) with all rain multiplied; `scale` is a number or one for each row (n,)."""
    scaled = windows.copy()
    scaled[:, :, rain] *= np.asarray(scale, np.float32).reshape(-1, 1)
    return scaled


def scale_storm(windows: FloatArray, rain: int, peak_mm: float | FloatArray) -> FloatArray:
    """Return windows (n, N, V) whose wettest 3 days in a row have `peak_mm` on the wettest of them.

    A window without rain gets the peak on its last day. `peak_mm` is a number or one for each row (n,).
    """
    scaled = windows.copy()
    days = windows[:, :, rain]
    length = min(STORM_DAYS, days.shape[1])
    sums = np.lib.stride_tricks.sliding_window_view(days, length, axis=1).sum(axis=-1)
    inside = sums.argmax(axis=1)[:, None] + np.arange(length)
    storm = np.take_along_axis(days, inside, axis=1)
    wettest = storm.max(axis=1, keepdims=True)
    peak = np.broadcast_to(np.asarray(peak_mm, np.float32).reshape(-1, 1), wettest.shape)
    lifted = storm * (peak / np.where(wettest > 0, wettest, 1))
    np.put_along_axis(scaled[:, :, rain], inside, lifted, axis=1)
    dry = wettest[:, 0] <= 0
    scaled[dry, -1, rain] = peak[dry, 0]
    return scaled


def _predictor(
    model: CnnLstm | Bundle, patches: FloatArray | None, embeddings: FloatArray | None
) -> Callable[[slice, FloatArray], npt.NDArray[Any]]:
    if isinstance(model, Bundle):
        if patches is None:
            raise InputError("the rain test of a bundle needs patches")
        given = centre(patches, model.manifest.patch)
        return lambda rows, windows: model.whole(np.ascontiguousarray(given[rows], np.float32), windows)
    if (patches is None) == (embeddings is None):
        raise InputError("the rain test of a model needs either patches or spatial embeddings")
    model.eval()
    places = embeddings if embeddings is not None else embed(model, np.asarray(patches))

    def predict(rows: slice, windows: FloatArray) -> npt.NDArray[Any]:
        with torch.inference_mode():
            place = torch.from_numpy(np.ascontiguousarray(places[rows], dtype=np.float32))
            return np.asarray(model.forward_from_embedding(place, torch.from_numpy(windows)).numpy())

    return predict


def centre(patches: FloatArray, size: int) -> FloatArray:
    """Return the inner `size` x `size` cells of patches (n, C, P, P), around the same cell."""
    first = patches.shape[-1] // 2 - size // 2
    if first < 0:
        raise InputError(f"patches of {patches.shape[-1]} cells are smaller than the model's {size}")
    return patches[..., first : first + size, first : first + size]


def embed(model: CnnLstm, patches: FloatArray, rows: int = 256) -> FloatArray:
    """Return the spatial embeddings (n, S) of patches (n, C, P, P), `rows` at a time, outside training."""
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            parts = [
                model.embed(torch.from_numpy(np.array(patches[start : start + rows], np.float32))).numpy()
                for start in range(0, len(patches), rows)
            ]
    finally:
        model.train(training)
    return np.concatenate(parts) if parts else np.zeros((0, model.inputs.embedding), np.float32)
