"""How much of a graphics card's memory the state may take, and what is done with it."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from dataclasses import dataclass

from service.device_head import working_bytes
from service.errors import DeviceError
from service.runtime import Device, onnx_runtime

# Cells in one run: fewer leave a large card idle between runs, more only take memory.
CELLS_PER_RUN = 1 << 20
_SHARE = 0.8  # of the free memory: cuDNN, the LSTM and other sessions need some
# A card that cannot be asked is taken for a small one.
_UNKNOWN = 4 << 30
_STREAM_BUFFERS = 2  # one is filled while the other computes


@dataclass(frozen=True)
class DevicePlan:
    """What a layer's head does with the device's memory."""

    per_run: int  # forcing cells
    resident: bool  # the state stays in the device's memory from layer to layer; else it is streamed
    reason: str


def free_bytes(device: Device, load: Callable[[str], ctypes.CDLL] = ctypes.CDLL) -> int | None:
    """Return the free memory of the graphics card that sessions use; None where it cannot be asked.

    The question goes to the CUDA runtime that ONNX Runtime has loaded, so that it is of the same card
    whatever CUDA_VISIBLE_DEVICES says.
    """
    if device.name == "cpu":
        return None
    version = str(getattr(onnx_runtime(), "cuda_version", "") or "").split(".")[0]
    for name in (f"libcudart.so.{version}", "libcudart.so") if version else ("libcudart.so",):
        try:
            ask = load(name).cudaMemGetInfo
        except (OSError, AttributeError):
            continue
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        if ask(ctypes.byref(free), ctypes.byref(total)) == 0:
            return int(free.value)
    return None


def plan(
    forcing_cells: int,
    k: int,
    channels: int,
    models: int,
    *,
    free: int | None,
    given_gb: float | None,
    cells_per_run: int = CELLS_PER_RUN,
) -> DevicePlan:
    """Return how the state of `models` models over a region's forcing cells is held.

    The budget is `given_gb` (inference.device_memory_gb), else a share of the `free` bytes. The state stays
    where it fits beside what a run takes; otherwise two stretches of each model are streamed, as large as a
    run. Raises DeviceError where not even a run over one forcing cell fits.
    """
    cells = k * k
    record = cells * channels + 8 * channels  # codes, and scale and offset in float32
    budget = given_gb * 1e9 if given_gb is not None else _SHARE * (_UNKNOWN if free is None else free)
    source = "inference.device_memory_gb" if given_gb is not None else "of free memory" if free else "assumed"
    one_run = working_bytes(1, cells, channels)
    wanted = max(1, min(cells_per_run // cells, forcing_cells))
    state = forcing_cells * models * record
    most = math.floor((budget - state) / one_run)
    said = f"{budget / 1e9:.3g} GB ({source}), the state takes {state / 1e9:.3g}"
    # A run that is cut to an eighth to make room for the state costs more than streaming it.
    if most >= max(1, wanted // 8):
        return DevicePlan(min(wanted, most), True, f"resident: budget {said}")
    fits = math.floor(budget / (one_run + models * _STREAM_BUFFERS * record))
    if fits < 1:
        raise DeviceError(
            f"the graphics card has a budget of {said}; not even one forcing cell at a time fits; raise "
            'inference.device_memory_gb, free memory on the card, or set inference.device = "cpu"'
        )
    return DevicePlan(min(wanted, fits), False, f"streamed: budget {said}")
