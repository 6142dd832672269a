"""ONNX Runtime: which of its two distributions is installed, what it computes on, sessions made of bytes.

Everything in `service` reaches onnxruntime through this module.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from service.errors import BundleError, DeviceError, UsageError
from service.files import digest_of

_CPU, _GPU = "onnxruntime", "onnxruntime-gpu"
CPU_PROVIDER, GPU_PROVIDER = "CPUExecutionProvider", "CUDAExecutionProvider"
# Without these a graphics card rounds to ten bits, which no bundle's proof would pass, and takes whatever
# algorithm was fastest at the moment: the same inputs must give the same map.
_GPU_OPTIONS = {
    "use_tf32": "0",
    "cudnn_conv_algo_search": "DEFAULT",
    "arena_extend_strategy": "kSameAsRequested",
}

Asked = Literal["auto", "cpu", "gpu"]


@dataclass(frozen=True)
class Device:
    """What sessions compute on, and why."""

    name: Literal["cpu", "gpu"]
    provider: str  # ONNX Runtime's name of it
    reason: str  # in words, for log and doctor
    fell_back: bool = False  # the distribution for graphics cards is installed and could not use one


CPU = Device("cpu", CPU_PROVIDER, "the processor computes")


def chosen_device(asked: Asked, runtime: Any = None) -> Device:
    """Return what `inference.device` = `asked` comes to on this machine.

    A graphics card counts only once a session has computed something on it: ONNX Runtime names the provider
    whether or not there is a card, and otherwise goes over to the processor without a word. That is tried
    once for each process. `runtime` stands in for the onnxruntime module.

    Raises DeviceError where a graphics card is asked for and none can be used.
    """
    if asked == "cpu":
        return Device("cpu", CPU_PROVIDER, 'inference.device = "cpu"')
    trouble = _installed_trouble() if runtime is None else _gpu_trouble(runtime)
    if trouble is None:
        return Device("gpu", GPU_PROVIDER, "a graphics card computed the trial")
    if asked == "gpu":
        raise DeviceError(
            f'inference.device = "gpu", and no graphics card can be used: {trouble}. Either put that right, '
            'or set inference.device = "auto" (use one where there is one) or "cpu"'
        )
    module = runtime or onnx_runtime()
    return Device(
        "cpu",
        CPU_PROVIDER,
        f"no graphics card can be used: {trouble}",
        fell_back=GPU_PROVIDER in module.get_available_providers(),
    )


def onnx_runtime(installed: Callable[[str], bool] | None = None) -> Any:
    """Return the onnxruntime module.

    Raises UsageError when no distribution of it is installed, or both: they ship the same module, and
    whichever was unpacked last would run. `installed` tells whether a distribution is there.
    """
    present = installed or _is_installed
    if present(_CPU) and present(_GPU):
        raise UsageError(
            f"{_CPU} and {_GPU} are both installed and overwrite each other's files. Either use the "
            f"processor: 'pip uninstall {_GPU}', then 'pip install --force-reinstall {_CPU}'; or a graphics "
            f"card: 'pip uninstall {_CPU}', then 'pip install --force-reinstall {_GPU}'"
        )
    if not present(_CPU) and not present(_GPU):
        raise UsageError(
            "ONNX Runtime is not installed. Either run 'pip install \"colluvium[cpu]\"', "
            "or 'pip install \"colluvium[gpu]\"' on a machine with an NVIDIA graphics card; never both"
        )
    return importlib.import_module("onnxruntime")


def arithmetic_of(device: Device) -> str:
    """Return a digest of what decides the last bits of a result: program, libraries, provider, processor."""
    versions = metadata.version("colluvium"), onnx_runtime().__version__, np.__version__
    return digest_of(versions, device.provider, _processor())


@cache
def _processor() -> str:
    """Return what this processor is: ONNX Runtime chooses its kernels by what it can do."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    named = ("model name", "flags", "features", "cpu part")
    said = sorted({line for line in lines if line.lower().startswith(named)})
    return digest_of(platform.machine(), platform.processor(), said)


