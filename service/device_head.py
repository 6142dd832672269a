"""The head on a graphics card: a stretch of the state in its memory, many forcing cells a run.

On the processor (Device "cpu") the same calls work on ordinary memory, which is how they are tested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from service.bundle import Bundle
from service.device_graph import CODES, CORNERS, OFFSET, OUTPUT, PICK, SCALE, batched_head, in_half
from service.errors import BundleError, DeviceError
from service.runtime import GPU_PROVIDER, Device, make_session, onnx_runtime
from service.state import Block

FloatArray = npt.NDArray[np.float32]
SessionMaker = Callable[[bytes], Any]

# What a cell takes for a moment while the head runs in float32, measured in values of D channels: the picked
# codes, the decoded state, the sum with the corners and the hidden layer, with what the planner cannot reuse.
WORKING_VALUES = 5

log = structlog.get_logger()


@dataclass(frozen=True)
class Stretch:
    """The state of up to n forcing cells in the device's memory: ONNX Runtime's values."""

    codes: Any  # uint8 (n, k*k, D)
    scale: Any  # float32 (n, 1, D)
    offset: Any  # float32 (n, 1, D)


class OutOfDeviceMemory(DeviceError):
    """The device has no room for what was asked of it; less may fit."""


class DeviceHead:
    """A bundle's head.onnx over a Stretch, with IO binding; loaded by one thread, run by one other."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        per_run: int,
        half: bool = False,
        session_of: SessionMaker | None = None,
    ) -> None:
        """Compose the graph and open its session on the bundle's device.

        `per_run` is how many forcing cells go into one run at most; it is halved where the device's memory
        does not suffice. `session_of` makes a session of a graph, for tests.

        Raises BundleError for a head.onnx that cannot be extended, DeviceError where the device fails.
        """
        manifest, self.device = bundle.manifest, bundle.device
        self.half, self.per_run = half, max(1, per_run)
        self.cells, self.channels = manifest.forcing_cell**2, manifest.channels
        name = str(bundle.folder / "head.onnx")
        graph = batched_head(_head_bytes(bundle), name, self.cells, self.channels)
        graph = in_half(graph) if half else graph
        make = session_of or (lambda made: make_session(made, name, device=bundle.device))
        self._session = make(graph)
        self._kind = "cuda" if self.device.provider == GPU_PROVIDER else "cpu"
        self._host_codes: npt.NDArray[np.uint8] = np.zeros((0, self.cells, self.channels), np.uint8)
        self._host_scaling: FloatArray = np.zeros((2, 0, 1, self.channels), np.float32)

    def allocate(self, count: int) -> Stretch:
        """Return room for `count` forcing cells. Raises OutOfDeviceMemory where there is none."""
        value = onnx_runtime().OrtValue.ortvalue_from_shape_and_type
        with _on_device(self.device, f"the state of {count} forcing cells"):
            return Stretch(
                value([count, self.cells, self.channels], np.uint8, self._kind),
                value([count, 1, self.channels], np.float32, self._kind),
                value([count, 1, self.channels], np.float32, self._kind),
            )

    def fill(self, stretch: Stretch, blocks: Iterable[Block]) -> None:
        """Copy records into a stretch, the first ones first. More than it holds is a ValueError."""
        self.prepare(stretch)
        self.stage(0, blocks)
        self.copy(stretch)

    def prepare(self, stretch: Stretch) -> None:
        """Make room on this machine for the records of a stretch, before `stage` and `copy`."""
        count = stretch.codes.shape()[0]
        if len(self._host_codes) != count:
            self._host_codes = np.zeros((count, self.cells, self.channels), np.uint8)
            self._host_scaling = np.ones((2, count, 1, self.channels), np.float32)

    def stage(self, first: int, blocks: Iterable[Block]) -> None:
        """Take records from position `first` on; several threads may, each its own positions."""
        for number, block in enumerate(blocks, start=first):
            if number >= len(self._host_codes):
                raise ValueError(
                    f"a stretch has room for {len(self._host_codes)} forcing cells, not for more"
                )
            self._host_codes[number] = block.codes[0]
            self._host_scaling[:, number, 0] = block.scaling

    def copy(self, stretch: Stretch) -> None:
        """Copy what was staged to the device."""
        with _on_device(self.device, f"the state of {len(self._host_codes)} forcing cells"):
            stretch.codes.update_inplace(self._host_codes)
            stretch.scale.update_inplace(self._host_scaling[0])
            stretch.offset.update_inplace(self._host_scaling[1])

    def run(self, stretch: Stretch, pick: npt.NDArray[np.int64], corners: FloatArray) -> FloatArray:
        """Return susceptibility (m, k*k) of the stretch's forcing cells `pick` (m,), corners (m, 4, D).

        Raises DeviceError where not even one forcing cell fits into the device's memory.
        """
        out = np.empty((len(pick), self.cells), np.float32)
        done = 0
        while done < len(pick):
            part = slice(done, min(len(pick), done + self.per_run))
            try:
                out[part] = self._bound_run(stretch, pick[part], corners[part])
            except OutOfDeviceMemory as error:
                if self.per_run == 1:
                    raise DeviceError(
                        f"{error}; free memory on it ('nvidia-smi' says who holds it), give less of it to "
                        'the state (inference.device_memory_gb), or set inference.device = "cpu"'
                    ) from error
                self.per_run = max(1, min(self.per_run, part.stop - part.start) // 2)
                log.warning("graphics card short of memory, smaller runs", forcing_cells=self.per_run)
                continue
            done = part.stop
        return out

    def _bound_run(self, stretch: Stretch, pick: npt.NDArray[np.int64], corners: FloatArray) -> FloatArray:
        with _on_device(self.device, f"a run over {len(pick)} forcing cells"):
            binding = self._session.io_binding()
            binding.bind_ortvalue_input(CODES, stretch.codes)
            binding.bind_ortvalue_input(SCALE, stretch.scale)
            binding.bind_ortvalue_input(OFFSET, stretch.offset)
            binding.bind_cpu_input(PICK, np.ascontiguousarray(pick, np.int64))
            binding.bind_cpu_input(CORNERS, np.ascontiguousarray(corners, np.float32))
            binding.bind_output(OUTPUT, "cpu")
            self._session.run_with_iobinding(binding)
            return np.asarray(binding.copy_outputs_to_cpu()[0])


def working_bytes(forcing_cells: int, cells: int, channels: int) -> int:
    """Return about what a run over so many forcing cells of `cells` cells takes beside the state."""
    return forcing_cells * cells * channels * 4 * WORKING_VALUES


def _head_bytes(bundle: Bundle) -> bytes:
    """Return head.onnx, which must still be the file that the bundle was loaded from."""
    path = bundle.folder / "head.onnx"
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != bundle.manifest.files["head.onnx"]:
        raise BundleError(f"{path} is not the file that was exported any more; copy the bundle again")
    return content


@contextmanager
def _on_device(device: Device, what: str) -> Generator[None, None, None]:
    """Turn what ONNX Runtime raises into DeviceError, and lack of memory into OutOfDeviceMemory."""
    try:
        yield
    except Exception as error:  # onnxruntime raises a dozen classes without a common base
        words = str(error).lower()
        if any(sign in words for sign in ("out of memory", "failed to allocate memory", "bad_alloc")):
            raise OutOfDeviceMemory(f"{what} does not fit into the memory of the {_named(device)}") from error
        if device.name == "cpu":
            raise
        raise DeviceError(
            f'the graphics card failed at {what}: {error}; repair it, or set inference.device = "cpu"'
        ) from error


def _named(device: Device) -> str:
    return "graphics card" if device.name == "gpu" else "processor"