def make_session(
    graph: bytes, name: str, *, threads: int = 1, device: Device = CPU, sizes: Mapping[str, int] | None = None
) -> Any:
    """Return an inference session of a serialised ONNX graph; `name` is what errors call it.

    `sizes` settles dimensions that the graph names and leaves open: what depends on them is then computed
    once.

    Sessions may be run from several threads at once. Raises BundleError when ONNX Runtime refuses the graph,
    DeviceError when it does not get the graphics card that `device` stands for.
    """
    runtime = onnx_runtime()
    try:
        session = _session(runtime, graph, device.provider, threads, sizes=sizes or {})
    except Exception as error:  # onnxruntime raises a dozen classes without a common base
        if device.name == "gpu":
            raise DeviceError(
                f"{name} cannot be run on the graphics card: {error}. If the card is at fault, set "
                'inference.device = "cpu" until it is repaired'
            ) from error
        raise BundleError(f"{name} cannot be run by ONNX Runtime: {error}") from error
    found = session.get_providers()[0]
    if found != device.provider:
        raise DeviceError(
            f"{name} was meant for {device.provider} and came to run on {found}; look at the driver with "
            "'nvidia-smi', or set inference.device = \"cpu\""
        )
    return session


def _session(
    runtime: Any,
    graph: bytes,
    provider: str,
    threads: int,
    severity: int = 3,
    *,
    sizes: Mapping[str, int] = MappingProxyType({}),
) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = severity  # 3: errors are raised, warnings about graphs are no news
    for dimension, size in sizes.items():
        options.add_free_dimension_override_by_name(dimension, size)
    if provider == CPU_PROVIDER:
        return runtime.InferenceSession(graph, sess_options=options, providers=[CPU_PROVIDER])
    options.use_deterministic_compute = True
    # What the card cannot do, the processor does. `enable_fallback` is another thing: ONNX Runtime would
    # print to the standard output that it gave up the card, and go on.
    providers = [(provider, _GPU_OPTIONS), CPU_PROVIDER]
    return runtime.InferenceSession(graph, sess_options=options, providers=providers, enable_fallback=0)


@cache
def _installed_trouble() -> str | None:
    return _gpu_trouble(onnx_runtime())


def _gpu_trouble(runtime: Any) -> str | None:
    """Return in words why no graphics card can be used; None where one computed the trial."""
    if GPU_PROVIDER not in runtime.get_available_providers():
        return f"the installed {_CPU} is the one for processors (another is {_GPU})"
    runtime.set_default_logger_severity(4)  # the reason is returned; it would also print pages of it
    try:
        session = _session(runtime, _trial_graph(), GPU_PROVIDER, 1, severity=4)
        if session.get_providers()[0] != GPU_PROVIDER:
            return _missing_library(runtime) or f"{_GPU} found no card that its CUDA can use"
        values = np.arange(4, dtype=np.float32)
        if not np.array_equal(session.run(None, {"x": values})[0], values + values):
            return "the card computed a wrong sum"
    except Exception as error:  # noqa: BLE001 - as above; whatever it is, the processor remains
        return " ".join(str(error).split()) or type(error).__name__
    finally:
        runtime.set_default_logger_severity(2)  # ONNX Runtime's own default
    return None


def _missing_library(runtime: Any) -> str | None:
    """Return which library the provider lacks, in the loader's words; ONNX Runtime only logs it."""
    library = Path(runtime.__file__).parent / "capi" / "libonnxruntime_providers_cuda.so"
    try:
        ctypes.CDLL(str(library), mode=os.RTLD_LAZY)
    except OSError as error:
        # Undefined symbols are those of ONNX Runtime itself, which has its own way to load it.
        return None if "undefined symbol" in str(error) else f"{_GPU} cannot load its CUDA part: {error}"
    return None


def _trial_graph() -> bytes:
    """Return a graph that adds x (4,) to itself."""
    from onnx import TensorProto, helper

    shape = [4]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "x"], ["y"])],
        "trial",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    return bytes(model.SerializeToString())


def _is_installed(distribution: str) -> bool:
    try:
        metadata.distribution(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
